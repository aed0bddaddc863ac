"""Small self-contained HTML pages around a figure, without scripts and external resources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup, escape


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markup:
    """Return an HTML table with escaped cells."""

    def line(cells: Iterable[Any], kind: str) -> Markup:
        return Markup("<tr>{}</tr>").format(Markup("").join(Markup(f"<{kind}>{{}}</{kind}>").format(cell) for cell in cells))

    body = Markup("").join(line(cells, "td") for cells in rows)
    return Markup("<table><thead>{}</thead><tbody>{}</tbody></table>").format(line(head, "th"), body)


def page(title: str, body: str, *, width: int = 60) -> str:
    """Return an HTML document.

    Args:
        title: title of the window.
        body: HTML of the body, in which text from the data is already escaped.
        width: maximum width in rem.
    """
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:{width}rem;margin:2rem auto;padding:0 1rem;
color:#222;background:#fff}}
svg{{max-width:100%;height:auto}}table{{border-collapse:collapse;font-size:13px}}td,th{{padding:.2rem .8rem .2rem 0;
text-align:left;border-bottom:1px solid #ddd}}</style></head><body>
{body}
</body></html>
"""
