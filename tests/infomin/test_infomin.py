"""InfoMin: compared views, measurements of a run, and resumption."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_rel

from phylocli.config.train import TrainConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.embed import Embedder
from phylocli.formats import read_families, write_families
from phylocli.formats.family import Family
from phylocli.infomin import QUALITIES, analyse, analysis, band_cells, view_cells
from phylocli.infomin import measuring as room
from phylocli.infomin.analysis import _with_trees, summarise
from phylocli.infomin.cells import Cell, as_variation, mean_distance
from phylocli.infomin.comparing import compare
from phylocli.models.model import Model
from phylocli.pairs import Split
from phylocli.probe import probe
from phylocli.train.data.loading import load_corpus


@pytest.fixture
def families(simulate: Callable[..., Family]) -> list[Family]:
    return [simulate(f"PF0000{k}", 24, seed=k) for k in range(3)]


def settings_of(view: str, parameters: dict[str, float]) -> TrainConfig:
    changes = {"view": {"name": view, view: parameters}, "validation": {"fraction": 0.3}, "batch": {"pairs": 8}}
    return TrainConfig.of(None, changes)


def test_views_are_matched_to_the_bands_mean_distance(families: list[Family]) -> None:
    bands = band_cells([(0, 0.8), (0.8, 1.6)], families)
    assert [cell.name for cell in bands] == ["0:0.8", "0.8:1.6"]
    assert 0 < (bands[0].distance or 0) < 0.8 < (bands[1].distance or 0) < 1.6
    assert bands[1].distance == mean_distance(families, 0.8, 1.6)
    others = view_cells(["substitution", "hmm_emission", "dropout"], [cell.distance or 0 for cell in bands])
    assert [cell.kind for cell in others] == ["substitution"] * 2 + ["hmm-emission", "dropout"]
    assert others[0].settings["view.substitution.distance"] == pytest.approx(bands[0].distance, abs=0.006)
    assert [cell.distance for cell in others[2:]] == [None, 0.0]
    assert as_variation(others, {}).settings[-1] == {"view.name": "dropout", "encoder.parameters.dropout": 0.1}
    told = as_variation([*bands, *others], {"dropout": 0.3}).settings
    assert told[-1] == {"view.name": "dropout"} and told[0]["view.name"] == "phylogenetic"
    with pytest.raises(BadInputError, match="no family has a pair at 90"):
        band_cells([(90, 100)], families)
    with pytest.raises(UsageError, match="band by band"):
        view_cells(["phylogenetic"], [0.5])


def test_bands_without_a_pair_leave_no_folder_and_no_trees(families: list[Family], tmp_path: Path) -> None:
    write_families([replace(family, tree=None) for family in families[:1]], tmp_path / "bare.sto")
    with pytest.raises(BadInputError, match="no family has a pair at 90"):
        analyse(tmp_path / "bare.sto", tmp_path / "out", bands=[(90, 100)])
    assert [path.name for path in tmp_path.iterdir()] == ["bare.sto"]


def test_trees_are_made_once_for_each_content(families: list[Family], tmp_path: Path) -> None:
    bare = [replace(family, tree=None) for family in families]
    for name, few in (("a", bare[:1]), ("b", bare[1:2])):
        write_families(iter(few), tmp_path / f"{name}.sto")
    made = [_with_trees(tmp_path / f"{name}.sto", tmp_path)[0] for name in "aba"]
    assert made[0] == made[2] != made[1]
    for path, family in zip(made[:2], bare[:2], strict=True):
        (found,) = read_families(path)
        assert found.has_tree and found.ids == family.ids


def test_intervals_are_over_seeds() -> None:
    rows = {"view": ["a"] * 3, "ceiling_nats": [4.0] * 3, "nats_infonce": [1.0, 2.0, 3.0], "retrieval": [0.5, None, None]}
    found = summarise(
        pl.DataFrame({**rows, "clan": [None] * 3, "patristic": [None] * 3}), [Cell("a", "crop", 0.0, {})]
    ).to_dicts()[0]
    assert found["nats_infonce"] == 2.0
    assert found["nats_infonce_high"] - 2.0 == pytest.approx(4.303 / 3**0.5, abs=1e-3)  # t with two degrees of freedom
    assert found["retrieval"] == 0.5 and found["retrieval_low"] is None and found["patristic"] is None


def test_bands_are_held_against_other_views_seed_by_seed() -> None:
    rng = np.random.default_rng(0)
    cells = [
        Cell("0:1", "phylogenetic", 0.5, {}), Cell("1:2", "phylogenetic", 1.5, {}),
        Cell("substitution 1.5", "substitution", 1.5, {}), Cell("crop", "crop", 0.0, {}),
    ]  # fmt: skip
    names = [cell.name for cell in cells]
    rows = [{"view": name, "seed": seed, "retrieval": rng.random()} for name in names for seed in range(4)]
    table = pl.DataFrame([{**row, "clan": None, "patristic": None} for row in rows])
    found = compare(table, cells)
    assert found.select("band", "view").rows() == [("1:2", "substitution 1.5"), ("0:1", "crop"), ("1:2", "crop")]
    values = {name: table.filter(pl.col("view") == name)["retrieval"].to_numpy() for name in names}
    one = found.row(0, named=True)
    expected = ttest_rel(values["1:2"], values["substitution 1.5"])
    assert one["difference"] == pytest.approx((values["1:2"] - values["substitution 1.5"]).mean())
    assert one["p"] == pytest.approx(expected.pvalue)
    assert (one["low"], one["high"]) == pytest.approx(tuple(expected.confidence_interval()))
    assert (found["p_holm"] >= found["p"]).all() and found["p_holm"].max() <= 1


def test_quality_equals_that_of_the_probes_on_files(families: list[Family], tmp_path: Path) -> None:
    model = Model.create("convolutional", preset="tiny", seed=1).eval()
    families = [replace(family, clan=f"CL{k // 2}") for k, family in enumerate(families)]
    write_families(iter(families), tmp_path / "trees.sto")
    members = [(s.id, family, s.residues) for family in families for s in family.sequences()]
    rows = [(name, family.accession or family.label, family.clan, letters) for name, family, letters in members]
    labels = pl.DataFrame(rows, schema=["id", "family", "superfamily", "sequence"], orient="row")
    labels.drop("sequence").write_csv(tmp_path / "labels.tsv", separator="\t")
    table = Embedder(model).embed([(name, letters) for name, _, _, letters in rows])
    found = probe(
        table, tmp_path / "labels.tsv", trees=tmp_path / "trees.sto", tasks=["retrieval", "patristic"], baselines="none",
        replicates=100, projection="none",
    ).to_polars()  # fmt: skip
    quality = room._quality(model, families)
    assert quality["members"] == len(rows)
    for name, (task, level, metric) in QUALITIES.items():
        wanted = found.filter((pl.col("task") == task) & (pl.col("metric") == metric) & (pl.col("embedding") != "chance"))
        wanted = wanted if level is None else wanted.filter(pl.col("level") == level)
        assert quality[name] == pytest.approx(wanted["value"][0], abs=1e-6), name


def test_no_view_is_scored_on_members_that_it_was_trained_on(
    families: list[Family], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_families(iter(families), tmp_path / "trees.sto")
    scored: dict[str, list[Family]] = {}

    def recorded(run: Path, inputs: object, members: list[Family], seed: int, **options: object) -> dict[str, object]:
        scored[run.name] = members
        return {"nats_infonce": 1.0, "nats_smile": 1.0, "ceiling_nats": 2.0, **dict.fromkeys(QUALITIES, 0.5)}

    monkeypatch.setattr(analysis, "measure", recorded)
    # Of the nearest band, what is held out of a family has no pair: left to itself, training would hold nobody out there.
    alone = settings_of("phylogenetic", {"max_dist": 0.3})
    unheld = load_corpus([tmp_path / "trees.sto"], alone, cache=False).split()
    assert any(not unheld.ids(family.label, "validation") for family in families)
    analyse(
        tmp_path / "trees.sto", tmp_path / "a", bands=[(0, 0.3), (0.3, 3)], views=["crop"], steps=1, seeds=[0, 1],
        train={"batch.pairs": 8, "validation.pairs": 8, "validation.fraction": 0.3}, cache=False,
    )  # fmt: skip
    runs = sorted((tmp_path / "a" / "sweep" / "runs").iterdir())
    assert len(runs) == 6
    for run in runs:
        trained = Split.read(run / "split.parquet")
        assert sum(len(family) for family in scored[run.name]) >= 9
        for family in scored[run.name]:
            assert not set(family.ids) & trained.ids(family.label, "train")
    by_seed = [{name for family in scored[run.name] for name in family.ids} for run in runs]
    assert len({frozenset(ids) for ids in by_seed}) == 2  # one set a seed, whatever the view


def test_analysis_resumes_with_the_same_table(
    families: list[Family], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "PAIRS", 90)
    monkeypatch.setattr(room, "STEPS", 10)
    write_families(iter(families), tmp_path / "trees.sto")
    settings = {"batch.pairs": 8, "validation.pairs": 8, "validation.fraction": 0.3}

    def run(folder: str) -> pl.DataFrame:
        return analyse(
            tmp_path / "trees.sto", tmp_path / folder, bands=[(0, 2)], views=["substitution"], steps=2, seeds=[0, 1],
            train=settings, cache=False,
        )  # fmt: skip

    whole = run("a")
    assert whole["kind"].to_list() == ["phylogenetic", "substitution"]
    assert whole["retrieval"].is_between(0, 1).all() and (whole["nats_infonce"] <= whole["ceiling_nats"]).all()
    svg = (tmp_path / "a" / "infomin.svg").read_text()
    assert "ceiling, log K" in svg and not re.search(r"<script|href=\"http", svg)

    calls = 0
    kept = room.estimate

    def counted(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return kept(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(room, "estimate", counted)
    with pytest.raises(KeyboardInterrupt):
        run("b")
    again = run("b")
    assert calls == 1 + 1 + 3  # one was kept
    assert again.equals(whole)
    assert (tmp_path / "a" / "runs.tsv").read_bytes() == (tmp_path / "b" / "runs.tsv").read_bytes()
    assert (tmp_path / "a" / "infomin.svg").read_bytes() == (tmp_path / "b" / "infomin.svg").read_bytes()
