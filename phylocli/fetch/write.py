"""What was fetched, to a file or a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from phylocli import console
from phylocli.errors import BadInputError, ServiceError
from phylocli.formats import write_families
from phylocli.formats.family import Family
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import PathLike


def write_fetched(families: Iterable[Family], output: PathLike | None, parameters: dict[str, object]) -> int:
    """Write families as they come and return how many; the failure of some does not lose the others.

    Args:
        families: an iterator that may end in a `ServiceError` or `BadInputError`, as `fetch_families` gives.
        output: a path, or `-` for standard output; None is standard output too, unless that is a terminal: nobody wants to
            see alignments scroll by, and the store has them.
        parameters: for the provenance.

    Raises:
        ServiceError, BadInputError: what the iterator ended with, after everything before it has been written.
    """
    failure: list[ServiceError | BadInputError] = []
    count = 0

    def others() -> Iterator[Family]:
        nonlocal count
        try:
            for family in families:
                count += 1
                yield family
        except (ServiceError, BadInputError) as error:
            failure.append(error)

    source = others()
    if output is None and sys.stdout.isatty():
        for _ in source:
            pass
    else:
        first = next(source, None)
        if first is not None:  # an output without a family in it would only mislead the next stage

            def all_of_them() -> Iterator[Family]:
                yield first
                yield from source

            write_families(all_of_them(), output)
            write_sidecar(output, "fetch", parameters)
    console.info(f"{count} famil{'y' if count == 1 else 'ies'}")
    if failure:
        raise failure[0]
    return count
