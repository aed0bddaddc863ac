"""Generated sequences: members of their family, as varied as natural ones, and new?

Sets of sequences are compared with held-out natural members, and with baselines in the same run. Where a statistic of a
sample is biased by its size (pairs of columns, the Fréchet distance), every set is reduced to the number of held-out members
of each family.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import MISSING, encode_states
from phylocli.core.words import counted
from phylocli.models.model import Model
from phylocli.predict import predict_residues
from phylocli.probe.generation.natural import NaturalFamilies
from phylocli.probe.generation.sequence_sets import SequenceSet
from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.tasks._contract import Measurement, Metric
from phylocli.statistics.bootstrap import Estimate, mean_estimate
from phylocli.statistics.column_pairs import correlation_of_connected, mutual_information, pearson
from phylocli.statistics.frechet import distances_by_size, extrapolated, frechet_distance
from phylocli.statistics.identity import identity_of_rows

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
States = npt.NDArray[np.uint8]

OF_GENERATED = True
ORDER = 130
TITLE = "Generation"
SEQUENCES = "sequences"
"""The level of what needs no model."""
METRICS = {
    "above threshold": Metric(
        "Fraction of sequences whose hmmsearch score reaches the family's gathering threshold, Pfam's criterion of "
        "membership (or the stated threshold, where there is none)."
    ),
    "bits": Metric("Mean hmmsearch score with the family's profile, in bits; 0 where HMMER finds no domain.", None),
    "nearest training identity": Metric(
        "Mean identity with the nearest training member of the family, as a fraction of the longer sequence: novelty is 1 "
        "minus this.",
        None,
    ),
    "copied": Metric("Fraction of sequences that are equal to a training member, or a part of one.", "lower"),
    "distinct": Metric("Fraction of sequences that no earlier sequence of the set equals."),
    "diversity": Metric(
        "Mean distance, 1 − identity of aligned residues at match states, between two sequences of a family.", None
    ),
    "length distance": Metric(
        "Wasserstein distance between the lengths of generated and held-out sequences of a family, relative to the mean "
        "held-out length; mean over families.",
        "lower",
    ),
    "composition divergence": Metric(
        "Jensen–Shannon divergence between residue frequencies of generated and held-out sequences of a family, in bits; "
        "mean over families.",
        "lower",
    ),
    "mutual information r": Metric(
        "Pearson's r between the mutual information of pairs of match columns in generated and in training sequences of a "
        "family; mean over families. Conservation alone makes it positive."
    ),
    "connected correlation r": Metric(
        "Pearson's r between f_ij(a, b) − f_i(a) f_j(b), for pairs of match columns and of amino acids, in generated and in "
        "training sequences; mean over families. 0 for site-independent models (Russ et al. 2020, "
        "doi:10.1126/science.aba3304)."
    ),
    "Fréchet distance": Metric(
        "Squared Fréchet distance between embeddings of generated and held-out sequences, as Gaussians (Heusel et al. 2017, "
        "arXiv:1706.08500). Biased upwards by the size of the samples, see the curve.",
        "lower",
    ),
    "Fréchet distance, extrapolated": Metric(
        "The same for infinite samples, by a line in 1/n (Chong & Forsyth 2020, arXiv:1911.07023); 0 for samples of one "
        "distribution.",
        "lower",
    ),
    "secondary structure agreement": Metric(
        "Fraction of residues at match states whose predicted secondary structure is the one most often predicted at that "
        "state for training members; needs a model with a head ss3."
    ),
}
FEATURES = 128
"""Principal components of the natural embeddings on which the Fréchet distance is computed."""
FEWEST = 5
"""Sequences of a family without which it has no statistics of columns."""
FEWEST_FAMILIES = 10
"""Below, the bootstrap resamples sequences instead of families."""
REPLICATES = 50
"""Of the bootstrap of Fréchet distances."""


def levels(data: Dataset) -> list[str]:
    """Return the level of what needs no model, and that of each model; none without families."""
    return [] if data.natural is None else [SEQUENCES, *data.natural.models]


def measure(data: Dataset, embedding: Embedding, level: str, seed: int) -> Measurement:
    """Score a set of sequences."""
    assert data.natural is not None
    assert embedding.generated is not None
    if level == SEQUENCES:
        return _of_sequences(data.natural, embedding.generated, seed)
    return _of_model(data.natural, embedding.generated, level, seed)


def _of_sequences(natural: NaturalFamilies, made: SequenceSet, seed: int) -> Measurement:
    scores, groups = made.scores, _groups(made)
    per_sequence = {
        "above threshold": np.array([scored.above for scored in scores]),
        "bits": np.array([scored.bits for scored in scores]),
        "nearest training identity": np.array([scored.identity for scored in scores]),
        "copied": np.array([scored.copied for scored in scores]),
        "distinct": _first_occurrences(made.letters),
    }
    estimates = [_mean(name, values, groups) for name, values in per_sequence.items()]
    distances = diversity(made)
    known = np.isfinite(distances)
    estimates.append(_mean("diversity", distances[known], None if groups is None else groups[known]))
    both = [code for code in natural.held_out.sizes if code in made.sizes]
    pairs = [(made.rows(code), natural.held_out.rows(code)) for code in both]
    lengths = [length_distance(_lengths(made, a), _lengths(natural.held_out, b)) for a, b in pairs]
    compositions = [composition_divergence(_composition(made, a), _composition(natural.held_out, b)) for a, b in pairs]
    if made is not natural.held_out:
        estimates += [_mean("length distance", lengths), _mean("composition divergence", compositions)]
    few = made.at_most(natural.held_out.sizes, seed)
    training = {code: natural.held_out.profiles[code].states for code in both}
    states = {code: few.states[code] for code in both if min(few.sizes[code], len(training[code])) >= FEWEST}
    information = [pearson(mutual_information(x), mutual_information(training[code])) for code, x in states.items()]
    connected = [correlation_of_connected(x, training[code]) for code, x in states.items()]
    estimates += [
        _mean(name, _finite(values))
        for name, values in (("mutual information r", information), ("connected correlation r", connected))
    ]
    thresholds = f"{counted(natural.stated, 'family')} of {len(natural.training)} without a gathering threshold"
    note = (
        f"{counted(len(made), 'sequence')} of {counted(len(made.sizes), 'family')}, {len(natural.held_out):,} held-out "
        f"members; {thresholds}; pairs of columns in {counted(len(states), 'family')} with at least {FEWEST} generated and "
        f"{FEWEST} training sequences; intervals resample {_resampled(groups)}, and those of lengths, composition and pairs "
        "of columns, which are means over families, resample families"
    )
    return Measurement(estimates, note=note)


def _of_model(natural: NaturalFamilies, made: SequenceSet, level: str, seed: int) -> Measurement:
    model = natural.models[level]
    rng = np.random.default_rng(seed)
    few = made.at_most(natural.held_out.sizes, seed)
    of_same = np.isin(natural.held_out.family, list(made.sizes))  # other families would count as missing variety
    mean, axes = principal_axes(natural.held_out.embedded(model)[of_same])
    reference = (natural.held_out.embedded(model)[of_same] - mean) @ axes
    if made is natural.held_out:  # two halves of it: no other natural sequences are held out
        first = halves(made, rng)
        x, reference = reference[first], reference[~first]
    else:
        x = (few.embedded(model) - mean) @ axes
    sizes, distances = distances_by_size(x, reference, rng)
    estimates = [
        Estimate(
            "Fréchet distance", frechet_distance(x, reference), len(x), interval="normal",
            statistic=lambda index: frechet_distance(x[index], reference), replicates=REPLICATES, bounds=(0, np.inf),
        ),
        Estimate(
            "Fréchet distance, extrapolated", extrapolated(sizes, distances), len(x), interval="normal",
            statistic=lambda index: extrapolated(*distances_by_size(x[index], reference, np.random.default_rng(seed), 1)),
            replicates=REPLICATES,
        ),
    ]  # fmt: skip
    if "ss3" in model.heads:
        agreement = structure_agreement(few, model)
        estimates.append(_mean("secondary structure agreement", agreement, _groups(few)))
    note = (
        f"{axes.shape[1]} principal components of {counted(int(of_same.sum()), 'held-out member')} of the "
        f"{counted(len(made.sizes), 'family')} of the set; sets are reduced to their number in each family, and held-out "
        "members are compared half with half; intervals of the distances resample sequences"
    )
    if "ss3" in model.heads:
        note += f", and those of secondary structure resample {_resampled(_groups(few))}"
    return Measurement(estimates, {"Fréchet distance by number of sequences": (sizes.tolist(), distances.tolist())}, note)


def _groups(made: SequenceSet) -> IntArray | None:
    """Return the families that the bootstrap resamples; None: too few for that, so that sequences are resampled."""
    return made.family if len(made.sizes) >= FEWEST_FAMILIES else None


def _resampled(groups: IntArray | None) -> str:
    return "sequences" if groups is None else "families"


def _mean(metric: str, values: npt.ArrayLike, groups: IntArray | None = None) -> Estimate:
    """Return a mean; of fractions (bool) with exact intervals where all are equal, see `interval`."""
    items = np.asarray(values)
    if items.dtype == bool or not len(items):
        return mean_estimate(metric, items, groups=groups)
    mean = float(items.mean())
    return Estimate(metric, mean, len(items), statistic=lambda index: float(items[index].mean()), groups=groups)


def halves(made: SequenceSet, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Return a random half of the sequences of each family, (n,)."""
    first = np.zeros(len(made), dtype=bool)
    for code, size in made.sizes.items():
        first[rng.permutation(made.rows(code))[: (size + int(rng.integers(2))) // 2]] = True
    return first


def diversity(made: SequenceSet) -> FloatArray:
    """Return the mean distance of each sequence from the others of its family, (n,); NaN where there are none."""
    found = np.full(len(made), np.nan)
    for code, states in made.states.items():
        n = len(states)
        if n < 2:
            continue
        for k, row in enumerate(made.rows(code).tolist()):
            others = np.delete(states, k, axis=0)
            alike, _ = identity_of_rows(np.broadcast_to(states[k], others.shape), others)
            found[row] = 1 - alike.mean()
    return found


def length_distance(made: FloatArray, natural: FloatArray) -> float:
    """Return the Wasserstein distance between two samples of lengths, relative to the mean of the second."""
    from scipy.stats import wasserstein_distance

    return float(wasserstein_distance(made, natural) / natural.mean())


def composition_divergence(p: FloatArray, q: FloatArray) -> float:
    """Return the Jensen–Shannon divergence between two distributions, (K,), in bits: 0 to 1."""
    middle = (p + q) / 2
    parts = [np.where(x > 0, x * np.log2(np.where(x > 0, x, 1) / np.where(middle > 0, middle, 1)), 0) for x in (p, q)]
    return float(sum(part.sum() for part in parts) / 2)


def principal_axes(vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return mean (D,) and at most `FEATURES` principal axes (D, K) of vectors, (n, D)."""
    mean = vectors.mean(0)
    _, _, axes = np.linalg.svd(vectors - mean, full_matrices=False)
    return mean, axes[:FEATURES].T


def structure_agreement(made: SequenceSet, model: Model) -> FloatArray:
    """Return, for each sequence, the fraction of its residues at match states with the family's predicted state, (n,)."""
    found = np.zeros(len(made))
    for code in made.sizes:
        profile = made.profiles[code]
        rows = made.rows(code)
        usual = _consensus(list(_structures(profile.match_rows([s.residues for s in profile.members]), model)))
        for row, states in zip(
            rows.tolist(), _structures(profile.match_rows([made.letters[k] for k in rows]), model), strict=True
        ):
            residues = [k for k, state in enumerate(states) if state != "-" and usual[k] != "-"]
            found[row] = np.mean([states[k] == usual[k] for k in residues]) if residues else 0.0
    return found


def _structures(rows: list[tuple[str, list[int]]], model: Model) -> Iterator[str]:
    """Yield predicted states at the match states of sequences, `-` where there is no residue."""
    for (_, places), prediction in zip(rows, predict_residues([text for text, _ in rows], model, "ss"), strict=True):
        yield "".join("-" if place < 0 else prediction.states[place] for place in places)


def _consensus(rows: list[str]) -> str:
    """Return the most frequent state at each place, `-` where no row has one."""
    columns = (Counter(c for c in column if c != "-") for column in zip(*rows, strict=True))
    return "".join(min(counts, key=lambda c: (-counts[c], c)) if counts else "-" for counts in columns)


def _first_occurrences(letters: object) -> npt.NDArray[np.bool_]:
    texts = np.array(letters, dtype=object)
    first = {text: k for k, text in reversed(list(enumerate(texts)))}
    return np.array([first[text] == k for k, text in enumerate(texts)])


def _lengths(made: SequenceSet, rows: IntArray) -> FloatArray:
    return np.array([len(made.letters[k]) for k in rows], dtype=np.float64)


def _composition(made: SequenceSet, rows: IntArray) -> FloatArray:
    states = np.concatenate([encode_states([made.letters[k]])[0] for k in rows])
    counts = np.bincount(states[states != MISSING], minlength=MISSING).astype(np.float64)
    return counts / max(counts.sum(), 1)


def _finite(values: list[float]) -> list[float]:
    return [value for value in values if np.isfinite(value)]
