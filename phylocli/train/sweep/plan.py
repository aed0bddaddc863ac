"""The runs of a sweep: every combination of recipes, settings and seeds, each with a unique name."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from phylocli.config.assignments import parse_value, split_assignment
from phylocli.config.types import Bands
from phylocli.core.errors import UsageError

_LONGEST = 120  # characters of a folder's name


@dataclass(frozen=True)
class Variation:
    """What is varied, and how.

    Attributes:
        name: of the column in the table: a setting, or `band`.
        values: one value per variant.
        settings: of each variant, by dotted names.
    """

    name: str
    values: tuple[Any, ...]
    settings: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Planned:
    """One run of a sweep.

    Attributes:
        name: of its folder; derived from recipe, settings and seed, so that it is unchanged when a sweep is extended.
        recipe: name or path.
        varied: the value of each variation, by name.
        settings: those that vary, by dotted names.
        seed: of the run.
    """

    name: str
    recipe: str
    varied: dict[str, Any]
    settings: dict[str, Any]
    seed: int

    @property
    def setting(self) -> str:
        """The run in words, without its seed."""
        return ", ".join([self.recipe, *(f"{key.rsplit('.', 1)[-1]} {value}" for key, value in self.varied.items())])


def vary(text: str) -> Variation:
    """Return the variation that `key=a,b,c` names; quote or bracket a value that contains a comma.

    The key is a training option, with or without `train.` before it.

    Raises:
        UsageError: no `=`, no value, or the same value twice.
    """
    key, rest = split_assignment(text, "--vary")
    key = key.removeprefix("train.")
    values = tuple(parse_value(part) for part in _parts(rest))
    return _checked(Variation(key, values, tuple({key: value} for value in values)), text)


def band_variation(bands: Bands, source: str = "phylogenetic") -> Variation:
    """Return the variation over bands of patristic distance from which pairs are sampled.

    Args:
        bands: lower and upper ends, substitutions per site.
        source: the view with the parameters `min_dist` and `max_dist`.

    Raises:
        UsageError: a band given twice.
    """
    names = tuple(f"{low:g}:{high:g}" for low, high in bands)
    settings = tuple({f"view.{source}.min_dist": low, f"view.{source}.max_dist": high} for low, high in bands)
    return _checked(Variation("band", names, settings), ",".join(names))


def _parts(text: str) -> Iterator[str]:
    """Yield the parts between commas that are neither in brackets nor in quotes."""
    depth, quote, start = 0, "", 0
    for at, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        elif letter == "," and depth == 0:
            yield text[start:at].strip()
            start = at + 1
    yield text[start:].strip()


def _checked(variation: Variation, text: str) -> Variation:
    shown = list(map(str, variation.values))
    if "" in shown or len(set(shown)) < len(shown):
        raise UsageError(f"{text!r} names {'no value' if '' in shown else 'a value twice'}", fix="write key=a,b,c")
    return variation


def plan(
    recipes: Sequence[str], variations: Sequence[Variation], seeds: Sequence[int], fixed: Collection[str] = ()
) -> list[Planned]:
    """Return the runs of a sweep: all combinations, seeds innermost.

    Args:
        recipes: names or paths.
        variations: the varied settings.
        seeds: of each combination.
        fixed: dotted names of the options of all runs, none of which can be varied.

    Raises:
        UsageError: a recipe, seed or variation twice, or none of them.
    """
    names = [variation.name for variation in variations]
    for what, given in (("recipe", recipes), ("seed", seeds), ("option", [*names, *fixed] if names else ["-"])):
        if not given:
            raise UsageError(f"no {what} is given", fix="name at least one")
        twice = [value for value, count in Counter(given).items() if count > 1]
        if twice:
            raise UsageError(f"the {what} {twice[0]} is given twice", fix="name each once")
    runs = []
    places = [range(len(variation.values)) for variation in variations]
    for recipe, chosen, seed in itertools.product(recipes, itertools.product(*places), seeds):
        picked = list(zip(variations, chosen, strict=True))
        varied = {variation.name: variation.values[k] for variation, k in picked}
        changes = {key: value for variation, k in picked for key, value in variation.settings[k].items()}
        runs.append(Planned(_name(recipe, varied, seed), recipe, varied, changes, seed))
    return runs


def _name(recipe: str, varied: dict[str, Any], seed: int) -> str:
    whole = ",".join([recipe, *(f"{key}={value}" for key, value in varied.items()), f"seed={seed}"])
    name = re.sub(r"[^A-Za-z0-9._=,-]+", "_", whole).lstrip(".")
    if name == whole and len(name) <= _LONGEST:
        return name
    # Two names that differ must not become one.
    return f"{name[: _LONGEST - 9]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
