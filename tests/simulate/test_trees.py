"""Random trees against what is known of the processes: intervals, heights, lengths, shapes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import exp1
from scipy.stats import kstest

from phylocli.core.errors import UsageError
from phylocli.formats.tree import Tree
from phylocli.pairs import PairSampler
from phylocli.simulate import birth_death, coalescent, random_tree, relaxed, scaled
from phylocli.simulate.trees import _of_heights, mean_patristic


def split_heights(tree: Tree) -> np.ndarray:
    """Heights of the inner nodes above the tips, ascending."""
    depth = tree.root_distances()
    return np.sort(depth.max() - depth[~tree.is_tip])


def check_mean(values: np.ndarray, expected: float) -> None:
    assert np.mean(values) == pytest.approx(expected, abs=4 * np.std(values) / len(values) ** 0.5)


def test_yule_lineages_wait_exponential_times() -> None:
    rng = np.random.default_rng(0)
    n, rate = 7, 2.0
    heights = np.array([split_heights(birth_death(n, rng, speciation=rate)) for _ in range(3000)])
    waits = np.diff(np.concatenate([np.zeros((len(heights), 1)), heights], axis=1), axis=1)
    for interval, lineages in enumerate(range(n, 1, -1)):
        assert kstest(waits[:, interval] * lineages * rate, "expon").pvalue > 1e-4


def forward(rng: np.random.Generator, birth: float, death: float, sampling: float, duration: float) -> list[float] | None:
    """A birth–death process run forward; the heights at which three sampled survivors meet, None for another number."""
    born, mother, alive, now = [0.0], [-1], [0], 0.0
    while alive:
        now += rng.exponential(1 / ((birth + death) * len(alive)))
        if now >= duration:
            break
        chosen = int(rng.integers(len(alive)))
        if rng.random() * (birth + death) < birth:
            born.append(now)
            mother.append(alive[chosen])
            alive.append(len(born) - 1)
            if len(alive) > 60:
                return None
        else:
            alive[chosen] = alive[-1]
            alive.pop()
    sampled = [lineage for lineage in alive if rng.random() < sampling]
    if len(sampled) != 3:
        return None

    def meet(a: int, b: int) -> float:
        while a != b:  # the later born of the two goes back to where it left its mother
            if born[a] < born[b]:
                a, b = b, a
            when, a = born[a], mother[a]
        return duration - when

    a, b, c = sampled
    found = sorted([meet(a, b), meet(a, c), meet(b, c)])
    return [found[0], found[2]]


def test_birth_death_trees_are_those_of_a_process_run_forward() -> None:
    rng = np.random.default_rng(1)
    birth, death, sampling, longest = 1.0, 0.6, 0.5, 14.0
    runs = (forward(rng, birth, death, sampling, rng.uniform(0, longest)) for _ in range(25_000))
    expected = np.array([run for run in runs if run is not None])
    rates = {"speciation": birth, "extinction": death, "sampling": sampling}
    found = np.array([split_heights(birth_death(3, rng, **rates)) for _ in range(20_000)])
    found = found[found[:, 1] < 10]  # the forward runs reach no further than `longest`, and few as far
    expected = expected[expected[:, 1] < 10]
    assert len(expected) > 400
    for split in (0, 1):
        error = np.hypot(expected[:, split].std() / len(expected) ** 0.5, found[:, split].std() / len(found) ** 0.5)
        assert found[:, split].mean() == pytest.approx(expected[:, split].mean(), abs=4 * error)


def test_critical_birth_death_is_the_limit_of_others() -> None:
    at, near = (birth_death(20, np.random.default_rng(3), extinction=mu) for mu in (1.0, 1 - 1e-6))
    np.testing.assert_allclose(split_heights(at), split_heights(near), rtol=1e-3)


@pytest.mark.parametrize("n", [2, 10])
def test_coalescent_height_and_length(n: int) -> None:
    rng = np.random.default_rng(2)
    trees = [coalescent(n, rng) for _ in range(4000)]
    check_mean(np.array([split_heights(t)[-1] for t in trees]), 2 * (1 - 1 / n))
    check_mean(np.array([t.length.sum() for t in trees]), 2 * (1 / np.arange(1, n)).sum())


def test_coalescent_with_growth() -> None:
    rng = np.random.default_rng(4)
    growth = 5.0
    heights = np.array([split_heights(coalescent(2, rng, growth=growth))[0] for _ in range(20_000)])
    check_mean(heights, np.exp(1 / growth) * exp1(1 / growth) / growth)
    star, plain = coalescent(200, rng, growth=1000.0), coalescent(200, rng)
    tips = star.is_tip
    assert star.length[tips].sum() / star.length.sum() > 2 * plain.length[tips].sum() / plain.length.sum()


@pytest.mark.parametrize("make", [birth_death, coalescent, random_tree])
def test_shapes_are_those_of_yule_trees(make) -> None:
    # A third of the tips' number are cherries, with a variance of 2n/45 (McKenzie & Steel 2000).
    rng = np.random.default_rng(5)
    n, cherries = 30, []
    for _ in range(1500):
        tree = make(n, rng)
        up = tree.parent[tree.tips()]
        cherries.append(n - len(np.unique(up)))
    check_mean(np.array(cherries), n / 3)
    assert np.var(cherries) == pytest.approx(2 * n / 45, rel=0.2)


def test_trees_are_well_formed_and_clocklike() -> None:
    tree = birth_death(500, np.random.default_rng(0), extinction=0.5, sampling=0.2)
    assert tree.is_tip.sum() == 500 and len(tree) == 999
    assert (tree.length >= 0).all() and tree.tip_names() == [f"s{k}" for k in range(500)]
    np.testing.assert_allclose(tree.root_distances()[tree.is_tip], tree.root_distances().max())


def test_sizes_are_exact() -> None:
    tree = random_tree(80, np.random.default_rng(6))
    sampler = PairSampler(tree)
    i, j = np.triu_indices(80, 1)
    brute = sampler.distance(i, j).mean()
    assert mean_patristic(tree) == pytest.approx(brute, rel=1e-12)
    assert mean_patristic(scaled(tree, mean_distance=1.3)) == pytest.approx(1.3)
    stretched = scaled(tree, height=0.7)
    assert stretched.root_distances()[stretched.is_tip].mean() == pytest.approx(0.7)
    assert scaled(tree) is tree


def test_relaxed_clocks_are_log_normal_with_mean_one() -> None:
    tree = birth_death(20_000, np.random.default_rng(7))
    rate = relaxed(tree, 0.5, np.random.default_rng(8)).length[1:] / tree.length[1:]
    assert np.log(rate).std() == pytest.approx(0.5, rel=0.03)
    check_mean(rate, 1.0)


def test_deep_and_large_trees_need_no_recursion() -> None:
    ladder = _of_heights(np.arange(1.0, 30_000))
    assert ladder.is_tip.sum() == 30_000
    assert len(coalescent(100_000, np.random.default_rng(0))) == 199_999


@pytest.mark.parametrize(
    "make",
    [
        lambda rng: birth_death(1, rng),
        lambda rng: birth_death(5, rng, extinction=2.0),
        lambda rng: birth_death(5, rng, speciation=0.0),
        lambda rng: birth_death(5, rng, sampling=0.0),
        lambda rng: coalescent(5, rng, growth=-1.0),
        lambda rng: scaled(coalescent(5, rng), height=0.0),
        lambda rng: scaled(coalescent(5, rng), height=1.0, mean_distance=1.0),
        lambda rng: relaxed(coalescent(5, rng), -1.0, rng),
    ],
)
def test_impossible_trees_are_refused(make) -> None:
    with pytest.raises(UsageError):
        make(np.random.default_rng(0))
