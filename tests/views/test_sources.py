import collections
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from phylocli import views
from phylocli.core.alphabet import AMINO_ACIDS, FIRST_RESIDUE, decode_tokens, encode_states, encode_tokens
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import read_families
from phylocli.formats.family import Family
from phylocli.formats.newick import NewickTree, parse
from phylocli.pairs import EmptyBandError
from phylocli.tree.models import discrete_gamma, substitution_model
from phylocli.views import ancestor, multi_crop, pssm, simulated, spans
from phylocli.views.base.ancestral_states import marginal_posteriors
from phylocli.views.base.preview import parse_settings


def toy():
    rows = ["MKVLAAGIVGLC", "MKVLSAGIV-LC", "MRVLSAGLVGYC", "MRILSPGLVGYW"]
    return Family(list("abcd"), rows, accession="PF1", tree=NewickTree("((a:0.1,b:0.2):0.3,(c:0.1,d:0.4):0.2);"))


def example_family(examples, size):
    path = examples / "families.sto"
    return next(f for f in read_families(path) if len(f) >= size)


# --- reconstruction of ancestors


def brute_force(tree, states, transition, frequencies, rates):
    """Posteriors by summing over every assignment of the inner nodes, column by column."""
    k = len(frequencies)
    tips = tree.tips().tolist()
    inner = [node for node in range(len(tree)) if node not in tips]
    posterior = np.zeros((len(tree), states.shape[1], k))
    likelihood = np.zeros(states.shape[1])
    for column in range(states.shape[1]):
        for rate in rates:
            matrices = transition(rate * tree.length)
            open_tips = [t for row, t in enumerate(tips) if states[row, column] >= k]
            free = inner + open_tips
            known = {t: states[row, column] for row, t in enumerate(tips) if states[row, column] < k}
            for assignment in itertools.product(range(k), repeat=len(free)):
                at = {**known, **dict(zip(free, assignment, strict=True))}
                p = frequencies[at[0]]
                for node in range(1, len(tree)):
                    p *= matrices[node][at[tree.parent[node]], at[node]]
                likelihood[column] += p / len(rates)
                for node, state in at.items():
                    posterior[node, column, state] += p / len(rates)
    return posterior / likelihood[:, None], np.log(likelihood)


def small_model(seed, k=4):
    rng = np.random.default_rng(seed)
    pi = rng.dirichlet(np.ones(k) * 5)
    s = rng.random((k, k)) + 0.1
    q = (s + s.T) * pi
    np.fill_diagonal(q, 0)
    np.fill_diagonal(q, -q.sum(axis=1))
    from scipy.linalg import expm

    return lambda times: np.stack([expm(q * t) for t in np.ravel(times)]), pi


@pytest.mark.parametrize(
    "newick", ["((a:0.1,b:0.2):0.3,(c:0.1,d:0.4):0.2);", "(a:0.3,b:0,(c:1.2,d:0.2,e:0.1):0.4);", "(a:0.5,b:1);"]
)
def test_posteriors_are_those_of_summing_over_all_ancestors(newick):
    tree = parse(newick)
    transition, pi = small_model(3)
    rng = np.random.default_rng(1)
    states = rng.integers(0, 5, (len(tree.tips()), 6)).astype(np.uint8)  # 4 is missing
    rates = np.array([0.2, 1.8])
    found, log = marginal_posteriors(tree, states, transition, pi, rates)
    expected, expected_log = brute_force(tree, states, transition, pi, rates)
    np.testing.assert_allclose(log, expected_log, atol=1e-10)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_column_likelihoods_agree_with_the_tree_rooms():
    from phylocli.tree.likelihood import log_likelihood

    rng = np.random.default_rng(4)
    family = toy()
    rows = ["".join(rng.choice(list(AMINO_ACIDS + "-"), 40)) for _ in range(4)]
    model, rates = substitution_model("lg"), discrete_gamma(0.7)
    states = encode_states(rows)
    _, log = marginal_posteriors(family.require_tree(), states, model.transition, model.frequencies, rates)
    assert log.sum() == pytest.approx(log_likelihood(family.require_tree(), list("abcd"), states, alpha=0.7), abs=1e-6)


def test_many_columns_in_blocks_are_the_same_as_at_once(monkeypatch):
    transition, pi = small_model(5)
    tree = parse("((a:0.1,b:0.2):0.3,(c:0.1,d:0.4):0.2);")
    states = np.random.default_rng(0).integers(0, 4, (4, 50)).astype(np.uint8)
    whole, _ = marginal_posteriors(tree, states, transition, pi, np.ones(1))
    monkeypatch.setattr("phylocli.views.base.ancestral_states._BYTES", 1000)
    parts, _ = marginal_posteriors(tree, states, transition, pi, np.ones(1))
    np.testing.assert_array_equal(whole, parts)


