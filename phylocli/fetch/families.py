"""Concurrent download of families into the store, in the requested order."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from phylocli.config.fetch import FetchConfig
from phylocli.core import console
from phylocli.core.errors import BadInputError, PhylocliError, ServiceError, UsageError
from phylocli.core.words import counted
from phylocli.executors import summarise
from phylocli.fetch import lookup
from phylocli.fetch.accessions import FAMILIES_LOOK_LIKE, Foreign, Name, Wanted, is_clan, parse_clan, recognise, unique
from phylocli.fetch.connection import UnreachableError
from phylocli.fetch.http import Client
from phylocli.fetch.release import fetch_release
from phylocli.fetch.retry_policy import Policy, default_policy
from phylocli.fetch.services.addresses import Services, find_services
from phylocli.fetch.services.interpro import DeadFamilyError, InterPro, UnknownFamilyError
from phylocli.fetch.services.pfam import CLANS, PfamReleases
from phylocli.fetch.services.uniprot import UniProt
from phylocli.fetch.split import clans_of
from phylocli.fetch.thread_pool import Workers
from phylocli.formats.family import Family
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.sequences import fasta
from phylocli.formats.sequences.fasta import Sequence
from phylocli.formats.streams import PathLike, open_text_output
from phylocli.store import Store, is_safe

logger = logging.getLogger(__name__)

_MANY = 50  # number of families above which a release file is faster: InterPro takes seconds per family


@dataclass(frozen=True)
class Failure:
    """A family or clan that could not be fetched, and the error."""

    accession: str
    error: PhylocliError


class IncompleteError(PhylocliError):
    """Some families could not be fetched, although the service works and their data may be sound."""


def fetch_families(
    accessions: Iterable[str],
    config: FetchConfig | None = None,
    *,
    clans: Iterable[str] = (),
    store: Store | None = None,
    policy: Policy | None = None,
    **options: Any,
) -> Iterator[Family]:
    """Yield families from the store; missing ones are downloaded from InterPro or a Pfam release and stored.

    Records are verified before they are stored: they must be complete, have the requested accession, and as many rows as
    declared in `SQ`. Families are in the order of the request, and those of a clan are sorted by accession.

    Args:
        accessions: Pfam accessions such as `PF00042`, optionally with a version, which is compared with the received one;
            names such as `globin`; accessions of InterPro, one of its member databases or UniProt, for their Pfam families;
            clans; or any accessions in the store.
        config: options; may also be given as keywords, such as `release="38.2"`. With a release, its files are downloaded
            once, which is faster for many families; InterPro provides only the current release. `base_url` is the base URL
            of the InterPro API, or with `release` of the Pfam releases; None: `$PHYLOCLI_INTERPRO_URL` or
            `$PHYLOCLI_PFAM_URL`, else the EBI.
        clans: accessions of clans, whose families are all added.
        store: the store; None: the default store.
        policy: waits, retries and limits; None: the default.
        options: fields of `FetchConfig`.

    Raises:
        UsageError: an accession is invalid, the kind of alignment is not available, or nothing is requested.
        BadInputError: raised at the end: families do not exist or were deleted, or names are unknown or ambiguous.
        ServiceError: raised at the end: families could not be fetched, or, if offline, are not in the store.
        IncompleteError: raised at the end: families failed for another reason, such as that a worker died.

    Examples:
        >>> (family,) = phylocli.fetch_families(["PF00042"])  # doctest: +SKIP
        >>> family.accession  # doctest: +SKIP
        'PF00042'
    """
    config = FetchConfig.of(config, options)
    store = store or Store()
    named = list(accessions)
    queries = [_query(text, store) for text in named if not is_clan(text)]
    clan_list = list(dict.fromkeys(parse_clan(text) for text in [*(text for text in named if is_clan(text)), *clans]))
    if not queries and not clan_list:
        raise UsageError("no family given", fix=f"give {FAMILIES_LOOK_LIKE}, or --clan CL0090")
    services = find_services(pfam=config.base_url) if config.release else find_services(interpro=config.base_url)
    fetcher = _Fetcher(store, services, config, policy or default_policy())
    return fetcher.run(queries, clan_list)


def _query(text: str, store: Store) -> Wanted | Foreign | Name:
    if is_safe(text) and text in store:
        return Wanted(text)  # may be an imported family
    return recognise(text)


class _Fetcher:
    """One call of `fetch_families`."""

    def __init__(self, store: Store, services: Services, config: FetchConfig, policy: Policy) -> None:
        self.store = store
        self.services = services
        self.release = config.release
        self.alignment = config.alignment
        self.profile = config.profile
        self.offline = config.offline
        self.refresh = config.refresh
        self.policy = policy
        self.parallel = config
        self.client = Client(policy)
        self.service = InterPro(self.client, services.interpro)
        self.proteins = UniProt(self.client, services.uniprot)
        self.failures: list[Failure] = []
        self.asked = 0
        self._asking = threading.Lock()
        self._release_of_interpro: str | None = None

    def run(self, queries: list[Wanted | Foreign | Name], clans: list[str]) -> Iterator[Family]:
        with self.client:
            if self.release:
                families = self._out_of_release(self.release, queries, clans)
                missing: list[Wanted] = []
            else:
                families = unique([*self._resolved(queries), *self._members(clans, self._clan)])
                missing = [w for w in families if not self._is_there(w)]
            self.asked = len({w.accession for w in families} | {failure.accession for failure in self.failures})
            if self.offline:
                for wanted in missing:
                    self.failures.append(Failure(wanted.accession, _not_there(self.store)))
                missing = []
            elif missing and not any(isinstance(failure.error, UnreachableError) for failure in self.failures):
                self._announce(len(missing), len(families) - len(missing))
            yield from self._in_order(families, missing)
        raise_failures(self.failures, self.asked)

    def _resolved(
        self, queries: list[Wanted | Foreign | Name], release: tuple[str, Path | None] = ("", None)
    ) -> Iterator[Wanted]:
        """Yield the families of the queries; errors are added to `failures`.

        Args:
            queries: the queries, in the order of the request.
            release: the number of the release and the path of its list of families, if a release is used.
        """
        for query in queries:
            if isinstance(query, Wanted):
                yield query
                continue
            try:
                yield from self._looked_up(query, release)
            except (ServiceError, BadInputError) as error:
                text = query.text if isinstance(query, Name) else query.accession
                self.failures.append(Failure(text, error))

    def _looked_up(self, query: Foreign | Name, release: tuple[str, Path | None]) -> list[Wanted]:
        number, listing = release
        if isinstance(query, Name) and listing is not None:
            return [lookup.among(query.text, lookup.of_release(listing), f"Pfam {number}")]
        if self.offline:
            if isinstance(query, Name):
                return [lookup.among(query.text, lookup.of_store(self.store), f"the store {self.store.root}")]
            raise ServiceError(
                f"the families of {query.accession} must be looked up in InterPro, but --offline forbids requests",
                fix="give the Pfam accessions of the families",
            )
        try:
            return lookup.in_interpro(query, self.service, self.proteins)
        except UnreachableError:
            if isinstance(query, Name):
                with contextlib.suppress(lookup.UnknownNameError):
                    return [lookup.among(query.text, lookup.of_store(self.store), "the store")]
            raise

    def _announce(self, missing: int, there: int) -> None:
        word = "family" if missing == 1 else "families"
        also = f"; {there} already in the store" if there else ""
        logger.info(f"fetching {missing} {word} from InterPro into the store {self.store.root}{also}")
        if missing > _MANY:
            logger.info("for this many families, --release current is faster")

    def _out_of_release(self, release: str, queries: list[Wanted | Foreign | Name], clans: list[str]) -> list[Wanted]:
        """Extract missing families from the files of a release into the store; return the requested families."""
        service = PfamReleases(self.client, self.services.pfam, self.store, offline=self.offline)
        number = service.resolve(release)
        in_clans: dict[str, list[str]] = {}
        listing: Path | None = None
        if clans or any(isinstance(query, Name) for query in queries):
            with self.store.locked(f"release-{number}"):
                listing = service.file(number, CLANS)
                in_clans = clans_of(listing)

        def members(clan: str) -> list[str]:
            if clan not in in_clans:
                raise UnknownFamilyError(
                    f"Pfam {number} has no clan {clan}", fix="check the accession, or name another release with --release"
                )
            return in_clans[clan]

        families = unique([*self._resolved(queries, (number, listing)), *self._members(clans, members)])
        missing = [w.accession for w in families if not self._is_there(w, number)]
        if not missing:
            return families
        came = fetch_release(
            number,
            store=self.store,
            alignment=self.alignment,
            profile=self.profile,
            only=missing,
            offline=self.offline,
            refresh=self.refresh,
            base_url=self.services.pfam,
            policy=self.policy,
            parallel=self.parallel,
        )
        for accession in missing:
            if accession in came.alignments.skipped:
                self.failures.append(
                    Failure(
                        accession,
                        BadInputError(came.alignments.skipped[accession], fix="fetch it from InterPro, without --release"),
                    )
                )
            elif accession in came.alignments.failed:
                self.failures.append(Failure(accession, came.alignments.failed[accession]))
            elif accession not in came.alignments.families:
                self.failures.append(
                    Failure(
                        accession,
                        UnknownFamilyError(
                            f"Pfam {number} has no family {accession}",
                            fix="check the accession, or name another release with --release",
                        ),
                    )
                )
        return families

    def _in_order(self, families: list[Wanted], missing: list[Wanted]) -> Iterator[Family]:
        workers = Workers(self._fetch, self.policy.connections)
        absent = {failure.accession for failure in self.failures}
        in_a_row = came = there = 0
        start, before = time.monotonic(), len(self.failures)
        try:
            pending = dict(zip((w.accession for w in missing), workers.start(missing), strict=True))
            for wanted in console.progress(families, "fetching families", unit="families"):
                if wanted.accession in absent:
                    continue
                future = pending.pop(wanted.accession, None)
                try:
                    if in_a_row >= self.policy.give_up_after and future is not None and not future.done():
                        raise ServiceError(
                            f"not requested, after {in_a_row} failures of the service in a row",
                            fix="try again later; families that were fetched are in the store",
                        )
                    if future is not None:
                        future.result()
                    family = self._read(wanted)
                except (ServiceError, BadInputError) as error:
                    self.failures.append(Failure(wanted.accession, error))
                    in_a_row = in_a_row + 1 if isinstance(error, ServiceError) else 0
                    if isinstance(error, UnreachableError):
                        in_a_row = self.policy.give_up_after  # all further requests would fail too
                    if in_a_row == self.policy.give_up_after:
                        self.client.stop()
                    continue
                in_a_row = 0
                came, there = came + (future is not None), there + (future is None)
                self._compare_version(wanted, family)
                yield family
            if not self.release:  # whose records have a table of their own
                failed, seconds = len(self.failures) - before, time.monotonic() - start
                summarise("families", done=came, failed=failed, known=there, seconds=seconds, divided=False)
        finally:
            self.client.stop()  # also if the iterator is closed early, or on ^C
            workers.stop()

    def _members(self, clans: list[str], members_of: Callable[[str], list[str]]) -> Iterator[Wanted]:
        for clan in clans:
            try:
                members = members_of(clan)
            except (ServiceError, BadInputError) as error:
                self.failures.append(Failure(clan, error))
                continue
            logger.info(f"{clan} has {counted(len(members), 'family')}")
            for member in members:
                yield Wanted(member)

    def _clan(self, clan: str) -> list[str]:
        known = self.store.clan_members(clan, kept_only=not self.offline)
        if known and (self.offline or not self.refresh):
            return known
        if self.offline:
            raise ServiceError(
                f"the store {self.store.root} has no list of the families of {clan}", fix="fetch it once without --offline"
            )
        members = self.service.clan(clan)
        self.store.write_clan(clan, members)
        return members

    def _is_there(self, wanted: Wanted, release: str | None = None) -> bool:
        if wanted.accession not in self.store or (self.refresh and not self.offline):
            return False
        held = self.store.origin(wanted.accession).get("source")
        if release is not None and (not held or (held.get("service"), held.get("release")) != ("Pfam", release)):
            return False
        # A record without a source was imported by the user, and is kept unless --refresh is given.
        if held and held.get("alignment", self.alignment) != self.alignment:
            return False
        return not self.profile or self.store.profile_path(wanted.accession).is_file()

    def _read(self, wanted: Wanted) -> Family:
        try:
            return self.store.read(wanted.accession)
        except BadInputError as error:
            if self.offline or self.release:
                raise
            logger.warning(f"{error.what}; fetching {wanted.accession} again")
        self._fetch(wanted)
        return self.store.read(wanted.accession)

    def _fetch(self, wanted: Wanted) -> None:
        parameters: dict[str, object] = {"alignment": self.alignment}
        try:
            family, source = self.service.alignment(wanted, self.alignment)
        except DeadFamilyError as error:
            raise self._with_replacement(error, wanted) from error
        source["release"] = source["release"] or self._interpro_release()
        if self.profile:
            text, profile_source = self.service.profile(wanted)
            profile_source["release"] = profile_source["release"] or source["release"]
            self.store.write_profile(wanted.accession, text, parameters, source=profile_source)
        family.notes.append(f"fetch {self.alignment} InterPro")
        self.store.write(family, "fetch", parameters, source={**source, "alignment": self.alignment})

    def _interpro_release(self) -> str:
        """Return the InterPro release, requested once; empty if the request fails."""
        with self._asking:
            if self._release_of_interpro is None:
                self._release_of_interpro = ""
                with contextlib.suppress(ServiceError):
                    self._release_of_interpro = self.service.release()
            return self._release_of_interpro

    def _with_replacement(self, error: DeadFamilyError, wanted: Wanted) -> DeadFamilyError:
        """Add the replacement of a dead family to an error, if Pfam's list of dead families is available and contains it."""
        with contextlib.suppress(ServiceError), Client(replace(self.policy, attempts=1)) as client:
            other = PfamReleases(client, self.services.pfam, self.store).replacement(wanted.accession)
            if other:
                return DeadFamilyError(error.what, error.why, f"it was replaced by {other}")
        return error

    def _compare_version(self, wanted: Wanted, family: Family) -> None:
        if wanted.version and wanted.version != family.version:
            logger.warning(
                f"requested {wanted.accession}.{wanted.version}, received "
                + (f"{family.accession}.{family.version}" if family.version else "a record without a version")
            )


