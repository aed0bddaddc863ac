"""Newick ⇄ a tree as arrays; ete3 at the edges.

Computation on trees of 100,000 tips goes through arrays (parent, length, preorder), never through recursion. ete3 trees, for
drawing and for users who know them, convert both ways.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.formats.streams import PathLike, display_name, read_text

if TYPE_CHECKING:
    import ete3

_BLANK = re.compile(r"(?:\s+|\[[^\]]*\])*+")  # and comments
_TOKEN = re.compile(_BLANK.pattern + r"(?:(?P<quoted>'[^']*+(?:''[^']*+)*+')|(?P<mark>[(),:;])|(?P<word>[^\s'\[\](),:;]+))")
_NEEDS_QUOTES = re.compile(r"[\s'\[\](),:;]")
_QUOTE = "put the name in single quotes, with each apostrophe in it doubled, as in 'O''Neil'"
MAX_LENGTH = 1e10
"""Longest branch that is read. Beside much longer ones, the lengths of others would be lost to rounding."""

_SUPPORT = re.compile(r"\d+(?:\.\d*)?(?:[eE]-?\d+)?(?:/\d+(?:\.\d*)?(?:[eE]-?\d+)?)*")


@dataclass
class Tree:
    """A tree as arrays, nodes in preorder: a parent stands before its children, a subtree is one contiguous range.

    Attributes:
        parent: index of each node's parent, shape (nodes,); -1 for the root, which is node 0.
        length: length of the branch above each node, expected substitutions per site, shape (nodes,); NaN where the
            Newick text gave none; the root's is 0 unless the text gave one.
        names: a name for each node, empty where there is none. A number as the name of an inner node is the support of the
            branch above it, as tree programs write it (see `support`); several go as `97.2/0.99`.
    """

    parent: npt.NDArray[np.int64]
    length: npt.NDArray[np.float64]
    names: list[str]

    def __len__(self) -> int:
        return len(self.parent)

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
        """Return the support of the branch above each node, shape (nodes,): the first number of its label, else NaN.

        In the unit of whoever made the tree: a share from 0 to 1, or per cent.
        """
        found = np.full(len(self), np.nan)
        for node in np.flatnonzero(~self.is_tip).tolist():
            if is_support(self.names[node]):
                found[node] = float(self.names[node].split("/")[0])
        return found

    def children(self) -> list[list[int]]:
        """Return the children of each node, in their order."""
        found: list[list[int]] = [[] for _ in range(len(self.parent))]
        for node in range(1, len(self.parent)):
            found[self.parent[node]].append(node)
        return found

    def root_distances(self) -> npt.NDArray[np.float64]:
        """Return each node's path length from the root, shape (nodes,); missing lengths count as 0."""
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
        """Return the tree of only these tips; path lengths between them are unchanged, inner nodes of one child are merged.

        Raises:
            BadInputError: a name that is no tip, or no name at all.
        """
        wanted = set(keep)
        unknown = wanted - set(self.tip_names())
        if unknown or not wanted:
            raise BadInputError(f"the tree has no tip {min(unknown)!r}" if unknown else "no tip is left after pruning")
        nodes = len(self.parent)
        parent = self.parent.tolist()
        tip = self.is_tip
        below = [0] * nodes  # number of children that stay
        stays = [False] * nodes
        for node in range(nodes - 1, -1, -1):
            stays[node] = (self.names[node] in wanted) if tip[node] else below[node] > 0
            if stays[node] and node:
                below[parent[node]] += 1
        new_parent: list[int] = []
        new_length: list[float] = []
        new_names: list[str] = []
        anchor = [-1] * nodes  # nearest node of the new tree at or above a node
        carried = [0.0] * nodes  # length gathered since the anchor
        length = np.nan_to_num(self.length, nan=0.0).tolist()
        for node in range(nodes):
            if not stays[node]:
                continue
            up = anchor[parent[node]] if node else -1
            gathered = (carried[parent[node]] if node else 0.0) + length[node]
            if not tip[node] and below[node] == 1:
                # Merged into its child; above the new root the length is dropped.
                anchor[node], carried[node] = up, (gathered if up >= 0 else 0.0)
                continue
            anchor[node] = len(new_parent)
            new_parent.append(up)
            new_length.append(gathered if up >= 0 else 0.0)
            above_nothing = up < 0 and not tip[node] and is_support(self.names[node])
            new_names.append("" if above_nothing else self.names[node])
        return Tree(np.array(new_parent, dtype=np.int64), np.array(new_length), new_names)

    def merge_unary(self) -> Tree:
        """Return the tree without nodes of one child, each merged into that child; the length above the new root is dropped.

        The label of a merged node goes to its child, where that is an inner node without a label of its own.
        """
        children = np.bincount(self.parent[1:], minlength=len(self))
        if not (children == 1).any():
            return self
        names, tip = list(self.names), self.is_tip.tolist()
        for node in range(1, len(self)):  # parents come before their children, so that labels go all the way down
            up = int(self.parent[node])
            if children[up] == 1 and not tip[node] and not names[node]:
                names[node] = names[up]
        return Tree(self.parent, self.length, names).prune(self.tip_names())

    def to_newick(self, *, exact: bool = False) -> str:
        """Return the tree as Newick text: names quoted where they need it, lengths with ten significant digits.

        Args:
            exact: write lengths with as many digits as it takes to read the same numbers again.
        """
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
                parts.append(":" + (repr(length).removesuffix(".0") if exact else f"{length:.10g}"))
        return "".join(parts) + ";"

    def to_ete(self) -> ete3.Tree:
        """Return the tree as an ete3 tree; missing lengths become 0 (ete3 itself would take 1).

        Labels of inner nodes are their names; where they are numbers, they are their `support` too.
        """
        tree_class = import_ete().Tree
        root = tree_class()
        root.name, root.dist = self.names[0], 0.0
        nodes = [root]
        support = self.support()
        for node in range(1, len(self.parent)):
            length = float(np.nan_to_num(self.length[node], nan=0.0))
            child = tree_class(name=self.names[node], dist=length)
            child.dist = length
            if not np.isnan(support[node]):
                child.support = float(support[node])
            up = nodes[self.parent[node]]
            child.up = up
            up.children.append(child)  # add_child checks and copies per call, which is slow for 100,000 tips
            nodes.append(child)
        return root

    @classmethod
    def from_ete(cls, tree: ete3.Tree) -> Tree:
        """Return an ete3 tree as arrays."""
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
    """Import ete3, with a clear error where its undeclared needs are missing.

    ete3 3.1.3 imports `six`, which it does not declare, and `cgi`, which Python 3.13 no longer has (`legacy-cgi` brings it
    back). phylocli declares both; an installation without dependencies lacks them.
    """
    try:
        import ete3
    except ImportError as error:
        from phylocli.core.errors import MissingDependencyError

        raise MissingDependencyError(
            "ete3 cannot be imported",
            why=str(error),
            fix="pip install ete3 six 'legacy-cgi; python_version >= \"3.13\"'",
        ) from error
    return ete3


