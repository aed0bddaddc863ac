"""Profile HMMs in HMMER 3's text format (HMMER User's Guide, "File formats").

HMMER's C parser does not validate its input: a header without an alphabet, or a model shorter than its header says, causes a
segmentation fault. Each model is therefore validated line by line before it is passed to pyhmmer.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from typing import Any

from phylocli.core.errors import BadInputError
from phylocli.formats.input_formats import TEXT, sniff
from phylocli.formats.streams import PathLike, display_name, note_input, open_input

_LETTERS = b"A C D E F G H I K L M N P Q R S T V W Y".split()
_NUMBER = rb"(?:\*|-?\d{1,9}(?:\.\d{1,20})?)"
_REAL = rb"-?\d{1,9}(?:\.\d{1,20})?(?:[eE][+-]?\d{1,2})?"
_FLAG = rb"yes|no"
_HEADER = {
    tag: re.compile(rb"(?:" + value + rb")\s*")
    for tag, value in {
        b"NAME": rb"\S+",
        b"ACC": rb"\S+",
        b"LENG": rb"\d{1,7}",
        b"MAXL": rb"\d{1,9}",
        b"ALPH": rb"\w+",
        **dict.fromkeys((b"RF", b"MM", b"CONS", b"CS", b"MAP"), _FLAG),
        b"NSEQ": rb"\d{1,9}",
        b"EFFN": _REAL,
        b"CKSUM": rb"\d{1,10}",
        **dict.fromkeys((b"GA", b"TC", b"NC"), _REAL + rb"\s+" + _REAL + rb";?"),
        b"STATS": rb"LOCAL\s+(?:MSV|VITERBI|FORWARD|VLAMBDA|VMU|FTAU)\s+" + _REAL + rb"(?:\s+" + _REAL + rb")?",
    }.items()
}
"""Header lines that are passed to pyhmmer; others (descriptions, commands, dates) are omitted."""
_ANNOTATIONS = {b"a": 3, b"b": 3, b"c": 3, b"d": 3, b"e": 4, b"f": 5}
"""Number of annotation columns after a node's emissions by format version: MAP, CONS (from e), RF, MM (from f), CS."""
_EMISSIONS = re.compile(rb"(?:\s+" + _NUMBER + rb"){20}\s*")
_TRANSITIONS = re.compile(rb"(?:\s+" + _NUMBER + rb"){7}\s*")


def read_hmms(path: PathLike) -> Iterator[Any]:
    """Read the HMMs of a file as `pyhmmer.plan7.HMM`.

    Raises:
        BadInputError: the file cannot be read, is not in HMMER 3's text format, or contains an HMM of nucleotides.
    """
    from pyhmmer import plan7
    from pyhmmer.errors import InvalidHMM

    note_input(path)
    name = display_name(path)
    with open_input(path) as stream:
        form = sniff(stream)
        for number, lines in enumerate(_records(stream), start=1):
            try:
                text = b"".join(_checked(lines))
                with plan7.HMMFile(io.BytesIO(text)) as file:
                    hmm = file.read()
                if hmm is None:
                    raise ValueError("it is empty")
                hmm.validate(tolerance=0.05)
            except (ValueError, EOFError) as error:
                # str() of pyhmmer 0.12's InvalidHMM raises an error.
                why = "its probabilities do not sum to 1" if isinstance(error, InvalidHMM) else str(error)
                if number == 1 and form.name not in ("HMMER", TEXT.name):
                    raise BadInputError(
                        f"{name} is {form.phrase}, not a profile HMM", fix="give a profile as hmmbuild writes it (HMMER 3)"
                    ) from error
                what = f"{name}: HMM {number} is not a protein HMM in the text format of HMMER 3"
                raise BadInputError(
                    what, why=why, fix="build the profile again with hmmbuild, or convert it with hmmconvert"
                ) from error
            yield hmm


def _records(stream: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield the lines of each HMM, without the `//`."""
    lines: list[bytes] = []
    for line in stream:
        if line.strip() == b"//":
            yield lines
            lines = []
        elif line.strip():
            lines.append(line)
    if lines:
        yield lines


def _checked(lines: list[bytes]) -> Iterator[bytes]:
    """Validate an HMM, and yield the lines to pass to pyhmmer.

    Raises:
        ValueError: a line does not have the expected format; the message names it.
    """
    version = re.match(rb"HMMER3/([a-f])\b", lines[0] if lines else b"")
    if version is None:
        raise ValueError("its first line does not begin with HMMER3/a to HMMER3/f")
    yield version[0] + b"\n"
    header: dict[bytes, bytes] = {}
    place = 1
    while place < len(lines) and not re.match(rb"HMM\s", lines[place]):
        tag, _, value = lines[place].strip().partition(b" ")
        if tag in _HEADER:
            if tag in header and tag != b"STATS":
                raise ValueError(f"{tag.decode()} occurs twice")
            if not _HEADER[tag].fullmatch(value.strip()):
                raise ValueError(f"the header has {_shown(lines[place])}")
            header[tag] = value.strip()
            yield tag + b"  " + header[tag] + b"\n"
        place += 1
    for tag in (b"NAME", b"LENG", b"ALPH"):
        if tag not in header:
            raise ValueError(f"the header has no {tag.decode()}")
    if header[b"ALPH"].lower() != b"amino":
        name, alphabet = header[b"NAME"], header[b"ALPH"]
        raise ValueError(f"the HMM {_shown(name)} is of {_shown(alphabet)}, not of proteins")
    yield from _body(lines[place:], int(header[b"LENG"]), _ANNOTATIONS[version[1]])


def _body(lines: list[bytes], length: int, annotations: int) -> Iterator[bytes]:
    if not lines or lines[0].split()[1:] != _LETTERS:
        raise ValueError("the line HMM does not name the twenty amino acids in order")
    yield from lines[:2]
    rest = lines[2:]
    if rest and rest[0].split()[:1] == [b"COMPO"]:
        _match(_EMISSIONS, rest[0].strip().removeprefix(b"COMPO"), "COMPO")
        yield rest[0]
        rest = rest[1:]
    if length < 1 or len(rest) != 2 + 3 * length:
        raise ValueError(f"LENG is {length}, which needs {2 + 3 * length} lines of parameters, but there are {len(rest)}")
    for place, line in enumerate(rest):
        # Insertions and transitions of node 0, then three lines per node: matches, insertions, transitions.
        node, kind = divmod(place + 1, 3)
        if kind == 0:
            *columns, last = line.split(maxsplit=21)
            if columns[:1] != [str(node).encode()] or len(columns) != 21 or len(last.split()) != annotations:
                raise ValueError(f"the matches of node {node} are {_shown(line)}")
            if not last.isascii() or not re.match(rb"\d{1,7}\s|-\s", last):
                raise ValueError(f"the annotation of node {node} is {_shown(last)}")
            _match(_EMISSIONS, b" " + b" ".join(columns[1:]), f"matches of node {node}")
        else:
            _match(_EMISSIONS if kind == 1 else _TRANSITIONS, b" " + line, f"insertions or transitions of node {node}")
    yield from rest
    yield b"//\n"


def _match(pattern: re.Pattern[bytes], line: bytes, what: str) -> None:
    if not pattern.fullmatch(line):
        raise ValueError(f"the {what} are {_shown(line)}")


def _shown(data: bytes) -> str:
    text = data.decode("ascii", errors="replace").strip()
    return repr(text if len(text) <= 40 else text[:40] + "…")
