"""Commands on models of several modalities: embed --modality, search --text, search --modality, classify."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner, Result

from phylocli.cli import build
from phylocli.core.errors import BadInputError, UsageError
from phylocli.cross_modal import NONE, classify, search_across
from phylocli.embed import Embedder
from phylocli.embed.modalities import embed_values, read_values
from phylocli.formats.provenance import sidecar_path
from phylocli.models.multimodal import Calibration, MultimodalModel, tower


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of sequences, structure letters and texts, and files to embed."""
    path = tmp_path_factory.mktemp("joint")
    towers = {name: tower(name, preset="tiny", seed=k) for k, name in enumerate(("sequence", "three-di", "text"))}
    model = MultimodalModel(towers, 16)
    model.calibration["text"] = Calibration(10.0, 0.5, 1.0)
    model.save(path / "model")
    (path / "seqs.fasta").write_text(">a\nMKVLAAGIVGLCWERTYHPS\n>b\nMRVLSAGLV\n>c\nGGGGWWWPPP\n")
    (path / "3di.fasta").write_text(">a\nDDVVLLPPDDVV\n>b\nQQPD\n")
    (path / "classes.tsv").write_text("label\tdescription\nglobin\toxygen transport\nkinase\tphosphate transfer\n")
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(build(), [str(word) for word in words])


