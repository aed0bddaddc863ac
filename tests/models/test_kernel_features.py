"""Kernel means of residues against the kernel itself, the axes that they compare on, and models that have them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from phylocli.core.errors import UsageError
from phylocli.embed.embedder import Embedder, untrained, with_pooling
from phylocli.encoders import pad_batch
from phylocli.models.kernel_features import KernelMean
from phylocli.models.model import Model
from phylocli.models.whitening import Whitening
from phylocli.statistics.plda import fit_axes

Drawn = tuple[torch.Tensor, torch.Tensor]


def sets(lengths: list[int], dimension: int = 5, seed: int = 0) -> Drawn:
    """Return residues (N, L, R) of sets of these sizes, with other numbers in the padding, and their mask."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(len(lengths), max(lengths), dimension)) + 0.5
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    return torch.from_numpy(x).float(), torch.from_numpy(mask)


def test_products_of_kernel_means_are_the_mean_kernel_over_all_pairs_of_residues() -> None:
    residues, mask = sets([30, 12, 50])
    rng = np.random.default_rng(1)
    mean, axes = torch.from_numpy(rng.normal(size=5)), torch.from_numpy(rng.normal(size=(5, 3)))
    kernel = KernelMean(5, 40_000)
    kernel.fit(mean, axes, 0.4, seed=2)
    pooled = kernel(residues, mask)
    found = (2 * pooled @ pooled.T / pooled.shape[1]).numpy()
    for i in range(3):
        for j in range(3):
            x, y = ((residues[k][mask[k]].double() - mean) @ axes for k in (i, j))
            expected = np.exp(-0.5 * 0.4**2 * cdist(x, y, "sqeuclidean")).mean()
            assert found[i, j] == pytest.approx(expected, abs=0.02)
    assert abs(found[0, 1] - found[0, 2]) > 0.001  # they are not all alike


def test_kernel_means_see_no_padding_and_no_autocast() -> None:
    residues, mask = sets([7, 20])
    kernel = KernelMean(5, 16)
    kernel.fit(torch.zeros(5), torch.eye(5), 1.0, seed=0)
    alone = kernel(residues[:1, :7], mask[:1, :7])
    torch.testing.assert_close(kernel(residues, mask)[:1], alone)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(kernel(residues, mask)[:1], alone)
    other = KernelMean(5, 16)
    other.fit(torch.zeros(5), torch.eye(5), 1.0, seed=1)
    assert not torch.equal(kernel.frequencies, other.frequencies)


def test_axes_recover_the_correlation_within_columns_that_residues_were_drawn_with() -> None:
    rng = np.random.default_rng(0)
    psi = np.array([4.0, 1.0, 0.25])  # variance between columns; within columns it is 1
    mix = rng.normal(size=(3, 3))

    def family() -> tuple[np.ndarray, np.ndarray]:
        centre = rng.normal(size=(200, 3)) * np.sqrt(psi)
        x = (centre[:, None] + rng.normal(size=(200, 4, 3))).reshape(-1, 3)
        insert = rng.normal(size=(100, 3)) * np.sqrt(1 + psi)  # of no column
        return np.concatenate([x, insert]) @ mix + 3, np.concatenate([np.repeat(np.arange(200), 4), np.full(100, -1)])

    fitted = fit_axes((family() for _ in range(40)), 3)
    np.testing.assert_allclose(fitted.correlation, psi / (1 + psi), atol=0.02)
    np.testing.assert_allclose(fitted.mean, 3, atol=0.1)
    x, _ = family()
    np.testing.assert_allclose(np.cov(((x - fitted.mean) @ fitted.axes).T), np.eye(3), atol=0.15)
    assert fit_axes([family()], 2).axes.shape == (3, 2)
    with pytest.raises(UsageError, match="too few aligned residues"):
        fit_axes([(np.zeros((40, 3)), np.repeat(np.arange(20), 2))], 2)
    with pytest.raises(UsageError, match="no aligned families"):
        fit_axes([], 2)


def grouped(groups: int = 12, members: int = 30, features: int = 8) -> Drawn:
    rng = np.random.default_rng(3)
    code = np.repeat(np.arange(groups), members)
    centre = rng.normal(size=(groups, features)) * np.linspace(3, 0.3, features)
    x = (centre[code] + rng.normal(size=(len(code), features))) @ rng.normal(size=(features, features))
    return torch.from_numpy(x), torch.from_numpy(code)


def test_a_whitening_to_fewer_features_is_a_linear_discriminant_analysis() -> None:
    import scipy.linalg
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    x, code = grouped()
    whitening = Whitening(8, 3)
    whitening.fit(x, code, power=0.5, floor=1e-9)
    assert whitening.dimension == 3 and whitening(x).shape == (360, 3)
    reference = LinearDiscriminantAnalysis(solver="eigen", n_components=3).fit(x.numpy(), code.numpy())
    angles = scipy.linalg.subspace_angles(whitening.matrix.double().numpy(), reference.scalings_[:, :3])
    assert angles.max() < 1e-3
    y = whitening(x).double()
    apart = y - torch.stack([y[code == c].mean(0) for c in range(12)])[code]
    torch.testing.assert_close(apart.T @ apart / (len(y) - 12), torch.eye(3).double(), atol=1e-4, rtol=0)


