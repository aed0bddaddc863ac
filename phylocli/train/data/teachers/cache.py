"""The vectors of a teacher on disk: computed once for every sequence, in parts, so that an interrupted run goes on.

The folder of a teacher is named by its fingerprint and by what is kept of it. A part contains some sequences, by the digest
of their tokens, as arrays of float16 with checksums. A damaged part is computed again; it stays for a while, because another
run may have opened it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phylocli.core import console
from phylocli.core.errors import BadInputError
from phylocli.core.words import counted
from phylocli.embed.batching import windows
from phylocli.formats import Sequence as Named
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import atomic_directory, locks
from phylocli.train.data.arrays import ArrayWriter, DamagedError, path_of, verify
from phylocli.train.data.teachers.sources import FloatArray, Teacher, Track

logger = logging.getLogger(__name__)

FORMAT = 1
"""Version of the format, part of the folder's name."""

PART_RESIDUES, PART_SECONDS = 4_000_000, 120.0
"""A part ends after so many residues, or so many seconds of computing: what an interruption loses at most."""

AT_ONCE = 32_768
"""Residues that a teacher computes at once."""

UNUSED_DAYS = 30.0
"""Days after which the vectors of a teacher that no run has used are deleted, and damaged parts."""

CHECKED, DAMAGED = "checked", "damaged"
"""Empty files in a part: when its checksums were right, and whether they were wrong."""

CHECKED_SECONDS = 3600.0
"""For so long, the checksums of an unchanged part are not computed again: not by each process of a run or run of a sweep."""

Digest = bytes


def digest_of(tokens: npt.NDArray[np.uint8]) -> Digest:
    """Return the key of a sequence."""
    return hashlib.blake2b(tokens.tobytes(), digest_size=16).digest()


@dataclass
class Stored:
    """The rows of a teacher for the sequences of a corpus, read from disk on demand.

    Attributes:
        teacher: its name.
        tracks: by name.
        parts: folders.
        part: part of each sequence, (sequences,).
        ends: for each track, the first row and the row after the last of each sequence in its part, (sequences, 2).
    """

    teacher: str
    tracks: dict[str, Track]
    parts: list[Path]
    part: npt.NDArray[np.int32]
    ends: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)

    def read(self, sequence: int, track: str, first: int = 0, last: int | None = None) -> FloatArray:
        """Return the rows from `first` to before `last` of a sequence, (rows, width)."""
        start, end = self.ends[track][sequence].tolist()
        last = end - start if last is None else last
        width = self.tracks[track].width
        path = path_of(self.parts[self.part[sequence]], track)
        found = np.fromfile(path, dtype="<f2", count=(last - first) * width, offset=2 * (start + first) * width)
        return found.astype(np.float32).reshape(-1, width)


def key_of(teacher: Teacher) -> str:
    """Return the name of the teacher's folder."""
    facts = [FORMAT, teacher.fingerprint, [(track.name, track.width, track.block) for track in teacher.tracks]]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def computed(
    teacher: Teacher,
    root: Path,
    digests: Sequence[Digest],
    sequence: Callable[[int], Named],
    lengths: npt.NDArray[np.int64],
) -> Stored:
    """Return the rows of a teacher for some sequences, after computing those that are not in the cache.

    Args:
        teacher: the teacher.
        root: folder of the cache.
        digests: keys of the sequences; equal sequences may occur several times.
        sequence: returns a sequence by its index.
        lengths: of the sequences, (sequences,).

    Raises:
        BadInputError: the teacher has no vectors of some sequences, or vectors that are not finite in float16.
    """
    folder = root / "teachers" / key_of(teacher)
    folder.mkdir(parents=True, exist_ok=True)
    _clear_unused(folder)
    with locks.waiting(folder / "lock", f"computes the embeddings of the teacher {teacher.name}"):
        (folder / "used").touch()
        known = _known(folder, set(digests))
        first: dict[Digest, int] = {}
        for k, digest in enumerate(digests):
            first.setdefault(digest, k)
        missing = [k for digest, k in first.items() if digest not in known]
        if missing:
            missing = _known_ids(teacher, digests, missing, sequence)
            missing.sort(key=lambda k: (int(lengths[k]), k))  # of similar length together: little padding
            _compute(teacher, folder, missing, digests, sequence, lengths)
            known = _known(folder, set(digests))
        else:
            logger.info(f"teacher {teacher.name}: using the embeddings in {folder}")
    return _stored(teacher, known, digests)


def _known_ids(
    teacher: Teacher, digests: Sequence[Digest], missing: list[int], sequence: Callable[[int], Named]
) -> list[int]:
    """Return `missing` with sequences whose ids the teacher does not know replaced by equal ones whose ids it knows.

    Raises:
        BadInputError: the teacher knows nothing of some sequences.
    """
    ids = {k: sequence(k).id for k in missing}
    lacking = set(teacher.without(list(ids.values())))
    wanted = {digests[k] for k, name in ids.items() if name in lacking}
    equal = [k for k, digest in enumerate(digests) if digest in wanted] if wanted else []
    unknown = set(teacher.without([sequence(k).id for k in equal]))
    known = {digests[k]: k for k in equal if sequence(k).id not in unknown}
    left = [name for k, name in ids.items() if name in lacking and digests[k] not in known]
    if left:
        shown = ", ".join(repr(shorten(name)) for name in left[:5]) + (", …" if len(left) > 5 else "")
        raise BadInputError(
            f"{teacher.name} lacks {len(left):,} of the {len(set(digests)):,} sequences of the families: {shown}",
            why="every sequence that is trained on or held out needs a teacher's vector, under its id in the families",
            fix="embed the families that are trained on: phylocli embed FAMILIES -o TABLE.parquet",
        )
    return [known[digests[k]] if name in lacking else k for k, name in ids.items()]


