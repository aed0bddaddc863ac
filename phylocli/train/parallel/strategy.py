"""The training strategy: gradients, clipping, and saving and restoring weights and optimiser state."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from phylocli.config.train import OptimiserConfig
from phylocli.models.model import Model
from phylocli.train.data.types import TrainingBatch
from phylocli.train.optimiser import make_optimiser
from phylocli.train.parallel.execution import Execution
from phylocli.train.parallel.world import World, replicated, unsynchronised
from phylocli.train.saved import Optimiser, Weights


class Trainable(nn.Module):
    """A module that a strategy and the training loop can train; its `forward` returns the loss of a batch.

    Attributes:
        model: the model to train, or that of the first modality.
        execution: execution settings.
        seed: of the run.
    """

    model: Model
    execution: Execution
    seed: int

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.model.device

    @abstractmethod
    def models(self) -> list[Model]:
        """Return the models whose encoders can be sharded."""

    @abstractmethod
    def forward(self, batch: Any) -> dict[str, Tensor]:
        """Return named terms for a batch; `loss` is minimised."""

    def after_step(self) -> None:
        """Update what follows the weights; called after each optimiser step."""

    def discard_pending(self) -> None:
        """Discard what a skipped step has queued."""

    def changing_buffers(self) -> list[Tensor]:
        """Return the buffers that a forward pass in training changes."""
        return []

    def undo_point(self) -> Callable[[], None]:
        """Return a function that undoes later forward passes: it restores the random state and the changing buffers."""
        buffers = self.changing_buffers()
        before = [b.clone() for b in buffers]
        random = torch.get_rng_state()
        random_cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None

        @torch.no_grad()
        def undo() -> None:
            torch.set_rng_state(random)
            if random_cuda is not None:
                torch.cuda.set_rng_state(random_cuda, self.device)
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
            self.discard_pending()

        return undo


class Strategy:
    """Data parallel training: every process has all weights, and gradients are averaged over the processes.

    Args:
        task: the task; it is moved to the device.
        config: the table `optimiser` of the run's configuration.
        device: the device of this process.
        has_unused_parameters: returns whether a step may leave weights without a gradient; only used with several processes.

    Attributes:
        task: the task.
        optimiser: the optimiser of its weights.
    """

    def __init__(
        self,
        task: Trainable,
        config: OptimiserConfig,
        device: torch.device,
        has_unused_parameters: Callable[[], bool] = lambda: True,
    ) -> None:
        self.task = task.to(device)
        self.has_unused_parameters = has_unused_parameters
        self.optimiser = self._make_optimiser(config)

    @property
    def world(self) -> World:
        """The processes of the run."""
        return self.task.execution.world

    @functools.cached_property
    def trained(self) -> nn.Module:
        """The task, wrapped to average gradients over the processes."""
        if self.world.size == 1:
            return self.task
        return replicated(self.task, find_unused=self.has_unused_parameters())

    def gradients(self, batches: Sequence[TrainingBatch]) -> dict[str, Tensor]:
        """Run the forward and backward passes of `batches`, averaging gradients, and return the averaged terms."""
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
        """Clip the norm of the gradient of all weights at `largest`; return the norm before clipping."""
        return nn.utils.clip_grad_norm_(self.task.parameters(), largest)

    def state(self) -> Weights:
        """Return the state of task and optimiser, complete at least on rank 0. Collective: all processes must call it.

        The format does not depend on the number of processes or on sharding.
        """
        return {"task": self.task.state_dict(), "optimiser": cast(Optimiser, self.optimiser.state_dict())}

    def restore(self, state: Weights) -> None:
        """Restore task and optimiser from the result of `state`. Collective: all processes must call it.

        Args:
            state: the state on rank 0, which sends it to the others tensor by tensor; ignored on other ranks.

        Raises:
            RuntimeError, ValueError, KeyError: the state belongs to a different model.
        """
        self.restore_task(state)
        saved = state.get("optimiser", Optimiser(state={}, param_groups=[]))
        moments = {(i, name): value for i, entry in saved["state"].items() for name, value in entry.items()}
        weights = [p for group in self.optimiser.param_groups for p in group["params"]]
        entries: dict[int, dict[str, Tensor]] = {}
        for (i, name), value in self.world.broadcast_tensors(moments):
            entries.setdefault(i, {})[name] = self._local_part(value, weights[i])
        groups = self._local_groups(self.world.from_main(saved["param_groups"]))
        self.optimiser.load_state_dict({"state": entries, "param_groups": groups})

    def restore_task(self, state: Weights) -> None:
        """Restore the task only, see `restore`."""
        own = self.task.state_dict()
        received = self.world.broadcast_tensors(state.get("task", {}))
        self.task.load_state_dict({name: self._local_part(value, own.get(name)) for name, value in received})

    def model(self) -> Model | None:
        """Return the trained model on rank 0; None on other ranks."""
        return self.task.model if self.world.main else None

    def _make_optimiser(self, config: OptimiserConfig) -> torch.optim.Optimizer:
        return make_optimiser(self.task, config)

    def _local_part(self, value: Tensor, like: Tensor | None) -> Tensor:
        """Return this process's shard of a tensor sent by rank 0; `like` is the tensor that it replaces."""
        return value

    def _local_groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return saved parameter groups in the layout of this process's optimiser."""
        return groups
