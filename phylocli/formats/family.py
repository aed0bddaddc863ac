"""The family: members, alignment and tree, as in a Stockholm record."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from phylocli.core.alphabet import check_residues
from phylocli.core.errors import BadInputError
from phylocli.formats.sequences.fasta import Sequence, shorten

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from ete3 import PhyloTree

    from phylocli.formats.tree import Tree

logger = logging.getLogger(__name__)

GROUP_TAG = "SG"
"""Tag of the `#=GS` lines with the representative of a member's group of close homologs."""


@dataclass
class Family:
    """A protein family: its members, their alignment, and its tree if there is one.

    Attributes:
        ids: names of the members, unique within the family and without white space.
        rows: one string per member. Aligned rows have equal lengths; `-` and `.` are gaps, lower-case letters insert states.
        accession: for example `PF00042`, without a version.
        version: version of the accession, for example `27`.
        name: short name (`Globin`).
        description: one line.
        clan: clan accession, for example `CL0090`.
        tree: the tree; None if there is none. `require_tree` checks its tips against the members.
        tree_alpha: shape α of the Γ-distributed site rates under which the branch lengths were estimated; None if unknown.
        aligned: whether the rows are aligned.
        features: all other `#=GF` lines in order, as (tag, text).
        sequence_features: `#=GS` lines by id, as (tag, text).
        residue_features: `#=GR` rows by id and tag.
        column_features: `#=GC` rows by tag; `RF` marks match columns.
        notes: notes of phylocli stages, the `#=GF CC phylocli …` lines without that prefix.
        declared_size: the number on the `SQ` line; None if there is none.
        where: file and line, for messages.
        alphabet: `protein` or `dna`; not stored in files, but set by readers of nucleotides.

    Examples:
        >>> family = phylocli.Family(["a", "b"], ["MKV-LA", "MKVILA"], accession="PF1")
        >>> [sequence.residues for sequence in family.sequences()]
        ['MKVLA', 'MKVILA']
    """

    ids: list[str]
    rows: SequenceOf[str]
    accession: str = ""
    version: str = ""
    name: str = ""
    description: str = ""
    clan: str = ""
    tree: Tree | None = None
    tree_alpha: float | None = None
    aligned: bool = True
    features: list[tuple[str, str]] = field(default_factory=list)
    sequence_features: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    residue_features: dict[str, dict[str, str]] = field(default_factory=dict)
    column_features: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    declared_size: int | None = None
    where: str = ""
    alphabet: str = "protein"

    def __post_init__(self) -> None:
        """Check the consistency of ids and rows.

        Raises:
            BadInputError: an id occurs twice, the numbers of rows and ids differ, or aligned rows have different lengths.
        """
        if len(self.ids) != len(self.rows):
            raise BadInputError(
                f"{self.label} has {len(self.ids)} ids and {len(self.rows)} rows", fix="give one row for each id"
            )
        if len(set(self.ids)) < len(self.ids):
            name = next(name for name, count in Counter(self.ids).items() if count > 1)
            raise BadInputError(f"{self.label}: the id {shorten(name)!r} occurs twice", fix="give each member a unique id")
        if self.aligned and len(set(map(len, self.rows))) > 1:
            name, row = next((name, row) for name, row in zip(self.ids, self.rows, strict=True) if len(row) != self.columns)
            raise BadInputError(
                f"{self.label}: the row of {shorten(name)!r} has {len(row)} columns, that of {shorten(self.ids[0])!r} has "
                f"{self.columns}",
                why="rows of an alignment must have equal lengths",
                fix="pad the rows with '-', or give aligned=False for unaligned sequences",
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def label(self) -> str:
        """The name of the family in messages and tables: its accession, or else its name or source."""
        return self.accession or self.name or self.where or "family"

    @property
    def columns(self) -> int:
        """Number of alignment columns."""
        return len(self.rows[0]) if self.rows and self.aligned else 0

    def as_aligned(self) -> Family:
        """Return the family as a validated alignment; unaligned rows of equal length are treated as aligned.

        Raises:
            BadInputError: rows have different lengths, or contain characters other than residues and gaps.
        """
        for name, row in zip(self.ids, self.rows, strict=True):
            check_residues(row, name, self.where, self.alphabet)
        if len({len(row) for row in self.rows}) > 1:
            raise BadInputError(
                f"{self.label} is not aligned",
                why="its rows have different lengths",
                fix="run it through 'phylocli align' (--engine famsa aligns de novo)",
            )
        if self.aligned:
            return self
        logger.info(f"{self.label}: treating rows of equal length without gaps as aligned")
        return replace(self, aligned=True)

    def sequences(self) -> list[Sequence]:
        """Return the members as unaligned sequences: validated, upper case, without gaps."""
        return [
            Sequence(name, Sequence(name, row, where=self.where).unaligned(self.alphabet), where=self.where)
            for name, row in zip(self.ids, self.rows, strict=True)
        ]

    def group_codes(self) -> npt.NDArray[np.int32] | None:
        """Return the code of each member's group of close homologs, (n,); None if the record has no groups (`#=GS … SG`).

        A member without a group is a group of its own.
        """
        import numpy as np

        group = {name: text for name, lines in self.sequence_features.items() for tag, text in lines if tag == GROUP_TAG}
        if not group:
            return None
        codes: dict[tuple[str, bool], int] = {}  # a member's own id does not name a group of others
        keys = [(group.get(name, name), name in group) for name in self.ids]
        return np.array([codes.setdefault(key, len(codes)) for key in keys], dtype=np.int32)

    def encoded(self) -> list[npt.NDArray[np.uint8]]:
        """Return the tokens of each member, without gaps; see `alphabet.encode_tokens`.

        Raises:
            BadInputError: a letter is not in the alphabet.
        """
        from phylocli.core.alphabet import encode_tokens

        return [encode_tokens(sequence.residues, self.alphabet) for sequence in self.sequences()]

    def residue_columns(self) -> list[npt.NDArray[np.int32]]:
        """Return the alignment column, from 0, of each residue of each member.

        Raises:
            BadInputError: the family is not aligned, or a letter is not in the alphabet.
        """
        import numpy as np

        if not self.aligned:
            raise BadInputError(f"{self.label} is not aligned, so its residues have no columns", fix="use 'phylocli align'")
        found = []
        for row, sequence in zip(self.rows, self.sequences(), strict=True):
            letters = np.frombuffer(row.encode("ascii", "replace"), dtype=np.uint8)
            at = np.flatnonzero((letters != ord("-")) & (letters != ord("."))).astype(np.int32)
            found.append(at[: len(sequence.residues)])  # a terminal stop codon is not a residue
        return found

    def match_positions(self) -> list[npt.NDArray[np.int32]]:
        """Return the match column, from 0, of each residue of each member, −1 for insertions.

        Residues in the same match column are homologous if the alignment is correct.

        Raises:
            BadInputError: the family is not aligned, or a letter is not in the alphabet.
        """
        import numpy as np

        columns = self.residue_columns()
        match = self.match_columns()
        number = np.where(match, np.cumsum(match) - 1, -1).astype(np.int32)
        return [number[at] for at in columns]

    @property
    def is_marked(self) -> bool:
        """Whether an `RF` line marks the match columns."""
        reference = self.column_features.get("RF")
        return reference is not None and len(reference) == self.columns and bool(set(reference) - set("-.~_"))

    def looks_like_nucleotides(self) -> bool:
        """Return whether the members are nucleotides rather than proteins; see `alphabet.looks_like_nucleotides`."""
        from phylocli.core.alphabet import looks_like_nucleotides

        return looks_like_nucleotides(self.rows)

    def match_columns(self) -> npt.NDArray[np.bool_]:
        """Return which columns are match columns, shape (columns,).

        These are the columns marked by `#=GC RF` (any character except a gap), if it marks any. Otherwise the A2M convention
        is used if the alignment follows it: every column contains either upper case and `-` (match) or lower case and `.`
        (insert), there are columns of both kinds, and every insert column has a `.`. Otherwise match columns are those in
        which at least half of the rows have a residue, because lower case may be soft masking and `.` any gap, as in Pfam
        seeds.
        """
        import numpy as np

        if self.is_marked:
            return np.array([c not in "-.~_" for c in self.column_features["RF"]], dtype=bool)
        text = "".join(self.rows).encode("ascii", "replace")
        letters = np.frombuffer(text, dtype=np.uint8).reshape(len(self.rows), -1)
        lower = (letters >= ord("a")) & (letters <= ord("z"))
        dot, dash = letters == ord("."), letters == ord("-")
        insert = (lower | dot).all(axis=0)
        match: npt.NDArray[np.bool_] = ~(lower | dot).any(axis=0)
        filled = insert & lower.any(axis=0) & dot.any(axis=0)
        if (insert | match).all() and match.any() and filled.any():
            return match
        return (dot | dash).mean(axis=0) <= 0.5

    @property
    def has_tree(self) -> bool:
        """Whether there is a tree, valid or not."""
        return self.tree is not None

    def require_tree(self) -> Tree:
        """Return the tree after checking its tips against the members.

        Raises:
            BadInputError: the family has no tree, the tree is not valid Newick, or its tips are not the members.
        """
        if self.tree is None:
            raise BadInputError(f"{self.label} has no tree", fix="run it through 'phylocli tree' first")
        check_tips(self.tree.tip_names(), self.ids, self.label)
        return self.tree

    def ete_tree(self, species: Callable[[str], str] | None = None) -> PhyloTree:
        """Return the tree as an ete3 `PhyloTree` with names, branch lengths, support and species.

        Args:
            species: maps the id of a member to its species, or to an empty string if unknown; None uses UniProt mnemonics,
                as in `HBA_HUMAN/7-107`.

        Raises:
            BadInputError: the family has no tree, the tree is not valid Newick, or its tips are not the members.
        """
        from phylocli.formats.species import SpeciesRule

        return self.require_tree().to_ete(species or SpeciesRule())

    def with_tree(self, tree: Tree | None, note: str = "", *, alpha: float | None = None) -> Family:
        """Return a copy with another tree (or None), a note that describes its method, and α.

        Branch lengths are rounded to ten significant digits, as in files.
        """
        notes = [n for n in self.notes if not n.startswith("tree ")] + ([note] if note else [])
        return replace(self, tree=tree.rounded() if tree is not None else None, notes=notes, tree_alpha=alpha)

    def subset(self, ids: Iterable[str]) -> Family:
        """Return the family with only these members, in their order in this family; the tree is pruned.

        Path lengths between the remaining members do not change. All alignment columns are kept.
        """
        keep = set(ids)
        unknown = keep - set(self.ids)
        if unknown:
            raise BadInputError(f"{self.label} has no member {shorten(min(unknown))!r}", fix="choose from its ids")
        index = [i for i, name in enumerate(self.ids) if name in keep]
        tree = self.tree
        if tree is not None and len(index) < len(self.ids):
            tree = self.require_tree().prune(keep) if index else None
        return replace(
            self,
            ids=[self.ids[i] for i in index],
            rows=[self.rows[i] for i in index],
            tree=tree,
            sequence_features={k: v for k, v in self.sequence_features.items() if k in keep},
            residue_features={k: v for k, v in self.residue_features.items() if k in keep},
            declared_size=None,
        )


def check_tips(tips: list[str], members: list[str], label: str) -> None:
    """Check that the tips of a tree are exactly the members of a family.

    Raises:
        BadInputError: members are missing from the tree, or the tree has other tips; up to three of each are named.
    """
    extra = sorted(set(tips) - set(members))
    missing = sorted(set(members) - set(tips))
    if not extra and not missing and len(tips) == len(members):
        return
    parts = []
    if missing:
        parts.append(f"{len(missing)} members are not in the tree ({', '.join(shorten(n, 40) for n in missing[:3])})")
    if extra:
        parts.append(f"{len(extra)} tips are not in the alignment ({', '.join(shorten(n, 40) for n in extra[:3])})")
    if not parts:
        parts.append("a tip occurs twice")
    raise BadInputError(
        f"{label}: the tree and the alignment do not match: {'; '.join(parts)}",
        fix="infer the tree again with 'phylocli tree', or rename its tips like the sequences",
    )
