"""Functions of `phylocli store`: inventory, summary, export and removal."""

from __future__ import annotations

import datetime
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from phylocli.core import console
from phylocli.core.errors import BadInputError, UsageError, unknown_name
from phylocli.core.words import counted
from phylocli.formats import write_families
from phylocli.formats.provenance import sidecar_path, write_sidecar
from phylocli.formats.sequences import fasta
from phylocli.formats.streams import PathLike, open_text_output
from phylocli.formats.tables import TableWriter
from phylocli.store.inventory import Entry, folder_bytes, inventory_schema, read_entry, releases_there
from phylocli.store.store import Store
from phylocli.store.verify import Finding

logger = logging.getLogger(__name__)

_ROWS = 1000
EXPORT_FORMATS = ("stockholm", "fasta")


def chosen(store: Store, accessions: Sequence[str] | None, clans: Sequence[str] | None) -> list[str]:
    """Return the accessions of the selected families: those named and those of the clans, else all.

    Raises:
        UsageError: the given store does not exist.
        BadInputError: a family that is not in the store, or a clan without families in it.
    """
    store.check_exists()
    if not accessions and not clans:
        return store.accessions()
    found = list(accessions or ())
    absent = [accession for accession in found if accession not in store]
    if absent:
        raise BadInputError(f"the store {store.root} has no family {', '.join(absent[:10])}", fix="see 'phylocli store ls'")
    for clan in clans or ():
        members = [member for member in store.clan_members(clan) if member in store]
        if not members:
            raise BadInputError(f"the store {store.root} has no family of the clan {clan}", fix="see 'phylocli store ls'")
        found += members
    return list(dict.fromkeys(found))


def write_inventory(
    store: Store,
    output: PathLike | None,
    *,
    accessions: Sequence[str] | None = None,
    clans: Sequence[str] | None = None,
) -> int:
    """Write a table of the store's families, one row each (see `store.inventory.Entry`), and return their number.

    Raises:
        BadInputError: a family that is not in the store.
    """
    import pyarrow as pa

    named = chosen(store, accessions, clans)
    schema = inventory_schema()
    with TableWriter(output, schema) as writer:
        rows: list[dict[str, object]] = []
        for entry in _entries(store, named):
            rows.append(asdict(entry))
            if len(rows) == _ROWS:
                writer.write(pa.Table.from_pylist(rows, schema))
                rows = []
        writer.write(pa.Table.from_pylist(rows, schema))
    logger.info(f"{counted(len(named), 'family')} in {store.root}")
    return len(named)


def _entries(store: Store, accessions: list[str]) -> Iterator[Entry]:
    for accession in accessions:
        try:
            yield read_entry(store.root, accession)
        except BadInputError as error:
            logger.warning(str(error))
            yield Entry(accession)


def describe(store: Store, accessions: Sequence[str] | None = None) -> Iterator[str]:
    """Yield lines that describe families, or the store as a whole.

    Raises:
        BadInputError: a family that is not in the store.
    """
    if accessions:
        for number, accession in enumerate(chosen(store, accessions, None)):
            if number:
                yield ""
            entry = read_entry(store.root, accession)
            for name, value in asdict(entry).items():
                yield f"{name}: {('no', 'yes')[value] if isinstance(value, bool) else value}"
            yield f"age: {_age(entry.retrieved)}"
            yield f"url: {(store.origin(accession).get('source') or {}).get('url', '')}"
            yield f"path: {store.family_path(accession)}"
        return
    store.check_exists()
    families = store.accessions()
    entries = list(_entries(store, families))
    sources = Counter((e.service or "own", e.release) for e in entries)
    yield f"store: {store.root}"
    yield f"families: {len(families)}"
    yield f"sequences: {sum(e.sequences for e in entries)}"
    yield f"with a tree: {sum(e.tree for e in entries)}"
    yield f"with a profile: {sum(e.profile for e in entries)}"
    yield f"clans: {len({e.clan for e in entries if e.clan})}"
    for (service, release), count in sorted(sources.items()):
        yield f"from {service}{f' {release}' if release else ''}: {count}"
    yield f"release files: {', '.join(releases_there(store.root)) or 'none'}"
    retrieved = sorted(e.retrieved for e in entries if e.retrieved)
    if retrieved:
        yield f"oldest: {retrieved[0]} ({_age(retrieved[0])})"
        yield f"newest: {retrieved[-1]} ({_age(retrieved[-1])})"
    yield f"bytes: {sum(folder_bytes(store.root)) if store.root.is_dir() else 0}"