def test_a_deep_ladder_does_not_underflow():
    n = 400
    newick = "(" * (n - 1) + "t0:0.05" + "".join(f",t{k}:0.05):0.05" for k in range(1, n)) + ";"
    transition, pi = small_model(6)
    posterior, log = marginal_posteriors(
        parse(newick), np.random.default_rng(0).integers(0, 4, (n, 3)).astype(np.uint8), transition, pi, np.ones(2)
    )
    assert np.isfinite(log).all() and (log < -100).all()
    np.testing.assert_allclose(posterior.sum(axis=2), 1, atol=1e-5)


def slow_lineages(tree, lo, hi):
    depth = tree.root_distances()
    found = []
    for k, tip in enumerate(tree.tips().tolist()):
        node = int(tree.parent[tip])
        while node >= 0:
            if lo <= depth[tip] - depth[node] <= hi:
                found.append((node, k))
            node = int(tree.parent[node])
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 30), st.integers(0, 10_000), st.sampled_from([0.0, 0.25, 0.5]), st.sampled_from([0.5, 1.0, math.inf]))
def test_every_ancestor_in_the_band_is_numbered_once(n, seed, lo, hi):
    rng = np.random.default_rng(seed)
    nodes = [f"t{k}" for k in range(n)]
    while len(nodes) > 1:
        a, b = (nodes.pop(int(rng.integers(len(nodes)))) for _ in range(2))
        nodes.append(f"({a}:{rng.integers(0, 4) / 8},{b}:{rng.integers(0, 4) / 8})")
    tree = parse(nodes[0] + ";")
    lineages = ancestor.Lineages(tree, lo, hi)
    expected = slow_lineages(tree, lo, hi)
    assert lineages.total == len(expected)
    node, tip, path = lineages.unrank(np.arange(lineages.total))
    assert sorted(zip(node.tolist(), tip.tolist(), strict=True)) == sorted(expected)
    assert ((path >= lo) & (path <= hi)).all()


def test_the_ancestor_of_equal_members_is_what_they_are():
    rows = ["MKVLW-GI"] * 4
    family = Family(list("abcd"), rows, accession="PF", tree=toy().tree, column_features={"RF": "x" * 8})
    for tokens in ancestor.make().reconstruct(family).values():
        assert decode_tokens(tokens) == "MKVLWGI"


def test_ancestor_pairs_have_the_stated_distance():
    prepared = views.build("ancestor", {"ancestor": {"min_dist": 0.2, "max_dist": 0.5}}).prepare(toy())
    a, b, distance = prepared.draw(200, np.random.default_rng(0))
    assert sorted({round(d, 9) for d in distance.tolist()}) == [0.2, 0.3, 0.4, 0.5]
    members = {s.residues for s in toy().sequences()}
    assert all(decode_tokens(x) in members or decode_tokens(y) in members for x, y in zip(a, b, strict=True))
    with pytest.raises(EmptyBandError, match="PF1"):
        views.build("ancestor", {"ancestor": {"min_dist": 3}}).prepare(toy())


# --- simulated evolution


def test_simulated_branches_follow_lg_gamma():
    view = simulated.make(alpha=0.5)
    rng = np.random.default_rng(0)
    expected = substitution_model("lg").gamma_transition(0.8, 0.5)
    for letter in "LWK":
        tokens = encode_tokens(letter * 100_000)
        counts = np.bincount(view.substitute(tokens, 0.8, rng) - FIRST_RESIDUE, minlength=20)
        probabilities = expected[AMINO_ACIDS.index(letter)]
        assert chisquare(counts, counts.sum() * probabilities / probabilities.sum()).pvalue > 1e-4


def test_indels_occur_at_their_rates():
    view = simulated.make(indel_rate=0.05)
    rng = np.random.default_rng(0)
    tokens = encode_tokens("A" * 400)
    changes = np.array([len(view.insert_and_delete(tokens, 1.0, rng)) - 400 for _ in range(2000)])
    # 20 events, half of them insertions: no drift, and a variance of events × mean square length.
    sizes = np.arange(1, 51)
    probabilities = sizes**-1.7 / (sizes**-1.7).sum()
    assert changes.mean() == pytest.approx(0, abs=4 * changes.std() / 2000**0.5)
    assert changes.var() == pytest.approx(20 * (probabilities * sizes**2).sum(), rel=0.15)
    assert len(view.insert_and_delete(encode_tokens("MK"), 1000.0, rng)) >= 1
    assert simulated.make(indel_rate=0).insert_and_delete(tokens, 5.0, rng).tolist() == tokens.tolist()


