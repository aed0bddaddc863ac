"""Evolutionary distances between the rows of an alignment, by maximum likelihood under models such as LG+Γ, or by formulas.

Under a reversible model the log likelihood of a pair's distance t is Σ_c log(π_a P_ab(t)) over the columns c in which both
rows have a residue (a, b). Its maximum follows from about fifteen sums over the pair's columns (`pairwise_likelihood`),
which are computed as a sparse matrix product per tile. Tiles have bounded size, so that a matrix can be streamed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import UsageError, unknown_name
from phylocli.tree.distances.pairwise_likelihood import CODES, COUNTS, MIN_DISTANCE, Single, curves
from phylocli.tree.models import MODELS, STATES

__all__ = [
    "DISTANCES",
    "FORMULAS",
    "MAX_DISTANCE",
    "MIN_DISTANCE",
    "DistanceReport",
    "Tile",
    "distance_matrix",
    "distance_matrix_report",
    "distance_tiles",
    "fill_undefined",
    "parse_model",
]

FORMULAS = ("kimura", "p")
"""Distances that are a formula of the proportion of differing columns, without a substitution model."""

DISTANCES = (*MODELS, *FORMULAS)
"""All models and formulas of `distance_matrix`."""

MAX_DISTANCE = 5.0
"""Maximum distance; pairs whose likelihood is still increasing there are saturated."""

_BLOCK = 3_000_000  # columns × pairs per tile: 12 MB of codes and the same amount of weights


@dataclass(frozen=True)
class DistanceReport:
    """Statistics of a distance matrix.

    Attributes:
        pairs: number of pairs of rows.
        saturated: number of pairs at `max_distance`, whose likelihood has no maximum below it.
        undefined: number of pairs that share fewer than `min_overlap` columns and are NaN in the matrix.
        filled: number of undefined pairs that were replaced by a distance via other rows.
    """

    pairs: int
    saturated: int
    undefined: int
    filled: int = 0


def parse_model(text: str) -> str:
    """Return the canonical name of a model or formula: `LG`, `lg+g`, `lg+g4` and `LG+Γ` all give `lg`.

    All models have Γ rates, because distances are about half as long without them; an infinite `alpha` disables them.

    Raises:
        UsageError: unknown model or formula.
    """
    name, _, rates = text.strip().lower().partition("+")
    if name not in DISTANCES or not (rates == "" or (name in MODELS and rates.rstrip("0123456789") in ("g", "γ"))):
        raise unknown_name("unknown distance or model", text, DISTANCES)
    return name


class Tile(NamedTuple):
    """A rectangle of the distance matrix.

    Attributes:
        rows, columns: alignment rows that index the rows and columns of the tile.
        distance: distances, float64, shape (rows, columns), NaN for pairs that share too few columns.
        saturated: which pairs are at `max_distance`, shape (rows, columns); all False for `p`.
    """

    rows: slice
    columns: slice
    distance: npt.NDArray[np.float64]
    saturated: npt.NDArray[np.bool_]


def distance_matrix(
    states: npt.NDArray[np.uint8],
    *,
    model: str = "lg+g",
    alpha: float = 1.0,
    min_overlap: int = 10,
    max_distance: float = MAX_DISTANCE,
    dtype: npt.DTypeLike = np.float64,
) -> npt.NDArray[np.floating[Any]]:
    """Return the matrix of evolutionary distances between all rows.

    Args:
        states: alignment as returned by `alphabet.encode_states`, shape (n, columns). Columns in which either row of a pair
            has no residue are ignored for that pair (pairwise deletion).
        model: `lg`, `wag`, `jtt`, `poisson` (maximum likelihood, with Γ rates), `kimura` (Kimura 1983) or `p`.
        alpha: shape of the Γ distribution of site rates; infinite for equal rates.
        min_overlap: minimum number of shared columns; pairs that share fewer get NaN.
        max_distance: distance of pairs whose likelihood is still increasing there, and of `kimura` pairs beyond its range.
        dtype: type of the matrix, float64 or float32. The computation needs about 100 MB in addition.

    Returns:
        Distances in expected substitutions per site (`p`: proportion of differences), shape (n, n).

    Raises:
        UsageError: unknown model, or `alpha` is not positive.
    """
    return distance_matrix_report(
        states, model=model, alpha=alpha, min_overlap=min_overlap, max_distance=max_distance, dtype=dtype
    )[0]


def distance_matrix_report(
    states: npt.NDArray[np.uint8],
    *,
    model: str = "lg+g",
    alpha: float = 1.0,
    min_overlap: int = 10,
    max_distance: float = MAX_DISTANCE,
    dtype: npt.DTypeLike = np.float64,
) -> tuple[npt.NDArray[np.floating[Any]], DistanceReport]:
    """Return `distance_matrix` and a report of saturated and undefined pairs."""
    n = len(states)
    distance = np.zeros((n, n), dtype=dtype)
    saturated = undefined = 0
    for tile in distance_tiles(states, model=model, alpha=alpha, min_overlap=min_overlap, max_distance=max_distance):
        distance[tile.rows, tile.columns] = tile.distance
        distance[tile.columns, tile.rows] = tile.distance.T
        # Tiles on the diagonal are symmetric and contain every pair twice.
        copies = 2 if tile.rows == tile.columns else 1
        saturated += int(np.count_nonzero(tile.saturated)) // copies
        undefined += int(np.count_nonzero(np.isnan(tile.distance))) // copies
    return distance, DistanceReport(n * (n - 1) // 2, saturated, undefined)


def distance_tiles(
    states: npt.NDArray[np.uint8],
    *,
    model: str = "lg+g",
    alpha: float = 1.0,
    min_overlap: int = 10,
    max_distance: float = MAX_DISTANCE,
) -> Iterator[Tile]:
    """Yield the distance matrix in tiles of bounded size, on and above the diagonal.

    This is for matrices that are too large for memory, or of which only a part is needed. For arguments and errors see
    `distance_matrix`.
    """
    name = parse_model(model)
    shapes, features = None, COUNTS
    if name not in FORMULAS:
        if not alpha > 0:
            raise UsageError(
                f"the shape α of the Γ distribution must be positive, not {alpha}",
                fix="1 means moderate rate variation; inf equal rates",
            )
        shapes = curves(name, alpha, max_distance)
        features = shapes.features
    n, columns = states.shape
    side = max(int((_BLOCK / max(columns, 1)) ** 0.5), 1)
    side = -(-n // max(-(-n // side), 1)) or 1  # equalise tile sizes, to avoid narrow tiles at the end
    for top in range(0, n, side):
        rows = slice(top, min(top + side, n))
        for left in range(top, n, side):
            across = slice(left, min(left + side, n))
            diagonal = left == top
            pairs = np.triu_indices(len(states[rows]), 1) if diagonal else None
            sums = _sums(_codes(states[rows], states[across], pairs), features)
            overlap, differences = sums[:, 0], sums[:, 1]
            if shapes is not None:
                found = np.where(differences == 0, 0.0, shapes.distances(sums))
            else:
                with np.errstate(divide="ignore", invalid="ignore"):
                    proportion = differences.astype(np.float64) / overlap
                found = proportion if name == "p" else _kimura(proportion, max_distance)
            found[overlap < max(min_overlap, 1)] = np.nan
            if pairs is None:
                distance = found.reshape(len(states[rows]), -1)
            else:
                distance = np.zeros((len(states[rows]),) * 2)
                distance[pairs] = found
                distance += distance.T
            saturated = np.zeros(distance.shape, dtype=bool) if name == "p" else distance >= max_distance
            yield Tile(rows, across, distance, saturated)


def fill_undefined(distance: npt.NDArray[np.floating[Any]]) -> int:
    """Replace undefined distances (NaN) in place by paths via other rows, and return their number.

    d(i, j) becomes the minimum of d(i, k) + d(k, j) over rows k, the tightest upper bound by the triangle inequality.
    Replaced values are used in further rounds, so that chains of fragments are connected. Pairs that are not connected get
    the largest distance of the matrix.
    """
    open_pairs = [(i, np.flatnonzero(np.isnan(distance[i, i:])) + i) for i in range(len(distance))]
    open_pairs = [(i, partners) for i, partners in open_pairs if len(partners)]
    count = sum(len(partners) for _, partners in open_pairs)
    if not count:
        return 0
    largest = max((float(np.nanmax(row)) for row in distance if not np.isnan(row).all()), default=0.0)
    for i, partners in open_pairs:
        distance[i, partners] = distance[partners, i] = np.inf
    at_once = max(_BLOCK // len(distance), 1)
    found = True
    while found:
        # Each round only uses distances known before it, so that the result does not depend on the order of rows.
        ways = [
            np.concatenate(
                [
                    (distance[partners[start : start + at_once]] + distance[i]).min(axis=1)
                    for start in range(0, len(partners), at_once)
                ]
            )
            for i, partners in open_pairs
        ]
        found = False
        still_open = []
        for (i, partners), best in zip(open_pairs, ways, strict=True):
            distance[i, partners] = distance[partners, i] = best
            left = partners[np.isinf(best)]
            found |= len(left) < len(partners)
            if len(left):
                still_open.append((i, left))
        open_pairs = still_open
    for i, partners in open_pairs:
        distance[i, partners] = distance[partners, i] = largest
    return count


def _kimura(p: npt.NDArray[np.float64], max_distance: float) -> npt.NDArray[np.float64]:
    """Return Kimura's distance, d = −ln(1 − p − p²/5) (The Neutral Theory, 1983, p. 75)."""
    inside = 1 - p - p * p / 5
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(inside > 0, -np.log(inside), max_distance)
    found = np.minimum(found, max_distance)
    return np.where(np.isnan(p), np.nan, np.abs(found))


