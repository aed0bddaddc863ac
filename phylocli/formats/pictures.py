"""Pictures by matplotlib as SVG: the same data give the same bytes."""

from __future__ import annotations

import io
import re
from typing import Any


def figure_as_svg(figure: Any) -> str:
    """Return a matplotlib figure as the text of an SVG file, its letters as text."""
    import matplotlib

    stream = io.BytesIO()
    # No date, and ids that do not change from run to run.
    style: Any = {"svg.hashsalt": "phylocli", "svg.fonttype": "none"}
    with matplotlib.rc_context(style):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    # A hundredth of a point is more than a screen shows, and a third of the bytes. What stands between tags is text: 0.125.
    return re.sub("<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), stream.getvalue().decode())
