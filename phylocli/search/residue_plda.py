"""Residue PLDA: the log-likelihood ratio that two residues are homologous, given their embeddings; scores for alignments.

A substitution matrix contains, for two amino acids, the log odds of being aligned over occurring together by chance. Here
the same is computed for two embeddings, which depend on the residue's context. Both hypotheses are Gaussian: each alignment
column has a mean, distributed as N(μ, B), and its residues deviate from it by N(0, W). The log odds that x and y are in one
column rather than in two are then a quadratic form in x and y, given by μ, B and W (probabilistic linear discriminant
analysis: Ioffe 2006, doi:10.1007/11744085_41; Prince & Elder 2007, doi:10.1109/ICCV.2007.4409052). B and W are estimated
from aligned families, without iterative training.

In the axes that make W the identity and B diagonal (ψ), and with each axis scaled to variance 1, two residues of one
column correlate by r = ψ / (1 + ψ), and

    log odds = Σ  -½ log(1 - r²) + (r · x · y - ½ r² (x² + y²)) / (1 - r²).

The axes with the largest ψ carry almost all of it, so only these are kept. Real embeddings are not Gaussian, and residues
side by side repeat each other, so the odds are exaggerated: they are scaled down, and an offset makes what is unlikely
cost something, before gaps are paid for.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phylocli.core.errors import BadInputError
from phylocli.core.words import counted
from phylocli.formats.arrays import read_arrays, write_arrays
from phylocli.formats.family import Family
from phylocli.formats.streams import PathLike
from phylocli.search.alignment import Gaps
from phylocli.search.database import FloatArray, IntArray
from phylocli.statistics.plda import MEMBERS, fit_axes

if TYPE_CHECKING:
    from phylocli.embed import Embedder
    from phylocli.models.model import Model

logger = logging.getLogger(__name__)

FILE = "homology.safetensors"
"""In the folder of the model that it belongs to."""

GAPS = Gaps(opening=4.0, extension=0.5)


@dataclass(frozen=True)
class ResiduePLDA:
    """Log odds of homology of two residues.

    Attributes:
        layers: layers of the encoder whose outputs are concatenated as the F features of a residue.
        mean: of the features, (F,).
        axes: (F, d); (features - mean) · axes has variance 1 and no correlation.
        correlation: r of two residues of one column along each axis, (d,).
        fingerprint: of the model.
        scale: by which the log odds are multiplied.
        offset: added then.
        gaps: gap costs for alignments with these scores.
    """

    layers: tuple[int, ...]
    mean: FloatArray
    axes: FloatArray
    correlation: FloatArray
    fingerprint: str
    scale: float = 0.3
    offset: float = -0.5
    gaps: Gaps = GAPS

    def __call__(self, features: FloatArray) -> FloatArray:
        """Return the coordinates of residues, (L, d + 1), from their features (L, F): the axes', and what x² costs."""
        x = (features - self.mean) @ self.axes
        cost = -self.scale * (x**2) @ (self.correlation**2 / (1 - self.correlation**2) / 2)
        return np.concatenate([x, cost[:, None]], axis=1).astype(np.float32)

    def scores(self, query: FloatArray, targets: FloatArray, lengths: IntArray) -> FloatArray:
        """Return the scores of coordinates from `__call__`: one matrix product, see `Comparison.scores`."""
        r = self.correlation
        weighted = np.concatenate([query[:, :-1] * (self.scale * r / (1 - r**2)), np.ones((len(query), 1))], axis=1)
        constant = self.scale * float(-0.5 * np.log(1 - r**2).sum()) + self.offset
        result: FloatArray = weighted.astype(np.float32) @ targets.reshape(-1, targets.shape[2]).T
        result += (query[:, -1:] + constant).astype(np.float32)
        return result.reshape(len(query), *targets.shape[:2])

    def save(self, folder: PathLike) -> Path:
        """Write it into the folder of its model."""
        described = {
            "layers": self.layers,
            "fingerprint": self.fingerprint,
            "scale": self.scale,
            "offset": self.offset,
            "gaps": [self.gaps.opening, self.gaps.extension],
        }
        arrays = {"mean": self.mean, "axes": self.axes, "correlation": self.correlation}
        floats = {name: values.astype(np.float32) for name, values in arrays.items()}
        write_arrays(Path(folder) / FILE, floats, {"homology": json.dumps(described, sort_keys=True)})
        return Path(folder) / FILE


def load_residue_plda(model: Model) -> ResiduePLDA | None:
    """Return the PLDA of a model loaded from a folder; None if it has none, or one for other weights.

    Raises:
        BadInputError: the file is damaged.
    """
    path = None if model.folder is None else model.folder / FILE
    if path is None or not path.is_file():
        return None
    fix = "fit it again, or remove it"
    arrays, metadata = read_arrays(path, fix=fix)
    try:
        described: dict[str, Any] = json.loads(metadata["homology"])
        layers, gaps = tuple(described["layers"]), Gaps(*described["gaps"])
        numbers = {key: described[key] for key in ("fingerprint", "scale", "offset")}
        found = ResiduePLDA(layers, arrays["mean"], arrays["axes"], arrays["correlation"], **numbers, gaps=gaps)
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{path} is damaged", why=str(error), fix=fix) from error
    if found.fingerprint != model.fingerprint:
        logger.warning(f"{path} was fitted to a model with other weights and is ignored")
        return None
    return found


def features_of(embedder: Embedder, layers: tuple[int, ...], sequences: SequenceOf[str]) -> list[FloatArray]:
    """Return the features of each sequence's residues, (L, F): the outputs of some layers side by side."""
    from phylocli.embed import Embedder

    found = [Embedder(embedder.model, layer, embedder.max_tokens).residues(sequences) for layer in layers]
    return [np.concatenate(parts, axis=1) for parts in zip(*found, strict=True)]


def fit_residue_plda(
    model: Model,
    families: Iterable[Family],
    *,
    layers: SequenceOf[int] | None = None,
    dimension: int = 64,
    members: int = MEMBERS,
    seed: int = 0,
) -> ResiduePLDA:
    """Fit log odds of homology to a model: one pass over aligned families, two covariances, one eigenvalue problem.

    Args:
        model: whose residues are compared.
        families: aligned; residues of one match column are taken for homologous.
        layers: layers whose outputs are concatenated; None takes every second, including the last.
        dimension: axes kept.
        members: maximum number of members used per family.
        seed: of their choice.

    Raises:
        BadInputError: a family is not aligned.
        UsageError: too few families, or a layer that the model does not have.
    """
    from phylocli.embed import Embedder

    chosen = tuple(layers) if layers is not None else tuple(range(model.depth, 0, -2))[::-1]
    embedder = Embedder(model)

    def parts() -> Iterator[tuple[FloatArray, IntArray]]:
        for number, family in enumerate(families):
            picked = np.sort(np.random.default_rng([seed, number]).permutation(len(family))[:members])
            sequences, columns = family.sequences(), family.match_positions()
            found = np.concatenate(features_of(embedder, chosen, [sequences[i].residues for i in picked]))
            yield found, np.concatenate([columns[i] for i in picked]).astype(np.int64)

    fitted = fit_axes(parts(), dimension)
    logger.info(f"homology of residues: {counted(fitted.residues, 'residue')}, layers {', '.join(map(str, chosen))}")
    mean, axes, correlation = (values.astype(np.float32) for values in (fitted.mean, fitted.axes, fitted.correlation))
    return ResiduePLDA(chosen, mean, axes, correlation, model.fingerprint)
