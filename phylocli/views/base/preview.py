"""Preview of views: a few pairs from a composition, as a table."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from phylocli.config.assignments import parse_assignment
from phylocli.core.alphabet import ALPHABETS, decode_tokens
from phylocli.core.errors import PhylocliError, UsageError
from phylocli.core.plugins import VIEWS
from phylocli.formats.family import Family
from phylocli.pairs import EmptyBandError
from phylocli.statistics import identity

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from phylocli.views import Composed

logger = logging.getLogger(__name__)


def views_schema() -> pa.Schema:
    """Sampled views: one row per pair; `distance` in expected substitutions per site, `identity` of a global alignment."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    fields = [("family", text), ("view", text), ("distance", number), ("identity", number)]
    return pa.schema([*fields, ("view_a", text), ("view_b", text)])


def draw_views(families: Iterable[Family], composed: Composed, n: int, seed: int) -> Iterator[pl.DataFrame]:
    """Sample n pairs of views of each family.

    Args:
        families: with the data that the composition's source needs.
        composed: the views.
        n: number of pairs per family.
        seed: same families and seed, same pairs.

    Yields:
        Tables of `views_schema()`, one per family; families without a pair in the band are skipped and named on stderr.

    Raises:
        UsageError: n is below 1.
        EmptyBandError: no family has a pair.
        BadInputError: a family lacks what the view needs.
    """
    import polars as pl

    if n < 1:
        raise UsageError(f"cannot sample {n} pairs", fix="give -n a number of at least 1")
    rng = np.random.default_rng(seed)
    last: PhylocliError | None = None
    drawn = 0
    for family in families:
        try:
            prepared = composed.prepare(family)
        except EmptyBandError as error:
            logger.info(f"skipping {error.what}")
            last = error
            continue
        a, b, distance = prepared.draw(n, rng)
        first, second = ([decode_tokens(tokens, composed.alphabet) for tokens in side] for side in (a, b))
        drawn += n
        yield pl.DataFrame(
            {
                "family": pl.repeat(family.label, n, dtype=pl.String, eager=True),
                "view": pl.repeat(composed.spec, n, dtype=pl.String, eager=True),
                "distance": distance,
                "identity": [identity(x, y, composed.alphabet) for x, y in zip(first, second, strict=True)],
                "view_a": first,
                "view_b": second,
            }
        )
    if drawn == 0 and last is not None:
        raise last


def parse_settings(settings: Iterable[str], spec: str) -> dict[str, dict[str, object]]:
    """Return parameters by view from texts such as `crop.min_fraction=0.3`, or `min_fraction=0.3` if there is one view.

    Raises:
        UsageError: a text is not an assignment.
    """
    names = [name.strip().replace("_", "-") for name in spec.split("+")]
    found: dict[str, dict[str, object]] = {}
    for setting in settings:
        key, value = parse_assignment(setting)
        view, dot, parameter = key.removeprefix("view.").partition(".")
        if not dot and len(names) == 1:
            view, parameter = names[0], key
        if not parameter:
            raise UsageError(f"{setting!r} names no view", fix=f"write it as {names[0]}.PARAMETER=VALUE")
        found.setdefault(view, {})[parameter] = value
    return found


def listing() -> list[str]:
    """Return one line per view: name, kind, parameters with defaults, distance, alphabets, and summary."""
    import inspect

    lines = []
    for name in VIEWS.names():
        parameters = inspect.signature(VIEWS.load(name).make).parameters.values()
        shown = ", ".join(f"{p.name}={p.default}" for p in parameters)
        module = VIEWS.load(name)
        alphabets = ", ".join(getattr(module, "ALPHABETS", ALPHABETS))
        lines.append("\t".join([name, module.KIND, shown, module.DISTANCE, alphabets, VIEWS.summary(name)]))
    return lines