def test_simulated_distances_fill_the_band():
    prepared = views.build("simulated", {"simulated": {"min_dist": 0.2, "max_dist": 0.4}}).prepare(toy())
    _, _, distance = prepared.draw(500, np.random.default_rng(0))
    assert distance.min() >= 0.2 and distance.max() <= 0.4 and distance.std() > 0.05
    with pytest.raises(UsageError):
        simulated.make(max_dist=math.inf)
    with pytest.raises(UsageError):
        simulated.make(alpha=0)


def test_the_ml_distance_of_simulated_pairs_is_the_branch_length():
    from phylocli.tree.distances.matrix import distance_matrix

    rng = np.random.default_rng(0)
    view = simulated.make()
    start = np.searchsorted(np.cumsum(substitution_model("lg").frequencies), rng.random(30_000)).clip(max=19)
    end = view.substitute((start + FIRST_RESIDUE).astype(np.uint8), 0.9, rng) - FIRST_RESIDUE
    found = distance_matrix(np.stack([start, end]).astype(np.uint8), model="lg+g", alpha=1.0)
    assert found[0, 1] == pytest.approx(0.9, rel=0.05)


# --- profiles


def test_position_weights_are_henikoffs():
    # The example of Henikoff & Henikoff's scheme by hand: in column 1 of three kinds, in column 2 of one.
    states = encode_states(["AC", "AC", "DC", "E-"])
    expected = np.array([1 / 6 + 1 / 3, 1 / 6 + 1 / 3, 1 / 3 + 1 / 3, 1 / 3])
    np.testing.assert_allclose(pssm.position_weights(states), expected / expected.sum())


def test_pssm_draws_columns_at_their_frequencies():
    view = pssm.make(pseudocount=0.5)
    family = toy()
    probabilities = view.frequencies(family)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    a, b, distance = view.prepare(family).draw(6000, np.random.default_rng(0))
    assert np.isnan(distance).all()
    full = [x for x in a + b if len(x) == 12]
    second = np.bincount([x[1] - FIRST_RESIDUE for x in full], minlength=20)
    np.testing.assert_allclose(second / len(full), probabilities[1, :20], atol=0.02)
    assert len([x for x in a + b if len(x) == 11]) / 12_000 == pytest.approx(probabilities[9, 20], abs=0.02)


def test_hmm_emissions_look_like_the_family(examples):
    family = example_family(examples, 20)
    prepared = views.build("hmm-emission").prepare(family)
    a, b, distance = prepared.draw(10, np.random.default_rng(0))
    again, _, _ = prepared.draw(10, np.random.default_rng(0))
    assert [x.tolist() for x in a] == [x.tolist() for x in again]
    assert np.isnan(distance).all()
    assert len({decode_tokens(x) for x in a + b}) == 20
    import pyhmmer
    from pyhmmer import easel

    alphabet = easel.Alphabet.amino()
    sequences = [easel.TextSequence(name=f"{k}", sequence=decode_tokens(x)).digitize(alphabet) for k, x in enumerate(a + b)]
    hits = next(iter(pyhmmer.hmmsearch(prepared.hmm, easel.DigitalSequenceBlock(alphabet, sequences), cpus=1, E=1e-3)))
    assert len(hits) >= 18


@pytest.mark.parametrize("name", ["hmm-emission", "pssm", "ancestor"])
def test_views_of_columns_need_an_alignment(name):
    family = Family(["a", "b"], ["AC", "ACD"], accession="PF", aligned=False, tree=NewickTree("(a:1,b:1);"))
    with pytest.raises(BadInputError, match="not aligned"):
        views.build(name).prepare(family)


def test_family_without_match_columns_is_refused_before_sampling():
    family = Family(["a", "b", "c"], ["A--", "-C-", "--D"], accession="PF", tree=NewickTree("(a:1,b:1,c:1);"))
    with pytest.raises(BadInputError, match="no match column"):
        views.build("hmm-emission").prepare(family)


# --- parts of one sequence


