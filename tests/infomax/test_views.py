"""Views by distance: bands, remote and related pairs, matched relations, simulated distances, and what is measured."""

from __future__ import annotations

import importlib.util
import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from phylocli.config.infomax import InfomaxConfig
from phylocli.critics import build_critic
from phylocli.formats import read_families, write_families
from phylocli.infomax.experiments import simulated_views, views
from phylocli.infomax.homologs import Homologs, make_homologs, read_homologs
from phylocli.infomax.inputs import Pairs, Scored, make_pairs, read_pairs
from phylocli.infomax.training import Towers, held_out_nats
from phylocli.objectives import build_objective
from phylocli.pairs.patristic import Patristic
from phylocli.pairs.relations import RELATIONS
from phylocli.tree.information import log_ratio
from phylocli.tree.models import substitution_model

CONFIG = InfomaxConfig(steps=20, batch=32, training_families=5, members=20, scored_families=3)
SPECIES = ("HUMAN", "MOUSE", "YEAST", "ECOLI")


@pytest.fixture(scope="module")
def source(simulated_file: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return families of which three are of one clan, with names that contain species."""
    given, path = simulated_file(9, members=24, in_clan=3), tmp_path_factory.mktemp("views") / "families.sto"
    text = given.read_text()
    for family in read_families(given):
        for k, name in enumerate(family.ids):
            text = re.sub(rf"\b{re.escape(name)}\b", f"P{k}{family.accession[-2:]}_{SPECIES[k % 4]}", text)
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def data(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Homologs:
    return read_homologs(make_homologs(source, None, tmp_path_factory.mktemp("homologs"), CONFIG))


def test_distances_are_those_of_the_trees_and_no_pair_is_half_held_out(data: Homologs, source: Path) -> None:
    families = [Patristic(family.require_tree()) for family in read_families(source)]
    first, second = data.pairs.T
    assert (data.family[first] == data.family[second]).all() and (first < second).all()
    assert (data.is_held_out[first] == data.is_held_out[second]).all()
    for code in np.unique(data.family):
        own = np.sort(data.distance[data.family[first] == code])
        every = [np.sort(tree.distance(*np.triu_indices(tree.n_tips, 1))) for tree in families]
        assert any(np.isclose(own[:, None], part[None], atol=1e-6).any(1).all() for part in every)
    trained = {row.tobytes() for row in data.features.numpy()}
    assert not any(row.tobytes() in trained for row in data.unseen.features.numpy())


def test_families_without_trees_get_trees_of_the_sampled_members(source: Path, tmp_path: Path) -> None:
    write_families([replace(family, tree=None) for family in read_families(source)], tmp_path / "bare.sto")
    small = CONFIG.updated(members=8)
    made = read_homologs(make_homologs(tmp_path / "bare.sto", None, tmp_path, small))
    known = read_homologs(make_homologs(source, None, tmp_path, small))
    assert (made.pairs == known.pairs).all() and np.corrcoef(made.distance, known.distance)[0, 1] > 0.7


def test_bands_have_their_distances_and_remote_pairs_are_of_one_clan_but_two_families(data: Homologs) -> None:
    rng = np.random.default_rng(0)
    for low, high in ((0.0, 0.8), (0.8, 1.6)):
        for rows, distance in views.choose(data, f"{low}:{high}", rng):
            assert len(rows) and ((distance >= low) & (distance < high)).all()
            assert (data.family[rows[:, 0]] == data.family[rows[:, 1]]).all()
    for view, related in ((views.CLAN, True), (views.UNRELATED, False)):
        for k, (rows, distance) in enumerate(views.choose(data, view, rng)):
            a, b = rows.T
            assert len(rows) and np.isnan(distance).all() and (data.family[a] != data.family[b]).all()
            assert ((data.clan[a] == data.clan[b]) == related).all()
            assert (data.is_held_out[rows] == bool(k)).all()


def test_orthologs_and_paralogs_are_matched_in_family_and_distance(data: Homologs) -> None:
    found = {}
    for relation in views.RELATED:
        (rows, distance), _ = views.choose(data, relation, np.random.default_rng(0))
        code = {tuple(pair): kind for pair, kind in zip(data.pairs.tolist(), data.relation.tolist(), strict=True)}
        assert {RELATIONS[code[tuple(row)]] + "s" for row in rows.tolist()} == {relation}
        bins = np.floor(distance / views.MATCHED).astype(int)
        found[relation] = sorted(zip(data.family[rows[:, 0]].tolist(), bins.tolist(), strict=True))
    assert found["orthologs"] == found["paralogs"] and len(found["orthologs"]) > 20


def test_views_are_measured_at_the_end_and_at_levels_that_training_has_reached(
    data: Homologs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "FEWEST", 4)
    longer = CONFIG.updated(steps=60)
    end = next(row for row in views.run({"view": "0:1.6"}, 0, longer, data) if row["stop"] == "end")
    level = 0.95 * end["nats"]
    longer = longer.updated(until_nats=(0.001, level, 99.0))
    rows = {row["stop"]: row for row in views.run({"view": "0:1.6"}, 0, longer, data)}
    reached = f"{level:g} nats"
    assert set(rows) == {"end", "0.001 nats", reached, "99 nats"} == set(views.stops_of(longer)) and rows["end"] == end
    assert rows["end"]["step"] == 60 and rows["end"]["accuracy"] is not None and 0 < rows["end"]["distance"] < 1.6
    assert rows["0.001 nats"]["reached"] == 1 and rows["0.001 nats"]["step"] == 0  # an untrained encoder has it
    assert 0 < rows[reached]["step"] <= 60 and rows[reached]["nats"] >= level
    assert rows["99 nats"]["reached"] == 0 and rows["99 nats"]["accuracy"] is None


def test_a_view_without_enough_pairs_is_not_measured(data: Homologs, caplog: pytest.LogCaptureFixture) -> None:
    rows = views.run({"view": "50:60"}, 0, CONFIG, data)
    assert [row["stop"] for row in rows] == views.stops_of(CONFIG)
    assert all(row[name] is None for row in rows for name in views.VALUES) and "fewer than 40 pairs" in caplog.text


def test_simulated_views_share_what_theory_says_and_less_at_greater_distances() -> None:
    rng = np.random.default_rng(0)
    similar = []
    for distance in (0.1, 1.5, 12.0):
        made = simulated_views.simulated(distance, 1.0, rng)
        a, b = made.train
        assert len(a) == views.MOST and len(made.unseen.features) == 110 * 12
        similar.append(float(torch.nn.functional.cosine_similarity(a, b).mean()))
        # Of frequencies in independent sites, the covariance of partners over the variance.
        model = substitution_model(simulated_views.MODEL)
        f, joint = model.frequencies, np.exp(log_ratio(model, distance, 1.0))
        expected = (f**2 * (joint.diagonal() - 1)).sum() / (f - f**2).sum()
        found = float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())
        assert found == pytest.approx(expected, abs=0.01), distance
        assert (np.bincount(made.unseen.family[~made.unseen.is_test]) == 2).all()
    assert similar[0] > 0.9 > similar[1] > similar[2] > -0.02
    members = made.unseen.features.reshape(110, 12, -1)
    apart = torch.nn.functional.cosine_similarity(members[:, 0], members[:, 1])
    assert similar[0] > apart.mean() > similar[2]  # at a distance of 1.5


def test_simulated_views_are_run_again_if_what_they_share_with_views_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "VERSION", views.VERSION + 1)
    spec = importlib.util.find_spec(simulated_views.__name__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.VERSION != simulated_views.VERSION


def test_views_of_homologs_are_two_members_of_one_family_and_no_negatives_of_it(source: Path, tmp_path: Path) -> None:
    made = read_pairs(make_pairs(source, None, tmp_path, CONFIG.updated(input="homologs")))
    assert made.families is not None
    a, b = made.train
    with np.load(next(tmp_path.glob("homologs-*"))) as arrays:
        assert len(arrays["train"]) == 4 * len(np.unique(arrays["train"][:, 0], axis=0))
        assert len(arrays["held_out"]) == len(np.unique(arrays["held_out"][:, 0], axis=0))  # as many as members
    assert not (a == b).all(1).any()
    rows = torch.arange(len(a))
    same = made.families == made.families.T
    assert (made.batch(rows).negatives() == ~same).all()
    codes = made.families[:, 0].tolist()
    family = {row.numpy().tobytes(): code for row, code in zip(a, codes, strict=True)}
    assert len(set(codes)) == 5 and [family[row.numpy().tobytes()] for row in b] == codes


def test_profiles_are_means_of_members_and_share_none_between_the_probes_parts(source: Path, tmp_path: Path) -> None:
    halves, made = (
        read_pairs(make_pairs(source, None, tmp_path, CONFIG.updated(input=kind))) for kind in ("halves", "profiles")
    )
    assert len(made.train[0]) == len(halves.train[0])
    assert made.train[0].std() != halves.train[0].std()
    labelled = made.unseen.features[torch.from_numpy(~made.unseen.is_test)]
    assert len(labelled) == 2 * 3
    counts = [len(np.unique(part.unseen.family[part.unseen.is_test], return_counts=True)[1]) for part in (halves, made)]
    assert counts == [3, 3]
    with np.load(next(tmp_path.glob("halves-*"))) as one, np.load(next(tmp_path.glob("profiles-*"))) as three:
        members = one["unseen_features"][one["unseen_family"] == 0]
        own = three["unseen_features"][three["unseen_family"] == 0]
    assert np.allclose(own[0], members[:3].mean(0)) and np.allclose(own[1], members[3:6].mean(0))
    tested = members[6:]
    for member, profile in zip(tested, own[2:], strict=True):
        pairs = itertools.combinations(tested, 2)
        assert any(np.allclose((member + one + other) / 3, profile, atol=1e-6) for one, other in pairs)


def test_no_pair_of_unrelated_views_is_contrasted_with_a_homolog_of_either_member(data: Homologs) -> None:
    for view in (views.UNRELATED, views.CLAN, "0:1.6"):
        (rows, _), _ = views.choose(data, view, np.random.default_rng(0))
        made = Pairs((data.features,) * 2, (data.features,) * 2, data.unseen, data.seen, torch.from_numpy(data.clan[rows]))
        free = made.batch(torch.arange(len(rows))).negatives().numpy()
        clans = data.clan[rows]
        homologous = np.zeros_like(free)
        for k in range(2):
            for other in range(2):
                homologous |= clans[:, None, k] == clans[None, :, other]
        assert (free == ~homologous).all() and not np.diag(free).any()
        assert free.any() or view != views.UNRELATED


@pytest.mark.parametrize("families", [2, 14])
def test_knowing_the_family_alone_reads_at_most_the_log_of_the_number_of_families(families: int) -> None:
    code = torch.arange(512) % families
    features = torch.eye(families)[code]
    nothing = Scored(features, code.numpy(), np.zeros(512, dtype=bool))
    pairs = Pairs((features, features), (features, features), nothing, nothing, code[:, None])
    critic = build_critic("cosine", families, {"temperature": 0.05})
    same = torch.nn.Identity()
    found = held_out_nats(Towers(same, same, build_objective("infonce", critic)), pairs)
    assert found == pytest.approx(np.log(families), abs=0.02)


def test_bands_have_equal_numbers_of_different_pairs(data: Homologs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "FEWEST", 2)
    config = CONFIG.updated(bands=((0.0, 0.8), (0.8, 1.6), (50.0, 60.0)))
    most = views.equal_sizes(data, config)
    found = [views.choose(data, view, np.random.default_rng(0), most) for view in views.bands_of(config)[:2]]
    everything = [views.choose(data, view, np.random.default_rng(0)) for view in views.bands_of(config)[:2]]
    for part in range(2):
        assert [len(chosen[part][0]) for chosen in found] == [most[part]] * 2
        assert min(len(chosen[part][0]) for chosen in everything) == most[part] >= 2
        assert all(len(np.unique(chosen[part][0], axis=0)) == most[part] for chosen in found)


def test_every_view_and_level_is_in_the_figure() -> None:
    config = CONFIG.updated(until_nats=tuple(range(1, 8)), bands=((0, 1), (1, 2)))
    rows = []
    for k, cell in enumerate(views.cells(config)):
        stops = views.stops_of(config) if k else [views.END]
        for stop in stops:
            row = dict.fromkeys(views.VALUES, 1.0) | ({"nats": None} if not k else {})
            ends = {f"{name}{end}": row[name] for name in row for end in ("_low", "_high")}
            rows.append({**cell, "stop": stop, **row, **ends, "distance": None if k in (0, 3, 4) else 0.5 + k})
    table = pl.DataFrame(rows, infer_schema_length=None)
    measured = table.filter(~pl.col("view").is_in([*views.RELATED]))
    assert len(views.draw(measured, measured, config).axes[1].containers) == 3  # all bands, clan and unrelated
    figure = views.draw(table, table, config)
    shown = {text for panel in figure.axes for text in panel.get_legend_handles_labels()[1]}
    assert {str(cell["view"]) for cell in views.cells(config)} - set(views.bands_of(config)) <= shown
    assert {f"at {stop}" for stop in views.stops_of(config)[1:]} <= shown
    colours = {line.get_color() for line in figure.axes[1].lines} | {c[0].get_color() for c in figure.axes[1].containers}
    assert len(colours) == 6  # of the bands and of each other view
