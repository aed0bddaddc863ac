import numpy as np
import pytest

from phylocli import views
from phylocli.core.alphabet import FIRST_RESIDUE, MASK, UNKNOWN, decode_tokens, encode_tokens
from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.plugins import VIEWS
from phylocli.formats.family import Family
from phylocli.formats.newick import NewickTree
from phylocli.pairs import EmptyBandError, PairSampler
from phylocli.views import crop, decoy, substitution


def family():
    rows = ["MKVLAAGIVGLC", "MKVLSAGIV-LC", "MRVLSAGLVGYC", "MRILSPGLVGYW"]
    return Family(["a", "b", "c", "d"], rows, accession="PF1", tree=NewickTree("((a:0.1,b:0.2):0.3,(c:0.1,d:0.4):0.2);"))


def test_pairs_of_members_come_with_their_patristic_distance():
    prepared = views.build("phylogenetic", {"phylogenetic": {"min_dist": 0.4, "max_dist": 0.8}}).prepare(family())
    a, b, distance = prepared.draw(400, np.random.default_rng(0))
    by_sequence = {s.residues: s.id for s in family().sequences()}
    tree = family().require_tree()
    names = tree.tip_names()
    ids = [(by_sequence[decode_tokens(x)], by_sequence[decode_tokens(y)]) for x, y in zip(a, b, strict=True)]
    expected = PairSampler(tree).distance([names.index(x) for x, _ in ids], [names.index(y) for _, y in ids])
    np.testing.assert_array_equal(distance, expected)
    assert ((distance >= 0.4) & (distance <= 0.8)).all()
    assert {frozenset(pair) for pair in ids} == {frozenset("ac"), frozenset("bc"), frozenset("cd")}
    assert {("a", "c"), ("c", "a")} <= set(ids)  # either member comes first


def test_band_may_be_relative_and_the_scheme_another():
    median = 0.75  # of 0.3, 0.5, 0.7, 0.8, 1.0, 1.1
    settings = {"min_dist": 0.9, "max_dist": 1.1, "unit": "relative", "scheme": "log-distance"}
    _, _, distance = (
        views.build("phylogenetic", {"phylogenetic": settings}).prepare(family()).draw(50, np.random.default_rng(0))
    )
    assert {round(d, 9) for d in distance.tolist()} == {0.7, 0.8}
    assert 0.9 * median < 0.7 and 1.1 * median > 0.8
    settings = {"max_dist": 0.6, "scheme": "per-sequence"}
    _, _, distance = (
        views.build("phylogenetic", {"phylogenetic": settings}).prepare(family()).draw(50, np.random.default_rng(0))
    )
    assert {round(d, 9) for d in distance.tolist()} == {0.3, 0.5}


def test_a_family_without_a_pair_in_the_band_is_an_error_of_its_own_kind():
    with pytest.raises(EmptyBandError, match="PF1"):
        views.build("phylogenetic", {"phylogenetic": {"min_dist": 5}}).prepare(family())


def test_a_family_without_a_tree_is_an_error():
    bare = Family(["a", "b"], ["MK", "MK"], accession="PF2")
    with pytest.raises(BadInputError, match="PF2 has no tree"):
        views.build("phylogenetic").prepare(bare)


def test_a_lone_transform_works_on_one_sequence_twice():
    a, b, distance = views.build("crop").prepare(family()).draw(50, np.random.default_rng(0))
    whole = [s.residues for s in family().sequences()]
    for x, y in zip(a, b, strict=True):
        assert any(decode_tokens(x) in w and decode_tokens(y) in w for w in whole)
    assert (distance == 0).all()
    assert len({len(x) for x in a}) > 3


def test_transforms_act_on_both_views_independently_and_add_their_distance():
    composed = views.build("phylogenetic+substitution", {"substitution": {"distance": 0.6}}).prepare(family())
    plain = views.build("phylogenetic").prepare(family())
    _, _, distance = composed.draw(5, np.random.default_rng(1))
    _, _, before = plain.draw(5, np.random.default_rng(1))
    np.testing.assert_allclose(distance, before + 0.6)
    a, b, _ = (
        views.build("substitution", {"substitution": {"distance": 2.0}}).prepare(family()).draw(5, np.random.default_rng(1))
    )
    assert any(x.tolist() != y.tolist() for x, y in zip(a, b, strict=True))


