"""Pairs across the families of a clan, the weights that a run starts from, and what is fitted at its end."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from phylocli.config.assignments import nested
from phylocli.config.train import TrainConfig
from phylocli.core.alphabet import decode_tokens
from phylocli.core.errors import UsageError
from phylocli.encoders import pad_batch
from phylocli.formats import read_families, write_families
from phylocli.formats.family import Family
from phylocli.models.model import Model
from phylocli.train import train_model
from phylocli.train.data.loading import load_corpus
from phylocli.views import Tokens

Simulate = Callable[..., Family]


def settings(**changes: Any) -> dict[str, Any]:
    return TrainConfig.of(None, {"recipe": "simclr", **nested({"batch.pairs": 12, **changes})})


@pytest.fixture
def families(simulate: Simulate) -> list[Family]:
    return [simulate(f"PF{i:05d}", 20, clan="CL0001" if i < 3 else "CL0002" if i == 3 else "") for i in range(6)]


@pytest.fixture
def stockholm(families: list[Family], tmp_path: Path) -> Path:
    write_families(families, tmp_path / "families.sto")
    return tmp_path / "families.sto"


def test_a_share_of_the_pairs_reaches_across_the_families_of_a_clan(families: list[Family], stockholm: Path) -> None:
    owner = {row.replace("-", ""): f.label for f in families for row in f.rows}
    corpus = load_corpus([stockholm], settings(**{"view.name": "phylogenetic", "batch.cross_family_fraction": 0.5}))
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
    plain, with_share = (
        load_corpus([stockholm], settings(**{"batch.cross_family_fraction": s})).batch(5) for s in (0.0, 0.5)
    )
    assert np.isfinite(plain.distance).all()
    same = np.isfinite(with_share.distance)
    assert 0 < (~same).sum() < len(same)
    for k in range(len(plain)):
        assert np.array_equal(plain.a[k], with_share.a[k])
        assert np.array_equal(plain.b[k], with_share.b[k]) or not same[k]


SMALL = {
    "precision": "fp32",
    "encoder.preset": "tiny",
    "encoder.parameters.width": 32,
    "encoder.pooling_parameters.features": 32,
    "batch.pairs": 12,
    "kernel.features": 16,
    "kernel.width": 0.08,
    "whitening.power": 0.5,
    "whitening.vectors": 120,
    "whitening.dimension": 0,
    "log.mfu": False,
}
"""Of the default model's recipe, for six families."""


def trained(source: Path, folder: Path, steps: int = 4, **changes: Any) -> Path:
    return train_model([source], folder, recipe="default-model", steps=steps, settings={**SMALL, **changes}, device="cpu")


def members_of(stockholm: Path) -> tuple[list[Tokens], torch.Tensor]:
    """Return what training sees of the families, and the family of each."""
    corpus = load_corpus([stockholm], settings())
    members = [(code, tokens) for code, source in enumerate(corpus.families) for tokens in source.members().tokens]
    assert len(members) < 120  # some are held out
    return [tokens for _, tokens in members], torch.tensor([code for code, _ in members])


def test_the_default_models_recipe_trains_makes_kernel_means_and_whitens(stockholm: Path, tmp_path: Path) -> None:
    folder = trained(stockholm, tmp_path / "run")
    model = Model.load(folder)
    assert model.config.whitened == 0.5 and model.blocks == [32, 16] and model.dimension == 48
    # 20 members a family were asked for, all of them or nearly so: among training members the covariance is the identity.
    tokens, code = members_of(stockholm)
    with torch.no_grad():
        vectors = model(*pad_batch(tokens)).double()
    apart = vectors - torch.stack([vectors[code == c].mean(0) for c in range(6)])[code]
    spread = torch.linalg.eigvalsh(apart.T @ apart / (len(tokens) - 6))
    assert float(spread.max()) == pytest.approx(1, abs=0.1)
    assert Model.load(trained(stockholm, tmp_path / "again")).fingerprint == model.fingerprint


def test_composition_weighs_less_where_shuffled_members_count_as_variation(stockholm: Path, tmp_path: Path) -> None:
    tokens, _ = members_of(stockholm)
    rng = np.random.default_rng(0)
    shuffled = [rng.permutation(member) for member in tokens]
    spreads = []
    for weight in (0.0, 10.0):
        model = Model.load(trained(stockholm, tmp_path / f"{weight}", **{"whitening.composition": weight}))
        with torch.no_grad():
            spreads.append(float(model(*pad_batch(shuffled)).var(0).mean()))
    # Ten times their covariance and the one within families together become the identity; these are other shuffles.
    assert spreads[0] > 0.5 and spreads[1] < 0.2


