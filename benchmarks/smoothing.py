"""Smoothing of embeddings: what it adds to retrieval, at which settings, among other proteins, for peers, at what cost.

    python benchmarks/smoothing.py DATA -o FOLDER [--peer UNIREP.parquet …] [--largest 50000]

DATA holds scope/, families/ and their hold-outs. `--peer`: tables of the same domains by other models, to be smoothed, too
(`benchmarks/unirep.py FOLDER/hidden/scope/dev.fasta`). Embeddings are kept in FOLDER. Four reports are printed:

1. settings: sensitivity on either half of the validation folds of SCOPe, for the choice of settings on one half;
2. retrieval of SCOPe domains and of dev families, with 95 % intervals, before and after smoothing, by `phylocli probe`;
3. the same domains smoothed among up to 20 members of each Pfam family of the training data, which have no labels here;
4. CPU seconds by number of rows.
"""

from __future__ import annotations

import argparse
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

LEVELS = ("family", "superfamily", "fold")
SETTINGS = [(k, rounds) for k in (5, 10, 20) for rounds in (1, 2, 3)]
MEMBERS, TRAINED = 25, 20
"""Members of each dev family, and of each family of the training data."""


def embedded(path: Path, sequences: list[tuple[str, str]]) -> EmbeddingTable:
    """Return the embeddings of sequences by the default model, from a file if there is one."""
    if not path.is_file():
        embedder, start = phylocli.load_model("default"), time.process_time()
        embedder.embed(sequences).write(path)
        print(f"{path.stem}: {len(sequences):,} sequences embedded in {time.process_time() - start:.1f} CPU s", flush=True)
    return phylocli.read_embeddings(path)


def sensitivity(vectors: npt.NDArray[np.float32], labels: pl.DataFrame) -> list[float]:
    """Return the mean fraction of each level that is found before the first domain of another fold, by cosine."""
    return sensitivity_of(vectors @ vectors.T, labels)


def sensitivity_of(similarity: npt.NDArray[np.float32], labels: pl.DataFrame) -> list[float]:
    """Return the same for similarities, (n, n); -inf is no hit."""
    np.fill_diagonal(similarity, -np.inf)
    same = {name: labels[name].to_numpy()[:, None] == labels[name].to_numpy() for name in LEVELS}
    worst = np.where(same["fold"], -np.inf, similarity).max(1)
    nested = [same["family"], same["superfamily"] & ~same["family"], same["fold"] & ~same["superfamily"]]
    found = []
    for wanted in nested:
        np.fill_diagonal(wanted, False)
        count = wanted.sum(1)
        hits = (wanted & (similarity > worst[:, None])).sum(1)
        found.append(float((hits[count > 0] / count[count > 0]).mean()))
    return found


def choose(table: EmbeddingTable, labels: pl.DataFrame) -> None:
    """Print the sensitivity of each setting on either half of the folds; neighbours are among all domains."""
    folds = np.unique(labels["fold"].to_numpy())
    first = np.isin(labels["fold"].to_numpy(), np.random.default_rng(0).permutation(folds)[: len(folds) // 2])
    print(f"\n## Settings: {first.sum()} and {(~first).sum()} domains\n")
    print("| k | rounds | one half | the other |\n|---|---|---|---|")
    for k, rounds in [(0, 0), *SETTINGS]:
        vectors = phylocli.smooth_embeddings(table, neighbours=k, rounds=rounds).numpy() if rounds else _unit(table)
        halves = [sensitivity(vectors[half], labels.filter(half)) for half in (first, ~first)]
        print(
            f"| {k or '–'} | {rounds or '–'} | {' | '.join('/'.join(f'{x:.3f}' for x in half) for half in halves)} |",
            flush=True,
        )


def _text(values: list[float]) -> str:
    return "/".join(f"{x:.3f}" for x in values)


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
    command = ["mmseqs", "easy-search", fasta, fasta, hits, folder / "tmp", *options]
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


def report(folder: Path, name: str, tables: list[NamedSource], labels: Path, **options: Any) -> None:
    """Print the retrieval of tables with intervals, and the differences to the first."""
    target = folder / f"{name}_report"
    phylocli.run_probes(tables, labels, target, **{"tasks": ["retrieval"], "projection": "none", **options})
    print(f"\n## Retrieval: {name}\n\n{(target / 'report.md').read_text(encoding='utf-8')}", flush=True)


def smoothed_beside(table: EmbeddingTable, path: Path) -> list[NamedSource]:
    """Write a table and its smoothing; return both, the smoothed one first."""
    name = path.name.split(".")[0]
    smooth = path.with_name(f"{name}.smooth.parquet")
    phylocli.smooth_embeddings(table).write(smooth)
    return [NamedSource(f"{name}, smoothed", smooth), NamedSource(name, path)]


def main() -> None:
    """Run the reports that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--peer", type=Path, action="append", default=[], metavar="TABLE")
    parser.add_argument("--largest", type=int, default=50_000, metavar="N")
    parser.add_argument("--only", nargs="*", choices=("settings", "retrieval", "among", "cost"), default=None)
    options = parser.parse_args()
    folder, wanted = options.output, options.only or ["settings", "retrieval", "among", "cost"]
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
        tables = smoothed_beside(scope, folder / "scope.parquet")
        for peer in options.peer:
            tables += smoothed_beside(phylocli.read_embeddings(peer), peer)
        report(folder, "scope", tables, names)
        if shutil.which("mmseqs"):
            for iterations in (1, 3):
                scores = aligned(folder, scope.ids, iterations)
                print(f"MMseqs2 -s 7.5, iterations {iterations}: {_text(sensitivity_of(scores, labels))}", flush=True)
        dev = folder / "dev.sto.gz"
        if not dev.is_file():
            few = (fewer(family, MEMBERS) for family in phylocli.read_families(options.data / "families" / "dev.sto.gz"))
            phylocli.write_families(phylocli.infer_trees(few, jobs=2), dev)
        members = {s.id: s.residues for family in phylocli.read_families(dev) for s in family.sequences()}
        tables = smoothed_beside(embedded(folder / "dev.parquet", list(members.items())), folder / "dev.parquet")
        report(folder, "dev", tables, labels_of(dev, folder), tasks=["retrieval", "patristic"], trees=dev)
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
            vectors = phylocli.smooth_embeddings(table).numpy()[: len(scope)]
            print(f"smoothed {title}: {_text(sensitivity(vectors, labels))}", flush=True)
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
