"""Wide pooling and whitening."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from phylocli.core.errors import UsageError
from phylocli.encoders import pad_batch
from phylocli.encoders.base.averaging import ROWS
from phylocli.encoders.poolings.feature_mean import Pooling as FeatureMean
from phylocli.models.model import Model
from phylocli.models.whitening import Whitening


def relatives(families: int = 40, members: int = 25, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return vectors of families that differ by a known covariance within each: (N, D), codes (N,), the covariance."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(6, 6))
    within = root @ root.T + 0.5 * np.eye(6)
    code = np.repeat(np.arange(families), members)
    centre = 3 + rng.normal(size=(families, 6)) * 5
    x = centre[code] + rng.multivariate_normal(np.zeros(6), within, size=len(code))
    return torch.from_numpy(x), torch.from_numpy(code), torch.from_numpy(within)


def test_whitening_makes_the_covariance_within_families_the_identity() -> None:
    x, code, within = relatives()
    whitening = Whitening(6)
    whitening.fit(x, code, power=0.5, floor=1e-9)
    y = whitening(x).double()
    apart = y - torch.stack([y[code == c].mean(0) for c in range(40)])[code]
    torch.testing.assert_close(apart.T @ apart / (len(y) - 40), torch.eye(6).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(y.mean(0), torch.zeros(6).double(), atol=1e-4, rtol=0)
    # M Mᵀ is the inverse of the covariance that the vectors were drawn with, up to what 960 degrees of freedom leave open.
    torch.testing.assert_close(
        (whitening.matrix @ whitening.matrix.T).double() @ within, torch.eye(6).double(), atol=0.3, rtol=0
    )


def test_a_nuisance_covariance_counts_as_variation_within_families() -> None:
    x, code, _ = relatives()
    nuisance = torch.diag(torch.tensor([50.0, 0, 0, 0, 0, 3.0]))
    whitening = Whitening(6)
    whitening.fit(x, code, power=0.5, floor=1e-9, nuisance=nuisance)
    apart = x - torch.stack([x[code == c].mean(0) for c in range(40)])[code]
    both = apart.T @ apart / (len(x) - 40) + nuisance
    matrix = whitening.matrix.double()
    torch.testing.assert_close(matrix.T @ both @ matrix, torch.eye(6).double(), atol=1e-4, rtol=0)


def test_whitening_of_power_zero_only_centres_and_singletons_take_no_part() -> None:
    x, code, _ = relatives()
    whitening = Whitening(6)
    whitening.fit(x, code, power=0.0)
    torch.testing.assert_close(whitening(x).double(), x - x.mean(0), atol=1e-4, rtol=0)
    alone = torch.cat([x, 1e3 * torch.ones(1, 6).double()]), torch.cat([code, torch.tensor([99])])
    with_one, without = Whitening(6), Whitening(6)
    with_one.fit(*alone, power=0.5)
    without.fit(x, code, power=0.5)
    torch.testing.assert_close(with_one.matrix, without.matrix)


def test_floor_prevents_amplification_of_constant_directions() -> None:
    x, code, _ = relatives()
    x[:, 0] = code.double()  # members of a family agree in it to the last digit
    whitening = Whitening(6)
    whitening.fit(x, code, power=0.5, floor=0.01)
    assert torch.linalg.cond(whitening.matrix.double()) < 10.01


def test_a_whitened_model_is_saved_and_loaded_whole(tmp_path: Path) -> None:
    model = Model.create("convolutional", preset="tiny", pooling="feature-mean", pooling_parameters={"features": 24}, seed=3)
    assert model.dimension == 24
    rng = np.random.default_rng(0)
    tokens, mask = pad_batch([rng.integers(4, 24, size=n).astype(np.uint8) for n in rng.integers(5, 60, size=80)])
    model.eval()
    with torch.no_grad():
        plain = model(tokens, mask)
        model.whiten(plain, torch.arange(80) // 4, 0.5, 1e-3)
        whitened = model(tokens, mask)
        assert not torch.allclose(plain, whitened)
        torch.testing.assert_close(model(tokens, mask, model.depth), whitened)
        assert model(tokens, mask, 1).shape == (80, 24)
        loaded = Model.load(model.save(tmp_path / "model"))
        torch.testing.assert_close(loaded(tokens, mask), whitened)
        assert loaded.fingerprint == model.fingerprint
        half = Model.load(model.save(tmp_path / "half", half=True))
        cosine = torch.nn.functional.cosine_similarity(half(tokens, mask), whitened)
    assert float(cosine.min()) > 0.999


def test_pooling_needs_a_feature() -> None:
    with pytest.raises(UsageError, match="features"):
        Model.create("convolutional", preset="tiny", pooling="feature-mean", pooling_parameters={"features": 0})


def test_features_made_for_one_sequence_at_a_time_have_the_same_means() -> None:
    pooling = FeatureMean(6, 40)
    rng = np.random.default_rng(0)
    lengths = [1, ROWS + 7, 0, 50, 2 * ROWS]
    residues = torch.from_numpy(rng.normal(size=(5, 2 * ROWS, 6))).float()
    mask = torch.arange(2 * ROWS)[None] < torch.tensor(lengths)[:, None]
    together = pooling(residues, mask)
    with torch.no_grad():
        alone = pooling(residues, mask)
        torch.testing.assert_close(alone, together.detach(), atol=1e-5, rtol=1e-4)
        expected = torch.nn.functional.gelu(pooling.expand(residues[3, :50])).mean(0)
        torch.testing.assert_close(alone[3], expected, atol=1e-6, rtol=1e-5)
        # The result for a sequence does not depend on the other sequences of the batch, to the last bit.
        assert torch.equal(pooling(residues[3:4, :50], mask[3:4, :50])[0], alone[3])
