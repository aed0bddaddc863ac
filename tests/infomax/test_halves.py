"""Halves of domains: frequencies by hand, members that do not cover both, sampling, and the measures of quality."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from phylocli.core.errors import BadInputError
from phylocli.critics import build_critic
from phylocli.formats import Family, write_families
from phylocli.infomax.halves import BINS, FEATURES, LETTERS, make_halves, profile_halves, read_halves
from phylocli.infomax.training import Towers, held_out_nats, quality_of, train
from phylocli.objectives import build_objective


def test_profiles_are_frequencies_of_residues_in_bins_of_match_columns() -> None:
    rows = ["A" * 16 + "C" * 16, "AC" * 16, "-" * 16 + "C" * 16]
    family = Family(["whole", "mixed", "short"], rows)
    found = profile_halves(family)
    assert found.shape == (2, 2, FEATURES)  # `short` has no first half
    whole = found[0].reshape(2, BINS, LETTERS)
    assert (whole[0, :, 0] == 1).all() and (whole[1, :, 1] == 1).all() and whole.sum() == 2 * BINS
    mixed = found[1].reshape(2, BINS, LETTERS)
    assert (mixed[..., :2] == 0.5).all()


def test_insertions_and_gaps_are_no_residues_of_a_profile() -> None:
    marks = {"RF": "x" * 8 + "." + "x" * 8}
    family = Family(["a", "b"], ["A" * 8 + "w" + "A" * 8, "A" * 7 + "-" + "." + "A" * 8], column_features=marks)
    first, second = profile_halves(family).reshape(2, 2, BINS, LETTERS)
    assert first[..., 0].sum() == first.sum() == 2 * BINS
    assert second.sum() == pytest.approx(2 * BINS - BINS / 8) and second[0, -1].sum() == pytest.approx(1 - BINS / 8)


@pytest.fixture(scope="module")
def families(simulated_file, tmp_path_factory: pytest.TempPathFactory) -> Path:  # type: ignore[no-untyped-def]
    return simulated_file(8, members=24)


def test_families_of_quality_are_others_and_the_same_file_is_kept(families: Path, tmp_path: Path) -> None:
    path = make_halves(families, None, tmp_path, count=4, members=20, scored=3)
    halves = read_halves(path)
    assert len(np.unique(halves.unseen.family)) == 3 and len(np.unique(halves.seen.family)) == 3
    trained = {row.numpy().tobytes() for row in torch.cat([halves.train[0], halves.held_out[0]])}
    assert not any(row.numpy().tobytes() in trained for row in halves.unseen.halves)
    held = {row.numpy().tobytes() for row in halves.held_out[0]}
    assert all(
        (row.numpy().tobytes() in held) == test for row, test in zip(halves.seen.halves, halves.seen.is_test, strict=True)
    )
    both = torch.stack(halves.train, 1)
    assert float(both.mean()) == pytest.approx(0, abs=1e-5)
    assert (
        all((np.bincount(part.family[~part.is_test]) == 2).all() for part in (halves.unseen, halves.seen))
        and len(halves.held_out[0]) > 0
    )
    before = path.stat().st_mtime_ns
    assert make_halves(families, None, tmp_path, count=4, members=20, scored=3) == path
    assert path.stat().st_mtime_ns == before
    assert make_halves(families, families, tmp_path, count=4, members=20, scored=3) != path


def test_too_few_families_are_refused(families: Path, tmp_path: Path) -> None:
    from phylocli.formats import read_families

    write_families(list(read_families(families))[:2], tmp_path / "two.sto")
    with pytest.raises(BadInputError, match="at least two"):
        make_halves(tmp_path / "two.sto", None, tmp_path, count=4, members=20, scored=3)


def test_quality_is_high_for_vectors_of_families_and_chance_for_noise(families: Path, tmp_path: Path) -> None:
    halves = read_halves(make_halves(families, None, tmp_path, count=4, members=20, scored=3))
    rng = np.random.default_rng(0)
    parts = (halves.unseen, halves.seen)

    def vectors(distance: float) -> list[torch.Tensor]:
        return [
            torch.from_numpy((np.eye(3)[p.family] * distance + rng.normal(size=(len(p.family), 3))).astype(np.float32))
            for p in parts
        ]

    good, bad = quality_of(*vectors(6), halves), quality_of(*vectors(0), halves)
    assert (
        good["accuracy"] > 0.9
        and good["knn"] > 0.9
        and good["seen_accuracy"] > 0.9
        and good["usable_nats"] == pytest.approx(np.log(3), abs=0.3)
    )
    assert bad["accuracy"] < 0.6 and bad["knn"] < 0.6 and bad["usable_nats"] < 0.2


def test_training_raises_the_estimate_and_stops_where_the_caller_stops(families: Path, tmp_path: Path) -> None:
    halves = read_halves(make_halves(families, None, tmp_path, count=4, members=20, scored=3))
    torch.manual_seed(0)
    towers = Towers(nn.Linear(FEATURES, 8), nn.Linear(FEATURES, 8), build_objective("infonce", build_critic("bilinear", 8)))
    steps, nats = [], []
    for step in train(towers, halves, steps=60, batch=32, seed=0):
        steps.append(step)
        nats.append(held_out_nats(towers, halves))
    assert steps == list(range(61))
    assert nats[-1] > nats[0] and nats[-1] <= np.log(len(halves.held_out[0]))
