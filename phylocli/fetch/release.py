"""Download of a Pfam release, or some of its families, into the store."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from phylocli.config.parallel import ParallelConfig
from phylocli.core.errors import UsageError
from phylocli.fetch.http import Client
from phylocli.fetch.retry_policy import Policy, default_policy
from phylocli.fetch.services.addresses import find_services
from phylocli.fetch.services.pfam import ALIGNMENTS, CLANS, PROFILES, PfamReleases
from phylocli.fetch.split import Split, clans_of, split_alignments, split_profiles
from phylocli.formats.provenance import Source
from phylocli.store import Store, read_sidecar

logger = logging.getLogger(__name__)


@dataclass
class Release:
    """A release in the store.

    Attributes:
        release: the release number, for example `38.2`.
        alignments: the result for the alignments.
        profiles: the result for the profiles; None if not requested.
        clans: clan → accessions of its families.
    """

    release: str
    alignments: Split
    profiles: Split | None
    clans: dict[str, list[str]]


def fetch_release(
    release: str = "current",
    *,
    store: Store | None = None,
    alignment: str = "seed",
    profile: bool = True,
    only: Collection[str] | None = None,
    clans: Collection[str] = (),
    offline: bool = False,
    refresh: bool = False,
    base_url: str | None = None,
    policy: Policy | None = None,
    parallel: ParallelConfig | None = None,
) -> Release:
    """Download a Pfam release into the store: alignments, profiles and clans, one record per family.

    The release files are downloaded to `releases/NUMBER/` in the store, verified by the published checksums, and split. If
    the function is interrupted, the next call resumes.

    Args:
        release: a release number such as `38.2`, or `current`.
        store: the destination; None: the default store.
        alignment: `seed`, or `full` (about 24 GB).
        profile: whether to fetch profiles too.
        only: the accessions to extract; None: all.
        clans: with `only`, extract all families of these clans too.
        offline: use only release files that are in the store.
        refresh: overwrite records that are already in the store.
        base_url: the base URL of the releases; None: `$PHYLOCLI_PFAM_URL`, else the EBI.
        policy: waits, retries and limits; None: the default.
        parallel: where records are parsed; None: in this process.

    Raises:
        UsageError: the kind of alignment is unknown, or the release number is invalid.
        ServiceError: a file could not be downloaded, or its checksum is wrong.
        BadInputError: a release file is damaged.
    """
    check_alignment(alignment)
    store = store or Store()
    policy = policy or default_policy()
    with Client(policy) as client:
        service = PfamReleases(client, find_services(pfam=base_url).pfam, store, offline=offline)
        number = service.resolve(release)
        logger.info(f"fetching Pfam {number} into the store {store.root}")
        with store.locked(f"release-{number}"):
            clan_list = service.file(number, CLANS) if only is None or clans else None
            alignments = service.file(number, ALIGNMENTS[alignment])
            profiles = service.file(number, PROFILES) if profile else None
            return split_release(
                store,
                number,
                clans=clan_list,
                alignments=alignments,
                profiles=profiles,
                alignment=alignment,
                policy=policy,
                only=only,
                of_clans=clans,
                refresh=refresh,
                parallel=parallel,
            )


def split_release(
    store: Store,
    release: str,
    *,
    clans: Path | None,
    alignments: Path,
    profiles: Path | None,
    alignment: str,
    policy: Policy,
    only: Collection[str] | None = None,
    of_clans: Collection[str] = (),
    refresh: bool = False,
    parallel: ParallelConfig | None = None,
) -> Release:
    """Split the files of a release into the store. The caller must hold the lock `release-NUMBER`.

    Raises:
        BadInputError: a file is damaged.
    """
    members = clans_of(clans) if clans is not None else {}
    for clan, families in members.items():
        store.write_clan(clan, families)
    if only is not None:
        only = {*only, *(accession for clan in of_clans for accession in members.get(clan, ()))}
    with store.bulk(f"release-{release}") as bulk:
        split = split_alignments(
            alignments,
            store,
            bulk,
            source=file_source(alignments, release),
            alignment=alignment,
            policy=policy,
            only=only,
            refresh=refresh,
            parallel=parallel,
        )
        hmms = None
        if profiles is not None:
            hmms = split_profiles(
                profiles,
                store,
                bulk,
                source=file_source(profiles, release),
                policy=policy,
                only=only,
                refresh=refresh,
                parallel=parallel,
            )
    return Release(release, split, hmms, members)


def file_source(path: Path, release: str) -> Source:
    """Return the provenance of records from a release file."""
    about = read_sidecar(path).get("source", {})
    return {
        "service": "Pfam",
        "release": release,
        "url": about.get("url", ""),
        "file": path.name,
        "file_md5": about.get("md5") or "",
        "time": about.get("time", ""),
    }


def check_alignment(alignment: str) -> None:
    """Check the kind of alignment.

    Raises:
        UsageError: Pfam does not provide this kind.
    """
    if alignment not in ALIGNMENTS:
        raise UsageError(
            f"unknown alignment {alignment!r}",
            why="Pfam serves seed and full alignments only",
            fix="use --alignment seed or --alignment full",
        )
