"""What kind of file an input is, known by how it starts. The one place that decides."""

from __future__ import annotations

import re
from typing import Literal

from phylocli.formats.sequences import pir
from phylocli.formats.streams import Input, PathLike, decode_head, open_input

Kind = Literal[
    "empty",
    "fasta",
    "pir",
    "stockholm",
    "fastq",
    "genbank",
    "newick",
    "clustal",
    "nexus",
    "phylip",
    "embl",
    "hmm",
    "structure",
    "json",
    "markup",
    "parquet",
    "arrow",
    "arrow-stream",
    "hdf5",
    "numpy",
    "table",
    "text",
]

SEQUENCES: tuple[Kind, ...] = ("fasta", "pir", "stockholm", "fastq", "genbank")
"""Kinds that `read_sequences` and `read_families` read."""
TABLES: tuple[Kind, ...] = ("parquet", "arrow", "arrow-stream", "table")
"""Kinds that `tables.read_table` reads."""
OTHERS: dict[Kind, str] = {
    "newick": "a Newick tree",
    "clustal": "a Clustal alignment",
    "nexus": "a NEXUS file",
    "phylip": "a PHYLIP alignment",
    "embl": "an EMBL or UniProt flat file",
    "hmm": "a profile HMM",
    "structure": "a protein structure (PDB or mmCIF)",
    "json": "a JSON file",
    "markup": "a web page or XML file",
    "table": "a table",
}
"""What messages call kinds of text that hold no sequences, or sequences in a form that is not read."""

_BINARY: tuple[tuple[bytes, Kind], ...] = (
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow-stream"),
    (b"\x89HDF", "hdf5"),
    (b"\x93NUMPY", "numpy"),
    (b"PK\x03\x04", "numpy"),
)
# The order decides: the more particular first. Stockholm starts with '#', as comments before FASTA do.
_TEXT: tuple[tuple[str, Kind], ...] = (
    (r"# STOCKHOLM", "stockholm"),
    (r"#NEXUS", "nexus"),
    (r"(?:[#;].*\n\s*)*" + pir.HEADER.pattern, "pir"),
    (r"(?:[#;].*\n\s*)*>", "fasta"),
    (r"@", "fastq"),
    (r"LOCUS ", "genbank"),
    (r"CLUSTAL|MUSCLE|PROBCONS", "clustal"),
    (r"HMMER\d", "hmm"),
    (r"ID   ", "embl"),
    (r"HEADER    |ATOM  |REMARK |data_", "structure"),
    (r"\d+[ \t]+\d+[ \t]*\n", "phylip"),
    (r"(?:\[[^\]]*\]\s*)?\(", "newick"),
    (r"[{\[]", "json"),
    (r"<", "markup"),
)


def kind_of(head: bytes) -> Kind:
    """Return the kind of a decompressed file that starts with these bytes: its first line or more."""
    for magic, kind in _BINARY:
        if head.startswith(magic):
            return kind
    text = decode_head(head).lstrip()
    if not text:
        return "empty"
    for pattern, kind in _TEXT:
        if re.match(pattern, text):
            return kind
    line = text.split("\n", 1)[0]
    return "table" if "\t" in line or "," in line else "text"


def sniff(stream: Input) -> Kind:
    """Return the kind of an open input from which nothing has been read."""
    return kind_of(stream.peek())


def sniff_file(source: PathLike) -> Kind:
    """Return the kind of a file, compressed or not.

    Raises:
        BadInputError: no such file, or damaged.
    """
    with open_input(source) as stream:
        return sniff(stream)