def is_support(label: str) -> bool:
    """Return whether the label of an inner node is a support value, or several with slashes between, and not a name."""
    return _SUPPORT.fullmatch(label) is not None


def quote(name: str) -> str:
    """Return a name as Newick wants it: in single quotes where it holds a mark of the format, else as it is."""
    if _NEEDS_QUOTES.search(name):
        return "'" + name.replace("'", "''") + "'"
    return name


def parse(text: str, source: str = "the tree") -> Tree:
    """Return the one tree that Newick text describes. Comments (`[…]`, NHX) are skipped, underscores stay underscores.

    Raises:
        BadInputError: the text is not Newick, or holds more than one tree; the message gives the character.
    """
    tree, end = _parse_one(text, 0, source)
    if tree is None:
        raise BadInputError(f"{source} is empty")
    further = _skip(text, end)
    if further < len(text):
        raise _not_newick(text, source, "text after the closing ';'", further)
    return tree


def parse_trees(text: str, source: str = "the text") -> Iterator[Tree]:
    """Yield the trees of Newick text, each of which ends with `;` (the last one may lack it); see `parse`.

    Raises:
        BadInputError: the text is not Newick; the message gives the character.
    """
    position, number = 0, 1
    while True:
        tree, position = _parse_one(text, position, f"{source}, tree {number}" if number > 1 else source)
        if tree is None:
            return
        yield tree
        number += 1


def read_trees(source: PathLike | None) -> Iterator[Tree]:
    """Yield the trees of a Newick file or pipe, compressed or not; see `parse_trees`.

    Raises:
        BadInputError: not Newick, or it cannot be read.
    """
    yield from parse_trees(read_text(source), display_name(source))


def _skip(text: str, position: int) -> int:
    """Return where the next token starts that is neither white space nor a comment; the length of the text at its end."""
    match = _BLANK.match(text, position)
    return match.end() if match else position


def _not_newick(text: str, source: str, message: str, at: int, fix: str | None = None) -> BadInputError:
    around = text[max(0, at - 15) : at + 15]
    line = text.count("\n", 0, at)
    place = f"line {line + 1}, character {at - text.rfind(chr(10), 0, at)}" if line else f"character {at + 1}"
    return BadInputError(f"{source} is not valid Newick: {message} at {place} (near {around!r})", fix=fix)


