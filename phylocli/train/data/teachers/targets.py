"""The vectors of teachers for the sequences of a batch.

The views of a pair are parts of members. Where a view lies in its member is found by its content, so views need not tell.
The teacher's vector of a part is the mean over it of what the teacher computed in the context of the whole sequence. For
poolings that are averages over residues, the vectors of parts average to the vector of the whole, so a student that agrees
on crops agrees on whole sequences.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phylocli.config.train import TrainConfig
from phylocli.core.alphabet import decode_tokens
from phylocli.core.errors import UsageError
from phylocli.formats import Sequence as Named
from phylocli.formats.streams import cache_folder
from phylocli.train.data.compiled import Cache, Compiled
from phylocli.train.data.teachers.cache import Stored, computed, digest_of
from phylocli.train.data.teachers.sources import RESIDUES, VECTOR, FloatArray, Rows, Teacher
from phylocli.train.random_streams import RandomStream
from phylocli.views import Tokens

SAMPLE = 4096
"""Sequences from which the mean and the scale of a teacher's vectors are estimated."""

KEPT_BYTES = 1 << 28
"""Bytes of the tokens of families that are kept in memory, by each process."""


@dataclass
class TeacherBatch:
    """The teachers' vectors for V sequences: the first views of N pairs, then their second views.

    Attributes:
        vectors: (V, D) for each teacher, standardised; (V, 0) if only residues are compared.
        sequences: indices of the sequences whose residues are compared.
        residues: for each teacher, and each of these sequences, arrays (L, width) by name of the track.
    """

    vectors: list[FloatArray]
    sequences: npt.NDArray[np.int64]
    residues: list[list[Rows]]

    def first_pairs(self, n: int) -> TeacherBatch:
        """Return the part for the first n pairs."""
        pairs = len(self.vectors[0]) // 2
        rows = np.r_[:n, pairs : pairs + n] if n < pairs else np.arange(2 * pairs)
        kept = np.flatnonzero(np.isin(self.sequences, rows))
        places = np.searchsorted(rows, self.sequences[kept])
        return TeacherBatch([x[rows] for x in self.vectors], places, [[found[k] for k in kept] for found in self.residues])


