"""Sweeps: selection of runs, results, and resumption."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from phylocli.config.sweep import SweepConfig
from phylocli.core.errors import BadInputError, PhylocliError, UsageError
from phylocli.executors.dask_cluster import close_clusters
from phylocli.formats.streams import locks
from phylocli.train import sweep as room
from phylocli.train.sweep.plan import Planned
from phylocli.train.sweep.results import collect, summarise

SMALL = {"encoder.preset": "tiny", "batch.pairs": 8, "validation.pairs": 8, "checkpoints.every": 1}


def test_values_are_parted_by_commas_outside_of_brackets_and_quotes() -> None:
    assert room.vary("critic.temperature=0.05, 0.1").values == (0.05, 0.1)
    assert room.vary("view.name=crop,phylogenetic+crop").settings == (
        {"view.name": "crop"},
        {"view.name": "phylogenetic+crop"},
    )
    assert room.vary('a.b=[1, 2],"x,y",true').values == ([1, 2], "x,y", True)
    assert room.vary("train.critic.temperature=0.05,0.1") == room.vary("critic.temperature=0.05,0.1")
    assert room.band_variation(SweepConfig.of(None, {"bands": "0:0.5,1:"}).bands or ()).settings[1] == {
        "view.phylogenetic.min_dist": 1.0,
        "view.phylogenetic.max_dist": math.inf,
    }
    for text in ("temperature", "=1", "a=1,,2", "a=1,1"):
        with pytest.raises(UsageError):
            room.vary(text)
    for text in ("0.5", "a:b", "1:0.5"):
        with pytest.raises(UsageError):
            SweepConfig.of(None, {"bands": text})
    with pytest.raises(UsageError, match="duplicate"):
        room.band_variation([(0, 1), (0, 1)])
    assert SweepConfig.of(None, {"seeds": "0, 2"}).seeds == (0, 2)
    with pytest.raises(UsageError, match="not whole numbers"):
        SweepConfig.of(None, {"seeds": "0,-1"})


def test_the_plan_is_every_combination_and_names_stay_when_it_grows() -> None:
    few = room.plan(["simclr"], [room.vary("steps=5,6")], [0])
    many = room.plan(["simclr", "siglip"], [room.vary("steps=5,6,7")], [0, 1])
    assert (len(few), len(many)) == (2, 12)
    assert {run.name for run in few} <= {run.name for run in many}
    assert len({run.name for run in many}) == 12
    assert few[0] == Planned("simclr,steps=5,seed=0", "simclr", {"steps": 5}, {"steps": 5}, 0)
    hostile = room.plan(["../a/b.toml", "../a_b.toml"], [room.vary("x=../../etc,a b")], [0])
    assert len({run.name for run in hostile}) == 4
    assert not any("/" in run.name or run.name.startswith(".") or len(run.name) > 120 for run in hostile)
    for recipes, variations, seeds, fixed in (
        (["simclr", "simclr"], [], [0], ()),
        (["simclr"], [room.vary("steps=1,2"), room.vary("steps=3")], [0], ()),
        (["simclr"], [room.vary("steps=1,2")], [0], ("steps",)),
        (["simclr"], [], [0, 0], ()),
        (["simclr"], [], [], ()),
    ):
        with pytest.raises(UsageError, match="is given"):
            room.plan(recipes, variations, seeds, fixed)


def test_results_hold_final_and_best_figures_and_the_summary_their_means(tmp_path: Path) -> None:
    runs = room.plan(["simclr"], [room.vary("critic.temperature=0.1,word")], [0, 1, 2])
    for k, run in enumerate(runs[:5]):
        (tmp_path / run.name / "model").mkdir(parents=True)
        columns = {"step": [1, 2, 3], "seconds": [1.0, 2.0, 3.0], "val_loss": [0.5 - k, None, 0.7 - k]}
        pl.DataFrame({**columns, "val_accuracy": [0.9, None, 0.8 + k / 100]}).write_parquet(
            tmp_path / run.name / "metrics.parquet"
        )
        if k != 1:
            (tmp_path / run.name / "model" / "config.json").write_text("{}")
    frame = collect(runs, tmp_path, {runs[4].name: "it\tbroke"})
    assert frame["status"].to_list() == ["done", "interrupted", "done", "done", "failed", "waiting"]
    assert frame["critic.temperature"].to_list() == ["0.1"] * 3 + ["word"] * 3
    assert (frame["seconds"][0], frame["steps"][0]) == (6.0, 3)
    assert (frame["final_val_loss"][2], frame["best_val_loss"][2]) == pytest.approx((-1.3, -1.5))
    assert (frame["final_val_accuracy"][2], frame["best_val_accuracy"][2]) == pytest.approx((0.82, 0.9))
    summary = summarise(frame, ["critic.temperature"]).filter(pl.col("figure") == "final_val_accuracy")
    assert summary["n"].to_list() == [2, 1]  # neither interrupted nor failed runs
    assert summary["mean"].to_list() == pytest.approx([0.81, 0.83])
    assert summary["low"][1] is None


@pytest.fixture
def families(simulated_file: Callable[..., Path]) -> Path:
    return simulated_file(3, members=20)


def losses(folder: Path, run: str) -> list[float]:
    return pl.read_parquet(folder / "runs" / run / "metrics.parquet")["loss"].to_list()


def test_sweep_does_each_run_once_resumes_exactly_and_survives_a_failure(
    families: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHYLOCLI_CACHE", str(tmp_path / "cache"))  # other tests compile the same families
    out = tmp_path / "sweep"

    def call(seeds: tuple[int, ...], bands: str) -> pl.DataFrame:
        return room.sweep([families], out, bands=bands, seeds=seeds, train=SMALL, steps=2, device="cpu")

    with pytest.raises(PhylocliError, match="1 of 2 runs failed"):
        call((0,), "0:9,50:60")
    said = capsys.readouterr().err
    assert said.count("families: compiled in") == 1
    assert "using the compiled data" not in said and "contains no run yet" not in said
    frame = pl.read_parquet(out / "results.parquet")
    assert frame["status"].to_list() == ["done", "failed"]
    assert "no family can be used for training" in frame["error"][1]
    first = frame["run"][0]
    before, written = losses(out, first), (out / "runs" / first / "model" / "model.safetensors").stat().st_mtime_ns
    again = call((0, 1), "0:9")
    assert again["status"].to_list() == ["done", "done"]
    assert (out / "runs" / first / "model" / "model.safetensors").stat().st_mtime_ns == written
    # As if it had been killed after its first step.
    second = again["run"][1]
    complete = losses(out, second)
    shutil.rmtree(out / "runs" / second / "model")
    (out / "runs" / second / "checkpoints" / "step-00000002.pt").unlink()
    assert call((0, 1), "0:9")["status"].to_list() == ["done", "done"]
    assert losses(out, second) == complete
    assert losses(out, first) == before
    assert before != complete
    table = (out / "results.tsv").read_text().splitlines()
    assert table[0].startswith("run\trecipe\tband\tseed\tsetting\tstatus")
    assert len(table) == 3
    page = (out / "sweep.html").read_text()
    assert "<svg" in page
    assert "simclr, band 0:9" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons", ""
    )


def test_impossible_sweeps_are_refused_before_computing(families: Path, tmp_path: Path) -> None:
    wrong: list[tuple[type[PhylocliError], dict[str, Any], str]] = [
        (UsageError, {"recipes": ["simclr", "simcrl"]}, "did you mean"),
        (UsageError, {"vary": ["batch.pears=1,2"]}, "'pears'"),
        (UsageError, {"vary": ["critic.temp=0.05,0.1"]}, "no parameter 'temp'"),
        (UsageError, {"vary": ["optimiser.learning_rate=0.1,-1"]}, "learning_rate must be above 0"),
        (UsageError, {"vary": ["steps=1,2"], "steps": 3}, "the option steps is given twice"),
        (UsageError, {"metric": "val_accuracy"}, "final_val_accuracy"),
        (UsageError, {"inputs": ["-"]}, "several times"),
        (BadInputError, {"inputs": [tmp_path / "none.sto"]}, "no such file"),
    ]
    for kind, options, message in wrong:
        inputs = options.pop("inputs", [families])
        with pytest.raises(kind) as caught:
            room.sweep(inputs, tmp_path / "sweep", **options)
        assert message in str(caught.value)
    assert not (tmp_path / "sweep").exists()


def test_families_without_trees_are_refused_before_the_first_run(examples: Path, tmp_path: Path) -> None:
    for options in ({}, {"bands": "50:60,0:9"}, {"vary": ["view.name=crop,phylogenetic"]}):
        with pytest.raises(BadInputError, match="globins has no tree") as caught:
            room.sweep([examples / "globins.fasta"], tmp_path / "sweep", steps=2, train=SMALL, **options)
        assert caught.value.fix == "run it through 'phylocli tree' first"
        assert not (tmp_path / "sweep").exists()


def test_a_sweep_with_other_settings_than_its_runs_have_is_refused_and_its_tables_stay(
    families: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sweep"

    def call(steps: int, **settings: Any) -> pl.DataFrame:
        return room.sweep([families], out, seeds=[0, 1], train={**SMALL, **settings}, steps=steps, device="cpu")

    call(2)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for steps, settings, named in ((3, {}, "steps = 2"), (2, {"optimiser.clip": 0.5}, r"optimiser\.clip = 1\.0")):
        with pytest.raises(UsageError, match=f"{out} was made with {named}") as caught:
            call(steps, **settings)
        assert caught.value.fix is not None
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_sweep_whose_metrics_are_damaged_says_which(families: Path, tmp_path: Path) -> None:
    room.sweep([families], tmp_path / "sweep", train=SMALL, steps=2, device="cpu")
    metrics = tmp_path / "sweep" / "runs" / "simclr,seed=0" / "metrics.parquet"
    metrics.write_bytes(metrics.read_bytes()[:50])
    frame = collect(room.plan(["simclr"], [], [0]), tmp_path / "sweep" / "runs", {})
    assert frame["status"].to_list() == ["failed"]
    assert f"{metrics} is damaged" in frame["error"][0]


def test_two_sweeps_in_one_folder_are_refused(families: Path, tmp_path: Path) -> None:
    with locks.exclusive(tmp_path / "sweep"), pytest.raises(locks.InUseError):
        room.sweep([families], tmp_path / "sweep", train=SMALL, steps=2, device="cpu")
    assert not (tmp_path / "sweep").exists()


@pytest.mark.usefixtures("one_thread")  # as in the processes
def test_killed_sweep_resumes_with_the_results_of_an_uninterrupted_one(families: Path, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom phylocli.train import sweep\n"
        f"sweep.sweep([sys.argv[1]], sys.argv[2], seeds=[0, 1], train={SMALL!r}, steps=4, device='cpu')"
    )
    command = [sys.executable, "-c", script, str(families), str(tmp_path / "killed")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    second = tmp_path / "killed" / "runs" / "simclr,seed=1" / "checkpoints"
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not list(second.glob("step-*.pt")):
            time.sleep(0.005)
        process.kill()
    assert not (second.parent / "model").exists()
    subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL)
    room.sweep([families], tmp_path / "whole", seeds=[0, 1], train=SMALL, steps=4, device="cpu")
    for run in ("simclr,seed=0", "simclr,seed=1"):
        assert losses(tmp_path / "killed", run) == pytest.approx(losses(tmp_path / "whole", run), abs=1e-6)
    assert not list((tmp_path / "killed").rglob(".*"))  # neither locks nor temporary files


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [{"jobs": 2}, {"cluster": "local:2"}])
def test_runs_in_processes_of_their_own_give_the_same(families: Path, tmp_path: Path, parallel: dict[str, object]) -> None:
    for name, options in (("one", {}), ("two", parallel)):
        room.sweep([families], tmp_path / name, seeds=[0, 1], train=SMALL, steps=2, device="cpu", **options)
    close_clusters()
    run = "simclr,seed=1"
    assert losses(tmp_path / "one", run) == pytest.approx(losses(tmp_path / "two", run), abs=1e-6)
