"""Default engine: the family's profile if there is one or one can be built, else FAMSA de novo."""

from __future__ import annotations

from phylocli.align.engines import famsa, profile
from phylocli.align.settings import Aligned, Settings
from phylocli.core.errors import MissingDependencyError
from phylocli.formats.family import Family


def align(family: Family, settings: Settings) -> Aligned:
    """Return the members' rows, aligned by `profile` or `famsa`.

    Raises:
        BadInputError: files that are not protein HMMs or alignments.
        MissingDependencyError: there is nothing to build a profile from, and pyfamsa is not installed.
    """
    if profile.has_profile(family, settings):
        return profile.align(family, settings)
    try:
        return famsa.align(family, settings)
    except MissingDependencyError as error:
        raise MissingDependencyError(
            f"{family.label} is not aligned and has no profile HMM to align to, and FAMSA is not installed",
            error.why,
            "pip install '.[famsa]', or give --hmm FILE or --seed-alignment FILE",
        ) from error
