"""Compilation of families and pairs tables into arrays, one family at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phylocli.core import console
from phylocli.core.alphabet import check_residues, degap, encode_tokens, looks_like_nucleotides
from phylocli.core.errors import BadInputError, PhylocliError
from phylocli.formats import read_families
from phylocli.formats.family import Family
from phylocli.formats.input_formats import sniff_file
from phylocli.formats.tables import read_table, require_columns
from phylocli.train.data.arrays import ArrayWriter
from phylocli.train.data.compiled.family import Tokens

if TYPE_CHECKING:
    import polars as pl

KINDS = {
    "tokens": "u1",  # residues of all members, concatenated
    "ends": "i8",  # end of the residues of each member
    "ids": "u1",  # UTF-8, separated by a zero byte
    "columns": "i4",  # alignment column of each residue of aligned families
    "match": "?",  # of each alignment column
    "groups": "i4",  # code of each member's group of close homologs, where the record has groups
    "parent": "i4",  # trees: nodes in preorder
    "length": "f8",  # expected substitutions per site
    "tips": "i4",  # member of each tip
    "pair_a": "i4",  # pairs tables: members
    "pair_b": "i4",
    "distance": "f8",
}
TABLE = "families.json"


@dataclass(slots=True)
class FamilyRow:
    """The metadata of a family: a line of JSON in `families.json`.

    Attributes:
        label, accession, name, clan, where: see `Family`.
        source: name of the input, for messages.
        members: number of sequences.
        width: number of alignment columns; 0 if the family is not aligned.
        marked: whether an `RF` line marks the match columns.
        nodes: number of nodes of the tree; 0 if there is none.
        pairs: number of pairs of a family from a pairs table; 0 for a record.
        grouped: whether the members have groups of close homologs.
        nucleotides: whether the sequences look like nucleotides.
        id_bytes: size in bytes of the ids, joined by NUL.
        first_…: index of the family's first element in each array.
        problem: why the family cannot be used, as returned by `describe`; None if it can.
        tree: why the tree cannot be used, as returned by `describe`; None if it can.
    """

    label: str
    accession: str
    name: str
    clan: str
    where: str
    source: str
    members: int
    width: int = 0
    marked: bool = False
    nodes: int = 0
    pairs: int = 0
    grouped: bool = False
    nucleotides: bool = False
    first_residue: int = 0
    first_member: int = 0
    first_id: int = 0
    id_bytes: int = 0
    first_column: int = 0
    first_match: int = 0
    first_group: int = 0
    first_node: int = 0
    first_tip: int = 0
    first_pair: int = 0
    problem: list[str | None] | None = None
    tree: list[str | None] | None = None


def describe(error: PhylocliError) -> list[str | None]:
    """Return the fields of an error for JSON; `BadInputError(*describe(error))` restores the error."""
    return [error.what, error.why, error.fix]


def compile_inputs(inputs: list[tuple[Path, str]], folder: Path, alphabet: str, about: dict[str, Any]) -> None:
    """Write the families of the inputs to a folder as arrays.

    For an unusable record (invalid letters, one member) the reason is stored. Memory holds one family at a time and about a
    kilobyte of metadata per family; pairs tables are read completely.

    Args:
        inputs: path and display name of each input.
        folder: an existing, empty folder.
        alphabet: `protein` or `dna`.
        about: further content of the manifest.

    Raises:
        BadInputError: an input cannot be read, or a family occurs twice.
    """
    rows: list[FamilyRow] = []
    seen: dict[str, str] = {}
    widest = 0
    with ArrayWriter(folder, KINDS) as writer, console.progress_task("compiling families", total=None) as bar:
        for path, name in inputs:
            for row in _rows(path, name, writer, alphabet):
                if row.label in seen:
                    raise BadInputError(
                        f"the family {row.label} occurs twice, in {seen[row.label]} and in {name}",
                        fix="give each family in one input only",
                    )
                seen[row.label] = name
                widest = max(widest, row.width)
                rows.append(row)
                bar.advance()
    if widest <= np.iinfo(np.uint16).max:
        writer.narrow("columns", "u2")
    # Sort, so that the data set does not depend on the order of the inputs.
    rows.sort(key=lambda row: row.label)
    with (folder / TABLE).open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(asdict(row)) + "\n")
    writer.finish({**about, "families": len(rows), "members": writer.sizes["ends"]}, also=(TABLE,))


def _rows(path: Path, name: str, writer: ArrayWriter, alphabet: str) -> Iterator[FamilyRow]:
    if sniff_file(path).holds == "table":
        yield from _from_table(read_table(path), name, writer, alphabet)
        return
    for family in read_families(path):
        if name == "standard input" and not family.accession and family.where == str(path):
            family.name = ""  # FASTA families are named after their file; here this is a temporary file
        family.where = family.where.replace(str(path), name)
        yield _from_family(replace(family, alphabet=alphabet), name, writer)


def _from_family(family: Family, name: str, writer: ArrayWriter) -> FamilyRow:
    # Without accession and name: the file name and position, without the folder.
    label = family.accession or family.name or family.where.replace(name, Path(name).name) or "family"
    row = FamilyRow(label, family.accession, family.name, family.clan, family.where, name, members=len(family))
    if len(family) < 2:
        row.problem = ["fewer than two members", None, None]
        return row
    try:
        tokens = family.encoded()
        columns = family.residue_columns() if family.aligned else []
    except BadInputError as error:
        row.problem = describe(error)
        return row
    row.nucleotides = family.looks_like_nucleotides()
    _write_members(row, family.ids, tokens, writer)
    if family.aligned:
        row.width, row.marked = family.columns, family.is_marked
        row.first_column = writer.append("columns", np.concatenate(columns))
        row.first_match = writer.append("match", family.match_columns())
    groups = family.group_codes()
    if groups is not None:
        row.grouped, row.first_group = True, writer.append("groups", groups)
    if family.has_tree:
        try:
            tree = family.require_tree()
        except BadInputError as error:
            row.tree = describe(error)
            return row
        place = {member: k for k, member in enumerate(family.ids)}
        row.nodes, row.first_node = len(tree), writer.append("parent", tree.parent)
        writer.append("length", tree.length)
        row.first_tip = writer.append("tips", [place[tip] for tip in tree.tip_names()])
    return row


def _write_members(row: FamilyRow, ids: list[str], tokens: list[Tokens], writer: ArrayWriter) -> None:
    lengths = np.array([len(t) for t in tokens], dtype=np.int64)
    text = np.frombuffer("\0".join(ids).encode(), dtype=np.uint8)
    row.first_residue = writer.append("tokens", np.concatenate(tokens))
    row.first_member = writer.append("ends", row.first_residue + np.cumsum(lengths))
    row.first_id, row.id_bytes = writer.append("ids", text), len(text)


def _from_table(table: pl.DataFrame, name: str, writer: ArrayWriter, alphabet: str) -> Iterator[FamilyRow]:
    """Write the families of a pairs table, each distinct sequence once, and yield their metadata."""
    import polars as pl

    require_columns(table, ["family", "id_a", "id_b", "seq_a", "seq_b"], name, "a pairs table")
    if table.height == 0:
        raise BadInputError(f"{name} contains no pairs", fix="check the command that made it")
    for column, default in (("clan", pl.lit("")), ("distance", pl.lit(float("nan")))):
        if column not in table.columns:
            table = table.with_columns(default.alias(column))
    text = [pl.col(c).cast(pl.String).fill_null("") for c in ("family", "clan", "id_a", "id_b", "seq_a", "seq_b")]
    distance = pl.col("distance").cast(pl.Float64, strict=False).fill_null(float("nan"))
    table = table.select(*text, distance)
    for (label,), rows in table.group_by("family", maintain_order=True):
        yield _table_family(str(label), rows, name, writer, alphabet)


def _table_family(label: str, rows: pl.DataFrame, name: str, writer: ArrayWriter, alphabet: str) -> FamilyRow:
    index: dict[tuple[str, str], int] = {}
    tokens: list[Tokens] = []
    pairs = np.empty((2, rows.height), dtype=np.int32)
    for side, suffix in enumerate("ab"):
        for number, key in enumerate(zip(rows[f"id_{suffix}"], rows[f"seq_{suffix}"], strict=True)):
            if key not in index:
                check_residues(key[1], key[0], f"{name}, family {label}", alphabet)
                residues = degap(key[1])
                if not residues:
                    raise BadInputError(
                        f"{name}, family {label}: {key[0]!r} has no residues in seq_{suffix}",
                        fix="remove the row, or supply the sequence",
                    )
                index[key] = len(tokens)
                tokens.append(encode_tokens(residues, alphabet))
            pairs[side, number] = index[key]
    row = FamilyRow(label, label, "", rows["clan"][0], name, name, members=len(tokens), pairs=rows.height)
    row.first_pair = writer.append("pair_a", pairs[0])
    writer.append("pair_b", pairs[1])
    writer.append("distance", rows["distance"].to_numpy())
    row.nucleotides = looks_like_nucleotides([residues for _, residues in list(index)[:100]])
    _write_members(row, [member for member, _ in index], tokens, writer)
    return row
