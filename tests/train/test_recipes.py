"""Recipes: all parts exist, and training reduces the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from scipy.special import xlogy
from small_run import UNVALIDATED

from phylocli import recipes, views
from phylocli.config.assignments import nested, parse_assignment
from phylocli.config.train import TrainConfig
from phylocli.core.alphabet import FIRST_RESIDUE, UNKNOWN
from phylocli.core.errors import UsageError
from phylocli.formats import read_families, write_families
from phylocli.models.model import Model
from phylocli.train import train_model
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.data.loading import load_corpus
from phylocli.train.data.types import PairBatch
from phylocli.train.task import ContrastiveTask
from phylocli.train.validation import collapsed_loss, load_task
from phylocli.tree import infer_trees


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_builds(name: str) -> None:
    config = TrainConfig.of(None, {"recipe": name})
    assert config.idea
    assert "arXiv" in config.paper or "doi" in config.paper
    views.build(config.view.name, config.view.parameters)
    assert ContrastiveTask(config).model.size > 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=1", ("a.b", 1)),
        ("a=0.5", ("a", 0.5)),
        ("a = true", ("a", True)),
        ("a=inf", ("a", float("inf"))),
        ("a=mean", ("a", "mean")),
        ("a='0.5'", ("a", "0.5")),
        ("a=x=y", ("a", "x=y")),
    ],
)
def test_assignments_read_as_toml_else_as_a_word(text: str, expected: tuple) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["steps", "=3", ""])
def test_text_that_is_not_an_assignment_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="key=value"):
        parse_assignment(text)


def test_the_listing_is_a_table() -> None:
    rows = [line.split("\t") for line in recipes.listing().splitlines()]
    assert rows[0] == ["recipe", "idea", "paper"]
    assert [row[0] for row in rows[1:]] == recipes.names()
    assert {len(row) for row in rows} == {3}


def best_constant(recipe: str, negatives: float, families: int) -> float:
    """Return the least loss that equal vectors can have, in closed form where there is one, else infinity."""
    if recipe == "swav":  # cross entropy of balanced codes against one prediction for all
        return math.log(TrainConfig.of(None, {"recipe": "swav"}).objective.parameters["prototypes"])
    if recipe == "siglip":  # one question in 1 + negatives has the answer yes, and no question can be told from another
        yes = 1 / (1 + negatives)
        return -math.log(yes) - negatives * math.log(1 - yes)
    if recipe in ("cross-entropy", "supervised-multi-crop"):  # the frequencies of the classes, which are equal
        return math.log(families)
    if recipe == "infomax":  # 2 log 2 a Jensen–Shannon term, and a prior that no discriminator tells
        weights = TrainConfig.of(None, {"recipe": "infomax"}).objective.parameters
        return 2 * math.log(2) * (weights["glob"] + weights["local"] - weights["prior"])
    if recipe == "margin":  # a partner and a negative of equal scores are together as far beyond their margins as these
        return float(TrainConfig.of(None, {"recipe": "margin"}).objective.parameters["margin"])
    return math.inf


@torch.no_grad()
def mean_hinges(run: Path, corpus: Corpus, step: int) -> tuple[float, float]:
    """Return the mean hinge over all mined pairs of a trained model, and that of shuffled partners at the best boundary."""
    task = load_task(run, trained=True).eval()
    task.read_families(corpus.families)
    a, b, batch = task.forward_views(corpus.batch(step))

    def hinge(boundary: float, b: torch.Tensor) -> float:
        task.objective.boundary.fill_(boundary)
        terms = task.objective(a, b, batch)
        return float(terms["loss"] * terms["active"])

    own = hinge(float(task.objective.boundary), b)
    others = b.roll(1, 0)
    return own, min(hinge(boundary, others) for boundary in np.linspace(-4, 4, 81))


def letter_entropy(batches: Sequence[PairBatch]) -> float:
    """Return the entropy of the letters of each family's first views, averaged over their residues."""
    counts: dict[int, np.ndarray] = {}
    for pairs in batches:
        for family, tokens in zip(pairs.family.tolist(), pairs.a, strict=True):
            letters = tokens[(tokens >= FIRST_RESIDUE) & (tokens < UNKNOWN)] - FIRST_RESIDUE
            counts[family] = counts.get(family, 0) + np.bincount(letters, minlength=20)
    table = np.stack(list(counts.values()))
    frequency = table / table.sum(axis=1, keepdims=True)
    return float(-xlogy(table, frequency).sum() / table.sum())


