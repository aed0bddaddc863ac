"""The runs of a sweep: all combinations of recipes, settings and seeds, each with a unique name."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from phylocli.config.assignments import parse_value, split_assignment
from phylocli.config.types import Bands
from phylocli.core.errors import UsageError

_LONGEST = 120  # maximum length of a folder name, in characters


@dataclass(frozen=True)
class Variation:
    """A setting that is varied in a sweep, and its values.

    Attributes:
        name: name of the column in the table: a setting, or `band`.
        values: the values.
        settings: the settings of each value, by dotted names.
    """

    name: str
    values: tuple[object, ...]
    settings: tuple[Mapping[str, object], ...]


@dataclass(frozen=True)
class Planned:
    """A run of a sweep.

    Attributes:
        name: name of the run folder, derived from recipe, settings and seed; it does not change when a sweep is extended.
        recipe: name or path of the recipe.
        varied: value of each variation, by name.
        settings: the varied settings, by dotted names.
        seed: seed of the run.
    """

    name: str
    recipe: str
    varied: dict[str, object]
    settings: dict[str, object]
    seed: int

    @property
    def setting(self) -> str:
        """Description of recipe and varied settings, without the seed."""
        return ", ".join([self.recipe, *(f"{key.rsplit('.', 1)[-1]} {value}" for key, value in self.varied.items())])


def vary(text: str) -> Variation:
    """Parse a variation, `key=a,b,c`; values that contain commas must be in quotes or brackets.

    The key is the dotted name of a training option, with or without the prefix `train.`.

    Raises:
        UsageError: the text has no `=` or no value, or the same value twice.
    """
    key, rest = split_assignment(text, "--vary")
    key = key.removeprefix("train.")
    values = tuple(parse_value(part) for part in _parts(rest))
    return _checked(Variation(key, values, tuple({key: value} for value in values)), text)


def band_variation(bands: Bands, source: str = "phylogenetic") -> Variation:
    """Return the variation over bands of patristic distance from which pairs are sampled.

    Args:
        bands: lower and upper ends of the bands, in substitutions per site.
        source: name of the view that has the parameters `min_dist` and `max_dist`.

    Raises:
        UsageError: a band is given twice.
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
        problem = "an empty value" if "" in shown else "a duplicate value"
        raise UsageError(f"{text!r} contains {problem}", fix="write key=a,b,c")
    return variation


def plan(
    recipes: Sequence[str], variations: Sequence[Variation], seeds: Sequence[int], fixed: Collection[str] = ()
) -> list[Planned]:
    """Return the runs of a sweep: all combinations, with seeds varying fastest.

    Args:
        recipes: names or paths of recipes.
        variations: the varied settings.
        seeds: the seeds of each combination.
        fixed: dotted names of the options set for all runs, which cannot be varied.

    Raises:
        UsageError: a recipe, seed or setting is given twice, or there is no recipe or no seed.
    """
    names = [variation.name for variation in variations]
    for what, given in (("recipe", recipes), ("seed", seeds), ("option", [*names, *fixed] if names else ["-"])):
        if not given:
            raise UsageError(f"no {what} is given", fix="give at least one")
        twice = [value for value, count in Counter(given).items() if count > 1]
        if twice:
            raise UsageError(f"the {what} {twice[0]} is given twice", fix="give each once")
    runs = []
    places = [range(len(variation.values)) for variation in variations]
    for recipe, chosen, seed in itertools.product(recipes, itertools.product(*places), seeds):
        picked = list(zip(variations, chosen, strict=True))
        varied = {variation.name: variation.values[k] for variation, k in picked}
        changes = {key: value for variation, k in picked for key, value in variation.settings[k].items()}
        runs.append(Planned(_name(recipe, varied, seed), recipe, varied, changes, seed))
    return runs


def _name(recipe: str, varied: dict[str, object], seed: int) -> str:
    whole = ",".join([recipe, *(f"{key}={value}" for key, value in varied.items()), f"seed={seed}"])
    name = re.sub(r"[^A-Za-z0-9._=,-]+", "_", whole).lstrip(".")
    if name == whole and len(name) <= _LONGEST:
        return name
    # Different runs must have different names, even after truncation and replacement of characters.
    return f"{name[: _LONGEST - 9]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
