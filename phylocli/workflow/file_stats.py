"""Statistics of files (`phylocli stats`): sequences, families, trees, tables, embeddings and models, one row per file."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phylocli.config.stats import StatsConfig
from phylocli.core.alphabet import encode_states
from phylocli.core.errors import BadInputError, PhylocliError
from phylocli.formats import stockholm
from phylocli.formats.embeddings import read_embeddings
from phylocli.formats.embeddings.esm import is_tensors
from phylocli.formats.input_formats import A2M, EMPTY, STOCKHOLM, ZIP, sniff
from phylocli.formats.sequences import a2m
from phylocli.formats.streams import PathLike, display_name, open_input, suffix_of
from phylocli.formats.tables import read_table, stats_schema
from phylocli.formats.tree_files import read_trees
from phylocli.statistics.identity import identity_of_rows

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)

_PAIRS = {"id_a", "id_b", "distance"}
_GAPS = str.maketrans("", "", "-.")


def file_stats(
    sources: PathLike | SequenceOf[PathLike],
    config: StatsConfig | None = None,
    *,
    on_failure: Callable[[PhylocliError], None] | None = None,
    **options: Any,
) -> pl.DataFrame:
    """Return statistics of files, one row per file.

    Args:
        sources: files in any format that phylocli reads, compressed or not, or folders of models or of embeddings in parts.
        config: options; may also be given as keywords.
        on_failure: called with the error for a file that cannot be read, which is skipped; None raises the error.
        **options: fields of `StatsConfig`.

    Returns:
        A frame with `tables.stats_schema`, null for values that do not apply. `residues` is the number of letters without
        gaps, `columns` the mean over aligned families, and `identity` the mean over families of the mean pairwise identity
        (identical residues over columns in which both rows have a residue) of at most `sample` evenly spaced rows.

    Raises:
        BadInputError: a file does not exist, is damaged or empty.

    Examples:
        >>> stats = phylocli.file_stats(["examples/globins.fasta", "examples/families.sto"])
        >>> stats.select("format", "families", "sequences", "min_length", "max_length").rows()
        [('FASTA', 1, 45, 141, 153), ('Stockholm', 14, 822, 63, 1271)]
    """
    import polars as pl

    config = StatsConfig.of(config, options)
    single = isinstance(sources, str) or hasattr(sources, "__fspath__")
    paths: Iterable[PathLike] = [sources] if single else sources  # type: ignore[list-item,assignment]
    frame = pl.from_arrow(stats_schema().empty_table())
    assert isinstance(frame, pl.DataFrame)
    rows = []
    for path in paths:
        try:
            rows.append(_described(path, config))
        except PhylocliError as error:
            if on_failure is None:
                raise
            on_failure(error)
    return pl.DataFrame(rows, schema=frame.schema, orient="row")


def as_lines(stats: pl.DataFrame) -> list[str]:
    """Format the table as aligned text, without columns that are null for all files."""
    shown = stats.select(column.name for column in stats if column.null_count() < stats.height)
    columns = []
    for column in shown:
        texts = [column.name, *("" if v is None else f"{v:,}" if isinstance(v, int | float) else v for v in column)]
        width = max(map(len, texts))
        columns.append([t.rjust(width) if column.dtype.is_numeric() else t.ljust(width) for t in texts])
    return ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]


def _described(path: PathLike, config: StatsConfig) -> dict[str, object]:
    found: dict[str, object] = {"file": display_name(path)}
    place = Path(path)
    if str(path) != "-" and place.is_dir():
        if (place / "config.json").is_file() and (place / "model.safetensors").is_file():
            return found | _model(place)
        return found | {"format": "folder"} | _embeddings(path, config)
    with open_input(path) as stream:
        form = sniff(stream)
        found["format"] = "PyTorch" if form is ZIP and is_tensors(path) else form.name
        if form is EMPTY:
            raise BadInputError(f"{display_name(path)} is empty", fix="check how the file was made")
        if form.holds == "sequences":
            tally = _Tally(config.sample)
            if form is STOCKHOLM:
                for family in stockholm.read_stream(stream, display_name(path)):
                    tally.add(family.rows, aligned=True, has_tree=family.has_tree)
            elif form.read is not None:
                rows = [sequence.residues for sequence in form.read(stream, display_name(path), "protein")]
                gapped = any("-" in row or "." in row for row in rows)
                if suffix_of(display_name(path)) in A2M.suffixes or a2m.is_a3m(rows):
                    gapped = False
                tally.add(rows, aligned=len({len(row) for row in rows}) == 1 and (gapped or form.aligned))
            return found | tally.row()
    if form.name in ("Newick", "NEXUS"):
        trees = list(read_trees(path))
        return found | {"type": "trees", "trees": len(trees), "sequences": sum(len(tree.tips()) for tree in trees)}
    if form.holds == "vectors":
        return found | _embeddings(path, config)
    if form.holds == "table":
        return found | _table(path, config)
    return found | {"type": "other"}


class _Tally:
    """Accumulates the statistics of sequences and families."""

    def __init__(self, sample: int) -> None:
        self.sample = sample
        self.families = self.trees = self.residues = self.sequences = 0
        self.shortest, self.longest = -1, 0
        self.columns: list[int] = []
        self.identities: list[float] = []

    def add(self, rows: SequenceOf[str], *, aligned: bool, has_tree: bool = False) -> None:
        """Add a family."""
        lengths = [len(row.translate(_GAPS).rstrip("*")) for row in rows]
        self.families += 1
        self.trees += has_tree
        self.sequences += len(rows)
        self.residues += sum(lengths)
        self.longest = max(self.longest, *lengths)
        self.shortest = min(lengths) if self.shortest < 0 else min(self.shortest, *lengths)
        if aligned:
            self.columns.append(len(rows[0]))
            if len(rows) > 1:
                self.identities.append(self._identity(rows))

    def _identity(self, rows: SequenceOf[str]) -> float:
        chosen = sorted({int(k) for k in np.linspace(0, len(rows) - 1, min(self.sample, len(rows)))})
        states = encode_states([rows[k] for k in chosen])
        i, j = np.triu_indices(len(chosen), 1)
        identity, both = identity_of_rows(states[i], states[j])
        return float(identity[both > 0].mean()) if (both > 0).any() else float("nan")

    def row(self) -> dict[str, object]:
        """Return the statistics as columns of `tables.stats_schema`."""
        if not self.sequences:
            raise BadInputError("no sequences", fix="check how the file was made")
        known = [value for value in self.identities if not math.isnan(value)]
        return {
            "type": "alignment" if len(self.columns) == self.families else "sequences",
            "families": self.families,
            "sequences": self.sequences,
            "residues": self.residues,
            "min_length": self.shortest,
            "mean_length": round(self.residues / self.sequences, 2),
            "max_length": self.longest,
            "columns": round(float(np.mean(self.columns)), 2) if self.columns else None,
            "identity": round(float(np.mean(known)), 4) if known else None,
            "trees": self.trees,
        }


def _table(path: PathLike, config: StatsConfig) -> dict[str, object]:
    """Return the statistics of a table: of embeddings, of pairs, or another."""
    try:
        return _embeddings(path, config)
    except BadInputError:
        frame = read_table(path)
    if set(frame.columns) >= _PAIRS:
        families = frame["family"].n_unique() if "family" in frame.columns else None
        members = len(set(frame["id_a"].to_list()) | set(frame["id_b"].to_list()))
        return {"type": "pairs", "pairs": frame.height, "rows": frame.height, "families": families, "sequences": members}
    return {"type": "table", "rows": frame.height}


def _embeddings(path: PathLike, config: StatsConfig) -> dict[str, object]:
    table = read_embeddings(path, config.column_options)
    return {
        "type": "embeddings of residues" if table.residues is not None else "embeddings",
        "sequences": len(table),
        "rows": len(table),
        "dimension": table.dimension,
        "model": (table.metadata.get("phylocli.model") or "")[:12] or None,
    }


def _model(folder: Path) -> dict[str, object]:
    from phylocli.models import describe

    known = describe(folder)
    return {
        "format": "model folder",
        "type": f"model ({known.encoder})",
        "dimension": known.features,
        "parameters": known.parameters,
        "model": known.name,
    }
