"""The sources of a teacher's vectors: a model, or a table of embeddings."""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from phylocli import models
from phylocli.config.train import DistillationConfig, TrainConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.embed import Embedder
from phylocli.formats import Sequence as Named
from phylocli.formats.embeddings import EmbeddingTable, read_embeddings
from phylocli.formats.embeddings.esm import is_folder
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import file_sha256
from phylocli.formats.tables.parts import is_parts
from phylocli.models.heads import find_head

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]
Rows = dict[str, FloatArray]
"""Of one sequence: an array (rows, width) by name of the track."""

VECTOR, RESIDUES = "vector", "residues"

AVERAGES = ("mean", "feature-mean")
"""Poolings that are averages over residues: the vector of a sequence is the weighted mean of those of its parts."""


@dataclass(frozen=True)
class Track:
    """Something that is known of every sequence.

    Attributes:
        name: `vector`, `residues`, or a head.
        width: numbers per row.
        block: residues per row; 0: one row for the sequence.
    """

    name: str
    width: int
    block: int

    def rows(self, length: int) -> int:
        """Return the number of rows of a sequence of this length."""
        return -(-length // self.block) if self.block else 1


class Teacher(ABC):
    """A source of vectors.

    Attributes:
        name: as the user gave it.
        fingerprint: of the model, or of the content of the table.
        tracks: what it gives for every sequence.
    """

    name: str
    fingerprint: str
    tracks: tuple[Track, ...]

    def width(self, track: str) -> int:
        """Return the numbers per row of a track, 0 if the teacher does not give it."""
        return next((found.width for found in self.tracks if found.name == track), 0)

    def without(self, ids: Sequence[str]) -> list[str]:
        """Return the ids of which the teacher knows nothing."""
        return []

    @abstractmethod
    def compute(self, sequences: Sequence[Named]) -> list[Rows]:
        """Return the rows of each sequence."""


class ModelTeacher(Teacher):
    """A model; with a pooling that averages over residues, its vector is kept for blocks of residues.

    Args:
        name: name or folder of the model.
        config: what is distilled.
        alphabet: of the run.
        device: of the run.

    Raises:
        UsageError: no such model, or one for another alphabet.
    """

    def __init__(self, name: str, config: DistillationConfig, alphabet: str, device: str) -> None:
        model = models.load(name, device)
        if model.alphabet != alphabet:
            raise UsageError(
                f"the teacher {name} reads {model.alphabet}, and the run trains on {alphabet}",
                fix="name a teacher of the same alphabet",
            )
        self.name, self.fingerprint, self.embedder = name, model.fingerprint, Embedder(model)
        divisible = config.target == "crop" and model.config.pooling in AVERAGES
        if config.target == "crop" and not divisible:
            logger.info(f"the teacher {name} pools by {model.config.pooling}: crops are compared with its vectors of wholes")
        tracks = [Track(VECTOR, model.dimension, config.block if divisible else 0)] if config.losses else []
        tracks += [Track(RESIDUES, int(model.encoder.dimension), 1)] if config.residues else []
        heads = [head for head in config.head_weights if head in model.heads]
        self.tracks = (*tracks, *(Track(head, len(find_head(head).states), 1) for head in heads))

    @torch.inference_mode()
    def compute(self, sequences: Sequence[Named]) -> list[Rows]:
        """Return the rows of each sequence."""
        model, texts = self.embedder.model, [sequence.residues for sequence in sequences]
        found: list[Rows] = [{} for _ in texts]
        if any(not track.block for track in self.tracks):
            for rows, vector in zip(found, self.embedder.pooled(texts), strict=True):
                rows[VECTOR] = vector[None]
        in_parts = [track for track in self.tracks if track.block]
        for rows, residues in zip(found, self.embedder.residues(texts) if in_parts else (), strict=False):
            x = torch.from_numpy(residues).to(model.device)
            for track in in_parts:
                if track.name == RESIDUES:
                    rows[RESIDUES] = residues
                elif track.name == VECTOR:
                    rows[VECTOR] = model.pool(*_blocks(x, track.block)).float().cpu().numpy()
                else:
                    logits = model.predict_residues(track.name, *_blocks(x, len(x)))
                    rows[track.name] = logits[0].float().softmax(1).cpu().numpy()
        return found


def _blocks(residues: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return residues (L, R) as consecutive blocks (n, size, R), and their mask (n, size)."""
    length = len(residues)
    n = -(-length // size)
    padded = torch.nn.functional.pad(residues, (0, 0, 0, n * size - length))
    mask = torch.arange(n * size, device=residues.device) < length
    return padded.view(n, size, -1), mask.view(n, size)


class TableTeacher(Teacher):
    """A table of embeddings of sequences, or of residues, whose ids are those of the training sequences.

    Args:
        name: the path.
        config: what is distilled.

    Raises:
        BadInputError: it cannot be read, or has no embeddings.
    """

    def __init__(self, name: str, config: DistillationConfig) -> None:
        self.name, self.table = name, read_embeddings(name)
        residues = self.table.residues
        self.fingerprint = file_sha256(Path(name)) if Path(name).is_file() else _digest(self.table)
        divisible = config.target == "crop" and residues is not None
        width = self.table.dimension
        tracks = [Track(VECTOR, width, config.block if divisible else 0)] if config.losses else []
        self.tracks = (*tracks, *([Track(RESIDUES, width, 1)] if config.residues and residues is not None else []))
        self._row = {name: row for row, name in enumerate(self.table.ids)}

    def without(self, ids: Sequence[str]) -> list[str]:
        """Return the ids that the table lacks."""
        return [name for name in ids if name not in self._row]

    def compute(self, sequences: Sequence[Named]) -> list[Rows]:
        """Return the rows of each sequence.

        Raises:
            BadInputError: the table has another number of residues than the sequence.
        """
        ids = [sequence.id for sequence in sequences]
        whole = self.table.take([self._row[name] for name in ids])
        by_residue = self.table.residues(ids) if self.table.residues is not None else whole
        found: list[Rows] = []
        for sequence, vector, residues in zip(sequences, whole, by_residue, strict=True):
            length = len(sequence.residues)
            if self.table.residues is not None and len(residues) != length:
                raise BadInputError(
                    f"{self.name}: {shorten(sequence.id)!r} has {len(residues)} residues, and {length} in the families",
                    fix="embed the sequences that are trained on, with --per-residue",
                )
            rows: Rows = {}
            for track in self.tracks:
                if track.block > 1:
                    edges = np.arange(0, length, track.block)
                    sizes = np.diff(np.append(edges, length))[:, None].astype(np.float32)
                    sums: FloatArray = np.add.reduceat(residues, edges, axis=0, dtype=np.float32)
                    rows[track.name] = sums / sizes
                else:
                    rows[track.name] = residues if track.block else vector[None]
            found.append(rows)
        return found


def _digest(table: EmbeddingTable) -> str:
    digest = hashlib.sha256("\0".join(table.ids).encode())
    for _, vectors in table.blocks():
        digest.update(np.ascontiguousarray(vectors).tobytes())
    return digest.hexdigest()


def open_teachers(config: TrainConfig) -> list[Teacher]:
    """Return the teachers of a run.

    Raises:
        UsageError: no such model or file, a model for another alphabet, or no teacher gives what is distilled.
        BadInputError: a model or table that cannot be read.
    """
    distilled = config.distillation
    found: list[Teacher] = []
    for name in config.teachers:
        path = Path(name)
        if path.is_file() or is_parts(path) or is_folder(path):
            found.append(TableTeacher(name, distilled))
        else:
            found.append(ModelTeacher(name, distilled, config.alphabet, config.device))
    wanted = [*([RESIDUES] if distilled.residues else []), *distilled.head_weights]
    for track in wanted if found else []:
        if not any(teacher.width(track) for teacher in found):
            what = "residue vectors" if track == RESIDUES else f"head {track!r}"
            raise UsageError(
                f"no teacher has {what}: {', '.join(config.teachers)}",
                fix="name a table made with 'phylocli embed --per-residue', or a model"
                if track == RESIDUES
                else "name a model that was trained with this head",
            )
    return found
