"""Benchmarks by name: the loaders on small files in the public formats and on the real data, models embedded in the run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import read_families
from phylocli.models.model import Model
from phylocli.probe import run_probes
from phylocli.probe.benchmarks import benchmark_names, load_benchmark
from phylocli.probe.benchmarks._avgfp import mutate
from phylocli.probe.inputs.dataset import Dataset


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Model.create("convolutional", preset="tiny", seed=0).save(tmp_path_factory.mktemp("model") / "small" / "model")


@pytest.mark.needs("shared-data")
@pytest.mark.parametrize(
    ("name", "part", "items"),
    [
        ("scope", "all", 5_058),
        ("tape-remote-homology", "valid", 13_048),
        ("secondary-structure", "valid", 10_792),
        ("tape-stability", "valid", 56_126),
        ("flip", "low_vs_high:valid", None),
        ("go", "valid", 21_600),
        ("localization", "valid", None),
        ("fluorescence", "sample", 5_001),
        ("gb1", "sample", 2_001),
        ("tape-fluorescence", "valid", 26_197),
    ],
)
def test_the_real_files_are_read(shared_data: Path, name: str, part: str, items: int | None) -> None:
    found = load_benchmark(name, shared_data, part)
    data = Dataset.from_labels(found.frame, name, columns=found.columns)
    assert items is None or len(data) == items
    assert {"id", "sequence", *found.columns} <= set(found.frame.columns)
    known = {*data.classes, *data.terms, *data.values, *data.residue_labels}
    assert any(column in known for column in found.columns)
    assert "test" not in set(data.split or [])  # the default never scores a test part


def test_every_benchmark_has_a_summary_and_reports_missing_files(tmp_path: Path) -> None:
    assert {"scope", "ec", "flip", "go", "tape-remote-homology", "secondary-structure"} <= set(benchmark_names())
    for name in benchmark_names():
        with pytest.raises(UsageError, match="contains none of this benchmark's files"):
            load_benchmark(name, tmp_path)
    with pytest.raises(UsageError, match="no part 'nonsense'"):
        load_benchmark("scope", tmp_path, "nonsense")
    with pytest.raises(UsageError, match="is not a folder"):
        load_benchmark("scope", tmp_path / "missing")


def test_scope_as_astral_publishes_it(tmp_path: Path) -> None:
    (tmp_path / "astral-scopedom-seqres-gd-sel-gs-bib-40-2.08.fa").write_text(
        ">d1 a.1.1.1 (A:) x\nmkv\n>d2 a.1.1.2 (A:) y\nmkl\n"
    )
    found = load_benchmark("scope", tmp_path)
    assert found.frame["superfamily"].to_list() == ["a.1.1", "a.1.1"]


def write_json(path: Path, records: list[dict[str, object]]) -> None:
    path.write_text(json.dumps(records))


def test_tape_as_json(tmp_path: Path) -> None:
    for name in ("train", "valid", "test_fold_holdout"):
        write_json(tmp_path / f"remote_homology_{name}.json", [{"primary": "MKV", "fold_label": 3}] * 2)
    default = load_benchmark("tape-remote-homology", tmp_path)
    assert sorted(set(default.frame["split"])) == ["train", "valid"]
    found = load_benchmark("tape-remote-homology", tmp_path, "test_fold_holdout")
    assert found.frame["split"].to_list() == ["train"] * 2 + ["valid"] * 2 + ["test"] * 2
    assert found.frame["id"].n_unique() == 6 and "LSTM" in found.published

    records: list[dict[str, object]] = [
        {"primary": "MKVA", "ss3": [0, 1, 2, 2], "ss8": [1, 3, 7, 5], "valid_mask": [1, 1, 1, 0]}
    ]
    for name in ("train", "valid", "cb513"):
        write_json(tmp_path / f"secondary_structure_{name}.json", records)
    found = load_benchmark("secondary-structure", tmp_path, "cb513")
    assert found.frame.select("ss3", "ss8", "resolved").rows()[0] == ("HECC", "HBCS", "1110")

    for name in ("train", "valid", "test"):
        write_json(tmp_path / f"stability_{name}.json", [{"primary": "MKV", "stability_score": [0.5]}])
        write_json(tmp_path / f"fluorescence_{name}.json", [{"primary": "MKV", "log_fluorescence": [3.5]}])
    assert load_benchmark("tape-stability", tmp_path).frame["stability"].to_list() == [0.5, 0.5]
    assert load_benchmark("tape-fluorescence", tmp_path, "test").frame["split"].to_list() == ["train", "valid", "test"]
    assert load_benchmark("tape-fluorescence", tmp_path).frame["brightness"].to_list() == [3.5, 3.5]


def test_near_variants_are_learned_from_and_far_ones_are_the_test(tmp_path: Path) -> None:
    (tmp_path / "avgfp_wildtype.json").write_text('{"avgfp": {"wt": "SKGEELF", "offset": 0}}')
    variants = [
        "S0A",
        "K1R,G2A",
        "S0A,K1R,G2A",
        "S0A,K1R,G2A,E3D",
        "S0A,K1R,G2A,E3D,F6L",
        "E4*",
        *(f"L5{a}" for a in "ACDEFG"),
    ]
    (tmp_path / "avgfp.tsv").write_text("variant\tscore\n" + "".join(f"{v}\t{i}\n" for i, v in enumerate(variants)))
    found = load_benchmark("tape-fluorescence", tmp_path, "test").frame
    assert found.filter(pl.col("split") == "test")["sequence"].to_list() == ["ARADELF", "ARADELL"]
    assert found.height == len(variants) - 1 and {"train", "valid"} <= set(found["split"])
    assert load_benchmark("tape-fluorescence", tmp_path).frame.height == len(variants) - 3


def test_variants_of_gb1_are_named_by_their_substitutions(tmp_path: Path) -> None:
    wild = "M" * 38 + "VDG" + "K" * 12 + "V" + "E" * 4
    rows = [(1.0, wild), (0.5, wild[:38] + "A" + wild[39:]), (2.0, wild[:39] + "CF" + wild[41:53] + "L" + wild[54:])]
    (tmp_path / "flip_gb1.tsv").write_text("fitness\tsequence\n" + "".join(f"{v}\t{s}\n" for v, s in rows))
    found = load_benchmark("gb1", tmp_path, "all")
    assert found.frame["id"].to_list() == ["wild-type", "V39A", "D40C;G41F;V54L"]
    assert found.frame["fitness"].to_list() == [1.0, 0.5, 2.0]
    (tmp_path / "flip_gb1.tsv").write_text(f"fitness\tsequence\n0.5\t{rows[1][1]}\n")
    with pytest.raises(BadInputError, match="does not have the wild type once"):
        load_benchmark("gb1", tmp_path)


def write_netsurfp(path: Path, proteins: dict[str, tuple[str, str, str, str]], length: int = 12) -> None:
    """Write proteins of (sequence, eight states, ordered, evaluated) as NetSurfP-2 publishes them."""
    data = np.zeros((len(proteins), length, 68), dtype=np.float32)
    for row, (sequence, states, ordered, evaluated) in enumerate(proteins.values()):
        for at, letters in enumerate(zip(sequence, states, ordered, evaluated, strict=True)):
            if letters[0] != "X":
                data[row, at, "ACDEFGHIKLMNPQRSTVWY".index(letters[0])] = 1
            data[row, at, 20:50] = 0.3  # the profile is not looked at
            data[row, at, 50:53] = [1, letters[2] == "1", letters[3] == "1"]
            data[row, at, 57 + "GHIBESTC".index(letters[1])] = 1
    np.savez_compressed(path, data=data, pdbids=np.array(list(proteins)))


def test_secondary_structure_as_netsurfp_publishes_it(tmp_path: Path) -> None:
    many = {f"{k}ABC-A": ("MKVWYXAC", "GHIBESTC", "11111101", "1" * 8) for k in range(40)}
    write_netsurfp(tmp_path / "Train_HHblits.npz", many)
    write_netsurfp(tmp_path / "TS115_HHblits.npz", {"4NEW-A": ("ACD", "HEC", "111", "111"), **dict(list(many.items())[:1])})
    write_netsurfp(tmp_path / "CB513_HHblits.npz", {"1CBX-A": ("ACD", "HEC", "111", "101")})
    default = load_benchmark("secondary-structure", tmp_path).frame
    assert set(default["split"]) == {"train", "valid"} and 1 <= (default["split"] == "valid").sum() <= 8
    first = default.select("sequence", "ss3", "ss8", "resolved").rows()[0]
    assert first == ("MKVWYXAC", "HHHEECCC", "GHIBESTC", "11111101")
    ts115 = load_benchmark("secondary-structure", tmp_path, "ts115")
    assert ts115.frame.filter(pl.col("split") == "test")["id"].to_list() == ["4NEW-A", "0ABC-A"]
    assert ts115.frame["id"].n_unique() == ts115.frame.height == 41  # what is scored is learned from no more
    cb513 = load_benchmark("secondary-structure", tmp_path, "cb513")
    assert cb513.frame.rows(named=True)[-1]["resolved"] == "101" and "one-hot 0.69" in cb513.published
    data = Dataset.from_labels(cb513.frame, "cb513", columns=cb513.columns)
    assert set(data.residue_labels) == {"ss3", "ss8"} and data.residue_mask is not None
    np.savez(tmp_path / "Train_HHblits.npz", data=np.zeros((2, 5, 57)), pdbids=np.array(["a", "b"]))
    with pytest.raises(BadInputError, match=r"Train_HHblits.npz is not a dataset of NetSurfP-2"):
        load_benchmark("secondary-structure", tmp_path)
    np.savez(tmp_path / "Train_HHblits.npz", data=np.full((2, 5, 68), "x"), pdbids=np.array(["a", "b"]))
    with pytest.raises(BadInputError, match="not a dataset of NetSurfP-2"):
        load_benchmark("secondary-structure", tmp_path)
    (tmp_path / "Train_HHblits.npz").write_bytes(b"PK nonsense")
    with pytest.raises(BadInputError, match="cannot be read as NPZ"):
        load_benchmark("secondary-structure", tmp_path)


def test_json_of_something_else_is_named(tmp_path: Path) -> None:
    for name in ("train", "valid"):
        write_json(tmp_path / f"stability_{name}.json", [{"primary": "MKV"}])
    with pytest.raises(BadInputError, match=r"stability_train.json: record 1 has no field 'stability_score'"):
        load_benchmark("tape-stability", tmp_path)
    (tmp_path / "stability_train.json").write_text("{")
    with pytest.raises(BadInputError, match="is not JSON"):
        load_benchmark("tape-stability", tmp_path)


def test_flip_as_it_is_published(tmp_path: Path) -> None:
    rows = "sequence,target,set,validation\nMKV,1.0,train,\nMKL,2.0,train,True\nMKI,3.0,test,\n"
    (tmp_path / "one_vs_rest.csv").write_text(rows)
    assert load_benchmark("flip", tmp_path, "one_vs_rest").frame["split"].to_list() == ["train", "valid", "test"]
    assert load_benchmark("flip", tmp_path, "one_vs_rest:valid").frame["split"].to_list() == ["train", "valid"]


def test_enzymes_as_clean_publishes_them(tmp_path: Path) -> None:
    table = "Entry\tEC number\tSequence\n"
    rows = "".join(f"P{i}\t1.1.1.{i % 3};2.7.1.1\tMKV\n" for i in range(20))
    (tmp_path / "split10.csv").write_text(table + rows)
    (tmp_path / "new.csv").write_text(table + "P3\t1.1.1.0\tMKV\nQ1\t1.1.1.1\tMKL\n")
    default = load_benchmark("ec", tmp_path).frame
    assert set(default["split"]) == {"train", "valid"}
    tested = load_benchmark("ec", tmp_path, "new").frame
    assert tested.filter(pl.col("split") == "test")["id"].to_list() == ["P3", "Q1"]
    assert tested["id"].n_unique() == tested.height == 21  # a tested protein is not learned from


def test_mutations_must_fit_the_wild_type() -> None:
    assert mutate("SKGE", "K1R,E3D", 0, "x") == "SRGD"
    assert mutate("SKGE", "K2R", 1, "x") == "SRGE"
    with pytest.raises(BadInputError, match="A1R does not match"):
        mutate("SKGE", "A1R", 0, "x")
    with pytest.raises(BadInputError, match="E9A does not match"):
        mutate("SKGE", "E9A", 0, "x")


@pytest.fixture(scope="module")
def folder(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a SCOPe-like table of real domains."""
    rows = ["id\tfamily\tsuperfamily\tfold\tsequence\n"]
    for place, family in enumerate(list(read_families(examples / "families.sto"))[:4]):
        for s in family.sequences()[:8]:
            rows.append(f"{s.id}\ta.{place // 2}.1.{place}\ta.{place // 2}.1\ta.{place // 2}\t{s.residues}\n")
    path = tmp_path_factory.mktemp("data") / "scope"
    path.mkdir()
    (path / "dev.tsv").write_text("".join(rows))
    return path.parent


