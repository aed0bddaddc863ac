"""Compiled families: the same draws as from the records, built once, never used half-built or damaged."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from phylocli import views
from phylocli.config.assignments import nested
from phylocli.config.train import TrainConfig
from phylocli.core.errors import BadInputError
from phylocli.formats import read_families, write_families
from phylocli.formats.family import Family
from phylocli.formats.streams import cache_folder, recording_inputs
from phylocli.pairs import split_clades
from phylocli.train import train_model
from phylocli.train.data import arrays
from phylocli.train.data.compiled import Compiled, cache, open_compiled
from phylocli.train.data.family_index import SamplingSettings
from phylocli.train.data.loading import load_corpus
from phylocli.train.data.prepared_families import PreparedFamilies

Simulate = Callable[..., Family]


@pytest.fixture
def families(simulate: Simulate) -> list[Family]:
    return [simulate(f"PF{i:05d}", 20 + i, clan="CL0001" if i < 2 else "") for i in range(5)]


@pytest.fixture
def stockholm(families: list[Family], tmp_path: Path) -> Path:
    write_families(families, tmp_path / "families.sto")
    return tmp_path / "families.sto"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHYLOCLI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def settings(**changes: Any) -> dict[str, Any]:
    return TrainConfig.of(None, {"recipe": "simclr", **nested({"batch.pairs": 8, **changes})})


def same(one: Any, two: Any) -> bool:
    return len(one) == len(two) and all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def in_processes(work: Callable[[], object], folder: Path, count: int = 1) -> tuple[list[int | None], str]:
    """Do something in processes of their own, all at once; return their exit codes and what they said on stderr."""

    def task(number: int) -> None:
        with (folder / f"said.{number}").open("w") as sys.stderr:
            work()

    # Forked, for these neither compute nor have threads: a new interpreter takes seconds to import all there is.
    processes = [multiprocessing.get_context("fork").Process(target=task, args=(k,)) for k in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes], "".join((folder / f"said.{k}").read_text() for k in range(count))


def test_a_compiled_family_is_the_record(examples: Path) -> None:
    compiled = open_compiled([examples / "families.sto"])
    assert cache_folder() in compiled.folder.parents
    records = sorted(read_families(examples / "families.sto"), key=lambda f: f.label)
    assert compiled.labels == [f.label for f in records]
    for index, record in enumerate(records):
        family = compiled.family(index)
        assert (family.ids, family.clan, family.aligned) == (record.ids, record.clan, True)
        assert same(family.encoded(), record.encoded())
        assert same(family.residue_columns(), record.residue_columns())
        assert same(family.match_positions(), record.match_positions())
        assert np.array_equal(family.match_columns(), record.match_columns())
        assert [len(row) for row in family.rows] == [record.columns] * len(record)
        known = [a for a, b in zip("".join(record.rows).upper(), "".join(family.rows), strict=True) if b not in "X-"]
        assert known == [b for b in "".join(family.rows) if b not in "X-"]
        if record.has_tree:
            assert family.require_tree().tip_names() == record.require_tree().tip_names()
            assert np.array_equal(family.require_tree().length, record.require_tree().length, equal_nan=True)


def test_match_positions_name_homologous_residues() -> None:
    family = Family(["x", "y"], ["ACd-E", "A-.GE"], column_features={"RF": "xx.xx"})
    assert [p.tolist() for p in family.match_positions()] == [[0, 1, -1, 3], [0, 2, 3]]


@pytest.mark.parametrize("name", ["phylogenetic", "identity+dropout", "ancestor", "pssm", "hmm-emission", "spans", "crop"])
def test_every_view_samples_the_same_from_compiled_families_as_from_records(
    name: str, simulate: Simulate, tmp_path: Path
) -> None:
    records = [simulate(f"PF{i:05d}", 24) for i in range(2)]
    for record in records:  # as 'phylocli align' writes it; without RF, columns are those of the subset that is prepared
        record.rows = ["--" + row[:30] + "-" + row[31:] for row in record.rows]
        record.column_features["RF"] = "xx" + "x" * 60
    write_families(records, tmp_path / "f.sto")
    view = views.build(name)
    draws = PreparedFamilies(open_compiled([tmp_path / "f.sto"]), SamplingSettings(view, {}, 0.3, 7))
    for index, record in enumerate(read_families(tmp_path / "f.sto")):
        out = split_clades(record, 0.3, 7)
        assert len(out) >= 2
        for held_out, ids in ((True, out), (False, set(record.ids) - out)):
            expected = views.draw_all(view.prepare(record.subset(ids)), 20, np.random.default_rng(index))
            found = views.draw_all(draws.prepared(index, held_out=held_out), 20, np.random.default_rng(index))
            assert all(same(a, b) for a, b in zip(expected[0], found[0], strict=True))
            assert np.array_equal(expected[1], found[1], equal_nan=True)


def test_the_second_run_reuses_what_the_first_compiled(
    families: list[Family], stockholm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"batch.pairs": 8, "encoder.preset": "tiny", "validation.pairs": 8}
    for run in ("one", "two"):
        train_model([stockholm], tmp_path / run, steps=2, device="cpu", settings=small)
    train_model([stockholm], tmp_path / "three", steps=2, device="cpu", settings=small, cache=False)
    said = capsys.readouterr().err
    assert said.count("families: ") == said.count("families: compiled in") == 1
    losses = [pl.read_parquet(tmp_path / run / "metrics.parquet")["loss"].to_list() for run in ("one", "two", "three")]
    assert losses[0] == losses[1] == losses[2]
    assert all(str(stockholm) in (tmp_path / run / "provenance.json").read_text() for run in ("one", "two", "three"))
    # Other seeds, bands and recipes share the data set; other inputs do not.
    load_corpus([stockholm], settings(**{"view.phylogenetic": {"max_dist": 1.0}}).updated(seed=5))
    assert cache.contents(cache_folder())[0] == 1
    write_families(families[1:], stockholm)
    assert len(load_corpus([stockholm], settings()).families) == 4
    assert cache.contents(cache_folder())[0] == 2


@pytest.mark.parametrize("harm", ["shorter", "other", "manifest", "missing"])
def test_damage_is_seen_and_the_families_compiled_again(
    harm: str, stockholm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [tokens.copy() for tokens in load_corpus([stockholm], settings()).batch(0).a]  # not parts of the file
    folder = open_compiled([stockholm]).folder
    tokens = folder / "tokens.bin"
    if harm == "shorter":
        os.truncate(tokens, 100)
    elif harm == "other":
        tokens.write_bytes(
            bytes([5]) + tokens.read_bytes()[1:] if tokens.read_bytes()[0] != 5 else b"\6" + tokens.read_bytes()[1:]
        )
    elif harm == "manifest":
        (folder / "manifest.json").write_text("{")
    else:
        (folder / "families.json").unlink()
    assert same(load_corpus([stockholm], settings()).batch(0).a, before)
    assert "recompiling the families" in capsys.readouterr().err
    survey = next((folder / "surveys").glob("*.npz"))
    survey.write_bytes(survey.read_bytes()[:50])
    assert same(load_corpus([stockholm], settings()).batch(0).a, before)


def test_a_build_that_fails_or_is_killed_leaves_nothing_that_is_used(
    stockholm: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.sto").write_text(stockholm.read_text()[:-3])
    with pytest.raises(BadInputError):
        open_compiled([tmp_path / "bad.sto"])
    assert [f for f in (own_cache / "corpora").iterdir() if f.suffix != ".lock"] == []

    def killed() -> None:
        arrays.ArrayWriter.finish = lambda *args, **more: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
        open_compiled([stockholm])

    assert in_processes(killed, tmp_path)[0] == [-signal.SIGKILL]
    left = [f for f in (own_cache / "corpora").iterdir() if f.suffix != ".lock"]
    assert len(left) == 1
    assert left[0].name.endswith(".part")
    assert open_compiled([stockholm]).families == 5
    assert not left[0].exists()


def test_two_processes_do_not_compile_the_same(stockholm: Path, tmp_path: Path) -> None:
    codes, said = in_processes(lambda: open_compiled([stockholm]), tmp_path, 2)
    assert codes == [0, 0]
    assert said.count("families: compiled in") == 1
    assert said.count("families: using the compiled data") == 1


def test_what_no_run_has_used_for_long_is_removed(families: list[Family], stockholm: Path) -> None:
    old = open_compiled([stockholm]).folder
    long_ago = time.time() - (cache.UNUSED_DAYS + 1) * 86400
    os.utime(old / "used", (long_ago, long_ago))
    write_families(families[:2], stockholm)
    assert open_compiled([stockholm]).folder.exists()
    assert not old.exists()


def test_without_a_cache_nothing_is_left(stockholm: Path, own_cache: Path) -> None:
    compiled = open_compiled([stockholm], cache=False)
    folder = compiled.folder
    assert folder.is_dir()
    del compiled
    assert not folder.exists()
    assert not own_cache.exists()


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    stockholm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert open_compiled([stockholm], cache=tmp_path / "file" / "below").families == 5
    assert "cannot write to the cache" in capsys.readouterr().err


def test_few_families_are_in_memory_and_sampling_does_not_depend_on_it(stockholm: Path) -> None:
    corpus = load_corpus([stockholm], settings())
    expected = [corpus.batch(step) for step in range(4)]
    draws = corpus.families[0].training.draws  # type: ignore[attr-defined]
    assert len(draws._kept) > 1
    draws.budget = 1
    draws._kept.clear()
    for step, batch in enumerate(expected):
        assert same(corpus.batch(step).a + corpus.batch(step).b, batch.a + batch.b)
    assert len(draws._kept) == 1
    again = pickle.loads(pickle.dumps(corpus))  # as worker processes get it
    assert same(again.batch(2).a, expected[2].a)


def test_opening_holds_a_few_numbers_of_each_family(tmp_path: Path) -> None:
    """A million families take 0.1 GB; parsed rows took thirty times as much."""

    def most(count: int) -> int:
        path = tmp_path / f"{count}.sto"
        record = "# STOCKHOLM 1.0\n#=GF AC FAM{0:05d}\na{0} MKVLAAGIVG\nb{0} MKVLSAGIVG\n//\n"
        path.write_text("".join(record.format(k) for k in range(count)))
        folder = open_compiled([path]).folder
        tracemalloc.start()
        try:
            opened = Compiled(folder)
            assert opened.family(count - 1).ids == [f"a{count - 1}", f"b{count - 1}"]
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    most(10)  # imports
    assert (most(1500) - most(500)) / 1000 < 400


def test_inputs_are_recorded_whether_they_are_compiled_or_not(stockholm: Path) -> None:
    def recorded() -> list[Any]:
        with recording_inputs() as inputs:
            open_compiled([stockholm])
        return inputs

    first, second = recorded(), recorded()
    assert first == second
    assert [record.name for record in first] == [str(stockholm)]


def test_a_fasta_family_is_named_after_its_file_and_standard_input_after_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = ">x\nACDEFGHIKL\n>y\nACDEFGHIKV\n"
    (tmp_path / "globins.fasta").write_text(text)
    assert open_compiled([tmp_path / "globins.fasta"]).labels == ["globins"]
    with (tmp_path / "globins.fasta").open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert open_compiled(["-"]).labels == ["standard input"]