def hits(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    return [line.split("\t") for line in result.stdout.splitlines()]


def test_search_by_text_ranks_a_table_of_sequences_by_the_cosine_in_the_joint_space(folder: Path) -> None:
    model, table = MultimodalModel.load(folder / "model"), folder / "db.parquet"
    assert run("embed", folder / "seqs.fasta", "--model", folder / "model", "-o", table).exit_code == 0
    header, *rows = hits(run("search", "--text", "oxygen transport", table, "--model", folder / "model"))
    assert header == ["query", "target", "rank", "cosine", "evalue"]
    expected = (
        model.embed("sequence", ["MKVLAAGIVGLCWERTYHPS", "MRVLSAGLV", "GGGGWWWPPP"])
        @ model.embed("text", ["oxygen transport"]).T
    )
    best = sorted(zip("abc", expected[:, 0].tolist(), strict=True), key=lambda pair: -pair[1])
    assert [row[1] for row in rows] == [name for name, _ in best]
    assert [float(row[3]) for row in rows] == pytest.approx([cosine for _, cosine in best], abs=1e-4)
    assert {row[4] for row in rows} == {""}
    assert hits(run("search", "--text", "oxygen transport", table))[1:] == rows  # the model is found by the table


def test_structure_letters_find_sequences_and_sequences_find_structure_letters(folder: Path) -> None:
    model, states = folder / "model", folder / "3di.parquet"
    loaded = MultimodalModel.load(model)
    assert run("embed", folder / "3di.fasta", "--modality", "three_di", "--model", model, "-o", states).exit_code == 0
    assert pl.read_parquet(states)["embedding"][0].len() == 16
    rows = hits(run("search", folder / "seqs.fasta", states, "--modality", "sequence", "--model", model))[1:]
    assert len(rows) == 6
    one = (loaded.embed("sequence", ["MRVLSAGLV"]) @ loaded.embed("three-di", ["QQPD"]).T)[0, 0]
    assert float(next(row[3] for row in rows if row[:2] == ["b", "b"])) == pytest.approx(one, abs=1e-4)
    table = Embedder(loaded.core).embed([("a", "MKVLAAGIVGLCWERTYHPS"), ("b", "MRVLSAGLV")])
    back = search_across(folder / "3di.fasta", table, modality="three_di", model=loaded)
    assert back.filter((pl.col("query") == "b") & (pl.col("target") == "b"))["cosine"][0] == pytest.approx(one, abs=1e-4)


def test_classify_prints_probabilities_of_all_classes_and_of_none(folder: Path) -> None:
    found = run("classify", folder / "seqs.fasta", "--labels", folder / "classes.tsv", "--model", folder / "model", "-k", 3)
    header, *rows = hits(found)
    assert header == ["id", "rank", "label", "probability", "cosine"]
    assert [row[0] for row in rows] == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    assert {row[2] for row in rows} == {"globin", "kinase", NONE}
    for start in (0, 3, 6):
        probabilities = [float(row[3]) for row in rows[start : start + 3]]
        assert sum(probabilities) == pytest.approx(1, abs=1e-3)
        assert probabilities == sorted(probabilities, reverse=True)
    model = MultimodalModel.load(folder / "model")
    cosines = model.embed("sequence", ["GGGGWWWPPP"]) @ model.embed("text", ["oxygen transport", "phosphate transfer"]).T
    logits = np.append(10 * cosines[0], 0.5 + np.log(2))
    exact = np.exp(logits) / np.exp(logits).sum()
    of = {row[2]: float(row[3]) for row in rows[6:]}
    assert [of["globin"], of["kinase"], of[NONE]] == pytest.approx(exact.tolist(), rel=1e-3)


def test_what_does_not_fit_is_refused_with_the_way_out(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, table = folder / "model", folder / "db2.parquet"
    assert run("embed", folder / "seqs.fasta", "--model", model, "-o", table).exit_code == 0
    for words, said in [
        (["search", "--text", "x", table, "--align"], "cross-modal search does not support --align"),
        (["search", folder / "seqs.fasta"], "No targets given"),
        (["search", "--text", "x", table, table], "takes the place of the queries"),
        (["search", "--text", "x", table, "--model", "default"], "model of one modality"),
        (
            ["embed", folder / "3di.fasta", "--modality", "three_di", "-o", tmp_path / "x.parquet"],
            "needs a model of several",
        ),
        (["embed", folder / "seqs.fasta", "--modality", "smiles", "--model", model, "-o", tmp_path / "x.parquet"], "smiles"),
    ]:
        caplog.clear()
        assert run(*words).exit_code == 2, words
        assert said in caplog.text
    with pytest.raises(BadInputError, match="more than once"):
        classify(["MKV"], _table(tmp_path, "label\nx\nx\n"), model=model)
    with pytest.raises(BadInputError, match="at least two"):
        classify(["MKV"], _table(tmp_path, "label\tdescription\nx\ty\n"), model=model)
    assert classify(["MKV"], _table(tmp_path, "term\tname\nGO:1\tbinding\nGO:2\tkinase\n"), model=model).height == 1
    other = MultimodalModel({name: tower(name, preset="tiny", seed=9) for name in ("sequence", "text")}, 16)
    with pytest.raises(UsageError, match="no calibration"):
        classify(["MKV"], {"x": "y", "z": "w"}, model=other)
    with pytest.raises(BadInputError, match="embedded by another model"):
        search_across(["x"], table, model=other)


def test_gaps_are_states_of_secondary_structure_and_cells_of_sequences_are_checked(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "ss.fasta").write_text(">a\nHH--EE\n>b\nHHCCEE\n")
    ids, values = read_values(tmp_path / "ss.fasta", "secondary-structure")
    assert (ids, values) == (["a", "b"], ["HH--EE", "HHCCEE"])
    model = MultimodalModel.load(folder / "model")
    with pytest.raises(BadInputError, match=r"x2.*position 2"):
        embed_values(model, "sequence", ["x1", "x2"], ["MKV", "M1V"])
    assert embed_values(model, "sequence", ["x"], ["MK-v"]).numpy() == pytest.approx(
        embed_values(model, "sequence", ["x"], ["MKV"]).numpy()
    )


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["id\tthree_di\na\tDDV\n\tDVV\n"], "row 2 has no id"),
        (["id\tthree_di\na\tDDV\na\tDVV\n"], "'a' is there more than once"),
        (["id\tthree_di\na\tDDV\n", "id\tthree_di\nb\tDDV\na\tDVV\n"], "'a' is there more than once"),
    ],
)
def test_ids_that_are_missing_or_there_twice_are_refused(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, texts: list[str], said: str
) -> None:
    paths = [tmp_path / f"{k}.tsv" for k in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    out = tmp_path / "out.parquet"
    assert run("embed", *paths, "--modality", "three_di", "--model", folder / "model", "-o", out).exit_code == 65
    assert said in caplog.text and not out.exists()


def test_embed_modality_reads_a_pipe_and_writes_the_format_that_is_asked_for(folder: Path, tmp_path: Path) -> None:
    words = ["embed", "--modality", "three_di", "--model", str(folder / "model"), "--threads", "1"]
    piped = (folder / "3di.fasta").read_text()
    found = CliRunner().invoke(build(), [*words, "-", "--format", "csv", "-o", str(tmp_path / "out")], input=piped)
    assert found.exit_code == 0, found.output
    named = run(*words, folder / "3di.fasta", "-o", tmp_path / "out.csv")
    assert named.exit_code == 0 and (tmp_path / "out").read_text() == (tmp_path / "out.csv").read_text()


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("embed", "--per-residue"),
        ("embed", "--pooling mean"),
        ("embed", "--layer 1"),
        ("embed", "--half"),
        ("search", "--sequences seqs.fasta"),
        ("search", "--translate"),
        ("search", "--approximate"),
    ],
)
def test_options_that_another_modality_does_not_use_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, command: str, option: str
) -> None:
    monkeypatch.chdir(folder)
    if command == "search":
        assert run("embed", "seqs.fasta", "--model", "model", "-o", "targets.parquet").exit_code == 0
    words = "3di.fasta -o refused.parquet" if command == "embed" else "3di.fasta targets.parquet -o refused.parquet"
    given = f"{command} {words} --modality three_di --model model {option}".split()
    assert run(*given).exit_code == 2
    assert f"does not support {option.split(maxsplit=1)[0]}" in caplog.text and not Path("refused.parquet").exists()