def test_sampling_does_not_change_the_family():
    prepared = views.build("phylogenetic+substitution+masking+crop").prepare(family())
    before = {s.residues for s in family().sequences()}
    prepared.draw(200, np.random.default_rng(0))
    plain, _, _ = views.build("identity").prepare(family()).draw(100, np.random.default_rng(0))
    assert {decode_tokens(x) for x in plain} == before


@pytest.mark.parametrize(
    ("spec", "parameters", "says"),
    [
        ("phylogenic", {}, "did you mean 'phylogenetic'"),
        ("crop+phylogenetic", {}, "phylogenetic+crop"),
        ("phylogenetic+identity", {}, "one source"),
        ("crop", {"masking": {}}, "which is not part of 'crop'"),
        ("crop", {"crop": {"share": 1}}, "known: min_fraction"),
        ("crop", {"crop": {"min_fraction": 1.5}}, "from 0 to 1"),
        ("crop", {"crop": {"min_fraction": "much"}}, "must be a number"),
        ("substitution", {"substitution": {"matrix": "pam"}}, "blosum62"),
        ("phylogenetic", {"phylogenetic": {"min_dist": 2, "max_dist": 1}}, "min_dist ≤ max_dist"),
        ("phylogenetic", {"phylogenetic": {"scheme": "per-family"}}, "one family at a time"),
        ("phylogenetic", {"phylogenetic": {"unit": "years"}}, "relative"),
    ],
)
def test_invalid_compositions_are_usage_errors(spec, parameters, says):
    with pytest.raises(UsageError) as caught:
        views.build(spec, parameters)
    assert says in str(caught.value)


def test_every_view_keeps_the_contract():
    tokens = encode_tokens("MKVLAXGIVGLCWYHHERRNDPQSTF")
    for name in VIEWS.names():
        module = VIEWS.load(name)
        assert module.KIND in ("source", "transform", "addition"), name
        assert VIEWS.summary(name)
        if module.KIND != "source":
            made = module.make()
            result = made(tokens, np.random.default_rng(0))
            again = made(tokens, np.random.default_rng(0))
            assert result.dtype == np.uint8 and len(result) >= 1
            assert result.tolist() == again.tolist(), name
            assert isinstance(float(made.expected_distance), float)
            assert len(made(tokens[:1], np.random.default_rng(0))) >= 1
    assert decode_tokens(tokens) == "MKVLAXGIVGLCWYHHERRNDPQSTF"


def test_crops_have_the_lengths_and_places_they_should():
    rng = np.random.default_rng(0)
    tokens = np.arange(100, dtype=np.uint8)
    view = crop.make(min_fraction=0.2, max_fraction=0.6)
    found = [view(tokens, rng) for _ in range(4000)]
    lengths = np.array([len(x) for x in found])
    assert (lengths.min(), lengths.max()) == (21, 60)
    assert lengths.mean() == pytest.approx(40.5, abs=1)
    assert all((np.diff(x.astype(int)) == 1).all() for x in found)
    assert min(x[0] for x in found) == 0 and max(x[-1] for x in found) == 99
    assert len(crop.make(min_fraction=0.1, max_fraction=0.1, min_length=30)(tokens, rng)) == 30
    assert len(crop.make(min_fraction=0.1, max_fraction=0.1, min_length=300)(tokens, rng)) == 100


def test_masking_hides_the_requested_fraction():
    tokens = encode_tokens("ACDEFGHIKL" * 1000)
    result = views.build("masking", {"masking": {"fraction": 0.3}}).transforms[0](tokens, np.random.default_rng(0))
    hidden = result == MASK
    assert hidden.mean() == pytest.approx(0.3, abs=0.02)
    assert (result[~hidden] == tokens[~hidden]).all()


