"""Pieces of work and what an engine does with them."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from phylocli.core.errors import MissingDependencyError, PhylocliError

Argument = TypeVar("Argument")
Result = TypeVar("Result")

STRIKES = 3
"""Number of workers that a piece may end before it is given up."""

TOPIC = "phylocli"
"""Topic of the events that Dask workers send to the client."""


@dataclass(frozen=True)
class Work(Generic[Argument, Result]):
    """What to do with each piece.

    Attributes:
        function: a module-level function, or a `functools.partial` of one; sent to every worker once. A `PhylocliError` that
            it raises is the result of that piece.
        prepare: called once in every worker before its first piece. Its error ends the run; on a cluster, it excludes the
            worker.
        grace: seconds between SIGTERM and SIGKILL for workers that are stopped; None waits for as long as it takes.
        level: from which on worker processes print messages; None: as this one.
        unit: what a piece is, for messages: `families`.
        fix: advice for a piece that ended its workers.
    """

    function: Callable[[Argument], Result]
    prepare: Callable[[], object] | None = None
    grace: float | None = 5.0
    level: int | None = None
    unit: str = "families"
    fix: str = "use fewer --jobs, or workers with more memory"


@dataclass
class Piece:
    """One piece, on its way.

    Attributes:
        index: its place in the input.
        label: its name in messages.
        argument: pickled.
        strikes: number of workers that died while they computed it.
    """

    index: int
    label: str
    argument: bytes
    strikes: int = 0


@dataclass
class Done:
    """A bundle that was computed: for each piece the pickled result, or the error that is its result; and the duration."""

    results: list[bytes | PhylocliError]
    seconds: float


@dataclass
class Died:
    """A bundle whose worker died.

    Attributes:
        strikes: number of deaths that its pieces are to be charged with; 0 if the worker had not started them.
    """

    strikes: int = 1


class Engine(Protocol):
    """Runs bundles of pieces."""

    def __enter__(self) -> Engine:
        """Start."""

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """End the workers, or give them back; after an error at once."""

    @property
    def workers(self) -> int:
        """Number of workers at present."""

    @property
    def capacity(self) -> int:
        """Number of bundles that may be under way at a time."""

    @property
    def dashboard(self) -> str:
        """Address of a page about the workers, or nothing."""

    def start(self, ticket: int, bundle: list[Piece]) -> None:
        """Start a bundle."""

    def finished(self, *, wait: bool = True) -> list[tuple[int, Done | Died]]:
        """Return the bundles that have ended since the last call; `wait` until there is one."""


def perform(function: Callable[[Any], Any], arguments: list[bytes]) -> Done:
    """Compute the pieces of a bundle, in a worker."""
    start = time.perf_counter()
    results: list[bytes | PhylocliError] = []
    for argument in arguments:
        try:
            results.append(pickle.dumps(function(pickle.loads(argument)), protocol=5))  # noqa: S301  from the command that this worker serves
        except MissingDependencyError:
            raise
        except PhylocliError as error:
            results.append(error)
    return Done(results, time.perf_counter() - start)
