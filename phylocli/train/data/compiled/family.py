"""A family of a compiled data set, backed by memory-mapped arrays; text is decoded on demand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import decode_tokens
from phylocli.core.errors import BadInputError
from phylocli.formats.family import Family
from phylocli.formats.tree import Tree

Tokens = npt.NDArray[np.uint8]


class Rows(Sequence[str]):
    """A sequence of alignment rows, decoded on access: upper case, `-` for gaps, `X` (`N`) for unknown letters.

    Args:
        tokens: tokens of each member.
        columns: alignment column of each residue of each member; None if the family is not aligned.
        width: number of alignment columns.
        alphabet: `protein` or `dna`.
    """

    def __init__(self, tokens: list[Tokens], columns: list[npt.NDArray[np.int32]] | None, width: int, alphabet: str) -> None:
        self._tokens, self._columns, self._width, self._alphabet = tokens, columns, width, alphabet

    def __len__(self) -> int:
        return len(self._tokens)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self[k] for k in range(*at.indices(len(self)))]
        letters = decode_tokens(self._tokens[at], self._alphabet)
        if self._columns is None:
            return letters
        row = np.full(self._width, ord("-"), dtype=np.uint8)
        row[self._columns[at]] = np.frombuffer(letters.encode("ascii"), dtype=np.uint8)
        return row.tobytes().decode("ascii")


@dataclass
class CompiledFamily(Family):
    """A family whose tokens, tree and columns are read from memory-mapped arrays.

    Attributes:
        tokens: tokens of each member, without gaps; read-only.
        columns_of: alignment column of each residue of each member, (L,) int32; None if the family is not aligned.
        match: which alignment columns are match columns, (columns,), determined from the whole record even for a subset.
        groups: code of each member's group of close homologs, (n,); None if the record has no groups.
        trouble: the error of an invalid tree; None if the tree is valid or missing.
    """

    tokens: list[Tokens] = field(default_factory=list)
    columns_of: list[npt.NDArray[np.int32]] | None = None
    match: npt.NDArray[np.bool_] | None = None
    groups: npt.NDArray[np.int32] | None = None
    trouble: BadInputError | None = None

    def __post_init__(self) -> None:
        width = 0 if self.match is None else len(self.match)
        self.rows = Rows(self.tokens, self.columns_of, width, self.alphabet)

    @property
    def columns(self) -> int:
        """Number of alignment columns."""
        return 0 if self.match is None else len(self.match)

    def encoded(self) -> list[Tokens]:
        """Return the tokens of every member, read-only."""
        return self.tokens

    def residue_columns(self) -> list[npt.NDArray[np.int32]]:
        """Return the alignment column of each residue of every member.

        Raises:
            BadInputError: the family is not aligned.
        """
        return super().residue_columns() if self.columns_of is None else self.columns_of

    def match_columns(self) -> npt.NDArray[np.bool_]:
        """Return which columns are match columns, (columns,)."""
        return np.zeros(0, dtype=bool) if self.match is None else self.match

    def group_codes(self) -> npt.NDArray[np.int32] | None:
        """Return the code of each member's group of close homologs, (n,); None if the record has no groups."""
        return self.groups

    def looks_like_nucleotides(self) -> bool:
        """Return False, because the warning about nucleotides was given when the data set was opened."""
        return False

    @property
    def has_tree(self) -> bool:
        """Whether the record has a tree, valid or not."""
        return self.tree is not None or self.trouble is not None

    def require_tree(self) -> Tree:
        """Return the family's tree; inner nodes have no names.

        Raises:
            BadInputError: the family has no tree, or the tree is invalid or its tips are not the members.
        """
        if self.trouble is not None:
            raise self.trouble
        return super().require_tree() if self.tree is None else self.tree  # its tips were checked when it was compiled

    def subset(self, ids: Iterable[str]) -> CompiledFamily:
        """Return the family with only these members, in their order in this family; see `Family.subset`."""
        keep = set(ids)
        index = [k for k, name in enumerate(self.ids) if name in keep]
        tree = self.tree
        if tree is not None and 0 < len(index) < len(self.ids):
            tree = tree.prune(keep)
        columns_of = None if self.columns_of is None else [self.columns_of[k] for k in index]
        tokens = [self.tokens[k] for k in index]
        groups = None if self.groups is None else self.groups[index]
        ids = [self.ids[k] for k in index]
        return replace(self, ids=ids, tokens=tokens, columns_of=columns_of, groups=groups, tree=tree)
