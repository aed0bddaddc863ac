"""Heads on residue vectors in training: the table, the loss, validation, checkpoints, and the model that is left."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import small_run
import torch

from phylocli.config.assignments import nested
from phylocli.config.train import TrainConfig
from phylocli.core.alphabet import MASK
from phylocli.core.errors import BadInputError, UsageError
from phylocli.encoders import pad_batch
from phylocli.models.heads import find_head
from phylocli.models.model import Model
from phylocli.train import checkpoints, train_model
from phylocli.train.data.loading import load_corpus
from phylocli.train.data.residue_labels import load_residue_labels
from phylocli.train.task import ContrastiveTask

pytestmark = pytest.mark.usefixtures("one_thread")

WEIGHTS = {"residues.weights.3di": 1.0, "residues.weights.ss3": 0.5, "residues.weights.profile": 0.25}
LETTERS = "ACDEFGHIKLMNPQRSTVWY"


@pytest.fixture(scope="module")
def families(simulated_file: Callable[..., Path]) -> Path:
    return simulated_file(6, members=20)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty sequences whose labels are functions of each residue, so that a few steps learn them."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for k in range(30):
        codes = rng.integers(0, 20, rng.integers(20, 90))
        profile = np.eye(20, dtype=np.uint16)[codes] * 9000
        profile[0] = 0
        rows.append(
            {
                "id": f"c{k}",
                "part": "validation" if k % 5 == 0 else "train",
                "sequence": "".join(LETTERS[c] for c in codes),
                "three_di": "." + "".join(LETTERS[c] for c in codes[1:]),
                "dssp": "".join("HEC"[c % 3] for c in codes),
                "profile": profile.ravel().tolist(),
            }
        )
    path = tmp_path_factory.mktemp("labels") / "labels.parquet"
    pl.DataFrame(rows).write_parquet(path)
    return path


def settings(table: Path, **changes: Any) -> dict[str, Any]:
    sizes = {"residues.sequences": 8, "residues.max_length": 40, "residues.hidden": 16, "residues.kernel": 3}
    return {**small_run.SMALL, "residues.labels": str(table), **sizes, **WEIGHTS, **changes}


def config(table: Path, **changes: Any) -> TrainConfig:
    return TrainConfig.of(None, {"recipe": "simclr", **nested(settings(table, **changes))})


def test_the_loss_is_the_weighted_sum_over_residues_with_labels(families: Path, table: Path) -> None:
    made = config(table)
    task = ContrastiveTask(made)
    pairs = load_corpus([families], made).batch(3)
    terms = task(pairs)
    assert pairs.labelled is not None and len(pairs.labelled) == 8
    losses: dict[str, list[torch.Tensor]] = {name: [] for name in ("3di", "ss3", "profile")}
    for k, tokens in enumerate(pairs.labelled.tokens):
        padded = pad_batch([tokens])
        for name, parts in losses.items():
            log_q = task.model.predict_residues(name, task.model.residues(*padded), padded[1])[0].log_softmax(1)
            for at, target in enumerate(pairs.labelled.targets[name][k].tolist()):
                if name == "profile" and sum(target):
                    parts.append(-sum(p * log_q[at, state] for state, p in enumerate(target)))  # the entropy of p is 0
                elif name != "profile" and target >= 0:
                    parts.append(-log_q[at, target])
    means = {name: torch.stack(parts).mean() for name, parts in losses.items()}
    for name, mean in means.items():
        assert terms[f"{name}_loss"].item() == pytest.approx(mean.item(), rel=1e-4), name
    total = terms["contrastive_loss"] + means["3di"] + 0.5 * means["ss3"] + 0.25 * means["profile"]
    assert terms["loss"].item() == pytest.approx(total.item(), rel=1e-4)
    pairs.labelled = None
    assert task(pairs)["loss"].item() == pytest.approx(terms["contrastive_loss"].item(), rel=1e-5)


def test_heads_learn_are_validated_and_stay_in_the_model(families: Path, table: Path, tmp_path: Path) -> None:
    changes = {"validation.every": 40, "checkpoints.every": 40, "optimiser.learning_rate": 0.01}
    folder = train_model([families], tmp_path / "run", steps=40, device="cpu", settings=settings(table, **changes))
    metrics = pl.read_parquet(tmp_path / "run" / "metrics.parquet")
    for name in ("3di_loss", "ss3_loss", "profile_loss", "contrastive_loss"):
        assert metrics[name][-5:].mean() < metrics[name][:5].mean(), name
    last = metrics.row(-1, named=True)
    assert last["val_3di_accuracy"] > 0.9 and last["val_ss3_accuracy"] > 0.9 and last["val_profile_loss"] < 1
    assert set(Model.load(folder).heads) == {"3di", "ss3", "profile"}
    card = (folder / "MODEL_CARD.md").read_text()
    assert f"3di ({last['val_3di_loss']:.3f} nats" in card and "labels.parquet" in card


def test_a_resumed_run_with_heads_continues_exactly(families: Path, table: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    train_model([families], whole, steps=4, device="cpu", settings=settings(table))
    before = checkpoints.load_latest(whole / "checkpoints")
    (whole / "checkpoints" / "step-00000004.pt").unlink()
    shutil.rmtree(whole / "model")
    losses = pl.read_parquet(whole / "metrics.parquet")["loss"].to_list()
    train_model([], whole, device="cpu", resume=True)
    assert pl.read_parquet(whole / "metrics.parquet")["loss"].to_list() == losses
    after = checkpoints.load_latest(whole / "checkpoints")
    assert before is not None and after is not None
    assert all(torch.equal(value, after["task"][name]) for name, value in before["task"].items())


def test_gradient_caching_gives_the_same_gradients(families: Path, table: Path) -> None:
    gradients = []
    for cached in (False, True):
        made = config(table, **{"batch.grad_cache": cached, "batch.max_tokens": 300})
        task = ContrastiveTask(made)
        task(load_corpus([families], made).batch(0))["loss"].backward()
        gradients.append({name: p.grad for name, p in task.named_parameters()})
    for name, value in gradients[0].items():
        assert value is not None and torch.allclose(value, gradients[1][name], atol=1e-5), name


def test_sequences_are_sampled_by_weight_and_cropped_with_their_labels(table: Path, tmp_path: Path) -> None:
    frame = pl.read_parquet(table).filter(pl.col("part") == "train")
    weight = [8.0 if k == 3 else 1.0 for k in range(frame.height)]
    frame.with_columns(pl.Series("weight", weight)).write_parquet(tmp_path / "w.parquet")
    labels = load_residue_labels(tmp_path / "w.parquet", ["3di"], sequences=1, max_length=15, seed=0)
    codes = [find_head("3di").targets(text).tolist() for text in frame["three_di"]]
    counts = np.zeros(frame.height)
    for step in range(1500):
        batch = labels.batch(step)
        assert len(batch.tokens[0]) == len(batch.targets["3di"][0]) == 15
        for at, target in enumerate(batch.targets["3di"][0].tolist()):
            assert target in (batch.tokens[0][at] - 4, -1)  # the label of a residue is its own letter
        part = batch.targets["3di"][0].tolist()
        counts[next(k for k, own in enumerate(codes) if part in [own[i : i + 15] for i in range(len(own))])] += 1
    assert counts.min() > 20 and 0.2 < counts[3] / counts.sum() < 0.31  # 8 of 31
    assert labels.held_out(10) is None


def test_residues_are_masked_in_training_only_and_keep_their_labels(table: Path) -> None:
    labels, masked = (
        load_residue_labels(table, ["3di"], sequences=4, max_length=40, seed=0, masked=fraction) for fraction in (0.0, 0.25)
    )
    hidden = total = 0
    for step in range(50):
        whole, part = labels.batch(step), masked.batch(step)
        for one, two, *targets in zip(whole.tokens, part.tokens, whole.targets["3di"], part.targets["3di"], strict=True):
            assert np.array_equal(*targets)
            assert np.array_equal(one[two != MASK], two[two != MASK])
            hidden, total = hidden + int((two == MASK).sum()), total + len(two)
    assert 0.22 < hidden / total < 0.28
    held_out = masked.held_out(9)
    assert held_out is not None and not any((tokens == MASK).any() for tokens in held_out.tokens)


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("three_di", "ACD", "c1: three_di has labels of 3 residues"),
        ("dssp", "!" * 9, "c1: '!' is not a state"),
        ("sequence", "MK-V", "gaps"),
        ("weight", 0.0, "positive"),
        ("part", "test", "no sequence for training"),
        ("three_di", None, "lacks the column three_di"),
    ],
)
def test_tables_that_do_not_fit_are_refused_by_row(table: Path, tmp_path: Path, column: str, value: Any, says: str) -> None:
    frame = pl.read_parquet(table).filter(pl.col("id") == "c1").drop("profile")
    frame = frame.drop(column) if value is None else frame.with_columns(pl.lit(value).alias(column))
    frame.write_parquet(tmp_path / "bad.parquet")
    with pytest.raises(BadInputError) as caught:
        load_residue_labels(tmp_path / "bad.parquet", ["3di", "ss3"], sequences=1, max_length=9, seed=0)
    assert says in str(caught.value)


def test_an_empty_cell_means_that_nothing_is_known(table: Path, tmp_path: Path) -> None:
    frame = pl.read_parquet(table).filter(pl.col("part") == "train")[:2]
    empty = [pl.when(pl.col("id") == "c2").then(None).otherwise(pl.col(name)).alias(name) for name in ("dssp", "profile")]
    frame.with_columns(empty).write_parquet(tmp_path / "e.parquet")
    labels = load_residue_labels(tmp_path / "e.parquet", ["ss3", "profile"], sequences=2, max_length=99, seed=0)
    one, two = labels.training.targets["ss3"], labels.training.targets["profile"]
    assert (one[0] >= 0).all() and (one[1] == -1).all()
    assert two[0][1:].any(axis=1).all() and not two[1].any()


def test_text_tables_are_read(table: Path, tmp_path: Path) -> None:
    pl.read_parquet(table).drop("profile").write_csv(tmp_path / "t.tsv", separator="\t")
    labels = load_residue_labels(tmp_path / "t.tsv", ["3di", "ss3"], sequences=48, max_length=20, seed=0)
    assert len(labels.batch(0)) == 24 and len(labels.validation) == 6


def test_without_a_table_the_heads_are_left_out_with_a_warning(families: Path, tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.WARNING)
    changes = {**small_run.UNVALIDATED, **WEIGHTS}
    folder = train_model([families], tmp_path / "run", steps=1, device="cpu", settings=changes)
    assert "residues.labels names no table" in caplog.text
    assert not Model.load(folder).heads


def test_settings_of_heads_are_checked(table: Path) -> None:
    with pytest.raises(UsageError, match="odd"):
        config(table, **{"residues.kernel": 4})
    with pytest.raises(UsageError, match="unknown head"):
        train_model(["x.sto"], "run", settings={"residues.weights.4di": 1.0})
