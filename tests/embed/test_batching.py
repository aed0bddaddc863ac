"""Windows, batches and spans: complete, disjoint, and within the budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phylocli.embed.batching import spans, windows
from phylocli.encoders import token_batches
from phylocli.formats import Sequence


@given(st.lists(st.integers(1, 500), max_size=60), st.integers(1, 2000))
def test_batches_hold_every_item_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(token_batches(lengths, budget))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert len(batch) * longest <= budget or len(batch) == 1


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 200))
def test_windows_keep_the_order_and_the_size(lengths: list[int], size: int) -> None:
    sequences = [Sequence(str(i), "A" * n) for i, n in enumerate(lengths)]
    found = list(windows(iter(sequences), size, lambda one: len(one.residues)))
    assert [s.id for window in found for s in window] == [s.id for s in sequences]
    for window in found:
        assert sum(len(s.residues) for s in window) <= size or len(window) == 1


@given(st.integers(1, 3000), st.integers(2, 300), st.data())
def test_spans_cover_every_residue_once_with_context(length: int, window: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, window - 1))
    found = spans(length, window, overlap)
    assert [s[2] for s in found] == [0, *(s[3] for s in found[:-1])] and found[-1][3] == length
    for start, stop, keep_from, keep_to in found:
        assert 0 <= start <= keep_from < keep_to <= stop <= length and stop - start <= window
        assert start == 0 or keep_from - start >= overlap // 2
        assert stop == length or stop - keep_to >= overlap // 2


def test_a_sequence_that_fits_is_one_span() -> None:
    assert spans(100, 100, 20) == [(0, 100, 0, 100)]


@pytest.mark.parametrize("budget", [1, 10])
def test_item_beyond_the_budget_is_a_separate_batch(budget: int) -> None:
    assert list(token_batches([50, 60], budget)) == [[0], [1]]
