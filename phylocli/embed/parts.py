"""Embedding into a folder of parts: resumable after any interruption, and divisible among processes, GPUs or machines.

A part contains `shard_size` consecutive sequences, and its bytes depend only on them, the model and the settings, so an
existing part is complete. Shard k of n consists of the parts k - 1, k - 1 + n, …; every process reads the whole input and
computes its parts.
"""

from __future__ import annotations

import functools
import json
import logging
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from phylocli.config.embed import Shard
from phylocli.core.errors import BadInputError, PhylocliError, UsageError
from phylocli.core.threads import limit_threads
from phylocli.core.words import counted
from phylocli.embed.inputs import Checksum
from phylocli.embed.throughput import Meter
from phylocli.embed.to_table import Tabulator
from phylocli.executors import Work, run_all, summarise
from phylocli.formats import Sequence
from phylocli.formats.streams import PathLike, is_url, locks, open_output, write_text
from phylocli.formats.streams.remote import join, listing, remove
from phylocli.formats.tables import TableWriter, read_parquet_metadata
from phylocli.formats.tables.parts import (
    FORMAT,
    MANIFEST,
    Manifest,
    is_part_beyond,
    is_parts,
    missing_parts,
    part_name,
    read_manifest,
)
from phylocli.models.device import choose_device

logger = logging.getLogger(__name__)

SHARD_SIZE = {False: 50_000, True: 1_000}
"""Number of sequences per part: for embeddings of sequences, and of residues."""

VISIBLE = 30.0
"""Seconds until a part that a worker has written must be seen here: network file systems show new files late."""

MAX_PART_RESIDUES = 50_000_000
"""Maximum number of residues in a part, which is held in memory."""


def cut(sequences: Iterable[Sequence], size: int) -> Iterator[list[Sequence]]:
    """Yield the sequences of each part."""
    part: list[Sequence] = []
    residues = 0
    for sequence in sequences:
        part.append(sequence)
        residues += len(sequence.residues)
        if len(part) == size or residues >= MAX_PART_RESIDUES:
            yield part
            part, residues = [], 0
    if part:
        yield part


def digest(part: Iterable[Sequence]) -> str:
    """Return the checksum of a part, by which an existing part is recognised as one of this input."""
    found = Checksum()
    for sequence in part:
        found.add(sequence)
    return str(found)


def open_folder(folder: PathLike, maker: Tabulator, size: int, checksum: str = "") -> Manifest:
    """Write the manifest of a new folder, or check that an existing one matches; return it.

    Args:
        folder: the folder of parts, or its URL.
        maker: the model and the settings.
        size: number of sequences per part.
        checksum: of the whole input; empty if not yet known (a pipe).

    Raises:
        UsageError: the folder contains embeddings of another model or with other settings, or something else.
        BadInputError: the folder contains embeddings of another input.
    """
    settings: dict[str, object] = {
        **maker.metadata,
        "dimension": maker.dimension,
        "per_residue": maker.per_residue,
        "half": maker.half,
        "shard_size": size,
    }
    wanted: Manifest = {"format": FORMAT, "settings": settings}
    if checksum:
        wanted["input"] = checksum
    if is_parts(folder):
        found = read_manifest(folder)
        # Folders of versions before there were precisions are of float32.
        there = {"phylocli.precision": "fp32", **found["settings"]}
        for key in [*settings, *(key for key in there if key not in settings)]:
            if there.get(key) != settings.get(key):
                then, now = (repr(words[key]) if key in words else "not set" for words in (there, settings))
                raise UsageError(
                    f"{folder} contains embeddings with other settings",
                    why=f"{key.removeprefix('phylocli.')} is {then} there, and {now} now",
                    fix="name another folder, or use the same settings",
                )
        if checksum and found.get("input", checksum) != checksum:
            raise _other_input(folder)
        return found
    if listing(folder) if is_url(folder) else Path(folder).is_dir() and not locks.is_empty(Path(folder)):
        raise UsageError(f"{folder} contains something other than a table in parts", fix="name an empty or a new folder")
    _write_manifest(folder, wanted)
    return wanted


def _write_manifest(folder: PathLike, manifest: Manifest) -> None:
    write_text(join(folder, MANIFEST), json.dumps(manifest, indent=2) + "\n")


def _other_input(place: PathLike) -> BadInputError:
    return BadInputError(
        f"{place} belongs to another input",
        why="its sequences, or their order, differ",
        fix="give the same inputs in the same order, or name another folder",
    )


