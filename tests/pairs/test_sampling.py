import math
from collections import Counter
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from phylocli.config.pairs import SamplingConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.family import Family
from phylocli.formats.newick import NewickTree, parse
from phylocli.pairs import EmptyBandError, PairSampler, iter_pairs, sample_pairs
from phylocli.pairs.allocation import ByPairs, Proportional, apportion, hypergeometric
from phylocli.pairs.filters import AlignedRows
from phylocli.pairs.schemes import Draw, LogDistancePool, PerSequencePool, PerSequenceRowPool, UniformPool


def make_family(accession, n, seed, *, clan="", columns=30):
    """A family of n members with a random tree and random rows with gaps."""
    rng = np.random.default_rng(seed)
    ids = [f"{accession}_{k}" for k in range(n)]
    nodes = list(ids)
    while len(nodes) > 1:
        a, b = (nodes.pop(int(rng.integers(len(nodes)))) for _ in range(2))
        nodes.append(f"({a}:{rng.exponential(0.3):.6f},{b}:{rng.exponential(0.3):.6f})")
    rows = ["".join(rng.choice(list("ACDEFGHIKL-"), columns)) for _ in range(n)]
    return Family(ids, rows, accession=accession, clan=clan, tree=NewickTree(nodes[0] + ";"))


FAMILIES = [make_family("PF1", 9, 1, clan="CL1"), make_family("PF2", 20, 2), make_family("PF3", 5, 3)]


def drawn(families=FAMILIES, **options):
    return sample_pairs(families, **options)


def pairs_of(frame):
    return [tuple(sorted(row)) for row in frame.select("id_a", "id_b").iter_rows()]


def in_band(family, lo, hi):
    tree = family.require_tree()
    sampler = PairSampler(tree)
    i, j, d = sampler.unrank(lo, hi, np.arange(sampler.count(lo, hi)))
    names = tree.tip_names()
    return {tuple(sorted((names[a], names[b]))): x for a, b, x in zip(i.tolist(), j.tolist(), d.tolist(), strict=True)}


def test_without_a_number_every_pair_of_the_band_comes_once_with_its_row():
    frame = drawn(min_dist=0.5, max_dist=1.5)
    expected = {pair: x for family in FAMILIES for pair, x in in_band(family, 0.5, 1.5).items()}
    assert Counter(pairs_of(frame)) == Counter(expected.keys())
    for row in frame.iter_rows(named=True):
        assert row["distance"] == expected[tuple(sorted((row["id_a"], row["id_b"])))]
    sequence = {s.id: s.residues for f in FAMILIES for s in f.sequences()}
    assert all(sequence[i] == s for i, s in frame.select("id_a", "seq_a").iter_rows())
    assert all(sequence[i] == s for i, s in frame.select("id_b", "seq_b").iter_rows())
    assert set(frame.filter(pl.col("family") == "PF1")["clan"]) == {"CL1"}


def test_pairs_of_all_families_together_are_equally_likely():
    seen = Counter()
    for seed in range(500):
        frame = drawn(min_dist=0.4, max_dist=2.0, number=12, seed=seed)
        pairs = pairs_of(frame)
        assert len(set(pairs)) == 12
        seen.update(pairs)
    total = sum(len(in_band(f, 0.4, 2.0)) for f in FAMILIES)
    assert len(seen) == total
    assert chisquare(list(seen.values())).pvalue > 1e-4


def test_with_replacement_pairs_are_equally_likely_too():
    seen = Counter(pairs_of(drawn(min_dist=0.4, max_dist=2.0, number=20_000, replace=True)))
    total = sum(len(in_band(f, 0.4, 2.0)) for f in FAMILIES)
    assert sum(seen.values()) == 20_000 and len(seen) == total
    assert chisquare(list(seen.values())).pvalue > 1e-4


def test_per_family_gives_equal_numbers_and_others_make_up_for_a_small_one():
    counts = Counter(drawn(number=60, scheme="per-family")["family"])
    assert counts == {"PF3": 10, "PF1": 25, "PF2": 25}
    everything = Counter(drawn(number=10_000, scheme="per-family")["family"])
    assert everything == {"PF1": 36, "PF2": 190, "PF3": 10}
    repeated = Counter(drawn(number=300, scheme="per-family", replace=True)["family"])
    assert repeated == {"PF1": 100, "PF2": 100, "PF3": 100}


