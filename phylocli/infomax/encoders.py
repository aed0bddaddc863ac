"""Small encoders of halves: linear, perceptron, convolutional, residual (initially the identity), and invertible."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from phylocli.core.errors import unknown_name
from phylocli.infomax.flows import AffineCoupling, Flow, SplineCoupling
from phylocli.infomax.inputs import BINS, FEATURES, LETTERS

HIDDEN = 128
OUTPUT = 32
SQUARE = ("residual", "realnvp", "spline", "perceptron-square")
"""Encoders with as many features as their input."""
ENCODERS = ("linear", "perceptron", "convolutional", *SQUARE)


class Layered(nn.Module):
    """A stack of blocks, after each of which the vectors can be read.

    Args:
        blocks: (N, D) → (N, E) each.
    """

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def layers(self, x: Tensor) -> list[Tensor]:
        """Return the input and the output of every block."""
        found = [x]
        for block in self.blocks:
            found.append(block(found[-1]))
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the last block."""
        return self.layers(x)[-1]


class Residual(nn.Module):
    """x + f(x), with f initially 0."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        last = nn.Linear(hidden, features)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.branch = nn.Sequential(nn.Linear(features, hidden), nn.GELU(), last)

    def forward(self, x: Tensor) -> Tensor:
        """Return x + f(x)."""
        return x + self.branch(x)


def _hidden(size: int, output: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, output), nn.GELU())


def deep(depth: int, *, output: int = OUTPUT) -> Layered:
    """Return a perceptron with `depth` hidden layers and a linear output."""
    sizes = [FEATURES, *[HIDDEN] * depth]
    return Layered(*(_hidden(a, b) for a, b in itertools.pairwise(sizes)), nn.Linear(HIDDEN, output))


def build_encoder(name: str, seed: int) -> nn.Module:
    """Return an encoder with random weights: (N, FEATURES) → (N, OUTPUT), or (N, FEATURES) for those of `SQUARE`.

    Raises:
        UsageError: no such encoder.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        match name:
            case "linear":
                return nn.Linear(FEATURES, OUTPUT)
            case "perceptron":
                return deep(2)
            case "perceptron-square":
                return deep(2, output=FEATURES)
            case "convolutional":
                return nn.Sequential(
                    nn.Unflatten(1, (BINS, LETTERS)), _Transpose(), nn.Conv1d(LETTERS, 64, 3, padding=1), nn.GELU(),
                    nn.Conv1d(64, 64, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(64 * BINS, OUTPUT),
                )  # fmt: skip
            case "residual":
                return nn.Sequential(*(Residual(FEATURES, HIDDEN) for _ in range(3)))
            case "realnvp":
                return Flow(FEATURES, AffineCoupling, seed=seed)
            case "spline":
                return Flow(FEATURES, SplineCoupling, seed=seed)
    raise unknown_name("unknown encoder", name, ENCODERS)


class _Transpose(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def condition_numbers(encoder: nn.Module, x: Tensor) -> Tensor:
    """Return the condition number of the encoder's Jacobian at each point, (N,), for x (N, FEATURES).

    It is the ratio of the largest to the smallest singular value: how nearly a direction of the input is lost.
    """
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: encoder(row[None])[0]))(x)
    values = torch.linalg.svdvals(jacobian.detach().double())
    return values[:, 0] / values[:, -1].clamp(min=1e-300)
