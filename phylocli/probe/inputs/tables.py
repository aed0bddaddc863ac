"""What a run reads: tables of embeddings and a labels table, joined by id, and an account of what was taken for what."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from phylocli.core import console
from phylocli.core.errors import BadInputError
from phylocli.formats.embeddings import EmbeddingTable, read_embeddings
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import PathLike
from phylocli.formats.tables.columns import ColumnOptions, Taken
from phylocli.probe.inputs.dataset import Dataset, make_dataset, read_label_table
from phylocli.probe.inputs.embedding import Embedding

if TYPE_CHECKING:
    import polars as pl

SAME_IDS = "the ids of both must be the same words; --id-column names the column that holds them"


@dataclass
class Tables:
    """The tables of embeddings of a run.

    Attributes:
        embeddings: in order.
        taken: what the columns of each were taken for, by the embedding's name.
    """

    embeddings: list[Embedding]
    taken: dict[str, list[Taken]]


def split_name(text: str) -> tuple[str | None, str]:
    """Return (name, path) of `NAME=PATH`; the name is None where the text is a path."""
    name, mark, path = text.partition("=")
    if mark and path and "/" not in name and not Path(text).exists():
        return name, path
    return None, text


def read_tables(items: SequenceOf[PathLike | Embedding | EmbeddingTable], options: ColumnOptions) -> Tables:
    """Read tables of embeddings, each a path, `NAME=PATH`, or there already.

    Raises:
        UsageError: `options` name columns that no table has.
        BadInputError: a table that cannot be read.
    """
    found, taken = [], {}
    for item in items:
        if isinstance(item, Embedding):
            found.append(item)
            continue
        if isinstance(item, EmbeddingTable):
            table, name = item, None
        else:
            name, path = split_name(str(item))
            table = read_embeddings(path, options)
        embedding = Embedding.of(table, name)
        found.append(embedding)
        taken[embedding.source] = table.taken
    return Tables(found, taken)


def common_items(frame: pl.DataFrame, embeddings: list[Embedding], sequences: dict[str, str] | None) -> pl.DataFrame:
    """Return the rows of the labels whose ids every embedding (and the sequences) have, saying what is left out.

    Raises:
        BadInputError: nothing in common; examples from both sides.
    """
    import polars as pl

    for embedding in embeddings:
        known = set(embedding.ids)
        shared = frame["id"].is_in(list(known)).sum()
        if shared == 0:
            raise BadInputError(
                f"no id of {embedding.source} is in the labels",
                why=f"the embeddings have ids like {shorten(embedding.ids[0], 40)!r}, the labels like {frame['id'][0]!r}",
                fix=SAME_IDS,
            )
        if shared < len(known) or shared < frame.height:
            console.info(
                f"{embedding.name}: {shared:,} of {len(known):,} embeddings have labels ({frame.height:,} rows of labels)"
            )
        frame = frame.filter(pl.col("id").is_in(list(known)))
    if sequences is not None:
        missing = frame.height - int(frame["id"].is_in(list(sequences)).sum())
        if missing:
            first = frame.filter(~pl.col("id").is_in(list(sequences)))["id"][0]
            raise BadInputError(
                f"{missing:,} of {frame.height:,} items have no sequence for the baselines, first {shorten(first)!r}",
                fix="give --sequences with all of them, or --baseline none",
            )
    if frame.height < 2:
        raise BadInputError("fewer than two items have an embedding and labels", fix="check the ids of both tables")
    return frame


def explain_inputs(
    embeddings: SequenceOf[PathLike | Embedding | EmbeddingTable],
    labels: PathLike | None,
    *,
    columns: SequenceOf[str] | None = None,
    split_column: str = "split",
    split_by: str | None = None,
    resample_by: str | None = None,
    id_column: str | SequenceOf[str] | None = None,
    features: str | SequenceOf[str] | None = None,
    classes: str | SequenceOf[str] | None = None,
    quantities: str | SequenceOf[str] | None = None,
) -> pl.DataFrame:
    """Return what every column of the tables is taken for and why, and how many ids match; nothing is evaluated.

    Args:
        embeddings: as `run_probes` takes them.
        labels: likewise; None explains the embeddings alone.
        columns: label columns to use.
        split_column: column that says train, valid or test.
        split_by, resample_by: columns that name groups.
        id_column, features, classes, quantities: see `run_probes`.

    Returns:
        One row a column (or several of one kind): `table`, `column`, `taken_as`, `why`.
    """
    import polars as pl

    options = ColumnOptions.of(id_column, features, classes, quantities)
    tables = read_tables(embeddings, options)
    rows: list[tuple[str, str, str, str]] = []
    for embedding in tables.embeddings:
        rows += [(embedding.source, *one) for one in tables.taken.get(embedding.source, [])]
        rows.append((embedding.source, "", "table", f"{len(embedding.ids):,} ids, {embedding.vectors.shape[1]:,} features"))
    taken = [one for account in tables.taken.values() for one in account]
    if labels is None:
        options.check_ids(taken)
    else:
        name = str(labels)
        frame, ids = read_label_table(labels, options)
        options.check_ids([ids, *taken])
        rows.append((name, *ids))
        for embedding in tables.embeddings:
            known = set(embedding.ids)
            shared = int(frame["id"].is_in(list(known)).sum())
            rows.append((embedding.source, "", "matched", f"{shared:,} of {len(known):,} ids have a row in {name}"))
        items = common_items(frame, tables.embeddings, None) if tables.embeddings else frame
        data = make_dataset(
            items,
            name,
            columns=columns,
            split_column=split_column,
            split_by=split_by,
            resample_by=resample_by,
            options=options,
        )
        rows += [(name, *one) for one in data.taken]
        rows.append((name, "", "matched", f"{len(data):,} of {frame.height:,} ids have an embedding in every table"))
    return pl.DataFrame(rows, schema=["table", "column", "taken_as", "why"], orient="row")


def labelled(data: Dataset) -> str:
    """Return what a labels table was taken for, in one line."""
    found = []
    for role, columns in (
        ("classes", list(data.classes)),
        ("terms", list(data.terms)),
        ("quantities", list(data.values)),
        ("labels of residues", list(data.residue_labels)),
        ("ignored", [taken.column or "(no name)" for taken in data.taken if taken.role == "ignored"]),
    ):
        if columns:
            shown = ", ".join(columns[:8]) + (f" and {len(columns) - 8} more" if len(columns) > 8 else "")
            found.append(f"{role}: {shown}")
    return "; ".join(found)
