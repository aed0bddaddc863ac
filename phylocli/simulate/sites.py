"""Rates of sites: Γ-distributed rates, invariant sites, and motifs under purifying selection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import UsageError
from phylocli.tree.models import discrete_gamma

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RateModel:
    """The distribution of site rates, with mean 1.

    Attributes:
        alpha: shape of Γ(α, 1/α); infinite for equal rates.
        categories: number of equally probable categories, represented by their mean rates (Yang, J. Mol. Evol. 39:306,
            1994); 0: continuous Γ.
        invariant: fraction of sites that never change; the rates of the others are multiplied by 1/(1 − fraction).

    Raises:
        UsageError: a value out of range.
    """

    alpha: float = 1.0
    categories: int = 0
    invariant: float = 0.0

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise UsageError(f"the shape α of the Γ distribution must be positive, not {self.alpha:g}")
        if self.categories < 0:
            raise UsageError(
                f"the number of rate categories must not be negative, not {self.categories}",
                fix="0 means continuous Γ rates",
            )
        if not 0 <= self.invariant < 1:
            raise UsageError(f"the fraction of invariant sites must be at least 0 and below 1, not {self.invariant:g}")

    def draw(self, sites: int, rng: np.random.Generator) -> Floats:
        """Return the rates of sites, shape (sites,)."""
        if np.isinf(self.alpha):
            rates = np.ones(sites)
        elif self.categories:
            rates = discrete_gamma(self.alpha, self.categories)[rng.integers(self.categories, size=sites)]
        else:
            rates = rng.gamma(self.alpha, 1 / self.alpha, sites)
        if self.invariant:
            rates = np.where(rng.random(sites) < self.invariant, 0.0, rates / (1 - self.invariant))
        return rates


@dataclass(frozen=True)
class Motifs:
    """Conserved blocks: slow sites without insertions and deletions.

    Attributes:
        count: number of blocks per family.
        length: residues per block.
        rate: factor for the rates of their sites; 0: they never change.

    Raises:
        UsageError: a value out of range.
    """

    count: int = 0
    length: int = 10
    rate: float = 0.05

    def __post_init__(self) -> None:
        if self.count < 0 or self.length < 1:
            raise UsageError(f"number and length of motifs must be at least 1, not {self.count} and {self.length}")
        if not 0 <= self.rate <= 1:
            raise UsageError(f"the relative rate of motifs must be from 0 to 1, not {self.rate:g}")

    def place(self, columns: int, rng: np.random.Generator) -> Ints:
        """Return the motif of each residue at the root, from 1 on, 0 for none, shape (columns,).

        All non-overlapping placements are equally likely.

        Raises:
            UsageError: the motifs do not fit, or leave no other site.
        """
        motif = np.zeros(columns, dtype=np.int64)
        free = columns - self.count * self.length
        if self.count and free < 1:
            raise UsageError(
                f"{self.count} motifs of {self.length} residues do not fit into {columns}",
                fix="give fewer or shorter motifs, or longer sequences",
            )
        # With each motif shrunk to one residue, placing them is choosing positions among the remaining ones.
        places = np.sort(rng.choice(free + self.count, self.count, replace=False))
        for number, place in enumerate((places + np.arange(self.count) * (self.length - 1)).tolist(), 1):
            motif[place : place + self.length] = number
        return motif

    def speed(self, columns: int) -> float:
        """Return the factor for all rates that keeps their mean over the sites of the root at 1."""
        inside = self.count * self.length
        return columns / (columns - inside + self.rate * inside)


def rate_digits(rates: Floats) -> str:
    """Return one digit per site: 0 for invariant; 5 for a rate from 1/2 to 1, and one more for each doubling, 1 to 9."""
    classes = np.floor(np.log2(np.maximum(rates, 1e-300))) + 6
    digits = np.where(rates > 0, np.clip(classes, 1, 9), 0).astype(np.uint8)
    return (digits + ord("0")).astype(np.uint8).tobytes().decode()


def motif_letters(motif: Ints) -> str:
    """Return one letter per site: A for the first motif, B for the second (A again after Z), a dot for none."""
    letters = np.where(motif > 0, ord("A") + (motif - 1) % 26, ord("."))
    return letters.astype(np.uint8).tobytes().decode()
