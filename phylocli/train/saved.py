"""What a checkpoint holds: plain data, which `torch.load` reads without running code."""

from __future__ import annotations

from typing import Any, TypedDict

from torch import Tensor


class RandomState(TypedDict):
    """The random state of a process: of the CPU, and of the GPU that it computes on."""

    random: Tensor
    random_cuda: Tensor | None


class Optimiser(TypedDict):
    """The state of a torch optimiser: moments by the number of the weight, and groups of weights."""

    state: dict[int, dict[str, Tensor]]
    param_groups: list[dict[str, Any]]


class Weights(TypedDict, total=False):
    """The large part, which is sent from process to process tensor by tensor; only rank 0 has it."""

    task: dict[str, Tensor]
    optimiser: Optimiser


class Sampler(TypedDict):
    """Batches are functions of these two."""

    seed: int
    next_step: int


class Progress(TypedDict, total=False):
    """How training went so far; see `TrainState`."""

    scale: float
    rollbacks: int
    best: float


class Executed(TypedDict, total=False):
    """How steps are computed, where running out of memory has changed it."""

    max_tokens: int
    grad_cache: bool


class Saved(Weights, total=False):
    """The complete state for resuming a run exactly. Earlier versions omitted some parts."""

    step: int
    random: Tensor
    random_cuda: Tensor | None
    ranks: list[RandomState]
    sampler: Sampler
    schedule: dict[str, float]
    progress: Progress
    execution: Executed
