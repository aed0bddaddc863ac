"""`phylocli search` beside phmmer: queries a CPU second, and what each finds at the same error rate, in one run.

    python benchmarks/search.py MODEL SCOPE.tsv.gz [--queries 60] [--targets 20000] [--looks residues align] [--threads 1]

MODEL is a name or folder. SCOPE is a table with the columns id, sequence, fold, superfamily and family. The targets are its
domains, repeated up to `--targets` rows: for time every row counts, for what is found each domain once. Ours includes
embedding the queries and the decoys behind the E-values; embedding the targets is done once for a table and shown apart.
phmmer (pyhmmer, default filters, E-values up to 10) reads its targets from memory.

Hits of all queries are ranked together by E-value; a hit in another fold is false. Printed are the shares of the true pairs
of each kind that are found before there are 0.1 and 1 false hits a query, and how many false hits a query come with an
E-value up to 0.1, 1 and 10, which is what an E-value promises.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from phylocli import models
from phylocli.embed import Embedder
from phylocli.search import Table, calibrate, nearest, unit
from phylocli.search.again import ResidueScores, align
from phylocli.search.decoys import make_decoys

RATES = (0.1, 1.0)
PROMISES = (0.1, 1.0, 10.0)
LEVELS = ("family", "superfamily", "fold")


@dataclass
class Found:
    """Hits of a search: query and target rows, how unlikely each is (smaller is better), and what it took."""

    name: str
    query: np.ndarray
    target: np.ndarray
    order: np.ndarray
    seconds: float
    evalues: bool = True


def phmmer(sequences: list[str], picked: np.ndarray, rows: int, threads: int) -> Found:
    """Search with phmmer among the domains, repeated to `rows` rows."""
    import pyhmmer
    from pyhmmer import easel

    letters = easel.Alphabet.amino()

    def digital(name: int, sequence: str) -> Any:
        return easel.TextSequence(name=str(name), sequence=sequence).digitize(letters)

    block = easel.DigitalSequenceBlock(letters, [digital(i, sequences[i % len(sequences)]) for i in range(rows)])
    queries = [digital(i, sequences[i]) for i in picked]
    start = time.process_time()
    hits = list(pyhmmer.phmmer(queries, block, cpus=threads, Z=len(sequences)))
    seconds = time.process_time() - start
    found = [
        (int(q), int(h.name), h.evalue)
        for q, of in zip(picked, hits, strict=True)
        for h in of
        if int(h.name) < len(sequences)
    ]
    query, target, evalue = (np.array(column) for column in zip(*found, strict=True))
    return Found("phmmer", query, target, evalue, seconds)


def ours(embedder: Embedder, sequences: list[str], picked: np.ndarray, rows: int, looks: list[str]) -> list[Found]:
    """Search with the model, and look at the first 100 hits again."""
    start = time.process_time()
    vectors = unit(embedder.pooled(sequences))
    residues = sum(map(len, sequences))
    seconds = time.process_time() - start
    print(f"targets embedded: {residues:,} residues, {residues / seconds:,.0f} a CPU second (once for a table)")
    count = len(sequences)
    table = Table("targets", [str(i) for i in range(rows)], vectors.shape[1], {}, vectors=vectors[np.arange(rows) % count])
    letters = [sequences[i] for i in picked]

    start = time.process_time()
    queries = unit(Embedder(embedder.model).pooled(letters))
    hits = nearest(queries, table, 1000)
    evalues = calibrate(table, unit(embedder.pooled(make_decoys(letters)))).evalues(queries, hits.cosines)
    seconds = time.process_time() - start
    evalues *= count / rows  # as of one copy of each domain
    once = hits.rows < count
    query = np.repeat(picked, once.sum(axis=1))
    found = [Found("ours", query, hits.rows[once], evalues[once], seconds)]

    first = nearest(queries, Table("once", table.ids[:count], table.dimension, {}, vectors=vectors), 100)
    pairs = np.repeat(picked, 100), first.rows.reshape(-1)
    for look in looks:
        start = time.process_time()
        if look == "residues":
            score = ResidueScores(embedder)
            order = np.concatenate([-score(q, [sequences[t] for t in r]) for q, r in zip(letters, first.rows, strict=True)])
        else:
            order = np.concatenate(
                [align(q, [sequences[t] for t in r], count)[0] for q, r in zip(letters, first.rows, strict=True)]
            )
        spent = seconds + time.process_time() - start
        kept = np.isfinite(order)
        name = f"ours, 100 by {look}"
        found.append(Found(name, pairs[0][kept], pairs[1][kept], order[kept], spent, evalues=look == "align"))
    return found


def judged(found: Found, labels: dict[str, np.ndarray], picked: np.ndarray) -> dict[str, float]:
    """Return the shares of true pairs found at each error rate, and false hits a query at each promise."""
    other = found.query != found.target
    query, target, order = found.query[other], found.target[other], found.order[other]
    false = labels["fold"][query] != labels["fold"][target]
    ranked = np.sort(order[false])
    figures: dict[str, float] = {}
    for rate in RATES:
        allowed = int(rate * len(picked))
        bound = ranked[allowed] if allowed < len(ranked) else np.inf
        finer: np.ndarray | None = None
        for level in LEVELS:
            same = labels[level]
            hit = same[query] == same[target]
            true = (same[picked][:, None] == same[None]).sum() - len(picked)
            if finer is not None:
                hit &= finer[query] != finer[target]
                true -= (finer[picked][:, None] == finer[None]).sum() - len(picked)
            figures[f"{level} at {rate:g}"] = float((hit & (order < bound)).sum() / max(true, 1))
            finer = same
    for promise in PROMISES:
        figures[f"E ≤ {promise:g}"] = float((ranked <= promise).sum() / len(picked)) if found.evalues else float("nan")
    return figures


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("scope", type=Path)
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--targets", type=int, default=20_000)
    parser.add_argument("--looks", nargs="*", default=[], choices=["residues", "align"])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    frame = pl.read_csv(options.scope, separator="\t")
    sequences = frame["sequence"].to_list()
    labels = {level: np.unique(frame[level].to_numpy(), return_inverse=True)[1] for level in LEVELS}
    picked = np.sort(np.random.default_rng(0).choice(len(sequences), options.queries, replace=False))
    rows = max(options.targets, len(sequences))
    embedder = Embedder(models.load(options.model))
    print(f"{options.queries} queries, {rows:,} targets, {options.threads} threads")
    runs = [*ours(embedder, sequences, picked, rows, options.looks), phmmer(sequences, picked, rows, options.threads)]
    print(f"\n{'search':<24}{'queries a CPU second':>22}{'times phmmer':>14}")
    for run in runs:
        rate = options.queries / run.seconds
        print(f"{run.name:<24}{rate:>22.2f}{runs[-1].seconds / run.seconds:>14.1f}")
    figures = {run.name: judged(run, labels, picked) for run in runs}
    columns = list(next(iter(figures.values())))
    wide = max(map(len, columns)) + 2
    print("\nshare of true pairs found at 0.1 and 1 false hits a query; false hits a query up to an E-value")
    print(f"{'':<24}" + "".join(f"{column:>{wide}}" for column in columns))
    for name, values in figures.items():
        print(f"{name:<24}" + "".join(f"{values[column]:>{wide}.3f}" for column in columns))


if __name__ == "__main__":
    main()