def test_spans_are_within_their_sequence_and_near_each_other():
    tokens = np.arange(200, dtype=np.uint8)
    family = Family(["a"], ["A" * 200], accession="PF")
    prepared = spans.make(min_length=10, max_length=90).prepare(family)
    prepared.tokens = [tokens]
    a, b, distance = prepared.draw(3000, np.random.default_rng(0))
    assert (distance == 0).all()
    for x, y in zip(a, b, strict=True):
        assert 10 <= len(x) <= 90 and 10 <= len(y) <= 90
        assert (np.diff(x.astype(int)) == 1).all() and (np.diff(y.astype(int)) == 1).all()
        assert int(y[0]) <= int(x[-1]) + 1 and int(y[-1]) >= int(x[0]) - 1
    assert np.mean([len(x) for x in a]) == pytest.approx(10 + 80 * 4 / 6, abs=1.5)
    assert np.mean([len(y) for y in b]) == pytest.approx(10 + 80 * 2 / 6, abs=1.5)
    short, _, _ = spans.make().prepare(toy()).draw(20, np.random.default_rng(0))
    assert all(1 <= len(x) <= 12 for x in short)
    with pytest.raises(UsageError):
        spans.make(min_length=20, max_length=10)


def test_multi_crop_matches_large_with_small_and_large():
    family = Family(["a"], ["ACDEFGHIKL" * 20], accession="PF")
    a, b, _ = (
        multi_crop.make(small=3, large_fraction=0.5, small_fraction=0.1).prepare(family).draw(4000, np.random.default_rng(0))
    )
    assert min(len(x) for x in a) >= 100
    assert np.mean([len(y) <= 100 for y in b]) == pytest.approx(0.75, abs=0.03)
    assert min(len(y) for y in b) >= 20
    with pytest.raises(UsageError):
        multi_crop.make(small=-1)


# --- looking


def test_settings_are_read_as_numbers_and_words():
    assert parse_settings(["min_dist=0.5", "max_dist=inf"], "phylogenetic") == {
        "phylogenetic": {"min_dist": 0.5, "max_dist": math.inf}
    }
    assert parse_settings(["substitution.matrix=blosum62"], "crop+substitution") == {"substitution": {"matrix": "blosum62"}}
    for text in ("min_dist", "crop.=1"):
        with pytest.raises(UsageError):
            parse_settings([text], "phylogenetic")


def test_all_views_of_multi_crop_are_two_large_crops_and_the_small_ones():
    sequence = np.arange(200, dtype=np.uint8)
    prepared = multi_crop.make(small=3, large_fraction=0.5, small_fraction=0.1, max_length=150).prepare(
        Family(["a"], ["A" * 200], accession="PF")
    )
    prepared.tokens = [sequence]
    drawn, distance = prepared.draw_all(500, np.random.default_rng(0))
    assert len(drawn) == 5 and (distance == 0).all()
    assert all(100 <= len(x) <= 150 for view in drawn[:2] for x in view)
    assert all(20 <= len(x) <= 100 for view in drawn[2:] for x in view)


def test_all_views_of_spans_are_an_anchor_and_its_positives():
    prepared = spans.make(min_length=10, max_length=90, positives=3).prepare(Family(["a"], ["A" * 200], accession="PF"))
    prepared.tokens = [np.arange(200, dtype=np.uint8)]
    (anchors, *positives), _ = prepared.draw_all(1000, np.random.default_rng(0))
    assert len(positives) == 3
    for others in positives:
        for x, y in zip(anchors, others, strict=True):
            assert int(y[0]) <= int(x[-1]) + 1 and int(y[-1]) >= int(x[0]) - 1
        assert np.mean([len(y) for y in others]) == pytest.approx(10 + 80 * 2 / 6, abs=2.5)
    assert any(p[0] != q[0] for p, q in zip(positives[0], positives[1], strict=True))


def test_the_phylogenetic_view_takes_orthologs_alone() -> None:
    newick = "((A_HUMAN:1,A_MOUSE:1):1,(B_HUMAN:1,B_MOUSE:1):1);"
    ids, rows = ["A_HUMAN", "A_MOUSE", "B_HUMAN", "B_MOUSE"], ["AAAA", "CCCC", "DDDD", "EEEE"]
    family = Family(ids, rows, accession="PF1", tree=NewickTree(newick))
    prepared = views.build("phylogenetic", {"phylogenetic": {"relation": "orthologs"}}).prepare(family)
    a, b, _ = prepared.draw(200, np.random.default_rng(0))
    letters = {frozenset((decode_tokens(x)[0], decode_tokens(y)[0])) for x, y in zip(a, b, strict=True)}
    assert letters == {frozenset("AC"), frozenset("DE")}


