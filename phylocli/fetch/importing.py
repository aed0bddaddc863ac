"""Import of families from files into the store: sequence files of any format, folders of them, or a Pfam release."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

from phylocli.core import console
from phylocli.core.alphabet import degap
from phylocli.core.errors import BadInputError
from phylocli.fetch.release import Release, split_release
from phylocli.fetch.retry_policy import Policy, default_policy
from phylocli.fetch.services.pfam import ALIGNMENTS, CLANS, PROFILES
from phylocli.formats import read_families, stem
from phylocli.formats.failures import Failures
from phylocli.formats.family import Family
from phylocli.formats.input_formats import FAMILY_SUFFIXES
from phylocli.formats.nucleotides import NucleotideCheck
from phylocli.formats.provenance import Record, Source, provenance
from phylocli.formats.streams import PathLike, display_name, open_input, suffix_of
from phylocli.store import Store, is_safe
from phylocli.store.integrity import check_family

logger = logging.getLogger(__name__)

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")

Align = Callable[[Family], Family]


def import_families(
    sources: Iterable[PathLike | None],
    store: Store,
    *,
    align: Align | None = None,
    replace_existing: bool = False,
    policy: Policy | None = None,
) -> int:
    """Add families to the store and return the number written.

    Args:
        sources: sequence files of any format, or `-`/None for standard input; folders of such files, one family per file; or
            a folder with a downloaded Pfam release (`Pfam-A.seed.gz`, …).
        store: the destination. The key of a family is its accession, else its name, else its file name.
        align: the function for families that are not aligned; None: they are an error.
        replace_existing: overwrite families that are already in the store.
        policy: provides the maximum size of a record.

    Raises:
        BadInputError: a source cannot be read; or, raised after all other families are stored, families were skipped:
            damaged records, families without a name, and different families with the same name.
    """
    policy = policy or default_policy()
    count = 0
    plain: list[PathLike | None] = []
    for source in sources:
        folder = Path(source) if source is not None and Path(source).is_dir() else None
        if (folder is not None and _release_file(folder, "seed")) or (folder is not None and _release_file(folder, "full")):
            came = import_release(folder, store, refresh=replace_existing, policy=policy)
            count += came.alignments.written
        elif folder is not None:
            plain += _files(folder)
        else:
            plain.append(source)
    failures = Failures("were not imported")
    came_from: dict[str, tuple[str, str]] = {}  # key of an imported family → digest and origin
    with store.locked("import"), store.bulk("import") as bulk:
        base: Record = {}
        for source, number, family in console.progress(_read_all(plain, failures), "importing", unit="families"):
            where = family.where or display_name(source)
            try:
                accession = _accession(family, source, number)
                content = _digest(family)
                if accession in came_from:
                    if came_from[accession][0] != content:
                        raise BadInputError(
                            f"{where}: this family would have the same name {accession!r} in the store as another one, from "
                            f"{came_from[accession][1]}",
                            fix="give each a unique accession (#=GF AC) or file name: letters, digits, '_', '-', '.'",
                        )
                    continue  # a duplicate
                came_from[accession] = content, where
                if accession in store and not replace_existing:
                    _report_present(store, accession, family)
                    continue
                if family.declared_size is not None:
                    check_family(family, None, where)
                whole = family if family.aligned else _aligned(family, accession, align)
            except BadInputError as error:
                failures.add(family.label, error)
                continue
            if not base:
                base = {**provenance("store import", {}), "inputs": []}
            origin: Source = {"service": "", "file": display_name(source), "sha256": _digest(whole)}
            bulk.family(_named(whole, accession), {**base, "source": {**origin, "time": base["time"]}})
            failures.done += 1
    failures.raise_if_any()
    return count + failures.done


def _report_present(store: Store, accession: str, family: Family) -> None:
    """Log that a family is already in the store, as a warning if it differs."""
    if _members(store.read(accession)) == _members(family):
        logger.info(f"{accession} is already in the store; use --replace to overwrite it")
        return
    known = store.origin(accession).get("source") or {}
    origin = known.get("file") or known.get("service") or "an unknown source"
    logger.warning(
        f"{accession} was not imported: the store has another family with this name, from {origin}; --replace replaces it"
    )


def import_release(folder: Path, store: Store, *, refresh: bool = False, policy: Policy | None = None) -> Release:
    """Split a Pfam release in a folder into the store; checksums are verified if the folder contains `md5_checksums`.

    Raises:
        BadInputError: the folder contains no alignments, a file is damaged, or a checksum does not match.
    """
    alignment = "seed" if _release_file(folder, "seed") else "full"
    alignments = _release_file(folder, alignment)
    if alignments is None:
        raise BadInputError(f"{folder} contains no Pfam release", fix="it needs Pfam-A.seed.gz or Pfam-A.full.gz")
    number = _release_number(folder)
    clans, profiles = _either(folder / CLANS), _either(folder / PROFILES)
    published = _published(folder)
    for path in (alignments, clans, profiles):
        if path is not None and path.name in published:
            with path.open("rb") as handle:
                if (
                    hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
                    != published[path.name]
                ):
                    raise BadInputError(f"{path} does not match its checksum in md5_checksums", fix="copy it again")
    with store.locked(f"release-{number}"):
        came = split_release(
            store,
            number,
            clans=clans,
            alignments=alignments,
            profiles=profiles,
            alignment=alignment,
            policy=policy or default_policy(),
            refresh=refresh,
        )
    for accession, why in came.alignments.skipped.items():
        logger.warning(f"skipped {accession}: {why}")
    return came


def _either(path: Path) -> Path | None:
    """Return the path of a release file, compressed or decompressed; None if neither exists."""
    return next((p for p in (path, path.with_suffix("")) if p.is_file()), None)


def _release_file(folder: Path, alignment: str) -> Path | None:
    return _either(folder / ALIGNMENTS[alignment])


def _release_number(folder: Path) -> str:
    version = _either(folder / "Pfam.version.gz")
    if version is not None:
        with open_input(version) as stream:
            found = re.search(rb"Pfam release\s*:\s*(\d{1,3}\.\d{1,3})", stream.read(1 << 16))
        if found:
            return found.group(1).decode()
    named = re.search(r"(\d{1,3}\.\d{1,3})$", folder.resolve().name)
    return named.group(1) if named else "unknown"


def _published(folder: Path) -> dict[str, str]:
    path = folder / "md5_checksums"
    if not path.is_file():
        logger.warning(f"{folder} has no md5_checksums; its files are not verified")
        return {}
    lines = (line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {words[1]: words[0] for words in lines if len(words) == 2}


def _files(folder: Path) -> list[PathLike | None]:
    def fits(path: Path) -> bool:
        return path.is_file() and not path.name.startswith(".") and suffix_of(path) in FAMILY_SUFFIXES

    found: list[PathLike | None] = [path for path in sorted(folder.iterdir()) if fits(path)]
    if not found:
        raise BadInputError(
            f"{folder} contains no families", fix=f"give files with one family each, named {', '.join(FAMILY_SUFFIXES)}"
        )
    return found


def _read_all(sources: Iterable[PathLike | None], failures: Failures) -> Iterator[tuple[PathLike | None, int, Family]]:
    """Yield (source, number in the source from 1, family) for all sources; the number is 0 for a single family."""
    check = NucleotideCheck()
    for source in sources:
        records = check.families(read_families(source, on_failure=failures.add))
        first = next(records, None)
        second = next(records, None)
        if first is not None:
            yield source, 0 if second is None else 1, first
        if second is not None:
            for number, family in enumerate(chain([second], records), 2):
                yield source, number, family


def _accession(family: Family, source: PathLike | None, number: int) -> str:
    """Return the key of a family in the store: its accession, its name, or its file name with its number."""
    file = stem(source)
    for text in (family.accession, family.name, f"{file}.{number}" if file and number else file):
        name = _UNSAFE.sub("_", text).strip("._-")[:100]
        if name and is_safe(name):
            return name
    raise BadInputError(
        f"{family.where or display_name(source)}: a family without accession or name",
        fix="give it a '#=GF AC' line, or put it in a file",
    )


def _aligned(family: Family, accession: str, align: Align | None) -> Family:
    if len(family) == 1:
        return replace(family, rows=[family.sequences()[0].residues], aligned=True)
    if align is None:
        raise BadInputError(
            f"{accession} is not aligned, but the store contains alignments", fix="use 'phylocli align' first"
        )
    logger.info(f"{accession} is not aligned; aligning it")
    return align(family)


def _named(family: Family, accession: str) -> Family:
    """Return the family with its key in the store as accession or name."""
    if accession in (family.accession, family.name if not family.accession else None):
        return family
    return replace(family, accession=accession) if family.accession else replace(family, name=accession)


def _members(family: Family) -> list[tuple[str, str]]:
    return sorted((name, degap(row)) for name, row in zip(family.ids, family.rows, strict=True))


def _digest(family: Family) -> str:
    digest = hashlib.sha256()
    for name, row in zip(family.ids, family.rows, strict=True):
        digest.update(f"{name}\t{row}\n".encode())
    return digest.hexdigest()
