import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phylocli.families.pool import Pool
from phylocli.families.prefilter import redundancy
from phylocli.families.prefilter.redundancy import IDENTITY, LENGTH, representatives
from phylocli.families.recruitment import near_duplicates_of, star_graph
from phylocli.formats.sequences.fasta import Sequence

LETTERS = list("ACDEFGHIKLMNPQRSTVWY")


def random_protein(rng, length):
    return "".join(rng.choice(LETTERS, size=length))


def with_changes(rng, text, number):
    letters = list(text)
    for i in rng.choice(len(text), size=number, replace=False):
        letters[i] = rng.choice([c for c in LETTERS if c != letters[i]])
    return "".join(letters)


def pool_of(texts):
    return Pool(Sequence(f"s{i}", text) for i, text in enumerate(texts))


def common_part(a, b):
    """Return the residues in common on the best diagonal, as a part of the longer sequence."""
    longest = max(len(a), len(b))
    best = 0
    for shift in range(-len(b) + 1, len(a)):
        best = max(best, sum(a[i] == b[i - shift] for i in range(max(0, shift), min(len(a), len(b) + shift))))
    return best / longest


def mixed_pool(seed):
    """Return a pool of families with close and distant homologs, fragments and shifted copies."""
    rng = np.random.default_rng(seed)
    texts = set()
    for _ in range(4):
        ancestor = random_protein(rng, int(rng.integers(60, 120)))
        texts.add(ancestor)
        for part in (0.02, 0.05, 0.1, 0.15, 0.3, 0.5):
            texts.add(with_changes(rng, ancestor, int(part * len(ancestor))))
        texts |= {ancestor[:40], ancestor[5:], ancestor + "MK", "GS" + ancestor}
    return pool_of(sorted(texts))


@pytest.mark.parametrize("seed", range(3))
def test_excluded_sequences_resemble_their_representative_in_identity_and_length(seed):
    pool = mixed_pool(seed)
    chosen = representatives(pool)
    left_out = np.flatnonzero(chosen != np.arange(len(pool)))
    assert len(left_out) >= 8
    for i in left_out.tolist():
        lead = int(chosen[i])
        assert chosen[lead] == lead
        assert pool.lengths[lead] >= pool.lengths[i] >= LENGTH * pool.lengths[lead]
        assert common_part(pool.residues[lead], pool.residues[i]) >= IDENTITY


def test_near_duplicates_are_excluded_and_distant_homologs_and_fragments_are_not():
    rng = np.random.default_rng(1)
    ancestor = random_protein(rng, 200)
    copies = [with_changes(rng, ancestor, 10) for _ in range(10)]
    distant = with_changes(rng, ancestor, 120)
    fragment = ancestor[20:170]
    pool = pool_of([ancestor, *copies, distant, fragment, random_protein(rng, 200)])
    chosen = representatives(pool)
    standing = {pool.residues[i] for i in np.flatnonzero(chosen == np.arange(len(pool)))}
    assert {distant, fragment} <= standing
    assert len(standing & {ancestor, *copies}) == 1
    assert len(standing) == 4


def test_result_does_not_depend_on_order_and_blocks(monkeypatch):
    pool = mixed_pool(5)
    expected = representatives(pool)
    monkeypatch.setattr(redundancy, "_RESIDUES_AT_ONCE", 150)
    assert (representatives(pool) == expected).all()
    again = Pool(Sequence(ids[0], text) for text, ids in zip(pool.residues[::-1], pool.ids[::-1], strict=True))
    assert (representatives(again) == expected).all()


@pytest.mark.parametrize("texts", [[], ["MKV"], ["A" * 50, "A" * 49], ["X" * 30, "X" * 31]])
def test_too_short_and_simple_sequences_represent_themselves(texts):
    pool = pool_of(texts)
    assert representatives(pool).tolist() == list(range(len(pool)))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=9))
def test_star_graph_connects_each_representative_with_its_near_duplicates(picks):
    chosen = np.arange(len(picks))
    for i, pick in enumerate(picks):
        if pick < i and chosen[pick] == pick:
            chosen[i] = pick
    graph = star_graph(chosen).toarray()
    expected = np.zeros_like(graph)
    for lead, others in near_duplicates_of(chosen).items():
        expected[lead, others] = expected[others, lead] = 1
    assert (graph == expected).all()
    assert (
        sorted(i for others in near_duplicates_of(chosen).values() for i in others)
        == np.flatnonzero(chosen != np.arange(len(chosen))).tolist()
    )