@pytest.mark.parametrize("replace", [False, True])
def test_per_sequence_has_its_stated_distribution(replace):
    family = FAMILIES[0]
    band = in_band(family, 0.5, 1.5)
    partners = Counter(name for pair in band for name in pair)
    pair_probability = {p: (1 / partners[p[0]] + 1 / partners[p[1]]) / len(partners) for p in band}
    assert sum(pair_probability.values()) == pytest.approx(1)
    options = {"min_dist": 0.5, "max_dist": 1.5, "scheme": "per-sequence", "replace": replace}
    if replace:
        seen = Counter(pairs_of(drawn([family], number=3000, **options)))
    else:  # the first pair of a draw without replacement has this distribution too
        seen = Counter(pair for seed in range(600) for pair in pairs_of(drawn([family], number=1, seed=seed, **options)))
    total = sum(seen.values())
    assert (
        chisquare([seen[p] for p in pair_probability], [total * pair_probability[p] for p in pair_probability]).pvalue > 1e-4
    )


def test_per_sequence_by_rows_has_the_same_distribution_as_by_list():
    sampler = PairSampler(FAMILIES[1].require_tree(), sorted_up_to=0)
    lo, hi = sampler.quantiles([0.1, 0.5])
    listed = PerSequencePool(Draw.joined(list(UniformPool(sampler, lo, hi).chunks())), sampler.n_tips)
    rows = PerSequenceRowPool(sampler, lo, hi, replace=True)
    assert (rows.total, rows.weight) == (listed.total, listed.weight)
    draw = rows.draw(30_000, np.random.default_rng(0))
    partners = sampler.partners(lo, hi)
    seen = Counter(zip(draw.i.tolist(), draw.j.tolist(), strict=True))
    weight = {p: 1 / partners[p[0]] + 1 / partners[p[1]] for p in zip(listed.listed.i, listed.listed.j, strict=True)}
    expected = [30_000 * w / sum(weight.values()) for w in weight.values()]
    assert chisquare([seen[p] for p in weight], expected).pvalue > 1e-4
    without = PerSequenceRowPool(sampler, lo, hi)
    few = without.draw(10, np.random.default_rng(1))
    assert len(set(zip(few.i, few.j, strict=True))) == 10
    assert len(without.draw(10**6, np.random.default_rng(1))) == without.total


def test_per_sequence_weighs_families_by_their_sequences():
    counts = Counter(drawn(number=34_000, scheme="per-sequence", replace=True)["family"])
    assert chisquare([counts["PF1"], counts["PF2"], counts["PF3"]], [9000, 20000, 5000]).pvalue > 1e-4
    assert Counter(drawn(number=34, scheme="per-sequence")["family"]) == {"PF1": 9, "PF2": 20, "PF3": 5}
    assert Counter(drawn(number=112, scheme="per-sequence")["family"]) == {"PF1": 32, "PF2": 70, "PF3": 10}


def test_log_distance_spreads_the_logarithm_evenly():
    family = make_family("PF9", 150, 9)
    uniform = drawn([family], min_dist=0.3, max_dist=3, number=2000)["distance"].log() / math.log(10)
    spread = drawn([family], min_dist=0.3, max_dist=3, number=2000, scheme="log-distance", replace=True)[
        "distance"
    ].log() / math.log(10)
    start = math.log10(0.3)
    assert kstest((spread - start).to_numpy(), "uniform").statistic < 0.05
    assert kstest((uniform - start).to_numpy(), "uniform").statistic > 0.2


def test_log_slices_cover_the_band_once():
    for lo, hi, top in ((0.0, math.inf, 5.0), (0.5, 2.0, 5.0), (0.5, 9.0, 5.0)):
        edges = LogDistancePool.edges(lo, hi, top)
        assert edges[0][0] == max(lo, min(hi, top) / 1000)
        assert edges[-1][1] == min(hi, top)
        for (_, end), (start, _) in pairwise(edges):
            assert math.nextafter(end, math.inf) == start
    assert LogDistancePool.edges(6.0, 9.0, 5.0) == []
    assert LogDistancePool.edges(0.0, 9.0, 0.0) == []


