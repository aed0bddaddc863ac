"""Stockholm: family records, read and written one at a time."""

from __future__ import annotations

import math
import re
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import IO, BinaryIO

from phylocli.core.errors import BadInputError
from phylocli.formats.family import Family
from phylocli.formats.newick import NewickTree
from phylocli.formats.sequences.fasta import FAMILIES_FIX, DuplicatePolicy, OnDuplicate, policy_report, shorten
from phylocli.formats.streams import PathLike, display_name, open_input, text_lines

OnFailure = Callable[[str, BadInputError], None]
"""Called with the name of an invalid record, and its error."""

HEADER = "# STOCKHOLM"
NOTE_PREFIX = "phylocli "
_BLANKS = re.compile(r"[ \t]+")
_ACCESSION = re.compile(r"^(.*\S)\.(\d+)$")
_NEVER, _DROPPED = -1, -1
# Tags that are attributes of `Family`.
_OWN_TAGS = ("ID", "AC", "DE", "CL", "SQ", "NH", "TN", "ALPHA")


def split_accession(text: str) -> tuple[str, str]:
    """Return (accession, version): `PF00042.27` gives (`PF00042`, `27`), `PF00042` gives (`PF00042`, ``)."""
    found = _ACCESSION.match(text)
    return (found.group(1), found.group(2)) if found else (text, "")


