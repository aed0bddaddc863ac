"""`phylocli search` beside MMseqs2, DIAMOND and phmmer in one run: what is found at equal error rates, CPU seconds, memory.

    python benchmarks/search_peers.py MODEL SCOPE.tsv.gz -o FOLDER [--folds FILE] [--queries 300] [--ways cosine mmseqs2 …]
    python benchmarks/search_peers.py MODEL SCOPE.tsv.gz -o FOLDER --folds FILE --among PROTEINS.fasta [--reverse]

SCOPE is a table with the columns id, sequence, fold, superfamily and family; all of its domains are targets. Queries are
random domains of the folds listed in the file `--folds` (validation_folds.txt; default: all folds) that have others in their
fold. With `--among` the targets are hidden among the proteins of a FASTA file (400,000, say); with `--reverse` these are
reversed, so that each hit to one is false.

Every search is a process of its own, with one thread: CPU seconds are user and system time of it and all its children, with
the start of the program and reading of the targets; memory is that of the largest process. What is done once for a set of
targets (embedding, databases) is measured apart. Results stay in FOLDER: the same command continues after an interruption,
and another `--ways` adds to the table. 400,000 proteins take an hour to embed.

Hits of all queries are ranked by E-value; those of "smoothed" (`--smooth 20 --smooth-by both`) by the cosine of the smoothed
vectors, which has no E-values, and the targets' alignments with each other are made once. Domains of other folds and
reversed proteins are false; proteins that are not
reversed are neither true nor false. "first": the fraction of relatives above the first false hit, averaged over queries.
"0.1", "1", "10": the fraction of all relatives found down to the E-value at which there are so many false hits a query.
Levels exclude the finer ones. Intervals (95 %) are of a bootstrap over folds. "false hits at E ≤ 1": a query; 1 is promised.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from phylocli.formats import read_sequences
from phylocli.probe.baselines._hits import MAX_EVALUE

HITS = 500
"""Hits of a query that are kept."""
ALIGNED = 200
"""Hits of a query that are aligned and kept, for searches with reranking."""
RATES = (0.1, 1.0, 10.0)
LEVELS = ("family", "superfamily", "fold")
RESAMPLES = 1000
SCHEMA = {"query": pl.String, "target": pl.String, "evalue": pl.Float64}


@dataclass(frozen=True)
class Files:
    """Files of a comparison."""

    folder: Path
    model: str

    @property
    def queries(self) -> Path:
        """FASTA of the queries."""
        return self.folder / "queries.fasta"

    @property
    def targets(self) -> Path:
        """FASTA of the targets."""
        return self.folder / "targets.fasta"


Commands = Callable[[Files, str], list[list[str]]]


@dataclass(frozen=True)
class Way:
    """A search.

    Attributes:
        name: of its folder and column.
        prepared: name of what is done once for a set of targets, and its commands; shared by ways of the same name.
        prepare, search: commands, given the files and the path of the hits.
        evalue: column of the hits that holds the E-value, with `query` and `target`; None: a table without a header.
        similarity: the column holds a similarity, by which hits are ranked, and no E-value.
    """

    name: str
    prepared: str
    prepare: Commands
    search: Commands
    evalue: str | None = None
    similarity: bool = False


def phylocli(*words: str) -> list[str]:
    """Return a command of phylocli with one thread."""
    return [sys.executable, "-m", "phylocli", *words, "--threads", "1"]


def embed(files: Files, _: str) -> list[list[str]]:
    """Return the command that embeds the targets."""
    return [phylocli("embed", str(files.targets), "--model", files.model, "-o", str(files.folder / "targets.parquet"))]


SMOOTHED = ("--smooth", "20", "--smooth-by", "both")


def neighbours(files: Files, out: str) -> list[list[str]]:
    """Return the commands that embed the targets and align them with their neighbours."""
    table, sequences = str(files.folder / "targets.parquet"), str(files.targets)
    smooth = ["smooth", table, "--by", "both", "-k", "20", "--sequences", sequences, "--model", files.model]
    return [*embed(files, out), phylocli(*smooth, "-o", str(files.folder / "smoothed.parquet"))]


def by_phylocli(*options: str) -> Commands:
    """Return the command of a search with these options."""

    def commands(files: Files, out: str) -> list[list[str]]:
        table = str(files.folder / "targets.parquet")
        return [phylocli("search", str(files.queries), table, "--model", files.model, "-k", str(HITS), "-o", out, *options)]

    def with_sequences(files: Files, out: str) -> list[list[str]]:
        return [[*command, "--sequences", str(files.targets)] for command in commands(files, out)]

    return with_sequences if options else commands


def mmseqs_database(files: Files, _: str) -> list[list[str]]:
    """Return the command that makes MMseqs2's database."""
    return [["mmseqs", "createdb", str(files.targets), str(files.folder / "mmseqs"), "-v", "1"]]