def test_blocks_are_brought_to_one_spread_before_the_floor_is_taken() -> None:
    x, code = grouped()
    louder = torch.cat([x[:, :5], 1e4 * x[:, 5:]], 1)
    plain, scaled, without = Whitening(8), Whitening(8), Whitening(8)
    plain.fit(x, code, 0.5, 0.05, [5, 3])
    scaled.fit(louder, code, 0.5, 0.05, [5, 3])
    without.fit(louder, code, 0.5, 0.05)
    torch.testing.assert_close(scaled(louder), plain(x), atol=1e-3, rtol=1e-3)
    assert not torch.allclose(without(louder), plain(x), atol=0.1)


def fitted_model(dimension: int = 0) -> Model:
    """Return a small model with kernel means and a whitening."""
    model = Model.create("convolutional", preset="tiny", pooling="feature-mean", pooling_parameters={"features": 24}).eval()
    rng = np.random.default_rng(0)
    model.add_kernel(40, torch.zeros(64), torch.from_numpy(rng.normal(size=(64, 8)) / 8), 0.5, seed=1)
    assert model.dimension == 64 and model.blocks == [24, 40]
    with torch.no_grad():
        vectors = model(*pad_batch([rng.integers(4, 24, size=n).astype(np.uint8) for n in rng.integers(5, 60, size=240)]))
    model.whiten(vectors, torch.arange(240) // 3, 0.5, 1e-3, dimension)
    return model


@pytest.mark.parametrize("dimension", [0, 30])
def test_a_model_with_kernel_means_is_saved_loaded_and_embeds_in_windows_and_by_layer(
    dimension: int, tmp_path: Path
) -> None:
    model, size = fitted_model(dimension), dimension or 64
    loaded = Model.load(model.save(tmp_path / "model"))
    assert loaded.fingerprint == model.fingerprint and loaded.dimension == size
    letters = "".join(np.random.default_rng(1).choice(list("ACDEFGHIKLMNPQRSTVWY"), size=500))
    whole, windowed = (Embedder(loaded, window=w, overlap=60).pooled([letters]) for w in (8192, 150))
    assert whole.shape == (1, size) and np.abs(windowed - whole).max() < 1e-3
    np.testing.assert_allclose(Embedder(model).pooled([letters]), whole, atol=1e-5)
    # What was fitted to the last layer's residues has no part in an embedding from another one, or by another pooling.
    assert Embedder(loaded, layer=2).pooled([letters]).shape == (1, 24) == (1, loaded.dimension_of(2))
    assert Embedder(loaded, layer=4).pooled([letters]).shape == (1, size)
    assert with_pooling(loaded, "mean").dimension == 64 and with_pooling(loaded, "mean").kernel is None
    assert untrained(loaded).blocks == [24]
    half = Model.load(model.save(tmp_path / "half", half=True))
    assert torch.equal(half.kernel.frequencies, model.kernel.frequencies)  # type: ignore[union-attr]


def test_a_whitening_fitted_again_leaves_nothing_of_the_one_before(tmp_path: Path) -> None:
    model = fitted_model(30)
    with torch.no_grad():
        plain = model.config.before_fitting()
        vectors = torch.from_numpy(np.random.default_rng(2).normal(size=(240, 64))).float()
        model.whiten(vectors, torch.arange(240) // 3, 0.5, 1e-3)
    assert model.config == replace(plain, kernel=40, whitened=0.5)
    assert Model.load(model.save(tmp_path / "model")).dimension == model.dimension == 64


def test_a_model_starts_from_anothers_weights_and_says_where_it_cannot(tmp_path: Path) -> None:
    other = fitted_model()
    make: Callable[..., Model] = Model.create
    same = make("convolutional", preset="tiny", pooling="feature-mean", pooling_parameters={"features": 24}, seed=9)
    assert same.blend(other, 1.0) and same.whitening is None and same.kernel is None
    tokens, mask = pad_batch([np.arange(4, 24).astype(np.uint8)])
    torch.testing.assert_close(same.residues(tokens, mask), other.residues(tokens, mask))
    torch.testing.assert_close(same(tokens, mask), other.pooling(other.residues(tokens, mask), mask))
    wider = make("convolutional", preset="tiny", pooling="feature-mean", pooling_parameters={"features": 48})
    assert not wider.blend(other, 1.0)
    for change in ({"width": 32}, {"depth": 3}, {"depth": 5}):
        with pytest.raises(UsageError, match="with the weights"):
            make("convolutional", preset="tiny", parameters=change).blend(other, 1.0)
    with pytest.raises(UsageError, match="reads protein, not dna"):
        make("convolutional", preset="tiny", alphabet="dna").blend(other, 1.0)
