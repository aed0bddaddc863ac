"""Sequences and descriptions of classes → probabilities of the classes and of none of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phylocli.config.classify import ClassifyConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.threads import limit_threads
from phylocli.core.words import counted
from phylocli.embed.embedder import Embedder
from phylocli.formats import Sequences, as_sequences
from phylocli.formats.nucleotides import OTHER_MODEL, NucleotideCheck
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import STDIO, PathLike
from phylocli.formats.tables import TableFormat, TableWriter, classes_schema, format_of, read_table
from phylocli.modalities import columns_of
from phylocli.models.device import choose_device
from phylocli.models.multimodal import MultimodalModel

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)

NONE = "none of these"
"""The label of sequences that belong to no class."""

LABELS = ("label", "class", "family", "term", "id", "name")
"""Names of the column of labels, in order of precedence."""


def read_classes(source: PathLike) -> dict[str, str]:
    """Return the description of each class, by its label, from a table with a column of labels and one of descriptions.

    Labels: the column `label`, `class`, `family`, `term`, `id` or `name`, else the first. Descriptions: the column
    `description`, `text` or `name`, else the labels themselves.

    Raises:
        BadInputError: the table cannot be read, a label is missing, twice there or `NONE`, or there are fewer than two.
    """
    frame = read_table(source, typed=False)
    column = next((name for name in LABELS if name in frame.columns), frame.columns[0])
    texts = next((name for name in ("description", *columns_of("text")) if name in frame.columns and name != column), column)
    found: dict[str, str] = {}
    for row, (label, text) in enumerate(zip(frame[column].to_list(), frame[texts].to_list(), strict=True), start=1):
        if not label:
            raise BadInputError(f"{source}, row {row} has no {column}", fix="name each class")
        if label in found:
            raise BadInputError(f"{source} has the class {label!r} more than once", fix="list each class once")
        found[label] = text or label
    _check_classes(found, str(source))
    return found


def _check_classes(classes: Mapping[str, str], source: str) -> None:
    if len(classes) < 2:
        raise BadInputError(f"{source} has {counted(len(classes), 'class')}", fix="list at least two")
    if NONE in classes:
        raise BadInputError(
            f"{source} has a class {NONE!r}",
            why="this is the label of sequences of no class",
            fix="leave it out, or rename it",
        )


def classify(
    sequences: Sequences,
    classes: PathLike | dict[str, str],
    config: ClassifyConfig | None = None,
    *,
    model: PathLike | MultimodalModel,
    **options: Any,
) -> pl.DataFrame:
    """Return the most probable classes of sequences, by descriptions of the classes in words.

    Args:
        sequences: letters, `Sequence`s or (id, letters) pairs; or the path of a sequence file.
        classes: description by label, or the path of a table, see `read_classes`.
        config: options; may also be given as keywords.
        model: of the modalities sequence and text, by name or folder.

    Returns:
        The columns of `tables.classes_schema()`: `id`, `rank`, `label`, `probability` and `cosine` (null for `NONE`). The
        probabilities of all classes and of `NONE` sum to 1.

    Raises:
        UsageError: the model does not have these modalities, or no calibration, because no rows were held out in training.
        BadInputError: sequences or classes cannot be read.
    """
    import polars as pl

    given = ClassifyConfig.of(config, options)
    limit_threads(given.threads)
    loaded = model if isinstance(model, MultimodalModel) else MultimodalModel.load(model)
    loaded.to(choose_device(given.device))
    for name in ("sequence", "text"):
        loaded.tower(name)
    # The calibration is of the first modality's cosines with the others'.
    calibration = loaded.calibration.get("text") if loaded.modalities[0] == "sequence" else None
    if calibration is None:
        raise UsageError(
            f"{loaded.folder or 'the model'} has no calibration, so that cosines have no probabilities",
            why="it was trained without held-out rows, or its first modality is not the sequence",
            fix="train it with --modalities sequence,text and validation.fraction above 0",
        )
    if isinstance(classes, dict):
        _check_classes(classes, "the dictionary of classes")
    described = classes if isinstance(classes, dict) else read_classes(classes)
    labels, texts = list(described), list(described.values())
    check = NucleotideCheck("protein", OTHER_MODEL)
    found = list(check.sequences(as_sequences(sequences)))
    vectors = loaded.joint("sequence", Embedder(loaded.tower("sequence")).pooled([s.residues for s in found]))
    cosines = vectors @ loaded.embed("text", texts).T
    probabilities = calibration.probabilities(cosines)
    rows = []
    for sequence, p, cosine in zip(found, probabilities, cosines, strict=True):
        for rank, k in enumerate(np.argsort(-p, kind="stable")[: given.number].tolist(), start=1):
            label, near = (labels[k], round(float(cosine[k]), 6)) if k < len(labels) else (NONE, None)
            rows.append((sequence.id, rank, label, float(f"{p[k]:.4g}"), near))
    empty = pl.from_arrow(classes_schema().empty_table())
    assert isinstance(empty, pl.DataFrame)
    return pl.DataFrame(rows, schema=empty.schema, orient="row")


def classify_file(
    sequences: PathLike | None,
    classes: PathLike,
    output: PathLike | None = None,
    config: ClassifyConfig | None = None,
    *,
    model: PathLike,
    format: TableFormat | None = None,
    **options: Any,
) -> int:
    """Classify the sequences of a file, write the table, and return the number of rows; see `classify`."""
    given = ClassifyConfig.of(config, options)
    format = format or format_of(output)
    found = classify(STDIO if sequences is None else Path(sequences), classes, given, model=model)
    with TableWriter(output, classes_schema(), format) as writer:
        writer.write(found)
    write_sidecar(output, "classify", {**given.to_parameters(), "model": str(model), "labels": str(classes)})
    if output is not None and str(output) != STDIO:
        logger.info(f"{counted(found['id'].n_unique(), 'sequence')}: {output}")
    return found.height
