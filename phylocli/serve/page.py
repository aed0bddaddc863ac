"""The page: one HTML document with its style and script, which loads nothing from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from phylocli.formats.embeddings import EmbeddingTable
from phylocli.probe.map.page import asset, inert_json, render
from phylocli.serve.proteins import Proteins
from phylocli.serve.requests import MOST_HITS
from phylocli.serve.service import TRANSLATE

PACKAGE = "phylocli.serve"


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        html: the document.
        policy: its Content-Security-Policy: its own style and script by their hashes, requests to its server, its map.
    """

    html: str
    policy: str


def render_page(title: str, table: EmbeddingTable, proteins: Proteins) -> Page:
    """Return the page of a table; names from outside are escaped, or data of a JSON block."""
    style, style_hash = asset("theme.css")
    own, own_hash = asset("page.css", package=PACKAGE)
    script, script_hash = asset("page.js", package=PACKAGE)
    data: dict[str, Any] = {
        "columns": [name for name in proteins.about.columns if name != "id"],
        "aligns": bool(proteins.sequences),
        "example": table.ids[0],
    }
    html = render(
        PACKAGE,
        "page.html.j2",
        title=title,
        source=table.name,
        count=len(table),
        dimension=table.dimension,
        sequences=len(proteins.sequences),
        most=MOST_HITS,
        translate=TRANSLATE,
        data=inert_json(data),
        styles=[style, own],
        script=script,
    )
    policy = (
        f"default-src 'none'; style-src '{style_hash}' '{own_hash}'; script-src '{script_hash}'; connect-src 'self'; "
        "frame-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html, policy)
