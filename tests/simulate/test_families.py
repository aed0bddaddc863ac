"""Simulated sequences against closed forms: P(t), site rates, equilibrium, indels, and the true alignment."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import chisquare, gamma

from phylocli.config.simulate import SimulateConfig
from phylocli.core.alphabet import AMINO_ACIDS, encode_states
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import stockholm
from phylocli.formats.newick import Tree, parse
from phylocli.simulate import (
    IndelModel,
    Motifs,
    RateModel,
    Settings,
    Substitutions,
    TreeModel,
    simulate,
    simulate_states,
)
from phylocli.simulate.families import rate_digits
from phylocli.simulate.indels import History
from phylocli.simulate.settings import parse_distribution, read_frequencies, read_trees
from phylocli.tree.distances.matrix import distance_matrix
from phylocli.tree.models import substitution_model

NO_INDELS = IndelModel(0, 0)


def fits(counts: np.ndarray, expected_frequencies: np.ndarray) -> bool:
    """Whether counts follow a distribution, rare outcomes taken together."""
    expected = counts.sum() * expected_frequencies / expected_frequencies.sum()
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    if expected[-1] < 1:
        assert counts[-1] < 10
        counts, expected = counts[:-1], expected[:-1] * counts[:-1].sum() / expected[:-1].sum()
    return chisquare(counts, expected).pvalue > 1e-4


# --- substitutions


@pytest.mark.parametrize("name", ["lg", "wag", "jtt", "poisson"])
@pytest.mark.parametrize("time", [0.05, 0.8, 4.0])
def test_sites_change_as_p_of_t_says(name: str, time: float) -> None:
    rng = np.random.default_rng(0)
    model = substitution_model(name)
    for start in (0, 8, 18):
        states = np.full(30_000, start, dtype=np.uint8)
        found = Substitutions(model).evolve(states, np.full(30_000, time), rng)
        assert fits(np.bincount(found, minlength=20), model.transition(time)[start])


def test_very_long_times_end_in_equilibrium() -> None:
    model = substitution_model("lg")
    process = Substitutions(model)
    found = process.evolve(np.full(30_000, 18, dtype=np.uint8), np.full(30_000, 1e9), np.random.default_rng(1))
    assert fits(np.bincount(found, minlength=20), model.frequencies)
    for name in ("lg", "wag", "jtt", "poisson"):  # where jumps are cut, what is left of the start is beyond rounding
        model = substitution_model(name)
        assert np.exp(1000 / Substitutions(model).jump_rate * model.eigenvalues[-2]) < 1e-50


def test_pairs_of_tips_follow_p_of_their_patristic_distance() -> None:
    tree = parse("(((a:0.1,b:0.3):0.2,c:0.7):0.1,d:0.5);")
    model = substitution_model("lg")
    states = simulate_states(tree, 150_000, np.random.default_rng(2), alpha=0.6)
    distance = {(0, 1): 0.4, (0, 2): 1.0, (1, 3): 1.1, (2, 3): 1.3}
    for (i, j), time in distance.items():
        joint = model.frequencies[:, None] * model.gamma_transition(time, 0.6)
        counts = np.bincount(states[i].astype(int) * 20 + states[j], minlength=400)
        assert fits(counts, joint.ravel())


def test_three_tips_at_once_follow_the_tree() -> None:
    # The probability of a whole site pattern, not of pairs alone: a star of three on two classes of amino acids.
    tree = parse("(a:0.3,b:0.6,c:0.9);")
    model = substitution_model("wag")
    states = simulate_states(tree, 100_000, np.random.default_rng(3), model="wag", alpha=math.inf)
    group = np.array([c in "ILVMFWYCA" for c in AMINO_ACIDS], dtype=int)
    expected_frequencies = np.zeros((2, 2, 2))
    matrices = [model.transition(t) @ np.eye(2)[group] for t in (0.3, 0.6, 0.9)]
    expected_frequencies = np.einsum("x,xi,xj,xk->ijk", model.frequencies, *matrices)
    counts = np.bincount(group[states[0]] * 4 + group[states[1]] * 2 + group[states[2]], minlength=8)
    assert fits(counts, expected_frequencies.ravel())


def test_site_patterns_under_gamma_rates_and_invariant_sites_are_felsensteins() -> None:
    # Every pattern of five tips on two classes of amino acids, under LG + G4 + I: pruning with rates and P(t) computed here.
    alpha, invariant, columns = 0.6, 0.2, 400_000
    tree = parse("(((a:0.1,b:0.3):0.2,c:0.7):0.1,(d:0.5,e:0.2):0.3);")
    settings = Settings(TreeModel(given=(tree,)), (columns, columns), rates=RateModel(alpha, 4, invariant), indels=NO_INDELS)
    family = next(simulate(settings, seed=2)).family
    group = np.array([c in "ILVMFWYCA" for c in AMINO_ACIDS], dtype=int)
    rows = dict(zip(family.ids, group[encode_states(family.rows)], strict=True))
    counts = np.bincount(sum(rows[name] << k for k, name in enumerate("abcde")), minlength=32)

    model = substitution_model("lg")
    mass_below = gamma.cdf(gamma.ppf(np.arange(5) / 4, alpha), alpha + 1)  # Yang 1994: means of four equal parts
    rates = 4 * np.diff(mass_below) / (1 - invariant)
    one_class = np.eye(2)[:, group]  # the likelihood of each state at a tip of which the class is known

    def pattern_probability(classes: list[int], rate: float) -> float:
        a, b, c, d, e = (
            expm(model.rate_matrix * rate * time) @ one_class[k]
            for k, time in zip(classes, (0.1, 0.3, 0.7, 0.5, 0.2), strict=True)
        )
        inner = [expm(model.rate_matrix * rate * time) for time in (0.2, 0.1, 0.3)]
        return float(model.frequencies @ ((inner[1] @ ((inner[0] @ (a * b)) * c)) * (inner[2] @ (d * e))))

    expected_frequencies = np.zeros(32)
    for pattern in range(32):
        classes = [pattern >> k & 1 for k in range(5)]
        expected_frequencies[pattern] = (1 - invariant) * np.mean([pattern_probability(classes, rate) for rate in rates])
        if pattern in (0, 31):
            expected_frequencies[pattern] += invariant * model.frequencies @ one_class[classes[0]]
    assert expected_frequencies.sum() == pytest.approx(1)
    assert fits(counts, expected_frequencies)


def test_requested_frequencies_are_used() -> None:
    pi = np.arange(1.0, 21.0) / 210
    settings = Settings(TreeModel(tips=(2, 2), height=1.0), (60_000, 60_000), frequencies=tuple(pi), indels=NO_INDELS)
    found = next(simulate(settings))
    for row in encode_states(found.family.rows):
        assert fits(np.bincount(row, minlength=20), pi)


# --- rates and motifs


def test_moments_of_site_rates() -> None:
    rng = np.random.default_rng(4)
    rates = RateModel(alpha=0.8, invariant=0.3).draw(400_000, rng)
    assert rates.mean() == pytest.approx(1, rel=0.01)
    assert (rates == 0).mean() == pytest.approx(0.3, rel=0.02)
    assert rates.var() == pytest.approx((1 + 1 / 0.8) / 0.7 - 1, rel=0.03)
    classes, counts = np.unique(RateModel(alpha=0.5, categories=4).draw(40_000, rng), return_counts=True)
    assert len(classes) == 4 and classes.mean() == pytest.approx(1) and chisquare(counts).pvalue > 1e-4
    assert (RateModel(math.inf).draw(5, rng) == 1).all()


def test_motif_positions_are_uniform_and_never_overlap() -> None:
    rng = np.random.default_rng(5)
    motifs = Motifs(2, 3)
    seen = {}
    for _ in range(6000):
        placed = motifs.place(9, rng)
        assert (np.bincount(placed, minlength=3)[1:] == 3).all()
        key = (int(np.argmax(placed == 1)), int(np.argmax(placed == 2)))
        assert key[1] >= key[0] + 3
        seen[key] = seen.get(key, 0) + 1
    assert len(seen) == 10  # C(3 free + 2, 2)
    assert chisquare(list(seen.values())).pvalue > 1e-4
    with pytest.raises(UsageError):
        Motifs(3, 3).place(9, rng)


def test_motifs_are_conserved_whole_and_slow() -> None:
    settings = Settings(
        TreeModel(tips=(40, 40), mean_distance=1.5),
        (300, 300),
        rates=RateModel(math.inf),
        motifs=Motifs(4, 12, 0.1),
        indels=IndelModel(0.05, 0.05),
    )
    found = next(simulate(settings, seed=6))
    rows = np.array([list(row) for row in found.family.rows])
    for number in range(1, 5):
        columns = np.flatnonzero(found.motif == number)
        assert (np.diff(columns) == 1).all() and len(columns) == 12  # nothing inserted
        assert (rows[:, columns] != "-").all()  # nothing deleted
    assert np.mean(found.rates[found.ancestral]) <= 1.2
    assert found.rates[found.motif > 0].max() == pytest.approx(0.1 * found.rates[found.motif == 0].min())
    assert settings.motifs.speed(300) * (252 + 48 * 0.1) == pytest.approx(300)
    assert set(found.family.column_features["motif"]) == set(".ABCD")
    slow, fast = ((rows[0] != rows[-1])[(found.motif > 0) == flag].mean() for flag in (True, False))
    assert slow < fast / 2


def test_digits_of_rates() -> None:
    assert rate_digits(np.array([0, 1e-9, 0.05, 0.49, 0.5, 0.99, 1.0, 2.0, 7.9, 8.0, 500.0])) == "01145567899"


# --- insertions and deletions


def lengths_after(
    model: IndelModel, start: int, time: float, runs: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, list]:
    """Final lengths, original residues that are left, lengths of all insertions."""
    rng = np.random.default_rng(seed)
    final, kept, inserted = [], [], []
    for _ in range(runs):

        def insert(left: int, size: int) -> np.ndarray:
            inserted.append(size)
            return np.full(size, start)

        sites = model.evolve(np.arange(start), time, rng, insert)
        final.append(len(sites))
        kept.append(int((sites < start).sum()))
    return np.array(final), np.array(kept), inserted


@pytest.mark.parametrize(("insertion", "deletion"), [(0.05, 0.05), (0.08, 0.02), (0.0, 0.05)])
def test_lengths_and_survivors_follow_their_closed_forms(insertion: float, deletion: float) -> None:
    model = IndelModel(insertion, deletion, "geometric", 3.0)
    start, time = 120, 0.8
    final, kept, inserted = lengths_after(model, start, time, 3000)
    # dL/dt = λm(L + 1) − μmL, and each residue is deleted at the rate μm.
    gain, loss = insertion * model.mean, deletion * model.mean
    net = gain - loss
    expected = start + gain * time if net == 0 else (start + gain / net) * math.exp(net * time) - gain / net
    assert final.mean() == pytest.approx(expected, abs=4 * final.std() / 3000**0.5)
    assert kept.mean() == pytest.approx(start * math.exp(-loss * time), abs=4 * kept.std() / 3000**0.5)
    if insertion:
        assert fits(np.bincount(inserted, minlength=51)[1:], model.weights)


def test_distributions_of_indel_lengths() -> None:
    power = IndelModel(distribution="power", parameter=2.0, longest=10)
    np.testing.assert_allclose(power.weights[3] / power.weights[0], 1 / 16)
    assert IndelModel(distribution="geometric", parameter=2.5, longest=1000).mean == pytest.approx(2.5)
    for wrong in (
        {"distribution": "zipf"},
        {"insertion": -1.0},
        {"longest": 0},
        {"distribution": "geometric", "parameter": 0.5},
        {"parameter": math.nan},
    ):
        with pytest.raises(UsageError):
            IndelModel(**wrong)


def test_one_residue_always_stays() -> None:
    final, _, _ = lengths_after(IndelModel(0, 5.0), 5, 50.0, 50)
    assert (final == 1).all()


def test_the_alignment_keeps_every_sequence_in_order() -> None:
    tree = scaled_tree(30, 8)
    history = History(tree, 50, IndelModel(0.1, 0.1), np.zeros(50, dtype=np.int64), np.random.default_rng(9))
    place = {site: k for k, site in enumerate(history.order.tolist())}
    assert len(place) == len(history.order)
    for sites in history.sites:
        columns = [place[site] for site in sites.tolist()]
        assert columns == sorted(columns)
    assert set(place) == set(np.concatenate(history.sites).tolist())  # no column of gaps only
    assert [site for site in history.order if site < 50] == sorted(site for site in place if site < 50)


def scaled_tree(tips: int, seed: int) -> Tree:
    return TreeModel(tips=(tips, tips), mean_distance=1.0).draw(0, np.random.default_rng(seed))


def test_sequences_are_the_alignment_without_its_gaps() -> None:
    settings = Settings(TreeModel(tips=(25, 25), mean_distance=1.0), (80, 80), indels=IndelModel(0.05, 0.05))
    aligned = list(simulate(settings, 3, seed=10))
    plain = list(simulate(settings, 3, seed=10, aligned=False))
    for a, b in zip(aligned, plain, strict=True):
        assert [row.replace("-", "") for row in a.family.rows] == b.family.rows
        assert a.family.tree.to_newick() == b.family.tree.to_newick()
        assert {len(row) for row in a.family.rows} == {len(a.rates)}
        assert (~a.ancestral).sum() > 20
        assert all(any(row[c] != "-" for row in a.family.rows) for c in range(len(a.rates)))


def test_inserted_residues_evolve_like_all_others() -> None:
    # Two tips far below a long branch on which much was inserted: the inserted columns alone give their distance.
    tree = parse("(out:0.1,(a:0.3,b:0.4):0.5);")
    settings = Settings(
        TreeModel(given=(tree,)), (2000, 2000), rates=RateModel(math.inf), indels=IndelModel(1.0, 0.0, "geometric", 2.0)
    )
    found = next(simulate(settings, seed=11))
    assert found.family.ids == ["out", "a", "b"]
    rows = encode_states(["".join(r[c] for c in np.flatnonzero(~found.ancestral)) for r in found.family.rows])
    shared = (rows[1] < 20) & (rows[2] < 20)
    assert shared.sum() > 1500
    distance = distance_matrix(rows[1:, shared], model="lg", alpha=math.inf)[0, 1]
    assert distance == pytest.approx(0.7, rel=0.1)
    assert fits(np.bincount(rows[1][shared], minlength=20), substitution_model("lg").frequencies)


# --- families


def test_families_depend_on_seed_and_number_alone() -> None:
    settings = Settings(TreeModel(tips=(5, 20), mean_distance=1.0), (30, 60))
    five, two = list(simulate(settings, 5, seed=1)), list(simulate(settings, 2, seed=1))
    assert [f.family.rows for f in two] == [f.family.rows for f in five[:2]]
    assert len({len(f.family) for f in five}) > 1
    assert next(simulate(settings, seed=2)).family.rows != five[0].family.rows
    assert len({name for f in five for name in f.family.ids}) == sum(len(f.family) for f in five)


def test_records_are_read_by_us_and_by_easel(tmp_path) -> None:
    from pyhmmer.easel import MSAFile

    settings = Settings(TreeModel(tips=(12, 12), mean_distance=1.0), (50, 50), motifs=Motifs(1, 5))
    found = next(simulate(settings, seed=3)).family
    text = io.StringIO()
    stockholm.write_family(found, text)
    path = tmp_path / "a.sto"
    path.write_text(text.getvalue())
    back = next(stockholm.read(path))
    assert back.rows == found.rows and back.column_features == found.column_features
    assert back.require_tree().tip_names() == found.ids
    with MSAFile(str(path), format="stockholm") as file:
        assert len(file.read().sequences) == 12


def test_given_trees_are_used_in_turn(tmp_path) -> None:
    path = tmp_path / "two.nwk"
    path.write_text("(a:1,b:2);\n(c:1,('d; e'[x;y]:1,f:1):1);\n")
    trees = read_trees(path)
    assert [len(t.tip_names()) for t in trees] == [2, 3]
    settings = Settings(TreeModel(given=trees), (10, 10), indels=NO_INDELS)
    found = [f.family for f in simulate(settings, 3)]
    assert [f.ids[0] for f in found] == ["a", "c", "a"] and found[0].rows != found[2].rows
    assert found[0].tree.to_newick() == "(a:1,b:2);"
    stretched = replace(settings, tree=TreeModel(given=trees[:1], mean_distance=1.5))
    assert next(simulate(stretched)).family.tree.to_newick() == "(a:0.5,b:1);"


@pytest.mark.parametrize("text", ["", "(a:1,a:2);", "(a:1,b);", "(a:1,b:-2);", "a;", "((a:1,b:1);"])
def test_bad_trees_are_refused(text: str, tmp_path) -> None:
    path = tmp_path / "bad.nwk"
    path.write_text(text)
    with pytest.raises(BadInputError):
        read_trees(path)


def test_words_of_options() -> None:
    assert SimulateConfig.of(None, {"tips": "5"}).tips == SimulateConfig.of(None, {"tips": 5}).tips == (5, 5)
    assert SimulateConfig.of(None, {"tips": "5:9"}).tips == SimulateConfig.of(None, {"tips": [5, 9]}).tips == (5, 9)
    assert parse_distribution("geometric:2.5") == ("geometric", 2.5)
    assert read_frequencies("model") is None and read_frequencies("equal") == pytest.approx([0.05] * 20)
    wrong = [
        lambda: SimulateConfig.of(None, {"tips": "many"}),
        lambda: SimulateConfig.of(None, {"tips": 1}),
        lambda: SimulateConfig.of(None, {"length": "9:5"}),
        lambda: parse_distribution("power"),
        lambda: TreeModel(tips=(1, 1)),
        lambda: TreeModel("bush"),
        lambda: Settings(length=(0, 5)),
        lambda: Settings(model="dayhoff2"),
        lambda: RateModel(0),
        lambda: RateModel(invariant=1),
        lambda: Motifs(1, 0),
        lambda: Motifs(rate=2),
    ]
    for make in wrong:
        with pytest.raises(UsageError):
            make()


def test_frequencies_of_a_file(examples) -> None:
    found = read_frequencies(str(examples / "globins.fasta"))
    assert sum(found) == pytest.approx(1) and min(found) > 0
    assert found[AMINO_ACIDS.index("A")] > found[AMINO_ACIDS.index("C")]
