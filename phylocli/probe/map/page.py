"""The HTML page of a map: points as compact arrays, drawn on a canvas by an embedded script."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from phylocli.probe.map.labels import PointLabels

PACKAGE = "phylocli.probe.map"

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CLASS_COLOURS = (
    *("#1f77b4", "#e6842a", "#2e9e4f", "#cf3d3e", "#8d69b8", "#8c5a4c", "#dd7bbd", "#6d7a28", "#12a5b8", "#c9a516"),
    *("#3f3fbf", "#b04a00", "#0b6b4f", "#ff6f69", "#5b2a86", "#c98f5a", "#a3195b", "#9bbf30", "#5aa9e6", "#7a6a00"),
)
"""Colours of the largest classes on a light background; the others are grey until they are selected."""


def packed(values: np.ndarray, kind: str) -> str:
    """Encode an array in base64 as little-endian numbers, for a JavaScript typed array."""
    return base64.b64encode(np.ascontiguousarray(values).astype(np.dtype(kind).newbyteorder("<")).tobytes()).decode()


def asset(*names: str, package: str = PACKAGE) -> tuple[Markup, str]:
    """Return the concatenated content of assets, and its hash in the format of a Content-Security-Policy."""
    text = "".join(files(package).joinpath(name).read_text(encoding="utf-8") for name in names)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(text), f"sha256-{digest}"


def render(package: str, template: str, **values: Any) -> str:
    """Fill in a template of a package; texts are escaped, and a name without a value is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package, "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).render(**values)


def inert_json(value: Any) -> Markup:
    """Encode a value as JSON with escaped HTML characters, so that it cannot end the script element that contains it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)


@dataclass(frozen=True)
class MapPage:
    """The content of a map.

    Attributes:
        title: title of the page.
        source: name of the table's file.
        dimension: number of features of an embedding.
        total: number of embeddings in the table, of which `ids` are drawn.
        method: description of the projection.
        seed: random seed of the projection and the random subset.
        column: label column that colours the points; None without labels.
        ids: id of each point, (n,).
        points: coordinates in [0, 1], (n, 2).
        names: class names, the largest class first.
        codes: class of each point, (n,), −1 if it has none; None for a quantity.
        details: further labels of each point, (n,), one per line; may be empty.
        values: quantity of each point, (n,), NaN where unknown; None for classes.
    """

    title: str
    source: str
    dimension: int
    total: int
    method: str
    seed: int
    column: str | None
    ids: list[str]
    points: FloatArray
    names: list[str]
    codes: IntArray | None
    values: FloatArray | None
    details: list[str]

    @property
    def caption(self) -> str:
        """The line below the title."""
        of = f" of {self.total:,}" if self.total > len(self.ids) else ""
        return (
            f"{len(self.ids):,}{of} embeddings, {self.dimension} dimensions, {self.source}. {self.method}; seed {self.seed}."
            " For orientation only: distances between distant points are not meaningful."
        )

    def more(self) -> dict[str, Any]:
        """Return further data for the script."""
        return {}

    @classmethod
    def of(cls, ids: list[str], points: FloatArray, labels: PointLabels | None, **about: Any) -> Self:
        """Make the page of some points.

        Args:
            ids: id of each point, (n,).
            points: coordinates in [0, 1], (n, 2).
            labels: labels of the points; None without labels.
            **about: the other attributes.
        """
        names, codes = _classes(labels.texts) if labels is not None and labels.texts is not None else ([], None)
        return cls(
            ids=ids,
            points=points,
            column=labels.name if labels else None,
            names=names,
            codes=codes,
            values=labels.values if labels else None,
            details=labels.lines() if labels else [""] * len(ids),
            **about,
        )


def render_map(page: MapPage, *, embedded: bool = False) -> str:
    """Return the map as a self-contained HTML document.

    The document loads nothing. Its Content-Security-Policy allows only the embedded style sheet and script, by hash. Ids and
    labels are stored in a JSON block and inserted into the page as text only.

    Args:
        page: the content of the map.
        embedded: whether the map is part of another page, and has no heading and search box.
    """
    data: dict[str, Any] = {
        "ids": page.ids,
        "points": packed(np.round(page.points * 65_535), "u2"),
        "column": page.column,
        "colours": CLASS_COLOURS,
        **page.more(),
    }
    if any(page.details):
        known = {text: place for place, text in enumerate(dict.fromkeys(page.details))}
        data |= {"details": list(known), "detail": packed(np.array([known[text] for text in page.details]), "i4")}
    if page.codes is not None:
        data |= {"names": page.names, "codes": packed(page.codes, "i4")}
    if page.values is not None:
        finite = page.values[np.isfinite(page.values)]
        order = np.searchsorted(np.sort(finite), page.values, side="left") / max(1, len(finite) - 1)
        data |= {
            "values": packed(page.values, "f4"),
            "ranks": packed(np.where(np.isfinite(page.values), np.minimum(order, 1), -1), "f4"),
            "range": [float(finite.min()), float(finite.max())] if len(finite) else [0.0, 0.0],
        }
    (style, style_hash), (script, script_hash) = asset("theme.css", "map.css"), asset("map.js")
    return render(
        PACKAGE,
        "map.html.j2",
        page=page,
        embedded=embedded,
        data=inert_json(data),
        style=style,
        style_hash=style_hash,
        script=script,
        script_hash=script_hash,
    )


def _classes(values: list[str | None]) -> tuple[list[str], IntArray]:
    """Return class names, the largest first, and the code of each item, −1 without one."""
    counts = Counter(value for value in values if value is not None)
    names = [name for name, _ in sorted(counts.items(), key=lambda row: (-row[1], row[0]))]
    code = {name: place for place, name in enumerate(names)}
    return names, np.array([-1 if value is None else code[value] for value in values], dtype=np.int64)