def test_bins_give_equally_many_and_share_no_edge():
    frame = drawn(number=31, bins=((0.5, 1.0), (1.0, 1.5), (1.5, 2.0)))
    distance = frame["distance"]
    assert [distance.is_between(0.5, 1, "left").sum(), distance.is_between(1, 1.5, "left").sum()] == [11, 10]
    tree = Family(["a", "b", "c"], ["AC", "AC", "AC"], accession="PF", tree=NewickTree("(a:0.5,b:0.5,c:0.75);"))
    every = drawn([tree], bins=((0.5, 1.0), (1.0, 1.25)))
    assert sorted(every["distance"]) == [1.0, 1.25, 1.25]


@pytest.mark.parametrize(
    "bins",
    [
        ((0.0, 0.0), (0.0, 1.0)),
        ((0.0, 1.0), (0.0, 0.0)),
        ((0.0, 1.0), (1.0, 1.0)),
        ((0.0, 1.0), (1.0, 1.0), (1.0, 1.25)),
        ((0.0, 0.0), (0.0, 1.0), (1.0, 1.25), (1.25, 1.25)),
        ((0.0, math.inf),),
    ],
)
def test_every_pair_within_bins_that_touch_belongs_to_one(bins):
    tree = Family(list("abcd"), ["AC"] * 4, accession="PF", tree=NewickTree("((a:0,d:0):0.5,b:0.5,c:0.75);"))
    # distances: 0, 1, 1, 1.25 × 3
    frame = drawn([tree], bins=bins)
    assert len(frame) == len(frame.unique(["id_a", "id_b"]))
    ends = max(hi for _, hi in bins)
    every = drawn([tree])
    assert sorted(frame["distance"]) == sorted(every.filter(pl.col("distance") <= ends)["distance"])
    for lo, hi in bins:
        if lo == hi:  # all pairs of that very distance are its own
            share = drawn([tree], bins=bins, number=len(bins) * 100)
            assert (share["distance"] == lo).sum() == (every["distance"] == lo).sum()


@pytest.mark.parametrize("bins", ["0:0.4,0.3:1", "0:1,0:1", "0.3:0.3,0.3:0.3", "0:1,0.5:0.5", "0:,2:3", "2:3,0:5,1:1.5"])
def test_bins_that_overlap_are_refused_before_anything_is_read(bins):
    with pytest.raises(UsageError, match="overlap"):
        SamplingConfig.of(None, {"bins": bins})


def test_quantiles_narrow_the_band_to_the_familys_own_spread():
    for family in FAMILIES:
        sampler = PairSampler(family.require_tree())
        low, high = sampler.quantiles([0.25, 0.75])
        frame = drawn([family], quantiles=(0.25, 0.75))
        assert frame["distance"].is_between(low, high).all()
        assert len(frame) == pytest.approx(sampler.n_pairs / 2, abs=2)


def test_relative_units_count_in_medians_of_the_family():
    family = FAMILIES[1]
    median = PairSampler(family.require_tree()).quantiles([0.5])[0]
    frame = drawn([family], min_dist=0.5, max_dist=1.2, unit="relative")
    assert set(pairs_of(frame)) == set(in_band(family, 0.5 * median, 1.2 * median))


def test_caps_hold_and_nothing_more_could_be_added():
    family = make_family("PF7", 40, 7)
    frame = drawn([family], max_per_sequence=2, min_dist=0.5, max_dist=3)
    uses = Counter(name for pair in pairs_of(frame) for name in pair)
    assert max(uses.values()) == 2
    taken = set(pairs_of(frame))
    for a, b in in_band(family, 0.5, 3):
        assert (a, b) in taken or uses[a] == 2 or uses[b] == 2


