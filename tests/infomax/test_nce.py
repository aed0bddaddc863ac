"""Gradients of noise-contrastive estimation: closed forms against the objectives, and the limit of maximum likelihood."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from phylocli.config.infomax import InfomaxConfig
from phylocli.infomax.experiments.nce import Softmax, batch_gradient, cosine, run
from phylocli.objectives import nce

COUNTS = np.array([[5, 1, 1, 2], [1, 3, 1, 1], [1, 1, 4, 2]])


def model(seed: int = 0) -> Softmax:
    return Softmax(COUNTS / COUNTS.sum(), np.random.default_rng(seed).normal(size=COUNTS.shape))


def test_the_binary_gradient_is_that_of_the_objective_over_the_whole_population() -> None:
    made = model()
    pairs = torch.from_numpy(COUNTS).nonzero().repeat_interleave(torch.from_numpy(COUNTS[COUNTS > 0]), dim=0)
    a, b = pairs.T
    everyone = torch.ones(len(a), len(a), dtype=torch.bool)  # every average is an expectation
    for negatives in (1.0, 7.0, 300.0):
        s = torch.from_numpy(made.parameters).clone().requires_grad_()
        ratio = s - (s + torch.from_numpy(made.noise).log()).logsumexp(1, keepdim=True)
        value = -nce.loss(ratio[a][:, b], everyone, ratio=negatives)
        (expected,) = torch.autograd.grad(value, s)
        assert np.allclose(made.binary(negatives), expected.numpy(), atol=1e-12)


@pytest.mark.parametrize("negatives", [1, 2, 4])
def test_the_ranking_gradient_is_that_of_all_sets_of_negatives(negatives: int) -> None:
    made, weight = model(), np.exp(model().parameters)
    expected = made.joint.copy()
    for a, b in itertools.product(*map(range, COUNTS.shape)):
        for others in itertools.product(range(COUNTS.shape[1]), repeat=negatives):
            candidates = [b, *others]
            chance = made.joint[a, b] * made.noise[list(others)].prod()
            picked = weight[a, candidates] / weight[a, candidates].sum()
            np.subtract.at(expected[a], candidates, chance * picked)
    assert np.allclose(made.ranking(negatives), expected, atol=1e-12)


def test_both_forms_become_maximum_likelihood_as_negatives_grow() -> None:
    made = model()
    truth = made.likelihood()
    for gradient in (made.binary, made.ranking):
        differences = [np.linalg.norm(gradient(n) - truth) / np.linalg.norm(truth) for n in (4, 32, 256)]
        assert differences[0] > 4 * differences[1] > 12 * differences[2]
        assert cosine(gradient(4096), truth) > 0.9999


def test_the_likelihood_of_a_batch_has_the_exact_gradient_on_average() -> None:
    made = model()
    a, b = (torch.from_numpy(states) for states in np.unravel_index(np.repeat(np.arange(12), COUNTS.ravel()), COUNTS.shape))
    found = batch_gradient("likelihood", torch.from_numpy(made.parameters), torch.from_numpy(made.noise), a, b)
    assert np.allclose(found.numpy(), made.likelihood(), atol=1e-12)


@pytest.mark.parametrize("form", ["binary", "ranking"])
def test_at_the_start_the_gradient_is_likelihoods_but_for_its_length(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phylocli.infomax.experiments.nce.NEGATIVES", (1, 8))
    monkeypatch.setattr("phylocli.infomax.experiments.nce.BATCHES", 3)
    rows = run({"form": form, "trained": 0.0, "distance": 1.0}, 0, InfomaxConfig(), None)
    for row in rows:
        assert row["cosine"] == pytest.approx(1) and row["difference"] == pytest.approx(1 / (1 + row["negatives"]))
        assert -1 <= row["batch_cosine"] <= 1
