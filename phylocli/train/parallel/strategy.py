"""What a step does with the weights: gradients of some batches, clipping; and the weights' part of checkpoints."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from phylocli.config.train import OptimiserConfig
from phylocli.models.model import Model
from phylocli.train.data.types import PairBatch
from phylocli.train.optimiser import make_optimiser
from phylocli.train.parallel.execution import Execution
from phylocli.train.parallel.world import World, replicated, unsynchronised
from phylocli.train.saved import Optimiser, Weights


class Trainable(nn.Module):
    """A module that a strategy can train: it returns a loss for a batch of pairs.

    Attributes:
        model: the model to train.
        execution: how steps are computed.
    """

    model: Model
    execution: Execution

    @abstractmethod
    def models(self) -> list[Model]:
        """Return the models in it, whose encoders can be sharded."""

    @abstractmethod
    def forward(self, pairs: PairBatch) -> dict[str, Tensor]:
        """Return named terms for N pairs; `loss` is minimised."""


class Strategy:
    """Trains a task that is whole in each process; gradients are averaged over the processes.

    Args:
        task: is moved to the device.
        config: `optimiser` of the run.
        device: to compute on.
        leaves_weights_out: whether a step may leave weights without a gradient; only used with several processes.

    Attributes:
        task, optimiser: of this process.
    """

    def __init__(
        self,
        task: Trainable,
        config: OptimiserConfig,
        device: torch.device,
        leaves_weights_out: Callable[[], bool] = lambda: True,
    ) -> None:
        self.task = task.to(device)
        self.leaves_weights_out = leaves_weights_out
        self.optimiser = self._make_optimiser(config)

    @property
    def world(self) -> World:
        """The processes of the run."""
        return self.task.execution.world

    @functools.cached_property
    def trained(self) -> nn.Module:
        """The task, its gradients averaged over all processes."""
        if self.world.size == 1:
            return self.task
        return replicated(self.task, find_unused=self.leaves_weights_out())

    def gradients(self, batches: Sequence[PairBatch]) -> dict[str, Tensor]:
        """Compute the average gradient of some batches: forward and backward; return the average of their terms."""
        self.optimiser.zero_grad(set_to_none=True)
        terms: dict[str, Tensor] = {}
        for i, pairs in enumerate(batches):
            with unsynchronised(self.trained, i + 1 < len(batches)):
                found = self.trained(pairs)
                (found["loss"] / len(batches)).backward()
            for name, value in found.items():
                terms[name] = terms.get(name, 0) + value.detach() / len(batches)
        return terms

    def clip(self, largest: float) -> Tensor:
        """Scale the gradient of all weights together to a norm of at most `largest`; return the norm that it had."""
        return nn.utils.clip_grad_norm_(self.task.parameters(), largest)

    def state(self) -> Weights:
        """Return `task` and `optimiser`, whole, on rank 0 at least; all processes call it together.

        Its format does not depend on the number of processes or the location of the weights.
        """
        return {"task": self.task.state_dict(), "optimiser": cast(Optimiser, self.optimiser.state_dict())}

    def restore(self, state: Weights) -> None:
        """Restore the result of `state`.

        Args:
            state: of rank 0, which sends it tensor by tensor; others need not have `task` and `optimiser`.

        Raises:
            RuntimeError, ValueError, KeyError: it is that of another model.
        """
        self.restore_task(state)
        saved = state.get("optimiser", Optimiser(state={}, param_groups=[]))
        moments = {(i, name): value for i, entry in saved["state"].items() for name, value in entry.items()}
        weights = [p for group in self.optimiser.param_groups for p in group["params"]]
        entries: dict[int, dict[str, Tensor]] = {}
        for (i, name), value in self.world.deal(moments):
            entries.setdefault(i, {})[name] = self._own_part(value, weights[i])
        groups = self._own_groups(self.world.from_main(saved["param_groups"]))
        self.optimiser.load_state_dict({"state": entries, "param_groups": groups})

    def restore_task(self, state: Weights) -> None:
        """Take over the task of a state, as `restore`."""
        own = self.task.state_dict()
        dealt = self.world.deal(state.get("task", {}))
        self.task.load_state_dict({name: self._own_part(value, own.get(name)) for name, value in dealt})

    def model(self) -> Model | None:
        """Return the trained model on rank 0; None elsewhere."""
        return self.task.model if self.world.main else None

    def _make_optimiser(self, config: OptimiserConfig) -> torch.optim.Optimizer:
        return make_optimiser(list(self.task.parameters()), config)

    def _own_part(self, value: Tensor, like: Tensor | None) -> Tensor:
        """Return this process's part of a tensor sent by rank 0; `like` is the tensor that it will replace."""
        return value

    def _own_groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return saved groups of weights as the optimiser has them."""
        return groups
