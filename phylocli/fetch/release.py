"""A whole Pfam release, or some families of one: its files fetched and checked, then split into the store."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

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
        release: its number, for example `38.2`.
        alignments: result for its alignments.
        profiles: result for its profiles; None if not requested.
        clans: families by clan.
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
) -> Release:
    """Download a Pfam release into the store: its alignments, profiles and clans, one record per family.

    The release files are downloaded to the store's `releases/NUMBER/`, resumed if an earlier run was interrupted, compared
    with the published checksums, and then split. Every step can be interrupted at any byte; the next run resumes there.

    Args:
        release: a number such as `38.2`, or `current`.
        store: destination; None uses the default store.
        alignment: `seed`, or `full` (about 24 GB).
        profile: fetch and split the profiles too.
        only: accessions to take out of the release; None takes all of them.
        clans: with `only`: all families of these clans too.
        offline: use only release files that are in the store.
        refresh: write also those records that are there already.
        base_url: the address of the folder of releases; None takes `$PHYLOCLI_PFAM_URL`, else EBI's.
        policy: waits, retries and caps; None takes the default.

    Raises:
        UsageError: an unknown kind of alignment, or an invalid release number.
        ServiceError: a file could not be downloaded, or its checksum is wrong.
        BadInputError: a release file is damaged.
    """
    check_alignment(alignment)
    store = store or Store()
    policy = policy or default_policy()
    with Client(policy) as client:
        service = PfamReleases(client, find_services(pfam=base_url).pfam, store, offline=offline)
        number = service.resolve(release)
        logger.info(f"Pfam {number} into the store {store.root}")
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
) -> Release:
    """Split a release's files into the store. The caller holds the lock `release-NUMBER`.

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
        )
        hmms = None
        if profiles is not None:
            source = file_source(profiles, release)
            hmms = split_profiles(profiles, store, bulk, source=source, policy=policy, only=only, refresh=refresh)
    return Release(release, split, hmms, members)


def file_source(path: Path, release: str) -> Source:
    """Return the provenance of a release's records about their source file."""
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
    """Raise unless it is a kind of alignment that Pfam has today.

    Raises:
        UsageError: it is not.
    """
    if alignment not in ALIGNMENTS:
        raise UsageError(
            f"unknown alignment {alignment!r}",
            why="Pfam serves seed and full alignments only",
            fix="use --alignment seed or --alignment full",
        )
