"""Output of matplotlib figures as SVG, PNG and PDF, reproducible to the byte."""

from __future__ import annotations

import io
import re
from typing import Any, Literal

from phylocli.core.errors import UsageError
from phylocli.formats.output_formats import PICTURES
from phylocli.formats.streams import PathLike, atomic_path, suffix_of, write_text


def picture_format(path: PathLike, *more: str) -> Literal["svg", "png", "pdf"] | None:
    """Return the picture format for a suffix; None for one of the other allowed suffixes.

    Args:
        path: path of the output.
        *more: other allowed suffixes, such as `.html`.

    Raises:
        UsageError: the suffix is missing or not allowed.
    """
    known = {**dict.fromkeys(more), **PICTURES}
    if suffix_of(path) in known:
        return known[suffix_of(path)]
    wrong = suffix_of(path) or "a file without a suffix"
    raise UsageError(f"{path}: a picture cannot be written as {wrong}", fix=f"use a suffix of {', '.join(known)}")


def figure_as_svg(figure: Any) -> str:
    """Return a matplotlib figure as SVG, with text as text instead of paths."""
    import matplotlib

    stream = io.BytesIO()
    # Omit the date and use fixed ids, so that the output is reproducible.
    style: Any = {"svg.hashsalt": "phylocli", "svg.fonttype": "none"}
    with matplotlib.rc_context(style):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    # Round coordinates in tags (not text between tags) to a hundredth of a point, which saves two thirds of the size.
    return re.sub("<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), stream.getvalue().decode())


def save_figure(figure: Any, path: PathLike, *, dpi: int = 150) -> None:
    """Write a matplotlib figure atomically, in the format of the suffix.

    Raises:
        UsageError: the suffix is not that of a picture format.
    """
    format = picture_format(path)
    if format == "svg":
        write_text(path, figure_as_svg(figure))
        return
    with atomic_path(path) as part:
        figure.savefig(part, format=format, dpi=dpi, metadata={"CreationDate": None} if format == "pdf" else None)