def _not_there(store: Store) -> ServiceError:
    return ServiceError(
        f"not in the store {store.root}, and --offline forbids downloads",
        fix="fetch it once without --offline, or import it: phylocli store import FILE",
    )


def raise_failures(failures: list[Failure], asked: int) -> None:
    """Raise one error for all failures, if there are any.

    Raises:
        ServiceError: at least one request failed because of the service, so another attempt may succeed.
        IncompleteError: at least one failed for a reason that is not in its data, such as that a worker died.
        BadInputError: none of the families exists (any more).
    """
    if not failures:
        return
    unreachable = next((failure.error for failure in failures if isinstance(failure.error, UnreachableError)), None)
    if unreachable is not None:
        without = ", ".join(failure.accession for failure in failures[:5]) + (" …" if len(failures) > 5 else "")
        raise UnreachableError(f"{unreachable.what}; not fetched: {without}", fix=unreachable.fix)
    service = any(isinstance(failure.error, ServiceError) for failure in failures)
    of_data = all(isinstance(failure.error, BadInputError) for failure in failures)
    kind = ServiceError if service else BadInputError if of_data else IncompleteError
    if len(failures) == 1 and asked == 1:
        error = failures[0].error
        named = error.what if failures[0].accession in error.what else f"{failures[0].accession}: {error.what}"
        raise kind(named, error.why, error.fix)
    lines = []
    for failure in failures:
        reason = failure.error.what + (f" ({failure.error.why})" if failure.error.why else "")
        fix = f"; {failure.error.fix}" if failure.error.fix else ""
        lines.append(f"  {failure.accession:<8} {reason}{fix}".replace("\n", "\n    "))
    raise kind(
        f"{len(failures)} of {asked} could not be fetched:\n" + "\n".join(lines),
        fix=None if of_data else "the others are in the store; run the command again for the rest",
    )