@pytest.mark.parametrize("sorted_up_to", [0, 512])
def test_at_most_so_many_pairs_meet_at_an_ancestor(sorted_up_to):
    tree = parse("((a:1,b:1,c:1,d:1):1,((e:1,f:1):1,g:1):1,h:1);")
    sampler = PairSampler(tree, sorted_up_to=sorted_up_to)
    everything = Counter(sampler.tree.ancestor(*sampler.unrank(0, 9, np.arange(28))[:2]).tolist())
    seen = Counter()
    for seed in range(1500):
        ranks = sampler.capped_ranks(0, 9, 2, np.random.default_rng(seed))
        i, j, _ = sampler.unrank(0, 9, ranks)
        assert len(set(ranks.tolist())) == len(ranks)
        assert Counter(sampler.tree.ancestor(i, j).tolist()) == {k: min(2, v) for k, v in everything.items()}
        seen.update(zip(i.tolist(), j.tolist(), strict=True))
    at_root = [count for (i, j), count in seen.items() if sampler.tree.ancestor(np.array([i]), np.array([j]))[0] == 0]
    assert chisquare(at_root).pvalue > 1e-4


def test_caps_per_ancestor_reach_the_tables():
    family = FAMILIES[1]
    frame = drawn([family], max_per_ancestor=1)
    assert len(frame) == 19
    sampler, names = PairSampler(family.require_tree()), family.require_tree().tip_names()
    i, j = (np.array([names.index(x) for x in frame[c]]) for c in ("id_a", "id_b"))
    assert len(set(sampler.tree.ancestor(i, j).tolist())) == 19


def slow_identity(a, b):
    both = [(x, y) for x, y in zip(a, b, strict=True) if x != "-" and y != "-"]
    full = max(len(a) - a.count("-"), len(b) - b.count("-"))
    return sum(x == y for x, y in both) / max(1, len(both)), len(both) / full


def test_identity_and_coverage_limits_keep_exactly_what_passes():
    family = FAMILIES[1]
    row = dict(zip(family.ids, family.rows, strict=True))
    frame = drawn([family], min_identity=0.1, max_identity=0.2, min_coverage=0.8)
    keep = family.match_columns()
    expected = set()
    for a, b in in_band(family, 0, math.inf):
        x, y = ("".join(c for c, k in zip(row[name], keep, strict=True) if k) for name in (a, b))
        identity, coverage = slow_identity(x, y)
        if 0.1 <= identity <= 0.2 and coverage >= 0.8:
            expected.add((a, b))
    assert 5 < len(expected) < 150
    assert set(pairs_of(frame)) == expected


def test_of_a_large_band_a_uniform_sample_is_looked_through(monkeypatch, capsys):
    family = FAMILIES[1]
    every = set(pairs_of(drawn([family], min_identity=0.1)))
    monkeypatch.setattr("phylocli.pairs.filters.LISTED_UP_TO", 10)
    monkeypatch.setattr("phylocli.pairs.filters._EXAMINED", 60)
    seen = Counter()
    for seed in range(800):
        found = pairs_of(drawn([family], min_identity=0.1, number=3, seed=seed))
        assert len(set(found)) == 3
        seen.update(found)
    assert set(seen) == every
    assert chisquare(list(seen.values())).pvalue > 1e-4
    assert "about " in capsys.readouterr().err
    capped = drawn([family], min_identity=0.1, number=15, max_per_ancestor=1)
    assert set(pairs_of(capped)) <= every


def test_rows_that_share_no_column_have_no_identity():
    family = Family(["a", "b"], ["AC--", "--AC"], accession="PF", column_features={"RF": "xxxx"})
    identity, coverage = AlignedRows(family, ["a", "b"]).compare(np.array([0]), np.array([1]))
    assert (identity[0], coverage[0]) == (0, 0)


def test_an_unaligned_family_has_no_identity():
    family = Family(["a", "b"], ["AC", "ACD"], accession="PF", aligned=False, tree=NewickTree("(a:1,b:1);"))
    assert len(drawn([family])) == 1
    with pytest.raises(BadInputError, match="not aligned"):
        drawn([family], min_identity=0.5)


def test_empty_band_error_describes_the_distances_of_the_family():
    with pytest.raises(EmptyBandError) as caught:
        drawn([FAMILIES[0]], min_dist=50)
    assert "PF1" in str(caught.value) and "half below" in str(caught.value)
    with pytest.raises(EmptyBandError, match="in any of 3 families"):
        drawn(min_dist=50)


