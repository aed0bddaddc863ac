"""Zero-shot ranking of protein variants: by the distance of their embeddings from the wild type, and by log odds of their
substitutions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import AMINO_ACIDS
from phylocli.core.words import counted
from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.tasks._contract import Measurement, Metric
from phylocli.statistics.bootstrap import Estimate

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

ORDER = 80
TITLE = "Mutation effects, zero-shot"
METRICS = {
    "zero-shot Spearman": Metric(
        "Rank correlation of a measured quantity of variants (fitness, fluorescence, stability) with the negative Euclidean "
        "distance of their embeddings from that of the wild type, averaged over wild types: 1 is perfect, 0 is random. "
        "Nothing is fitted. The bootstrap resamples variants."
    ),
    "family-centroid Spearman": Metric(
        "The same with the distance from the mean embedding of homologs of the wild type: the items of its family (all "
        "items if there are no families) that are not variants."
    ),
    "profile Spearman": Metric(
        "Rank correlation with the sum over substitutions of log p(new) − log p(wild-type residue), where p is the profile "
        "that the model predicts from the wild-type sequence (Meier et al. 2021, doi:10.1101/2021.07.09.450648, with "
        "profiles instead of a masked language model). Only for models with a profile head, and variants without indels; "
        "the note says how many are left out."
    ),
    "by substitution matrix": Metric(
        "The same with BLOSUM62 scores instead of log p, as a baseline that needs no model.", None
    ),
    "by number of mutations": Metric(
        "The same with the negative number of mutations, as a baseline that needs no embedding.", None
    ),
}
MIN_VARIANTS = 20
MIN_HOMOLOGS = 5


def levels(data: Dataset) -> list[str]:
    """Return the columns of quantities that are known for enough variants."""
    if data.wild_type is None:
        return []
    return [column for column in data.values if len(_groups(data, column))]


def _groups(data: Dataset, level: str) -> list[IntArray]:
    """Return the rows of the variants of each wild type with at least `MIN_VARIANTS` variants."""
    assert data.wild_type is not None
    rows = data.evaluated_rows()
    rows = rows[(data.wild_type[rows] >= 0) & np.isfinite(data.values[level][rows])]
    parents = data.wild_type[rows]
    return [rows[parents == p] for p in np.unique(parents) if (parents == p).sum() >= MIN_VARIANTS]


def _spearman(a: FloatArray, b: FloatArray) -> float:
    from scipy.stats import rankdata

    x, y = rankdata(a), rankdata(b)
    return 0.0 if np.ptp(x) == 0 or np.ptp(y) == 0 else float(np.corrcoef(x, y)[0, 1])


def _figure(metric: str, nearness: list[FloatArray], values: list[FloatArray], groups: list[IntArray]) -> Estimate:
    """Return the correlation averaged over wild types; the bootstrap resamples variants over all wild types."""
    near, value, rows = np.concatenate(nearness), np.concatenate(values), np.concatenate(groups)
    owner = np.repeat(np.arange(len(groups)), [len(g) for g in groups])

    def correlation(index: IntArray) -> float:
        drawn = owner[index]
        parts = [index[drawn == g] for g in range(len(groups))]
        return float(np.mean([_spearman(near[p], value[p]) for p in parts if len(p) > 1]))

    everything = np.arange(len(rows))
    return Estimate(metric, correlation(everything), len(rows), statistic=correlation, rows=rows, chance=0.0, replicates=500)


def _centroid(data: Dataset, embedding: Embedding, parent: int) -> FloatArray | None:
    """Return the mean embedding of the homologs of a wild type that are not variants; None if there are too few."""
    assert data.wild_type is not None
    family = data.classes.get("family", np.zeros(len(data), dtype=np.int64))  # a single family if there is no such column
    if family[parent] < 0:
        return None
    mutated = data.mutations > 0 if data.mutations is not None else np.zeros(len(data), dtype=bool)
    homologs = np.flatnonzero((family == family[parent]) & (data.wild_type < 0) & ~mutated)
    homologs = homologs[homologs != parent]
    if len(homologs) < MIN_HOMOLOGS:
        return None
    return embedding.vectors[homologs].astype(np.float64).mean(axis=0)


@dataclass(frozen=True)
class _Substitutions:
    """The variants of a protein that differ from it by substitutions only.

    Attributes:
        rows: their rows, (n,).
        wild: codes of the wild type's residues, (L,).
        variants: those of the variants, (n, L).
    """

    rows: IntArray
    wild: IntArray
    variants: IntArray

    @classmethod
    def of(cls, data: Dataset, parent: int, rows: IntArray) -> _Substitutions:
        """Return those among some rows: with a known sequence of the same length, and known residues where it differs."""
        wild = data.sequences.get(data.ids[parent], "")
        rows = np.array([row for row in rows if wild and len(data.sequences.get(data.ids[row], "")) == len(wild)], dtype=int)
        sequences = [wild, *(data.sequences[data.ids[row]] for row in rows)]
        letters = np.frombuffer("".join(sequences).encode(), dtype=np.uint8).reshape(len(sequences), -1)
        order = np.frombuffer(AMINO_ACIDS.encode(), dtype=np.uint8)  # which is alphabetical
        codes = np.minimum(np.searchsorted(order, letters), len(order) - 1).astype(np.int64)
        unknown, changed = order[codes] != letters, letters[1:] != letters[0]
        known = ~(changed & (unknown[1:] | unknown[0])).any(axis=1)
        return cls(rows[known], codes[0], codes[1:][known])

    def log_odds(self, scores: FloatArray) -> FloatArray:
        """Return Σ (score of the new residue - score of the wild-type residue) over substitutions, (n,); scores: (L, 20)."""
        place = np.arange(len(self.wild))
        return np.asarray((scores[place, self.variants] - scores[place, self.wild]).sum(axis=1))


def _blosum62() -> FloatArray:
    """Return BLOSUM62 for `AMINO_ACIDS`, (20, 20)."""
    from Bio.Align import substitution_matrices

    return np.array(substitution_matrices.load("BLOSUM62").select(AMINO_ACIDS), dtype=np.float64)


def measure(data: Dataset, embedding: Embedding, level: str, seed: int) -> Measurement:
    """Compute the rank correlations of each wild type."""
    assert data.wild_type is not None
    groups = _groups(data, level)
    values = [data.values[level][g] for g in groups]

    def shift(centres: list[FloatArray]) -> list[FloatArray]:
        return [
            -np.linalg.norm(embedding.vectors[g].astype(np.float64) - c, axis=1)
            for g, c in zip(groups, centres, strict=True)
        ]

    parents = [int(data.wild_type[g[0]]) for g in groups]
    wild = [embedding.vectors[p].astype(np.float64) for p in parents]
    estimates = [_figure("zero-shot Spearman", shift(wild), values, groups)]
    centroids = [_centroid(data, embedding, p) for p in parents]
    known = [c for c in centroids if c is not None]
    if len(known) == len(groups):
        estimates.append(_figure("family-centroid Spearman", shift(known), values, groups))
    substitutions = [_Substitutions.of(data, p, g) for p, g in zip(parents, groups, strict=True)]
    aligned = [(v, p) for v, p in zip(substitutions, parents, strict=True) if len(v.rows) >= MIN_VARIANTS]
    if aligned:
        rows = [v.rows for v, _ in aligned]
        measured = [data.values[level][r] for r in rows]
        odds = [v.log_odds(_blosum62()[v.wild]) for v, _ in aligned]
        estimates.append(_figure("by substitution matrix", odds, measured, rows))
        if embedding.profile is not None:
            odds = [v.log_odds(embedding.profile(data.sequences[data.ids[p]])) for v, p in aligned]
            estimates.append(_figure("profile Spearman", odds, measured, rows))
    if data.mutations is not None and any(np.ptp(data.mutations[g]) for g in groups):
        counts = [-data.mutations[g].astype(np.float64) for g in groups]
        estimates.append(_figure("by number of mutations", counts, values, groups))
    n = sum(map(len, groups))
    note = f"{counted(n, 'variant')} of {counted(len(groups), 'wild type')}"
    left_out = n - sum(len(v.rows) for v, _ in aligned)
    if left_out and data.sequences:
        note += f"; {left_out:,} without log odds: not substitutions of known residues, or fewer than {MIN_VARIANTS} are"
    return Measurement(estimates, note=note)