def test_provenance_of_a_search_by_text_has_the_query_and_the_options(folder: Path, tmp_path: Path) -> None:
    table, hits = tmp_path / "db.parquet", tmp_path / "hits.tsv"
    assert run("embed", folder / "seqs.fasta", "--model", folder / "model", "-o", table).exit_code == 0
    words = ["search", "--text", "oxygen", table, "-k", 2, "--min-cosine", -0.9, "--model", folder / "model", "-o", hits]
    assert run(*words).exit_code == 0
    found = json.loads(sidecar_path(hits).read_text())["parameters"]
    assert (found["queries"], found["number"], found["min_cosine"]) == (["oxygen"], 2, -0.9)


def test_classes_that_cannot_be_told_apart_and_models_of_another_first_modality_are_refused(folder: Path) -> None:
    model = MultimodalModel.load(folder / "model")
    for classes, said in [({}, "at least two"), ({"x": "y"}, "at least two"), ({"x": "y", NONE: "z"}, "none of these")]:
        with pytest.raises(BadInputError, match=said):
            classify(["MKV"], classes, model=model)
    other = MultimodalModel({name: tower(name, preset="tiny") for name in ("three-di", "sequence", "text")}, 16)
    other.calibration["text"] = Calibration(10.0, 0.5, 1.0)  # of structure letters
    with pytest.raises(UsageError, match="no calibration"):
        classify(["MKV"], {"x": "y", "z": "w"}, model=other)


def _table(folder: Path, text: str) -> Path:
    path = folder / "classes.tsv"
    path.write_text(text)
    return path


def test_a_damaged_model_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    for name, change in [("modalities.json", b"{}"), ("modalities.safetensors", b"x")]:
        copy = tmp_path / name
        shutil.copytree(folder / "model", copy)
        (copy / name).write_bytes(change)
        with pytest.raises(BadInputError, match="cannot be read"):
            MultimodalModel.load(copy)
