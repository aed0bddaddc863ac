"""Residue labels: sequences with a state or a distribution for each residue, for the heads trained beside the objective.

A table has the columns `id`, `sequence`, and one per head (`three_di` and `dssp`: one letter per residue; `profile`: a list
of 20 numbers per residue; an empty cell is unknown). Optional columns are `part` (`train` or `validation`; rows with other
values are not used) and `weight`: sequences are sampled with probabilities proportional to it, without replacement within a
step.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import check_residues, degap, encode_tokens
from phylocli.core.errors import BadInputError
from phylocli.core.words import counted
from phylocli.formats.streams import PathLike, display_name
from phylocli.formats.tables import read_table, require_columns
from phylocli.models.heads import Targets, find_head
from phylocli.pairs import PARTS
from phylocli.train.random_streams import RandomStream
from phylocli.views import Tokens
from phylocli.views.masking import Masking

logger = logging.getLogger(__name__)


@dataclass
class LabelledBatch:
    """Sequences with residue labels.

    Attributes:
        tokens: tokens of each sequence.
        targets: targets of each sequence, by head.
    """

    tokens: list[Tokens]
    targets: dict[str, list[Targets]]

    def __len__(self) -> int:
        return len(self.tokens)

    def first_sequences(self, n: int) -> LabelledBatch:
        """Return the first n sequences."""
        return LabelledBatch(self.tokens[:n], {head: rows[:n] for head, rows in self.targets.items()})

    @property
    def residues(self) -> int:
        """Total number of residues."""
        return sum(map(len, self.tokens))


class ResidueLabels:
    """Sequences with residue labels, and their sampling.

    Args:
        training, validation: sequences with their targets.
        weight: sampling weight of each training sequence, positive, (training,).
        sequences: number of sequences per step.
        max_length: maximum length in residues; longer sequences are cropped at random positions.
        seed: the random seed; with the step, it determines the sample.
        masked: probability with which a residue of a training sequence is replaced by the mask token; its targets stay.
    """

    def __init__(
        self,
        training: LabelledBatch,
        validation: LabelledBatch,
        weight: npt.NDArray[np.float64],
        *,
        sequences: int,
        max_length: int,
        seed: int,
        masked: float = 0.0,
    ) -> None:
        self.training, self.validation = training, validation
        self.weight = weight / weight.sum()
        self.sequences, self.max_length, self.seed = min(sequences, len(training)), max_length, seed
        self.mask = Masking(masked) if masked else None

    def batch(self, step: int) -> LabelledBatch:
        """Return the sequences of a step, counted from 0."""
        rng = np.random.default_rng([self.seed, RandomStream.RESIDUE_LABELS, step])
        chosen = rng.choice(len(self.training), self.sequences, replace=False, p=self.weight)
        batch = self._cropped(self.training, chosen.tolist(), rng)
        if self.mask is not None:
            batch.tokens = [self.mask(tokens, rng) for tokens in batch.tokens]
        return batch

    def held_out(self, most: int) -> LabelledBatch | None:
        """Return up to `most` cropped validation sequences, the same at every call; None if there are none."""
        rng = np.random.default_rng([self.seed, RandomStream.RESIDUE_LABELS])
        chosen = rng.permutation(len(self.validation))[:most].tolist()
        return self._cropped(self.validation, chosen, rng) if chosen else None

    def _cropped(self, source: LabelledBatch, chosen: Sequence[int], rng: np.random.Generator) -> LabelledBatch:
        parts = []
        for k in chosen:
            length = len(source.tokens[k])
            start = int(rng.integers(max(1, length - self.max_length + 1)))
            parts.append(slice(start, min(length, start + self.max_length)))
        tokens = [source.tokens[k][part] for k, part in zip(chosen, parts, strict=True)]
        targets = {
            head: [rows[k][part] for k, part in zip(chosen, parts, strict=True)] for head, rows in source.targets.items()
        }
        return LabelledBatch(tokens, targets)


def load_residue_labels(
    source: PathLike, heads: Sequence[str], *, sequences: int, max_length: int, seed: int, masked: float = 0.0
) -> ResidueLabels:
    """Read a table of residue labels.

    Args:
        source: a table in TSV, CSV, Parquet or Arrow; profiles require Parquet or Arrow.
        heads: names of the heads whose columns are read.
        sequences, max_length, seed, masked: see `ResidueLabels`.

    Raises:
        BadInputError: a column is missing, labels do not match their sequence or head, or there is no training sequence.
        UsageError: unknown head.
    """
    table, name = read_table(source, typed=False), display_name(source)
    columns = {head: find_head(head).column for head in heads}
    require_columns(table, ["id", "sequence", *dict.fromkeys(columns.values())], name, "a table of residue labels")
    parts: dict[str, LabelledBatch] = {part: LabelledBatch([], {head: [] for head in heads}) for part in PARTS[:2]}
    weights: list[float] = []
    for row in table.iter_rows(named=True):
        part = str(row.get("part") or PARTS[0])
        if part not in parts:
            continue
        into, sequence, where = parts[part], str(row["sequence"]), f"{name}, {row['id']}"
        check_residues(sequence, str(row["id"]), name)
        if degap(sequence) != sequence.upper():
            raise BadInputError(f"{where}: the sequence contains gaps", fix="remove them, and their labels")
        into.tokens.append(encode_tokens(sequence.upper()))
        for head, column in columns.items():
            try:
                found = find_head(head).targets_of(row[column], len(sequence))
            except ValueError as error:
                raise BadInputError(f"{where}: {error}", fix=f"correct the column {column}") from error
            if len(found) != len(sequence) or not sequence:
                raise BadInputError(
                    f"{where}: {column} has labels of {len(found)} residues, sequence has {len(sequence)}",
                    fix="give one label per residue",
                )
            into.targets[head].append(found)
        if part == PARTS[0]:
            weights.append(_weight(row.get("weight"), where))
    training, validation = (parts[part] for part in PARTS[:2])
    if not training.tokens:
        raise BadInputError(f"{name} has no sequence for training", fix=f"mark some in the column part as {PARTS[0]}")
    logger.info(
        f"residue labels: {counted(len(training), 'sequence')} to train {', '.join(heads)} on, "
        f"{len(validation)} for validation"
    )
    return ResidueLabels(
        training, validation, np.array(weights), sequences=sequences, max_length=max_length, seed=seed, masked=masked
    )


def _weight(value: object, where: str) -> float:
    try:
        weight = 1.0 if value is None or value == "" else float(str(value))
    except ValueError:
        weight = float("nan")
    if not 0 < weight < float("inf"):
        raise BadInputError(f"{where}: weight is {value!r}", fix="give a positive number")
    return weight
