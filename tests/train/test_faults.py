"""Known faults of other programs for contrastive training."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import small_run
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from phylocli.config.assignments import nested
from phylocli.config.train import TrainConfig
from phylocli.core.errors import BadInputError
from phylocli.core.plugins import OBJECTIVES
from phylocli.critics import build_critic
from phylocli.objectives import Batch, Requirements, build_objective, needs_decoder, requirements_of
from phylocli.train import checkpoints, train_model
from phylocli.train.data.loading import load_corpus
from phylocli.train.task import ContrastiveTask

SMALL: dict[str, Any] = {**small_run.UNVALIDATED, "batch.pairs": 8}


@pytest.fixture(scope="module")
def families(simulated_file: Callable[..., Path]) -> Path:
    return simulated_file(8, members=16, in_clan=2, length=90)


def settings(**changes: Any) -> dict[str, Any]:
    return TrainConfig.of(None, {"recipe": "simclr", **nested({**SMALL, **changes})})


def test_weight_updates_are_below_bfloat16_resolution(families: Path, tmp_path: Path) -> None:
    """Weights kept in bfloat16 stand still at small rates: 0.1 has neighbours 0.0005 away."""
    changes = {**SMALL, "precision": "bf16", "optimiser.learning_rate": 1e-6, "optimiser.warmup": 0.0}
    train_model([families], tmp_path / "run", steps=2, device="cpu", settings={**changes, "checkpoints.every": 1})
    first, last = (
        torch.load(tmp_path / "run" / "checkpoints" / f"step-0000000{step}.pt", weights_only=True) for step in (1, 2)
    )
    moved = {name: (last["task"][name] - value).abs() for name, value in first["task"].items() if value.ndim == 2}
    looks = [name for name in moved if name.endswith("look.weight")]
    assert looks and all((moved[name] > 0).float().mean() > 0.9 for name in looks)
    for name in looks:
        assert moved[name].max() < 1e-5
        still = (first["task"][name].bfloat16() == last["task"][name].bfloat16()).float().mean()
        assert still > 0.95, name
    assert all(
        value.dtype == torch.float32
        for values in last["optimiser"]["state"].values()
        for value in values.values()
        if value.is_floating_point()
    )


def test_a_maximum_length_holds_and_without_one_nothing_is_cut(families: Path) -> None:
    for crop, longest in (({"view.crop.max_length": 40}, 40), ({"view.name": "phylogenetic"}, 90)):
        config = settings(**crop, **{"batch.max_tokens": 64})  # fewer than a whole sequence has
        task, corpus = ContrastiveTask(config), load_corpus([families], config)
        seen: list[int] = []
        task.model.encoder.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(int(inputs[1].sum(1).max())))
        pairs = corpus.batch(0)
        task(pairs)
        assert max(map(len, pairs.a + pairs.b)) == max(seen) == longest


def test_no_family_occurs_twice_in_a_batch_unnecessarily(families: Path) -> None:
    corpus = load_corpus([families], settings())
    for step in range(20):
        chosen = corpus.batch(step).family
        assert len(np.unique(chosen)) == len(chosen) == 8
    # Where there are more pairs than families, two of one family are never each other's negatives.
    corpus = load_corpus([families], settings(**{"batch.pairs": 20}))
    pairs = corpus.batch(0)
    negatives = ContrastiveTask(settings()).objective_batch(pairs).negatives()
    homologs = pairs.family[:, None] == pairs.family[None]
    assert homologs.sum() > 20 and not negatives[torch.from_numpy(homologs)].any()


ONE_WAY = {  # by their definition: a queue, a decoder, or student and teacher have a direction
    *(
        "moco",
        "barber-agakov",
        "leave-one-out",
        "club",
        "wasserstein",
        "simcse-supervised",
        "declutr",
        "interpolated",
        "similarity-distillation",
    ),
}


def plain(objective: torch.nn.Module) -> bool:
    """Return whether an objective takes vectors of whole views and nothing else."""
    return replace(requirements_of(objective), negatives=True) in (Requirements(), Requirements(views="all"))


PLAIN = [
    name for name in OBJECTIVES.names() if plain(build_objective(name, build_critic("gaussian", 5), dimension=5, features=5))
]


@pytest.mark.parametrize("name", [name for name in PLAIN if name not in ONE_WAY])
def test_a_loss_on_symmetric_pairs_has_both_directions(name: str) -> None:
    torch.manual_seed(0)
    objective = build_objective(name, build_critic("cosine", 6, {"temperature": 0.2}), dimension=6, features=6).eval()
    a, b = torch.randn(2, 9, 6).double()
    batch = Batch.of_families(torch.tensor([0, 0, 1, 2, 3, 4, 5, 6, 7]))
    objective = objective.double()
    torch.testing.assert_close(objective(a, b, batch)["loss"], objective(b, a, batch)["loss"])


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that is made."""

    numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for part in tree_leaves(made):
            if isinstance(part, Tensor):
                # A view by expansion takes no memory.
                self.numbers = max(self.numbers, part.untyped_storage().nbytes() // part.element_size())
        return made


@pytest.mark.parametrize("name", PLAIN)
def test_no_loss_builds_a_vector_for_every_pair_of_pairs(name: str) -> None:
    """Memory is O(N² + N D); N² D would be two million numbers here, and 34 GB at 1,024 pairs of 768 features twice."""
    n, dimension = 64, 512
    critic = "gaussian" if needs_decoder(name) else "cosine"
    parameters = {"buffer": n} if name == "crd" else None  # by default, the buffer alone has more numbers than N² D / 4
    made = build_critic(critic, dimension)
    objective = build_objective(name, made, parameters, dimension=dimension, features=dimension)
    a, b = torch.randn(2, n, dimension).requires_grad_().unbind()
    batch = Batch.of_families(torch.arange(n), torch.full((n,), -1), more=[torch.randn(n, dimension)])
    with Largest() as largest:
        objective(a, b, batch)["loss"].backward()
    weights = max((p.numel() for p in objective.parameters()), default=0)
    assert 0 < largest.numbers <= max(weights, 2 * n * dimension, 4 * (2 * n) ** 2) < n * n * dimension / 4


def test_optimiser_state_must_match_when_resuming(families: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train_model([families], whole, steps=4, device="cpu", settings={**SMALL, "checkpoints.every": 2})
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "model")
    (cut / "checkpoints" / "step-00000004.pt").unlink()
    wrong = tmp_path / "wrong"
    shutil.copytree(cut, wrong)
    train_model([], cut, device="cpu", resume=True)
    one, two = (checkpoints.load_latest(run / "checkpoints") for run in (whole, cut))
    assert one is not None and two is not None
    assert one["optimiser"]["param_groups"] == two["optimiser"]["param_groups"]
    for key, values in one["optimiser"]["state"].items():
        assert all(torch.equal(value, two["optimiser"]["state"][key][name]) for name, value in values.items())
        assert values["step"] == 4
    assert (
        pl.read_parquet(cut / "metrics.parquet")["loss"].to_list()
        == pl.read_parquet(whole / "metrics.parquet")["loss"].to_list()
    )
    # A state of other weights is refused, not taken for those at the same place.
    path = wrong / "checkpoints" / "step-00000002.pt"
    state = torch.load(path, weights_only=True)
    for group in state["optimiser"]["param_groups"]:
        group["params"] = group["params"][:-1]
    torch.save(state, path)
    with pytest.raises(BadInputError, match="does not match"):
        train_model([], wrong, device="cpu", resume=True)