@pytest.mark.parametrize("time", [0.05, 0.5, 3.0])
def test_uniform_substitution_follows_the_jukes_cantor_closed_form(time):
    view = substitution.make(distance=2 * time)
    tokens = encode_tokens("W" * 200_000)
    changed = view(tokens, np.random.default_rng(0))
    expected = 19 / 20 * (1 - np.exp(-20 / 19 * time))
    assert (changed != tokens).mean() == pytest.approx(expected, abs=0.005)
    counts = np.bincount(changed[changed != tokens] - FIRST_RESIDUE, minlength=20)
    assert counts.max() < 1.2 * counts[counts > 0].min() + 50


def test_blosum_substitution_prefers_what_blosum_scores_high_and_draws_its_own_transition():
    view = substitution.make(distance=1.0, matrix="blosum62")
    rng = np.random.default_rng(0)
    order = "ACDEFGHIKLMNPQRSTVWY"
    for letter in "ILWD":
        tokens = encode_tokens(letter * 100_000)
        counts = np.bincount(view(tokens, rng) - FIRST_RESIDUE, minlength=20) / 100_000
        np.testing.assert_allclose(counts, view.transition[order.index(letter)], atol=0.006)
    isoleucine = view.transition[order.index("I")]
    assert isoleucine[order.index("V")] > 5 * isoleucine[order.index("D")]
    np.testing.assert_allclose(view.transition.sum(axis=1), 1)


def test_substitution_at_distance_zero_changes_nothing_and_unknown_residues_stay():
    tokens = encode_tokens("MKXXVL" * 50)
    assert substitution.make(distance=0)(tokens, np.random.default_rng(0)).tolist() == tokens.tolist()
    far = substitution.make(distance=20)(tokens, np.random.default_rng(0))
    assert (far[tokens == UNKNOWN] == UNKNOWN).all()
    assert (far[tokens != UNKNOWN] != UNKNOWN).all()


def test_all_views_are_the_pair_and_what_the_additions_make_of_its_second():
    composed = views.build("phylogenetic+crop+decoy", {"crop": {"min_fraction": 0.6}})
    drawn, distance = views.draw_all(composed.prepare(family()), 50, np.random.default_rng(0))
    assert len(drawn) == 3 and len(distance) == 50
    assert all(sorted(x.tolist()) == sorted(y.tolist()) for x, y in zip(drawn[1], drawn[2], strict=True))
    assert any(x.tolist() != y.tolist() for x, y in zip(drawn[1], drawn[2], strict=True))
    plain = views.build("phylogenetic+crop", {"crop": {"min_fraction": 0.6}}).prepare(family())
    a, b, _ = plain.draw(50, np.random.default_rng(0))
    assert [x.tolist() for x in drawn[0]] == [x.tolist() for x in a]
    two, _ = views.draw_all(plain, 50, np.random.default_rng(0))
    assert [x.tolist() for x in two[1]] == [x.tolist() for x in b] and len(two) == 2


@pytest.mark.parametrize("window", [0, 2, 7, 50])
def test_a_decoy_moves_residues_within_windows_only(window):
    tokens = np.arange(100, dtype=np.uint8)
    rng = np.random.default_rng(0)
    shuffled = [decoy.make(window)(tokens, rng) for _ in range(200)]
    assert all(sorted(x.tolist()) == tokens.tolist() for x in shuffled)
    moved = np.abs(np.array(shuffled).astype(int) - tokens.astype(int))
    assert moved.max() == (window - 1 if window else 99) if window in (0, 2, 7) else moved.max() < 50
    assert (moved > 0).mean() > 0.4
    with pytest.raises(UsageError):
        decoy.make(1)


def test_every_view_says_the_distance_that_it_puts():
    for name in VIEWS.names():
        module = VIEWS.load(name)
        assert module.DISTANCE
        if module.KIND == "transform" and module.DISTANCE == "0":
            assert module.make().expected_distance == 0
        elif module.KIND == "transform":
            assert module.make(distance=0.7).expected_distance == 0.7
