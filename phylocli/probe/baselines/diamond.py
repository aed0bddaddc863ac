"""DIAMOND in ultra-sensitive mode: bit scores of local alignments; must be installed."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

from phylocli.probe.baselines._external import external_search
from phylocli.probe.baselines._hits import MAX_EVALUE, search_embedding
from phylocli.probe.inputs.embedding import Embedding


def embed(name: str, ids: SequenceOf[str], sequences: SequenceOf[str]) -> Embedding:
    """Return similarities by DIAMOND's bit scores."""
    search = external_search("diamond", _commands, "conda install -c bioconda diamond")
    return search_embedding(name, ids, sequences, search, "diamond, most sensitive")


def _commands(program: str, query: str, target: str, out: str, folder: str, targets: int) -> list[list[str]]:
    database = f"{folder}/targets.dmnd"
    options = ["--ultra-sensitive", "--evalue", f"{MAX_EVALUE:g}", "--max-target-seqs", str(targets), "--quiet"]
    made = [program, "makedb", "--in", target, "--db", database, "--quiet"]
    searched = [program, "blastp", "--query", query, "--db", database, "--out", out, *options]
    return [made, [*searched, "--outfmt", "6", "qseqid", "sseqid", "bitscore"]]
