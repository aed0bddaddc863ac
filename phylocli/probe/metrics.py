"""`Metrics`: the results of an evaluation, written as a table, an HTML page, or a report folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.streams import PathLike, atomic_directory, write_text
from phylocli.formats.tables import TableFormat, metrics_schema, write_table
from phylocli.probe.report.data import ReportData
from phylocli.probe.report.html import render
from phylocli.probe.report.markdown import summarise

if TYPE_CHECKING:
    import polars as pl

FORMAT = "phylocli-report-2"
REPORT, MARKDOWN, JSON, METRICS, PROVENANCE = (
    "report.html",
    "report.md",
    "report.json",
    "metrics.parquet",
    "provenance.json",
)


@dataclass
class Metrics(ReportData):
    """The metrics of an evaluation.

    Examples:
        >>> import polars as pl
        >>> table = phylocli.load_model("default").embed("examples/globins.fasta")
        >>> labels = pl.DataFrame({"id": table.ids, "kind": [name[:3] for name in table.ids]})
        >>> metrics = phylocli.probe(table, labels, tasks=["retrieval"], replicates=100, projection="none")
        >>> metrics.to_polars().filter(pl.col("metric") == "top-1 accuracy")["embedding"].to_list()
        ['embedding', 'chance']
        >>> metrics.write_html("report.html")
    """

    def to_polars(self) -> pl.DataFrame:
        """Return one row per value: `embedding`, `task`, `level`, `metric`, `value`, `low`, `high` (95 % interval), `n`."""
        import polars as pl

        columns = {field.name: [getattr(row, field.name) for row in self.metrics] for field in metrics_schema()}
        return pl.DataFrame(columns).cast({"value": pl.Float64, "low": pl.Float64, "high": pl.Float64})

    def write(self, path: PathLike, format: TableFormat | None = None) -> None:
        """Write the table of `to_polars` as Parquet, Arrow, TSV or CSV, by suffix."""
        write_table(self.to_polars(), path, metrics_schema(), format)

    def to_html(self) -> str:
        """Return the report as one self-contained HTML page."""
        return render(self)

    def write_html(self, path: PathLike) -> None:
        """Write the report as one self-contained HTML page."""
        write_text(path, self.to_html())

    def write_report(self, folder: PathLike) -> None:
        """Write `report.html`, `report.md`, `report.json`, `metrics.parquet` and `provenance.json` atomically.

        Raises:
            UsageError: the folder exists and contains other files than a report.
        """
        check_target(folder)
        # Without times, so that the same input and seed give the same report.
        kept = ("command", "parameters", "seed", "inputs", "versions", "platform")
        record = {key: value for key, value in self.provenance.items() if key in kept}
        report = {"format": FORMAT, **asdict(self), "provenance": record}
        with atomic_directory(Path(folder)) as made:
            write_table(self.to_polars(), made / METRICS, metrics_schema(), "parquet")
            _write(made / JSON, json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False))
            (made / REPORT).write_text(self.to_html(), encoding="utf-8")
            (made / MARKDOWN).write_text(summarise(self), encoding="utf-8")
            _write(made / PROVENANCE, json.dumps(self.provenance, indent=2, default=str))

    @classmethod
    def read(cls, folder: PathLike) -> Metrics:
        """Read the metrics from a report folder.

        Raises:
            BadInputError: the folder contains no report, or one in a format of another version.
        """
        from pydantic import TypeAdapter, ValidationError

        path = Path(folder) / JSON
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if found.pop("format", None) != FORMAT:
                raise BadInputError(f"{path} is not a report of this version of phylocli", fix="run 'phylocli probe' again")
            return TypeAdapter(cls).validate_python(found)
        except (OSError, ValueError, ValidationError) as error:
            raise BadInputError(
                f"{path} cannot be read as a report",
                why=str(error).splitlines()[0],
                fix="evaluate again, with 'phylocli probe'",
            ) from error


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")


def check_target(output: PathLike) -> None:
    """Raise a UsageError if the output exists and is not a report folder."""
    target = Path(output)
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not (target / JSON).exists())):
        raise UsageError(f"{output} exists and is not a report folder", fix="name a new folder with -o")
