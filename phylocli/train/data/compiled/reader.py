"""Reading of compiled data sets from memory-mapped arrays, one family at a time."""

from __future__ import annotations

import json
import os
import sys
from array import array
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.formats.tree import Tree
from phylocli.train.data.arrays import mapped, read_manifest
from phylocli.train.data.compiled.build import TABLE, FamilyRow
from phylocli.train.data.compiled.family import CompiledFamily


@dataclass(frozen=True)
class PairsOf:
    """The pairs of a family from a pairs table.

    Attributes:
        members: member indices of each pair, (m, 2).
        distance: distance of each pair in substitutions per site, (m,), NaN where undefined.
        source: name of the table, for messages.
    """

    members: npt.NDArray[np.int64]
    distance: npt.NDArray[np.float64]
    source: str


def _error(described: list[str | None]) -> BadInputError:
    what, why, fix = described
    return BadInputError(what or "", why, fix)


class Compiled:
    """A compiled data set, open for reading. Memory holds label, clan, and a few numbers of each family.

    Pickling stores the path; other processes open the folder again.

    Args:
        folder: a folder written by `compile_inputs`.

    Attributes:
        families: number of families, including unusable ones.
        members: number of sequences.
        labels, clans: label and clan of each family, sorted by label.
        sources: name of the input of each family.
        sizes: number of members of each family, (families,).
        nucleotides: labels of the families whose sequences look like nucleotides.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        manifest = read_manifest(folder)
        self.alphabet: str = manifest["alphabet"]
        self._arrays = mapped(folder)
        with (folder / TABLE).open("rb") as file:  # an empty file cannot be mapped
            self._table = mmap(file.fileno(), 0, access=ACCESS_READ) if os.fstat(file.fileno()).st_size else b""
        self.labels: list[str] = []
        self.clans: list[str] = []
        self.sources: list[str] = []
        self.nucleotides: list[str] = []
        sizes, ends = array("q"), array("q", [0])
        while ends[-1] < len(self._table):
            stop = self._table.find(b"\n", ends[-1]) + 1 or len(self._table)
            row = json.loads(self._table[ends[-1] : stop])
            self.labels.append(row["label"])
            self.clans.append(sys.intern(row["clan"]))  # one text for many families
            self.sources.append(sys.intern(row["source"]))
            if row.get("nucleotides"):
                self.nucleotides.append(row["label"])
            sizes.append(row["members"])
            ends.append(stop)
        self.families, self.members = len(self.labels), int(manifest["members"])
        self.sizes: npt.NDArray[np.int64] = np.array(sizes, dtype=np.int64)
        self._ends: npt.NDArray[np.int64] = np.array(ends, dtype=np.int64)

    def __reduce__(self) -> tuple[type[Compiled], tuple[Path]]:
        return type(self), (self.folder,)

    def row(self, index: int) -> FamilyRow:
        """Return the metadata of a family."""
        start, end = self._ends[index : index + 2].tolist()
        return FamilyRow(**json.loads(self._table[start:end]))

    def problem(self, index: int) -> BadInputError | None:
        """Return the error of an unusable family; None if it is usable."""
        found = self.row(index).problem
        return _error(found) if found else None

    def too_few(self, index: int) -> bool:
        """Return whether a family has fewer than two members."""
        return bool(self.sizes[index] < 2)

    def family(self, index: int) -> CompiledFamily:
        """Return a family, whose tokens are read-only views of the memory-mapped arrays.

        Raises:
            BadInputError: the family is unusable.
        """
        row = self.row(index)
        if row.problem:
            raise _error(row.problem)
        arrays, first, members = self._arrays, row.first_residue, row.members
        ends = arrays["ends"][row.first_member : row.first_member + members].tolist()
        bounds = list(zip([first, *ends[:-1]], ends, strict=True))
        text = arrays["ids"][row.first_id : row.first_id + row.id_bytes].tobytes().decode()
        match = columns = None
        if row.width:
            match = arrays["match"][row.first_match : row.first_match + row.width]
            shift = row.first_column - first
            whole = arrays["columns"][row.first_column : ends[-1] + shift].astype(np.int32)
            columns = [whole[start - first : end - first] for start, end in bounds]
        groups = arrays["groups"][row.first_group : row.first_group + members] if row.grouped else None
        features = {}
        if row.marked:
            features["RF"] = "".join("x" if is_match else "." for is_match in match.tolist())  # type: ignore[union-attr]
        return CompiledFamily(
            text.split("\0"),
            [],
            accession=row.accession,
            name=row.name,
            clan=row.clan,
            where=row.where,
            aligned=bool(row.width),
            alphabet=self.alphabet,
            column_features=features,
            tokens=[arrays["tokens"][start:end] for start, end in bounds],
            columns_of=columns,
            match=match,
            groups=groups,
            tree=self._tree(row, text.split("\0")),
            trouble=_error(row.tree) if row.tree else None,
        )

    def _tree(self, row: FamilyRow, ids: list[str]) -> Tree | None:
        if not row.nodes:
            return None
        nodes = slice(row.first_node, row.first_node + row.nodes)
        tree = Tree(
            self._arrays["parent"][nodes].astype(np.int64), np.array(self._arrays["length"][nodes]), [""] * row.nodes
        )
        tips = self._arrays["tips"][row.first_tip : row.first_tip + row.members].tolist()
        for node, member in zip(tree.tips().tolist(), tips, strict=True):
            tree.names[node] = ids[member]
        return tree

    def pairs(self, index: int) -> PairsOf | None:
        """Return the pairs of a family from a pairs table; None for a family from a record."""
        row = self.row(index)
        if not row.pairs:
            return None
        part = slice(row.first_pair, row.first_pair + row.pairs)
        members = np.stack([self._arrays["pair_a"][part], self._arrays["pair_b"][part]], axis=1).astype(np.int64)
        return PairsOf(members, np.array(self._arrays["distance"][part]), row.source)
