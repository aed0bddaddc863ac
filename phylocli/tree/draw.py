"""Drawing of trees with a scale bar, as SVG, PNG or PDF, or as text for a terminal."""

from __future__ import annotations

import logging
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phylocli.formats.family import Family
from phylocli.formats.pictures import picture_format, save_figure
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import STDIO, PathLike
from phylocli.formats.tree import Tree

logger = logging.getLogger(__name__)

MAX_LABELS = 250
"""Maximum number of tips that are labelled; labels of larger trees would be illegible."""
MAX_TEXT_TIPS = 200
"""Maximum number of tips in a text drawing; larger trees are subsampled."""

# Box characters by the bit mask of their arms; a single arm is drawn as a full line.
_UP, _DOWN, _LEFT, _RIGHT = 1, 2, 4, 8
_BOX = " │││─┘┐┤─└┌├─┴┬┼"
_ASCII = str.maketrans("│─┘┐┤└┌├┴┬┼", "|-+++++++++")


def drawn(families: Iterable[Family], target: PathLike, *, text_to_stdout: bool = False) -> Iterator[Family]:
    """Yield the families, drawing the tree of each.

    Args:
        families: families with trees.
        target: an `.svg`, `.png` or `.pdf` file, or `-` for text in the terminal. With several families, the family's name
            is inserted before the suffix of each file (`tree.PF00042.svg`).
        text_to_stdout: whether to write text to standard output instead of standard error.

    Raises:
        UsageError: the suffix is not that of a picture format.
    """
    check_target(target)
    if str(target) == STDIO:
        for family in families:
            stream = sys.stdout if text_to_stdout else sys.stderr
            stream.write(_encodable(f"{family.label}\n{draw_text(family.require_tree())}\n", stream.encoding or "utf-8"))
            yield family
        return
    first: Family | None = None
    several = False
    for family in families:
        if first is None:
            first = family
        else:
            if not several:
                draw_file(first.require_tree(), _named(target, first.label), title=first.label)
                several = True
            draw_file(family.require_tree(), _named(target, family.label), title=family.label)
        yield family
    if first is not None and not several:
        draw_file(first.require_tree(), target, title=first.label)


def _encodable(text: str, encoding: str) -> str:
    """Convert a text drawing to ASCII if the terminal's encoding has no box characters."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    return text


def check_target(target: PathLike) -> None:
    """Check the suffix of a picture file.

    Raises:
        UsageError: the suffix is not that of a picture format.
    """
    if str(target) != STDIO:
        picture_format(target)


def _named(target: PathLike, label: str) -> Path:
    path = Path(target)
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", label)[:100].strip(".") or "family"
    return path.with_name(f"{path.stem}.{safe}{path.suffix}")


def _heights(tree: Tree) -> npt.NDArray[np.float64]:
    """Return the vertical position of each node: tips from 0, inner nodes midway between their outermost children."""
    height = np.full(len(tree), np.nan)
    height[tree.tips()] = np.arange(len(tree.tips()))
    low, high = height.copy(), height.copy()
    for node in range(len(tree) - 1, 0, -1):
        if np.isnan(height[node]):
            height[node] = (low[node] + high[node]) / 2
        up = tree.parent[node]
        low[up] = np.fmin(low[up], height[node])
        high[up] = np.fmax(high[up], height[node])
    if np.isnan(height[0]):
        height[0] = (low[0] + high[0]) / 2
    return height


def scale_length(deepest: float) -> float:
    """Return a round length (1, 2 or 5 times a power of ten) of at most a fifth of the tree's depth for a scale bar."""
    if not deepest > 0:
        return 0.0
    power = 10.0 ** np.floor(np.log10(deepest / 5))
    return float(max(step * power for step in (1, 2, 5) if step * power <= deepest / 5 * (1 + 1e-9)))


