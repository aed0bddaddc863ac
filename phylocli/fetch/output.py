"""Output of fetched families to a file or a pipe."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterable, Iterator

from phylocli.core.errors import BadInputError, PhylocliError, ServiceError
from phylocli.core.words import counted
from phylocli.fetch.families import IncompleteError
from phylocli.fetch.release import Release
from phylocli.formats import write_families
from phylocli.formats.family import Family
from phylocli.formats.output_formats import families_format
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import PathLike
from phylocli.store import Store, default_root

logger = logging.getLogger(__name__)


def write_fetched(families: Iterable[Family], output: PathLike | None, parameters: dict[str, object], store: Store) -> int:
    """Write families as they are received; return their number.

    Args:
        families: the families, such as from `fetch_families`, which may raise a `ServiceError`, `BadInputError` or
            `IncompleteError` at its end.
        output: a path, or `-` for standard output. None is standard output, unless that is a terminal; then nothing is
            written, and the log shows the location in the store and the next commands.
        parameters: the parameters for the provenance.
        store: the store of the families.

    Raises:
        ServiceError, BadInputError, IncompleteError: the error of `families`, after all others have been written.
    """
    families_format(output)  # reject an unknown suffix before anything is fetched
    failure: list[PhylocliError] = []
    accessions: list[str] = []

    def others() -> Iterator[Family]:
        try:
            for family in families:
                accessions.append(family.accession or family.name)
                yield family
        except (ServiceError, BadInputError, IncompleteError) as error:
            failure.append(error)

    source = others()
    on_terminal = output is None and sys.stdout.isatty()
    if on_terminal:
        for _ in source:
            pass
    else:
        first = next(source, None)
        if first is not None:  # do not write an empty output

            def all_of_them() -> Iterator[Family]:
                yield first
                yield from source

            write_families(all_of_them(), output)
            write_sidecar(output, "fetch", parameters)
    count = len(accessions)
    if count or not failure:
        logger.info(f"{counted(count, 'family')}")
    if on_terminal and count:
        _say_next(accessions, store)
    if failure:
        raise failure[0]
    return count


def _say_next(accessions: list[str], store: Store) -> None:
    """Log where the families are, and the commands for the next step."""
    several = len(accessions) > 1
    where = store.root / "families" if several else store.family_path(accessions[0])
    of_store = "" if store.root == default_root() else f" --store {shlex.quote(str(store.root))}"
    few = accessions if len(accessions) < 4 else []  # for more, suggest --all
    chosen = "".join(f" --family {accession}" for accession in few) or " --all"
    steps = {
        f"phylocli tree{chosen}{of_store} -o trees.sto": "infer trees" if several else "infer its tree",
        f"phylocli store export{''.join(f' {a}' for a in few)}{of_store} -o families.sto": "write records to a file",
    }
    width = max(map(len, steps))
    logger.info(f"in the store: {where}")
    for place, (command, meaning) in enumerate(steps.items()):
        logger.info(f"{'     ' if place else 'next:'} {command:<{width}}   {meaning}")


def write_release(came: Release, store: Store, output: PathLike | None, parameters: dict[str, object]) -> int:
    """Log the results for a release, and write its families if an output is given; return their number.

    Raises:
        ServiceError: records of the release are damaged; the others are in the store.
        PhylocliError: records could not be read for another reason, such as that their worker died.
    """
    splits = [("alignments", came.alignments), *([("profiles", came.profiles)] if came.profiles else [])]
    for what, split in splits:
        there = len(split.families) - len(split.skipped) - len(split.failed) - split.written
        logger.info(f"Pfam {came.release}: {split.written:,} {what} written, {there:,} already in the store")
    if output is not None:
        without = {*came.alignments.skipped, *came.alignments.failed}
        write_families((store.read(a) for a in came.alignments.families if a not in without), output)
        write_sidecar(output, "fetch", parameters)
    damaged = [f"  {accession:<8} {why}" for _, split in splits for accession, why in split.skipped.items()]
    failed = {accession: error for _, split in splits for accession, error in split.failed.items()}
    parts = [f"{len(damaged)} records of Pfam {came.release} are damaged:", *damaged[:50]] if damaged else []
    if failed:
        parts += [f"{len(failed)} records of Pfam {came.release} could not be read:"]
        parts += [f"  {accession:<8} {error.what}" for accession, error in failed.items()][:50]
    first = next(iter(failed.values()), None)
    if parts:
        raise (ServiceError if damaged else PhylocliError)(
            "\n".join(parts),
            why=first.why if first is not None else None,
            fix="; ".join(filter(None, [first.fix if first is not None else None, "all others are in the store"])),
        )
    return len(came.alignments.families)
