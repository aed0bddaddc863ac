"""Reranking by residue embeddings: alignments against brute force, log odds against the densities they stand for."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from phylocli.core.errors import BadInputError, UsageError
from phylocli.embed import Embedder
from phylocli.formats import read_families
from phylocli.formats.arrays import read_arrays, write_arrays
from phylocli.models.model import Model
from phylocli.predict import predict_residues
from phylocli.search import alignment, compiled, unit
from phylocli.search.alignment import Gaps, StandardisedCosine, align_residues, residue_paths
from phylocli.search.compiled import kernel
from phylocli.search.rerank import ResidueScores
from phylocli.search.residue_plda import FILE, ResiduePLDA, features_of, fit_residue_plda, load_residue_plda


def brute_force(scores: np.ndarray, gaps: Gaps) -> float:
    """The original recursion of Smith & Waterman, over all gap lengths at each cell."""
    rows, columns = scores.shape
    best = np.zeros((rows + 1, columns + 1))
    for i, j in itertools.product(range(1, rows + 1), range(1, columns + 1)):
        ends = [0.0, best[i - 1, j - 1] + scores[i - 1, j - 1]]
        ends += [best[i - k, j] - gaps.opening - (k - 1) * gaps.extension for k in range(1, i + 1)]
        ends += [best[i, j - k] - gaps.opening - (k - 1) * gaps.extension for k in range(1, j + 1)]
        best[i, j] = max(ends)
    return float(best.max())


class Given:
    """Scores from a table: coordinates are one-hot vectors."""

    def __init__(self, table: np.ndarray, gaps: Gaps) -> None:
        self.table, self.gaps, self.composition = table.astype(np.float32), gaps, 1.0

    def scores(self, query: np.ndarray, targets: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        return np.einsum("la,ac,bmc->lbm", query, self.table, targets).astype(np.float32)


def random_case(seed: int, rows: int, lengths: list[int]) -> tuple[Gaps, Given, np.ndarray, list[np.ndarray]]:
    """Return gap costs, scores of five letters, and a query and targets of these lengths as one-hot vectors."""
    rng = np.random.default_rng(seed)
    gaps = Gaps(float(rng.integers(1, 6)), float(rng.integers(0, 2)))
    letters = np.eye(5, dtype=np.float32)
    table = Given(rng.integers(-4, 5, (5, 5)), gaps)
    query, *targets = (letters[rng.integers(0, 5, n)] for n in (rows, *lengths))
    return gaps, table, query, targets


@given(st.integers(0, 10_000), st.integers(1, 20), st.integers(1, 35), st.integers(1, 20), st.booleans())
def test_compiled_alignments_have_the_same_bits(seed: int, rows: int, batch: int, columns: int, ties: bool) -> None:
    """Scores, cells and paths, also among equal scores, padding, and more targets than lanes."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(-0.5, 2, (rows, batch, columns)).astype(np.float32)
    scores = np.round(scores) if ties else scores
    scores[:, -1, columns // 2 :] = alignment.NEVER
    gaps, least = Gaps(float(rng.integers(1, 5)), 0.5), np.full(batch, 3.0, dtype=np.float32)
    found = []
    for of in (kernel, lambda: None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(alignment, "kernel", of)
            paths = alignment.local_paths(scores, gaps, least)
            found.append((alignment.local_scores(scores, gaps), paths))
    assert kernel() is not None and np.array_equal(found[0][0], found[1][0])
    for ours, theirs in zip(found[0][1], found[1][1], strict=True):
        assert [path.score for path in ours] == [path.score for path in theirs]
        assert all(np.array_equal(a.pairs, b.pairs) for a, b in zip(ours, theirs, strict=True))


def test_compiled_code_that_cannot_be_kept_is_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(function: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(compiled, "_try", refuse)
    again = kernel.__wrapped__()
    assert again is not None
    scores = np.full((2, 1, 2), 1.5, dtype=np.float32)
    best, _ = again(scores, np.float32(9), np.float32(1), np.zeros((1, 1, 1), dtype=np.uint8), False)
    assert best.tolist() == [3.0]


def test_numba_that_refuses_this_numpy_leaves_the_uncompiled_recursion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numba.py").write_text('raise ImportError("Numba needs NumPy 2.0 or less")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    assert kernel.__wrapped__() is None


@given(st.integers(0, 10_000), st.integers(1, 14), st.lists(st.integers(1, 14), min_size=1, max_size=6), st.integers(1, 400))
def test_alignments_equal_brute_force_in_every_batch(seed: int, rows: int, lengths: list[int], cells: int) -> None:
    gaps, given_scores, query, targets = random_case(seed, rows, lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alignment, "CELLS", cells)
        found, backwards = align_residues(query, targets, given_scores)
    expected = [brute_force(query @ given_scores.table @ target.T, gaps) for target in targets]
    assert found.tolist() == expected  # whole numbers: exact
    assert backwards.tolist() == [brute_force(query[::-1] @ given_scores.table @ t.T, gaps) for t in targets]
    alone, zeros = align_residues(query, targets, given_scores, backwards=False)
    assert alone.tolist() == expected and not zeros.any()


def score_of(pairs: np.ndarray, scores: np.ndarray, gaps: Gaps) -> float:
    """Return the score of an alignment: the sum over pairs minus gap costs."""
    skipped = np.diff(pairs, axis=0).reshape(-1) - 1
    assert (skipped >= 0).all()
    costs = gaps.opening + (skipped[skipped > 0] - 1) * gaps.extension
    return float(scores[pairs[:, 0], pairs[:, 1]].sum() - costs.sum())


@given(st.integers(0, 10_000), st.integers(1, 14), st.lists(st.integers(1, 14), min_size=1, max_size=6), st.integers(1, 400))
def test_paths_have_the_score_of_brute_force_and_begin_and_end_with_pairs_that_count(
    seed: int, rows: int, lengths: list[int], cells: int
) -> None:
    gaps, given_scores, query, targets = random_case(seed, rows, lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alignment, "CELLS", cells)
        found = residue_paths(query, targets, given_scores, np.full(len(targets), np.inf))
    for target, paths in zip(targets, found, strict=True):
        scores = query @ given_scores.table @ target.T
        if paths:
            (path,) = paths
            assert path.score == score_of(path.pairs, scores, gaps) == brute_force(scores, gaps)  # whole numbers: exact
            assert scores[tuple(path.pairs[0])] > 0 and scores[tuple(path.pairs[-1])] > 0
        else:
            assert brute_force(scores, gaps) == 0


@given(st.integers(0, 10_000), st.integers(4, 14), st.lists(st.integers(4, 14), min_size=1, max_size=4), st.integers(1, 400))
def test_further_paths_are_the_best_outside_of_earlier_ones_down_to_the_minimum(
    seed: int, rows: int, lengths: list[int], cells: int
) -> None:
    gaps, given_scores, query, targets = random_case(seed, rows, lengths)
    least = 3.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alignment, "CELLS", cells)
        found = residue_paths(query, targets, given_scores, np.full(len(targets), least))
    for target, paths in zip(targets, found, strict=True):
        scores = (query @ given_scores.table @ target.T).astype(np.float64)
        for number, path in enumerate(paths):
            assert path.score == score_of(path.pairs, scores, gaps) == brute_force(scores, gaps)
            assert number == 0 or path.score >= least
            (first, start), (last, stop) = path.pairs[[0, -1]]
            scores[first : last + 1, start : stop + 1] = alignment.NEVER
        assert brute_force(scores, gaps) < least or (paths and paths[-1].score < least)  # none is left


def test_standardised_cosines_are_those_of_each_pair_alone() -> None:
    rng = np.random.default_rng(0)
    query, *targets = (unit(rng.normal(size=(n, 6))) for n in (9, 12, 5))
    block = np.zeros((2, 12, 6), dtype=np.float32)
    block[0], block[1, :5] = targets
    found = StandardisedCosine(threshold=0.7).scores(query, block, np.array([12, 5]))
    for index, target in enumerate(targets):
        cosines = (query @ target.T).astype(np.float64)
        by_row = (cosines - cosines.mean(1, keepdims=True)) / cosines.std(1, keepdims=True)
        by_column = (cosines - cosines.mean(0)) / cosines.std(0)
        assert np.allclose(found[:, index, : len(target)], (by_row + by_column) / 2 - 0.7, atol=1e-4)


def test_log_odds_are_those_of_the_two_gaussian_hypotheses() -> None:
    rng = np.random.default_rng(1)
    size = 3
    between, within = (a @ a.T + np.eye(size) for a in rng.normal(size=(2, size, size)))
    import scipy.linalg

    psi, vectors = scipy.linalg.eigh(between, within)
    mean = rng.normal(size=size)
    model = ResiduePLDA((1,), mean, vectors / np.sqrt(1 + psi), psi / (1 + psi), "", scale=0.5, offset=0.25)
    x, y = rng.normal(size=(2, 4, size)) * 2
    found = model.scores(model(x), model(y)[None], np.array([4]))[:, 0]
    total = between + within
    together = multivariate_normal(np.tile(mean, 2), np.block([[total, between], [between, total]]))
    alone = multivariate_normal(mean, total)
    for i, j in itertools.product(range(4), range(4)):
        odds = together.logpdf(np.concatenate([x[i], y[j]])) - alone.logpdf(x[i]) - alone.logpdf(y[j])
        assert found[i, j] == pytest.approx(0.5 * odds + 0.25, abs=1e-4)


def test_fitted_plda_separates_aligned_from_other_residues(examples: Path, tmp_path: Path) -> None:
    model = Model.load(Model.create("convolutional", preset="tiny", seed=0).save(tmp_path / "model"))
    families = list(read_families(examples / "families.sto"))
    fitted = fit_residue_plda(model, families[:-2], members=6, dimension=24)
    assert fitted.layers == (2, 4) and (np.diff(fitted.correlation) <= 0).all()
    above = []
    for family in families[-2:]:  # which the fit did not see
        sequences, columns = family.sequences()[:2], family.match_positions()[:2]
        a, b = (fitted(x) for x in features_of(Embedder(model), fitted.layers, [s.residues for s in sequences]))
        scores = fitted.scores(a, b[None], np.array([len(b)]))[:, 0]
        same = (columns[0][:, None] == columns[1]) & (columns[0] >= 0)[:, None]
        above.append(np.mean(scores[same] > np.median(scores)))
    assert min(above) > 0.75

    fitted.save(tmp_path / "model")
    again = load_residue_plda(model)
    assert again is not None and again.gaps == fitted.gaps and np.array_equal(again.axes, fitted.axes)
    with pytest.raises(UsageError, match="too few aligned residues"):
        fit_residue_plda(model, families[:1], members=1)
    other = Model.load(Model.create("convolutional", preset="tiny", seed=1).save(tmp_path / "other"))
    fitted.save(tmp_path / "other")
    assert load_residue_plda(other) is None  # the file is of other weights
    (tmp_path / "other" / FILE).write_bytes(b"not a table")
    with pytest.raises(BadInputError, match="is damaged"):
        load_residue_plda(other)


def test_what_heads_predict_is_part_of_the_features_and_files_without_heads_are_read(examples: Path, tmp_path: Path) -> None:
    heads = {"3di": {"hidden": 8, "kernel": 3}, "profile": {"hidden": 0, "kernel": 1}}
    model = Model.load(Model.create("convolutional", preset="tiny", seed=0, heads=heads).save(tmp_path / "model"))
    families = list(read_families(examples / "families.sto"))
    fitted = fit_residue_plda(model, families, members=8, dimension=16)
    assert (
        fitted.heads == ("3di", "profile") and fitted.composition == 1 and fitted.axes.shape == (sum((64, 64, 20, 20)), 16)
    )
    sequence = families[0].sequences()[0].residues
    (found,) = features_of(Embedder(model), fitted.layers, [sequence], fitted.heads)
    for what, start in (("3di", 128), ("profile", 148)):
        (predicted,) = predict_residues([sequence], model, what)
        assert np.allclose(np.exp(found[:, start : start + 20]), predicted.probabilities, atol=1e-5)

    path = fitted.save(tmp_path / "model")
    again = load_residue_plda(model)
    assert again is not None and again.heads == fitted.heads and again.composition == 1
    scores = ResidueScores(Embedder(model))
    assert scores(sequence, [sequence[::-1], sequence])[0].argmax() == 1

    plain = fit_residue_plda(model, families, heads=[], members=8, dimension=16)
    plain.save(tmp_path / "model")
    arrays, metadata = read_arrays(path, fix="")
    described = json.loads(metadata["homology"])
    del described["heads"], described["composition"]  # as earlier versions wrote it
    write_arrays(path, arrays, {"homology": json.dumps(described)})
    older = load_residue_plda(model)
    assert (
        older is not None
        and older.heads == ()
        and older.composition == plain.composition == 0
        and np.array_equal(older.axes, plain.axes)
    )
    with pytest.raises(UsageError, match="no head 'ss3'"):
        fit_residue_plda(model, families, heads=["ss3"])


def test_a_model_without_log_odds_compares_by_cosines_and_a_protein_is_nearest_to_itself(examples: Path) -> None:
    model = Model.create("convolutional", preset="tiny", seed=0).eval()
    look = ResidueScores(Embedder(model))
    assert isinstance(look.comparison, StandardisedCosine) and load_residue_plda(model) is None
    members = [s.residues for s in next(iter(read_families(examples / "families.sto"))).sequences()[:6]]
    scores, _ = look(members[2], members)
    assert scores.argmax() == 2 and np.allclose(scores, look(members[2], members[::-1])[0][::-1], atol=1e-3)


def test_residue_scores_embed_and_align_each_sequence_once(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder(Model.create("convolutional", preset="tiny", seed=0))
    seen: list[str] = []
    plain = embedder.residues
    monkeypatch.setattr(embedder, "residues", lambda s: (seen.extend(s), plain(s))[1])
    scores = ResidueScores(embedder)
    first, _ = scores("MKVLA", ["MKVLA", "GGGGG", "MKVLA"])
    assert first[0] == first[2] > first[1]  # one number, looked up twice
    assert scores("MKVLA", ["GGGGG"])[0] == pytest.approx(first[1:2], abs=1e-4)
    assert sorted(seen) == ["GGGGG", "MKVLA"]
    assert len(scores.paths("MKVLA", ["MKVLW", "MKVLW"], np.full(2, np.inf, np.float32))) == 2
    assert sorted(seen) == ["GGGGG", "MKVLA", "MKVLW"]
    query, target = (unit(plain([s])[0]) for s in ("MKVLA", "GGGGG"))  # averaging leaves residues as they are
    assert first[1] == pytest.approx(align_residues(query, [target], scores.comparison)[0][0], abs=1e-4)
    monkeypatch.setattr("phylocli.search.rerank.KEPT_BYTES", 0)
    assert scores("MKVLA", ["GGGGG", "MKVLA"])[0] == pytest.approx(first[[1, 0]], abs=1e-4)  # forgetting changes no score
