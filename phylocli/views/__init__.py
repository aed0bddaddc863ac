"""Views: how positive pairs are made. One file per view; views compose, as in `phylogenetic+crop`.

A source makes pairs from a family; a transform alters each sequence of a pair independently; an addition makes one more view
from the second sequence of the pair. A composition has at most one source, in first place; the default source is `identity`,
the same sequence twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import ALPHABETS, check_alphabet
from phylocli.core.errors import UsageError
from phylocli.core.plugins import VIEWS
from phylocli.formats.family import Family
from phylocli.formats.nucleotides import SAY_DNA, NucleotideCheck
from phylocli.views.base.contracts import Pairs, Prepared, Source, Tokens, Transform, draw_all

__all__ = ["Composed", "Pairs", "Prepared", "Source", "Tokens", "Transform", "build", "draw_all"]


class _ComposedPrepared:
    def __init__(self, source: Prepared, view: Composed) -> None:
        self.source, self.view = source, view
        self._added = float(sum(t.expected_distance for t in view.transforms))

    def draw(self, n: int, rng: np.random.Generator) -> Pairs:
        a, b, distance = self.source.draw(n, rng)
        a, b = self.view.transformed([a, b], rng)
        return a, b, distance + self._added

    def draw_all(self, n: int, rng: np.random.Generator) -> tuple[list[list[Tokens]], npt.NDArray[np.float64]]:
        views, distance = draw_all(self.source, n, rng)
        views = self.view.transformed(views, rng)
        added = [[addition(tokens, rng) for tokens in views[1]] for addition in self.view.additions]
        return views + added, distance + self._added


class Composed:
    """A source with transforms and additions; itself a source.

    The distance of a pair is that of the source plus the expected distances of the transforms. Additions are applied after
    all transforms, and only if all views are requested (`draw_all`).

    Attributes:
        spec: the composition as text, for example `phylogenetic+crop`.
        source, transforms, additions: its parts.
        alphabet: the alphabet of families, `protein` or `dna`.
    """

    def __init__(
        self,
        spec: str,
        source: Source,
        transforms: list[Transform],
        additions: list[Transform] | None = None,
        alphabet: str = "protein",
    ) -> None:
        self.spec, self.source, self.transforms, self.additions = spec, source, transforms, additions or []
        self.alphabet = alphabet
        self._nucleotides = NucleotideCheck(alphabet, SAY_DNA)

    def prepare(self, family: Family) -> Prepared:
        """Return the prepared family; see `Source.prepare`."""
        if family.looks_like_nucleotides():
            self._nucleotides.warn(family.label)
        read = family if family.alphabet == self.alphabet else replace(family, alphabet=self.alphabet)
        prepared = self.source.prepare(read)
        return _ComposedPrepared(prepared, self) if self.transforms or self.additions else prepared

    def transformed(self, views: list[list[Tokens]], rng: np.random.Generator) -> list[list[Tokens]]:
        """Return views with all transforms applied independently to every sequence."""
        for transform in self.transforms:
            views = [[transform(tokens, rng) for tokens in view] for view in views]
        return views


def build(spec: str, parameters: Mapping[str, Mapping[str, Any]] | None = None, alphabet: str = "protein") -> Composed:
    """Return the composition of views described by a text such as `phylogenetic+crop`.

    Args:
        spec: names of views, joined by `+`.
        parameters: parameters by view, for example `{"crop": {"min_fraction": 0.3}}`.
        alphabet: `protein` or `dna`.

    Raises:
        UsageError: an unknown view, parameter or alphabet, two sources, parameters for a view that is not in the
            composition, or a view for the other alphabet.
    """
    check_alphabet(alphabet)
    names = [name.strip().replace("_", "-") for name in spec.split("+")]
    given = {name.replace("_", "-"): dict(values) for name, values in (parameters or {}).items()}
    unused = sorted(set(given) - set(names))
    if unused:
        raise UsageError(
            f"parameters are given for the view {unused[0]!r}, which is not part of {spec!r}",
            fix="omit these parameters, or add the view to view.name",
        )
    source: Source | None = None
    transforms: list[Transform] = []
    additions: list[Transform] = []
    for position, name in enumerate(names):
        module = VIEWS.load(name)
        alphabets = getattr(module, "ALPHABETS", ALPHABETS)
        if alphabet not in alphabets:
            raise UsageError(
                f"the view {name!r} is not for the alphabet {alphabet}",
                why=f"it works on {' and '.join(alphabets)}",
                fix="choose another view, or another alphabet",
            )
        made = VIEWS.make(name, module.make, parameters=given.get(name))
        if module.KIND == "transform":
            transforms.append(made)
        elif module.KIND == "addition":
            additions.append(made)
        elif position == 0:
            source = made
        else:
            raise UsageError(
                f"{name!r} makes pairs from a family, so it can only come first in {spec!r}",
                fix=f"write {'+'.join([name, *(n for n in names if n != name)])!r}"
                if source is None
                else "give only one source",
            )
    if source is None:
        source = VIEWS.load("identity").make()
    return Composed("+".join(names), source, transforms, additions, alphabet)