def draw_file(tree: Tree, path: PathLike, *, title: str = "") -> None:
    """Draw a tree to an SVG, PNG or PDF file, with branch lengths to scale, names if legible, and a scale bar.

    Raises:
        UsageError: the suffix is not that of a picture format.
    """
    check_target(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    depth, height = tree.root_distances(), _heights(tree)
    tips = tree.tips()
    deepest = float(depth.max()) or 1.0
    labelled = len(tips) <= MAX_LABELS
    top, bottom = 0.45, 0.6  # inches, for the title and the scale bar
    row = 0.17 if labelled else min(0.17, 12 / len(tips))
    figure = Figure(figsize=(9, top + bottom + row * (len(tips) - 1)))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.02, 0.0, 0.96, 1.0))
    axes.set_xlim(-0.01 * deepest, deepest * (1.45 if labelled else 1.03))
    axes.set_ylim(len(tips) - 1 + bottom / row, -top / row)
    axes.axis("off")
    across = [[(depth[tree.parent[n]], height[n]), (depth[n], height[n])] for n in range(1, len(tree))]
    spans = [
        [(depth[node], min(height[c] for c in below)), (depth[node], max(height[c] for c in below))]
        for node, below in enumerate(tree.children())
        if below
    ]
    axes.add_collection(LineCollection(across + spans, colors="#222222", linewidths=0.9 if labelled else 0.5))
    if labelled:
        for tip in tips:
            # parse_math=False, because names may contain dollar signs
            axes.text(
                depth[tip] + 0.01 * deepest,
                height[tip],
                shorten(tree.names[tip], 40),
                va="center",
                fontsize=8,
                parse_math=False,
            )
        for node in np.flatnonzero(~np.isnan(tree.support())).tolist():
            axes.text(
                depth[node] - 0.003 * deepest,
                height[node] - 0.08,
                shorten(tree.names[node], 20),
                va="bottom",
                ha="right",
                fontsize=5.5,
                color="#5577aa",
            )
    bar, below_tips = scale_length(deepest), len(tips) - 1 + 0.28 / row
    axes.plot([0, bar], [below_tips, below_tips], color="#222222", linewidth=1.6)
    axes.text(0, below_tips + 0.07 / row, f"{bar:g} substitutions per site", va="top", fontsize=8)
    if title:
        heading = f"{title}, {len(tips)} members"
        axes.text(0, -top / row * 0.85, heading, va="top", fontsize=10, weight="bold", parse_math=False)
    save_figure(figure, path)


def draw_text(tree: Tree, width: int | None = None) -> str:
    """Return a text drawing of a tree, one line per tip, with a scale bar.

    Args:
        tree: the tree. With more than `MAX_TEXT_TIPS` tips, only that many, evenly spaced, are drawn. Support values are
            printed on branches that are long enough.
        width: maximum length of a line in characters; None uses the width of the terminal.
    """
    width = width or shutil.get_terminal_size((100, 24)).columns
    count = len(tree.tips())
    if count > MAX_TEXT_TIPS:
        chosen = np.linspace(0, count - 1, MAX_TEXT_TIPS).round().astype(int)
        tree = tree.prune([tree.names[i] for i in tree.tips()[chosen]])
        logger.info(f"showing {MAX_TEXT_TIPS} of {count} tips")
    label_width = min(max(len(name) for name in tree.tip_names()), max(width // 3, 8))
    room = max(width - label_width - 2, 10)
    depth = tree.root_distances()
    deepest = float(depth.max())
    x = np.rint(depth / deepest * (room - 1)).astype(int) if deepest > 0 else np.zeros(len(tree), dtype=int)
    rows = np.floor(_heights(tree)).astype(int)
    arms = np.zeros((len(tree.tips()), room), dtype=int)
    for node in range(1, len(tree)):
        up = int(tree.parent[node])
        arms[rows[node], x[up] : x[node]] |= _RIGHT
        arms[rows[node], x[up] + 1 : x[node] + 1] |= _LEFT
        low, high = sorted((rows[up], rows[node]))
        arms[low:high, x[up]] |= _DOWN
        arms[low + 1 : high + 1, x[up]] |= _UP
    lines = [[_BOX[arm] for arm in row] for row in arms]
    for node in np.flatnonzero(~np.isnan(tree.support())).tolist():
        _write_support(lines[rows[node]], tree.names[node], int(x[tree.parent[node]]), int(x[node]))
    text = []
    for row, tip in enumerate(tree.tips()):
        line = "".join(lines[row]).rstrip()
        text.append(f"{line} {shorten(tree.names[tip], label_width)}")
    bar = scale_length(deepest)
    if bar:
        text.append("")
        text.append("├" + "─" * max(round(bar / deepest * (room - 1)) - 1, 0) + f"┤ {bar:g} substitutions per site")
    return "\n".join(text)


def _write_support(line: list[str], label: str, start: int, stop: int) -> None:
    """Write a support value near the end of a branch between two columns, if the branch is long enough."""
    first = stop - len(label) - 1
    if first > start + 1 and all(line[at] == "─" for at in range(first, stop - 1)):
        line[first : stop - 1] = label
