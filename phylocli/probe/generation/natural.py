"""The natural members of families that generated sequences are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from phylocli.config.generate import MIN_BITS
from phylocli.core.errors import BadInputError
from phylocli.core.words import counted
from phylocli.formats import Family
from phylocli.formats.streams import PathLike
from phylocli.generate.scoring import families_by_label, read_profiles
from phylocli.models.model import Model
from phylocli.pairs import Split
from phylocli.probe.generation.sequence_sets import SequenceSet

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NaturalFamilies:
    """Families with training members, held-out members, and models that embed them.

    Attributes:
        training: aligned families of the training members.
        held_out: the other members.
        models: by the name of their level in the report.
        left_out: why other families of the file are not compared, by label.
    """

    training: list[Family]
    held_out: SequenceSet
    models: Mapping[str, Model]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def members(self) -> SequenceSet:
        """The training members as a set."""
        profiles = self.held_out.profiles
        family = np.repeat(np.arange(len(profiles)), [len(profile.members) for profile in profiles])
        return SequenceSet(family, [s.residues for profile in profiles for s in profile.members], profiles)

    @property
    def stated(self) -> int:
        """Number of families whose threshold is not a gathering threshold."""
        return sum(not profile.gathering for profile in self.held_out.profiles)

    @classmethod
    def read(
        cls,
        families: PathLike,
        labels: PathLike | pl.DataFrame,
        models: Mapping[str, Model],
        *,
        hmms: PathLike | None = None,
        min_bits: float = MIN_BITS,
    ) -> Self:
        """Read them.

        Args:
            families: aligned family records.
            labels: a split as of 'phylocli pairs --holdout': family, id, and part, which is `train` for training members.
            models: by name.
            hmms: HMMER3 profiles with gathering thresholds; None, or where it has none, they are built.
            min_bits: threshold of families without a gathering threshold.

        Raises:
            BadInputError: a file cannot be read, a family is not aligned, or no family has members of both kinds.
        """
        split = Split(labels) if isinstance(labels, pl.DataFrame) else Split.read(labels)
        training, letters, sizes = [], [], []
        left_out: dict[str, str] = {}
        for label, family in families_by_label(families).items():
            part = {name: split.part_of(label, name) for name in family.ids}
            known = [name for name in family.ids if part[name] == "train"]
            rest = [s.residues for s in family.sequences() if part[s.id] in ("validation", "test")]
            if len(known) >= 2 and rest:
                training.append(family.subset(known))
                letters += rest
                sizes.append(len(rest))
            else:
                held_out = counted(len(rest), "held-out member")
                left_out[label] = f"has {counted(len(known), 'training member')} (2 are needed) and {held_out} (1 is needed)"
        if not training:
            raise BadInputError(
                f"{families}: no family has two members for training and one that is held out",
                why="the split says which members the model was trained on, and the others are the natural reference",
                fix="give the split of the run (split.parquet), or make one with 'phylocli pairs --holdout clades'",
            )
        profiles = list(read_profiles(training, hmms, min_bits).values())
        others = SequenceSet(np.repeat(np.arange(len(sizes)), sizes), letters, profiles)
        return cls(training, others, models, left_out)
