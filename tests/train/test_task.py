"""Requirements of objectives: momentum encoders, residues, segments, further views, and their state in checkpoints."""

from __future__ import annotations

import math
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
from phylocli.core.errors import UsageError
from phylocli.encoders import pad_batch
from phylocli.formats.tables import pairs_schema, write_table
from phylocli.pairs import sample_pairs
from phylocli.train import checkpoints, train_model
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.data.loading import load_corpus
from phylocli.train.random_streams import RandomStream
from phylocli.train.task import ContrastiveTask, remaining
from phylocli.train.validation import collapsed, validate

SMALL: dict[str, Any] = {**small_run.SMALL, "validation.every": 4, "validation.pairs": 12, "checkpoints.every": 3}
ASKING = ["moco-v2", "swav", "simcse-supervised", "cpc", "infomax", "mae", "cross-entropy", "supervised-multi-crop"]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def families(simulated_file: Callable[..., Path]) -> Path:
    return simulated_file(6, members=20, in_clan=2)


def settings(recipe: str, **changes: Any) -> dict[str, Any]:
    return TrainConfig.of(None, {"recipe": recipe, **nested({**SMALL, **changes})})


def made(recipe: str, families: Path, **changes: Any) -> tuple[ContrastiveTask, Corpus]:
    config = settings(recipe, **changes)
    task = ContrastiveTask(config)
    return task, load_corpus([families], config, every_view=task.requirements.views == "all")


def test_mae_decodes_the_letters_of_the_alphabet() -> None:
    for alphabet, letters in (("protein", 20), ("dna", 4)):
        task = ContrastiveTask(settings("mae", alphabet=alphabet))
        assert task.objective.decoder.letters.out_features == letters


def test_removed_residues_have_a_random_stream_of_their_own(families: Path) -> None:
    task, corpus = made("mae", families)
    pairs, removal = corpus.batch(3), task.requirements.removal
    assert removal is not None
    seen = task._remove(pairs, removal)[1]
    same = []
    for purpose in RandomStream:
        rng = np.random.default_rng([task.seed, purpose, pairs.first])
        other = [tokens[remaining(len(tokens), removal, rng)] for tokens in pairs.a]
        same += [purpose] if all(map(np.array_equal, seen, other)) else []
    assert same == [RandomStream.REMOVED_RESIDUES]


@pytest.mark.parametrize("recipe", ASKING)
def test_resumed_run_continues_exactly(recipe: str, families: Path, tmp_path: Path) -> None:
    changes = {"objective.queue": 24, "encoder.parameters.dropout": 0.1} if recipe in ("moco-v2", "swav") else {}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train_model([families], whole, recipe=recipe, steps=6, device="cpu", settings={**SMALL, **changes})
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "model")
    (cut / "checkpoints" / "step-00000006.pt").unlink()
    train_model([], cut, device="cpu", resume=True)
    one, two = (pl.read_parquet(run / "metrics.parquet")["loss"].to_list() for run in (whole, cut))
    assert one == two
    first, second = (checkpoints.load_latest(run / "checkpoints") for run in (whole, cut))
    assert first is not None and second is not None
    assert first["task"].keys() == second["task"].keys()
    for name, value in first["task"].items():
        assert torch.equal(value, second["task"][name]), name


