"""Fully sharded data parallel training, for encoders that do not fit on one device.

The encoder's blocks are sharded one by one, with their gradients and optimiser state; the weights of a block are gathered
while it is computed (Rajbhandari et al. 2020, ZeRO, arXiv 1910.02054, stage 3; Zhao et al. 2023, PyTorch FSDP,
arXiv 2304.11277). Pooling, head, critic and objective are small and not sharded. The result of a step is the same as with a
single process, see `phylocli.train.parallel.world`.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from phylocli.config.train import OptimiserConfig
from phylocli.core.errors import UsageError
from phylocli.models.model import Model
from phylocli.train.data.types import TrainingBatch
from phylocli.train.optimiser import make_optimiser
from phylocli.train.parallel.strategy import Strategy, Trainable
from phylocli.train.saved import Weights


class ShardedStrategy(Strategy):
    """Trains a task whose encoder is sharded among the processes. All methods are collective.

    Args:
        task: the task in host memory; its blocks are moved to the device one by one and sharded.
        config, device: see `Strategy`.

    Raises:
        UsageError: there is only one process, or the encoder has no attribute `blocks`.
    """

    def __init__(self, task: Trainable, config: OptimiserConfig, device: torch.device) -> None:
        size = task.execution.world.size
        if size == 1:
            raise UsageError(
                "batch.shard shards the encoder among several processes, but there is only one",
                fix="start it with torchrun --nproc-per-node N -m phylocli train …, or use --set batch.shard=false",
            )
        mesh = init_device_mesh(device.type, (size,))
        for model in task.models():
            _shard(model, mesh)
        super().__init__(task, config, device)
        trained = [p for p in task.parameters() if p.requires_grad]
        self.parts, self.wholes = [p for p in trained if _is_part(p)], [p for p in trained if not _is_part(p)]

    @functools.cached_property
    def trained(self) -> nn.Module:
        """The task; FSDP averages the gradients of its encoder over the processes."""
        return self.task

    def gradients(self, batches: Sequence[TrainingBatch]) -> dict[str, Tensor]:
        """Compute the average gradient of `batches`, see `Strategy.gradients`."""
        terms = super().gradients(batches)
        found = [p.grad for p in self.wholes if p.grad is not None]
        if found:  # a single all-reduce for all unsharded gradients
            together = torch.cat([g.flatten() for g in found])
            dist.all_reduce(together)
            together /= self.world.size
            for gradient, mean in zip(found, together.split([g.numel() for g in found]), strict=True):
                gradient.copy_(mean.view_as(gradient))
        return terms

    def clip(self, largest: float) -> Tensor:
        """Clip the norm of the gradient of all weights, see `Strategy.clip`."""
        # torch cannot clip a list that mixes sharded and unsharded tensors.
        kinds = [kind for kind in (self.parts, self.wholes) if any(p.grad is not None for p in kind)]
        norms = [nn.utils.get_total_norm([p.grad for p in kind if p.grad is not None]) for kind in kinds]
        total = torch.stack([n.full_tensor() if isinstance(n, DTensor) else n for n in norms]).norm()
        for kind in kinds:
            nn.utils.clip_grads_with_norm_(kind, largest, total)
        return total

    def model(self) -> Model | None:
        """Return the trained model with unsharded weights, in host memory, on rank 0; None on other ranks."""
        state = {name: _whole(value) for name, value in self.task.model.state_dict().items()}
        if not self.world.main:
            return None
        with torch.random.fork_rng(devices=[]):
            model = Model(self.task.model.config)
        model.load_state_dict(state)
        return model.eval()

    def state(self) -> Weights:
        """Return the unsharded state of task and optimiser, in host memory, on rank 0; an empty dict on other ranks."""
        task = {name: _whole(value) for name, value in self.task.state_dict().items()}
        own = self.optimiser.state_dict()
        moments = {i: {name: _whole(value) for name, value in entry.items()} for i, entry in own["state"].items()}
        if not self.world.main:
            return {}
        # Merge the groups of sharded and unsharded parameters, so that parameter indices are those of a single process.
        parts, wholes = own["param_groups"][::2], own["param_groups"][1::2]
        groups = [{**a, "params": a["params"] + b["params"]} for a, b in zip(parts, wholes, strict=True)]
        return {"task": task, "optimiser": {"state": moments, "param_groups": groups}}

    def _make_optimiser(self, config: OptimiserConfig) -> torch.optim.Optimizer:
        return make_optimiser(self.task, config, apart=_is_part)

    def _local_groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        own = self.optimiser.state_dict()["param_groups"]
        return [{**groups[i // 2], "params": group["params"]} for i, group in enumerate(own)]

    def _local_part(self, value: Tensor, like: Tensor | None) -> Tensor:
        if isinstance(like, DTensor) and value.shape == like.shape:
            return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
        return value


def _shard(model: Model, mesh: DeviceMesh) -> None:
    """Shard the weights of a model's encoder.

    Raises:
        UsageError: the encoder has no attribute `blocks`.
    """
    blocks = getattr(model.encoder, "blocks", None)
    if blocks is None:
        raise UsageError(
            f"the encoder {model.config.encoder!r} cannot be sharded (batch.shard): it has no `blocks`",
            fix="use --set batch.shard=false",
        )
    # The warning concerns in-place changes of the encoder's output, which do not occur.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    # With reshard_after_forward, parameters are sharded at all times between passes, which clipping and saving rely on.
    for block in blocks:
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    fully_shard(model.encoder, mesh=mesh, reshard_after_forward=True)  # the remaining weights: embedding, final norm


def _is_part(value: Tensor) -> bool:
    return isinstance(value, DTensor)


def _whole(value: Tensor) -> Tensor:
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach().cpu()
