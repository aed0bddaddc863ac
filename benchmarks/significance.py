"""Whether E-values of search hold: false hits of reversed and shuffled queries, in tables of 10 to a million rows.

    python benchmarks/significance.py MODEL DATA [--queries 300] [--residues 30] [--threads 1]

DATA holds families/dev.sto.gz, scope/dev.tsv.gz with scope/validation_folds.txt, and function/go_mf.tsv.gz. The rows are
domains of SCOPe's validation folds, members of the dev families, and full-length proteins. The queries are domains and
members, reversed, or shuffled as a whole: they are related to no row. A query's own fold or clan is left out ("unrelated
rows"), or is half of the table ("half relatives": relatives of the protein of which the query was made, whose composition it
keeps).

The number of hits up to an E-value in a table of n rows is n times the fraction of all pairs whose p-value is at most E / n:
the average over all tables that could be drawn from these rows. Where fewer than five pairs are expected, nothing is shown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import polars as pl
import torch

from phylocli import models
from phylocli.embed import Embedder
from phylocli.formats import read_families
from phylocli.search import Background, background_of, unit
from phylocli.search.combined_evalues import CombinedEvalues
from phylocli.search.rerank import ResidueScores

ROWS = (10, 100, 10_000, 1_000_000)
EVALUES = (0.1, 1.0, 10.0)
MEMBERS, PROTEINS, LONGEST = 25, 1500, 1000
SHOWN = 5
ALIGNED = 150
"""Rows that each query of `--residues` is aligned with."""


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


def report(name: str, log_p_values: np.ndarray, same: np.ndarray) -> None:
    """Print observed hits for each size of table and E-value, expected ones being the E-value (at most all rows)."""
    unrelated, related = np.exp(log_p_values[~same]), np.exp(log_p_values[same])
    for rows in ROWS:
        cells = []
        for evalue in EVALUES:
            bound = evalue / rows
            other = np.mean(unrelated <= bound)
            half = (other + np.mean(related <= bound)) / 2 if len(related) else np.nan
            enough = bound * len(unrelated) >= SHOWN
            cells.append(f"{rows * other:>9.2g}{rows * half:>9.2g}" if enough else f"{'–':>9}{'–':>9}")
        print(f"{name:<30}{rows:>10,}" + "".join(cells), flush=True)


def aligned(
    embedder: Embedder,
    known: Background,
    queries: list[str],
    vectors: np.ndarray,
    rows: list[str],
    own: np.ndarray,
    same: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return ln p of alignments and cosines together, of each query with rows drawn at random, and which are relatives."""
    rng, combined = np.random.default_rng(2), CombinedEvalues(ResidueScores(embedder), known, 1)
    found, related = [], []
    for query, vector, relatives in zip(queries, vectors, same, strict=True):
        mine = rng.permutation(np.flatnonzero(relatives))[:15]
        others = rng.permutation(np.flatnonzero(~relatives))[: ALIGNED - len(mine)]
        picked = np.concatenate([mine, others])
        _, evalues = combined(query, vector, [rows[i] for i in picked], own[picked] @ vector)
        found.append(np.log(np.maximum(evalues, 1e-300)))
        related.append(np.arange(ALIGNED) < len(mine))
    return np.stack(found), np.stack(related)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--queries", type=int, default=300, help="of SCOPe and of the dev families, each")
    parser.add_argument("--residues", type=int, default=30, help="queries of each kind that are aligned; 0: none")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    embedder = Embedder(models.load(options.model))
    known = background_of(embedder)
    assert known is not None, "a model of proteins"
    rows, groups = collect(options.data)
    vectors = unit(embedder.pooled(rows))
    rng = np.random.default_rng(0)
    picked = rng.permutation(np.flatnonzero(groups >= 0))[: 2 * options.queries]
    same = groups[picked][:, None] == groups[None]
    kinds = {
        "reversed": [rows[i][::-1] for i in picked],
        "shuffled": ["".join(rng.permutation(list(rows[i]))) for i in picked],
    }
    print(f"{len(picked)} queries of each kind, {len(rows):,} rows; per E-value: unrelated rows, half relatives\n")
    print(f"{'':<30}{'rows':>10}" + "".join(f"{f'E ≤ {evalue:g}':>18}" for evalue in EVALUES))
    for name, queries in kinds.items():
        own = unit(embedder.pooled(queries))
        report(f"cosine, {name}", known.log_p_values(own, own @ vectors.T), same)
        if options.residues:
            some = slice(options.residues)
            found = aligned(embedder, known, queries[some], own[some], rows, vectors, same[some])
            report(f"--rerank residues, {name}", *found)


if __name__ == "__main__":
    main()
