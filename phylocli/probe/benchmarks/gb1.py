"""Fitness of variants of GB1, zero-shot: up to four substitutions in protein G's B1 domain (Wu et al. 2016,
doi:10.7554/eLife.16965), as distributed by FLIP."""

from __future__ import annotations

from pathlib import Path

from phylocli.core.errors import BadInputError
from phylocli.probe.benchmarks._contract import Benchmark
from phylocli.probe.benchmarks._files import PUBLISHED, find, read

PARTS = ("sample", "all")
"""The default is a sample of 2,000 variants."""

SAMPLE = 2_000
WILD_TYPE = {39: "V", 40: "D", 41: "G", 54: "V"}
"""The residues at the mutated positions, counted from 1."""


def load(folder: Path, part: str) -> Benchmark:
    """Read `flip_gb1.tsv`, or one of FLIP's CSV files (`sequence`, `target`)."""
    import polars as pl

    path = find(folder, "flip_gb1.tsv*", "sampled.csv*", "low_vs_high.csv*")
    frame = read(path, "sequence")
    values = next((column for column in ("fitness", "target") if column in frame.columns), None)
    if values is None:
        raise BadInputError(f"{path.name} has no column of fitness", fix=PUBLISHED)
    frame = frame.select("sequence", pl.col(values).cast(pl.Float64).alias("fitness")).unique(
        "sequence", maintain_order=True
    )
    mutations = pl.concat_str(
        *(
            pl.when(pl.col("sequence").str.slice(at - 1, 1) == letter)
            .then(pl.lit(""))
            .otherwise(pl.lit(f"{letter}{at}") + pl.col("sequence").str.slice(at - 1, 1) + ";")
            for at, letter in WILD_TYPE.items()
        )
    ).str.strip_chars_end(";")
    frame = frame.with_columns(mutations.alias("mutations"))
    wild = frame.filter(pl.col("mutations") == "")
    if wild.height != 1:
        raise BadInputError(f"{path.name} does not have the wild type once", fix=PUBLISHED)
    variants = frame.filter(pl.col("mutations") != "")
    if part == "sample" and variants.height > SAMPLE:
        variants = variants.sample(SAMPLE, seed=0)
    items = pl.concat([wild, variants])
    ids = pl.when(pl.col("mutations") == "").then(pl.lit("wild-type")).otherwise(pl.col("mutations")).alias("id")
    return Benchmark(items.select(ids, "mutations", "fitness", "sequence"), ("mutation",), ("fitness",), path.name)
