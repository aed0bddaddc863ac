"""The benchmark as a command: rows as they come, then the figure and the summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from phylocli.core import console
from phylocli.core.errors import UsageError
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import PathLike
from phylocli.formats.tables import benchmark_schema, summary_schema, write_table
from phylocli.mi import figure, staircase
from phylocli.mi.staircase import PRESETS, Plan, Row
from phylocli.mi.summary import summarise, table
from phylocli.mi.write import format_for, write_rows


def plan_of(preset: str, **changes: Any) -> Plan:
    """Return a preset with what differs from it; None and empty lists change nothing.

    Raises:
        UsageError: no such preset.
    """
    if preset not in PRESETS:
        raise UsageError(f"there is no preset named {preset!r}", fix=f"known: {', '.join(PRESETS)}")
    given = {name: value for name, value in changes.items() if value is not None and value != []}
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return replace(PRESETS[preset], **fields)


def parse_levels(text: str | None) -> list[float]:
    """Return the levels of `2,4,6`; an empty list for None.

    Raises:
        UsageError: something that is no number of nats.
    """
    try:
        return [float(item) for item in text.split(",")] if text else []
    except ValueError as error:
        raise UsageError(f"--levels takes numbers of nats, not {text!r}", fix="for example --levels 2,4,6") from error


def run_benchmark(
    plan: Plan,
    output: PathLike | None = None,
    *,
    format: str | None = None,
    figures: Sequence[PathLike] = (),
    summary: PathLike | None = None,
) -> list[Row]:
    """Run estimators against Gaussians of known information; write a row for each as soon as it is there.

    Args:
        plan: what to do; see `plan_of`.
        output: where rows go; `-`/None is standard output.
        format: `json`, `tsv`, `csv`, `parquet` or `arrow`; None takes it from the suffix.
        figures: pictures of the staircase, `.svg`, `.png`, `.pdf` or `.html` each.
        summary: a table of bias, variance and mean squared error.

    Returns:
        The rows, with their traces.

    Raises:
        UsageError: an estimator, critic, transform, format or suffix that does not exist.
    """
    format_for(output, format)
    for path in figures:
        figure.check_target(path)
    total = staircase.total_batches(plan)
    console.info(f"{len(plan.methods())} methods, {len(plan.levels)} levels, {total:,} batches of {plan.batch_size} pairs")
    rows: list[Row] = []

    def kept() -> Iterator[dict[str, Any]]:
        with console.progress_task("benchmark", total, "batches") as bar:
            for row in staircase.run(plan, bar.advance):
                rows.append(row)
                bar.update(description=f"{row.estimator} on {row.critic}")
                yield vars(row)

    write_rows(kept(), output, benchmark_schema(), format)
    write_sidecar(output, "mi benchmark", asdict(plan), plan.seed)
    if summary is not None:
        write_table(summarise(rows), summary, summary_schema())
    for path in figures:
        figure.draw(rows, path)
    console.info("bias (nats), variance and mean squared error (nats²)")
    for line in table(rows):
        console.info(line)
    return rows