def _compute(
    teacher: Teacher,
    folder: Path,
    missing: list[int],
    digests: Sequence[Digest],
    sequence: Callable[[int], Named],
    lengths: npt.NDArray[np.int64],
) -> None:
    total = int(lengths[missing].sum())
    logger.info(
        f"teacher {teacher.name}: embedding {counted(len(missing), 'sequence')} once, {total:,} residues, in {folder}"
    )
    kinds = {"digests": "u8", **{track.name: "f2" for track in teacher.tracks}}
    kinds |= {f"{track.name}_rows": "u4" for track in teacher.tracks}
    for left in folder.glob(".part-*"):  # of killed processes
        shutil.rmtree(left, ignore_errors=True)
    number = max((int(path.name.removeprefix("part-")) for path in folder.glob("part-*")), default=-1) + 1
    together = windows((sequence(k) for k in missing), AT_ONCE, lambda one: len(one.residues))
    done = 0
    with console.progress_task(f"teacher {Path(teacher.name).name}", total=total) as bar:
        while done < len(missing):
            began, first = time.monotonic(), done
            with atomic_directory(folder / f"part-{number:06d}") as part:
                with ArrayWriter(part, kinds) as arrays:
                    for some in together:
                        for named, found in zip(some, teacher.compute(some), strict=True):
                            arrays.append("digests", np.frombuffer(digests[missing[done]], dtype="<u8"))
                            for track in teacher.tracks:
                                values = _half(found[track.name], teacher.name, named.id)
                                arrays.append(track.name, values.reshape(-1))
                                arrays.append(f"{track.name}_rows", [len(values)])
                            done += 1
                        bar.advance(sum(len(named.residues) for named in some))
                        if lengths[missing[first:done]].sum() >= PART_RESIDUES or time.monotonic() - began > PART_SECONDS:
                            break
                arrays.finish({"teacher": teacher.name, "fingerprint": teacher.fingerprint})
                (part / CHECKED).touch()
            number += 1


def _half(values: FloatArray, teacher: str, name: str) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore"):
        found = values.astype(np.float16)
    if not np.isfinite(found).all():
        raise BadInputError(
            f"the teacher {teacher} gives {shorten(name)!r} a vector that is not finite in float16",
            why=f"its largest value is {np.abs(values).max():.3g}",
            fix="use another teacher, or a table of scaled vectors",
        )
    return found


def _known(folder: Path, wanted: set[Digest]) -> dict[Digest, tuple[Path, int]]:
    """Return the part and the index there of each sequence in the cache; parts with wanted ones have right checksums."""
    found: dict[Digest, tuple[Path, int]] = {}
    for part in sorted(folder.glob("part-*")):
        if _sound(part, content=False):
            keys = path_of(part, "digests").read_bytes()
            found |= {keys[16 * k : 16 * k + 16]: (part, k) for k in range(len(keys) // 16)}
    used = sorted({found[digest][0] for digest in wanted & found.keys()})
    # The sequences of a damaged part may be in another one.
    return found if all(_sound(part, content=True) for part in used) else _known(folder, wanted)


def _sound(part: Path, *, content: bool) -> bool:
    """Return whether a part agrees with its manifest in size, and in its checksums if `content`; mark it if it does not."""
    mark = part / DAMAGED
    if mark.is_file():
        if time.time() - mark.stat().st_mtime > UNUSED_DAYS * 86400:
            shutil.rmtree(part, ignore_errors=True)
        return False
    try:
        verify(part, content=content and not _checked(part))
    except DamagedError as error:
        logger.warning(f"{error.what}; its sequences are embedded again")
        mark.touch()
        return False
    if content and not _checked(part):
        (part / CHECKED).touch()
    return True


def _checked(part: Path) -> bool:
    """Return whether the checksums of a part were right not long ago, and no file has been written since."""
    try:
        at = (part / CHECKED).stat().st_mtime_ns
        changed = max(path.stat().st_mtime_ns for path in part.iterdir())
    except OSError:
        return False
    return changed <= at and time.time() - at / 1e9 < CHECKED_SECONDS


def _stored(teacher: Teacher, known: dict[Digest, tuple[Path, int]], digests: Sequence[Digest]) -> Stored:
    places = [known[digest] for digest in digests]
    parts = sorted({part for part, _ in places})
    number = {part: k for k, part in enumerate(parts)}
    in_part = np.array([number[part] for part, _ in places], dtype=np.int32)
    at = np.array([k for _, k in places], dtype=np.int64)
    stored = Stored(teacher.name, {track.name: track for track in teacher.tracks}, parts, in_part)
    for track in teacher.tracks:
        ends = np.zeros((len(places), 2), dtype=np.int64)
        for k, part in enumerate(parts):
            rows = np.concatenate([[0], np.cumsum(np.fromfile(path_of(part, f"{track.name}_rows"), dtype="<u4"))])
            here = in_part == k
            ends[here] = np.stack([rows[at[here]], rows[at[here] + 1]], axis=1)
        stored.ends[track.name] = ends
    return stored


def _clear_unused(folder: Path) -> None:
    """Remove the vectors of other teachers that no run has used for `UNUSED_DAYS`."""
    for other in folder.parent.iterdir():
        used = other / "used"
        with contextlib.suppress(OSError):
            if other != folder and used.is_file() and time.time() - used.stat().st_mtime > UNUSED_DAYS * 86400:
                shutil.rmtree(other, ignore_errors=True)
