"""Reading of files of trees: Newick and NEXUS."""

from __future__ import annotations

import re
from collections.abc import Iterator

from phylocli.core.errors import BadInputError
from phylocli.formats.input_formats import EMPTY, NEWICK, TEXT, sniff
from phylocli.formats.newick import FORMATS, parse_one, parse_trees
from phylocli.formats.streams import PathLike, display_name, open_input, text_lines
from phylocli.formats.tree import Tree

_MARK = re.compile(r"'(?:[^'\n]|'')*'|\[")
"""A quoted name or the start of a comment."""
_BRACKET = re.compile(r"[\[\]]")


def read_trees(source: PathLike | None) -> Iterator[Tree]:
    """Read the trees of a Newick or NEXUS file or pipe, compressed or not; see `newick.parse_trees`.

    Raises:
        BadInputError: the input cannot be read, or is neither Newick nor NEXUS with a trees block; the message names its
            format.
    """
    name = display_name(source)
    with open_input(source) as stream:
        form = sniff(stream)
        other = BadInputError(f"{name} is {form.phrase}, not trees", fix=FORMATS)
        if form is EMPTY:
            raise BadInputError(f"{name} is empty", fix=FORMATS)
        if form.magic or form.name == "binary":
            raise other
        text = "\n".join(line for _, line in text_lines(stream, name))
    try:
        yield from _nexus_trees(text, name) if form.name == "NEXUS" else parse_trees(text, name)
    except BadInputError as error:
        # Of other tree formats, which are XML and NEXUS, the error says more.
        if form in (NEWICK, TEXT) or form.name in ("NEXUS", "XML"):
            raise
        raise other from error


def _nexus_trees(text: str, source: str) -> Iterator[Tree]:
    """Yield the trees of the trees blocks of NEXUS text, with tips renamed by the `translate` command."""
    count = 0
    blocks = re.finditer(r"\bbegin\s+trees\s*;(.*?)\bend(?:block)?\s*;", _without_comments(text), re.IGNORECASE | re.DOTALL)
    for block in blocks:
        body = block[1]  # each access copies the text
        names = {}
        if table := re.search(r"\btranslate\b((?:'[^']*'|[^';])*);", body, re.IGNORECASE):
            for key, quoted, plain in re.findall(r"([^\s,]+)\s+(?:'((?:[^']|'')*)'|([^\s,']+))\s*(?:,|$)", table[1]):
                names[key] = quoted.replace("''", "'") or plain
        for start in re.finditer(r"\bu?tree\s+\*?\s*(?:'[^']*'|[^\s=]+)\s*=", body, re.IGNORECASE):
            count += 1
            tree, _ = parse_one(body, start.end(), f"{source}, tree {count}")
            if tree is not None:
                tip = tree.is_tip
                tree.names = [names.get(name, name) if tip[node] else name for node, name in enumerate(tree.names)]
                yield tree
    if not count:
        raise BadInputError(f"{source} is a NEXUS file without a tree", fix="give a file with a trees block, or Newick")


def _without_comments(text: str) -> str:
    """Return NEXUS text with a blank for each comment, which may contain others (Maddison et al. 1997).

    Brackets within quoted names stay. An unclosed comment stays, for the error of the parser. Those on rooting and with
    annotations (`[&R]`, `[&rate=1]`) are not used by `Tree`.
    """
    kept: list[str] = []
    end = at = 0  # of the last comment, and of the search
    while mark := _MARK.search(text, at):
        at = mark.end()
        if mark[0] != "[":
            continue
        depth = 1
        while depth and (bracket := _BRACKET.search(text, at)):
            at = bracket.end()
            depth += 1 if bracket[0] == "[" else -1
        if depth:
            break
        kept += text[end : mark.start()], " "
        end = at
    return "".join([*kept, text[end:]])
