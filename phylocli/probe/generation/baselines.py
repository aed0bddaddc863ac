"""What generated sequences are compared with: simple generators, natural sequences, and copies of training members."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from phylocli.core.alphabet import decode_tokens
from phylocli.probe.generation.natural import NaturalFamilies
from phylocli.probe.generation.sequence_sets import SequenceSet
from phylocli.views.pssm import make as site_independent

NATURAL = "held-out members"
"""Name of the ceiling."""


def baselines(natural: NaturalFamilies, seed: int) -> dict[str, SequenceSet]:
    """Return the baselines by name, each with as many sequences of each family as there are held-out members."""
    return {
        NATURAL: natural.held_out,
        "training members": natural.members.at_most(natural.held_out.sizes, seed),
        "HMM emission": _by_family(natural, _emitted, seed),
        "site-independent profile": _by_family(natural, _independent, seed),
        "shuffled members": _shuffled(natural.held_out, seed),
    }


def _by_family(
    natural: NaturalFamilies, make: Callable[[NaturalFamilies, int, int, np.random.Generator], list[str]], seed: int
) -> SequenceSet:
    held_out = natural.held_out
    letters: list[str] = [""] * len(held_out)
    for code, size in held_out.sizes.items():
        made = make(natural, code, size, np.random.default_rng([seed, code]))
        for row, text in zip(held_out.rows(code).tolist(), made, strict=True):
            letters[row] = text
    return SequenceSet(held_out.family, letters, held_out.profiles)


def _emitted(natural: NaturalFamilies, code: int, n: int, rng: np.random.Generator) -> list[str]:
    """Return sequences emitted by the family's profile HMM, from its first to its last state."""
    from pyhmmer import easel

    hmm = natural.held_out.profiles[code].hmm
    random = easel.Randomness(int(rng.integers(1, 2**31)))
    found: list[str] = []
    while len(found) < n:
        text = hmm.alphabet.decode(hmm.emit_sequence(random).sequence)
        if text:  # a path through delete states only emits nothing
            found.append(text)
    return found


def _independent(natural: NaturalFamilies, code: int, n: int, rng: np.random.Generator) -> list[str]:
    """Return sequences of independent residues and gaps, of the frequencies at each match column of the training members."""
    first, second, _ = site_independent().prepare(natural.training[code]).draw((n + 1) // 2, rng)
    return [decode_tokens(tokens) for tokens in [*first, *second][:n]]


def _shuffled(sequences: SequenceSet, seed: int) -> SequenceSet:
    rng = np.random.default_rng(seed)
    letters = ["".join(rng.permutation(list(text))) for text in sequences.letters]
    return SequenceSet(sequences.family, letters, sequences.profiles)
