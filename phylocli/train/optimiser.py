"""The optimisers, AdamW and Muon, and the learning-rate schedule.

AdamW: Loshchilov & Hutter 2019, arXiv 1711.05101. Muon orthogonalises the momentum of each weight matrix: Jordan et al.
2024, kellerjordan.github.io/posts/muon; scaled so that AdamW's learning rates apply: Liu et al. 2025, arXiv 2502.16982.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from phylocli.config.train import OptimiserConfig, TrainConfig
from phylocli.core.errors import UsageError

SMALLEST_SIDE = 64
"""Muon is for matrices between hidden layers; those with a smaller side (outputs over a few classes) are left to AdamW."""

_MOMENTUM = 0.95
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the quintic iteration of Jordan et al. 2024
_ITERATIONS = 5


def make_optimiser(
    task: nn.Module, config: OptimiserConfig, apart: Callable[[nn.Parameter], bool] | None = None
) -> torch.optim.Optimizer:
    """Return the optimiser, with weight decay on matrices only, not on norms, biases and temperatures.

    Args:
        task: the modules to train; parameters without `requires_grad` are ignored.
        config: the table `optimiser` of the run's configuration.
        apart: identifies parameters that need their own groups; the optimiser then has twice as many groups.
    """
    trained = [p for p in task.parameters() if p.requires_grad]
    embeddings = {id(m.weight) for m in task.modules() if isinstance(m, nn.Embedding)}

    def hidden(p: nn.Parameter) -> bool:
        return p.ndim >= 2 and id(p) not in embeddings and min(p.flatten(1).shape) >= SMALLEST_SIDE

    muon = config.name == "muon"
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim >= 2 and not (muon and hidden(p))], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    if muon:
        matrices = [p for p in trained if hidden(p)]
        groups.append({"params": matrices, "weight_decay": config.weight_decay, "orthogonalised": True})
    if apart is not None:
        groups = [{**g, "params": [p for p in g["params"] if apart(p) == kind]} for g in groups for kind in (True, False)]
    groups = _split_by_depth(groups, task, config.layer_decay)
    fused = trained[0].device.type in ("cuda", "cpu")
    rate, betas = config.learning_rate, (config.beta1, config.beta2)
    return (Muon if muon else torch.optim.AdamW)(groups, lr=rate, betas=betas, fused=fused)


def _split_by_depth(groups: list[dict[str, Any]], task: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Return parameter groups divided by layer, with `scale`, the factor of the learning rate.

    It is decay ** (n - i) for layer i of n, counted from 0, decay ** (n + 1) for what precedes them (embeddings), and 1 for
    what follows them (Clark et al. 2020, arXiv 2003.10555; Bao et al. 2022, arXiv 2106.08254).

    Raises:
        UsageError: the encoder has no attribute `blocks`.
    """
    if decay == 1:
        return groups
    encoder = getattr(getattr(task, "model", None), "encoder", None)
    blocks = getattr(encoder, "blocks", None)
    if encoder is None or blocks is None:
        raise UsageError(
            "the encoder has no layers, so that its learning rate cannot decrease with depth",
            fix="leave out optimiser.layer_decay",
        )
    scales = {id(p): decay ** (len(blocks) - i) for i, block in enumerate(blocks) for p in block.parameters()}
    for p in encoder.parameters():  # in the order of computation
        if id(p) in scales:
            break
        scales[id(p)] = decay ** (len(blocks) + 1)
    values = sorted({1.0, *scales.values()})
    return [
        {**group, "params": [p for p in group["params"] if scales.get(id(p), 1.0) == scale], "scale": scale}
        for scale in values
        for group in groups
    ]


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return a matrix with the singular vectors of `matrix`, (n, m), and singular values between about 0.7 and 1.2.

    Five Newton–Schulz iterations with the coefficients of Jordan et al. 2024, which converge quickly rather than exactly.
    """
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    a, b, c = _NEWTON_SCHULZ
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.AdamW):
    """Muon for the parameter groups with `orthogonalised`, AdamW for the others.

    The step of a matrix (n, m) is its orthogonalised Nesterov momentum times 0.2 √max(n, m), so that its root mean square is
    that of AdamW's steps (Liu et al. 2025). A kernel of a convolution counts as a matrix of its output channels.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        groups = self.param_groups
        try:
            self.param_groups = [group for group in groups if not group.get("orthogonalised")]
            super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            if group.get("orthogonalised"):
                for p in group["params"]:
                    if p.grad is not None:
                        self._step_matrix(p, p.grad, group)

    def _step_matrix(self, p: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if "momentum" not in state:
            state["step"], state["momentum"] = torch.zeros(()), torch.zeros_like(p)  # AdamW restores no state without `step`
        momentum: Tensor = state["momentum"]
        state["step"] += 1
        momentum.lerp_(gradient, 1 - _MOMENTUM)
        update = orthogonalised(gradient.lerp(momentum, _MOMENTUM).flatten(1))
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(update.view_as(p), alpha=-group["lr"] * 0.2 * math.sqrt(max(update.shape)))


@dataclass
class Schedule:
    """The learning-rate schedule: linear warm-up, a constant rate, then cosine decay.

    Attributes:
        steps: number of steps of the run.
        learning_rate: the peak rate.
        warmup: fraction of the steps used for warm-up.
        final: the rate of the last step as a fraction of the peak rate.
        decay: fraction of the steps used for the decay, at the end; 1 is all after the warm-up.
        scale: factor applied to all rates.
    """

    steps: int
    learning_rate: float
    warmup: float
    final: float
    decay: float = 1.0
    scale: float = 1.0

    @classmethod
    def of(cls, config: TrainConfig) -> Schedule:
        """Return the schedule of a run."""
        rates = config.optimiser
        return cls(config.steps, rates.learning_rate, rates.warmup, rates.final, rates.decay)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 1."""
        warmup = max(1, round(self.warmup * self.steps))
        if step <= warmup:
            return self.learning_rate * step / warmup * self.scale
        constant = max(warmup, self.steps - round(self.decay * self.steps))
        progress = max(0, step - constant) / max(1, self.steps - constant)
        fraction = self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2
        return self.learning_rate * fraction * self.scale
