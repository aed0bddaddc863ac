import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from phylocli.core.errors import BadInputError
from phylocli.formats.newick import parse
from phylocli.formats.tree import Tree
from phylocli.pairs import EmptyBandError, PairSampler
from phylocli.pairs.sampler import distinct_integers
from phylocli.pairs.wavelet import WaveletMatrix


def random_tree(n, rng, *, zero=0.2, polytomy=0.3, grid=False):
    """A random rooted tree with polytomies and zero-length branches; `grid` makes many distances equal."""
    nodes = [f"t{i}" for i in range(n)]

    def branch():
        if rng.random() < zero:
            return 0.0
        return float(rng.integers(1, 4)) / 8 if grid else float(rng.exponential(0.2))

    while len(nodes) > 1:
        k = min(len(nodes), 2 + (int(rng.integers(1, 4)) if rng.random() < polytomy else 0))
        chosen = [nodes.pop(int(rng.integers(len(nodes)))) for _ in range(k)]
        nodes.append("(" + ",".join(f"{c}:{branch():.17g}" for c in chosen) + ")")
    return parse(nodes[0] + ";")


def caterpillar(n):
    """A ladder of n tips, every branch 1/1024 long."""
    parent, names, spine = [-1], [""], 0
    for k in range(n - 2):
        parent += [spine, spine]
        names += [f"t{k}", ""]
        spine = len(parent) - 1
    parent += [spine, spine]
    names += [f"t{n - 2}", f"t{n - 1}"]
    return Tree(np.array(parent), np.r_[0.0, np.full(len(parent) - 1, 2.0**-10)], names)


def matrix(tree):
    """All distances, by a naive walk over the whole tree from each tip."""
    neighbours = [[] for _ in tree.parent]
    for node in range(1, len(tree)):
        neighbours[node].append((tree.parent[node], tree.length[node]))
        neighbours[tree.parent[node]].append((node, tree.length[node]))
    tips = tree.tips()
    result = np.zeros((len(tips), len(tips)))
    for row, start in enumerate(tips):
        reached = {int(start): 0.0}
        stack = [int(start)]
        while stack:
            node = stack.pop()
            for other, length in neighbours[node]:
                if int(other) not in reached:
                    reached[int(other)] = reached[node] + length
                    stack.append(int(other))
        result[row] = [reached[int(t)] for t in tips]
    return result


def samplers(tree):
    return {"sorted": PairSampler(tree), "queries": PairSampler(tree, sorted_up_to=0)}


def test_distances_agree_with_ete3_to_1e9():
    tree = random_tree(60, np.random.default_rng(1))
    ete = tree.to_ete()
    names = tree.tip_names()
    i, j = np.triu_indices(60, 1)
    for sampler in samplers(tree).values():
        found = sampler.distance(i, j)
        expected = [ete.get_distance(names[a], names[b]) for a, b in zip(i[::7], j[::7], strict=True)]
        np.testing.assert_allclose(found[::7], expected, atol=1e-9, rtol=0)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(0, 2**32 - 1), st.booleans(), st.data())
def test_counts_and_pairs_are_those_of_the_full_matrix(n, seed, grid, data):
    tree = random_tree(n, np.random.default_rng(seed), grid=grid)
    full = matrix(tree)
    i, j = np.triu_indices(n, 1)
    values = np.unique(full[i, j])
    # Band ends at pair distances are met exactly on a grid of binary fractions; else they lie between distances.
    ends = values if grid else np.r_[0.0, (values[1:] + values[:-1]) / 2, values[-1] + 1]
    lo, hi = sorted(data.draw(st.tuples(st.sampled_from(list(ends)), st.sampled_from(list(ends)))))
    inside = (full[i, j] >= lo) & (full[i, j] <= hi)
    expected = set(zip(i[inside].tolist(), j[inside].tolist(), strict=True))
    for name, sampler in samplers(tree).items():
        total = sampler.count(lo, hi)
        assert total == len(expected), name
        a, b, distance = sampler.unrank(lo, hi, np.arange(total))
        assert set(zip(a.tolist(), b.tolist(), strict=True)) == expected, name
        np.testing.assert_allclose(distance, full[a, b], atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(0, 2**32 - 1), st.data())