def mmseqs_search(files: Files, out: str) -> list[list[str]]:
    """Return the command of a search with MMseqs2."""
    options = ["-s", "7.5", "-e", f"{MAX_EVALUE:g}", "--max-seqs", str(HITS), "--threads", "1", "-v", "1"]
    named = ["--format-output", "query,target,evalue"]
    temporary = str(files.folder / "mmseqs_temporary")
    return [["mmseqs", "easy-search", str(files.queries), str(files.folder / "mmseqs"), out, temporary, *options, *named]]


def diamond_database(files: Files, _: str) -> list[list[str]]:
    """Return the command that makes DIAMOND's database."""
    return [["diamond", "makedb", "--in", str(files.targets), "--db", str(files.folder / "diamond"), "--quiet"]]


def diamond_search(files: Files, out: str) -> list[list[str]]:
    """Return the command of a search with DIAMOND."""
    options = [
        "--ultra-sensitive",
        "--evalue",
        f"{MAX_EVALUE:g}",
        "--max-target-seqs",
        str(HITS),
        "--threads",
        "1",
        "--quiet",
    ]
    named = ["--outfmt", "6", "qseqid", "sseqid", "evalue"]
    where = ["--query", str(files.queries), "--db", str(files.folder / "diamond"), "--out", out]
    return [["diamond", "blastp", *where, *options, *named]]


def phmmer_search(files: Files, out: str) -> list[list[str]]:
    """Return the command that runs `phmmer` below."""
    return [[sys.executable, __file__, "phmmer", str(files.targets), "-o", out, "--query", str(files.queries)]]


def nothing(_: Files, __: str) -> list[list[str]]:
    """Return no commands."""
    return []


RESIDUES = ("--rerank", "residues", "-k", str(ALIGNED))
WAYS = [
    Way("cosine", "embedding", embed, by_phylocli(), "evalue"),
    Way("smoothed", "neighbours", neighbours, by_phylocli(*SMOOTHED), "smoothed", similarity=True),
    Way("residues", "embedding", embed, by_phylocli(*RESIDUES), "residues_evalue"),
    Way("both", "embedding", embed, by_phylocli(*RESIDUES, "--align"), "both_evalue"),
    Way("mmseqs2", "mmseqs2", mmseqs_database, mmseqs_search),
    Way("diamond", "diamond", diamond_database, diamond_search),
    Way("phmmer", "phmmer", nothing, phmmer_search),
]


def phmmer(queries: Path, targets: Path, out: Path) -> None:
    """Search with phmmer (pyhmmer, default filters) and write the best hits of each query."""
    import pyhmmer
    from pyhmmer.easel import Alphabet, SequenceFile

    letters = Alphabet.amino()
    blocks = []
    for path in (queries, targets):
        with SequenceFile(str(path), digital=True, alphabet=letters) as file:
            blocks.append(file.read_block())
    with out.open("w") as stream:
        for query, hits in zip(blocks[0], pyhmmer.phmmer(*blocks, cpus=1, E=MAX_EVALUE), strict=True):
            best = sorted(hits, key=lambda hit: hit.evalue)[:HITS]
            stream.writelines(f"{query.name}\t{hit.name}\t{hit.evalue:g}\n" for hit in best)


def measured(commands: list[list[str]]) -> dict[str, float]:
    """Run commands; return CPU seconds of them and their children, and the memory of the largest process in GB."""
    seconds, largest = 0.0, 0.0
    for command in commands:
        process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"{' '.join(command[:4])} … failed with status {process.returncode}")
        seconds += usage.ru_utime + usage.ru_stime
        largest = max(largest, usage.ru_maxrss / 2**20)
    return {"seconds": seconds, "gigabytes": largest}