def grouped(aligned=True):
    """Three groups: two near-identical members, two more, and one alone."""
    rows = ["MKVLAAGIVGLCWYHHERRNDPQSTF--", "MKVLAAGIVGLCWYHHERRNDPQSTY--"]
    rows += ["--VLSAGLVGYCWYKKERRNEPQSTWMM", "--VLSAGLVGYCWYKKERRNEPQSTWMV", "MRILSPGLVGYW-YKKDRRNEPASTFMM"]
    marks = {name: [("SG", head)] for name, head in zip("abcde", "aacce", strict=True)}
    if not aligned:
        rows = [row.replace("-", "") for row in rows]
    return Family(list("abcde"), rows, accession="PF1", sequence_features=marks, aligned=aligned)


def whole_of(tokens, family):
    text = decode_tokens(tokens)
    return next(s.id for s in family.sequences() if text in s.residues)


def test_across_groups_samples_groups_equally_then_members():
    family = grouped()
    a, b, distance = views.build("across-groups").prepare(family).draw(3000, np.random.default_rng(0))
    group = dict(zip("abcde", "aacce", strict=True))
    pairs = [(whole_of(x, family), whole_of(y, family)) for x, y in zip(a, b, strict=True)]
    assert all(group[x] != group[y] for x, y in pairs)
    counts = collections.Counter(frozenset((group[x], group[y])) for x, y in pairs)
    assert len(counts) == 3 and max(counts.values()) - min(counts.values()) < 150  # a third each, 1000 ± 26
    assert np.isfinite(distance).all()


def test_across_groups_gives_kimuras_distance_of_the_aligned_positions():
    family = grouped()
    rows = dict(zip(family.ids, family.rows, strict=True))
    a, b, distance = views.build("across-groups").prepare(family).draw(50, np.random.default_rng(1))
    for x, y, d in zip(a, b, distance, strict=True):
        columns = [
            (p, q) for p, q in zip(rows[whole_of(x, family)], rows[whole_of(y, family)], strict=True) if "-" not in p + q
        ]
        p = sum(s != t for s, t in columns) / len(columns)
        assert d == pytest.approx(-math.log(1 - p - p * p / 5))


def test_across_groups_crops_share_a_homologous_position():
    family, columns = grouped(), {}
    for name, row in zip(family.ids, family.rows, strict=True):
        columns[name] = [k for k, letter in enumerate(row) if letter != "-"]
    view = views.build("across-groups", {"across-groups": {"min_fraction": 0.2, "max_length": 9}})
    a, b, _ = view.prepare(family).draw(300, np.random.default_rng(2))
    residues = {s.id: s.residues for s in family.sequences()}

    def placed(tokens):
        text, name = decode_tokens(tokens), whole_of(tokens, family)
        start = residues[name].index(text)
        return set(columns[name][start : start + len(text)])

    assert all(len(x) <= 9 and len(y) <= 9 for x, y in zip(a, b, strict=True))
    apart = [
        not placed(x) & placed(y) for x, y in zip(a, b, strict=True) if min(len(x), len(y)) > 5
    ]  # such words occur once
    assert len(apart) > 50
    # A crop that lies in columns that the partner lacks cannot overlap.
    assert np.mean(apart) < 0.03


def test_across_groups_without_alignment_or_groups():
    plain = grouped(aligned=False)
    _, _, distance = views.build("across-groups").prepare(plain).draw(20, np.random.default_rng(0))
    assert np.isnan(distance).all()
    family = grouped()
    family.sequence_features = {}
    a, b, _ = views.build("across-groups").prepare(family).draw(400, np.random.default_rng(0))
    pairs = {frozenset((whole_of(x, family), whole_of(y, family))) for x, y in zip(a, b, strict=True)}
    assert len(pairs) == 10  # every pair of members
    family.sequence_features = {name: [("SG", "a")] for name in family.ids}
    with pytest.raises(EmptyBandError, match="PF1: no pair across groups"):
        views.build("across-groups").prepare(family)


def test_groups_survive_compilation_and_subsets(tmp_path):
    from phylocli.formats import write_families
    from phylocli.train.data.compiled import open_compiled

    write_families([grouped()], tmp_path / "f.sto")
    compiled = open_compiled([tmp_path / "f.sto"], cache=False)
    family = compiled.family(0)
    assert family.group_codes().tolist() == grouped().group_codes().tolist() == [0, 0, 1, 1, 2]
    assert family.subset(["b", "c", "d"]).group_codes().tolist() == [0, 1, 1]
