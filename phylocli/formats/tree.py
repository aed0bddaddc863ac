"""Trees as arrays of parents, branch lengths and names, with conversion to Newick and from and to ete3.

All algorithms are iterative, so that trees with 100,000 tips can be processed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError, MissingDependencyError

if TYPE_CHECKING:
    import ete3

_NEEDS_QUOTES = re.compile(r"[\s'\[\](),:;]")
_SUPPORT = re.compile(r"\d+(?:\.\d*)?(?:[eE]-?\d+)?(?:/\d+(?:\.\d*)?(?:[eE]-?\d+)?)*")


@dataclass(eq=False)
class Tree:
    """A tree as arrays with nodes in preorder: a parent precedes its children, and a subtree is a contiguous range.

    Attributes:
        parent: index of the parent of each node, −1 for the root, which is node 0, shape (nodes,).
        length: length of the branch above each node in expected substitutions per site, NaN if missing in the Newick text,
            shape (nodes,); the length above the root is 0 unless given.
        names: name of each node, may be empty. A numeric name of an inner node is the support of the branch above it (see
            `support`); several values are written as `97.2/0.99`.

    Examples:
        >>> rows = ["MKVLAAGIVG", "MKVLSAGIVG", "MRVLSAGLVG", "MRILSPGLVG"]
        >>> family = phylocli.Family(["a", "b", "c", "d"], rows, accession="PF1")
        >>> (family,) = phylocli.infer_trees([family])
        >>> sorted(family.tree.tip_names())
        ['a', 'b', 'c', 'd']
    """

    parent: npt.NDArray[np.int64]
    length: npt.NDArray[np.float64]
    names: list[str]

    def __len__(self) -> int:
        return len(self.parent)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tree):
            return NotImplemented
        same = np.array_equal(self.parent, other.parent) and np.array_equal(self.length, other.length, equal_nan=True)
        return same and self.names == other.names

    __hash__ = None  # type: ignore[assignment]  # mutable

    @property
    def is_tip(self) -> npt.NDArray[np.bool_]:
        """Which nodes are tips, shape (nodes,)."""
        tip = np.ones(len(self.parent), dtype=bool)
        tip[self.parent[1:]] = False
        return tip

    def tips(self) -> npt.NDArray[np.int64]:
        """Return the indices of the tips in depth-first order, shape (tips,)."""
        return np.flatnonzero(self.is_tip)

    def tip_names(self) -> list[str]:
        """Return the names of the tips in depth-first order."""
        return [self.names[i] for i in self.tips()]

    def support(self) -> npt.NDArray[np.float64]:
        """Return the support of the branch above each node, shape (nodes,): the first number of its label, or NaN.

        The unit is that of the program that inferred the tree: a fraction from 0 to 1, or per cent.
        """
        found = np.full(len(self), np.nan)
        for node in np.flatnonzero(~self.is_tip).tolist():
            if is_support(self.names[node]):
                found[node] = float(self.names[node].split("/")[0])
        return found

    def children(self) -> list[list[int]]:
        """Return the children of each node, in order."""
        found: list[list[int]] = [[] for _ in range(len(self.parent))]
        for node in range(1, len(self.parent)):
            found[self.parent[node]].append(node)
        return found

    def root_distances(self) -> npt.NDArray[np.float64]:
        """Return the path length of each node from the root, shape (nodes,); missing lengths are treated as 0."""
        length = np.nan_to_num(self.length, nan=0.0)
        distance = np.zeros(len(self.parent))
        parent = self.parent.tolist()
        values = length.tolist()
        total = [0.0] * len(parent)
        for node in range(1, len(parent)):
            total[node] = total[parent[node]] + values[node]
        distance[:] = total
        return distance

    def prune(self, keep: Collection[str]) -> Tree:
        """Return the tree with only these tips; path lengths between them do not change, and unary nodes are merged.

        Raises:
            BadInputError: a name is not that of a tip, or no names are given.
        """
        wanted = set(keep)
        unknown = wanted - set(self.tip_names())
        if unknown or not wanted:
            raise BadInputError(
                f"the tree has no tip {min(unknown)!r}" if unknown else "no tips left after pruning",
                fix="give names of the tree's tips",
            )
        nodes = len(self.parent)
        parent = self.parent.tolist()
        tip = self.is_tip
        below = [0] * nodes  # number of children that are kept
        stays = [False] * nodes
        for node in range(nodes - 1, -1, -1):
            stays[node] = (self.names[node] in wanted) if tip[node] else below[node] > 0
            if stays[node] and node:
                below[parent[node]] += 1
        new_parent: list[int] = []
        new_length: list[float] = []
        new_names: list[str] = []
        anchor = [-1] * nodes  # nearest node of the new tree at or above a node
        carried = [0.0] * nodes  # path length from the anchor
        length = np.nan_to_num(self.length, nan=0.0).tolist()
        for node in range(nodes):
            if not stays[node]:
                continue
            up = anchor[parent[node]] if node else -1
            gathered = (carried[parent[node]] if node else 0.0) + length[node]
            if not tip[node] and below[node] == 1:
                # Merge the node into its child; the length above the new root is dropped.
                anchor[node], carried[node] = up, (gathered if up >= 0 else 0.0)
                continue
            anchor[node] = len(new_parent)
            new_parent.append(up)
            new_length.append(gathered if up >= 0 else 0.0)
            above_nothing = up < 0 and not tip[node] and is_support(self.names[node])
            new_names.append("" if above_nothing else self.names[node])
        return Tree(np.array(new_parent, dtype=np.int64), np.array(new_length), new_names)

    def merge_unary(self) -> Tree:
        """Return the tree with nodes that have a single child merged into that child.

        The length above the new root is dropped. The label of a merged node moves to its child if that is an inner node
        without a label.
        """
        children = np.bincount(self.parent[1:], minlength=len(self))
        if not (children == 1).any():
            return self
        names, tip = list(self.names), self.is_tip.tolist()
        for node in range(1, len(self)):  # in preorder, so that labels move down along chains of unary nodes
            up = int(self.parent[node])
            if children[up] == 1 and not tip[node] and not names[node]:
                names[node] = names[up]
        return Tree(self.parent, self.length, names).prune(self.tip_names())

    def rounded(self) -> Tree:
        """Return the tree with branch lengths rounded to ten significant digits, as in files, and root length 0."""
        length = [0.0, *(float(f"{value:.10g}") for value in self.length[1:].tolist())]
        return Tree(self.parent, np.array(length), self.names)

    def to_newick(self) -> str:
        """Return the tree as Newick text with exact branch lengths; names are quoted if needed."""
        parts: list[str] = []
        children = self.children()
        stack: list[tuple[int, int]] = [(0, 0)]  # node, next child
        while stack:
            node, child = stack.pop()
            below = children[node]
            if child < len(below):
                parts.append("(" if child == 0 else ",")
                stack.append((node, child + 1))
                stack.append((below[child], 0))
                continue
            if below:
                parts.append(")")
            parts.append(quote(self.names[node]))
            if node and not np.isnan(self.length[node]):
                length = float(self.length[node])
                parts.append(":" + repr(length).removesuffix(".0"))
        return "".join(parts) + ";"

    def to_ete(self, species: Callable[[str], str] | None = None) -> ete3.PhyloTree:
        """Convert the tree to an ete3 `PhyloTree`; missing lengths become 0 (ete3's default is 1).

        Labels of inner nodes become names, and numeric ones also `support`.

        Args:
            species: maps the name of a tip to its species; None leaves the species unknown.
        """
        tree_class = import_ete().PhyloTree
        root = tree_class()
        root.name, root.dist = self.names[0], 0.0
        nodes = [root]
        support, tip = self.support(), self.is_tip.tolist()
        for node in range(1, len(self.parent)):
            length = float(np.nan_to_num(self.length[node], nan=0.0))
            child = tree_class(name=self.names[node], dist=length)
            child.dist = length
            if not np.isnan(support[node]):
                child.support = float(support[node])
            if species is not None and tip[node]:
                child.species = species(self.names[node])
                child.features.add("species")
            up = nodes[self.parent[node]]
            child.up = up
            up.children.append(child)  # add_child is slow for 100,000 tips
            nodes.append(child)
        return root

    @classmethod
    def from_ete(cls, tree: ete3.Tree) -> Tree:
        """Convert an ete3 tree."""
        parent: list[int] = []
        length: list[float] = []
        names: list[str] = []
        stack = [(tree, -1)]
        while stack:
            node, up = stack.pop()
            index = len(parent)
            parent.append(up)
            length.append(float(node.dist) if up >= 0 else 0.0)
            names.append(str(node.name))
            stack.extend((child, index) for child in reversed(node.children))
        return cls(np.array(parent, dtype=np.int64), np.array(length), names)


def import_ete() -> Any:
    """Import ete3, with a clear error if its undeclared dependencies are missing.

    ete3 3.1.3 imports `six`, which it does not declare, and `cgi`, which was removed in Python 3.13 (available as
    `legacy-cgi`). phylocli declares both as dependencies.
    """
    try:
        import ete3
    except ImportError as error:
        raise MissingDependencyError(
            "ete3 cannot be imported",
            why=str(error),
            fix="pip install ete3 six 'legacy-cgi; python_version >= \"3.13\"'",
        ) from error
    return ete3


def is_support(label: str) -> bool:
    """Return whether the label of an inner node is a support value, or several separated by slashes, instead of a name."""
    return _SUPPORT.fullmatch(label) is not None


def quote(name: str) -> str:
    """Quote a name for Newick if it contains special characters."""
    if _NEEDS_QUOTES.search(name):
        return "'" + name.replace("'", "''") + "'"
    return name
