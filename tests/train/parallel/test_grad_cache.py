"""Large batches on small devices: cached and recomputed gradients are those of the whole batch, for a fraction of memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_run
import torch
from torch import Tensor

from phylocli.config.assignments import nested
from phylocli.config.train import TrainConfig
from phylocli.core.plugins import OBJECTIVES
from phylocli.critics import build_critic
from phylocli.objectives import Requirements, build_objective, requirements_of
from phylocli.objectives.base.memory_bank import MemoryBank
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.data.loading import load_corpus
from phylocli.train.data.types import PairBatch
from phylocli.train.task import ContrastiveTask

SMALL: dict[str, Any] = {
    **small_run.UNVALIDATED,
    "encoder.parameters.dropout": 0.2,
    "batch.max_tokens": 150,  # some three sequences at once
}
RECIPES = ["simclr", "clip", "siglip", "dcl", "supcon", "moco", "swav", "simcse-supervised", "declutr", "align-uniform"]
RECIPES += ["cpc", "cpcprot", "infomax", "hybrid", "mae", "cross-entropy", "supervised-multi-crop"]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def families(simulated_file: Callable[..., Path]) -> Path:
    return simulated_file(6, members=20, in_clan=2)


def made(recipe: str, families: Path, **changes: Any) -> tuple[ContrastiveTask, Corpus]:
    queue = {"objective.queue": 30} if recipe in ("moco", "swav") else {}
    values = nested({**SMALL, **queue, **changes})
    config = TrainConfig.of(None, {"recipe": recipe, **values})
    task = ContrastiveTask(config)
    corpus = load_corpus([families], config, every_view=task.requirements.views == "all")
    task.read_families(corpus.families)
    return task, corpus


def gradients(task: ContrastiveTask, pairs: PairBatch, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the gradient of a batch's loss with respect to everything that is trained, as one vector."""
    task.to(dtype).zero_grad()
    torch.manual_seed(7)
    task(pairs)["loss"].backward()
    return torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in task.parameters()])


def error(found: Tensor, true: Tensor) -> float:
    return float((found - true).norm() / true.norm().clamp(min=1e-30))


@pytest.mark.parametrize("recipe", RECIPES)
def test_cached_gradients_are_those_of_the_whole_batch_with_dropout(recipe: str, families: Path) -> None:
    """Every recipe: vectors, queues, prototypes, residues and segments."""
    task, corpus = made(recipe, families)
    for step in (0, 1):  # the second meets a queue with something in it
        pairs = corpus.batch(step)
        task.execution.grad_cache = False
        whole = gradients(task, pairs)
        task.discard_pending()
        task.execution.grad_cache = True
        assert error(gradients(task, pairs), whole) < 1e-5
        task.after_step()
    assert whole.norm() > 0  # at step 0 a queue is empty, and the gradient 0


@pytest.mark.parametrize("encoder", ["convolutional", "transformer", "hybrid", "recurrent"])
def test_recomputed_gradients_are_those_of_kept_activations(encoder: str, families: Path) -> None:
    task, corpus = made("simclr", families, **{"encoder.name": encoder, "encoder.parameters.dropout": 0.2})
    again, _ = made(
        "simclr",
        families,
        **{"encoder.name": encoder, "encoder.parameters.dropout": 0.2, "batch.activation_checkpointing": True},
    )
    pairs = corpus.batch(0)
    whole = gradients(task, pairs)
    assert task.model.encoder.activation_checkpointing is False and again.model.encoder.activation_checkpointing is True
    assert error(gradients(again, pairs), whole) < 1e-5
    again.execution.grad_cache = True  # both at once
    assert error(gradients(again, pairs), whole) < 1e-5


def test_in_double_precision_only_rounding_is_left_and_dropout_matters(families: Path) -> None:
    """In double precision nothing but the order of summation is left; without the same dropout the gradient is another."""
    task, corpus = made("simclr", families)
    pairs = corpus.batch(0)
    whole = gradients(task, pairs, torch.float64)
    task.execution.grad_cache = True
    assert error(gradients(task, pairs, torch.float64), whole) < 1e-12
    torch.manual_seed(8)
    task.zero_grad()
    task(pairs)["loss"].backward()
    other = torch.cat([p.grad.flatten() for p in task.parameters() if p.grad is not None])
    assert error(other, whole) > 1e-2


def test_only_one_group_is_held_with_its_activations(families: Path) -> None:
    """Count what is alive between forward and backward: activations of the encoder's blocks only without caching."""
    task, corpus = made("simclr", families)
    saved: list[int] = []

    def note(x: Tensor) -> Tensor:
        saved.append(x.numel() * x.element_size())
        return x

    held = {}
    for cache in (False, True):
        task.execution.grad_cache = cache
        saved.clear()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            task(corpus.batch(0))
        held[cache] = sum(saved)
    assert held[True] < 0.2 * held[False]


def test_what_objectives_may_ask_for_was_tested_above() -> None:
    def kind(needs: Requirements) -> tuple[Any, ...]:
        return needs.views, needs.momentum is not None, needs.residues, needs.segments > 0

    tested = {
        kind(requirements_of(ContrastiveTask(TrainConfig.of(None, {"recipe": recipe})).objective)) for recipe in RECIPES
    }
    for name in OBJECTIVES.names():
        critic = build_critic("gaussian", 5)  # the one that all objectives take
        assert kind(requirements_of(build_objective(name, critic, dimension=5, features=5))) in tested, name


def test_trial_step_finds_weights_without_gradient_and_changes_nothing(families: Path) -> None:
    for recipe, changes, expected in (
        ("simclr", {"objective.name": "mine"}, False),
        ("moco", {}, False),
        ("swav", {"critic.name": "separable"}, True),  # prototypes take the critic's place
        ("cpc", {}, True),
    ):
        task, corpus = made(recipe, families, **changes)
        before = {name: value.clone() for name, value in task.state_dict().items()}
        torch.manual_seed(3)
        assert task.has_unused_parameters(corpus.batch(0)) is expected, recipe
        assert torch.initial_seed() == 3 and torch.equal(
            torch.rand(2), torch.rand(2, generator=torch.Generator().manual_seed(3))
        )
        assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items() if not value.isnan().any())
        assert all(p.grad is None for p in task.parameters())
        task.after_step()  # nothing waits for the queue
        assert all(not part.filled().any() for part in task.modules() if isinstance(part, MemoryBank))
