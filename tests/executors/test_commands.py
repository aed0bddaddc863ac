"""Commands whose pieces run in one process, in several, and on a cluster: the same output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
from click.testing import Result

from phylocli.embed import embed_file
from phylocli.executors.dask_cluster import close_clusters
from phylocli.formats import read_families, write_families
from phylocli.formats.family import Family
from phylocli.models.model import Model
from phylocli.search import pipeline, sharded

ENGINES: dict[str, list[object]] = {"one": ["--jobs", 1], "processes": ["--jobs", 2], "dask": ["--cluster", "local:2"]}
# Processes of either kind take seconds to start, and run whatever they are sent: each kind of piece is sent to one of them.
PROCESSES, DASK = ({name: ENGINES[name] for name in ("one", other)} for other in ("processes", "dask"))


@pytest.fixture(scope="module", autouse=True)
def _closed_at_the_end() -> Iterator[None]:
    yield
    close_clusters()


FAMILIES: dict[str, tuple[Callable[[Path], list[object]], dict[str, list[object]]]] = {
    "tree": (lambda families: ["tree", families, "--engine", "nj", "--no-refine"], ENGINES),
    "align": (lambda families: ["align", families, "--threads", 1], DASK),
    "simulate": (lambda families: ["simulate", "-n", 4, "--tips", 5, "--length", 30], PROCESSES),
}


@pytest.mark.parametrize("command", FAMILIES)
def test_families_have_the_same_bytes_whatever_the_engine(
    cli: Callable[..., Result], examples: Path, tmp_path: Path, command: str
) -> None:
    few = [family for family in read_families(examples / "families.sto") if len(family) < 14]
    write_families(few, tmp_path / "families.sto")
    words, engines = FAMILIES[command]
    for name, options in engines.items():
        result = cli(*words(tmp_path / "families.sto"), *options, "-o", tmp_path / f"{name}.sto")
        assert result.exit_code == 0, result.output
    contents = {(tmp_path / f"{name}.sto").read_bytes() for name in engines}
    assert len(contents) == 1 and len(next(iter(contents))) > 1000
    assert not list(tmp_path.glob("*.partial"))


def test_missing_trees_of_the_store_are_inferred_by_any_engine_and_give_the_same_pairs(
    cli: Callable[..., Result], tmp_path: Path, simulated_file: Callable[..., Path]
) -> None:
    families = list(read_families(simulated_file(4, 6)))
    families = [replace(family, tree=None) if k != 1 else family for k, family in enumerate(families)]
    write_families(families, tmp_path / "families.sto")
    for name, options in PROCESSES.items():
        store = ["--store", tmp_path / name]
        assert cli("store", "import", tmp_path / "families.sto", *store).exit_code == 0
        result = cli("pairs", "--all", "-n", 10, *options, *store, "-o", tmp_path / f"{name}.tsv")
        assert result.exit_code == 0, result.output
        assert result.stderr.count("no tree in the store, inferring one") == 3
    one, other = ({p.name: p.read_bytes() for p in (tmp_path / name).rglob("*.sto.gz")} for name in PROCESSES)
    assert len(one) == 4
    assert other == one
    assert len({(tmp_path / f"{name}.tsv").read_bytes() for name in PROCESSES}) == 1
    refused = cli("pairs", tmp_path / "families.sto", "--jobs", 2, "-o", tmp_path / "p.tsv")
    assert refused.exit_code == 2 and "infer the missing trees of families in the store" in refused.output


def test_jobs_of_the_environment_do_not_apply_where_nothing_is_divided(
    cli: Callable[..., Result], examples: Path, tmp_path: Path, parts: Path, simulated_file: Callable[..., Path]
) -> None:
    commands = {
        "pairs": ["pairs", simulated_file(2, 6)],
        "embed": ["embed", examples / "globins.fasta", "--model", parts.parent / "model"],
        "fetch": ["fetch", "--from-file", tmp_path / "none.txt", "--offline"],
    }
    for name, command in commands.items():
        result = cli(*command, "-o", tmp_path / f"{name}.tsv", env={f"PHYLOCLI_{name.upper()}__JOBS": "2"})
        assert "--jobs" not in result.output
        assert result.exit_code == (0 if name != "fetch" else 65), result.output  # 65: there is no such list
        typed = cli(*command, "-o", tmp_path / f"{name}.tsv", "--jobs", 2)
        assert typed.exit_code == 2 and "--jobs" in typed.output


def test_hard_negatives_refuse_jobs(cli: Callable[..., Result], tmp_path: Path, simulated_file: Callable[..., Path]) -> None:
    command = ["pairs", simulated_file(2, 6), "--hard-negatives", "profile", "-o", tmp_path / "n.tsv"]
    refused = cli(*command, "--jobs", 4)
    assert refused.exit_code == 2 and "--hard-negatives needs no trees" in refused.output
    assert cli(*command, env={"PHYLOCLI_PAIRS__JOBS": "4"}).exit_code == 0


def test_parts_of_embeddings_have_the_same_bytes_whatever_the_engine(
    cli: Callable[..., Result], examples: Path, tmp_path: Path
) -> None:
    command = ["embed", examples / "globins.fasta", "--shard-size", 10, "--threads", 1, "--device", "cpu"]
    for name, options in ENGINES.items():
        result = cli(*command, *options, "-o", f"{tmp_path / name}/")
        assert result.exit_code == 0, result.output
        assert ("parts  5     0 " in result.stderr) == (name != "one")  # the table at the end
    one, *others = ({path.name: path.read_bytes() for path in (tmp_path / name).glob("part-*")} for name in ENGINES)
    assert len(one) == 5
    assert others == [one, one]
    refused = cli(*command[:2], "--jobs", 2, "-o", tmp_path / "one.parquet")
    assert refused.exit_code == 2 and "give -o FOLDER/" in refused.output
    (tmp_path / "processes" / sorted(one)[0]).unlink()
    again = cli(*command, "--jobs", 2, "-o", f"{tmp_path / 'processes'}/")
    names, values = (line.split("  ") for line in again.stderr.splitlines() if line.startswith(("stage", "parts")))
    assert [word.strip() for word in names if word][:4] == ["stage", "done", "already there", "failed"]
    assert [word.strip() for word in values if word][:4] == ["parts", "1", "4", "0"]


@pytest.fixture(scope="module")
def parts(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The globins, embedded by a small model, in parts of ten."""
    folder = tmp_path_factory.mktemp("search")
    model = Model.create("convolutional", preset="tiny", seed=0).save(folder / "model")
    embed_file(examples / "globins.fasta", folder / "parts", model=model, shard_size=10)
    return folder / "parts"


