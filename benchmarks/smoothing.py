"""Smoothing of embeddings: what it adds to retrieval, at which settings, among other proteins, for peers, at what cost.

    python benchmarks/smoothing.py DATA -o FOLDER [--peer UNIREP.parquet …] [--largest 50000]

DATA holds scope/, families/, tape_remote_homology/ and their hold-outs. `--peer`: tables of the same domains by other
models, to be smoothed, too (`benchmarks/unirep.py FOLDER/hidden/scope/dev.fasta`). Embeddings are kept in FOLDER. Six
reports are printed:

1. settings: sensitivity on either half of the validation folds of SCOPe, for the choice of settings on one half;
2. retrieval of SCOPe domains and of dev families, with 95 % intervals, before and after smoothing, by `phylocli probe`;
3. the same for SCOPe with intervals over folds, beside MMseqs2 with and without iterations, and with queries that are not in
   the table (in 20 parts; with neighbours by alignment in 5);
4. the same domains smoothed among up to 20 members of each Pfam family of the training data, which have no labels here;
5. TAPE's remote homology, validation part: a linear probe of vectors that were smoothed among those of training and
   validation proteins together, without their labels (an hour of one core);
6. CPU seconds by number of rows.
"""

from __future__ import annotations

import argparse
import functools
import resource
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from default_model import hidden_folds
from experiments import fewer, labels_of

import phylocli
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.probe import NamedSource
from phylocli.probe.benchmarks.tape_remote_homology import load as load_tape

LEVELS = ("family", "superfamily", "fold")
SETTINGS = [(k, rounds) for k in (5, 10, 20, 50) for rounds in (1, 2, 3)]
ALIGNED = ("phmmer", "residues", "both")
STRONGEST = 20
"""Number of neighbours by alignment."""
REPORTS = ("settings", "retrieval", "folds", "among", "tape", "cost")
MEMBERS, TRAINED = 25, 20
"""Members of each dev family, and of each family of the training data."""


def is_current(path: Path) -> bool:
    """Return whether there is a table of embeddings, and the default model is still the one that it was made with."""
    return path.is_file() and phylocli.read_embeddings(path).metadata.get("phylocli.model") == default_fingerprint()


@functools.cache
def default_fingerprint() -> str:
    """Return the fingerprint of the default model."""
    return phylocli.load_model("default").metadata["phylocli.model"]


def embedded(path: Path, sequences: list[tuple[str, str]]) -> EmbeddingTable:
    """Return the embeddings of sequences by the default model, from a file if there is one."""
    if not is_current(path):
        embedder, start = phylocli.load_model("default"), time.process_time()
        embedder.embed(sequences).write(path)
        print(f"{path.stem}: {len(sequences):,} sequences embedded in {time.process_time() - start:.1f} CPU s", flush=True)
    return phylocli.read_embeddings(path)


Values = list[npt.NDArray[np.float64]]
"""For each level, the value of each query, (n,); NaN where it has no relative of that level."""


def sensitivity(similarity: npt.NDArray[np.float32], labels: pl.DataFrame) -> Values:
    """Return the fraction of each level that is found before the first domain of another fold.

    Args:
        similarity: of queries and targets, (n, n); -inf is no hit.
        labels: of each.
    """
    similarity = similarity.copy()
    np.fill_diagonal(similarity, -np.inf)
    same = {name: labels[name].to_numpy()[:, None] == labels[name].to_numpy() for name in LEVELS}
    worst = np.where(same["fold"], -np.inf, similarity).max(1)
    found = []
    for wanted in (same["family"], same["superfamily"] & ~same["family"], same["fold"] & ~same["superfamily"]):
        np.fill_diagonal(wanted, False)
        count, hits = wanted.sum(1), (wanted & (similarity > worst[:, None])).sum(1)
        found.append(np.where(count > 0, hits / np.maximum(count, 1), np.nan))
    return found


def by_cosine(vectors: npt.NDArray[np.float32], labels: pl.DataFrame) -> Values:
    """Return the same for unit vectors, (n, D), all against all."""
    return sensitivity(vectors @ vectors.T, labels)


