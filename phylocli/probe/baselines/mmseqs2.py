"""MMseqs2 with sensitivity 7.5: bit scores of local alignments; must be installed."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

from phylocli.probe.baselines._external import external_search
from phylocli.probe.baselines._hits import MAX_EVALUE, search_embedding
from phylocli.probe.inputs.embedding import Embedding


def embed(name: str, ids: SequenceOf[str], sequences: SequenceOf[str]) -> Embedding:
    """Return similarities by MMseqs2's bit scores."""
    search = external_search("mmseqs", _commands, "conda install -c bioconda mmseqs2")
    return search_embedding(name, ids, sequences, search, "mmseqs2, most sensitive")


def _commands(program: str, query: str, target: str, out: str, folder: str, targets: int) -> list[list[str]]:
    options = ["-s", "7.5", "-e", f"{MAX_EVALUE:g}", "--max-seqs", str(targets), "-v", "1"]
    return [[program, "easy-search", query, target, out, f"{folder}/tmp", *options, "--format-output", "query,target,bits"]]