def test_both_ways_agree_to_the_last_bit_at_band_ends_that_are_distances(n, seed, data):
    tree = random_tree(n, np.random.default_rng(seed), zero=0.3)
    exact, queries = samplers(tree).values()
    distances = exact.unrank(0, math.inf, np.arange(exact.n_pairs))[2].tolist()
    lo, hi = sorted(data.draw(st.tuples(st.sampled_from(distances), st.sampled_from(distances))))
    assert queries.count(lo, hi) == exact.count(lo, hi)
    assert np.sort(queries.unrank(lo, hi, np.arange(exact.count(lo, hi)))[2]).tolist() == [
        d for d in sorted(distances) if lo <= d <= hi
    ]


@pytest.mark.parametrize("way", ["sorted", "queries"])
@pytest.mark.parametrize("replace", [False, True])
def test_every_pair_of_the_band_is_equally_likely(way, replace):
    sampler = samplers(random_tree(12, np.random.default_rng(5)))[way]
    lo, hi = sampler.quantiles([0.2, 0.8])
    total = sampler.count(lo, hi)
    rng = np.random.default_rng(7)
    seen: dict[tuple[int, int], int] = {}
    for _ in range(1500):
        i, j, distance = sampler.draw(5, lo, hi, rng, replace)
        assert ((distance >= lo) & (distance <= hi)).all()
        pairs = list(zip(i.tolist(), j.tolist(), strict=True))
        assert replace or len(set(pairs)) == 5
        for pair in pairs:
            seen[pair] = seen.get(pair, 0) + 1
    assert len(seen) == total
    assert chisquare(list(seen.values())).pvalue > 1e-4


def test_without_replacement_every_selection_is_equally_likely():
    rng = np.random.default_rng(3)
    for total, n in ((5, 2), (5, 3)):  # one by thinning repeats out, one by permutation
        seen: dict[tuple[int, ...], int] = {}
        for _ in range(6000):
            chosen = tuple(distinct_integers(total, n, rng).tolist())
            assert len(set(chosen)) == n
            seen[chosen] = seen.get(chosen, 0) + 1
        assert len(seen) == math.perm(total, n)
        assert chisquare(list(seen.values())).pvalue > 1e-4


def test_sampling_more_than_exist_gives_all_once():
    sampler = PairSampler(parse("((a:1,b:1):1,(c:1,d:1):1);"))
    i, j, distance = sampler.draw(100, 0, 2, np.random.default_rng(0))
    assert sorted(zip(i, j, distance, strict=True)) == [(0, 1, 2.0), (2, 3, 2.0)]


def test_two_tips_make_one_pair():
    for sampler in samplers(parse("(a:0.25,b:0.5);")).values():
        assert sampler.count(0, math.inf) == 1
        assert [x.tolist() for x in sampler.draw(5, 0.75, 0.75, np.random.default_rng(0))] == [[0], [1], [0.75]]


def test_one_tip_is_an_error():
    with pytest.raises(BadInputError, match="a pair needs two"):
        PairSampler(parse("(a:1);"))


def test_empty_band_is_an_error_that_gives_the_range():
    with pytest.raises(EmptyBandError) as caught:
        PairSampler(parse("(a:0.25,b:0.5,c:1);")).draw(1, 3, 4, np.random.default_rng(0))
    assert "up to 1.5 apart" in str(caught.value)


def test_missing_and_negative_lengths_count_as_zero_and_are_counted():
    sampler = PairSampler(parse("((a,b:1):-2,c:3);"))
    assert sampler.distance([0, 0], [1, 2]).tolist() == [1.0, 3.0]
    assert (sampler.tree.n_missing, sampler.tree.n_negative) == (1, 1)


def test_a_tree_without_any_length_is_an_error():
    with pytest.raises(BadInputError, match="no branch lengths"):
        PairSampler(parse("((a,b),c);"))


def test_an_infinite_length_is_an_error():
    with pytest.raises(BadInputError, match="infinite"):
        PairSampler(Tree(np.array([-1, 0, 0]), np.array([0.0, np.inf, 1.0]), ["", "a", "b"]))