def once(path: Path, commands: list[list[str]]) -> dict[str, float]:
    """Return what `measured` returns, from a file if the commands have been run."""
    if not path.is_file():
        found = measured(commands)
        path.write_text(json.dumps(found) + "\n")
    result: dict[str, float] = json.loads(path.read_text())
    return result


def write_files(files: Files, frame: pl.DataFrame, queries: list[int], among: Path | None, reverse: bool) -> None:
    """Write queries and targets, once."""
    files.folder.mkdir(parents=True, exist_ok=True)
    described = json.dumps({"queries": queries, "among": str(among), "reverse": reverse, "model": files.model})
    record = files.folder / "settings.json"
    if record.is_file():
        if record.read_text() != described:
            raise SystemExit(f"{files.folder} holds a comparison with other settings: name another folder")
        return
    domains = list(zip(frame["id"], frame["sequence"], strict=True))
    files.queries.write_text("".join(f">{name}\n{letters}\n" for name, letters in (domains[q] for q in queries)))
    with files.targets.open("w") as stream:
        stream.writelines(f">{name}\n{letters}\n" for name, letters in domains)
        for protein in [] if among is None else read_sequences(among):
            name, letters = ("reversed", protein.residues[::-1]) if reverse else ("protein", protein.residues)
            stream.write(f">{name}-{protein.id}\n{letters}\n")
    record.write_text(described)


def read_hits(path: Path, way: Way) -> pl.DataFrame:
    """Return query, target and E-value of the hits, each pair once with its best E-value; a similarity is negated."""
    if way.evalue is not None:
        value = -pl.col(way.evalue) if way.similarity else pl.col(way.evalue)
        frame = pl.read_parquet(path).select("query", "target", value.alias("evalue"))
    elif path.is_file() and path.stat().st_size:
        frame = pl.read_csv(path, separator="\t", has_header=False, schema=SCHEMA)
    else:
        frame = pl.DataFrame(schema=SCHEMA)
    return frame.filter(pl.col("query") != pl.col("target")).group_by("query", "target").agg(pl.col("evalue").min())


class Judge:
    """Counts what is found.

    Args:
        frame: the domains.
        queries: rows of the queries.
    """

    def __init__(self, frame: pl.DataFrame, queries: list[int]) -> None:
        self._row = {name: row for row, name in enumerate(frame["id"])}
        self._labels = {level: np.unique(frame[level].to_numpy(), return_inverse=True)[1] for level in LEVELS}
        self._queries = np.array(queries)
        fold = self._labels["fold"][self._queries]
        self._unit = np.unique(fold, return_inverse=True)[1]
        drawn = np.random.default_rng(0).integers(0, self._unit.max() + 1, (RESAMPLES, self._unit.max() + 1))
        self._times = np.stack([np.bincount(d, minlength=self._unit.max() + 1) for d in drawn])[:, self._unit]
        self._relatives: dict[str, npt.NDArray[np.int64]] = {}
        finer = np.ones(len(queries), dtype=np.int64)  # the query itself
        for level in LEVELS:
            counts = np.bincount(self._labels[level])[self._labels[level][self._queries]]
            self._relatives[level], finer = counts - finer, counts

    def __call__(self, hits: pl.DataFrame) -> dict[str, str]:
        """Return the figures of a search as text."""
        order = {row: place for place, row in enumerate(self._queries.tolist())}
        query = np.array([order[self._row[name]] for name in hits["query"]], dtype=np.int64)
        target = np.array([self._row.get(name, -1) for name in hits["target"]], dtype=np.int64)
        evalue = hits["evalue"].to_numpy()
        known, asked = target >= 0, self._queries[query]
        same = {level: known & (codes[asked] == codes[target]) for level, codes in self._labels.items()}
        false = (known & ~same["fold"]) | hits["target"].str.starts_with("reversed-").to_numpy()
        first = np.full(len(self._queries), np.inf)
        np.minimum.at(first, query[false], evalue[false])
        ranked = np.sort(evalue[false])
        found: dict[str, str] = {}
        finer = np.zeros(len(query), dtype=bool)
        for level in LEVELS:
            wanted, relatives = same[level] & ~finer, self._relatives[level]
            finer = same[level]
            above = np.bincount(query[wanted & (evalue < first[query])], minlength=len(self._queries))
            some = (relatives > 0).astype(np.float64)
            found[f"{level}: first"] = self._interval(above / np.maximum(relatives, 1), some)
            for rate in RATES:
                place = int(rate * len(self._queries))
                bound = ranked[place] if place < len(ranked) else np.inf
                counts = np.bincount(query[wanted & (evalue < bound)], minlength=len(self._queries))
                found[f"{level}: {rate:g}"] = self._interval(counts.astype(np.float64), relatives.astype(np.float64))
        found["false hits at E ≤ 1"] = f"{(ranked <= 1).sum() / len(self._queries):.2f}"
        return found

    def _interval(self, numerator: npt.NDArray[np.float64], denominator: npt.NDArray[np.float64]) -> str:
        """Return a ratio of sums over queries, with its interval."""
        if not denominator.sum():
            return "–"
        value = numerator.sum() / denominator.sum()
        with np.errstate(invalid="ignore"):
            again = (self._times @ numerator) / (self._times @ denominator)
        low, high = np.nanquantile(again, [0.025, 0.975])
        return f"{value:.3f} ({low:.3f}–{high:.3f})"