def test_the_momentum_copy_is_a_moving_average_that_makes_the_keys(families: Path) -> None:
    task, corpus = made("moco-v2", families)
    pairs = corpus.batch(0)
    assert task.momentum_encoder is not None
    optimiser = torch.optim.SGD(task.parameters(), lr=0.5)
    average = {name: value.clone() for name, value in task.momentum_encoder.state_dict().items()}
    for step in range(3):
        a, b, _ = task.forward_views(pairs)
        assert not b.requires_grad and a.requires_grad
        optimiser.zero_grad()
        task(pairs)["loss"].backward()
        assert all(p.grad is None for p in task.momentum_encoder.parameters())
        optimiser.step()
        task.after_step()
        now = {**task.model.state_dict(prefix="model."), **task.head.state_dict(prefix="head.")}
        for name, value in average.items():
            value.copy_(0.99 * value + 0.01 * now[name])
            assert torch.allclose(task.momentum_encoder.state_dict()[name], value, atol=1e-6)
        assert step or task.objective.queue.filled().sum() == len(pairs)
    keys = task.momentum_encoder["head"](task.momentum_encoder["model"](*pad_batch(pairs.b)))
    assert torch.allclose(task.forward_views(pairs)[1], keys, atol=1e-5)
    assert not torch.allclose(keys, task.head(task.embed(pairs.b)), atol=1e-3)


