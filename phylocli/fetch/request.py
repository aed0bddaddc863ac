"""Requests of `phylocli fetch`: families, all of Pfam, members of families, or UniProt proteins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from phylocli.config.fetch import FetchConfig
from phylocli.core.errors import UsageError
from phylocli.fetch.accessions import read_list
from phylocli.fetch.families import fetch_families, fetch_members
from phylocli.fetch.output import write_fetched, write_release
from phylocli.fetch.proteins import fetch_proteins
from phylocli.fetch.release import fetch_release
from phylocli.formats.streams import PathLike
from phylocli.store import Store


@dataclass(frozen=True)
class Request:
    """A request of one of four kinds: families, all of Pfam, members of families, or UniProt proteins.

    Attributes:
        accessions: families: accessions such as `PF00042` or `PF00042.27`, or names, as for `fetch_families`.
        clans: clans whose families are all requested.
        from_file: path of a list of families, or `-`.
        members: request the domains of the families in all of UniProt instead of the alignments.
        query: a query for proteins in UniProt's syntax.
        proteins: path of a list of accessions of proteins, or `-`.
        annotations: path for a table of labels of the proteins.
        everything: request all of Pfam.
    """

    accessions: list[str] = field(default_factory=list)
    clans: list[str] = field(default_factory=list)
    from_file: str | None = None
    members: bool = False
    query: str | None = None
    proteins: str | None = None
    annotations: str | None = None
    everything: bool = False

    @property
    def of_families(self) -> bool:
        """Whether families are requested."""
        return bool(self.accessions or self.clans or self.from_file)

    @property
    def of_proteins(self) -> bool:
        """Whether UniProt proteins are requested."""
        return self.query is not None or self.proteins is not None

    def check(self, *, offline: bool = False) -> None:
        """Check that the parts of the request are compatible.

        Raises:
            UsageError: they are not.
        """
        if self.of_families + self.of_proteins + self.everything > 1:
            raise UsageError("families, --all, and proteins of UniProt exclude each other", fix="run one after the other")
        if offline and (self.of_proteins or self.members):
            raise UsageError(
                "--offline is for families", why="sequences of UniProt are not kept in the store", fix="omit --offline"
            )
        if self.annotations is not None and not self.of_proteins:
            raise UsageError(
                "--annotations needs --uniprot or --accessions",
                fix="name proteins by --uniprot or --accessions, or omit --annotations",
            )
        if self.members and (self.clans or not self.of_families):
            raise UsageError(
                "--members needs families by accession", fix="name families, such as PF00042, or omit --members"
            )


def fetch(
    request: Request,
    output: PathLike | None = None,
    config: FetchConfig | None = None,
    *,
    store: PathLike | None = None,
    **options: Any,
) -> None:
    """Fetch and write the requested data.

    Args:
        request: the request.
        output: a path, `-` for standard output, or None; see `write_fetched` and `write_release` for None.
        config: options; may also be given as keywords.
        store: the folder of the store; None: the default store.
        options: fields of `FetchConfig`.

    Raises:
        UsageError: parts of the request are incompatible, nothing is requested, or `jobs` is given without a release.
        BadInputError: parts of the request do not exist; everything else has been written.
        ServiceError: parts of the request could not be fetched; everything else has been written.
    """
    config = FetchConfig.of(config, options)
    request.check(offline=config.offline)
    if not (request.everything or (config.release and request.of_families)):
        config = config.undivided(
            UsageError(
                "--jobs and --cluster divide the records of a release",
                fix="add --all or --release current, or leave them out",
            )
        )
    if request.of_proteins:
        listed = read_list(request.proteins) if request.proteins is not None else None
        fetch_proteins(
            output, query=request.query, accessions=listed, annotations=request.annotations, base_url=config.base_url
        )
        return
    named = [*request.accessions, *(read_list(request.from_file) if request.from_file else [])]
    if request.members:
        fetch_members(named, output, base_url=config.base_url)
        return
    place = Store(store)
    parameters: dict[str, object] = {"alignment": config.alignment}
    if request.everything:
        came = fetch_release(
            config.release or "current",
            store=place,
            alignment=config.alignment,
            offline=config.offline,
            refresh=config.refresh,
            base_url=config.base_url,
            parallel=config,
        )
        write_release(came, place, output, {"all": True, **parameters, "release": came.release})
        return
    families = fetch_families(named, config, clans=request.clans, store=place)
    parameters = {"accessions": named, "clans": request.clans, **parameters, "release": config.release}
    write_fetched(families, output, parameters, place)
