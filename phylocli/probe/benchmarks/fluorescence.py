"""Brightness of variants of a green fluorescent protein, zero-shot (Sarkisyan et al. 2016, doi:10.1038/nature17995)."""

from __future__ import annotations

from pathlib import Path

from phylocli.probe.benchmarks._avgfp import read_avgfp
from phylocli.probe.benchmarks._contract import Benchmark

PARTS = ("sample", "all")
"""The default is a sample of 5,000 variants, which gives the correlation to two digits."""

SAMPLE = 5_000


def load(folder: Path, part: str) -> Benchmark:
    """Read `avgfp.tsv` and `avgfp_wildtype.json`."""
    import polars as pl

    letters, frame = read_avgfp(folder)
    if part == "sample" and frame.height > SAMPLE:
        frame = frame.sample(SAMPLE, seed=0)
    variants = frame.select(
        pl.col("variant").alias("id"), pl.col("variant").alias("mutations"), pl.col("score").alias("brightness"), "sequence"
    )
    wild = pl.DataFrame([("wild-type", "", float("nan"), letters)], schema=variants.schema, orient="row")
    return Benchmark(pl.concat([wild, variants]), ("mutation",), ("brightness",), "avgfp.tsv")
