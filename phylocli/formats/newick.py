"""Parsing of Newick trees, and trees of records that are parsed on first use."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from phylocli.core.errors import BadInputError
from phylocli.formats.tree import Tree

_BLANK = re.compile(r"(?:\s+|\[[^\]]*\])*+")  # and comments
_TOKEN = re.compile(_BLANK.pattern + r"(?:(?P<quoted>'[^']*+(?:''[^']*+)*+')|(?P<mark>[(),:;])|(?P<word>[^\s'\[\](),:;]+))")
FORMATS = "give trees in Newick or NEXUS format"
_QUOTE = "put the name in single quotes, with apostrophes doubled, as in 'O''Neil'"
MAX_LENGTH = 1e10
"""Maximum length of a branch; with longer ones, sums of branch lengths would be dominated by rounding errors."""


def parse(text: str, source: str = "the tree") -> Tree:
    """Parse a Newick tree. Comments (`[…]`, NHX) are skipped; underscores are not converted to blanks.

    Raises:
        BadInputError: the text is not valid Newick, or contains several trees; the message gives the position.
    """
    tree, end = parse_one(text, 0, source)
    if tree is None:
        raise BadInputError(f"{source} is empty", fix="give one tree that ends with ';'")
    further = _skip(text, end)
    if further < len(text):
        raise _not_newick(text, source, "text after the closing ';'", further)
    return tree


def parse_trees(text: str, source: str = "the text") -> Iterator[Tree]:
    """Parse Newick trees that end with `;` (optional for the last one); see `parse`.

    Raises:
        BadInputError: the text is not valid Newick; the message gives the position.
    """
    position, number = 0, 1
    while True:
        tree, position = parse_one(text, position, f"{source}, tree {number}" if number > 1 else source)
        if tree is None:
            return
        yield tree
        number += 1


def _skip(text: str, position: int) -> int:
    """Return the position of the next token after white space and comments, or the length of the text."""
    match = _BLANK.match(text, position)
    return match.end() if match else position


def _not_newick(text: str, source: str, message: str, at: int, fix: str | None = None) -> BadInputError:
    around = text[max(0, at - 15) : at + 15]
    line = text.count("\n", 0, at)
    place = f"line {line + 1}, character {at - text.rfind(chr(10), 0, at)}" if line else f"character {at + 1}"
    return BadInputError(f"{source} is not valid Newick: {message} at {place} (near {around!r})", fix=fix or FORMATS)


def _check_kind(text: str, source: str) -> None:
    """Raise a BadInputError for other tree formats, which are detected by their first characters."""
    head = text[:100].lstrip().lower()
    kind = "NEXUS" if head.startswith("#nexus") else "XML (phyloXML or NeXML)" if head.startswith("<") else None
    if kind is not None:
        raise BadInputError(
            f"{source} is {kind}, not Newick", fix="export the tree as Newick, for example with FigTree, ete3 or DendroPy"
        )


def _length(token: str) -> float | None:
    """Return the branch length in a token; None if it is not a valid number of at most `MAX_LENGTH`."""
    try:
        value = float(token)
    except ValueError:
        return None
    # float() also accepts 1_000, digits of other scripts, inf and nan, which are not valid here (nan compares as False).
    return value if abs(value) <= MAX_LENGTH and "_" not in token and token.isascii() else None


def parse_one(text: str, position: int, source: str) -> tuple[Tree | None, int]:
    """Return the tree at a position, or None if only white space follows, and the position after it."""

    fail = partial(_not_newick, text, source)

    if position == 0:
        _check_kind(text, source)
    parent = array("q", [-1])  # arrays take a fifth of the memory of lists
    length = array("d", [math.nan])
    names: list[str] = [""]
    open_nodes: list[int] = []
    node = 0
    named = closed = False  # whether the current node has a name, and whether it is a completed inner node
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
    """Return the error for a character that does not start a token, or an apostrophe within a word."""
    if text[at] == "'":
        if at == end_of_word:
            return _not_newick(text, source, "an apostrophe within a name that is not quoted", at, _QUOTE)
        return _not_newick(text, source, "a quoted name without its closing apostrophe", at, _QUOTE)
    message = "a comment without its ']'" if text[at] == "[" else f"an unexpected {text[at]!r}"
    return _not_newick(text, source, message, at)


class NewickTree(Tree):
    """A tree from Newick text that is parsed when its arrays are first used, and written unchanged.

    This avoids parsing the trees of records that are only passed on.

    Args:
        text: Newick text of the tree; not validated until first use.
        source: name of the source, for messages.

    Raises:
        BadInputError: on first use, the text is not valid Newick.
    """

    def __init__(self, text: str, source: str = "the tree") -> None:
        self.text, self.source = text, source

    def __getattr__(self, name: str) -> Any:
        if name not in ("parent", "length", "names"):
            raise AttributeError(name)
        tree = parse(self.text, self.source)
        self.parent, self.length, self.names = tree.parent, tree.length, tree.names
        return getattr(tree, name)

    def to_newick(self) -> str:
        """Return the original text."""
        return self.text