@pytest.fixture(scope="module")
def trees(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trees") / "trees.sto"
    write_families(infer_trees(read_families(examples / "families.sto")), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [name for name in recipes.names() if "task" not in recipes.read(name).values])
def test_every_recipe_beats_the_loss_of_a_collapsed_encoder(recipe: str, trees: Path, tmp_path: Path) -> None:
    steps, run = 600 if recipe == "mae" else 200, tmp_path / "run"  # letters are learned after their frequencies
    changes = {"encoder.preset": "tiny", "batch.pairs": 32, "validation.every": steps, "precision": "fp32"}
    teachers = ("default",) if recipe == "distil" else ()
    train_model([trees], run, recipe=recipe, steps=steps, device="cpu", settings=changes, teachers=teachers)
    everything = pl.read_parquet(run / "metrics.parquet")
    metrics, loss = everything[-20:], "contrastive_loss" if teachers else "loss"
    config = TrainConfig.read(run / "config.toml")
    task = ContrastiveTask(config)
    corpus = load_corpus([trees], config, every_view=task.requirements.views == "all")
    batches = [corpus.batch(step) for step in range(steps - 20, steps)]
    masks = [task.objective_batch(pairs).negatives() for pairs in batches]
    negatives = float(torch.stack([mask.sum(1).double().mean() for mask in masks]).mean())
    limits = [collapsed_loss(run, corpus, steps - 1), best_constant(recipe, negatives, len(corpus.families))]
    if recipe == "mae":  # it learns the frequencies of a family's letters first
        limits.append(letter_entropy(batches))
    if "ceiling" in metrics.columns:  # log K, exactly, with its masks
        limits.append(metrics["ceiling"].mean())
    found = metrics[loss]
    if recipe == "margin":  # a mean over the pairs that violate the margin; limits are of a mean over all mined pairs
        found = found * metrics["active"]
        pairs = [mean_hinges(run, corpus, step) for step in range(steps - 5, steps)]
        own, shuffled = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
        assert own < 0.8 * shuffled, (own, shuffled)
    assert found.mean() < min(limits) - 0.05, limits
    assert metrics["val_rank"][-1] > 5
    if teachers:  # the student has learned of the teacher, in each of the losses
        assert metrics["crd_bound"].mean() > 0.1
        before, after = (part["similarity-distillation_loss"].mean() for part in (everything[:10], metrics))
        assert after < 0.8 * before


def test_protsent_is_the_ranking_loss_with_a_scale_of_20_in_both_directions(simulated_file: Callable[..., Path]) -> None:
    config = TrainConfig.of(None, {"recipe": "protsent", **nested({"encoder.preset": "tiny", "batch.pairs": 8})})
    task, pairs = ContrastiveTask(config), load_corpus([simulated_file(8, members=6)], config).batch(0)
    assert task.execution.grad_cache
    a, b = (torch.nn.functional.normalize(task.embed(view), dim=1) for view in (pairs.a, pairs.b))
    scores, truth = 20 * a @ b.T, torch.arange(8)
    expected = (torch.nn.functional.cross_entropy(scores, truth) + torch.nn.functional.cross_entropy(scores.T, truth)) / 2
    assert len(set(pairs.family.tolist())) == 8  # one pair of each family: all others are negatives
    assert task(pairs)["loss"].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("encoder", ["convolutional", "plm"])
def test_protsent_trains_any_encoder_on_pairs_of_one_family_with_hard_negatives(
    encoder: str, simulated_file: Callable[..., Path], esm_checkpoint: Path, tmp_path: Path
) -> None:
    path = simulated_file(8, members=6)
    rows = [f"PF{i:05d}\tPF{(i + 1) % 8:05d}" for i in range(8)]
    (tmp_path / "hard.tsv").write_text("family\tnegative\n" + "\n".join(rows) + "\n")
    settings = {**UNVALIDATED, "batch.pairs": 6, "batch.hard_negatives": str(tmp_path / "hard.tsv"), "batch.max_tokens": 200}
    if encoder == "plm":
        settings |= {"encoder.name": "plm", "encoder.parameters": {"checkpoint": str(esm_checkpoint), "mode": "full"}}
    run = tmp_path / "run"
    folder = train_model([path], run, recipe="protsent", steps=2, device="cpu", settings=settings)
    assert Model.load(folder).config.encoder == encoder
    assert pl.read_parquet(run / "metrics.parquet")["loss"].is_finite().all()
