"""The family index: which families a view can sample from, computed once and stored next to the compiled arrays."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli import __version__
from phylocli.core.errors import BadInputError
from phylocli.formats.streams import atomic_path
from phylocli.pairs import PARTS, EmptyBandError, Split
from phylocli.train.data.compiled import Compiled
from phylocli.views import Composed

FEW, EMPTY, UNUSABLE = "few", "empty", "unusable"
TRAIN, VALIDATION, TEST = range(len(PARTS))


@dataclass(frozen=True)
class SamplingSettings:
    """The view and the hold-out settings, which with a compiled data set determine all results of `PreparedFamilies`.

    Attributes:
        view: the composition of views.
        parameters: parameters of the views, by view name.
        fraction: fraction of each family's members to hold out.
        seed: random seed of the choice of held-out members.
        split: a given split; None chooses held-out members by `fraction` and `seed`.
    """

    view: Composed
    parameters: dict[str, Any]
    fraction: float
    seed: int
    split: Split | None = None

    def key(self) -> str:
        """Return a hash of all attributes and the version of phylocli."""
        decided = [self.fraction, self.seed] if self.split is None else [self.split.digest()]
        facts = [__version__, self.view.spec, self.parameters, *decided]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def band(self) -> tuple[float, float]:
        """The distance band of the view, in substitutions per site, which selects rows of a pairs table."""
        band = self.parameters.get(self.view.spec.split("+")[0], {})
        return float(band.get("min_dist", 0.0)), float(band.get("max_dist", np.inf))


@dataclass
class FamilyIndex:
    """The families that a view can sample from, and the split of their members.

    Attributes:
        sizes: number of training members of each family, (families,); 0 if the family is unusable.
        parts: index in `PARTS` of each member of the data set, (members,), ordered by family.
        validates: whether pairs can be sampled from the validation part of each family, (families,).
        reasons: kind of reason and error for each unusable family, by index.
    """

    sizes: npt.NDArray[np.int64]
    parts: npt.NDArray[np.uint8]
    validates: npt.NDArray[np.bool_]
    reasons: dict[int, tuple[str, BadInputError]]


def write_family_index(path: Path, family_index: FamilyIndex) -> None:
    """Write a family index atomically."""
    reasons = {str(k): [kind, error.what, error.why, error.fix] for k, (kind, error) in family_index.reasons.items()}
    text = np.frombuffer(json.dumps(reasons).encode(), dtype=np.uint8)
    with atomic_path(path, wait=True) as part, part.open("wb") as file:
        np.savez_compressed(
            file, sizes=family_index.sizes, parts=family_index.parts, validates=family_index.validates, reasons=text
        )


def read_family_index(path: Path, compiled: Compiled) -> FamilyIndex | None:
    """Read the family index of a data set; None if the file is missing, damaged, or belongs to another data set."""
    try:
        with np.load(path, allow_pickle=False) as found:
            sizes, parts, validates = found["sizes"], found["parts"], found["validates"]
            reasons = json.loads(found["reasons"].tobytes())
    except Exception:  # noqa: BLE001  zipfile raises many types of errors for damaged files; the index is then recomputed
        return None
    if len(sizes) != compiled.families or len(parts) != int(compiled.sizes.sum()):
        return None
    classes = {EMPTY: EmptyBandError}
    known = {int(k): (kind, classes.get(kind, BadInputError)(*rest)) for k, (kind, *rest) in reasons.items()}
    return FamilyIndex(sizes, parts, validates, known)
