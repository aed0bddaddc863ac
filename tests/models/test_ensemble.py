"""Ensembles: what a joined model computes, against its members."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from phylocli.core.errors import UsageError
from phylocli.encoders import pad_batch
from phylocli.models.ensemble import join_models
from phylocli.models.heads import HeadNetwork
from phylocli.models.model import Model

HEADS = {"3di": {"hidden": 8, "kernel": 5}, "ss3": {"hidden": 0, "kernel": 1}}


def member(seed: int, pooling: str = "feature-mean", **more: object) -> Model:
    parameters = {"features": 24} if pooling == "feature-mean" else {}
    return Model.create(
        "convolutional", preset="tiny", pooling=pooling, pooling_parameters=parameters, seed=seed, heads=HEADS, **more
    ).eval()


def batch() -> tuple[Tensor, Tensor]:
    model = member(0)
    return pad_batch([model.encode(text) for text in ("MKTAYIAKQRQISFVKSHFSRQ", "GSSGE", "W")])


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["mean", "feature-mean"])
@pytest.mark.parametrize("layer", [None, 2])
def test_vectors_are_those_of_the_members_one_after_the_other(pooling: str, layer: int | None, tmp_path: Path) -> None:
    members = [member(seed, pooling) for seed in range(3)]
    joined = Model.load(join_models(members).save(tmp_path / "joined"))
    tokens, mask = batch()
    apart = [each.residues(tokens, mask, layer) for each in members]
    torch.testing.assert_close(joined.residues(tokens, mask, layer)[mask], torch.cat(apart, dim=2)[mask])
    expected = torch.cat([each.pool(part, mask, layer) for each, part in zip(members, apart, strict=True)], dim=1)
    torch.testing.assert_close(joined(tokens, mask, layer), expected)


@torch.no_grad()
def test_logits_of_heads_are_the_averages_of_the_members() -> None:
    members = [member(seed) for seed in range(3)]
    joined = join_models(members)
    tokens, mask = batch()
    for name in HEADS:
        apart = [each.predict_residues(name, each.residues(tokens, mask), mask) for each in members]
        found = joined.predict_residues(name, joined.residues(tokens, mask), mask)
        torch.testing.assert_close(found[mask], torch.stack(apart).mean(0)[mask])


@torch.no_grad()
def test_maps_fitted_to_a_member_are_left_out() -> None:
    fitted = member(0)
    fitted.add_kernel(7, torch.zeros(64), torch.eye(64)[:, :4], 0.1, seed=0)
    joined = join_models([fitted, member(1)])
    assert joined.kernel is None and joined.whitening is None and joined.dimension == 48
    assert fitted.dimension == 31, "the member itself is unchanged"


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([], "at least one model"),
        ([member(0), member(1, "mean")], "cannot form an ensemble"),
        ([member(0), Model.create("convolutional", preset="small", seed=0)], "cannot form an ensemble"),
        ([member(0, "max")], "encoder 'convolutional' and the pooling 'max'"),
        ([Model.create("transformer", preset="tiny", seed=0)], "encoder 'transformer'"),
    ],
)
def test_models_that_cannot_be_joined_are_refused(models: list[Model], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        join_models(models)


@pytest.mark.parametrize(("hidden", "groups"), [(8, 3), (9, 2), (8, 0)])
def test_groups_of_a_head_divide_its_features_and_channels(hidden: int, groups: int) -> None:
    with pytest.raises(UsageError, match="groups"):
        HeadNetwork(12 if groups != 3 else 10, 4, hidden=hidden, kernel=3, groups=groups)


def test_wide_heads_of_many_members_are_joined() -> None:
    wide = {"ss3": {"hidden": 512, "kernel": 1}}
    members = [Model.create("convolutional", preset="tiny", seed=seed, heads=wide) for seed in range(9)]
    assert join_models(members).config.heads["ss3"] == {"hidden": 4608, "kernel": 1, "groups": 9}