def over_folds(values: Values, labels: pl.DataFrame, replicates: int = 2000) -> str:
    """Return the means with 95 % bootstrap intervals over folds, since queries of one fold are not independent."""
    _, fold = np.unique(labels["fold"].to_numpy(), return_inverse=True)
    drawn = np.random.default_rng(0).multinomial(fold.max() + 1, np.full(fold.max() + 1, 1 / (fold.max() + 1)), replicates)
    texts = []
    for value in values:
        known = ~np.isnan(value)
        sums = np.bincount(fold[known], value[known], fold.max() + 1)
        counts = np.bincount(fold[known], minlength=fold.max() + 1)
        low, high = np.quantile((drawn @ sums) / np.maximum(drawn @ counts, 1), [0.025, 0.975])
        texts.append(f"{value[known].mean():.3f} ({low:.3f} to {high:.3f})")
    return " | ".join(texts)


def choose(table: EmbeddingTable, labels: pl.DataFrame) -> None:
    """Print the sensitivity of each setting on either half of the folds; neighbours are among all domains."""
    folds = np.unique(labels["fold"].to_numpy())
    first = np.isin(labels["fold"].to_numpy(), np.random.default_rng(0).permutation(folds)[: len(folds) // 2])
    print(f"\n## Settings: {first.sum()} and {(~first).sum()} domains\n")
    print("| neighbours by | k | rounds | one half | the other |\n|---|---|---|---|---|")
    every = [("cosine", 0, 0), *((by, k, rounds) for by in ("cosine", *ALIGNED) for k, rounds in SETTINGS)]
    for by, k, rounds in every:
        vectors = smoothed(table, labels, by, k, rounds) if rounds else _unit(table)
        halves = [_text(by_cosine(vectors[half], labels.filter(half))) for half in (first, ~first)]
        print(f"| {by} | {k or '–'} | {rounds or '–'} | {' | '.join(halves)} |", flush=True)


def smoothed(
    table: EmbeddingTable, labels: pl.DataFrame, by: str, neighbours: int | None = None, rounds: int = 2
) -> npt.NDArray[np.float32]:
    """Return the smoothed vectors of a table, whose sequences are those of the labels."""
    sequences = None if by == "cosine" else dict(labels.select("id", "sequence").iter_rows())
    k = neighbours or (10 if by == "cosine" else STRONGEST)
    return phylocli.smooth_embeddings(table, neighbours=k, rounds=rounds, by=by, sequences=sequences).numpy()


def _text(values: Values) -> str:
    return "/".join(f"{np.nanmean(x):.3f}" for x in values)


def _unit(table: EmbeddingTable) -> npt.NDArray[np.float32]:
    vectors = table.numpy()
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def aligned(folder: Path, ids: list[str], iterations: int) -> npt.NDArray[np.float32]:
    """Return the bit scores of MMseqs2, all against all, (n, n); -inf where there is no hit."""
    fasta, hits = folder / "hidden" / "scope" / "dev.fasta", folder / f"mmseqs_{iterations}.m8"
    options = [
        "-s",
        "7.5",
        "-e",
        "10000",
        "--max-seqs",
        "2000",
        "--num-iterations",
        str(iterations),
        "--threads",
        "2",
        "-v",
        "1",
    ]
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    command: list[str | Path] = ["mmseqs", "easy-search", fasta, fasta, hits, folder / "tmp", *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"MMseqs2, iterations {iterations}: {end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime:.0f} CPU s")
    at = {name: row for row, name in enumerate(ids)}
    scores = np.full((len(ids), len(ids)), -np.inf, dtype=np.float32)
    names = ["query", "target", *"abcdefghi", "bits"]
    found = pl.read_csv(hits, separator="\t", has_header=False, new_columns=names, schema_overrides={"bits": pl.Float64})
    for query, target, bits in found.select("query", "target", "bits").iter_rows():
        cell = at[str(query)], at[str(target)]
        scores[cell] = max(scores[cell], bits)
    return scores


def report(folder: Path, name: str, tables: list[NamedSource], labels: Path | None, **options: Any) -> None:
    """Print the retrieval of tables with intervals, and the differences to the first."""
    target = folder / f"{name}_report"
    phylocli.run_probes(tables, labels, target, **{"tasks": ["retrieval"], "projection": "none", **options})
    print(f"\n## Retrieval: {name}\n\n{(target / 'report.md').read_text(encoding='utf-8')}", flush=True)


def compare(folder: Path, scope: EmbeddingTable, labels: pl.DataFrame, peers: list[Path]) -> None:
    """Print sensitivities with intervals over folds, and what smoothing has more than each."""
    found = {"one vector": by_cosine(_unit(scope), labels)}
    for by in ("cosine", *ALIGNED):
        start = time.process_time()
        vectors = smoothed(scope, labels, by)
        print(f"smoothing of {len(scope):,} domains by {by}: {time.process_time() - start:.1f} CPU s", flush=True)
        found[f"by {by}"] = by_cosine(vectors, labels)
    for peer in peers:
        table = phylocli.read_embeddings(peer)
        found[peer.stem] = by_cosine(_unit(table), labels)
        for by in ("cosine", "phmmer"):
            found[f"{peer.stem}, by {by}"] = by_cosine(smoothed(table, labels, by), labels)
    if shutil.which("mmseqs"):
        for iterations in (1, 3):
            found[f"MMseqs2, iterations {iterations}"] = sensitivity(aligned(folder, scope.ids, iterations), labels)
    print(f"\n## Intervals over folds\n\n| | {' | '.join(LEVELS)} |\n|---|---|---|---|")
    for name, values in found.items():
        print(f"| {name} | {over_folds(values, labels)} |")
    for one in ("by cosine", "by both"):
        for name, values in found.items():
            if name != one:
                differences = [a - b for a, b in zip(found[one], values, strict=True)]
                print(f"| {one} minus {name} | {over_folds(differences, labels)} |")
    print("\nqueries that are not in the table:")
    for way, parts in ((None, 20), ("cosine", 20), (None, 5), ("cosine", 5), ("phmmer", 5), ("both", 5)):
        scores = new_queries(scope, labels, way, parts, folder / "rest.parquet")
        print(f"| {way or 'one vector'}, in {parts} parts | {over_folds(sensitivity(scores, labels), labels)} |", flush=True)


def new_queries(
    scope: EmbeddingTable, labels: pl.DataFrame, by: str | None, parts: int, path: Path
) -> npt.NDArray[np.float32]:
    """Return the cosines of domains with all that are in other parts, (n, n), -inf in the same part.

    Args:
        scope, labels: the domains.
        by: what decides which are neighbours; None: vectors are not smoothed.
        parts: each is smoothed among the others.
        path: of the table of the others, beside which their alignments are kept.
    """
    scores = np.full((len(scope),) * 2, -np.inf, dtype=np.float32)
    sequences = dict(labels.select("id", "sequence").iter_rows())
    for part in np.array_split(np.random.default_rng(0).permutation(len(scope)), parts):
        rest = np.setdiff1d(np.arange(len(scope)), part)
        targets, queries = (
            replace(scope, ids=[scope.ids[i] for i in rows], vectors=_unit(scope)[rows], files=[], lengths=None)
            for rows in (rest, part)
        )
        if by is not None:
            options: dict[str, Any] = {"by": by, "neighbours": 10 if by == "cosine" else STRONGEST}
            own: dict[str, Any] = {} if by == "cosine" else {"sequences": sequences}
            theirs: dict[str, Any] = {"among_sequences": sequences} if own else {}
            targets.write(path)
            asked = phylocli.smooth_embeddings(queries, path, **options, **own, **theirs)
            searched = phylocli.smooth_embeddings(path, **options, **own)
            queries, targets = asked, searched
        scores[np.ix_(part, rest)] = queries.numpy() @ targets.numpy().T
    return scores


def smoothed_beside(path: Path, sequences: dict[str, str], ways: tuple[str, ...]) -> list[NamedSource]:
    """Write the smoothing of a table beside it, by each way; return all, the one by the last way first."""
    name = path.name.split(".")[0]
    found = [NamedSource(name, path)]
    for by in ways:
        target = path.with_name(f"{name}.{by}.parquet")
        aligns: dict[str, Any] = {} if by == "cosine" else {"sequences": sequences, "neighbours": STRONGEST}
        phylocli.smooth_embeddings(path, by=by, **aligns).write(target)
        found.insert(0, NamedSource(f"{name}, by {by}", target))
    return found


def main() -> None:
    """Run the reports that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--peer", type=Path, action="append", default=[], metavar="TABLE")
    parser.add_argument("--largest", type=int, default=50_000, metavar="N")
    parser.add_argument("--only", nargs="*", choices=REPORTS, default=None)
    options = parser.parse_args()
    folder, wanted = options.output, options.only or REPORTS
    labels = pl.read_csv(hidden_folds(options.data, folder) / "scope" / "dev.tsv", separator="\t", infer_schema=False)
    names = folder / "scope.tsv"
    labels.select("id", *LEVELS).write_csv(names, separator="\t")
    (folder / "hidden" / "scope" / "dev.fasta").write_text(
        "".join(f">{name}\n{letters}\n" for name, letters in labels.select("id", "sequence").iter_rows()), encoding="utf-8"
    )
    scope = embedded(folder / "scope.parquet", list(labels.select("id", "sequence").iter_rows()))
    if "settings" in wanted:
        choose(scope, labels)
    if "retrieval" in wanted:
        letters = dict(labels.select("id", "sequence").iter_rows())
        tables = smoothed_beside(folder / "scope.parquet", letters, ("cosine", "phmmer", "both"))
        for peer in options.peer:
            tables += smoothed_beside(peer, letters, ("cosine", "phmmer"))
        report(folder, "scope", tables, names)
        dev = folder / "dev.sto.gz"
        if not dev.is_file():
            few = (fewer(family, MEMBERS) for family in phylocli.read_families(options.data / "families" / "dev.sto.gz"))
            phylocli.write_families(phylocli.infer_trees(few, jobs=2), dev)
        members = {s.id: s.residues for family in phylocli.read_families(dev) for s in family.sequences()}
        embedded(folder / "dev.parquet", list(members.items()))
        tables = smoothed_beside(folder / "dev.parquet", members, ("cosine", "phmmer", "both"))
        report(folder, "dev", tables, labels_of(dev, folder), tasks=["retrieval", "patristic"], trees=dev)
    if "folds" in wanted:
        compare(folder, scope, labels, options.peer)
    if "among" in wanted:
        rng = np.random.default_rng(0)
        sequences = []
        for family in phylocli.read_families(options.data / "families" / "train.sto.gz"):
            known = family.sequences()
            for i in sorted(rng.permutation(len(known))[:TRAINED].tolist()):
                sequences.append((f"{family.accession}/{i}", known[i].residues))
        others = embedded(folder / "trained.parquet", sequences)
        together = replace(
            scope,
            ids=[*scope.ids, *others.ids],
            lengths=None,
            vectors=np.concatenate([scope.numpy(), others.numpy()]),
            files=[],
        )
        print(f"\n## Among {len(others):,} members of Pfam families\n")
        for title, table in (("alone", scope), ("among them", together)):
            vectors = smoothed(table, labels, "cosine")[: len(scope)]
            print(f"smoothed {title}: {_text(by_cosine(vectors, labels))}", flush=True)
    if "tape" in wanted:
        letters = dict(load_tape(options.data, "valid").frame.select("id", "sequence").iter_rows())
        embedded(folder / "tape.parquet", list(letters.items()))
        tables = smoothed_beside(folder / "tape.parquet", letters, ("cosine", "phmmer", "both"))
        report(folder, "tape", tables, None, benchmark="tape-remote-homology", data=options.data, tasks=())
    if "cost" in wanted:
        print("\n## Cost\n\n| rows | CPU s |\n|---|---|")
        rng = np.random.default_rng(0)
        for rows in (1_000, 10_000, 50_000, 100_000):
            if rows <= options.largest:
                vectors = rng.normal(size=(rows, scope.dimension)).astype(np.float32)
                table = EmbeddingTable("random", [str(i) for i in range(rows)], scope.dimension, vectors=vectors)
                start = time.process_time()
                phylocli.smooth_embeddings(table)
                print(f"| {rows:,} | {time.process_time() - start:.1f} |", flush=True)


if __name__ == "__main__":
    main()