def _age(time: str) -> str:
    try:
        then = datetime.datetime.fromisoformat(time)
    except ValueError:
        return "unknown"
    now = datetime.datetime.now(datetime.UTC)
    days = (now - (then if then.tzinfo else then.replace(tzinfo=datetime.UTC))).days
    return "today" if days < 1 else f"{days} day{'s' if days > 1 else ''}"


def report_findings(findings: list[Finding], *, removed: bool = False) -> None:
    """Print the findings of `verify_store`.

    Raises:
        BadInputError: a file is damaged.
    """
    harmful = [finding for finding in findings if finding.harmful]
    for finding in findings:
        if not finding.harmful:
            logger.warning(f"{finding.path} {finding.what}")
    if not harmful:
        logger.info("no problems found")
        return
    lines = "\n".join(f"  {finding.path}: {finding.what}" for finding in harmful)
    raise BadInputError(
        f"{len(harmful)} damaged{' and removed' if removed else ''}:\n{lines}",
        fix="fetch them again" if removed else "remove them with 'phylocli store verify --remove', then fetch them again",
    )


def export_families(
    store: Store,
    output: PathLike | None,
    *,
    accessions: Sequence[str] | None = None,
    clans: Sequence[str] | None = None,
    format: str = "stockholm",
) -> int:
    """Write families as Stockholm records, or all their sequences without gaps as FASTA; return the number of families.

    Raises:
        UsageError: unknown format.
        BadInputError: a family that is not in the store, or an empty store.
    """
    if format not in EXPORT_FORMATS:
        raise unknown_name("unknown export format", format, EXPORT_FORMATS)
    named = chosen(store, accessions, clans)
    if not named:
        raise BadInputError(
            f"the store {store.root} is empty", fix="fill it with 'phylocli fetch' or 'phylocli store import'"
        )
    families = (store.read(accession) for accession in console.progress(named, "exporting", unit="families"))
    if format == "stockholm":
        write_families(families, output)
    else:
        with open_text_output(output) as stream:
            fasta.write((sequence for family in families for sequence in family.sequences()), stream)
    write_sidecar(output, "store export", {"families": len(named), "format": format})
    logger.info(f"exported {counted(len(named), 'family')} from {store.root}")
    return len(named)


def remove_families(
    store: Store,
    *,
    accessions: Sequence[str] | None = None,
    clans: Sequence[str] | None = None,
    release: str | None = None,
    all_: bool = False,
) -> int:
    """Remove families with their profiles and provenance, or the files of a release; return the number of families removed.

    Raises:
        UsageError: nothing to remove was given.
        BadInputError: a family or release that is not in the store.
    """
    if not (accessions or clans or release or all_):
        raise UsageError("nothing to remove was given", fix="name families, --clan, --release or --all")
    named = chosen(store, accessions, clans) if accessions or clans or all_ else []
    with store.locked():
        for accession in named:
            for path in (store.family_path(accession), store.profile_path(accession)):
                path.unlink(missing_ok=True)
                sidecar_path(path).unlink(missing_ok=True)
    if release is not None:
        folder = store.release_path(release)
        if not folder.is_dir():
            raise BadInputError(f"the store {store.root} has no files of Pfam {release}", fix="see 'phylocli store ls'")
        with store.locked(f"release-{release}"):
            shutil.rmtree(folder)
        logger.info(f"removed the files of Pfam {release}")
    if named:
        logger.info(f"removed {counted(len(named), 'family')} from {store.root}")
    return len(named)


__all__ = ["chosen", "describe", "export_families", "remove_families", "report_findings", "write_inventory"]
