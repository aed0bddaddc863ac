"""Figures by matplotlib: SVG, PNG and PDF; the same data give the same bytes."""

from __future__ import annotations

import io
import re
from typing import Any, Literal

from phylocli.core.errors import UsageError
from phylocli.formats.output_formats import PICTURES
from phylocli.formats.streams import PathLike, atomic_path, suffix_of, write_text


def picture_format(path: PathLike, *more: str) -> Literal["svg", "png", "pdf"] | None:
    """Return the picture format that a suffix names; None for one of the other suffixes that are allowed.

    Args:
        path: the output.
        *more: other suffixes that are allowed here, such as `.html`.

    Raises:
        UsageError: another suffix, or none.
    """
    known = {**dict.fromkeys(more), **PICTURES}
    if suffix_of(path) in known:
        return known[suffix_of(path)]
    wrong = suffix_of(path) or "a file without a suffix"
    raise UsageError(f"{path}: a picture cannot be written as {wrong}", fix=f"use a suffix of {', '.join(known)}")


def figure_as_svg(figure: Any) -> str:
    """Return a matplotlib figure as the text of an SVG file, its letters as text."""
    import matplotlib

    stream = io.BytesIO()
    # No date, and ids that do not change from run to run.
    style: Any = {"svg.hashsalt": "phylocli", "svg.fonttype": "none"}
    with matplotlib.rc_context(style):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    # A hundredth of a point is finer than a screen, and saves two thirds of the bytes. Text between tags is kept: 0.125.
    return re.sub("<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), stream.getvalue().decode())


def save_figure(figure: Any, path: PathLike, *, dpi: int = 150) -> None:
    """Write a matplotlib figure in the format of its suffix, atomically.

    Raises:
        UsageError: a suffix that names no picture format.
    """
    format = picture_format(path)
    if format == "svg":
        write_text(path, figure_as_svg(figure))
        return
    with atomic_path(path) as part:
        figure.savefig(part, format=format, dpi=dpi, metadata={"CreationDate": None} if format == "pdf" else None)