def test_segments_are_encoded_each_by_itself(families: Path) -> None:
    task, corpus = made("cpc", families)
    pairs = corpus.batch(0)
    pairs.a[0] = pairs.a[0][:5]  # shorter than a segment: one segment
    a, b, batch = task.forward_views(pairs)
    assert a.shape == b.shape == (12, 0)
    assert batch.present.sum(1).tolist() == [max(1, len(s) // 16) for s in pairs.a]
    for i, sequence in enumerate(pairs.a):
        for t in range(int(batch.present[i].sum())):
            alone = task.embed([sequence[16 * t : 16 * (t + 1)]])[0]
            assert torch.allclose(batch.segments[i, t], alone, atol=1e-5)
    assert (batch.segments[~batch.present] == 0).all()


def test_residues_come_in_the_order_of_the_sequences(families: Path) -> None:
    task, corpus = made("infomax", families, **{"batch.max_tokens": 100})
    pairs = corpus.batch(0)
    a, b, batch = task.forward_views(pairs)
    assert a is b
    assert batch.mask.sum(1).tolist() == [len(s) for s in pairs.a]
    for i, sequence in enumerate(pairs.a):
        alone = task.model.residues(*pad_batch([sequence]))[0]
        assert torch.allclose(batch.residues[i, : len(sequence)], alone, atol=1e-5)
        assert torch.allclose(a[i], alone.mean(0), atol=1e-5)


def test_further_views_are_sampled_for_objectives_that_need_them(families: Path, tmp_path: Path) -> None:
    task, corpus = made("swav", families)
    pairs = corpus.batch(0)
    assert len(pairs.more) == 4 and all(len(view) == 12 for view in pairs.more)
    _, _, batch = task.forward_views(pairs)
    assert [x.shape for x in batch.more] == [(12, 128)] * 4
    assert torch.allclose(batch.more[2], task.head(task.embed(pairs.more[2])), atol=1e-5)
    assert pairs.residues == sum(len(t) for view in (pairs.a, pairs.b, *pairs.more) for t in view)
    _, plain = made("simclr", families, **{"view.name": "phylogenetic+decoy"})
    assert plain.batch(0).more == []
    from phylocli.formats import read_families

    table = tmp_path / "pairs.parquet"
    write_table(sample_pairs(list(read_families(families)), number=500, seed=0), table, pairs_schema())
    drawn = made("simcse-supervised", table)[1].batch(0)
    assert all(sorted(x.tolist()) == sorted(y.tolist()) for x, y in zip(drawn.b, drawn.more[0], strict=True))
    with pytest.raises(UsageError, match="decoy"):
        task, corpus = made("simcse-supervised", families, **{"view.name": "phylogenetic"})
        task(corpus.batch(0))


def test_where_only_the_pair_itself_is_no_negative_its_code_is_unique_in_the_run(families: Path) -> None:
    task, corpus = made("moco", families, **{"batch.negatives": "pair", "objective.queue": 100})
    for step in range(3):
        task(corpus.batch(step))
        task.after_step()
    assert sorted(task.objective.queue.family[:36].tolist()) == list(range(36))
    assert task.objective.queue.negatives(task.objective_batch(corpus.batch(3))).sum() == 12 * 36


@pytest.mark.parametrize("recipe", ["simclr", "moco", "simcse-supervised", "declutr", "cpc", "cpcprot", "clip"])
def test_a_collapsed_encoder_has_the_log_of_the_number_of_candidates(recipe: str, families: Path) -> None:
    task, corpus = made(recipe, families)
    task(corpus.batch(0))
    task.after_step()
    terms = collapsed(task.objective, *task.forward_views(corpus.batch(1)))
    assert float(terms["loss"]) == pytest.approx(float(terms["ceiling"]), rel=2e-3)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    values = validate(task, corpus.validation(12))
    assert values["val_collapsed"] > 0
    assert all(torch.equal(value, task.state_dict()[name]) for name, value in before.items())


def test_a_collapsed_encoder_has_at_least_the_log_of_the_number_of_prototypes(families: Path) -> None:
    task, corpus = made("swav", families)
    found = float(collapsed(task.objective, *task.forward_views(corpus.batch(0)))["loss"])
    assert math.log(32) <= found < math.log(32) + 1


def test_the_encoder_does_not_see_removed_residues(families: Path) -> None:
    task, corpus = made("mae", families, **{"batch.max_tokens": 100, "objective.alpha": 0.5})
    task.eval()
    pairs = corpus.batch(0)
    a, b, batch = task.forward_views(pairs)
    assert batch.removed is not None and batch.residues is not None and batch.mask is not None
    kept = [row[: len(tokens)].numpy() for row, tokens in zip(batch.removed.kept, pairs.a, strict=True)]
    assert [len(k) - k.sum() for k in kept] == [round(len(k) / 2) for k in kept]
    for i, (tokens, k) in enumerate(zip(pairs.a, kept, strict=True)):
        alone = task.model.residues(*pad_batch([tokens[k]]))[0]
        torch.testing.assert_close(batch.residues[i, : k.sum()], alone, rtol=1e-4, atol=1e-5)
        assert batch.mask[i].sum() == k.sum()
        assert (batch.removed.letters[i, : len(k)] == torch.from_numpy(tokens.astype(int) - 4)).all()
    torch.testing.assert_close(b, task.project(task.embed(pairs.b)), rtol=1e-4, atol=1e-5)
    pairs.a = [np.where(k, tokens, 4 + (tokens - 3) % 20) for tokens, k in zip(pairs.a, kept, strict=True)]
    torch.testing.assert_close(task.forward_views(pairs)[0], a, rtol=0, atol=0)


def test_classes_are_the_families_of_the_corpus(families: Path) -> None:
    task, corpus = made("cross-entropy", families)
    task.read_families(corpus.families)
    objective, pairs = task.objective, corpus.batch(0)
    assert objective.clan.tolist() == corpus.batch(0).clan[[pairs.family.tolist().index(k) for k in range(6)]].tolist()
    assert objective.weight.shape == (6, task.forward_views(pairs)[0].shape[1])
    again, _ = made("cross-entropy", families)
    again.read_families(corpus.families)
    assert torch.equal(again.objective.weight, objective.weight), "initial weights are those of the seed"


@pytest.mark.parametrize("changes", [{"batch.negatives": "pair"}, {"batch.cross_family_fraction": 0.5}])
def test_families_cannot_be_classified_where_a_pair_is_not_of_one(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="classifies families"):
        ContrastiveTask(settings("cross-entropy", **changes))


def test_the_head_has_as_many_hidden_layers_as_asked_for() -> None:
    for layers in (1, 3):
        head = ContrastiveTask(settings("simclr", **{"head.layers": layers, "head.hidden": 24})).head
        sizes = [tuple(part.weight.shape) for part in head if isinstance(part, torch.nn.Linear)]
        assert sizes == [(24, 64), *[(24, 24)] * (layers - 1), (128, 24)]