def compare(options: argparse.Namespace) -> None:
    """Run the searches that have not been run, and print the table."""
    frame = pl.read_csv(options.table, separator="\t", infer_schema=False)
    folds = set(options.folds.read_text().split()) if options.folds else set(frame["fold"])
    size = frame["fold"].value_counts()
    several = set(size.filter(pl.col("count") > 1)["fold"])
    eligible = [row for row, fold in enumerate(frame["fold"]) if fold in folds & several]
    queries = sorted(np.random.default_rng(0).permutation(eligible)[: options.queries].tolist())
    files = Files(options.output, options.model)
    write_files(files, frame, queries, options.among, options.reverse)
    judge = Judge(frame, queries)
    columns: dict[str, dict[str, str]] = {}
    for way in (way for way in WAYS if way.name in options.ways):
        if way.prepared in ("mmseqs2", "diamond") and shutil.which(way.prepared.removesuffix("2")) is None:
            print(f"{way.name} is not installed", file=sys.stderr)
            continue
        hits = options.output / f"{way.name}.{'parquet' if way.evalue else 'tsv'}"
        prepared = once(options.output / f"prepared_{way.prepared}.json", way.prepare(files, str(hits)))
        cost = once(options.output / f"{way.name}.json", way.search(files, str(hits)))
        figures = judge(read_hits(hits, way))
        if way.similarity:
            figures["false hits at E ≤ 1"] = "–"
        columns[way.name] = {
            **figures,
            "CPU seconds": f"{cost['seconds']:.1f}",
            "CPU seconds per query": f"{cost['seconds'] / len(queries):.3f}",
            "memory (GB)": f"{cost['gigabytes']:.2f}",
            "once: CPU seconds": f"{prepared['seconds']:.1f}",
            "once: memory (GB)": f"{prepared['gigabytes']:.2f}",
        }
    rows = [f"| {name} | " + " | ".join(c[name] for c in columns.values()) + " |" for name in next(iter(columns.values()))]
    text = "\n".join([f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns), *rows])
    with files.targets.open() as stream:
        targets = sum(line.startswith(">") for line in stream)
    print(f"{len(queries):,} queries, {targets:,} targets\n\n{text}")
    (options.output / "table.md").write_text(text + "\n")


def main() -> None:
    """Compare, or, as a process of its own, search with phmmer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="name or folder; 'phmmer' runs that search")
    parser.add_argument("table", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--folds", type=Path)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--among", type=Path)
    parser.add_argument("--reverse", action="store_true")
    parser.add_argument("--ways", nargs="+", choices=[way.name for way in WAYS], default=[way.name for way in WAYS])
    parser.add_argument("--query", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.model == "phmmer":
        phmmer(options.query, options.table, options.output)
    else:
        compare(options)


if __name__ == "__main__":
    main()
