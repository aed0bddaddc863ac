"""The benchmark command: rows as they are computed, then the figure and the summary."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from phylocli.config.mi_benchmark import MiBenchmarkConfig
from phylocli.core import console
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import PathLike
from phylocli.formats.tables import benchmark_schema, summary_schema, write_table
from phylocli.mi import figure, staircase
from phylocli.mi.staircase import PRESETS, Plan, Row
from phylocli.mi.summary import summarise, table
from phylocli.mi.write import format_for, write_rows

logger = logging.getLogger(__name__)


def plan_of(config: MiBenchmarkConfig | None = None, **options: Any) -> Plan:
    """Return the preset of a configuration, with the fields that override it.

    Args:
        config: options; may also be given as keywords.
        **options: fields of `MiBenchmarkConfig`.

    Raises:
        UsageError: no such preset, or an option out of range.
    """
    config = MiBenchmarkConfig.of(config, options)
    values = {name: getattr(config, name) for name in type(config).model_fields if name != "preset"}
    return replace(PRESETS[config.preset], **{name: value for name, value in values.items() if value not in (None, ())})


def run_benchmark(
    plan: Plan,
    output: PathLike | None = None,
    *,
    format: str | None = None,
    figures: Sequence[PathLike] = (),
    summary: PathLike | None = None,
) -> list[Row]:
    """Run estimators on Gaussians with known information; write each row as soon as it is computed.

    Args:
        plan: see `plan_of`.
        output: path of the rows; `-`/None is standard output.
        format: `json`, `tsv`, `csv`, `parquet` or `arrow`; None takes it from the suffix.
        figures: paths of the staircase plot, `.svg`, `.png`, `.pdf` or `.html`.
        summary: path of a table of bias, variance and mean squared error.

    Returns:
        The rows, with their traces.

    Raises:
        UsageError: an unknown estimator, critic, transform, format or suffix.
    """
    format_for(output, format)
    for path in figures:
        figure.check_target(path)
    total = staircase.total_batches(plan)
    logger.info(f"{len(plan.methods())} methods, {len(plan.levels)} levels, {total:,} batches of {plan.batch_size} pairs")
    rows: list[Row] = []

    def kept() -> Iterator[dict[str, object]]:
        with console.progress_task("benchmark", total, "batches") as bar:
            for row in staircase.run(plan, bar.advance):
                rows.append(row)
                bar.update(detail=f"{row.estimator} on {row.critic}")
                yield vars(row)

    write_rows(kept(), output, benchmark_schema(), format)
    write_sidecar(output, "mi benchmark", asdict(plan), plan.seed)
    if summary is not None:
        write_table(summarise(rows), summary, summary_schema())
    for path in figures:
        figure.draw(rows, path)
    logger.info("bias (nats), variance and mean squared error (nats²)")
    for line in table(rows):
        logger.info(line)
    return rows
