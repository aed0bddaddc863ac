"""The source of a stage's families: a stream, or the store, whose missing stages are then run first."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Literal

from phylocli.config.fetch import FetchConfig
from phylocli.config.tree import TreeConfig
from phylocli.core.errors import UsageError
from phylocli.formats import read_families
from phylocli.formats.family import Family
from phylocli.formats.sequences.fasta import OnDuplicate
from phylocli.formats.stockholm import OnFailure
from phylocli.formats.streams import PathLike
from phylocli.store import Store

logger = logging.getLogger(__name__)

Stage = Literal["fetch", "tree"]


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
) -> Iterator[Family]:
    """Yield families from a file or pipe, or those of the store that the options name.

    With the options, missing stages run first and their results are stored: a family that is not in the store is fetched,
    and a tree is inferred for one without (from its fetched alignment as it is). Each such step is logged.

    Args:
        source: file or `-`/None; must be left out where families are named.
        family: accessions.
        clan: clan accessions; the members come from the service, or from the store if all of them are there.
        all_: every family of the store.
        store: the store's folder, None for the default.
        upto: the stage that a family must have passed: `fetch` (aligned) or `tree`.
        on_duplicate: policy for repeated ids in the stream.
        on_failure: called with records of the stream that are damaged, see `read_families`; None raises.
        fetch: how families that are not in the store are fetched; None: as files and the environment configure `fetch`.
        genetic_code: by which coding DNA of the stream is translated, see `read_families`.
        offline: fetch nothing: families that are not in the store are named in a ServiceError.

    Raises:
        UsageError: both a source and families are named.
    """
    if not (family or clan or all_):
        yield from read_families(source, on_duplicate=on_duplicate, on_failure=on_failure, genetic_code=genetic_code)
        return
    if source is not None:
        raise UsageError(
            f"The input {source} excludes families of the store",
            fix="give either the file, or --family, --clan or --all",
        )
    shelf = Store(store)
    for found in _stored(shelf, family or (), clan or (), all_, fetch, offline):
        if upto == "tree" and not found.has_tree:
            from phylocli.tree import infer_trees

            logger.info(f"{found.label}: no tree in the store yet, inferring one")
            config = TreeConfig.layered(TreeConfig.gather({}))
            for done in infer_trees([found], config):
                shelf.write(done, "tree", config.to_parameters())
                yield done
        else:
            yield found


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
