"""Residue PLDA: alignment scores that are log-likelihood ratios of homology of two residues, given their embeddings.

A substitution matrix contains, for two amino acids, the log odds of being aligned versus occurring together by chance.
Residue PLDA computes the same for two embeddings, which depend on the context of the residues. Both hypotheses are Gaussian:
each alignment column has a mean, distributed as N(μ, B), and its residues deviate from it by N(0, W). The log odds that x
and y are in the same column are then a quadratic form in x and y, given by μ, B and W (probabilistic linear discriminant
analysis: Ioffe 2006, doi:10.1007/11744085_41; Prince & Elder 2007, doi:10.1109/ICCV.2007.4409052). B and W are estimated
from aligned families in closed form. What the heads of a model predict for a residue (3Di, secondary structure, profile) is
part of its embedding here, as log probabilities: the fit weighs structure, profile and context, and takes account of their
correlations.

In the basis in which W is the identity and B is diagonal (ψ), with each axis scaled to variance 1, two residues of the same
column have the correlation r = ψ / (1 + ψ), and

    log odds = Σ  -½ log(1 - r²) + (r · x · y - ½ r² (x² + y²)) / (1 - r²).

The axes with the largest ψ contribute almost all of the sum; only these are kept. Real embeddings are not Gaussian, and
neighbouring residues are correlated, so the log odds of an alignment are overestimated. They are therefore scaled down, and
a negative offset penalises aligned residues that are unlikely to be homologous.
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
from phylocli.predict import log_probabilities
from phylocli.search.alignment import Gaps
from phylocli.search.database import FloatArray, IntArray
from phylocli.statistics.plda import MEMBERS, fit_axes

if TYPE_CHECKING:
    from phylocli.embed import Embedder
    from phylocli.models.model import Model

logger = logging.getLogger(__name__)

FILE = "homology.safetensors"
"""Name of the file in the folder of the model."""

GAPS = Gaps(opening=4.0, extension=0.5)


@dataclass(frozen=True)
class ResiduePLDA:
    """Log odds of homology of two residues.

    Attributes:
        layers: layers of the encoder whose outputs are concatenated as the F features of a residue.
        heads: heads of the model whose log probabilities follow them.
        mean: the mean of the features, (F,).
        axes: the projection (F, d); (features - mean) · axes has unit variance and no correlation.
        correlation: the correlation r of two residues of the same column along each axis, (d,).
        fingerprint: the fingerprint of the model.
        scale: the factor applied to the log odds.
        offset: the constant added after scaling.
        gaps: gap costs for alignments with these scores.
        composition: the fraction of the score due to composition that E-values do not count; see `residue_evalues`.
    """

    layers: tuple[int, ...]
    mean: FloatArray
    axes: FloatArray
    correlation: FloatArray
    fingerprint: str
    scale: float = 0.3
    offset: float = -0.5
    gaps: Gaps = GAPS
    heads: tuple[str, ...] = ()
    composition: float = 0.0

    def __call__(self, features: FloatArray) -> FloatArray:
        """Project features (L, F) to coordinates (L, d + 1): the values on the axes, and the term of the score in x²."""
        x = (features - self.mean) @ self.axes
        cost = -self.scale * (x**2) @ (self.correlation**2 / (1 - self.correlation**2) / 2)
        return np.concatenate([x, cost[:, None]], axis=1).astype(np.float32)

    def scores(self, query: FloatArray, targets: FloatArray, lengths: IntArray) -> FloatArray:
        """Return the scores for coordinates from `__call__`, by one matrix product; see `Comparison.scores`."""
        r = self.correlation
        weighted = np.concatenate([query[:, :-1] * (self.scale * r / (1 - r**2)), np.ones((len(query), 1))], axis=1)
        constant = self.scale * float(-0.5 * np.log(1 - r**2).sum()) + self.offset
        result: FloatArray = weighted.astype(np.float32) @ targets.reshape(-1, targets.shape[2]).T
        result += (query[:, -1:] + constant).astype(np.float32)
        return result.reshape(len(query), *targets.shape[:2])

    def save(self, folder: PathLike) -> Path:
        """Write the parameters to the folder of the model; return the path of the file."""
        described = {
            "layers": self.layers,
            "heads": self.heads,
            "composition": self.composition,
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
    """Load the residue PLDA of a model; None if the model has none, or one that was fitted to other weights.

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
        heads = tuple(described.get("heads", ()))  # none in files of earlier versions
        composition = float(described.get("composition", 0.0))
        numbers = {key: described[key] for key in ("fingerprint", "scale", "offset")}
        found = ResiduePLDA(
            layers,
            arrays["mean"],
            arrays["axes"],
            arrays["correlation"],
            **numbers,
            gaps=gaps,
            heads=heads,
            composition=composition,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{path} is damaged", why=str(error), fix=fix) from error
    if found.fingerprint != model.fingerprint:
        logger.warning(f"{path} was fitted to a model with other weights and is ignored")
        return None
    return found


def features_of(
    embedder: Embedder, layers: tuple[int, ...], sequences: SequenceOf[str], heads: tuple[str, ...] = ()
) -> list[FloatArray]:
    """Return the features of the residues of each sequence, (L, F): outputs of layers, and log probabilities of heads.

    Raises:
        UsageError: the model does not have one of the layers or heads.
    """
    from phylocli.embed import Embedder

    model = embedder.model
    parts = {layer: Embedder(model, layer, embedder.max_tokens).residues(sequences) for layer in layers}
    found = [parts[layer] for layer in layers]
    if heads:
        last = parts.get(model.depth) or Embedder(model, None, embedder.max_tokens).residues(sequences)
        found += [[log_probabilities(model, head, residues) for residues in last] for head in heads]
    return [np.concatenate(of, axis=1) for of in zip(*found, strict=True)]


def fit_residue_plda(
    model: Model,
    families: Iterable[Family],
    *,
    layers: SequenceOf[int] | None = None,
    heads: SequenceOf[str] | None = None,
    composition: float | None = None,
    dimension: int = 64,
    members: int = MEMBERS,
    seed: int = 0,
) -> ResiduePLDA:
    """Fit a residue PLDA to a model: one pass over aligned families, then a generalised eigenvalue problem.

    Args:
        model: the model.
        families: aligned families; residues in the same match column are treated as homologous.
        layers: the layers whose outputs are concatenated; None: every second layer, counted back from the last.
        heads: the heads whose log probabilities are features too; None: all of the model.
        composition: see `ResiduePLDA`; None: 1 with heads, whose predictions depend much on composition, else 0.
        dimension: the number of axes.
        members: maximum number of members used per family.
        seed: the seed for the sample of members.

    Raises:
        BadInputError: a family is not aligned.
        UsageError: there are too few families, or the model does not have one of the layers or heads.
    """
    from phylocli.embed import Embedder

    chosen = tuple(layers) if layers is not None else tuple(range(model.depth, 0, -2))[::-1]
    predicted = tuple(model.heads if heads is None else heads)
    weight = float(bool(predicted)) if composition is None else composition
    embedder = Embedder(model)

    def parts() -> Iterator[tuple[FloatArray, IntArray]]:
        for number, family in enumerate(families):
            picked = np.sort(np.random.default_rng([seed, number]).permutation(len(family))[:members])
            sequences, columns = family.sequences(), family.match_positions()
            found = np.concatenate(features_of(embedder, chosen, [sequences[i].residues for i in picked], predicted))
            yield found, np.concatenate([columns[i] for i in picked]).astype(np.int64)

    fitted = fit_axes(parts(), dimension)
    features = ", ".join([*(f"layer {layer}" for layer in chosen), *predicted])
    logger.info(f"residue PLDA: fitted to {counted(fitted.residues, 'residue')}: {features}")
    mean, axes, correlation = (values.astype(np.float32) for values in (fitted.mean, fitted.axes, fitted.correlation))
    return ResiduePLDA(chosen, mean, axes, correlation, model.fingerprint, heads=predicted, composition=weight)
