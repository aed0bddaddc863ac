"""`phylocli embed` as a user runs it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from phylocli.models.model import Model

Run = Callable[..., object]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Model.create("convolutional", preset="tiny", seed=0).save(tmp_path_factory.mktemp("model") / "m")


def test_a_fasta_file_becomes_a_parquet_table(phylocli: Run, examples: Path, model: Path, tmp_path: Path) -> None:
    done = phylocli("embed", examples / "globins.fasta", "--model", model, "-o", "emb.parquet")
    assert done.returncode == 0 and done.stdout == b"" and b"45 sequences" in done.stderr
    assert pl.read_parquet(tmp_path / "emb.parquet").height == 45
    assert (tmp_path / "emb.parquet.provenance.json").exists()


def test_numbers_are_not_poured_out_on_a_terminal(on_terminal: Run, examples: Path, model: Path) -> None:
    done = on_terminal("embed", examples / "globins.fasta", "--model", model)
    assert done.returncode == 2 and done.stdout == ""
    assert "-o emb.parquet" in done.stderr


def test_pipes_carry_tsv_and_arrow_of_the_same_numbers(phylocli: Run, examples: Path, model: Path) -> None:
    data = (examples / "globins.fasta").read_bytes()
    tsv = phylocli("embed", "-q", "--model", model, input=data)
    arrow = phylocli("embed", "-", "-q", "--model", model, "--format", "arrow", input=data)
    assert tsv.returncode == arrow.returncode == 0 and tsv.stderr == b""
    lines = tsv.stdout.decode().splitlines()
    assert lines[0] == "id\tlength\tembedding" and len(lines) == 46
    first = np.array(lines[1].split("\t")[2].split(), dtype=np.float32)
    assert (pl.read_ipc_stream(io.BytesIO(arrow.stdout))["embedding"].to_numpy()[0] == first).all()


def test_hard_input_is_embedded_whole(phylocli: Run, model: Path) -> None:
    rng = np.random.default_rng(0)
    titin = "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 40_000))
    text = f">titin\n{titin}\n>blank\nXXX\n>one desc\nM\n>twin\r\nm-k*\r\n>sp|P1|it's(odd)\nMK\n"
    done = phylocli("embed", "--model", model, input=text.encode())
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()[1:]]
    assert done.returncode == 0, done.stderr
    assert [r[:2] for r in rows] == [
        ["titin", "40000"],
        ["blank", "3"],
        ["one", "1"],
        ["twin", "2"],
        ["sp|P1|it's(odd)", "2"],
    ]
    assert rows[3][2] == rows[4][2]
    assert b"'blank'" in done.stderr and b"overlapping windows" in done.stderr


def test_a_folder_is_shared_by_shards_and_read_from_several_inputs(
    cli: Run, examples: Path, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "reads.fastq").write_text("@r1\nMKV\n+\nIII\n")
    inputs = (examples / "glob*.fasta", tmp_path / "reads.fastq")
    for shard in ("1/2", "2/2"):
        done = cli(
            *("embed", *inputs, "-m", model, "-o", f"{tmp_path / 'parts'}/", "--shard-size", 20, "--shard", shard),
        )
        assert done.exit_code == 0, done.stderr
    assert "1 parts computed" in done.stderr and "still to come" not in done.stderr
    rows = [pl.read_parquet(path).height for path in sorted((tmp_path / "parts").glob("*.parquet"))]
    assert rows == [20, 20, 6]
    wrong = cli("embed", *inputs, "-m", model, "-o", tmp_path / "e.parquet", "--shard", "1/2")
    assert wrong.exit_code == 2 and "give -o FOLDER" in wrong.stderr


def test_the_untrained_model_differs_by_seed_only(phylocli: Run, model: Path) -> None:
    outputs = [phylocli("embed", "-q", "--model", model, "--untrained", s, input=b">a\nMKV\n").stdout for s in (1, 2)]
    assert outputs[0] != outputs[1]


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (b"", 65, b"is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0", 65, b"PNG"),
        (b">a\nMK7\n", 65, b"'7' at position 3"),
    ],
)
def test_bad_input_ends_with_65_and_says_why(phylocli: Run, model: Path, data: bytes, code: int, message: bytes) -> None:
    done = phylocli("embed", "--model", model, "-o", "out.parquet", input=data)
    assert done.returncode == code and message in done.stderr
    assert not (Path(done.args[-1]).exists())


def test_folder_that_is_not_a_model_is_an_error(phylocli: Run, tmp_path: Path) -> None:
    done = phylocli("embed", "--model", tmp_path, input=b">a\nMK\n")
    assert done.returncode == 65 and b"is not a model folder" in done.stderr
