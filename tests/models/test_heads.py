"""Heads on residue vectors: targets, losses against closed forms, and masking."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from phylocli.core.errors import BadInputError, UsageError
from phylocli.encoders import pad_batch
from phylocli.models.heads import HEADS, HeadNetwork, find_head
from phylocli.models.heads.base import UNKNOWN
from phylocli.models.model import Model

HEADS_OF_A_MODEL = {"3di": {"hidden": 8, "kernel": 5}, "profile": {"hidden": 0, "kernel": 1}}


def model() -> Model:
    return Model.create("convolutional", preset="tiny", seed=1, heads=HEADS_OF_A_MODEL).eval()


@pytest.mark.parametrize(
    ("head", "text", "expected"),
    [
        ("ss3", "HGIEBCTS.?", [0, 0, 0, 1, 1, 2, 2, 2, UNKNOWN, UNKNOWN]),
        ("ss8", "HECTSGBI-P", [0, 1, 2, 3, 4, 5, 6, 7, 2, 2]),
        ("3di", "adXyv.", [0, 2, UNKNOWN, 19, 17, UNKNOWN]),
    ],
)
def test_letters_become_codes_of_states(head: str, text: str, expected: list[int]) -> None:
    assert find_head(head).targets(text).tolist() == expected


BAD_CELLS = [("ss3", "HZ"), ("3di", "AB"), ("3di", 7), ("profile", [1.0] * 19), ("profile", None)]


@pytest.mark.parametrize(("head", "value"), BAD_CELLS)
def test_cells_that_are_no_labels_are_refused(head: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"state|must be"):
        find_head(head).targets(value)


def test_profile_rows_are_normalised_and_zeros_are_unknown() -> None:
    counts = np.zeros((3, 20))
    counts[0, 3], counts[0, 4], counts[2, :] = 6000, 2000, 5
    found = HEADS["profile"].targets(counts.ravel().tolist())
    assert found.shape == (3, 20)
    assert found[0, 3] == 0.75 and found[0, 4] == 0.25 and found[1].sum() == 0
    with pytest.raises(ValueError, match="negative"):
        HEADS["profile"].targets([-1.0] * 20)


def test_cross_entropy_leaves_out_unknown_residues() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, UNKNOWN, 2, UNKNOWN])
    expected = -(logits[0].log_softmax(0)[0] + logits[2].log_softmax(0)[2]) / 2
    assert HEADS["ss3"].loss(logits, targets).item() == pytest.approx(expected.item(), rel=1e-6)
    assert HEADS["ss3"].loss(logits, torch.full((4,), UNKNOWN)) == 0
    assert HEADS["ss3"].correct(torch.eye(3)[[0, 1, 2, 0]], torch.tensor([0, UNKNOWN, 1, 0])).item() == pytest.approx(2 / 3)


def test_the_profile_loss_is_the_divergence_in_nats() -> None:
    p = torch.zeros(3, 20)
    p[0, :2], p[1, 5] = torch.tensor([0.75, 0.25]), 1.0  # the third row is unknown
    q = torch.randn(3, 20, generator=torch.Generator().manual_seed(0))
    one = F.kl_div(q[:1].log_softmax(1), p[:1], reduction="batchmean")
    two = -q[1].log_softmax(0)[5]
    assert HEADS["profile"].loss(q, p).item() == pytest.approx((one + two).item() / 2, rel=1e-5)
    perfect = p.clamp(min=1e-9).log()
    assert HEADS["profile"].loss(perfect[:2], p[:2]).item() == pytest.approx(0, abs=1e-6)
    assert HEADS["profile"].loss(torch.zeros(1, 20), p[1:2]).item() == pytest.approx(math.log(20), rel=1e-6)


def test_predictions_do_not_depend_on_the_batch() -> None:
    made = model()
    short, long = np.arange(4, 14, dtype=np.uint8), np.tile(np.arange(4, 24, dtype=np.uint8), 3)
    alone, together = pad_batch([short]), pad_batch([short, long])
    for head in HEADS_OF_A_MODEL:
        one = made.predict_residues(head, made.residues(*alone), alone[1])[0]
        two = made.predict_residues(head, made.residues(*together), together[1])[0, : len(short)]
        assert torch.allclose(one, two, atol=1e-5)


def test_the_convolution_is_over_neighbouring_residues() -> None:
    torch.manual_seed(0)
    network, x, mask = HeadNetwork(4, 3, hidden=5, kernel=5), torch.randn(1, 9, 4), torch.ones(1, 9, dtype=torch.bool)
    padded = F.pad(x[0], (0, 0, 2, 2))
    weight, bias = network.convolution.weight, network.convolution.bias
    for at in range(9):
        hidden = F.gelu((padded[at : at + 5].T * weight).sum((1, 2)) + bias)
        assert torch.allclose(network(x, mask)[0, at], network.states(hidden), atol=1e-5)


def test_heads_are_saved_and_copied_with_the_model(tmp_path: Path) -> None:
    made = model()
    made.save(tmp_path / "m")
    again = Model.load(tmp_path / "m")
    assert again.config.heads == HEADS_OF_A_MODEL and again.fingerprint == made.fingerprint
    other = Model.create("convolutional", preset="tiny", seed=2, heads={"3di": HEADS_OF_A_MODEL["3di"]})
    other.blend(made, 1.0)
    assert torch.equal(other.heads["3di"].states.weight, made.heads["3di"].states.weight)


def test_heads_leave_the_other_weights_as_they_are() -> None:
    plain = Model.create("convolutional", preset="tiny", seed=1).state_dict()
    found = model().state_dict()
    assert all(torch.equal(value, found[name]) for name, value in plain.items())


def test_a_model_without_the_head_says_how_to_train_one() -> None:
    x, mask = torch.zeros(1, 3, 64), torch.ones(1, 3, dtype=torch.bool)
    with pytest.raises(UsageError, match="no head 'ss3'") as caught:
        model().predict_residues("ss3", x, mask)
    assert "3di" in str(caught.value) and "residues.labels" in str(caught.value)
    with pytest.raises(UsageError, match="unknown head"):
        Model.create("convolutional", preset="tiny", heads={"4di": {}})


def test_a_folder_with_an_impossible_head_is_refused(tmp_path: Path) -> None:
    from phylocli.models.model import CONFIG, _checksum

    made = model()
    made.save(tmp_path / "m")
    import json

    description = json.loads((tmp_path / "m" / CONFIG).read_text())
    description["heads"]["3di"]["kernel"] = 4
    description["config_sha256"] = _checksum(description)
    (tmp_path / "m" / CONFIG).write_text(json.dumps(description))
    with pytest.raises(BadInputError, match="do not fit"):
        Model.load(tmp_path / "m")