def _check_kind(text: str, source: str) -> None:
    """Raise for other formats of trees, by how they start."""
    head = text[:100].lstrip().lower()
    kind = "NEXUS" if head.startswith("#nexus") else "XML (phyloXML or NeXML)" if head.startswith("<") else None
    if kind is not None:
        raise BadInputError(
            f"{source} is {kind}, not Newick", fix="export the tree as Newick, for example with FigTree, ete3 or DendroPy"
        )


def _length(token: str) -> float | None:
    """Return the branch length that a token is, None where it is no finite number of a size that can be computed with."""
    try:
        value = float(token)
    except ValueError:
        return None
    # Python reads more as a number than Newick means: 1_000, digits of other scripts, inf and nan (which is not ≤ anything).
    return value if abs(value) <= MAX_LENGTH and "_" not in token and token.isascii() else None


def _parse_one(text: str, position: int, source: str) -> tuple[Tree | None, int]:
    """Return the tree that starts at a position, None where there is only white space left, and where the text goes on."""

    def fail(message: str, at: int, fix: str | None = None) -> BadInputError:
        return _not_newick(text, source, message, at, fix)

    if position == 0:
        _check_kind(text, source)
    parent = array("q", [-1])  # flat: a list of numbers would take five times as much
    length = array("d", [math.nan])
    names: list[str] = [""]
    open_nodes: list[int] = []
    node = 0
    named = closed = False  # whether the current node has its name, and whether it is an inner node already closed
    expects_length = False
    begin = position = _skip(text, position)
    if position == len(text):
        return None, position
    end_of_word = -1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            position = _skip(text, position)
            if position == len(text):
                break
            raise _unreadable(text, source, position, end_of_word)
        kind = match.lastgroup or ""
        start, position, token = match.start(kind), match.end(), match.group(kind)
        if kind == "mark":
            if expects_length:
                raise fail("a branch length is missing", start)
            if token == "(":
                if named or closed:
                    raise fail("an unexpected '('", start)
                open_nodes.append(node)
                parent.append(node)
                length.append(math.nan)
                names.append("")
                node = len(parent) - 1
                named = closed = False
            elif token == ",":
                if not open_nodes:
                    raise fail("a ',' outside parentheses", start)
                parent.append(open_nodes[-1])
                length.append(math.nan)
                names.append("")
                node = len(parent) - 1
                named = closed = False
            elif token == ")":
                if not open_nodes:
                    raise fail("a ')' too many", start)
                node = open_nodes.pop()
                named, closed = False, True
            elif token == ":":
                if not math.isnan(length[node]):
                    raise fail("a second branch length", start)
                expects_length = True
            else:
                if open_nodes:
                    raise fail("a ')' is missing before the ';'", start)
                break
        elif expects_length:
            value = _length(token)
            if value is None:
                above = f" above {names[node]!r}" if names[node] else ""
                raise fail(f"{token!r} is not a branch length{above} (a number of at most {MAX_LENGTH:g} is)", start)
            length[node] = value
            expects_length = False
            named = True
        else:
            if kind == "quoted" and start == end_of_word:
                raise _unreadable(text, source, start, end_of_word)
            if named:
                raise fail(f"an unexpected name {token!r}", start, _QUOTE if end_of_word == start else None)
            names[node] = token[1:-1].replace("''", "'") if kind == "quoted" else token
            named = True
        if kind != "mark":
            end_of_word = position
    if open_nodes:
        raise fail("a ')' is missing", len(text) - 1)
    if expects_length:
        raise fail("a branch length is missing", len(text) - 1)
    if len(parent) == 1 and not names[0]:
        raise fail("an empty tree", begin)
    if np.isnan(length[0]):
        length[0] = 0.0
    return Tree(np.frombuffer(parent, dtype=np.int64), np.frombuffer(length, dtype=np.float64), names), position


def _unreadable(text: str, source: str, at: int, end_of_word: int) -> BadInputError:
    """Return the error of a character that starts no token, or of an apostrophe within a word."""
    if text[at] == "'":
        if at == end_of_word:
            return _not_newick(text, source, "an apostrophe within a name that is not quoted", at, _QUOTE)
        return _not_newick(text, source, "a quoted name without its closing apostrophe", at, _QUOTE)
    message = "a comment without its ']'" if text[at] == "[" else f"an unexpected {text[at]!r}"
    return _not_newick(text, source, message, at)