def fetch_members(
    accessions: Iterable[str],
    output: PathLike | None,
    *,
    base_url: str | None = None,
    policy: Policy | None = None,
) -> int:
    """Write the domains of families in all of UniProt, unaligned, as FASTA (`ACCESSION/from-to`); return their number.

    These are all members according to InterPro, usually many more than in the alignments. They are not stored.

    Args:
        accessions: families, as for `fetch_families`.
        output: FASTA file, or `-`/None for standard output.
        base_url: the base URL of the InterPro API; None: `$PHYLOCLI_INTERPRO_URL`, else the EBI.
        policy: waits, retries and limits; None: the default.

    Raises:
        UsageError: an accession is invalid.
        BadInputError: a family does not exist.
        ServiceError: not all domains could be fetched; no file is written.
    """
    queries = [recognise(text) for text in accessions]
    count = 0
    with Client(policy or default_policy()) as client:
        services = find_services(interpro=base_url)
        service, proteins = InterPro(client, services.interpro), UniProt(client, services.uniprot)
        listed = unique(
            family
            for q in queries
            for family in ([q] if isinstance(q, Wanted) else lookup.in_interpro(q, service, proteins))
        )

        def all_of_them() -> Iterator[Sequence]:
            nonlocal count
            for wanted in listed:
                with console.progress_task(f"members of {wanted.accession}", unit="domains") as task:
                    for member in service.members(wanted):
                        count += 1
                        task.advance()
                        yield member

        with open_text_output(output) as stream:
            fasta.write(all_of_them(), stream, width=60)
    write_sidecar(output, "fetch", {"members": [w.accession for w in listed]}, source={"service": "InterPro"})
    logger.info(f"{count:,} domains of {counted(len(listed), 'family')}")
    return count