def _positive(text: str, where: str) -> float:
    """Return the value of an ALPHA line; `inf` means equal rates.

    Raises:
        BadInputError: the value is not a positive number.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value > 0:
        raise BadInputError(f"{where}: ALPHA must be a positive number, not {shorten(text, 40)!r}")
    return value


class _Record:
    """The lines of a record, collected until `//`."""

    def __init__(self, name: str, line: int, on_duplicate: OnDuplicate) -> None:
        self.name = name
        self.line = line
        # Arrays and flat lists take half of the memory of dicts of lists for a million short rows.
        self.ids: list[str] = []
        self.rows: list[str] = []
        self.further: dict[int, list[str]] = {}  # all parts of interleaved rows
        self.row_line = array("q")
        self.block = 0
        self.block_open = False
        # By number of the name in the policy: the last block with a row of that name, and the index of its row.
        self.last_block = array("q")
        self.target = array("q")
        self.gf: list[tuple[str, str]] = []
        self.gs: dict[str, list[tuple[str, str]]] = {}
        self.gr: dict[str, dict[str, list[str]]] = {}
        self.gc: dict[str, list[str]] = {}
        self.annotation_line: dict[tuple[str, ...], int] = {}
        self.policy = DuplicatePolicy(on_duplicate, FAMILIES_FIX)

    def where(self, line: int) -> str:
        return f"{self.name}, line {line}"

    @property
    def label(self) -> str:
        """The name of the record in messages: accession or name if already read, otherwise file and line."""
        named = {tag: text.strip() for tag, text in self.gf if tag in ("AC", "ID")}
        return split_accession(named["AC"])[0] if "AC" in named else named.get("ID") or self.where(self.line)

    def blank(self) -> None:
        if self.block_open:
            self.block += 1
            self.block_open = False

    def markup(self, number: int, line: str) -> None:
        kind = line[2:4]
        words = _BLANKS.split(line, 2 if kind in ("GF", "GC") else 3)
        if kind == "GF":
            self.gf.append((sys.intern(words[1]) if len(words) > 1 else "", words[2] if len(words) > 2 else ""))
        elif kind == "GC" and len(words) == 3:
            self.annotation_line.setdefault((words[1],), number)
            self.gc.setdefault(words[1], []).append(words[2].strip())
        elif kind == "GS" and len(words) >= 3:
            self.gs.setdefault(words[1], []).append((words[2], words[3] if len(words) > 3 else ""))
        elif kind == "GR" and len(words) == 4:
            name = self.kept(words[1])  # the annotation of a duplicate is treated like its row
            if name is not None:
                self.annotation_line.setdefault((name, words[2]), number)
                self.gr.setdefault(name, {}).setdefault(words[2], []).append(words[3].strip())
        else:
            raise BadInputError(
                f"{self.where(number)}: not a Stockholm annotation: {shorten(line, 60)!r}",
                fix="write it as '#=GF TAG text', or remove the line",
            )

    def row(self, number: int, line: str) -> None:
        words = _BLANKS.split(line.strip(" \t"))
        if len(words) != 2:
            raise BadInputError(
                f"{self.where(number)}: a row is a name and an aligned sequence, not {shorten(line, 60)!r}",
                why="names have no spaces, and a sequence is on one line",
                fix="write one name and one aligned sequence per line",
            )
        name, letters = words
        self.block_open = True
        place = self.policy.seen.get(name)
        if place is None or self.last_block[place] in (_NEVER, self.block):
            # A new name, or a second row with this name in a block, which is a duplicate and not an interleaved row.
            kept = self.policy.accept(name, self.where(number))
            for _ in range(len(self.last_block), len(self.policy.seen)):
                self.last_block.append(_NEVER)
                self.target.append(_DROPPED)
            place = self.policy.seen[name]
            self.target[place] = _DROPPED if kept is None else len(self.ids)
            if kept is not None:
                self.ids.append(kept)
                self.rows.append(letters)
                self.row_line.append(number)
        elif self.target[place] != _DROPPED:
            target = self.target[place]
            self.further.setdefault(target, [self.rows[target]]).append(letters)
        self.last_block[place] = self.block

    def kept(self, name: str) -> str | None:
        """Return the id under which the last row with a name is kept; None if it is dropped."""
        place = self.policy.seen.get(name)
        if place is None or self.last_block[place] == _NEVER:
            return name
        return None if self.target[place] == _DROPPED else self.ids[self.target[place]]

    def family(self) -> Family:
        where = self.where(self.line)
        family = Family([], [], where=where)
        newick: list[str] = []
        trees = 0
        for tag, raw_text in self.gf:
            text = raw_text.strip()
            if tag == "AC":
                family.accession, family.version = split_accession(text)
            elif tag == "ID":
                family.name = text
            elif tag == "DE":
                family.description = f"{family.description} {text}".strip()
            elif tag == "CL":
                family.clan = split_accession(text)[0]
            elif tag == "SQ":
                if not text.isdigit():
                    raise BadInputError(
                        f"{where}: the SQ line is {shorten(text, 40)!r}, not a number",
                        fix="write the number of sequences, or remove the line",
                    )
                family.declared_size = int(text)
            elif tag == "ALPHA":
                family.tree_alpha = _positive(text, where)
            elif tag == "TN":
                trees += 1
            elif tag == "NH":
                if trees <= 1:  # only the first of several trees, which are separated by TN lines
                    newick.append(text)
            elif tag == "CC" and text.startswith(NOTE_PREFIX):
                family.notes.append(text[len(NOTE_PREFIX) :])
            else:
                family.features.append((tag, text))
        if text := "".join(newick):
            family.tree = NewickTree(text, f"the tree of {family.label}")
        if not self.rows:
            raise BadInputError(
                f"{where}: the record {family.accession or family.name!r} has no sequences",
                fix="add its sequences, or remove the record",
            )
        for place, parts in self.further.items():
            self.rows[place] = "".join(parts)
        width = len(self.rows[0])
        for name, row, line in zip(self.ids, self.rows, self.row_line, strict=True):
            if len(row) != width:
                raise BadInputError(
                    f"{self.where(line)}: the row of {shorten(name)!r} has {len(row)} columns, that of "
                    f"{shorten(self.ids[0])!r} has {width}",
                    why="rows of an alignment have one length",
                    fix="pad the row with '-', or align the sequences again",
                )
        family.ids, family.rows = self.ids, self.rows
        members = set(family.ids) if self.gs or self.gr else set()
        family.sequence_features = {k: v for k, v in self.gs.items() if k in members}
        family.residue_features = {
            k: {tag: "".join(parts) for tag, parts in v.items()} for k, v in self.gr.items() if k in members
        }
        family.column_features = {tag: "".join(parts) for tag, parts in self.gc.items()}
        for tag, text in family.column_features.items():
            self.check_annotation(f"#=GC {tag}", text, family.columns, self.annotation_line[tag,])
        for name, tags in family.residue_features.items():
            for tag, text in tags.items():
                self.check_annotation(f"#=GR {shorten(name)} {tag}", text, family.columns, self.annotation_line[name, tag])
        policy_report(self.policy)
        return family

    def check_annotation(self, what: str, text: str, columns: int, line: int) -> None:
        if len(text) != columns:
            raise BadInputError(
                f"{self.where(line)}: the annotation {what} has {len(text)} characters, the alignment has {columns} columns",
                why="#=GC and #=GR annotate every column with one character",
                fix="correct or remove the annotation",
            )


def parse(
    lines: Iterable[tuple[int, str]],
    name: str,
    *,
    on_duplicate: OnDuplicate = "error",
    on_failure: OnFailure | None = None,
) -> Iterator[Family]:
    """Parse families from numbered lines.

    Args:
        lines: line numbers and lines.
        name: name of the input, for messages.
        on_duplicate: policy for duplicate ids within a record.
        on_failure: called with the name and the error of an invalid record, which is then skipped; None raises the error. A
            missing header or `//` is always an error.

    Raises:
        BadInputError: a header or final `//` is missing, a row is malformed, rows or annotations have different lengths, or
            an id occurs twice.
    """
    record: _Record | None = None
    failure: BadInputError | None = None  # error of the current record
    for number, line in lines:
        if record is None:
            if not line.strip():
                continue
            if not line.startswith(HEADER):
                raise BadInputError(
                    f"{name}, line {number}: a Stockholm record starts with '# STOCKHOLM 1.0', "
                    f"this line is {shorten(line.strip(), 40)!r}",
                    fix="begin each record with that line, and end it with '//'",
                )
            record = _Record(name, number, on_duplicate)
        elif line.startswith("//"):
            family = None
            try:
                family = record.family() if failure is None else None
            except BadInputError as error:
                failure = error
            if family is not None:
                yield family
            elif failure is not None:
                if on_failure is None:
                    raise failure
                on_failure(record.label, failure)
            record = failure = None
        elif line.startswith(HEADER):
            raise BadInputError(
                f"{name}, line {number}: a new record starts before the one of line {record.line} has ended with '//'",
                fix="the file may be cut short in the middle; fetch or write it again",
            )
        elif failure is not None or (line.startswith("#") and not line.startswith("#=")):
            continue
        elif not line.strip():
            record.blank()
        else:
            try:
                (record.markup if line.startswith("#=") else record.row)(number, line)
            except BadInputError as error:
                if on_failure is None:
                    raise
                failure = error
    if record is not None:
        raise BadInputError(
            f"{name}: the record that starts at line {record.line} has no '//' at its end",
            why="the input ends in the middle of a record",
            fix="fetch or write the file again, or close the record with a line '//'",
        )


def read(source: PathLike | None, *, on_duplicate: OnDuplicate = "error") -> Iterator[Family]:
    """Read the families of a Stockholm file or pipe, compressed or not; see `parse`."""
    with open_input(source) as stream:
        yield from read_stream(stream, display_name(source), on_duplicate=on_duplicate)


def read_stream(
    stream: BinaryIO, name: str, *, on_duplicate: OnDuplicate = "error", on_failure: OnFailure | None = None
) -> Iterator[Family]:
    """Read the families of an open, decompressed stream; see `parse`."""
    from phylocli.formats.sequences.fasta import empty_input

    count = 0

    def failed(label: str, error: BadInputError) -> None:
        nonlocal count
        count += 1
        assert on_failure is not None
        on_failure(label, error)

    handler = None if on_failure is None else failed
    for family in parse(text_lines(stream, name), name, on_duplicate=on_duplicate, on_failure=handler):
        count += 1
        yield family
    if count == 0:
        raise empty_input(name)


def check_id(name: str, where: str = "") -> None:
    """Raise a BadInputError if a sequence of this id cannot be in a Stockholm record."""
    if not name or name.startswith(("#", "//")) or name.split() != [name]:
        raise BadInputError(
            f"{where}{': ' if where else ''}the id {shorten(name)!r} is not possible in a Stockholm record",
            why="there, lines that start with # or // are not sequences, and ids have no spaces",
            fix="rename the sequence",
        )


def write_family(family: Family, stream: IO[str]) -> None:
    """Write a family as a Stockholm record.

    Raises:
        BadInputError: the family is not aligned, or an id is not possible in a Stockholm file.
    """
    if not family.aligned:
        raise BadInputError(f"{family.label} is not aligned, but Stockholm contains alignments", fix="use 'phylocli align'")
    for name in family.ids:
        check_id(name, family.label)
    out = ["# STOCKHOLM 1.0\n"]
    head: list[tuple[str, str]] = []
    if family.name:
        head.append(("ID", family.name))
    if family.accession:
        head.append(("AC", f"{family.accession}.{family.version}" if family.version else family.accession))
    if family.description:
        head.append(("DE", family.description))
    head += [item for item in family.features if item[0] not in _OWN_TAGS]
    if family.clan:
        head.append(("CL", family.clan))
    head += [("CC", NOTE_PREFIX + note) for note in family.notes]
    if family.tree is not None:
        alpha = [("ALPHA", repr(float(family.tree_alpha)))] if family.tree_alpha is not None else []
        head += [("TN", "phylocli"), *alpha, ("NH", family.tree.to_newick())]
    head.append(("SQ", str(len(family.ids))))
    out += [f"#=GF {tag}   {text}\n" for tag, text in head]
    for name, items in family.sequence_features.items():
        out += [f"#=GS {name} {tag} {text}\n" for tag, text in items]
    width = max((len(name) for name in family.ids), default=0)
    width = max([width, *(len(tag) + 5 for tag in family.column_features)])
    width = min(width, 100)  # a very long name must not widen all rows
    for name, row in zip(family.ids, family.rows, strict=True):
        out.append(f"{name:<{width}} {row}\n")
        for tag, text in family.residue_features.get(name, {}).items():
            out.append(f"#=GR {name} {tag} {text}\n")
    for tag, text in family.column_features.items():
        out.append(f"{'#=GC ' + tag:<{width}} {text}\n")
    out.append("//\n")
    stream.write("".join(out))
