"""Decoders: likelihoods are exact, causal, normalised over all sequences, and those that samples come from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from phylocli.core.alphabet import FIRST_RESIDUE, UNKNOWN, encode_tokens
from phylocli.core.errors import BadInputError, UsageError
from phylocli.decoders import SequenceDecoder, build_decoder, uniform_numbers
from phylocli.decoders.aligned import Decoder as Aligned
from phylocli.decoders.autoregressive import Decoder as Autoregressive
from phylocli.encoders import pad_batch

SMALL = {
    "convolutional": {"width": 16, "depth": 2, "grid": 4, "max_length": 40},
    "autoregressive": {"width": 16, "depth": 2, "max_length": 40},
    "aligned": {"match_states": 5, "hidden": 8, "max_length": 40},
}
LATENT = 6


def made(name: str, **parameters: object) -> SequenceDecoder:
    torch.manual_seed(0)
    decoder = build_decoder(name, LATENT, {**SMALL[name], **parameters}).double().eval()
    with torch.no_grad():  # far from the initial weights, so that z and positions matter
        for weight in decoder.parameters():
            weight.add_(0.5 * torch.randn_like(weight))
    return decoder


def latents(n: int, seed: int = 1) -> Tensor:
    return torch.randn(n, LATENT, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def batch(*texts: str) -> tuple[Tensor, Tensor]:
    return pad_batch([encode_tokens(text) for text in texts])


@pytest.mark.parametrize("name", SMALL)
def test_a_likelihood_is_the_sum_of_its_steps_and_independent_of_padding(name: str) -> None:
    decoder, z, texts = made(name), latents(3), ["MKVLAAGIVGLCWE", "M", "MRXLSAG"]
    together = decoder.log_likelihood(z, *batch(*texts))
    torch.testing.assert_close(together, decoder.steps(z, *batch(*texts)).sum(1))
    for i, text in enumerate(texts):
        torch.testing.assert_close(decoder.log_likelihood(z[i : i + 1], *batch(text))[0], together[i], rtol=0, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("name", SMALL)
def test_positions_and_lengths_are_as_exact_under_autocast(name: str) -> None:
    """bfloat16 has 8 bits: neighbouring residues of a long sequence would have one position."""
    decoder, z = made(name, max_length=700).float(), latents(4).float()
    tokens = torch.randint(20, (4, 600), generator=torch.Generator().manual_seed(0)) + FIRST_RESIDUE
    mask = torch.arange(600) < torch.tensor([300, 411, 511, 600])[:, None]
    exact = decoder.steps(z, tokens, mask)
    with torch.autocast("cpu", torch.bfloat16):
        found = decoder.steps(z, tokens, mask)
    assert found.dtype == torch.float32
    difference = (found - exact).abs()
    if name == "convolutional":
        torch.testing.assert_close(found[:, 0], exact[:, 0])  # of the length
    assert float(difference.mean()) < 0.02


@pytest.mark.parametrize("name", ["convolutional", "autoregressive"])
def test_probabilities_of_all_sequences_sum_to_one(name: str) -> None:
    torch.manual_seed(0)
    decoder = build_decoder(name, LATENT, {**SMALL[name], "max_length": 3}, alphabet="dna").double().eval()
    z = latents(1)
    every = [np.array(s, dtype=np.uint8) + FIRST_RESIDUE for n in (1, 2, 3) for s in itertools.product(range(4), repeat=n)]
    total = decoder.log_likelihood(z.expand(len(every), -1), *pad_batch(every)).exp().sum().detach()
    assert float(total) == pytest.approx(1, abs=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("name", SMALL)
def test_an_unknown_residue_is_summed_over(name: str) -> None:
    decoder, z = made(name), latents(1)
    given = torch.tensor([[FIRST_RESIDUE + 3, UNKNOWN, FIRST_RESIDUE + 7]])
    each = given.repeat(20, 1)
    each[:, 1] = torch.arange(20) + FIRST_RESIDUE
    mask = torch.ones_like(each, dtype=torch.bool)
    if name == "autoregressive":  # what follows depends on the letter that is read: only the step itself is summed
        one = decoder.steps(z, given, mask[:1])[0, 1]
        assert float(one) == pytest.approx(float(decoder.steps(z.expand(20, -1), each, mask)[:, 1].logsumexp(0)), abs=1e-9)
        return
    summed = decoder.log_likelihood(z.expand(20, -1), each, mask).logsumexp(0)
    assert float(decoder.log_likelihood(z, given, mask[:1])) == pytest.approx(float(summed), abs=1e-9)


@pytest.mark.parametrize("name", ["autoregressive", "aligned"])
def test_a_change_of_a_residue_changes_no_step_before_it(name: str) -> None:
    decoder, z = made(name), latents(1)
    tokens, mask = batch("MKVLAAGIVGLCWE")
    before = decoder.steps(z, tokens, mask)
    for j in range(tokens.shape[1]):
        other = tokens.clone()
        other[0, j] = FIRST_RESIDUE + (int(other[0, j]) - FIRST_RESIDUE + 5) % 20
        after = decoder.steps(z, other, mask)
        assert torch.equal(after[0, :j], before[0, :j])
        assert not torch.equal(after[0, j:], before[0, j:])


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_samples_are_functions_of_seed_and_row(name: str, temperature: float) -> None:
    decoder, z = made(name), latents(5)
    uniform = uniform_numbers(5, decoder.draws, seed=3)
    found = [s.tolist() for s in decoder.sample(z, uniform, temperature)]
    assert found == [s.tolist() for s in decoder.sample(z, uniform_numbers(5, decoder.draws, seed=3), temperature)]
    alone = decoder.sample(z[3:], uniform_numbers(2, decoder.draws, seed=3, first=3), temperature)
    assert [s.tolist() for s in alone] == found[3:], "a sample depends on its own row only"
    assert all(1 <= len(s) <= decoder.max_length and min(s) >= FIRST_RESIDUE and max(s) < UNKNOWN for s in found)
    other = [s.tolist() for s in decoder.sample(z, uniform_numbers(5, decoder.draws, seed=4), temperature)]
    assert (found == other) == (temperature == 0)


@pytest.mark.parametrize("name", SMALL)
def test_frequencies_of_samples_are_their_probabilities(name: str) -> None:
    torch.manual_seed(0)
    decoder = build_decoder(name, LATENT, {**SMALL[name], "max_length": 2}, alphabet="dna").double().eval()
    n, z = 4000, latents(1)
    samples = decoder.sample(z.expand(n, -1), uniform_numbers(n, decoder.draws, seed=0))
    every = [np.array(s, dtype=np.uint8) + FIRST_RESIDUE for k in (1, 2) for s in itertools.product(range(4), repeat=k)]
    probability = decoder.log_likelihood(z.expand(len(every), -1), *pad_batch(every)).exp().detach()
    if name == "aligned":  # a sample is cut at max_length: compare those that end by themselves
        every, probability = every[:4], probability[:4]
    for sequence, p in zip(every, probability.tolist(), strict=True):
        count = sum(np.array_equal(s, sequence) for s in samples)
        assert abs(count - n * p) < 5 * math.sqrt(n * p * (1 - p)) + 1


@pytest.mark.parametrize("name", SMALL)
def test_gradients_agree_with_finite_differences(name: str) -> None:
    decoder, z = made(name), latents(2).requires_grad_()
    tokens, mask = batch("MKVLAA", "MRX")
    assert torch.autograd.gradcheck(lambda given: decoder.log_likelihood(given, tokens, mask), z)


def test_the_sampler_of_the_autoregressive_decoder_follows_its_likelihood() -> None:
    decoder, z = made("autoregressive"), latents(4)
    tokens, mask = pad_batch(decoder.sample(z, uniform_numbers(4, decoder.draws, seed=0), temperature=0.0))
    assert isinstance(decoder, Autoregressive)
    probability = decoder.steps(z, tokens, mask)
    for j in range(tokens.shape[1]):
        for other in (FIRST_RESIDUE + 1, FIRST_RESIDUE + 9):
            changed = tokens.clone()
            changed[:, j] = other
            worse = decoder.steps(z, changed, mask)[:, j] <= probability[:, j] + 1e-12
            assert worse[mask[:, j]].all(), "greedy sampling takes the most probable residue of each step"


def enumerated(decoder: Aligned, z: Tensor, states: list[int]) -> float:
    """The probability of a sequence, as a sum over every path of matches, insertions and deletions."""
    m = decoder.match_states
    (begin, stay, _, _), emission = decoder.paths(z), decoder.emissions(z)[0].exp()
    inserted = decoder.insertion.softmax(0)
    insert, more, delete, further = (
        decoder.get_parameter(n).sigmoid().tolist() for n in ("insert_open", "insert_extend", "delete_open", "delete_extend")
    )

    def after_match(k: int) -> Iterator[tuple[str, int, float]]:
        """The next emitting states, or the end, after match k, one deletion after the other."""
        yield "I", k, insert[k]
        left = 1 - insert[k]
        j, stopping = k + 1, delete[k]
        while j < m:
            yield "M", j, left * (1 - stopping)
            left, j = left * stopping, j + 1
            stopping = further[j] if j < m else 0.0
        yield "end", m, left

    def onward(kind: str, k: int, rest: list[int]) -> float:
        total = 0.0
        if kind == "M":
            on = float(stay[0, k])
            following = [(n, j, on * p) for n, j, p in after_match(k)] + [("end", m, 1 - on)]
        else:
            following = [("I", k, more[k]), ("M", k + 1, 1 - more[k]) if k + 1 < m else ("end", m, 1 - more[k])]
        for other, j, p in following:
            if other == "end":
                total += p if not rest else 0.0
            elif rest:
                e = float(emission[j, rest[0]]) if other == "M" else float(inserted[rest[0]])
                total += p * e * onward(other, j, rest[1:])
        return total

    return sum(float(begin[0, k] * emission[k, states[0]]) * onward("M", k, states[1:]) for k in range(m))


@torch.no_grad()
def test_the_aligned_decoder_sums_over_every_path() -> None:
    decoder, z = made("aligned"), latents(1)
    assert isinstance(decoder, Aligned)
    paths = decoder.paths(z)
    torch.testing.assert_close(paths.move.sum(1) + paths.end, torch.ones(10, dtype=torch.float64))
    for states in ([3], [4, 1], [0, 7, 7], [2, 9, 4, 4, 1, 0]):
        tokens = torch.tensor([states]) + FIRST_RESIDUE
        found = decoder.log_likelihood(z, tokens, torch.ones_like(tokens, dtype=torch.bool)).exp()
        assert float(found) == pytest.approx(enumerated(decoder, z, states), rel=1e-9)


def test_an_aligned_decoder_starts_from_a_profile_and_is_built_again_without_it(tmp_path: Path) -> None:
    from phylocli.formats import Sequence
    from phylocli.predict.profiles import hmm_bytes

    texts = "MKVLAAGIVGLCWE"
    rows = np.full((len(texts), 20), 0.01)
    rows[np.arange(len(texts)), ["ACDEFGHIKLMNPQRSTVWY".index(c) for c in texts]] = 0.81
    path = tmp_path / "family.hmm"
    path.write_bytes(hmm_bytes(Sequence("family", texts), rows))
    decoder = build_decoder("aligned", LATENT, {"profile": str(path)}).eval()
    again = build_decoder("aligned", LATENT, decoder.description)
    again.load_state_dict(decoder.state_dict())
    given = torch.zeros(2, LATENT), *batch(texts, texts[::-1])
    nats = decoder.log_likelihood(*given)
    torch.testing.assert_close(again.eval().log_likelihood(*given), nats)
    assert nats[0] > nats[1] + 10, "the family's consensus is far more likely than the same residues in reverse order"
    with pytest.raises(BadInputError):
        build_decoder("aligned", LATENT, {"profile": str(tmp_path / "none.hmm")})


@torch.no_grad()
def test_paths_start_from_the_transitions_of_the_profile(tmp_path: Path) -> None:
    """Half of the sequences lack four residues: the probability of each deletion belongs to its place."""
    from pyhmmer import easel, plan7

    from phylocli.formats.hmm import read_hmms

    alphabet = easel.Alphabet.amino()
    rows = ["MKVLAAGIVGLCWE", "MKVLA----GLCWE", "MKVLSAGIVGLCFE", "MRVLA----GLCWE"] * 5
    texts = [easel.TextSequence(name=f"s{i}", sequence=row) for i, row in enumerate(rows)]
    given = easel.TextMSA(name="m", sequences=texts).digitize(alphabet)
    built, _, _ = plan7.Builder(alphabet).build_msa(given, plan7.Background(alphabet))
    path = tmp_path / "family.hmm"
    with path.open("wb") as stream:
        built.write(stream)
    hmm = next(read_hmms(path))
    moves = np.asarray(hmm.transition_probabilities, dtype=np.float64)  # M→M, M→I, M→D, I→M, I→I, D→M, D→D of node k
    expected = np.zeros((2 * hmm.M, 2 * hmm.M))
    for k in range(1, hmm.M + 1):
        expected[k - 1, hmm.M + k - 1], expected[hmm.M + k - 1, hmm.M + k - 1] = moves[k, 1], moves[k, 4]
        if k < hmm.M:
            expected[k - 1, k], expected[hmm.M + k - 1, k] = moves[k, 0], moves[k, 3]
        for j in range(k + 2, hmm.M + 1):
            expected[k - 1, j - 1] = moves[k, 2] * moves[k + 1 : j - 1, 6].prod() * moves[j - 1, 5]
    assert expected[4, 9] > 0.2, "the deletion is in the profile"
    decoder = build_decoder("aligned", LATENT, {"profile": str(path)})
    assert isinstance(decoder, Aligned)
    np.testing.assert_allclose(decoder.paths(torch.zeros(1, LATENT)).move.numpy(), expected, rtol=0, atol=5e-4)


@pytest.mark.parametrize("name", SMALL)
def test_a_sequence_above_the_maximum_length_is_named(name: str) -> None:
    with pytest.raises(UsageError, match="41 residues, but the decoder's max_length is 40"):
        made(name).log_likelihood(latents(1), *batch("A" * 41))


def test_masked_inputs_change_the_likelihood_in_training_only() -> None:
    decoder, z = made("autoregressive", dropout=0.9), latents(1)
    given = batch("MKVLAAGIVGLCWE")
    sure = decoder.log_likelihood(z, *given)
    assert torch.equal(decoder.log_likelihood(z, *given), sure)
    decoder.train()
    torch.manual_seed(0)
    assert not torch.equal(decoder.log_likelihood(z, *given), sure)