def write_parts(
    sequences: Iterable[Sequence],
    folder: PathLike,
    maker: Tabulator,
    *,
    shard: Shard,
    size: int,
    meter: Meter,
    checksum: str = "",
    jobs: int = 1,
    cluster: str | None = None,
    threads: int = 1,
) -> tuple[int, int]:
    """Compute the missing or damaged parts of a shard; return the number of parts computed, and of all parts.

    Args:
        sequences: the whole input.
        folder: the folder of parts; it belongs to one input.
        maker: the model and the settings.
        shard: the parts to compute.
        size: number of sequences per part.
        meter: counts the progress.
        checksum: of the input, if known beforehand. Otherwise (a pipe) it is compared at the end, and the computed parts are
            removed if it differs.
        jobs: number of processes; 1 uses the current process.
        cluster: a cluster instead of processes, see `ClusterConfig.parse`. Workers that see the folder write into it;
            others send their parts.
        threads: of each process, or worker of a cluster.

    Raises:
        BadInputError: the folder, or an existing part, belongs to another input.
        UsageError: the folder was made with other settings.
        PhylocliError: a worker wrote a part elsewhere.
    """
    manifest = open_folder(folder, maker, size, checksum)
    parts = total = kept = 0
    start = time.monotonic()
    computed: list[str] = []
    seen = Checksum()
    there = listing(folder)

    def missing_ones() -> Iterator[tuple[str, tuple[int, list[Sequence]]]]:
        nonlocal parts, total, kept
        for number, part in enumerate(cut(sequences, size)):
            parts, total = number + 1, total + len(part)
            for sequence in part:
                seen.add(sequence)
            name = part_name(number)
            if number not in shard or (name in there and _is_done(join(folder, name), part)):
                kept += number in shard
                meter.skipped(len(part), sum(len(s.residues) for s in part))
                continue
            computed.append(name)
            yield name, (number, part)

    if jobs == 1 and cluster is None:
        for _, (number, part) in missing_ones():
            _write_part(join(folder, part_name(number)), part, maker, meter)
    else:
        device = maker.model.device
        maker.model.to("cpu")  # to be sent
        work = Work(
            functools.partial(
                _compute_part, maker, folder if is_url(folder) else Path(folder).resolve(), read_manifest(folder)
            ),
            functools.partial(_begin, maker, str(device), threads),
            unit="parts",
            fix="use a smaller --shard-size or --max-tokens, or workers with more memory",
        )
        for number, count, residues, data in run_all(work, missing_ones(), jobs=jobs, cluster=cluster):
            if data is not None:
                with open_output(join(folder, part_name(number)), compress=False) as stream:
                    stream.write(data)
            meter.done(count, residues)
        _check_written(folder, computed)
    divided = jobs != 1 or cluster is not None
    summarise("parts", done=len(computed), known=kept, seconds=time.monotonic() - start, divided=divided)
    known = read_manifest(folder)  # another shard may have written it in the meantime
    if known.get("input", str(seen)) != str(seen) or is_part_beyond(folder, parts):
        for name in computed:
            remove(join(folder, name))
        raise _other_input(folder)
    complete: Manifest = {**manifest, "input": str(seen), "parts": parts, "sequences": total}
    if known != complete:
        _write_manifest(folder, complete)
    missing = missing_parts(folder, parts)
    if missing:
        logger.info(f"{folder}: {len(missing)} of {parts} parts are missing; other shards compute them")
    return len(computed), parts


def _check_written(folder: PathLike, names: Iterable[str]) -> None:
    """Raise an error if parts are not there that workers have written to what they took for this folder."""
    end = time.monotonic() + VISIBLE
    while absent := sorted(set(names) - set(listing(folder))):
        if time.monotonic() > end:
            raise PhylocliError(
                f"{folder}: workers computed {counted(len(absent), 'part')}, such as {absent[0]}, that are not there",
                why="a worker has a folder of this name on a disk of its own, with the same settings",
                fix="delete that folder there, or name another, and run the same command again",
            )
        time.sleep(0.2)


def _write_part(path: PathLike, part: list[Sequence], maker: Tabulator, meter: Meter | None = None) -> None:
    with TableWriter(path, maker.schema(input=digest(part)), "parquet") as writer:
        for table, count, residues in maker.tables(part, None if meter is None else meter.computed):
            writer.write(table)
            if meter is not None:
                meter.done(count, residues)


def _begin(maker: Tabulator, device: str, threads: int) -> None:
    """Prepare a worker."""
    limit_threads(threads)
    # The first device of any kind is what `auto` chooses, and workers may have other kinds.
    chosen = device == "cpu" or not device.endswith((":0", "cuda", "mps"))
    maker.model.to(choose_device(device if chosen else "auto"))


def _compute_part(
    maker: Tabulator, folder: PathLike, manifest: Manifest, numbered: tuple[int, list[Sequence]]
) -> tuple[int, int, int, bytes | None]:
    """Compute a part in a worker; return its number, sequences and residues, and its bytes if not written."""
    number, part = numbered
    try:
        seen = read_manifest(folder)  # with counts, once another shard has read the whole input
        sees_folder = all(seen.get(key) == manifest.get(key) for key in ("settings", "input"))
    except PhylocliError:
        sees_folder = False
    data = None
    if sees_folder:
        _write_part(join(folder, part_name(number)), part, maker)
    else:
        with tempfile.TemporaryDirectory(prefix="phylocli-") as scratch:
            path = Path(scratch) / part_name(number)
            _write_part(path, part, maker)
            data = path.read_bytes()
    return number, len(part), sum(len(s.residues) for s in part), data


def _is_done(path: PathLike, part: list[Sequence]) -> bool:
    """Return whether an existing part is complete."""
    try:
        found = read_parquet_metadata(path).get("phylocli.input")
    except BadInputError as error:
        logger.warning(f"{path} is damaged and will be recomputed ({error.why})")
        return False
    if found != digest(part):
        raise _other_input(path)
    return True