def _codes(
    first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8], pairs: tuple[npt.NDArray[np.int64], ...] | None
) -> npt.NDArray[np.int32]:
    """Return the codes of the columns of pairs of rows, shape (pairs, columns); None uses all pairs, row by row."""
    high, low = first.astype(np.int32) * (STATES + 1), second.astype(np.int32)
    if pairs is not None:
        return high[pairs[0]] + low[pairs[1]]
    return (high[:, None] + low[None]).reshape(-1, first.shape[1])


def _sums(codes: npt.NDArray[np.int32], features: Single) -> Single:
    """Return the sum of the features of each row's codes, shape (rows, r).

    torch is used only if it is already loaded: it is faster, but importing it takes longer. Both sum column by column in
    single precision and give identical results.
    """
    rows, columns = codes.shape
    torch = sys.modules.get("torch")
    if torch is not None and codes.size:
        found = torch.nn.functional.embedding_bag(torch.from_numpy(codes), torch.from_numpy(features), mode="sum")
        return np.asarray(found.numpy())
    from scipy import sparse

    starts = np.arange(rows + 1, dtype=np.int32) * np.int32(columns)  # a block is far smaller than 2³¹
    counts = sparse.csr_matrix((np.ones(codes.size, dtype=np.float32), codes.ravel(), starts), shape=(rows, CODES))
    return counts @ features