class TeacherTargets:
    """The vectors of the teachers for any part of the members of a corpus.

    Args:
        stored: the rows of each teacher, of all members of the compiled data set that are used.
        compiled: the data set.
        families: index in the data set of each family of the corpus.
        sequences: number of sequences per step whose residues are compared.
        seed: the random seed.
    """

    def __init__(self, stored: list[Stored], compiled: Compiled, families: list[int], *, sequences: int, seed: int) -> None:
        self.stored, self.compiled, self.families = stored, compiled, families
        self.sequences, self.seed = sequences, seed
        self._starts = np.concatenate([[0], np.cumsum(compiled.sizes[families])])
        self._kept: dict[int, tuple[bytes, npt.NDArray[np.int64]]] = {}
        self._kept_bytes = 0
        rng = np.random.default_rng([seed, RandomStream.TEACHERS])
        sample = np.sort(rng.permutation(int(self._starts[-1]))[:SAMPLE]).tolist()
        self._standards = [
            {name: self._standard(found, name, sample) for name in (VECTOR, RESIDUES) if name in found.tracks}
            for found in stored
        ]

    def _standard(self, stored: Stored, track: str, sample: list[int]) -> tuple[FloatArray, np.float32]:
        """Return the mean of a teacher's vectors, (D,), and the root mean square of their distance from it."""
        rows = (stored.read(k, track) for k in sample[: None if track == VECTOR else SAMPLE // 16])
        parts = np.concatenate([found.mean(0, keepdims=True) if track == VECTOR else found for found in rows])
        mean = parts.mean(0)
        spread = np.sqrt(np.square(parts - mean).sum(1).mean())
        return mean, np.float32(spread if spread > 0 else 1.0)

    def batch(self, families: Sequence[int], sequences: Sequence[Tokens], step: int | None) -> TeacherBatch:
        """Return the vectors of the sequences of a batch.

        Args:
            families: family of each sequence, as an index of the corpus, (V,).
            sequences: parts of members, V.
            step: number of the step; None for validation.

        Raises:
            UsageError: a sequence is not a part of a member.
        """
        places = [self._locate(family, tokens) for family, tokens in zip(families, sequences, strict=True)]
        vectors = []
        for stored, standards in zip(self.stored, self._standards, strict=True):
            if VECTOR not in stored.tracks:
                vectors.append(np.zeros((len(sequences), 0), dtype=np.float32))
                continue
            mean, scale = standards[VECTOR]
            found = np.stack([_average(stored, *place) for place in places])
            vectors.append((found - mean) / scale)
        rng = np.random.default_rng([self.seed, RandomStream.TEACHERS, *([] if step is None else [step])])
        compared = self.sequences if any(set(stored.tracks) - {VECTOR} for stored in self.stored) else 0
        chosen = np.sort(rng.permutation(len(sequences))[:compared])
        residues = [
            [self._residues(stored, standards, *places[k]) for k in chosen.tolist()]
            for stored, standards in zip(self.stored, self._standards, strict=True)
        ]
        return TeacherBatch(vectors, chosen, residues)

    def _residues(
        self, stored: Stored, standards: dict[str, tuple[FloatArray, np.float32]], member: int, start: int, stop: int
    ) -> Rows:
        found = {name: stored.read(member, name, start, stop) for name in stored.tracks if name != VECTOR}
        if RESIDUES in found:
            mean, scale = standards[RESIDUES]
            found[RESIDUES] = (found[RESIDUES] - mean) / scale
        return found

    def _locate(self, family: int, tokens: Tokens) -> tuple[int, int, int]:
        """Return the stored sequence of which a sequence is a part, and the part."""
        text, ends = self._text(family)
        at = text.find(tokens.tobytes())
        if at < 0:
            raise UsageError(
                f"the view makes sequences that are not part of a member of {self.compiled.labels[self.families[family]]}, "
                "so that no teacher has read them",
                fix="distil with views that leave residues as they are: phylogenetic+crop, across-groups, spans, …",
            )
        member = int(np.searchsorted(ends, at, side="right"))
        start = at - (int(ends[member - 1]) if member else 0)
        return int(self._starts[family]) + member, start, start + len(tokens)

    def _text(self, family: int) -> tuple[bytes, npt.NDArray[np.int64]]:
        """Return the tokens of all members of a family, separated by a byte that is not a token, and where each ends."""
        known = self._kept.get(family)
        if known is None:
            members = self.compiled.family(self.families[family]).tokens
            text = b"".join(member.tobytes() + b"\xff" for member in members)
            known = text, np.cumsum([len(member) + 1 for member in members])
            self._kept[family] = known
            self._kept_bytes += len(text) + known[1].nbytes
            while self._kept_bytes > KEPT_BYTES:
                oldest, old_ends = self._kept.pop(next(iter(self._kept)))
                self._kept_bytes -= len(oldest) + old_ends.nbytes
        return known


def _average(stored: Stored, member: int, start: int, stop: int) -> FloatArray:
    """Return the mean of the blocks of a part of a sequence, weighted by their residues in it, (D,)."""
    block = stored.tracks[VECTOR].block
    if not block:
        return stored.read(member, VECTOR)[0]
    first, last = start // block, -(-stop // block)
    edges = np.arange(first, last + 1) * block
    weight = np.diff(edges.clip(start, stop)).astype(np.float32)
    mean: FloatArray = weight @ stored.read(member, VECTOR, first, last) / weight.sum()
    return mean


def load_targets(
    teachers: Sequence[Teacher], compiled: Compiled, families: list[int], config: TrainConfig, cache: Cache
) -> TeacherTargets:
    """Compute what is missing in the cache, and return the vectors of the teachers.

    Args:
        teachers: the teachers.
        compiled: the data set.
        families: index in the data set of each family of the corpus.
        config: configuration of the run.
        cache: folder of the cache; True is the default folder, and with False the vectors are deleted at the end of the run.

    Raises:
        BadInputError: a table lacks sequences.
    """
    digests, lengths, place = [], [], []
    for index in families:
        for member, tokens in enumerate(compiled.family(index).tokens):
            digests.append(digest_of(tokens))
            lengths.append(len(tokens))
            place.append((index, member))

    @functools.lru_cache(maxsize=64)
    def family(index: int) -> tuple[list[str], list[Tokens]]:
        found = compiled.family(index)
        return found.ids, found.tokens

    def sequence(k: int) -> Named:
        index, member = place[k]
        ids, tokens = family(index)
        return Named(ids[member], decode_tokens(tokens[member], compiled.alphabet))

    with contextlib.ExitStack() as after_error:
        if cache is False:
            root = Path(tempfile.mkdtemp(prefix="phylocli-teachers-"))
            after_error.callback(shutil.rmtree, root, ignore_errors=True)
        else:
            root = cache_folder() if cache is True else Path(cache)
        stored = [computed(teacher, root, digests, sequence, np.array(lengths, dtype=np.int64)) for teacher in teachers]
        sequences = config.distillation.sequences
        targets = TeacherTargets(stored, compiled, families, sequences=sequences, seed=config.seed)
        if cache is False:
            weakref.finalize(targets, shutil.rmtree, root, ignore_errors=True)
            after_error.pop_all()
    return targets
