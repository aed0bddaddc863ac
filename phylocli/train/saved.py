"""Types of the contents of a checkpoint: plain data, which `torch.load` reads without running code."""

from __future__ import annotations

from typing import Any, TypedDict

from torch import Tensor


class RandomState(TypedDict):
    """The state of torch's random number generators in a process: the CPU's, and the GPU's if it computes on one."""

    random: Tensor
    random_cuda: Tensor | None


class Optimiser(TypedDict):
    """The state dict of a torch optimiser: moments by parameter index, and parameter groups."""

    state: dict[int, dict[str, Tensor]]
    param_groups: list[dict[str, Any]]


class Weights(TypedDict, total=False):
    """The large tensors: loaded by rank 0 only, which sends them to the other processes one at a time."""

    task: dict[str, Tensor]
    optimiser: Optimiser


class Sampler(TypedDict):
    """The state of the batch sampler: a batch is a function of the seed and the step."""

    seed: int
    next_step: int


class Progress(TypedDict, total=False):
    """Learning-rate scale, number of rollbacks and best validation metric; see `TrainState`."""

    scale: float
    rollbacks: int
    best: float


class Executed(TypedDict, total=False):
    """Execution settings, which may have been reduced after running out of memory."""

    max_tokens: int
    grad_cache: bool


class Saved(Weights, total=False):
    """The complete state for resuming a run exactly. Checkpoints of earlier versions lack some keys."""

    step: int
    random: Tensor
    random_cuda: Tensor | None
    ranks: list[RandomState]
    sampler: Sampler
    schedule: dict[str, float]
    progress: Progress
    execution: Executed