def test_the_kernel_compares_on_the_axes_of_training_members_alone(stockholm: Path, tmp_path: Path) -> None:
    kernel = Model.load(trained(stockholm, tmp_path / "run", **{"kernel.axes": 3})).kernel
    assert kernel is not None
    assert torch.linalg.matrix_rank(kernel.frequencies, atol=1e-4) == 3
    wider = Model.load(trained(stockholm, tmp_path / "wide", **{"kernel.axes": 3, "kernel.width": 0.8})).kernel
    torch.testing.assert_close(wider.frequencies, 10 * kernel.frequencies, rtol=1e-4, atol=1e-5)  # type: ignore[union-attr]
    few = list(read_families(stockholm))
    changed = [f.subset(f.ids) for f in few]
    corpus = load_corpus([stockholm], settings())
    seen = {decode_tokens(t) for source in corpus.families for t in source.members().tokens}
    for family in changed:  # what is held out says something else now, and its length and columns stay
        for k, row in enumerate(family.rows):
            if row.replace("-", "") not in seen:
                letters = iter(row.replace("-", "")[::-1])
                family.rows[k] = "".join(letter if letter == "-" else next(letters) for letter in row)
    assert sum(a.rows != b.rows for a, b in zip(few, changed, strict=True)) > 0
    write_families(changed, tmp_path / "changed.sto")
    same = Model.load(trained(tmp_path / "changed.sto", tmp_path / "other", **{"kernel.axes": 3})).kernel
    torch.testing.assert_close(same.frequencies, kernel.frequencies)  # type: ignore[union-attr]


def test_a_whitening_to_fewer_features_and_one_for_which_there_are_too_few_families(
    stockholm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Model.load(trained(stockholm, tmp_path / "run", **{"whitening.dimension": 5})).dimension == 5
    assert "keeps all" not in capsys.readouterr().err
    assert Model.load(trained(stockholm, tmp_path / "more", **{"whitening.dimension": 6})).dimension == 48
    assert "keeps all 48 features" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"whitening.power": 2.0}, "whitening.power must be at most 1"),
        ({"whitening.dimension": 49}, "whitening.dimension is 49"),
        ({"whitening.power": 0.0}, "require whitening"),
        ({"kernel.width": 0.0}, "kernel.width must be above 0"),
        ({"encoder.start": "no-such-model"}, "no model or folder"),
        ({"encoder.average_coefficient": 0.5}, "average_coefficient needs encoder.start"),
        ({"encoder.start": "default", "encoder.average_coefficient": 1.5}, "average_coefficient must be at most 1"),
    ],
)
def test_impossible_final_fits_are_refused_at_the_start(
    changes: dict[str, Any], what: str, stockholm: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=what):
        trained(stockholm, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_kernel_means_need_aligned_families(families: list[Family], tmp_path: Path) -> None:
    rows = [
        {"family": family.accession, "id_a": first.id, "id_b": second.id, "seq_a": first.residues, "seq_b": second.residues}
        for family in families
        for first, second in itertools.pairwise(family.sequences())
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "pairs.tsv", separator="\t")
    with pytest.raises(UsageError, match="too few aligned residues") as error:
        trained(tmp_path / "pairs.tsv", tmp_path / "run")
    assert "kernel.features=0" in str(error.value.fix)
    assert Model.load(trained(tmp_path / "pairs.tsv", tmp_path / "run", **{"kernel.features": 0})).dimension == 32


def test_a_run_starts_from_another_models_weights(stockholm: Path, tmp_path: Path) -> None:
    first = trained(stockholm, tmp_path / "first", steps=8)
    tokens, mask = pad_batch(members_of(stockholm)[0][:5])
    before = Model.load(first)
    # A rate of next to nothing: what comes out is what went in.
    still = {"encoder.start": str(first), "optimiser.learning_rate": 1e-12}
    after = Model.load(trained(stockholm, tmp_path / "second", steps=1, **still))
    with torch.no_grad():
        torch.testing.assert_close(after.residues(tokens, mask), before.residues(tokens, mask), atol=1e-5, rtol=0)
        torch.testing.assert_close(after.pooling.expand.weight, before.pooling.expand.weight)  # type: ignore[union-attr]
    other = Model.load(trained(stockholm, tmp_path / "scratch", steps=1, **{"optimiser.learning_rate": 1e-12}))
    assert not torch.allclose(other.residues(tokens, mask), before.residues(tokens, mask), atol=0.1)
    with pytest.raises(UsageError, match="with the weights"):
        trained(stockholm, tmp_path / "third", **{"encoder.start": str(first), "encoder.parameters.width": 48})


def test_the_weights_at_the_end_may_be_the_average_of_both_ends_of_a_run(stockholm: Path, tmp_path: Path) -> None:
    first = trained(stockholm, tmp_path / "first", steps=8)
    there, halfway = (
        Model.load(
            trained(stockholm, tmp_path / f"{share}", **{"encoder.start": str(first), "encoder.average_coefficient": share})
        )
        for share in (0.0, 0.25)
    )
    begin, end = Model.load(first).state_dict(), there.state_dict()
    for name, values in halfway.state_dict().items():
        if name.startswith(("encoder.", "pooling.")):
            torch.testing.assert_close(values, 0.75 * end[name] + 0.25 * begin[name])
    assert not torch.allclose(begin["encoder.embed.weight"], end["encoder.embed.weight"], atol=1e-3)
    # What is fitted belongs to the weights that come out.
    assert not torch.equal(halfway.kernel.frequencies, there.kernel.frequencies)  # type: ignore[union-attr]
    tokens, code = members_of(stockholm)
    with torch.no_grad():
        vectors = halfway(*pad_batch(tokens)).double()
    apart = vectors - torch.stack([vectors[code == c].mean(0) for c in range(6)])[code]
    assert float(torch.linalg.eigvalsh(apart.T @ apart / (len(tokens) - 6)).max()) == pytest.approx(1, abs=0.1)
