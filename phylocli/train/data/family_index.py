"""The index of families: which pairs a view can sample from each family; computed once and stored with the arrays."""

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
class Drawing:
    """How families are sampled; together with a compiled data set it determines all results of `Draws`.

    Attributes:
        view: composition of views, as text.
        parameters: of the views, by name.
        fraction: fraction of each family's members that is held out.
        seed: of the choice of held-out members.
        split: a given split; None: choose by fraction and seed.
    """

    view: Composed
    parameters: dict[str, Any]
    fraction: float
    seed: int
    split: Split | None = None

    def key(self) -> str:
        """Return a hash of all of it."""
        decided = [self.fraction, self.seed] if self.split is None else [self.split.digest()]
        facts = [__version__, self.view.spec, self.parameters, *decided]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def band(self) -> tuple[float, float]:
        """The band of distances that selects among the rows of a pairs table."""
        band = self.parameters.get(self.view.spec.split("+")[0], {})
        return float(band.get("min_dist", 0.0)), float(band.get("max_dist", np.inf))


@dataclass
class Survey:
    """Which families a view can sample from.

    Attributes:
        sizes: number of training members, (families,); 0 if the family cannot be used.
        parts: part of each member of the data set, (members,), as its place in `PARTS`; families in their order.
        validates: whether the validation part of each family has pairs, (families,).
        reasons: for an unusable family, the kind of reason and the error.
    """

    sizes: npt.NDArray[np.int64]
    parts: npt.NDArray[np.uint8]
    validates: npt.NDArray[np.bool_]
    reasons: dict[int, tuple[str, BadInputError]]


def write_survey(path: Path, survey: Survey) -> None:
    """Write a survey atomically."""
    reasons = {str(k): [kind, error.what, error.why, error.fix] for k, (kind, error) in survey.reasons.items()}
    text = np.frombuffer(json.dumps(reasons).encode(), dtype=np.uint8)
    with atomic_path(path, wait=True) as part, part.open("wb") as file:
        np.savez_compressed(file, sizes=survey.sizes, parts=survey.parts, validates=survey.validates, reasons=text)


def read_survey(path: Path, compiled: Compiled) -> Survey | None:
    """Return a survey of a data set, None if none can be read."""
    try:
        with np.load(path, allow_pickle=False) as found:
            sizes, parts, validates = found["sizes"], found["parts"], found["validates"]
            reasons = json.loads(found["reasons"].tobytes())
    except Exception:  # noqa: BLE001  what a damaged file makes of zipfile has no end of kinds; a survey can be made again
        return None
    if len(sizes) != compiled.families or len(parts) != int(compiled.sizes.sum()):
        return None
    classes = {EMPTY: EmptyBandError}
    known = {int(k): (kind, classes.get(kind, BadInputError)(*rest)) for k, (kind, *rest) in reasons.items()}
    return Survey(sizes, parts, validates, known)
