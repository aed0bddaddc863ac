"""Masked autoencoding: against a version without batches and padding, and what the encoder may see."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from phylocli.core.errors import UsageError
from phylocli.critics import build_critic
from phylocli.objectives import Batch, build_objective, requirements_of
from phylocli.objectives.base.batch import Removed
from phylocli.objectives.base.requirements import Removal
from phylocli.objectives.mae import Objective
from phylocli.train.task import remaining

FEATURES, LENGTHS = 6, (9, 5, 12)
KEPT = ([0, 3, 4, 8], [4], [1, 2, 5, 6, 7, 11])


def mae(**parameters: Any) -> Objective:
    torch.manual_seed(0)
    critic = build_critic("cosine", FEATURES, {"temperature": 0.3})
    found = build_objective("mae", critic, {"width": 16, "kernel": 3, **parameters}, dimension=FEATURES, features=FEATURES)
    assert isinstance(found, Objective)
    return found.double()


def given() -> tuple[list[Tensor], Batch]:
    """Return the vectors of what is left of three sequences, and the batch with them, padded."""
    generator = torch.Generator().manual_seed(1)
    left = [torch.randn(len(kept), FEATURES, generator=generator, dtype=torch.float64) for kept in KEPT]
    letters = torch.randint(0, 20, (3, max(LENGTHS)), generator=generator)
    mask = torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]
    letters = letters.masked_fill(~mask, -1)
    letters[0, 5] = -1  # an unknown letter, removed
    seen = torch.zeros_like(mask)
    for row, kept in zip(seen, KEPT, strict=True):
        row[kept] = True
    batch = Batch.of_families(torch.arange(3), removed=Removed(letters, mask, seen))
    batch.residues = torch.nn.utils.rnn.pad_sequence(left, batch_first=True, padding_value=99.0)
    batch.mask = torch.arange(6)[None] < torch.tensor([len(kept) for kept in KEPT])[:, None]
    return left, batch


def logits_of_one(objective: Objective, left: Tensor, kept: list[int], length: int) -> Tensor:
    """Return the logits (L, 20) of one sequence, residue by residue."""
    decoder = objective.decoder
    entered = {place: decoder.enter(vector) for place, vector in zip(kept, left, strict=True)}
    x = [entered.get(place, decoder.missing) for place in range(length)]
    for k, block in enumerate(decoder.blocks):
        normed = [block.norm(v) for v in x]
        steps = [offset * 2**k for offset in (-1, 0, 1)]
        seen = [
            torch.cat([normed[i + s] if 0 <= i + s < length else torch.zeros_like(normed[0]) for s in steps])
            for i in range(length)
        ]
        x = [v + block.back(F.gelu(block.look(taps))) for v, taps in zip(x, seen, strict=True)]
    return torch.stack([decoder.letters(decoder.norm(v)) for v in x])


@pytest.mark.parametrize("depth", [1, 2])
def test_the_reconstruction_is_its_formula_residue_by_residue(depth: int) -> None:
    objective, (left, batch) = mae(depth=depth), given()
    x = batch.removed
    assert x is not None
    nats, right = [], []
    for k, (vectors, kept, length) in enumerate(zip(left, KEPT, LENGTHS, strict=True)):
        logits = logits_of_one(objective, vectors, kept, length)
        for place in set(range(length)) - set(kept):
            letter = int(x.letters[k, place])
            if letter >= 0:
                nats.append((logits[place].logsumexp(0) - logits[place, letter]).item())
                right.append(int(logits[place].argmax()) == letter)
    terms = objective(torch.randn(3, FEATURES), torch.randn(3, FEATURES), batch)
    assert terms["reconstruction"].item() == pytest.approx(np.mean(nats), rel=1e-9)
    assert float(terms["reconstruction_accuracy"]) == pytest.approx(np.mean(right))
    assert terms["loss"].item() == terms["reconstruction"].item()


def test_a_decoder_that_knows_nothing_needs_log_20_nats_a_residue() -> None:
    objective, (_, batch) = mae(), given()
    torch.nn.init.zeros_(objective.decoder.letters.weight)
    torch.nn.init.zeros_(objective.decoder.letters.bias)
    terms = objective(torch.empty(3, FEATURES), torch.empty(3, FEATURES), batch)
    assert terms["loss"].item() == pytest.approx(math.log(20))


def test_letters_that_the_encoder_saw_and_unknown_ones_are_not_scored() -> None:
    objective, (_, batch) = mae(), given()
    x = batch.removed
    assert x is not None
    before = objective.reconstructed(batch.residues, x)["reconstruction"].item()
    x.letters[x.kept] = 3
    assert objective.reconstructed(batch.residues, x)["reconstruction"].item() == before
    x.letters[0, 1] = (x.letters[0, 1] + 1) % 20  # removed
    assert objective.reconstructed(batch.residues, x)["reconstruction"].item() != before


@pytest.mark.parametrize("contrast", ["infonce", "nt-xent"])
def test_beside_contrast_the_loss_is_the_weighted_sum_and_weight_zero_is_contrast_alone(contrast: str) -> None:
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.randn(3, FEATURES, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2))
    _, batch = given()
    pure = build_objective(contrast, build_critic("cosine", FEATURES, {"temperature": 0.3})).double()
    expected = pure(a, b, batch)["loss"]
    alone = mae()(a, b, batch)["loss"]
    for alpha in (0.0, 0.3, 1.0):
        objective = mae(alpha=alpha, contrast=contrast)
        terms = objective(a, b, batch)
        assert terms["loss"].item() == pytest.approx((alpha * alone + (1 - alpha) * expected).item(), rel=1e-9)
        slopes = torch.autograd.grad(terms["loss"], [a, objective.decoder.missing], allow_unused=True)
        assert (slopes[0] is None) == (alpha == 1) and (slopes[1] is None) == (alpha == 0)
        needs = requirements_of(objective)
        assert needs.views == ("first" if alpha == 1 else "pair") and needs.negatives == (alpha < 1)


@pytest.mark.parametrize(
    "parameters", [{"alpha": 2.0}, {"removed": 1.0}, {"span": 0}, {"kernel": 4}, {"alpha": 0.5, "contrast": "cpc"}]
)
def test_wrong_parameters_are_usage_errors(parameters: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        mae(**parameters)


def test_exactly_the_fraction_is_removed_in_spans_and_something_is_left() -> None:
    rng = np.random.default_rng(0)
    for length, fraction, span in itertools.product((1, 2, 7, 100), (0.1, 0.5, 0.99), (1, 4, 200)):
        kept = remaining(length, Removal(fraction, span), rng)
        assert len(kept) == length
        assert (~kept).sum() == min(round(fraction * length), length - 1)
    kept = np.stack([remaining(400, Removal(0.5, 5), rng) for _ in range(200)])
    runs = np.diff(np.flatnonzero(np.diff(kept[0].astype(int), prepend=2, append=2)))
    assert runs.mean() == pytest.approx(10, abs=3), "removed and remaining spans of 5 join at random"
    assert kept.mean(0).min() > 0.35 and kept.mean(0).max() < 0.65, "every residue is removed equally often"
