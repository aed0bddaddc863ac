"""Calibration of the E-values of search: false hits of reversed and shuffled queries, in tables of 10 to a million rows.

    python benchmarks/significance.py MODEL DATA [--queries 4237] [--aligned 100] [--threads 1]

DATA holds families/dev.sto.gz, scope/dev.tsv.gz with scope/validation_folds.txt, and function/go_mf.tsv.gz. The rows are
domains of SCOPe's validation folds, members of the dev families, and full-length proteins. The queries are domains and
members, reversed, or shuffled as a whole: they are related to no row.

The number of hits up to an E-value in a table of n rows is n times the fraction of all pairs whose p-value is at most E / n:
the average over all tables that could be drawn from these rows. p depends on the query and the row alone, so it does not
matter what else is in the table. "Unrelated": rows of another fold or clan than the protein that the query was made of.
"Composition": half of the rows are relatives of that protein, whose composition the query keeps. Intervals (95 %) are of a
bootstrap over folds and clans. Where fewer than five pairs are expected, nothing is shown.

With `--aligned` queries of each kind, E-values of alignments too: of the 100 unrelated rows that are nearest to each query
and of 100 drawn from the others, which count for all of them; and of up to 50 relatives.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from phylocli import models
from phylocli.embed import Embedder
from phylocli.formats import read_families
from phylocli.search import Background, background_of, unit
from phylocli.search.rerank import ResidueScores, align
from phylocli.search.residue_evalues import ResidueEvalues

ROWS = (10, 100, 10_000, 1_000_000)
EVALUES = (0.1, 1.0, 10.0)
MEMBERS, PROTEINS, LONGEST = 25, 1500, 1000
SHOWN = 5
NEAREST, DRAWN, RELATIVES = 100, 100, 50
RESAMPLES = 1000
BLOCK = 256


@dataclass
class Pairs:
    """Pairs of a query and a row.

    Attributes:
        query: of each, (n,).
        log_p: (n,).
        weight: how many pairs it stands for, (n,).
    """

    query: np.ndarray
    log_p: np.ndarray
    weight: np.ndarray

    def counts(self, bound: float, queries: int) -> np.ndarray:
        """Return for each query the number of its pairs with a p-value up to a bound, and that of all, (queries, 2)."""
        hit = self.weight * (self.log_p <= np.log(bound))
        return np.stack([np.bincount(self.query, w, queries) for w in (hit, self.weight)], axis=1)


def collect(data: Path) -> tuple[list[str], np.ndarray]:
    """Return sequences, and the fold or clan of each; -1 where it is unknown."""
    frame = pl.read_csv(data / "scope/dev.tsv.gz", separator="\t")
    frame = frame.filter(pl.col("fold").is_in((data / "scope/validation_folds.txt").read_text().split()))
    sequences, groups = frame["sequence"].to_list(), frame["fold"].to_list()
    for family in read_families(data / "families/dev.sto.gz"):
        members = [s.residues for s in family.sequences()[:MEMBERS]]
        sequences += members
        groups += [family.clan or family.accession] * len(members)
    proteins = pl.read_csv(data / "function/go_mf.tsv.gz", separator="\t")["sequence"]
    proteins = proteins.filter(proteins.str.len_chars() <= LONGEST).sample(PROTEINS, seed=1)
    numbers = np.unique(groups, return_inverse=True)[1]
    return sequences + proteins.to_list(), np.concatenate([numbers, np.full(PROTEINS, -1)])


def report(name: str, unrelated: Pairs, related: Pairs, group: np.ndarray) -> None:
    """Print observed hits for each size of table and E-value, expected ones being the E-value (at most all rows).

    Args:
        name: of the E-values and the queries.
        unrelated, related: pairs of both kinds.
        group: fold or clan of each query, (queries,).
    """
    codes = np.unique(group, return_inverse=True)[1]
    drawn = np.random.default_rng(0).integers(0, codes.max() + 1, (RESAMPLES, codes.max() + 1))
    for rows in ROWS:
        cells = []
        for evalue in EVALUES:
            bound = min(evalue / rows, 1.0)
            if bound * unrelated.weight.sum() < SHOWN:
                cells.append(f"{'–':>24}{'–':>10}")
                continue
            # Hits and pairs of each fold, so that folds are resampled whole.
            sums = [
                np.stack([np.bincount(codes, column) for column in pairs.counts(bound, len(group)).T], axis=1)
                for pairs in (unrelated, related)
            ]
            means = [(s.sum(axis=0)[0] / s.sum(axis=0)[1]) for s in sums]
            again = sums[0][drawn].sum(axis=1)
            low, high = rows * np.quantile(again[:, 0] / again[:, 1], [0.025, 0.975])
            text = f"{rows * means[0]:.2g} ({low:.2g} to {high:.2g})"
            cells.append(f"{text:>24}{rows * sum(means) / 2:>10.2g}")
        print(f"{name:<32}{rows:>10,}" + "".join(cells), flush=True)


def by_cosine(known: Background, queries: np.ndarray, vectors: np.ndarray, same: np.ndarray) -> tuple[Pairs, Pairs]:
    """Return the unrelated and the related pairs that may count at any E-value; one other stands for all the rest."""
    largest = np.log(max(EVALUES) / min(ROWS[1:]))
    parts: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = [[], []]
    for start in range(0, len(queries), BLOCK):
        some = queries[start : start + BLOCK]
        log_p = known.log_p_values(some, some @ vectors.T)
        for which, mask in enumerate((~same[start : start + BLOCK], same[start : start + BLOCK])):
            row, column = np.nonzero(mask & (log_p <= largest))
            rest = mask.sum(axis=1) - np.bincount(row, minlength=len(some))
            parts[which] += [
                (row + start, log_p[row, column], np.ones(len(row))),
                (np.arange(len(some)) + start, np.zeros(len(some)), rest),
            ]
    unrelated, related = (Pairs(*(np.concatenate(c) for c in zip(*of, strict=True))) for of in parts)
    return unrelated, related


Score = Callable[[int, list[int]], np.ndarray]


def sampled(score: Score, cosines: np.ndarray, same: np.ndarray) -> tuple[Pairs, Pairs]:
    """Return pairs of each query with the unrelated rows that are nearest, with some of the others, and with relatives.

    Args:
        score: gives ln p of a query with some rows.
        cosines: (queries, rows).
        same: which rows are relatives, likewise.
    """
    rng = np.random.default_rng(2)
    parts: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = [[], []]
    for query in range(len(cosines)):
        others = np.flatnonzero(~same[query])
        others = others[np.argsort(-cosines[query, others], kind="stable")]
        near, far = others[:NEAREST], others[NEAREST:]
        drawn = rng.choice(far, DRAWN, replace=False)
        mine = rng.permutation(np.flatnonzero(same[query]))[:RELATIVES]
        log_p = score(query, [*near, *drawn, *mine])
        weight = np.r_[np.ones(NEAREST), np.full(DRAWN, len(far) / DRAWN)]
        stop = NEAREST + DRAWN
        parts[0].append((np.full(stop, query), log_p[:stop], weight))
        parts[1].append((np.full(len(mine), query), log_p[stop:], np.full(len(mine), 1.0)))
    unrelated, related = (Pairs(*(np.concatenate(c) for c in zip(*of, strict=True))) for of in parts)
    return unrelated, related


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--queries", type=int, default=4237, help="of each kind, at most all domains and members")
    parser.add_argument("--aligned", type=int, default=100, help="queries of each kind that are aligned; 0: none")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    embedder = Embedder(models.load(options.model))
    known = background_of(embedder)
    assert known is not None, "a model of proteins"
    rows, groups = collect(options.data)
    vectors = unit(embedder.pooled(rows))
    rng = np.random.default_rng(0)
    picked = rng.permutation(np.flatnonzero(groups >= 0))[: options.queries]
    same = groups[picked][:, None] == groups[None]
    kinds = {
        "reversed": [rows[i][::-1] for i in picked],
        "shuffled": ["".join(rng.permutation(list(rows[i]))) for i in picked],
    }
    print(f"{len(picked)} queries of each kind ({options.aligned} aligned), {len(rows):,} rows: unrelated; composition\n")
    print(f"{'':<32}{'rows':>10}" + "".join(f"{f'E ≤ {evalue:g}':>34}" for evalue in EVALUES))
    aligned = ResidueEvalues(ResidueScores(embedder), known, 1)
    some = slice(options.aligned)
    for name, queries in kinds.items():
        own = unit(embedder.pooled(queries))
        report(f"cosine, {name}", *by_cosine(known, own, vectors, same), groups[picked])
        if not options.aligned:
            continue
        cosines = own[some] @ vectors.T

        def residues(query: int, of: list[int]) -> np.ndarray:
            scored = aligned(queries[query], own[query], [rows[i] for i in of])  # noqa: B023
            return np.log(np.maximum(scored.evalues, 1e-300))

        def phmmer(query: int, of: list[int]) -> np.ndarray:
            evalues = align(queries[query], [rows[i] for i in of], 1)[0]  # noqa: B023
            return np.log(np.maximum(np.nan_to_num(evalues, nan=1.0), 1e-300))

        for way, score in (("--rerank residues", residues), ("--align", phmmer)):
            report(f"{way}, {name}", *sampled(score, cosines, same[some]), groups[picked][some])


if __name__ == "__main__":
    main()
