"""Failed families of a stage, collected while the others continue and reported at the end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from phylocli.core.errors import BadInputError, PhylocliError
from phylocli.formats.family import Family

logger = logging.getLogger(__name__)

_LISTED = 50


@dataclass
class Failure:
    """A family that failed, and its error."""

    family: str
    error: PhylocliError


@dataclass
class Failures:
    """Collects failed families, so that a failure does not stop the others.

    Attributes:
        outcome: predicate of the summary, such as `got no tree` or `were not imported`.
        items: the failures, in input order.
        done: number of families that succeeded.
    """

    outcome: str = "failed"
    items: list[Failure] = field(default_factory=list)
    done: int = 0

    def add(self, family: str, error: PhylocliError) -> None:
        """Add a failure; it is logged immediately at debug level."""
        self.items.append(Failure(family, error))
        logger.debug(f"{family}: {error.what}")

    def unless_all(self, families: Iterator[Family]) -> Iterator[Family]:
        """Yield the families, and raise an error at the end if none succeeded, so that no output is written."""
        yield from families
        if not self.done:
            self.raise_if_any()

    def raise_if_any(self) -> None:
        """Log the failures and raise an error if there are any.

        Raises:
            PhylocliError: the error of a single family, otherwise a summary; a `BadInputError` if all failures are.
        """
        if not self.items:
            return
        if len(self.items) == 1 and not self.done:
            raise self.items[0].error
        for item in self.items[:_LISTED]:
            what, why = item.error.what, item.error.why
            logger.warning((what if item.family in what else f"{item.family}: {what}") + (f" ({why})" if why else ""))
        if len(self.items) > _LISTED:
            logger.warning(f"… and {len(self.items) - _LISTED} more")
        kind = BadInputError if all(isinstance(item.error, BadInputError) for item in self.items) else PhylocliError
        total = self.done + len(self.items)
        raise kind(f"{len(self.items)} of {total} families {self.outcome}; {self.done} written")