SEARCHES: dict[str, tuple[list[object], dict[str, list[object]]]] = {
    "exact": (["--exclude-self"], DASK),
    "aligned": (["--align", "--rerank", "residues", "--best"], PROCESSES),
}


TABLES = {
    "exact": [["searching", "21", "0"]],  # 7 groups of queries in 3 of rows
    "aligned": [["searching", "3", "0"], ["alignments", "5", "0"]],
}


@pytest.mark.parametrize("kind", SEARCHES)
def test_hits_of_shards_are_merged_to_the_bytes_of_one_process(
    cli: Callable[..., Result],
    examples: Path,
    tmp_path: Path,
    parts: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, size in (("ROWS_EACH", 20), ("QUERIES_EACH", 7)):
        monkeypatch.setattr(sharded, name, size)
    queries = examples / "globins.fasta"
    if kind == "aligned":  # which takes longer
        queries = tmp_path / "queries.fasta"
        queries.write_text(">".join((examples / "globins.fasta").read_text().split(">")[:6]))
    command = ["search", queries, parts, "--model", parts.parent / "model", "-k", 3, "--threads", 1, "--device", "cpu"]
    more, engines = SEARCHES[kind]
    command += [*more, *(["--sequences", examples / "globins.fasta"] if kind == "aligned" else [])]
    for name, options in engines.items():
        result = cli(*command, *options, "-o", tmp_path / f"{name}.tsv")
        assert result.exit_code == 0, result.output
        ended = [line.split()[:3] for line in result.stderr.splitlines() if line.startswith(("searching  ", "alignments  "))]
        assert ended == ([] if name == "one" else TABLES[kind])  # what has become of the pieces
    contents = {(tmp_path / f"{name}.tsv").read_bytes() for name in engines}
    assert len(contents) == 1 and next(iter(contents)).count(b"\n") >= 6


def test_searches_that_cannot_be_divided_say_so(
    cli: Callable[..., Result], examples: Path, tmp_path: Path, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    globins, table, model = examples / "globins.fasta", tmp_path / "t.npz", parts.parent / "model"
    cli("embed", globins, "--model", model, "-o", table)

    for arguments in ([table], [parts, "--approximate"]):  # not divided, whatever the environment says
        found = cli("search", globins, *arguments, "--model", model, env={"PHYLOCLI_SEARCH__JOBS": "2"})
        assert found.exit_code == 0, found.output

    def early(*_: object) -> None:
        raise AssertionError("the refusal comes after the queries are embedded")

    monkeypatch.setattr(pipeline, "embed_queries", early)
    elsewhere = ["--cluster", "tcp://192.0.2.1:8786"]
    refused: list[tuple[list[object], str]] = [
        ([table, "--jobs", 2], "search Parquet tables"),
        ([parts, "--approximate", "--jobs", 2], "does not support --jobs"),
        ([globins, *elsewhere], "phylocli embed FASTA -o FILE.parquet"),
        ([parts, "--rerank", "residues", "--device", "meta", "--sequences", globins, "--jobs", 2], "on processors only"),
    ]
    for arguments, words in refused:
        result = cli("search", globins, *arguments, "--model", model)
        assert result.exit_code == 2 and words in result.output, result.output
    part = next(parts.glob("part-*"))
    result = cli("search", globins, "-", "--model", model, *elsewhere, input=part.read_bytes())
    assert result.exit_code == 2 and "a pipe is copied to a temporary file" in result.output


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
    for name, options in PROCESSES.items():
        result = cli(*command, *options, "-o", tmp_path / name)
        assert result.exit_code == 0, result.output
        assert ("\nprobing  " in result.stderr) == (name != "one")  # the table at the end
    one, other = (pl.read_parquet(tmp_path / name / "metrics.parquet") for name in PROCESSES)
    assert len(one) > 4
    assert one.equals(other)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As with OMP_NUM_THREADS=1: the number of threads changes the last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_figures_of_infomin_are_the_same_whatever_the_engine(
    one_thread: None, simulate: Callable[..., Family], cli: Callable[..., Result], tmp_path: Path
) -> None:
    write_families((simulate(f"PF0000{k}", 24, seed=k) for k in range(3)), tmp_path / "trees.sto")
    small = [f"--set={key}" for key in ("batch.pairs=8", "validation.pairs=8", "validation.fraction=0.3")]
    command = ["infomin", tmp_path / "trees.sto", "--bands", "0:2", "--views", "substitution", "--steps", 2, *small]
    command += ["--seeds", "0,1"]
    tables = {}
    for name, options in ENGINES.items():
        result = cli(*command, *options, "-o", tmp_path / name)
        assert result.exit_code == 0, result.output
        tables[name] = (tmp_path / name / "runs.tsv").read_bytes()
    assert len(tables["one"].splitlines()) == 5
    assert set(tables.values()) == {tables["one"]}
