"""Pairs across the families of a clan, normalisation before the head, and the whitening at the end of a run."""

from __future__ import annotations

import collections
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phylocli import recipes
from phylocli.alphabet import decode_tokens
from phylocli.encoders import Model, pad_batch
from phylocli.errors import UsageError
from phylocli.formats import write_families
from phylocli.formats.family import Family
from phylocli.train import train_model
from phylocli.train.data import load_corpus

Simulate = Callable[..., Family]


def settings(**changes: Any) -> dict[str, Any]:
    return recipes.merge(recipes.load("simclr").settings, recipes.nested({"batch.pairs": 12, **changes}), "test")


@pytest.fixture
def families(simulate: Simulate) -> list[Family]:
    return [simulate(f"PF{i:05d}", 20, clan="CL0001" if i < 3 else "CL0002" if i == 3 else "") for i in range(6)]


@pytest.fixture
def stockholm(families: list[Family], tmp_path: Path) -> Path:
    write_families(families, tmp_path / "families.sto")
    return tmp_path / "families.sto"


def test_a_share_of_the_pairs_reaches_across_the_families_of_a_clan(families: list[Family], stockholm: Path) -> None:
    owner = {row.replace("-", ""): f.label for f in families for row in f.rows}
    corpus = load_corpus([stockholm], settings(**{"view.name": "phylogenetic", "batch.clan_share": 0.5}), 0)
    clan = {f.label: f.clan for f in corpus.families}
    across: collections.Counter[str] = collections.Counter()
    within: collections.Counter[str] = collections.Counter()
    for step in range(60):
        batch = corpus.batch(step)
        for a, b, code, distance in zip(batch.a, batch.b, batch.family, batch.distance, strict=True):
            first, second = owner[decode_tokens(a)], owner[decode_tokens(b)]
            assert first == corpus.families[code].label
            if first == second:
                within[clan[first]] += 1
                assert distance > 0
            else:
                across[clan[first]] += 1
                assert clan[first] == clan[second] != "" and np.isnan(distance)
    # 2 of 12 pairs are of each family; CL0002 has no second family in the corpus, and the rest have no clan.
    assert set(across) == {"CL0001"}
    assert 0.4 < across["CL0001"] / (across["CL0001"] + within["CL0001"]) < 0.6


def test_without_a_share_no_pair_reaches_across_and_batches_stay_what_they_were(stockholm: Path) -> None:
    plain, with_share = (load_corpus([stockholm], settings(**{"batch.clan_share": s}), 0).batch(5) for s in (0.0, 0.5))
    assert np.isfinite(plain.distance).all()
    same = np.isfinite(with_share.distance)
    assert 0 < (~same).sum() < len(same)
    for k in range(len(plain)):
        assert np.array_equal(plain.a[k], with_share.a[k])
        assert np.array_equal(plain.b[k], with_share.b[k]) or not same[k]


def test_a_share_that_is_none_is_refused(stockholm: Path) -> None:
    with pytest.raises(UsageError, match="clan_share"):
        load_corpus([stockholm], settings(**{"batch.clan_share": 1.5}), 0)


def test_the_default_models_recipe_trains_and_whitens(stockholm: Path, tmp_path: Path) -> None:
    changes = {
        "encoder.preset": "tiny",
        "encoder.pooling_parameters.features": 32,
        "batch.pairs": 12,
        "whitening.vectors": 120,
        "log.mfu": False,
    }
    folder = train_model([stockholm], tmp_path / "run", recipe="default-model", steps=4, settings=changes, device="cpu")
    model = Model.load(folder)
    assert model.config["whitened"] == 0.5 and model.dimension == 32
    assert model.whitening is not None and not torch.equal(model.whitening.matrix, torch.eye(32))
    # 20 members a family were asked for, all of them or nearly so: among training members the covariance is the identity.
    corpus = load_corpus([stockholm], settings(), 0)
    members = [(code, tokens) for code, source in enumerate(corpus.families) for tokens in source.members()]
    assert len(members) < 120  # some are held out
    with torch.no_grad():
        vectors = model(*pad_batch([tokens for _, tokens in members])).double()
    code = torch.tensor([c for c, _ in members])
    apart = vectors - torch.stack([vectors[code == c].mean(0) for c in range(6)])[code]
    spread = torch.linalg.eigvalsh(apart.T @ apart / (len(members) - 6))
    assert float(spread.max()) == pytest.approx(1, abs=0.1)
    again = train_model([stockholm], tmp_path / "again", recipe="default-model", steps=4, settings=changes, device="cpu")
    assert Model.load(again).fingerprint == model.fingerprint


def test_a_power_beyond_one_is_refused(stockholm: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="whitening"):
        train_model(
            [stockholm],
            tmp_path / "run",
            steps=1,
            settings={"encoder.preset": "tiny", "whitening.power": 2.0, "log.mfu": False},
            device="cpu",
        )