def test_model_is_evaluated_layer_by_layer(folder: Path, model: Path, tmp_path: Path) -> None:
    metrics = run_probes(
        [],
        None,
        tmp_path / "report",
        models=[model],
        layers="all",
        benchmark="scope",
        data=folder,
        replicates=100,
        projection="pca",
    ).to_polars()
    names = metrics["embedding"].unique(maintain_order=True).to_list()
    assert names[:4] == ["small", "untrained", "composition", "dipeptides"]
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    depth = Model.load(model).depth
    layers = [r for r in report["layers"] if r["task"] == "retrieval" and r["level"] == "family"]
    assert [r["layer"] for r in layers] == list(range(depth + 1))
    headline = metrics.filter(
        (pl.col("embedding") == "small") & (pl.col("task") == "retrieval") & (pl.col("level") == "family")
    )["value"][0]
    assert layers[-1]["value"] == pytest.approx(headline, abs=1e-6)
    page = (tmp_path / "report" / "report.html").read_text()
    assert "By layer" in page and "phmmer reaches" in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"benchmark": "scope"}, "read from one folder"),
        ({"labels": "labels.tsv", "benchmark": "scope", "data": "x"}, "exclude each other"),
        ({}, "nothing to evaluate on"),
    ],
)
def test_incompatible_options_are_reported(model: Path, tmp_path: Path, options: dict[str, str], message: str) -> None:
    labels = options.pop("labels", None)
    with pytest.raises(UsageError, match=message):
        run_probes([], labels, tmp_path / "report", models=[model], **options)  # type: ignore[arg-type]


def test_layers_and_the_untrained_encoder_need_a_model(folder: Path, tmp_path: Path) -> None:
    labels = folder / "scope" / "dev.tsv"
    table = tmp_path / "emb.tsv"
    ids = pl.read_csv(labels, separator="\t")["id"].to_list()
    table.write_text("id\tx1\tx2\n" + "".join(f"{name}\t{i % 3}\t1\n" for i, name in enumerate(ids)))
    with pytest.raises(UsageError, match="--layers needs a model"):
        run_probes([table], labels, tmp_path / "report", layers="all")
    with pytest.raises(UsageError, match="untrained baseline"):
        run_probes([table], labels, tmp_path / "report", baselines=["untrained"])
