"""Evaluate embeddings: probes, baselines, confidence intervals, and a report."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from phylocli.cli._options import LabelsOption
from phylocli.config.probe import ProbeConfig

logger = logging.getLogger(__name__)

EXAMPLES = [
    "phylocli probe emb.parquet --labels labels.tsv --sequences seqs.fasta -o report",
    "phylocli probe trained=emb.parquet untrained=random.parquet --labels labels.tsv --trees trees.sto -o report",
    "phylocli probe esm2.npz --labels scope.tsv --tasks retrieval --resample-by superfamily -o report",
    "phylocli probe emb.parquet --labels scope.tsv --tasks classification --columns fold --split-by superfamily -o report",
    "phylocli probe emb.csv --labels labels.tsv --classes taxid --features 'd*' --explain",
    "phylocli probe --model run/model --benchmark scope --data benchmarks/ --baselines phmmer -o report",
    "phylocli probe new.fasta --tasks generation --sequences families.sto --labels run/split.parquet -o report",
    "phylocli probe --model run/model --layers all --labels labels.tsv -o report",
]
NO_ARGS_IS_HELP = True


def command(
    config: ProbeConfig,
    embeddings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]TABLE...",
            help="Tables of embeddings (Parquet, Arrow, TSV, CSV, NPZ, HDF5), or generated sequences for --tasks "
            "generation. The first is compared with the others.",
        ),
    ] = None,
    *,
    labels: LabelsOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Folder of the report."),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Only print how each column is interpreted and why, and how many ids match."),
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="[NAME=]MODEL",
            help="Embed the sequences with this model (name or folder); may be repeated. Models come before tables.",
        ),
    ] = None,
    sequences: Annotated[
        str | None,
        typer.Option(
            "--sequences",
            metavar="FASTA",
            help="Sequences, for baselines and models (default: label column 'sequence'); for --tasks generation aligned "
            "families.",
        ),
    ] = None,
    trees: Annotated[
        str | None,
        typer.Option("--trees", metavar="STOCKHOLM", help="Family records with trees, for patristic distances."),
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Folder of the benchmark's files.")] = None,
) -> None:
    """Evaluate embeddings on the labels of their sequences.

    Writes a folder with report.html (one file, works offline), report.json and metrics.parquet. Every value has a 95 %
    confidence interval; the first table (or model) is compared with each other one and with baselines on the same items.
    """
    from phylocli.core.errors import UsageError
    from phylocli.probe import explain_inputs, run_probes
    from phylocli.probe.inputs.tables import parse_source

    tables = [parse_source(text) for text in embeddings or []]
    if explain:
        from phylocli.formats.tables import inputs_schema, write_table

        write_table(explain_inputs(tables, labels, config), None, inputs_schema())
        return
    if output is None:
        raise UsageError("the report needs a folder", fix="name one with -o, or use --explain")
    models = [parse_source(text) for text in model or []]
    run_probes(tables, labels, output, config, models=models, sequences=sequences, trees=trees, data=data)
    logger.info(f"report: {output / 'report.html'}")
