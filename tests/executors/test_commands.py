"""Commands whose pieces run in one process, in several, and on a cluster: the same output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from click.testing import Result

from phylocli.executors.dask_cluster import close_clusters

ENGINES: dict[str, list[object]] = {"one": ["--jobs", 1], "processes": ["--jobs", 2], "dask": ["--cluster", "local:2"]}


@pytest.fixture(scope="module", autouse=True)
def _closed_at_the_end() -> Iterator[None]:
    yield
    close_clusters()


FAMILIES: dict[str, Callable[[Path], list[object]]] = {
    "tree": lambda families: ["tree", families, "--engine", "nj", "--no-refine"],
    "align": lambda families: ["align", families, "--threads", 1],
    "simulate": lambda families: ["simulate", "-n", 4, "--tips", 5, "--length", 30],
}


@pytest.mark.parametrize("command", FAMILIES)
def test_families_have_the_same_bytes_whatever_the_engine(
    cli: Callable[..., Result], examples: Path, tmp_path: Path, command: str
) -> None:
    for name, options in ENGINES.items():
        result = cli(*FAMILIES[command](examples / "families.sto"), *options, "-o", tmp_path / f"{name}.sto")
        assert result.exit_code == 0, result.output
    contents = {(tmp_path / f"{name}.sto").read_bytes() for name in ENGINES}
    assert len(contents) == 1 and len(next(iter(contents))) > 1000
    assert not list(tmp_path.glob("*.partial"))


def test_parts_of_embeddings_have_the_same_bytes_whatever_the_engine(
    cli: Callable[..., Result], examples: Path, tmp_path: Path
) -> None:
    command = ["embed", examples / "globins.fasta", "--shard-size", 10, "--threads", 1, "--device", "cpu"]
    for name, options in ENGINES.items():
        result = cli(*command, *options, "-o", f"{tmp_path / name}/")
        assert result.exit_code == 0, result.output
    one, *others = ({path.name: path.read_bytes() for path in (tmp_path / name).glob("part-*")} for name in ENGINES)
    assert len(one) == 5
    assert others == [one, one]
    refused = cli(*command[:2], "--jobs", 2, "-o", tmp_path / "one.parquet")
    assert refused.exit_code == 2 and "give -o FOLDER/" in refused.output


def test_figures_of_probes_are_the_same_whatever_the_engine(
    cli: Callable[..., Result], examples: Path, tmp_path: Path
) -> None:
    cli("embed", examples / "globins.fasta", "-o", tmp_path / "globins.parquet", "--device", "cpu")
    ids = pl.read_parquet(tmp_path / "globins.parquet")["id"]
    pl.DataFrame({"id": ids, "kind": ids.str.slice(0, 3)}).write_csv(tmp_path / "labels.tsv", separator="\t")
    command = [
        "probe",
        tmp_path / "globins.parquet",
        "--labels",
        tmp_path / "labels.tsv",
        "--replicates",
        100,
        "--tasks",
        "retrieval",
    ]
    command += ["--sequences", examples / "globins.fasta", "--baselines", "composition"]
    for name, options in ENGINES.items():
        result = cli(*command, *options, "-o", tmp_path / name)
        assert result.exit_code == 0, result.output
    one, *others = (pl.read_parquet(tmp_path / name / "metrics.parquet") for name in ENGINES)
    assert len(one) > 4
    assert all(one.equals(other) for other in others)
