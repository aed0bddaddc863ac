"""Diverging runs: stop, rollback or continuation; the best state; gradient accumulation."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import small_run
import torch
from torch import Tensor

from phylocli.config.assignments import nested
from phylocli.config.train import TrainConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import write_families
from phylocli.formats.family import Family
from phylocli.models.model import Model
from phylocli.train import checkpoints, divergence, train_model
from phylocli.train.data.loading import load_corpus
from phylocli.train.divergence import DivergedError
from phylocli.train.run_folder import load_task
from phylocli.train.task import ContrastiveTask

SMALL = small_run.SMALL


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def families(simulated_file: Callable[..., Path]) -> Path:
    return simulated_file(6, members=20)


def train(families: Path, run: Path, steps: int, **changes: Any) -> pl.DataFrame:
    recipe = changes.pop("recipe", "simclr")
    train_model([families], run, recipe=recipe, steps=steps, device="cpu", settings={**SMALL, **changes})
    return pl.read_parquet(run / "metrics.parquet")


def fail_once(monkeypatch: pytest.MonkeyPatch, at: int, times: int = 1) -> None:
    """Let step `at` look as if its loss were no number, the first `times` that it is done."""
    real, seen = divergence.check_finite, []

    def check(row: dict[str, Any]) -> None:
        if row["step"] == at and len(seen) < times:
            seen.append(row["step"])
            row = {**row, "loss": float("nan")}
        real(row)

    monkeypatch.setattr(divergence, "check_finite", check)


def test_rollback_resumes_from_the_last_checkpoint_at_half_the_rate(
    families: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = train(families, tmp_path / "plain", 8)
    fail_once(monkeypatch, 6)
    metrics = train(families, tmp_path / "run", 8, on_divergence="rollback")
    assert "returning to step 4 with 0.5 times the learning rate" in capsys.readouterr().err
    assert metrics["step"].to_list() == list(range(1, 9))
    assert metrics["loss"][:5].to_list() == plain["loss"][:5].to_list()
    assert metrics["learning_rate"][:4].to_list() == plain["learning_rate"][:4].to_list()
    assert metrics["learning_rate"][4:].to_list() == pytest.approx((plain["learning_rate"][4:] / 2).to_list())
    state = checkpoints.load_latest(tmp_path / "run" / "checkpoints")
    assert state is not None and state["progress"]["rollbacks"] == 1


def test_a_run_that_was_taken_back_is_resumed_with_its_lower_rate(
    families: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_once(monkeypatch, 4)
    whole = train(families, tmp_path / "run", 8, on_divergence="rollback")
    cut = tmp_path / "cut"
    shutil.copytree(tmp_path / "run", cut)
    shutil.rmtree(cut / "model")
    (cut / "checkpoints" / "step-00000008.pt").unlink()
    train_model([], cut, device="cpu", resume=True)
    again = pl.read_parquet(cut / "metrics.parquet")
    assert again["loss"].to_list() == whole["loss"].to_list()
    assert again["learning_rate"].to_list() == whole["learning_rate"].to_list()


def test_rollback_gives_up_when_it_does_not_help(families: Path, tmp_path: Path) -> None:
    wild = {"optimiser.learning_rate": 1e30, "optimiser.warmup": 0.0, "on_divergence": "rollback"}
    with pytest.raises(DivergedError, match="diverged"):
        train(families, tmp_path / "run", 10, **wild)
    state = checkpoints.load_latest(tmp_path / "run" / "checkpoints")
    assert state is not None
    assert state["progress"]["rollbacks"] == divergence.MOST_ROLLBACKS
    assert state["progress"]["scale"] == 2.0**-divergence.MOST_ROLLBACKS


def test_a_checkpoint_with_spoilt_weights_is_no_place_to_go_back_to(families: Path, tmp_path: Path) -> None:
    train(families, tmp_path / "run", 4)
    folder = tmp_path / "run" / "checkpoints"
    state = checkpoints.load_latest(folder)
    assert state is not None and state["step"] == 4
    name = next(iter(dict(load_task(tmp_path / "run").named_parameters())))
    state["task"][name].fill_(float("nan"))
    checkpoints.save(folder, 4, {k: v for k, v in state.items() if k != "step"}, keep=2, every=1)
    sound = checkpoints.load_latest(folder, sound=[name])
    assert sound is not None and sound["step"] == 2


def test_continue_passes_over_a_bad_step_and_keeps_the_queue_clean(
    families: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, calls = ContrastiveTask.forward, []

    def forward(self: ContrastiveTask, pairs: Any) -> dict[str, Tensor]:
        terms = real(self, pairs)
        calls.append(1)
        return {**terms, "loss": terms["loss"] * float("nan")} if len(calls) == 3 else terms

    monkeypatch.setattr(ContrastiveTask, "forward", forward)
    metrics = train(families, tmp_path / "run", 5, recipe="moco", on_divergence="continue")
    assert metrics["loss"].is_nan().to_list() == [False, False, True, False, False]
    assert "at step 3; skipping the update" in capsys.readouterr().err
    task = load_task(tmp_path / "run")
    assert task.objective.queue.filled().sum() == 4 * 12
    assert all(p.isfinite().all() for p in task.parameters())


def test_alignment_alone_collapses_and_that_is_noticed(families: Path, tmp_path: Path) -> None:
    changes = {"recipe": "align-uniform", "objective.weight": 0.0, "optimiser.learning_rate": 0.01, "validation.every": 5}
    with pytest.raises(DivergedError, match="collapsed: after step") as error:
        train(families, tmp_path / "run", 200, **changes)
    assert "--on-divergence rollback" in str(error.value)
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize(
    ("rank", "uniformity", "collapsed"),
    [(1.2, -2.0, True), (30.0, -0.001, True), (float("nan"), -2, True), (9.0, -1.0, False), (9.0, 0.0, False)],
)
def test_a_collapse_is_a_rank_near_one_or_no_uniformity(rank: float, uniformity: float, collapsed: bool) -> None:
    row = {"step": 7, "val_rank": rank, "val_uniformity": uniformity}
    if not collapsed:
        divergence.check_collapse(row, 64)
        return
    with pytest.raises(DivergedError, match="step 7"):
        divergence.check_collapse(row, 64)


def test_a_handful_of_held_out_sequences_is_no_evidence_of_a_collapse(
    simulate: Callable[..., Family], tmp_path: Path
) -> None:
    write_families([simulate(f"PF{i:05d}", 12) for i in range(2)], tmp_path / "few.sto")
    changes = {"view.name": "phylogenetic", "validation.fraction": 0.17, "validation.every": 1}
    metrics = train(tmp_path / "few.sto", tmp_path / "run", 3, **changes)
    assert metrics.height == 3 and metrics["val_rank"].max() < 4


def test_the_best_state_is_kept_and_can_become_the_model(families: Path, tmp_path: Path) -> None:
    changes = {
        "checkpoints.best": "val_retrieval",
        "checkpoints.model": "best",
        "checkpoints.keep": 1,
        "validation.every": 1,
    }
    metrics = train(families, tmp_path / "run", 9, **changes)
    folder = tmp_path / "run" / "checkpoints"
    best = checkpoints.load_best(folder)
    figures = metrics["val_retrieval"].to_list()
    assert best["step"] == 1 + figures.index(max(figures))  # the first of equals
    assert [p.name for p in checkpoints.found(folder)] == ["step-00000009.pt"]
    weights = Model.load(tmp_path / "run" / "model").state_dict()
    assert all(torch.equal(value, best["task"][f"model.{name}"]) for name, value in weights.items())
    last = train(families, tmp_path / "last", 3, **{"checkpoints.best": ""})
    assert last.height == 3 and not (tmp_path / "last" / "checkpoints" / "best.pt").exists()
    with pytest.raises(BadInputError, match="cannot be read"):
        checkpoints.load_best(tmp_path / "last" / "checkpoints")


def test_several_batches_make_one_step_of_their_average_gradient(families: Path, tmp_path: Path) -> None:
    metrics = train(families, tmp_path / "run", 3, **{"batch.accumulate": 2, "validation.fraction": 0.0})
    assert metrics["pairs"].to_list() == [24] * 3
    changes = {**SMALL, "validation.fraction": 0.0}
    config = TrainConfig.of(None, {"recipe": "simclr", **nested(changes)})
    task, corpus = ContrastiveTask(config), load_corpus([families], config)
    losses = [task(corpus.batch(step))["loss"] for step in (0, 1)]
    assert metrics["loss"][0] == pytest.approx(sum(losses).item() / 2, rel=1e-6)
    (sum(losses) / 2).backward()
    norm = torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
    assert metrics["gradient_norm"][0] == pytest.approx(norm.item(), rel=1e-5)
    cut = tmp_path / "cut"
    shutil.copytree(tmp_path / "run", cut)
    shutil.rmtree(cut / "model")
    (cut / "checkpoints" / "step-00000003.pt").unlink()
    train_model([], cut, device="cpu", resume=True)
    assert pl.read_parquet(cut / "metrics.parquet")["loss"].to_list() == metrics["loss"].to_list()


@pytest.mark.parametrize(
    "settings",
    [{"on_divergence": "hope"}, {"checkpoints.best": "loss"}, {"checkpoints.best": "", "checkpoints.model": "best"},
     {"batch.accumulate": 0}],
    ids=str,
)  # fmt: skip
def test_words_that_mean_nothing_are_usage_errors(settings: dict[str, Any], families: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        train(families, tmp_path / "run", 2, **settings)
    assert not (tmp_path / "run").exists()
