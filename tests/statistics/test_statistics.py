"""Effective rank and sequence identity: closed forms, and slow versions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from Bio.Align import PairwiseAligner, substitution_matrices
from hypothesis import given
from hypothesis import strategies as st

from phylocli.core.alphabet import AMINO_ACIDS, encode_states
from phylocli.statistics import effective_rank, identity, identity_of_rows

# Effective rank


def test_effective_rank_of_even_and_collapsed_spectra() -> None:
    assert effective_rank(np.concatenate([np.eye(8), -np.eye(8)])) == pytest.approx(8)
    assert effective_rank(np.outer(np.arange(10.0), [1, 2, 3])) == pytest.approx(1)
    assert effective_rank(np.ones((5, 3))) == 0
    assert effective_rank(np.random.default_rng(0).normal(size=(6, 40))) <= 5


def test_effective_rank_is_of_singular_values_not_of_variances() -> None:
    # Columns 4, 2 and 1 times orthogonal signs: singular values in the proportion 4 : 2 : 1.
    signs = np.array(list(itertools.product([-1, 1], repeat=3)), dtype=float)
    p = np.array([4, 2, 1]) / 7
    assert effective_rank(signs * [4, 2, 1]) == pytest.approx(math.exp(-(p * np.log(p)).sum()))


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (30, 30)])
def test_effective_rank_agrees_with_the_singular_value_decomposition(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=shape) @ np.diag(rng.exponential(size=shape[1])) + 5
    values = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    values = values[values > 1e-9]
    p = values / values.sum()
    assert effective_rank(x) == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-9)
    assert effective_rank(x.astype(np.float32)) == pytest.approx(effective_rank(x), rel=1e-4)


# Identity


def test_identity_has_the_requested_denominator() -> None:
    assert identity("MKVLAAGIVG", "MKVLAAGIVG") == identity("MKVLAAGIVG", "MKVLAAGIVG", of="shorter") == 1
    assert identity("MKVLAAGIVG", "VLAAGI") == identity("MKVLAAGIVG", "VLAAGI", of="shorter") == 1  # end gaps are free
    assert identity("MKVLAAGIVG", "MKVLWAGIVG") == pytest.approx(0.9)
    # Ten residues overlap, of sequences of fourteen.
    a, b = "WWHC" + "MKVLAAGIVG", "MKVLAAGIVG" + "PPDE"
    assert identity(a, b) == 1
    assert identity(a, b, of="shorter") == pytest.approx(10 / 14)
    assert identity("MKVLAAGIVG", "A") == 1 and identity("MKVLAAGIVG", "A", of="longer") == pytest.approx(0.1)
    assert identity("VLAAGI", "MKVLAAGIVG", of="longer") == pytest.approx(0.6)


def test_identity_reads_letters_by_the_alphabets_policy() -> None:
    assert identity("MKVLAT", "mkv-IA.T") == pytest.approx(5 / 6)
    assert identity("MKUL", "MKCL") == 1  # U is read as C
    assert identity("MKXLAAGIVG", "MKXLAAGIVG") == pytest.approx(0.9)  # what is unknown is identical to nothing
    assert identity("ACGTACGTNN", "ACGTACGTNN", "dna") == pytest.approx(0.8)
    assert identity("", "MK") == identity("--", "MK") == 0
    assert PairwiseAligner().score("MKV", "MKV") == 3  # Biopython's default aligner is left as it was


def alignments(n: int, m: int, at: tuple[int, int] = (0, 0)) -> Iterator[list[tuple[int, int]]]:
    """Yield every alignment of n and m residues as its moves: (1, 1) a pair, (1, 0) and (0, 1) gaps."""
    if at == (n, m):
        yield []
    for move in ((1, 1), (1, 0), (0, 1)):
        there = (at[0] + move[0], at[1] + move[1])
        if there[0] <= n and there[1] <= m:
            for rest in alignments(n, m, there):
                yield [move, *rest]


def scored(a: str, b: str, moves: list[tuple[int, int]], matrix: object) -> tuple[float, float, float]:
    """Return score, identity of aligned pairs and identity of the shorter sequence of an alignment, obviously."""
    i = j = identical = aligned = 0
    score, before = 0.0, (1, 1)
    for move in moves:
        end = (move == (1, 0) and j in (0, len(b))) or (move == (0, 1) and i in (0, len(a)))
        if move == (1, 1):
            score += matrix[a[i]][b[j]]  # type: ignore[index]
            aligned, identical = aligned + 1, identical + (a[i] == b[j])
        elif not end:
            score -= 1 if move == before else 11
        before, i, j = move, i + move[0], j + move[1]
    return score, identical / max(aligned, 1), identical / min(len(a), len(b))


@pytest.mark.parametrize("seed", range(6))
def test_identity_is_that_of_a_best_alignment_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = "".join(rng.choice(list("ACW"), 5))
    b = "".join(rng.choice(list("ACW"), int(rng.integers(3, 6))))
    matrix = substitution_matrices.load("BLOSUM62")
    every = [scored(a, b, moves, matrix) for moves in alignments(len(a), len(b))]
    best = max(score for score, _, _ in every)
    assert (round(identity(a, b), 9), round(identity(a, b, of="shorter"), 9)) in {
        (round(x, 9), round(y, 9)) for score, x, y in every if score == best
    }


@given(st.lists(st.tuples(*[st.text(AMINO_ACIDS + "-X", min_size=7, max_size=7)] * 2), min_size=1, max_size=8))
def test_identity_of_rows_counts_columns(pairs: list[tuple[str, str]]) -> None:
    first, second = (encode_states([pair[side] for pair in pairs]) for side in (0, 1))
    found, aligned = identity_of_rows(first, second)
    for (a, b), value, count in zip(pairs, found, aligned, strict=True):
        both = [(x, y) for x, y in zip(a, b, strict=True) if x not in "-X" and y not in "-X"]
        assert count == len(both)
        assert value == pytest.approx(sum(x == y for x, y in both) / max(1, len(both)))
