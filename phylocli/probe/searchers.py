"""Baselines that search: phmmer (pyhmmer), and MMseqs2 or DIAMOND where they are installed, for tasks that only rank.

What they say of two sequences is the bit score of the local alignment; a pair that they do not report has none (−inf), which
ranks below everything and ties with nothing but other missing pairs.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.core import alphabet, console
from phylocli.core.errors import MissingDependencyError, PhylocliError, UsageError
from phylocli.core.processes import run_program
from phylocli.formats.provenance import versions

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Hits = tuple[IntArray, FloatArray]
"""Rows of the targets that one query hit, and their bit scores."""

MAX_EVALUE = 1000.0
"""Hits up to this E-value are ranked, as in the benchmarks that the report is held against; they cost a sensitive search."""

SEARCHERS = ("phmmer", "mmseqs2", "diamond")


class HitSimilarity:
    """Similarity of rows of a data set as a search sees them; every query is searched once and kept.

    Args:
        search: given the letters of queries and targets, yields one (target indices, bit scores) a query, in order.
        sequences: the letters of every row.
    """

    def __init__(self, search: Callable[[list[str], list[str]], Iterable[Hits]], sequences: SequenceOf[str]) -> None:
        self._search = search
        self._sequences = list(sequences)
        self._targets: IntArray = np.zeros(0, dtype=np.int64)
        self._hits: dict[int, Hits] = {}

    def __call__(self, queries: IntArray, targets: IntArray) -> FloatArray:
        """Return scores of rows against rows, shape (queries, targets)."""
        if not np.array_equal(targets, self._targets):
            self._targets, self._hits = targets.copy(), {}
        missing = [int(q) for q in queries if int(q) not in self._hits]
        if missing:
            letters = [self._sequences[t] for t in targets]
            found = self._search([self._sequences[q] for q in missing], letters)
            self._hits.update(zip(missing, found, strict=True))
        scores = np.full((len(queries), len(targets)), -np.inf, dtype=np.float32)
        for row, query in enumerate(queries):
            index, bits = self._hits[int(query)]
            np.maximum.at(scores[row], index, bits)  # a target that is hit twice counts with its better hit
        return scores


def similarity(name: str, sequences: SequenceOf[str]) -> HitSimilarity:
    """Return the similarity that a search of this name sees among sequences.

    Raises:
        UsageError: no such search.
        MissingDependencyError: its program is not installed.
    """
    if name == "phmmer":
        return HitSimilarity(_phmmer, sequences)
    if name == "mmseqs2":
        return HitSimilarity(_external("mmseqs", _mmseqs_command, "conda install -c bioconda mmseqs2"), sequences)
    if name == "diamond":
        return HitSimilarity(_external("diamond", _diamond_command, "conda install -c bioconda diamond"), sequences)
    raise UsageError(f"there is no search named {name!r}", fix=f"known: {', '.join(SEARCHERS)}")


def describe(name: str) -> str:
    """Return how the report says where a search's scores come from."""
    if name == "phmmer":
        return f"phmmer (pyhmmer {versions()['pyhmmer']}), bit score of hits with an E-value up to {MAX_EVALUE:g}"
    return f"{name}, most sensitive, bit score of hits with an E-value up to {MAX_EVALUE:g}"


def _phmmer(queries: list[str], targets: list[str]) -> Iterator[Hits]:
    """Search every query among the targets with phmmer."""
    import pyhmmer
    from pyhmmer import easel

    letters = easel.Alphabet.amino()

    def block(sequences: list[str]) -> Any:
        made = [
            easel.TextSequence(name=str(i), sequence=alphabet.degap(s).upper()).digitize(letters)
            for i, s in enumerate(sequences)
        ]
        return easel.DigitalSequenceBlock(letters, made)

    found = pyhmmer.phmmer(block(queries), block(targets), E=MAX_EVALUE, domE=MAX_EVALUE)
    for hits in console.progress(found, "phmmer", total=len(queries), unit="queries"):
        rows = [(int(hit.name), hit.score) for hit in hits]
        yield np.array([r for r, _ in rows], dtype=np.int64), np.array([s for _, s in rows], dtype=np.float32)


def _mmseqs_command(program: str, query: str, target: str, out: str, folder: str, targets: int) -> list[list[str]]:
    options = ["-s", "7.5", "-e", f"{MAX_EVALUE:g}", "--max-seqs", str(targets), "-v", "1"]
    return [[program, "easy-search", query, target, out, f"{folder}/tmp", *options, "--format-output", "query,target,bits"]]


def _diamond_command(program: str, query: str, target: str, out: str, folder: str, targets: int) -> list[list[str]]:
    database = f"{folder}/targets.dmnd"
    options = ["--ultra-sensitive", "--evalue", f"{MAX_EVALUE:g}", "--max-target-seqs", str(targets), "--quiet"]
    made = [program, "makedb", "--in", target, "--db", database, "--quiet"]
    searched = [program, "blastp", "--query", query, "--db", database, "--out", out, *options]
    return [made, [*searched, "--outfmt", "6", "qseqid", "sseqid", "bitscore"]]


def _external(
    program: str, commands: Callable[[str, str, str, str, str, int], list[list[str]]], install: str
) -> Callable[[list[str], list[str]], Iterable[Hits]]:
    path = shutil.which(program)
    if path is None:
        raise MissingDependencyError(
            f"the baseline needs the program {program!r}, and there is none on PATH", fix=f"{install}, or leave it out"
        )

    def search(queries: list[str], targets: list[str]) -> list[Hits]:
        with tempfile.TemporaryDirectory(prefix="phylocli-search-") as folder:
            query, target, out = (Path(folder, name) for name in ("query.fasta", "target.fasta", "hits.tsv"))
            for file, sequences in ((query, queries), (target, targets)):
                text = "".join(f">{i}\n{alphabet.degap(s).upper()}\n" for i, s in enumerate(sequences))
                file.write_text(text, encoding="ascii")
            for command in commands(path, str(query), str(target), str(out), folder, len(targets)):
                console.detail(f"running {' '.join(command)}")
                done = run_program(command)
                if done.returncode != 0:
                    said = (done.stderr or done.stdout).strip().splitlines()
                    raise PhylocliError(f"{program} failed with status {done.returncode}", why=said[-1] if said else None)
            rows: list[list[tuple[int, float]]] = [[] for _ in queries]
            if out.is_file():
                for line in out.read_text(encoding="ascii").splitlines():
                    row, hit, bits = line.split("\t")
                    rows[int(row)].append((int(hit), float(bits)))
        return [
            (np.array([t for t, _ in found], dtype=np.int64), np.array([b for _, b in found], dtype=np.float32))
            for found in rows
        ]

    return search
