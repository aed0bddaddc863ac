"""RealNVP and spline flows: inverse, log-determinant against autograd, initial identity; condition numbers."""

from __future__ import annotations

import pytest
import torch

from phylocli.core.errors import UsageError
from phylocli.infomax.encoders import ENCODERS, SQUARE, build_encoder, condition_numbers, deep
from phylocli.infomax.flows import AffineCoupling, Coupling, Flow, SplineCoupling
from phylocli.infomax.inputs import FEATURES

COUPLINGS = pytest.mark.parametrize("coupling", [AffineCoupling, SplineCoupling])


def flow(features: int, coupling: type[Coupling], layers: int = 6) -> Flow:
    torch.manual_seed(0)
    found = Flow(features, coupling, layers=layers, hidden=16)
    for parameter in found.parameters():  # far from the identity
        parameter.data.normal_(0, 0.15)
    return found


@COUPLINGS
@pytest.mark.parametrize("features", [2, 5, 80])
def test_the_inverse_is_exact_to_a_hundred_thousandth(features: int, coupling: type[Coupling]) -> None:
    x = 3 * torch.randn(50, features)  # some are beyond the ends of the splines
    made = flow(features, coupling).double()
    z = made(x.double())
    assert (z - x).abs().max() > 0.1
    assert (made.inverse(z) - x).abs().max() < 1e-5
    single = flow(features, coupling, layers=4)
    error = (single.inverse(single(x)) - x).abs()  # in single precision
    if coupling is AffineCoupling:
        assert error.max() < 1e-4
    else:  # where slopes are near 0 in several layers, it has no bound
        assert error.quantile(0.99) < 1e-2


@COUPLINGS
def test_the_log_determinant_is_that_of_autograds_jacobian(coupling: type[Coupling]) -> None:
    made = flow(7, coupling).double()
    x = 3 * torch.randn(6, 7, dtype=torch.float64)
    z, log_det = made.with_log_det(x)
    for row in range(6):
        jacobian = torch.autograd.functional.jacobian(lambda v: made(v[None])[0], x[row])
        sign, expected = torch.linalg.slogdet(jacobian)
        assert sign != 0 and log_det[row].item() == pytest.approx(float(expected), abs=1e-9)
    assert torch.allclose(z, made(x))


@COUPLINGS
def test_every_feature_is_changed_and_the_flow_starts_as_the_identity(coupling: type[Coupling]) -> None:
    x = torch.randn(20, 9)
    assert torch.allclose(Flow(9, coupling)(x), x, atol=1e-5)
    assert ((flow(9, coupling)(x) - x).abs().amax(0) > 1e-3).all()


def test_a_spline_rises_everywhere_and_passes_through_its_knots() -> None:
    layer = SplineCoupling(2, 4, torch.Generator())
    parameters = torch.randn(1, 1, SplineCoupling.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grid = torch.linspace(-6, 6, 2001, dtype=torch.float64)[:, None]
    y, log_slope = layer.apply_to(grid, parameters.expand(len(grid), -1, -1), False)
    assert (y.diff(dim=0) > 0).all()
    slope = torch.gradient(y[:, 0], spacing=0.006)[0].log()
    assert (slope - log_slope[:, 0]).abs().median() < 1e-3
    widths, heights, _ = parameters.split([SplineCoupling.BINS, SplineCoupling.BINS, SplineCoupling.BINS - 1], dim=-1)
    knots, expected = layer._knots(widths)[0, 0][:, None], layer._knots(heights)[0, 0][:, None]
    assert torch.allclose(layer.apply_to(knots, parameters.expand(len(knots), -1, -1), False)[0], expected, atol=1e-9)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_have_their_widths_and_depend_on_their_seed_alone(name: str) -> None:
    x = torch.randn(4, FEATURES)
    made = build_encoder(name, 1)
    assert made(x).shape == (4, FEATURES if name in SQUARE else 32)
    assert torch.equal(build_encoder(name, 1)(x), made(x))
    if name not in ("residual", "realnvp", "spline"):
        assert not torch.equal(build_encoder(name, 2)(x), made(x))
    with pytest.raises(UsageError, match="perceptron"):
        build_encoder("percepton", 0)


def test_condition_numbers_are_the_ratio_of_singular_values() -> None:
    linear = torch.nn.Linear(5, 5).double()
    values = torch.linalg.svdvals(linear.weight)
    found = condition_numbers(linear, torch.randn(3, 5, dtype=torch.float64))
    assert torch.allclose(found, (values[0] / values[-1]).expand(3))
    assert torch.allclose(condition_numbers(build_encoder("residual", 0), torch.randn(2, FEATURES)), torch.ones(2).double())


def test_a_deep_network_cut_at_any_layer_is_the_same_function() -> None:
    network, x = deep(3), torch.randn(6, FEATURES)
    vectors = network.layers(x)
    assert torch.equal(vectors[0], x) and len(vectors) == 5
    for cut in range(5):
        rest = vectors[cut]
        for block in network.blocks[cut:]:
            rest = block(rest)
        assert torch.equal(rest, network(x))