def test_a_stem_above_the_root_lies_on_no_path():
    assert PairSampler(parse("(a:1,b:2):5;")).distance(0, 1).tolist() == [3.0]


def test_a_ladder_of_20000_tips():
    n = 20_000
    sampler = PairSampler(caterpillar(n))
    step = 2.0**-10
    # Tips k < m < n − 1 lie m − k + 2 branches apart, the last two and their neighbours aside.
    assert sampler.distance([0, 10, 0, n - 2], [1, 10_010, n - 1, n - 1]).tolist() == [
        3 * step,
        10_002 * step,
        n * step,
        2 * step,
    ]
    # Pairs at 100 branches: k with k + 98 in 1 … n − 2, and the last tip, which hangs as deep as the one before it.
    assert sampler.count(100 * step, 100 * step) == (n - 1 - 98) + 1
    i, j, distance = sampler.draw(1000, 100 * step, 200 * step, np.random.default_rng(0))
    np.testing.assert_array_equal(distance, sampler.distance(i, j))


def test_a_clock_like_tree_whose_depths_differ_by_rounding_alone():
    rng = np.random.default_rng(0)
    nodes = [(f"t{k}", 0.0) for k in range(300)]
    height = 0.0
    while len(nodes) > 1:
        height += float(rng.exponential(2 / (len(nodes) * (len(nodes) - 1))))
        (a, x), (b, y) = (nodes.pop(int(rng.integers(len(nodes)))) for _ in range(2))
        nodes.append((f"({a}:{height - x!r},{b}:{height - y!r})", height))
    exact, queries = samplers(parse(nodes[0][0] + ";")).values()
    depths = exact.tree.depth
    assert 1 < len(np.unique(depths)) < 20 and np.ptp(depths) < 1e-12
    distances = exact.unrank(0, math.inf, np.arange(exact.n_pairs))[2]
    for lo in rng.choice(distances, 30):
        for hi in (lo, 1.5 * lo):
            assert queries.count(lo, hi) == exact.count(lo, hi)


def test_a_star_of_many_tips():
    n = 3000
    tree = Tree(np.r_[-1, np.zeros(n, dtype=int)], np.r_[0.0, np.full(n, 0.5)], ["", *(f"t{k}" for k in range(n))])
    sampler = PairSampler(tree)
    assert sampler.count(1, 1) == n * (n - 1) // 2
    assert sampler.count(1.001, 9) == 0


def test_the_same_seed_draws_the_same_pairs():
    sampler = PairSampler(random_tree(700, np.random.default_rng(2)))
    first, again, other = (sampler.draw(50, 0.5, 2, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert [x.tolist() for x in first] == [x.tolist() for x in again]
    assert first[0].tolist() != other[0].tolist()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_the_wavelet_matrix_counts_and_selects(n, seed):
    rng = np.random.default_rng(seed)
    values = rng.permutation(n)
    wavelet = WaveletMatrix(values)
    left = rng.integers(0, n + 1, 30)
    right = rng.integers(left, n + 1)
    bound = rng.integers(0, n + 1, 30)
    expected = [(values[a:b] < c).sum() for a, b, c in zip(left, right, bound, strict=True)]
    assert wavelet.count_below(left, right, bound).tolist() == expected
    some = right > left
    left, right = left[some], right[some]
    k = rng.integers(0, right - left)
    expected = [np.sort(values[a:b])[c] for a, b, c in zip(left, right, k, strict=True)]
    assert wavelet.select(left, right, k).tolist() == expected


def test_quantiles_of_a_large_tree_are_near_the_exact_ones():
    tree = random_tree(600, np.random.default_rng(8))
    exact = PairSampler(tree, sorted_up_to=1000)
    near = PairSampler(tree)
    fractions = [0.1, 0.5, 0.9]
    for q, value in zip(fractions, near.quantiles(fractions), strict=True):
        assert exact.count(-1, value) / exact.n_pairs == pytest.approx(q, abs=0.01)
    assert near.tree.diameter() == pytest.approx(exact.unrank(0, math.inf, [exact.n_pairs - 1])[2][0], abs=1e-12)