def test_family_without_a_pair_is_skipped_if_others_have_some():
    lonely = Family(["x"], ["AC"], accession="PF0")
    assert drawn([lonely, *FAMILIES], number=10).height == 10
    with pytest.raises(EmptyBandError, match="a pair needs two"):
        drawn([lonely])


def test_a_family_without_a_tree_is_an_error():
    with pytest.raises(BadInputError, match="has no tree"):
        drawn([Family(["a", "b"], ["AC", "AC"], accession="PF")])


def test_the_same_seed_gives_the_same_table():
    options = {"number": 25, "min_dist": 0.3, "scheme": "uniform", "max_per_sequence": 4}
    assert drawn(seed=1, **options).equals(drawn(seed=1, **options))
    assert not drawn(seed=1, **options).equals(drawn(seed=2, **options))


def test_families_are_read_once_and_one_at_a_time():
    held = []

    def stream():
        for k in range(30):
            held.append(k)
            yield make_family(f"PF{k}", 6, k)

    frames = iter_pairs(stream(), max_dist=9)
    next(frames)
    assert held == [0]


def test_a_narrow_band_is_warned_of(capsys):
    drawn(min_dist=1.0, max_dist=1.1)
    assert "narrower than the error of inferred trees" in capsys.readouterr().err
    drawn(min_dist=1.0, max_dist=1.3)
    assert "narrower" not in capsys.readouterr().err


def test_number_of_pairs_in_the_band_is_reported(capsys):
    frame = drawn(min_dist=0.5, max_dist=1.5, number=100_000)
    said = capsys.readouterr().err
    assert f"Found {len(frame)} pairs in 3 families with distance 0.5 to 1.5 substitutions per site" in said
    assert f"Requested 100,000 pairs but only {len(frame)} exist in this range" in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"min_dist": 2, "max_dist": 1}, "no band from 2 to 1"),
        ({"min_dist": -1}, "min_dist must be at least 0, not -1"),
        ({"max_dist": math.nan}, "max_dist must be at least 0, not nan"),
        ({"scheme": "even"}, "per-sequence"),
        ({"unit": "years"}, "relative"),
        ({"number": 0}, "number must be at least 1, not 0"),
        ({"replace": True}, "-n"),
        ({"replace": True, "number": 5, "max_per_sequence": 1}, "replace excludes"),
        ({"scheme": "log-distance"}, "-n"),
        ({"bins": ((0, 1),), "min_dist": 1}, "bins excludes"),
        ({"bins": ()}, "bins is empty"),
        ({"quantiles": (0.5, 1.5)}, "0.25:0.75"),
        ({"min_identity": 40.0}, "min_identity must be at most 1, not 40"),
        ({"min_identity": 0.9, "max_identity": 0.5}, "above max_identity"),
        ({"max_per_ancestor": 0}, "max_per_ancestor must be at least 1"),
        ({"bins": "1"}, "not a range"),
        ({"quantiles": "a:b"}, "not a range"),
        ({"quantiles": "1:2:3"}, "not a range"),
    ],
)
def test_requests_that_make_no_sense_are_refused(options, says):
    with pytest.raises(UsageError) as caught:
        SamplingConfig.of(None, options)
    assert says in str(caught.value)


def test_members_without_any_difference_have_a_band_in_every_unit():
    same = Family(["a", "b", "c"], ["AC"] * 3, accession="PF", tree=NewickTree("(a:0,b:0,c:0);"))
    assert len(drawn([same], unit="relative")) == len(drawn([same], bins=((0.0, math.inf),), unit="relative")) == 3
    with pytest.raises(EmptyBandError):
        drawn([same], scheme="log-distance", number=3)


def test_parameters_are_plain_json():
    import json

    text = json.dumps(SamplingConfig(bins=((0, 1), (1, math.inf)), number=3).to_parameters(), allow_nan=False)
    assert json.loads(text)["bins"] == [[0, 1], [1, None]]


