"""Input families of a command: a file or pipe, or the store; missing families and trees are computed and stored."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Literal

from phylocli.config.fetch import FetchConfig
from phylocli.config.parallel import ParallelConfig
from phylocli.config.tree import TreeConfig
from phylocli.core.errors import UsageError
from phylocli.formats import read_families
from phylocli.formats.family import Family
from phylocli.formats.sequences.fasta import OnDuplicate
from phylocli.formats.stockholm import OnFailure
from phylocli.formats.streams import PathLike, recording_inputs
from phylocli.formats.streams.recording import InputRecord, record_input
from phylocli.store import Store

logger = logging.getLogger(__name__)

Stage = Literal["fetch", "tree"]

HELD = 256
"""Maximum number of families with a tree in memory while one before them gets its tree; more are read again."""


def families(
    source: PathLike | None,
    *,
    family: Sequence[str] | None = None,
    clan: Sequence[str] | None = None,
    all_: bool = False,
    store: PathLike | None = None,
    upto: Stage = "tree",
    on_duplicate: OnDuplicate = "error",
    on_failure: OnFailure | None = None,
    fetch: FetchConfig | None = None,
    offline: bool = False,
    genetic_code: int | None = None,
    parallel: ParallelConfig | None = None,
) -> Iterator[Family]:
    """Yield families from a file or pipe, or from the store.

    Families that are not in the store are fetched, missing trees are inferred from the fetched alignments, and the results
    are stored. Each such step is logged.

    Args:
        source: a file, or `-`/None for standard input; None if families are selected from the store.
        family: accessions of families.
        clan: accessions of clans; their members are requested from the service, unless all of them are in the store.
        all_: all families of the store.
        store: the folder of the store; None for the default.
        upto: the last required stage: `fetch` (aligned) or `tree`.
        on_duplicate: policy for duplicate ids in `source`.
        on_failure: called with errors for damaged records of `source`; None raises them. See `read_families`.
        fetch: options for families that are fetched; None: from the configuration files and the environment.
        genetic_code: the genetic code for the translation of coding DNA in `source`, see `read_families`.
        offline: raise a `ServiceError` for families that are not in the store, instead of fetching them.
        parallel: where missing trees are inferred; None, or neither `jobs` nor `cluster` set: as the configuration of `tree`
            says.

    Raises:
        UsageError: both a source and families of the store are given, or the call that made `parallel` gave jobs or a
            cluster, but no trees are inferred.
    """
    if not (family or clan or all_):
        if parallel is not None:
            parallel.undivided(
                UsageError(
                    "--jobs and --cluster infer the missing trees of families in the store",
                    fix="select families by --all, --clan or --family, or leave out --jobs and --cluster",
                )
            )
        yield from read_families(source, on_duplicate=on_duplicate, on_failure=on_failure, genetic_code=genetic_code)
        return
    if source is not None:
        raise UsageError(
            f"the input {source} cannot be combined with families of the store",
            fix="give either the file, or --family, --clan or --all",
        )
    shelf = Store(store)
    found = _stored(shelf, family or (), clan or (), all_, fetch, offline)
    yield from found if upto == "fetch" else _with_trees(found, shelf, parallel)


def _with_trees(families: Iterator[Family], shelf: Store, parallel: ParallelConfig | None) -> Iterator[Family]:
    """Yield the families in order, with trees that were missing inferred and stored; the others are not sent to workers."""
    from phylocli.tree import infer_trees

    first: tuple[Family, list[InputRecord]] | None = None
    recorded = _recorded(families)
    for family, inputs in recorded:
        if not family.has_tree:
            first = family, inputs
            break
        yield family
    if first is None:
        return
    rest = itertools.chain([first], recorded)
    waiting: deque[Family | str | None] = deque()  # None: its tree is being inferred
    own: deque[list[InputRecord]] = deque()  # the inputs of these

    def missing() -> Iterator[Family]:
        for family, inputs in rest:
            if family.has_tree:
                waiting.append(family if len(waiting) < HELD else family.accession or family.name)
                continue
            logger.info(f"{family.label}: no tree in the store, inferring one")
            waiting.append(None)
            own.append(inputs)
            yield family

    def before() -> Iterator[Family]:
        """Yield the families up to the next whose tree is inferred."""
        while waiting and (family := waiting[0]) is not None:
            waiting.popleft()
            yield shelf.read(family) if isinstance(family, str) else family

    config = TreeConfig.layered(TreeConfig.gather({}))
    if parallel is not None and {"jobs", "cluster"} & parallel.model_fields_set:  # one of them replaces both
        config = config.updated(jobs=parallel.jobs, cluster=parallel.cluster)
    for family in infer_trees(missing(), config):
        with recording_inputs():
            for record in own.popleft():
                record_input(record)
            shelf.write(family, "tree", config.to_parameters())
        yield from before()
        waiting.popleft()
        yield family
    yield from before()


def _recorded(families: Iterator[Family]) -> Iterator[tuple[Family, list[InputRecord]]]:
    """Yield each family with the inputs that were read for it, which stay inputs of the command."""
    while True:
        with recording_inputs() as inputs:
            family = next(families, None)
        for record in inputs:
            record_input(record)
        if family is None:
            return
        yield family, inputs


def with_own_inputs(families: Iterator[Family], inputs: dict[str, list[InputRecord]]) -> Iterator[Family]:
    """Yield families, and enter in `inputs`, by label, what was read for each: it is not an input of the others."""
    while True:
        with recording_inputs() as read:
            family = next(families, None)
        if family is None:
            return
        inputs[family.label] = read
        yield family


def _stored(
    shelf: Store, accessions: Sequence[str], clans: Sequence[str], all_: bool, fetch: FetchConfig | None, offline: bool
) -> Iterator[Family]:
    if all_:
        known = shelf.accessions()
        if not known:
            raise UsageError(
                f"the store {shelf.root} is empty", fix="fill it with 'phylocli fetch' or 'phylocli store import'"
            )
        for accession in known:
            yield shelf.read(accession)
    if accessions or clans:
        from phylocli.fetch import fetch_families

        config = fetch or FetchConfig.layered(FetchConfig.gather({}))
        if offline:
            config = config.updated(offline=True)
        yield from fetch_families(list(accessions), config, clans=list(clans), store=shelf)
