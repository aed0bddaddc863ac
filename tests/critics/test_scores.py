"""Critics: each score depends only on its two vectors, not on the block size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from phylocli.core import plugins
from phylocli.core.errors import UsageError
from phylocli.critics import build_critic

CRITICS = plugins.CRITICS.names()


def vectors(n: int, m: int, d: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, d, generator=generator), torch.randn(m, d, generator=generator)


def built(name: str, **parameters: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_critic(name, 6, parameters)


@pytest.mark.parametrize("name", CRITICS)
def test_scores_are_those_of_each_pair_alone(name: str) -> None:
    a, b = vectors(5, 7)
    critic = built(name)
    one_by_one = torch.stack([torch.cat([critic(x[None], y[None])[0] for y in b]) for x in a])
    assert one_by_one.shape == (5, 7)
    assert torch.allclose(critic(a, b), one_by_one, atol=1e-5)


@pytest.mark.parametrize("name", CRITICS)
def test_gradients_reach_both_sides_and_every_weight(name: str) -> None:
    a, b = (v.requires_grad_() for v in vectors(4, 4))
    critic = built(name, **({"learned": True} if name in ("cosine", "dot") else {}))
    critic(a, b).square().sum().backward()
    for tensor in (a, b, *critic.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


def test_the_concatenated_critic_is_a_perceptron_on_joined_vectors_in_any_block_size() -> None:
    a, b = vectors(9, 5)
    whole, blocks = built("concatenated", hidden=8), built("concatenated", hidden=8, block=7)
    weight = torch.cat([whole.from_a.weight, whole.from_b.weight], 1)
    joined = torch.cat([a[:, None].expand(-1, 5, -1), b[None].expand(9, -1, -1)], 2)
    expected = whole.rest(F.linear(joined, weight, whole.from_a.bias)).squeeze(-1)
    assert torch.allclose(whole(a, b), expected, atol=1e-6)
    for critic in (whole, blocks):
        critic(a, b).square().sum().backward()
    for p, q in zip(whole.parameters(), blocks.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=1e-4, atol=1e-6)


def test_the_concatenated_critic_keeps_no_hidden_layer_for_every_pair() -> None:
    n, hidden = 256, 64
    critic = built("concatenated", hidden=hidden, block=1024)
    a, b = vectors(n, n)
    saved: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        critic(a.requires_grad_(), b)
    assert sum(saved.values()) < 4 * n * n * hidden / 8


class Largest(TorchDispatchMode):
    """Records the size of the largest tensor that is created."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: object, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        made = func(*args, **(kwargs or {}))
        self.elements = max([self.elements, *(x.numel() for x in (made if isinstance(made, tuple | list) else [made])
                                              if isinstance(x, torch.Tensor))])  # fmt: skip
        return made


def test_no_tensor_of_the_concatenated_critic_has_hidden_features_for_every_pair() -> None:
    n, hidden, block = 256, 64, 1024
    critic = built("concatenated", hidden=hidden, block=block)
    a, b = vectors(n, n)
    with Largest() as largest:
        critic(a.requires_grad_(), b).sum().backward()
    assert largest.elements == max(n * n, block * hidden)  # the scores, or the hidden layer of one block
    with Largest() as copied:
        torch.cat([a[:, None].expand(-1, n, -1), b[None].expand(n, -1, -1)], 2)
    assert copied.elements == n * n * 12  # a violation is detected


def test_cosine_is_bounded_by_the_temperature_and_blind_to_lengths() -> None:
    a, b = vectors(6, 6)
    critic = built("cosine", temperature=0.05)
    assert critic(a, b).abs().max() <= 20 + 1e-4
    assert torch.allclose(critic(a, b), critic(3 * a, 0.1 * b), atol=1e-4)
    assert torch.allclose(critic(a, a).diagonal(), torch.full((6,), 20.0), atol=1e-4)


def test_learned_temperature_has_the_given_start_and_stays_within_its_bound() -> None:
    a, b = vectors(3, 3)
    for name, start in (("cosine", {"temperature": 0.1}), ("dot", {"scale": 10.0})):
        critic = built(name, learned=True, **start)
        assert torch.allclose(critic(a, b), built(name, **start)(a, b))
        plain = built(name, **dict.fromkeys(start, 1.0))(a, b)
        assert torch.allclose(critic(a, b), 10 * plain, rtol=1e-5)
        with torch.no_grad():
            critic.log_scale.fill_(50.0)
        assert torch.allclose(critic(a, b), 100 * plain, rtol=1e-5)


def test_wrong_parameters_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="temperature"):
        built("cosine", temperature=0)
    with pytest.raises(UsageError, match="scale"):
        built("dot", scale=0)
    with pytest.raises(UsageError, match="has no parameter 'temperature'"):
        built("dot", temperature=1)
    with pytest.raises(UsageError, match="did you mean 'cosine'"):
        built("cosin")