def test_ranges_are_read_as_written():
    given = SamplingConfig.of(None, {"bins": "0:0.2,0.2:0.5,1:"})
    assert given.bins == ((0.0, 0.2), (0.2, 0.5), (1.0, math.inf))
    assert SamplingConfig.of(None, {"quantiles": ":0.5"}).quantiles == (0.0, 0.5)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from([0.0, 1.0, 2.5, 7.0])), min_size=1, max_size=12),
    st.integers(0, 200),
    st.integers(0, 10),
)
def test_shares_are_in_proportion_and_sum_up(families, n, seed):
    available = np.array([a for a, _ in families])
    weights = np.array([w for _, w in families])
    sizes = apportion(available, weights, n, np.random.default_rng(seed))
    assert sizes.sum() == min(n, available[weights > 0].sum())
    assert (sizes >= 0).all() and (sizes <= available).all() and (sizes[weights == 0] == 0).all()
    short = (sizes < available) & (weights > 0)
    if short.any():
        # Families that are not exhausted stand at one level, as far as whole numbers allow; the others lie below it.
        lowest = ((sizes - 1) / np.where(weights > 0, weights, 1))[weights > 0].max()
        assert (lowest <= (sizes + 1)[short] / weights[short] + 1e-9).all()


def test_shares_of_a_stream_are_those_of_all_families_at_once():
    class Pool:
        def __init__(self, total, weight):
            self.total, self.weight = total, weight

        def draw(self, n, rng):
            return np.arange(min(n, self.total))

    rng = np.random.default_rng(0)
    shares = Proportional(200, equal=False)
    pools = [Pool(int(rng.integers(1, 60)), float(rng.integers(1, 9))) for _ in range(40)]
    held = [shares.add(pool, rng) for pool in pools]
    sizes = shares.sizes(rng, final=True)
    assert sizes.sum() == 200
    assert all(len(draw) >= size for draw, size in zip(held, sizes, strict=True))


def test_hypergeometric_numbers_beyond_numpys_limit_have_the_right_mean():
    rng = np.random.default_rng(0)
    found = [hypergeometric(3 * 10**9, 10**9, 1000, rng) for _ in range(200)]
    assert np.mean(found) == pytest.approx(750, abs=4)
    assert hypergeometric(5, 0, 3, rng) == 3 and hypergeometric(0, 5, 3, rng) == 0


def test_many_families_are_held_in_bounded_memory():
    class Many:
        total, weight = 50, 50.0

        def draw(self, n, rng):
            return np.arange(n)

    shares, rng = ByPairs(100), np.random.default_rng(0)
    for _ in range(500):
        shares.add(Many(), rng)
    sizes = shares.sizes(rng, final=True)
    assert sizes.sum() == 100 and sizes.max() <= 5


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 50), st.integers(0, 1000), st.floats(0, 1), st.floats(0, 1))
def test_partners_are_those_of_the_pairs(n, seed, a, b):
    family = make_family("PF", n, seed)
    tree = family.require_tree()
    few, many = PairSampler(tree), PairSampler(tree, sorted_up_to=0)
    lo, hi = np.sort(few.quantiles([a, b]))
    i, j, _ = few.unrank(lo, hi, np.arange(few.count(lo, hi)))
    expected = np.bincount(i, minlength=n) + np.bincount(j, minlength=n)
    assert few.partners(lo, hi).tolist() == expected.tolist()
    assert many.partners(lo, hi).tolist() == expected.tolist()


def test_nucleotides_are_compared_as_nucleotides() -> None:
    family = Family(["a", "b"], ["ACGTNRAC", "ACGUNRAG"])
    one, two = np.array([0]), np.array([1])
    identity, coverage = AlignedRows(family, ["a", "b"], "dna").compare(one, two)
    assert (identity[0], coverage[0]) == (5 / 6, 1.0)  # U is T; N and R are unknown
    as_protein, _ = AlignedRows(family, ["a", "b"]).compare(one, two)
    assert as_protein[0] == 6 / 8  # N and R are amino acids there, U a cysteine


def test_an_alphabet_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(UsageError, match="alphabet"):
        drawn([Family(["a", "b"], ["ACGT", "ACGT"], tree=NewickTree("(a:1,b:1);"))], alphabet="rna")
