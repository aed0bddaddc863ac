"""The registry of input formats: names, detection by content or suffix, kind of content, and reader.

Detection, reading, messages, help texts and docs/reference/formats.md are derived from `FORMATS`. To add a format, add an
`InputFormat` to it, before other formats whose `start` also matches its files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from phylocli.formats import stockholm
from phylocli.formats.sequences import alignments, fasta, flat_files, pir, structures
from phylocli.formats.sequences.fasta import Sequence
from phylocli.formats.streams import Input, PathLike, binary_kind, decode_head, open_input, text_lines

Content = Literal["sequences", "table", "vectors", "labels", "other"]


class ReadSequences(Protocol):
    """Reads the records of an open, decompressed input; ids, letters and lengths are not validated."""

    def __call__(self, stream: Input, name: str, letters: str) -> Iterable[Sequence]:
        """Yield the sequences, including gaps.

        Args:
            stream: the input, at its start.
            name: name of the input, for messages.
            letters: `protein` or `dna`, for formats that contain both.
        """
        ...


@dataclass(frozen=True)
class InputFormat:
    r"""An input format.

    Attributes:
        name: name in help texts and lists, such as `FASTA`.
        phrase: description in messages, such as `a FASTA file`.
        holds: `sequences` (read by `read_sequences` and `read_families`), `table` (by `read_table`), `vectors` (by
            `read_embeddings` only), `labels` (by `probe.labels`) or `other`.
        magic: alternative byte sequences with which a file starts.
        start: regular expression that matches the decoded text after leading white space.
        suffixes: suffixes of files that are read from a folder of families. They also identify a format without `magic` and
            `start`.
        read: reader of the sequences; None if `read_families` handles the format itself.
        aligned: whether rows of equal length are an alignment even without gaps.
        unmistakable: whether no table can start like this; the header of a table may start like other formats.
    """

    name: str
    phrase: str
    holds: Content = "other"
    magic: tuple[bytes, ...] = ()
    start: str | None = None
    suffixes: tuple[str, ...] = ()
    read: ReadSequences | None = None
    aligned: bool = False
    unmistakable: bool = True

    @property
    def known_by(self) -> str:
        """The criterion for detecting the format, for the reference page."""
        if self.magic or self.start:
            return "content"
        return "suffix" if self.suffixes else "a header with tabs or commas"


def _by_lines(parse: fasta.ParseLines) -> ReadSequences:
    return lambda stream, name, letters: parse(text_lines(stream, name), name)


def _read_stockholm(stream: Input, name: str, letters: str) -> Iterable[Sequence]:
    # Duplicates within a record are an error; the caller's duplicate policy applies across records.
    return (sequence for family in stockholm.read_stream(stream, name) for sequence in family.sequences())


_COMMENTS = r"(?:[#;].*\n\s*)*"

EMPTY = InputFormat("empty", "empty")
TEXT = InputFormat("text", "a text file", unmistakable=False)
TABLE_TEXT = InputFormat("TSV, CSV", "a table", "table", unmistakable=False)
STOCKHOLM = InputFormat(
    "Stockholm",
    "a Stockholm file",
    "sequences",
    start=r"# STOCKHOLM",
    suffixes=(".sto", ".stk", ".stockholm"),
    read=_read_stockholm,
)
PIR = InputFormat(
    "PIR", "a PIR file", "sequences", start=_COMMENTS + pir.HEADER.pattern, suffixes=(".pir",), read=_by_lines(pir.parse)
)
FASTA = InputFormat(
    "FASTA",
    "a FASTA file",
    "sequences",
    start=_COMMENTS + ">",
    suffixes=(".fasta", ".fa", ".faa", ".fas", ".afa"),
    read=_by_lines(fasta.parse),
)
A2M = InputFormat("A2M, A3M", "an A2M file", "sequences", suffixes=(".a2m", ".a3m"), read=FASTA.read)
PARQUET = InputFormat("Parquet", "a Parquet file", "table", magic=(b"PAR1",))
ARROW = InputFormat("Arrow IPC", "an Arrow file", "table", magic=(b"ARROW1",))
ARROW_STREAM = InputFormat("Arrow IPC stream", "an Arrow stream", "table", magic=(b"\xff\xff\xff\xff",))
GAF = InputFormat(
    "GAF", "a file of GO annotations", "labels", start=r"!gaf-version|(?:[^\t\n]+\t){2}(?:[^\t\n]*\t){2}GO:\d{7}\t"
)
NEWICK = InputFormat("Newick", "a Newick tree", start=r"(?:\[[^\]]*\]\s*)?\(", unmistakable=False)
TOML = InputFormat(
    "TOML",
    "a TOML file",
    start=_COMMENTS + r"(?:\[{1,2}[A-Za-z][\w.-]*\]{1,2}\s*(?:\n|$)|[\w.-]+ *= *\S)",
    unmistakable=False,
)
HDF5 = InputFormat("HDF5", "an HDF5 file", "vectors", magic=(b"\x89HDF",))
NPY = InputFormat("NPY", "a NumPy array", "vectors", magic=(b"\x93NUMPY",))
ZIP = InputFormat("NPZ", "a ZIP archive or spreadsheet", "vectors", magic=(b"PK\x03\x04",))

FORMATS: tuple[InputFormat, ...] = (
    PARQUET,
    ARROW,
    ARROW_STREAM,
    HDF5,
    NPY,
    ZIP,
    STOCKHOLM,  # before FASTA, which may start with '#' comments
    InputFormat(
        "NEXUS",
        "a NEXUS file",
        "sequences",
        start=r"#(?i:NEXUS)",
        suffixes=(".nex", ".nexus"),
        read=alignments.nexus,
        aligned=True,
    ),
    PIR,
    FASTA,
    A2M,
    GAF,
    InputFormat("FASTQ", "a FASTQ file", "sequences", start=r"@", read=flat_files.fastq, unmistakable=False),
    InputFormat("GenBank", "a GenBank file", "sequences", start=r"LOCUS ", read=flat_files.genbank),
    InputFormat(
        "Clustal",
        "a Clustal alignment",
        "sequences",
        start=r"CLUSTAL|MUSCLE|PROBCONS|MSAPROBS|Kalign",
        suffixes=(".aln", ".clustal", ".clw"),
        read=alignments.clustal,
        aligned=True,
        unmistakable=False,
    ),
    InputFormat("HMMER", "a profile HMM", start=r"HMMER\d", unmistakable=False),
    InputFormat(
        "UniProt",
        "a UniProt flat file",
        "sequences",
        start=r"ID   \S+ +\w+; ",
        read=flat_files.uniprot,
        unmistakable=False,
    ),
    InputFormat("EMBL", "an EMBL flat file", "sequences", start=r"ID   ", read=flat_files.embl, unmistakable=False),
    InputFormat(
        "PDB",
        "a protein structure (PDB)",
        "sequences",
        start=r"(?:HEADER|TITLE |COMPND|SEQRES|REMARK|CRYST1|MODEL |ATOM  |HETATM) ",
        read=structures.pdb,
        unmistakable=False,
    ),
    InputFormat(
        "mmCIF", "a protein structure (mmCIF)", "sequences", start=r"data_", read=structures.mmcif, unmistakable=False
    ),
    InputFormat(
        "PHYLIP",
        "a PHYLIP alignment",
        "sequences",
        start=r"\d+[ \t]+\d+[ \t]*\n",
        suffixes=(".phy", ".phylip"),
        read=alignments.phylip,
        aligned=True,
        unmistakable=False,
    ),
    NEWICK,
    TOML,
    InputFormat("JSON", "a JSON file", start=r"\{\s*[\"}]|\[\s*(?:[\"{\[\]\d-]|true|false|null)"),
    InputFormat("XML", "a web page or XML file", start=r"<"),
    TABLE_TEXT,
    TEXT,
    EMPTY,
)
"""All formats; the first one that matches an input is used."""


def names_of(*held: Content, last: str = "or") -> str:
    """Return the names of the formats with these kinds of content as an enumeration: `FASTA, PIR or GenBank`.

    Examples:
        >>> from phylocli.formats.input_formats import names_of
        >>> names_of("vectors")
        'HDF5, NPY or NPZ'
    """
    names = sorted({name for f in FORMATS if f.holds in held for name in f.name.split(", ")}, key=_common_first)
    return f" {last} ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _common_first(name: str) -> tuple[bool, str]:
    return name not in ("FASTA", "Stockholm", "Parquet"), name.lower()


SEQUENCE_FORMATS = names_of("sequences")
"""Names of the sequence formats, for help texts and messages."""
TABLE_FORMATS = names_of("table")
FAMILY_SUFFIXES = tuple(suffix for f in FORMATS for suffix in f.suffixes)
"""Suffixes of files that are read from a folder of families."""


def format_of(head: bytes) -> InputFormat:
    """Return the format of a file from its first bytes, decompressed, which include at least the first line."""
    for known in FORMATS:
        if head.startswith(known.magic):
            return known
    if kind := binary_kind(head):
        return InputFormat("binary", kind)
    text = decode_head(head).lstrip()
    if not text:
        return EMPTY
    for known in FORMATS:
        if known.start is not None and re.match(known.start, text):
            return known
    line = text.split("\n", 1)[0]
    return TABLE_TEXT if "\t" in line or "," in line else TEXT


def is_tree(data: bytes) -> bool:
    """Return whether a file that starts like a Newick tree ends like one, too; the header of a table may start with `(`."""
    return decode_head(data[-200:]).rstrip().endswith(";") and b"\t" not in data


def sniff(stream: Input) -> InputFormat:
    """Return the format of an open input at its start."""
    return format_of(stream.peek())


def sniff_file(source: PathLike) -> InputFormat:
    """Return the format of a file, compressed or not.

    Raises:
        BadInputError: the file does not exist or is damaged.
    """
    with open_input(source) as stream:
        return sniff(stream)
