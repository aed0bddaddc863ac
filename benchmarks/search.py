"""`phylocli search` compared with phmmer: queries per CPU second, and sensitivity at the same error rate.

    python benchmarks/search.py MODEL SCOPE.tsv.gz [--queries 200] [--rerank residues align] [--candidates 1000]
    python benchmarks/search.py MODEL --fasta PROTEINS.fasta.gz [--queries 20] [--rows 20000]

MODEL is a name or folder. With a FASTA file its first `--rows` proteins are searched, for time. SCOPE is a table with the
columns id, sequence, fold, superfamily and family: its domains are searched for what is found, and, repeated up to `--rows`,
for time; `--folds` keeps the domains of the folds listed in a file. Time of ours is that of a whole search: embedding the
queries, 20 neighbours and their E-values. Embedding the targets is done once for a table and shown apart; of a FASTA file
only 1,000 proteins are embedded, and their vectors repeated, for the values change no time. phmmer (pyhmmer, default
filters) reads from memory.

What is found, by kind of relative: the fraction that ranks above a query's first hit in another fold, averaged over queries;
and, hits of all queries ranked together by E-value, the fraction found before there are 0.1 or 1 such hits a query. Then how
many hits in other folds a query has up to an E-value, which is what E-values promise.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from phylocli import models
from phylocli.embed import Embedder
from phylocli.formats import read_sequences
from phylocli.search import Background, EmbeddingTable, Neighbours, background_of, nearest, unit
from phylocli.search.rerank import ResidueScores, align
from phylocli.search.residue_evalues import ResidueEvalues

RATES = (0.1, 1.0)
PROMISES = (0.1, 1.0, 10.0)
LEVELS = ("family", "superfamily", "fold")
EMBEDDED = 1000


@dataclass
class Found:
    """Hits of a search: query and target rows, E-value of each, and CPU seconds."""

    name: str
    query: np.ndarray
    target: np.ndarray
    order: np.ndarray
    seconds: float = 0.0


def table_of(vectors: np.ndarray, rows: int) -> EmbeddingTable:
    """Return a table of these unit vectors, repeated up to `rows`."""
    repeated = vectors[np.arange(rows) % len(vectors)]
    return EmbeddingTable("targets", [str(i) for i in range(rows)], vectors.shape[1], {}, vectors=repeated)


def phmmer(queries: list[str], targets: list[str], threads: int) -> tuple[list[list[tuple[int, float]]], float]:
    """Return (target, E-value) of the hits of each query, and CPU seconds."""
    import pyhmmer
    from pyhmmer import easel

    letters = easel.Alphabet.amino()

    def digital(name: int, sequence: str) -> Any:
        return easel.TextSequence(name=str(name), sequence=sequence).digitize(letters)

    block = easel.DigitalSequenceBlock(letters, [digital(i, s) for i, s in enumerate(targets)])
    asked = [digital(i, s) for i, s in enumerate(queries)]
    start = time.process_time()
    found = [[(int(h.name), h.evalue) for h in hits] for hits in pyhmmer.phmmer(asked, block, cpus=threads)]
    return found, time.process_time() - start


def background(embedder: Embedder) -> Background:
    """Return the background of the model."""
    found = background_of(embedder)
    assert found is not None, "a model of proteins"
    return found


def search(embedder: Embedder, queries: list[str], table: EmbeddingTable, k: int) -> tuple[Any, np.ndarray, float]:
    """Return neighbours, E-values and CPU seconds of a whole search."""
    start = time.process_time()
    vectors = unit(Embedder(embedder.model).pooled(queries))
    hits = nearest(vectors, table, k)
    evalues = len(table) * np.exp(background(embedder).log_p_values(vectors, hits.cosines))
    return hits, evalues, time.process_time() - start


def speed(embedder: Embedder, queries: list[str], targets: list[str], vectors: np.ndarray, threads: int) -> None:
    """Print the queries per CPU second of each search."""
    _, _, seconds = search(embedder, queries, table_of(vectors, len(targets)), 20)
    _, theirs = phmmer(queries, targets, threads)
    length = sum(map(len, queries)) / len(queries)
    searched = f"{len(targets):,} targets, {sum(map(len, targets)):,} residues"
    print(f"\n{len(queries)} queries of {length:.0f} residues against {searched}")
    print(f"phylocli search {len(queries) / seconds:>10.1f} queries a CPU second")
    print(f"phmmer          {len(queries) / theirs:>10.1f} queries a CPU second: {theirs / seconds:.1f} times as long")


def reranked(
    embedder: Embedder,
    ways: list[str],
    queries: list[str],
    picked: np.ndarray,
    table: EmbeddingTable,
    hits: Neighbours,
    sequences: list[str],
) -> list[Found]:
    """Return the candidates with the E-values of each way to align them, and of both together where both are asked for."""
    found: list[Found] = []
    targets = [[sequences[t] for t in rows] for rows in hits.rows]
    pairs = np.repeat(picked, hits.rows.shape[1]), hits.rows.reshape(-1)
    for way in ways:
        start = time.process_time()
        if way == "residues":
            vectors = unit(embedder.pooled(queries))
            scored = ResidueEvalues(ResidueScores(embedder), background(embedder), len(table))
            every = [scored(*of).evalues for of in zip(queries, vectors, targets, strict=True)]
        else:
            every = [np.nan_to_num(align(q, of, len(table))[0], nan=np.inf) for q, of in zip(queries, targets, strict=True)]
        found.append(Found(way, *pairs, np.concatenate(every), time.process_time() - start))
    if len(found) == 2:
        found.append(Found("better of both", *pairs, 2 * np.minimum(found[0].order, found[1].order)))
    return found


def judged(found: Found, labels: dict[str, np.ndarray], picked: np.ndarray) -> dict[str, float]:
    """Return the figures of one search."""
    other = found.query != found.target
    query, target, order = found.query[other], found.target[other], found.order[other]
    false = labels["fold"][query] != labels["fold"][target]
    first = {q: np.min(order[false & (query == q)], initial=np.inf) for q in picked}
    above = order < np.array([first[q] for q in query])
    ranked = np.sort(order[false])
    bounds = {rate: ranked[int(rate * len(picked))] if int(rate * len(picked)) < len(ranked) else np.inf for rate in RATES}
    figures: dict[str, float] = {}
    finer: np.ndarray | None = None
    for level in LEVELS:
        same = labels[level]
        hit = same[query] == same[target]
        relatives = np.array([np.count_nonzero(same == same[q]) for q in picked]) - 1
        if finer is not None:
            hit &= finer[query] != finer[target]
            relatives -= np.array([np.count_nonzero(finer == finer[q]) for q in picked]) - 1
        shares = [np.count_nonzero(hit & above & (query == q)) / n for q, n in zip(picked, relatives, strict=True) if n]
        figures[f"{level}: to first"] = float(np.mean(shares))
        for rate, bound in bounds.items():
            value = np.count_nonzero(hit & (order < bound)) / max(relatives.sum(), 1)
            figures[f"{level}: at {rate:g}"] = float(value)
        finer = same
    for promise in PROMISES:
        figures[f"false, E ≤ {promise:g}"] = float((ranked <= promise).sum() / len(picked))
    return figures


def recall(
    embedder: Embedder,
    frame: pl.DataFrame,
    vectors: np.ndarray,
    count: int,
    ways: list[str],
    candidates: int,
    threads: int,
) -> None:
    """Print the sensitivity of each search on the domains of SCOPe."""
    sequences = frame["sequence"].to_list()
    labels = {level: np.unique(frame[level].to_numpy(), return_inverse=True)[1] for level in LEVELS}
    picked = np.sort(np.random.default_rng(0).choice(len(sequences), count, replace=False))
    queries = [sequences[i] for i in picked]
    table = table_of(vectors, len(vectors))
    found = max(1000, candidates)
    hits, evalues, _ = search(embedder, queries, table, found)
    runs = [Found("phylocli search", np.repeat(picked, found), hits.rows.reshape(-1), evalues.reshape(-1))]
    nearer = Neighbours(hits.rows[:, :candidates], hits.cosines[:, :candidates])
    runs += reranked(embedder, ways, queries, picked, table, nearer, sequences)
    theirs, _ = phmmer(queries, sequences, threads)
    flat = [(q, t, e) for q, of in zip(picked, theirs, strict=True) for t, e in of]
    runs.append(Found("phmmer", *(np.array(column) for column in zip(*flat, strict=True))))
    for run in runs[1:-1]:
        if run.seconds:
            print(f"{run.name}: {run.seconds / count * 1000:.0f} CPU milliseconds a query for {candidates} candidates")
    figures = [judged(run, labels, picked) for run in runs]
    print(f"\n{count} queries, {len(sequences):,} domains\n\n{'':<24}" + "".join(f"{run.name:>18}" for run in runs))
    for name in figures[0]:
        print(f"{name:<24}" + "".join(f"{values[name]:>18.3f}" for values in figures))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("scope", type=Path, nargs="?")
    parser.add_argument("--folds", type=Path, help="file with the folds whose domains are kept")
    parser.add_argument("--fasta", type=Path)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rerank", nargs="*", default=[], choices=["residues", "align"])
    parser.add_argument("--candidates", type=int, default=1000, help="nearest domains that are aligned")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    embedder = Embedder(models.load(options.model))
    if options.fasta:
        proteins = [s.residues for s in itertools.islice(read_sequences(options.fasta), options.rows)]
        some = unit(embedder.pooled(proteins[:: max(1, len(proteins) // EMBEDDED)]))
        speed(
            embedder,
            proteins[:: max(1, len(proteins) // options.queries)][: options.queries],
            proteins,
            some,
            options.threads,
        )
    if options.scope:
        frame = pl.read_csv(options.scope, separator="\t")
        if options.folds:
            frame = frame.filter(pl.col("fold").is_in(options.folds.read_text().split()))
        domains = frame["sequence"].to_list()
        start = time.process_time()
        vectors = unit(embedder.pooled(domains))
        rate = sum(map(len, domains)) / (time.process_time() - start)
        print(f"domains embedded: {rate:,.0f} residues a CPU second")
        repeated = [domains[i % len(domains)] for i in range(options.rows)]
        speed(
            embedder,
            domains[:: max(1, len(domains) // options.queries)][: options.queries],
            repeated,
            vectors,
            options.threads,
        )
        recall(embedder, frame, vectors, options.queries, options.rerank, options.candidates, options.threads)


if __name__ == "__main__":
    main()
