"""What a step does with the weights: gradients of a batch, clipping, the optimiser; and the weights' part of checkpoints."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from phylocli.models.model import Model
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.data.types import PairBatch
from phylocli.train.dry_run import leaves_out
from phylocli.train.optimiser import make_optimiser
from phylocli.train.parallel.world import World, replicated, unsynchronised
from phylocli.train.task import Learner


class Engine:
    """Trains a learner that is whole in each process; gradients are added up over the processes.

    Args:
        learner: is moved to the device.
        corpus: of the run.
        settings: `optimiser` of the run.
        device: to compute on.

    Attributes:
        learner, optimiser: of this process.
    """

    def __init__(self, learner: Learner, corpus: Corpus, settings: dict[str, Any], device: torch.device) -> None:
        self.learner, self.corpus = learner.to(device), corpus
        self.optimiser = self._make_optimiser(settings)

    @property
    def world(self) -> World:
        """The processes of the run."""
        return self.learner.world

    @functools.cached_property
    def trained(self) -> nn.Module:
        """The learner, its gradients added up over all processes."""
        if self.world.size == 1:
            return self.learner
        return replicated(self.learner, loose=leaves_out(self.learner, self.corpus.batch(0)))

    def gradients(self, batches: Sequence[PairBatch]) -> dict[str, Tensor]:
        """Compute the average gradient of some batches; return the average of their terms."""
        self.optimiser.zero_grad(set_to_none=True)
        terms: dict[str, Tensor] = {}
        for i, pairs in enumerate(batches):
            with unsynchronised(self.trained, i + 1 < len(batches)):
                found = self.trained(pairs)
                (found["loss"] / len(batches)).backward()
            for name, value in found.items():
                terms[name] = terms.get(name, 0) + value.detach() / len(batches)
        return terms

    def clip(self, most: float) -> Tensor:
        """Scale the gradient of all weights together down to a norm of at most `most`; return the norm that it had."""
        return nn.utils.clip_grad_norm_(self.learner.parameters(), most)

    def state(self) -> dict[str, Any]:
        """Return `learner` and `optimiser`, whole, on rank 0 at least; all processes ask for it together.

        It has the same form however many processes there are and wherever the weights are.
        """
        return {"learner": self.learner.state_dict(), "optimiser": self.optimiser.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave.

        Args:
            state: of rank 0, which deals it out tensor by tensor; others need not have `learner` and `optimiser`.

        Raises:
            RuntimeError, ValueError, KeyError: it is that of another model.
        """
        self.restore_learner(state)
        saved = state.get("optimiser", {"state": {}, "param_groups": None})
        moments = {(i, name): value for i, entry in saved["state"].items() for name, value in entry.items()}
        weights = [p for group in self.optimiser.param_groups for p in group["params"]]
        entries: dict[int, dict[str, Tensor]] = {}
        for (i, name), value in self.world.deal(moments):
            entries.setdefault(i, {})[name] = self._own_part(value, weights[i])
        groups = self._own_groups(self.world.from_main(saved["param_groups"]))
        self.optimiser.load_state_dict({"state": entries, "param_groups": groups})

    def restore_learner(self, state: dict[str, Any]) -> None:
        """Take over the learner of a state, as `restore`."""
        own = self.learner.state_dict()
        dealt = self.world.deal(state.get("learner", {}))
        self.learner.load_state_dict({name: self._own_part(value, own.get(name)) for name, value in dealt})

    def _make_optimiser(self, settings: dict[str, Any]) -> torch.optim.Optimizer:
        return make_optimiser(list(self.learner.parameters()), settings)

    def _own_part(self, value: Tensor, like: Tensor | None) -> Tensor:
        """Return what this process keeps of a tensor that rank 0 dealt out; `like` is what it will replace."""
        return value

    def _own_groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return saved groups of weights as the optimiser has them."""
        return groups

    def model(self) -> Model | None:
        """Return the trained model on rank 0; None elsewhere."""
        return self.learner.model if self.world.main else None
