"""Pairs of domains: frequencies by hand, members that do not cover both, sampling, and the measures of quality."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from phylocli.config.infomax import InfomaxConfig
from phylocli.core.errors import BadInputError, PhylocliError
from phylocli.critics import build_critic
from phylocli.formats import Family, write_families
from phylocli.infomax.inputs import BINS, FEATURES, LETTERS, data_path, make_pairs, profile_halves, read_pairs
from phylocli.infomax.training import Towers, descended, held_out_nats, quality_of, train
from phylocli.objectives import build_objective


def sizes(count: int, members: int, scored: int, **options: Any) -> InfomaxConfig:
    return InfomaxConfig(training_families=count, members=members, scored_families=scored, **options)


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
    path = make_pairs(families, None, tmp_path, sizes(4, 20, 3))
    data = read_pairs(path)
    assert len(np.unique(data.unseen.family)) == 3 and len(np.unique(data.seen.family)) == 3
    trained = {row.numpy().tobytes() for row in torch.cat([data.train[0], data.held_out[0]])}
    assert not any(row.numpy().tobytes() in trained for row in data.unseen.features)
    held = {row.numpy().tobytes() for row in data.held_out[0]}
    assert all(
        (row.numpy().tobytes() in held) == test for row, test in zip(data.seen.features, data.seen.is_test, strict=True)
    )
    both = torch.stack(data.train, 1)
    assert float(both.mean()) == pytest.approx(0, abs=1e-5)
    assert (
        all((np.bincount(part.family[~part.is_test]) == 2).all() for part in (data.unseen, data.seen))
        and len(data.held_out[0]) > 0
    )
    before = path.stat().st_mtime_ns
    assert make_pairs(families, None, tmp_path, sizes(4, 20, 3)) == path
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("there", "count", "scored", "expected"), [(30, 20, 4, (20, 4)), (12, 20, 4, (8, 4)), (9, 20, 9, (6, 3))]
)
def test_as_many_families_are_trained_on_as_were_asked_for_if_there_are_enough(
    simulated_file: Callable[..., Path], tmp_path: Path, there: int, count: int, scored: int, expected: tuple[int, int]
) -> None:
    records = simulated_file(there, members=8)
    make_pairs(records, None, tmp_path, sizes(count, 8, scored))
    (path,) = tmp_path.glob("*.npz")
    with np.load(path) as arrays:
        trained = len(arrays["train"]) + len(arrays["held_out"])
        assert (trained // 8, len(arrays["unseen_features"]) // 8) == expected


def test_halves_of_another_version_are_made_again(families: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = sizes(4, 20, 3)
    before = make_pairs(families, None, tmp_path, asked)
    monkeypatch.setattr("phylocli.infomax.inputs.VERSION", 99)
    assert make_pairs(families, None, tmp_path, asked) != before


def test_data_of_an_earlier_version_in_the_folder_are_not_read(
    families: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = sizes(4, 20, 3)
    with monkeypatch.context() as earlier:
        earlier.setattr("phylocli.infomax.inputs.VERSION", 1)
        path = data_path("halves", tmp_path, asked, families, None)
    with path.open("wb") as stream:
        np.savez(stream, train=np.zeros((9, 2, FEATURES), dtype=np.float32))  # the codes of families are missing
    assert len(read_pairs(make_pairs(families, None, tmp_path, asked)).train[0]) > 9


def test_a_family_in_both_files_is_refused(families: Path, tmp_path: Path) -> None:
    from phylocli.formats import read_families

    write_families(list(read_families(families))[6:], tmp_path / "last.sto")
    with pytest.raises(BadInputError, match=r"2 families also in .*PF00006"):
        make_pairs(families, tmp_path / "last.sto", tmp_path, sizes(4, 20, 3))
    assert not list(tmp_path.glob("*.npz"))


def test_no_clan_is_in_both_parts_of_one_file(simulated_file: Callable[..., Path], tmp_path: Path) -> None:
    from phylocli.formats import read_families

    source = simulated_file(12, members=10, in_clan=5)
    made = make_pairs(source, None, tmp_path, sizes(6, 10, 3))
    with np.load(made) as arrays:
        parts = [np.concatenate([arrays["train"], arrays["held_out"]])[:, 0], arrays["unseen_features"]]
    assert [len(part) for part in parts] == [60, 30]
    groups = {}
    for family in read_families(source):
        for half in profile_halves(family)[:, 0]:
            groups[half.tobytes()] = family.clan or family.accession
    first, second = ({groups[half.tobytes()] for half in part} for part in parts)
    assert not first & second and "CL0001" in first | second


def test_a_clan_in_both_files_is_warned_about(
    simulated_file: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from phylocli.formats import read_families

    every = list(read_families(simulated_file(8, members=10, in_clan=8)))
    write_families(every[:4], tmp_path / "a.sto")
    write_families(every[4:], tmp_path / "b.sto")
    make_pairs(tmp_path / "a.sto", tmp_path / "b.sto", tmp_path, sizes(4, 8, 3))
    assert "1 clan of the training families also in" in caplog.text and "CL0001" in caplog.text


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_a_sample_too_small_for_the_probe_is_refused(
    families: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fraction: float
) -> None:
    monkeypatch.setattr("phylocli.infomax.inputs.HELD_OUT", fraction)  # with few members, chance may do the same
    with pytest.raises(BadInputError, match="on seen families"):
        make_pairs(families, None, tmp_path, sizes(2, 3, 2))
    assert not list(tmp_path.glob("*.npz"))


def test_too_few_families_are_refused(families: Path, tmp_path: Path) -> None:
    from phylocli.formats import read_families

    write_families(list(read_families(families))[:2], tmp_path / "two.sto")
    with pytest.raises(BadInputError, match="at least two"):
        make_pairs(tmp_path / "two.sto", None, tmp_path, sizes(4, 20, 3))


def test_quality_is_high_for_vectors_of_families_and_chance_for_noise(families: Path, tmp_path: Path) -> None:
    data = read_pairs(make_pairs(families, None, tmp_path, sizes(4, 20, 3)))
    rng = np.random.default_rng(0)
    parts = (data.unseen, data.seen)

    def vectors(distance: float) -> list[torch.Tensor]:
        return [
            torch.from_numpy((np.eye(3)[p.family] * distance + rng.normal(size=(len(p.family), 3))).astype(np.float32))
            for p in parts
        ]

    good, bad = quality_of(*vectors(6), data), quality_of(*vectors(0), data)
    assert (
        good["accuracy"] > 0.9
        and good["knn"] > 0.9
        and good["seen_accuracy"] > 0.9
        and good["usable_nats"] == pytest.approx(np.log(3), abs=0.3)
    )
    assert bad["accuracy"] < 0.6 and bad["knn"] < 0.6 and bad["usable_nats"] < 0.2


def test_training_raises_the_estimate_and_stops_where_the_caller_stops(families: Path, tmp_path: Path) -> None:
    data = read_pairs(make_pairs(families, None, tmp_path, sizes(4, 20, 3)))
    torch.manual_seed(0)
    towers = Towers(nn.Linear(FEATURES, 8), nn.Linear(FEATURES, 8), build_objective("infonce", build_critic("bilinear", 8)))
    steps, nats = [], []
    for step in train(towers, data, steps=60, batch=32, seed=0):
        steps.append(step)
        nats.append(held_out_nats(towers, data))
    assert steps == list(range(61))
    assert nats[-1] > nats[0] and nats[-1] <= np.log(len(data.held_out[0]))


class Overflowing(nn.Module):
    """An objective whose loss is NaN, infinite or has an infinite gradient at every second step."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.critic, self.fault, self.steps = build_critic("bilinear", 8), fault, 0

    def forward(self, a: torch.Tensor, b: torch.Tensor, batch: object) -> dict[str, torch.Tensor]:
        self.steps += 1
        loss = self.critic(a, b).square().mean()
        if self.steps % 2:
            return {"loss": loss}
        return {"loss": loss * float(self.fault) if self.fault != "gradient" else loss + (loss - loss.detach()).sqrt()}


@pytest.mark.parametrize("fault", ["nan", "inf", "gradient"])
def test_steps_with_a_loss_or_gradient_that_is_not_finite_are_counted_and_warned_about(
    families: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    data = read_pairs(make_pairs(families, None, tmp_path, sizes(4, 20, 3)))
    towers = Towers(nn.Linear(FEATURES, 8), nn.Linear(FEATURES, 8), Overflowing(fault))
    for _ in train(towers, data, steps=10, batch=16, seed=0):
        pass
    assert towers.skipped == 5
    assert [record.getMessage() for record in caplog.records if "not finite" in record.getMessage()] == [
        "seed 0, step 2: loss or gradient not finite; such steps are skipped and counted"
    ]
    assert all(torch.isfinite(parameter).all() for parameter in towers.parameters())


def test_training_stops_when_weights_are_not_finite() -> None:
    layer = nn.Linear(2, 1)
    layer.weight.data[0, 0] = float("nan")
    with pytest.raises(PhylocliError, match="diverged"):
        descended(layer(torch.ones(1, 2)).sum(), layer, torch.optim.SGD(layer.parameters()))
