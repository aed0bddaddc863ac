"""Families with trees: engines on simulated families, small and odd families, names, failures, processes."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phylocli.config.tree import TreeConfig
from phylocli.core.alphabet import AMINO_ACIDS
from phylocli.core.errors import BadInputError, MissingDependencyError, PhylocliError, UsageError
from phylocli.formats import read_families, stockholm
from phylocli.formats.failures import Failures
from phylocli.formats.family import Family
from phylocli.formats.tree import Tree, quote
from phylocli.simulate import random_tree, simulate_states
from phylocli.tree import infer
from phylocli.tree.choices import choose_engine
from phylocli.tree.engines import _external, iqtree, veryfasttree
from phylocli.tree.infer import attach_trees, infer_trees

VERYFASTTREE = pytest.param("veryfasttree", marks=pytest.mark.needs("veryfasttree"))
LETTERS = np.array(list(AMINO_ACIDS + "-"))
PAIR = ["MKVLAAGIVG", "MKVLSAGIVD"]


def as_family(states: np.ndarray, ids: list[str], **more: object) -> Family:
    return Family(ids, ["".join(row) for row in LETTERS[states]], **more)  # type: ignore[arg-type]


def simulated(n: int, columns: int, seed: int = 0) -> tuple[Family, Tree]:
    rng = np.random.default_rng(seed)
    tree = random_tree(n, rng)
    tree.length[1:] = np.maximum(tree.length[1:], 0.05)  # branches short of any substitution cannot be found
    return as_family(simulate_states(tree, columns, rng), tree.tip_names(), accession="SIM"), tree


def splits(tree: Tree) -> set[frozenset[str]]:
    below: list[set[str]] = [{name} if tip else set() for name, tip in zip(tree.names, tree.is_tip, strict=True)]
    for node in range(len(tree) - 1, 0, -1):
        below[tree.parent[node]] |= below[node]
    tips = below[0]
    first = min(tips)
    return {frozenset(tips - b if first in b else b) for b in below if 1 < len(b) < len(tips) - 1}


def distances(tree: Tree) -> dict[tuple[str, str], float]:
    """All distances between tips, from ete3, which shares no code with ours."""
    ete = tree.to_ete()
    leaves = sorted(ete.get_leaves(), key=lambda leaf: leaf.name)
    return {(a.name, b.name): ete.get_distance(a, b) for i, a in enumerate(leaves) for b in leaves[i + 1 :]}


def infer_one(family: Family, **options: object) -> Family:
    [done] = infer_trees([family], **options)  # type: ignore[arg-type]
    return done


@pytest.mark.parametrize("engine", ["bme", "nj", VERYFASTTREE])
def test_engines_find_the_true_tree_of_long_sequences(engine: str) -> None:
    family, truth = simulated(14, 3_000, seed=7)
    done = infer_one(family, engine=engine)
    found = done.require_tree()
    # FastTree's search is a heuristic: it may miss one branch even where the sequences leave no doubt.
    assert len(splits(found) ^ splits(truth)) <= (2 if engine == "veryfasttree" else 0)
    ours, true = distances(found), distances(truth)
    error = [np.log(ours[pair] / true[pair]) for pair in true]
    assert abs(np.mean(error)) < 0.05
    assert np.std(error) < 0.08
    assert "root midpoint" in done.notes[-1]


def test_every_engine_describes_its_method() -> None:
    family, _ = simulated(8, 200)
    bme = infer_one(family, engine="bme").notes[-1]
    assert bme.startswith("tree BME+NNI, scikit-bio ")
    assert "LG+Γ distances (α = " in bme
    assert "estimated" in bme
    assert "WAG+Γ distances (α = 0.5)" in infer_one(family, engine="nj", model="wag", alpha=0.5).notes[-1]
    assert "p-distances" in infer_one(family, engine="nj", model="p").notes[-1]
    assert "equal rates" in infer_one(family, engine="bme", alpha=np.inf).notes[-1]


@pytest.mark.parametrize(
    ("options", "alpha"),
    [
        ({"engine": "bme", "alpha": 0.6}, 0.6),
        ({"engine": "bme", "alpha": 0.6, "refine": False, "support": "abayes"}, 0.6),
        ({"engine": "nj", "alpha": np.inf, "refine": False}, np.inf),
        ({"engine": "bme", "nni": True, "alpha": 2.0}, 2.0),
        ({"engine": "bme", "model": "kimura"}, None),
        ({"engine": "nj", "model": "p", "alpha": 0.6}, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("n", [2, 3, 9])
def test_a_record_says_with_which_alpha_its_lengths_were_made(
    options: dict[str, object], alpha: float | None, n: int
) -> None:
    family, _ = simulated(n, 100, seed=3)
    assert infer_one(family, **options).tree_alpha == alpha


def test_a_record_says_the_alpha_that_was_estimated_or_fitted(tmp_path: Path) -> None:
    from phylocli.core.alphabet import encode_states
    from phylocli.tree.distances.alpha import estimate_alpha

    family, truth = simulated(9, 100, seed=3)
    assert infer_one(family).tree_alpha == pytest.approx(estimate_alpha(encode_states(family.rows)), rel=0.01)
    path = tmp_path / "tree.nwk"
    path.write_text(truth.to_newick())
    [taken] = attach_trees([family], path)
    assert taken.tree_alpha is None
    [fitted] = attach_trees([family], path, refine=True)
    assert f"(α = {fitted.tree_alpha:.3g}," in fitted.notes[-1]
    assert infer_one(Family(["a", "b"], ["MKV"] * 2)).tree_alpha is None


@pytest.mark.needs("veryfasttree")
def test_the_alpha_of_a_program_goes_into_the_record_and_into_what_follows() -> None:
    family, _ = simulated(9, 100, seed=3)
    plain = infer_one(family, engine="veryfasttree")
    assert f"(α = {plain.tree_alpha:g})" in plain.notes[-1]
    refined = infer_one(family, engine="veryfasttree", refine=True)
    assert refined.tree_alpha == plain.tree_alpha
    assert infer_one(family, engine="veryfasttree", refine=True, alpha=0.7).tree_alpha == 0.7


@pytest.mark.needs("veryfasttree")
@pytest.mark.parametrize("n", [5, 8, 12])
@pytest.mark.parametrize("columns", [100, 200, 400])
def test_few_nearly_identical_members_keep_their_distances_with_veryfasttree(n: int, columns: int) -> None:
    # Every member has one substitution of its own, two of them at the same site, which makes small values of α likely.
    rows = np.tile(np.random.default_rng(n).integers(0, 20, columns), (n, 1))
    for k, row in enumerate(rows):
        at = max(k, 1) * 7
        row[at] = (row[at] + 1 + k) % 20
    done = infer_one(as_family(rows, [f"m{k}" for k in range(n)]), engine="veryfasttree")
    assert np.mean(list(distances(done.require_tree()).values())) == pytest.approx(2 / columns, rel=0.25)


@pytest.mark.needs("veryfasttree")
def test_undetermined_length_scale_is_removed_and_noted() -> None:
    rows = [
        "MKVLAAGIVGLCAKEWTYNQ",
        "MKVLAAGIVGLCAKEWTYNX",
        "MKVLXXGIVGLCAKEWTYNQ",
        "MKVLAAGUVGLCAKEWTYBZ",
        "MKVLAAGIVGLCAKEWTY--",
    ]
    done = infer_one(Family(list("abcde"), rows), engine="veryfasttree")
    assert max(distances(done.require_tree()).values()) < 0.15  # one residue of twenty differs
    assert "not identifiable" in done.notes[-1]
    assert done.tree_alpha is None


def test_inferring_again_replaces_the_old_tree_and_note() -> None:
    family, _ = simulated(6, 200)
    twice = infer_one(infer_one(family, engine="bme"), engine="nj", root="none")
    assert len(twice.notes) == 1
    assert "neighbour joining" in twice.notes[0]


def test_the_same_input_gives_the_same_bytes() -> None:
    family, _ = simulated(30, 150)
    assert infer_one(family).tree.to_newick() == infer_one(family).tree.to_newick()


# --- small and odd families


def test_one_member_is_a_tree_of_one_tip() -> None:
    assert infer_one(Family(["a"], ["MKV"])).require_tree().tip_names() == ["a"]


def test_two_members_share_their_distance_once() -> None:
    done = infer_one(Family(["a", "b"], PAIR), alpha=1.0, min_overlap=1)
    from phylocli.core.alphabet import encode_states
    from phylocli.tree import distance_matrix

    expected = distance_matrix(encode_states(PAIR), alpha=1.0, min_overlap=1)[0, 1]
    assert expected > 0
    assert distances(done.require_tree())["a", "b"] == pytest.approx(expected)


def test_three_members_get_the_branches_of_their_distances() -> None:
    family, _ = simulated(3, 400)
    from phylocli.core.alphabet import encode_states
    from phylocli.tree import distance_matrix

    expected = distance_matrix(encode_states(family.rows), alpha=1.0)
    found = distances(infer_one(family, alpha=1.0).require_tree())
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert found[f"s{i}", f"s{j}"] == pytest.approx(expected[i, j], rel=1e-6)


@pytest.mark.parametrize("engine", ["bme", "nj", VERYFASTTREE])
def test_identical_members_are_at_distance_zero(engine: str) -> None:
    family, _ = simulated(6, 300)
    twins = Family([*family.ids, "x", "y"], [*family.rows, family.rows[0], family.rows[0]])
    found = distances(infer_one(twins, engine=engine).require_tree())
    assert found["s0", "x"] == found["s0", "y"] == found["x", "y"] == 0
    assert found["s1", "x"] == pytest.approx(found["s0", "s1"])


def test_a_family_of_identical_members_is_flat() -> None:
    done = infer_one(Family(["a", "b", "c", "d", "e"], ["MKVL"] * 5))
    assert set(distances(done.require_tree()).values()) == {0.0}
    assert "identical" in done.notes[-1]


def test_columns_without_a_residue_change_nothing() -> None:
    family, _ = simulated(6, 100)
    gappy = Family(family.ids, ["--" + row[:50] + "---" + row[50:] for row in family.rows])
    assert infer_one(gappy).tree.to_newick() == infer_one(family).tree.to_newick()


def test_a_member_without_a_residue_in_the_columns_is_left_out_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    family, _ = simulated(5, 60)
    done = infer_one(Family([*family.ids, "empty"], [*family.rows, "-" * 60]))
    assert done.ids == family.ids
    assert sorted(done.require_tree().tip_names()) == family.ids
    assert "excluded 1 of 6 members" in capsys.readouterr().err


def test_low_coverage_is_left_out_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    family, _ = simulated(5, 60)
    rows = [*family.rows[:4], family.rows[4][:20] + "-" * 40]
    assert len(infer_one(Family(family.ids, rows))) == 5
    done = infer_one(Family(family.ids, rows), min_coverage=0.5)
    assert done.ids == family.ids[:4]
    assert "coverage under 0.5" in capsys.readouterr().err


def test_fragments_without_common_columns_are_placed_through_others() -> None:
    family, _ = simulated(6, 200, seed=2)
    rows = list(family.rows)
    rows[0] = rows[0][:100] + "-" * 100
    rows[1] = "-" * 100 + rows[1][100:]
    for engine in ("bme", "nj"):
        done = infer_one(Family(family.ids, rows), engine=engine)
        assert "share too few columns" in done.notes[-1]
        assert np.isfinite(list(distances(done.require_tree()).values())).all()


def test_only_match_columns_are_used_unless_all_are_requested() -> None:
    rows = ["ACDEFGHIKLww", "ACDEFGHIKV..", "ACDEFGHIRVkk", "ACDEFGHVKVww"]
    by_match = infer_one(Family(list("abcd"), rows, column_features={"RF": "xxxxxxxxxx.."}), min_overlap=1)
    without = infer_one(Family(list("abcd"), [row[:10] for row in rows]), min_overlap=1)
    assert by_match.tree.to_newick() == without.tree.to_newick()
    everything = infer_one(Family(list("abcd"), rows), columns="all", min_overlap=1)
    assert everything.tree.to_newick() != without.tree.to_newick()


def test_no_branch_is_negative_or_missing() -> None:
    family, _ = simulated(40, 30)
    for engine in ("bme", "nj"):
        length = infer_one(family, engine=engine, root="none").require_tree().length
        assert (length >= 0).all()


def test_all_x_is_an_error_that_names_the_family() -> None:
    with pytest.raises(BadInputError, match="PF1: no member has a residue"):
        infer_one(Family(["a", "b"], ["XXXX", "XXXX"], accession="PF1"))


def test_unaligned_rows_are_an_error_and_equal_lengths_are_taken_as_aligned() -> None:
    with pytest.raises(BadInputError, match="not aligned"):
        infer_one(Family(["a", "b"], ["MKV", "MK"], aligned=False))
    assert infer_one(Family(["a", "b"], ["MKV", "MKA"], aligned=False), min_overlap=1).tree.to_newick()


def test_letters_that_are_no_residues_are_named() -> None:
    with pytest.raises(BadInputError, match="position 2"):
        infer_one(Family(["a", "b"], ["M1V", "MKV"]))


# --- names


def hostile_names(n: int) -> list[str]:
    rng = random.Random(11)
    marks = "()[]{}:;,'\"/\\|=#@!?*&^%$<>~`+-._ä中€0123456789abcXYZ"
    names = {"", *("".join(rng.choices(marks, k=rng.randint(1, 30))) for _ in range(2 * n))}
    names |= {"0", "1", "t1", "tree", "x" * 10_000, "''", "a'b", "(a,b);", "e-5", "NaN"}
    # A Stockholm line that starts with # or // is no row, whatever follows.
    return sorted(name for name in names if name and not name.startswith(("#", "//")))[-n:]


@pytest.mark.parametrize("engine", ["bme", "nj", VERYFASTTREE])
def test_hostile_names_are_preserved_by_engines_and_files(engine: str, tmp_path: Path) -> None:
    names = hostile_names(1000)
    assert len(names) == 1000
    rng = np.random.default_rng(0)
    if engine != "bme":  # the same code for every name; a smaller tree is enough
        names = names[::20]
    states = simulate_states(random_tree(len(names), rng), 40, rng)
    done = infer_one(as_family(states, names, accession="PF1"), engine=engine)
    assert sorted(done.require_tree().tip_names()) == sorted(names)
    path = tmp_path / "trees.sto"
    with path.open("w", encoding="utf-8") as stream:
        stockholm.write_family(done, stream)
    [again] = read_families(path)
    assert again.ids == names
    assert distances_close(again.require_tree(), done.require_tree(), names[:20])


def distances_close(first: Tree, second: Tree, names: list[str]) -> bool:
    a, b = distances(first.prune(names)), distances(second.prune(names))
    return a.keys() == b.keys() and all(abs(a[k] - b[k]) < 1e-6 for k in a)


# --- engines and their rule


def test_auto_is_bme_for_small_families_and_veryfasttree_above(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TreeConfig()
    monkeypatch.setattr(veryfasttree, "program", lambda: "/somewhere/VeryFastTree")
    assert choose_engine(2_000, config) == "bme"
    assert choose_engine(2_001, config) == "veryfasttree"
    assert choose_engine(2_001, TreeConfig(model="kimura")) == "bme"
    monkeypatch.setattr(veryfasttree, "program", lambda: None)
    assert choose_engine(2_001, config) == "bme"


def test_the_engine_that_auto_takes_is_announced_for_a_large_family_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(infer, "automatic_engines", lambda: [(10.0, "bme"), (float("inf"), "veryfasttree")])
    monkeypatch.setattr(infer, "choose_engine", lambda size, _: "bme" if size <= 10 else "veryfasttree")
    families = [Family([str(i) for i in range(n)], ["MKV"] * n, name=f"of {n}") for n in (4, 12, 13)]
    assert list(infer._announcing_engine(families, TreeConfig())) == families
    assert capsys.readouterr().err == "of 12 has 12 members; engine veryfasttree above 10 distinct sequences\n"


def test_a_missing_program_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(veryfasttree, "program", lambda: None)
    family, _ = simulated(5, 50)
    with pytest.raises(MissingDependencyError, match=r"pip install '\.\[trees\]'"):
        infer_one(family, engine="veryfasttree")


def test_a_matrix_that_would_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infer, "MATRIX_UP_TO", 5)
    family, _ = simulated(6, 50)
    with pytest.raises(UsageError, match="too many for the engine bme"):
        infer_one(family, engine="bme")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "fasttre"}, "unknown tree engine"),
        ({"engine": "veryfasttree", "model": "kimura"}, "has no model"),
        ({"model": "blosum"}, "unknown distance or model"),
        ({"root": "top"}, "root must be midpoint, minvar or none, not 'top'"),
        ({"columns": "some"}, "columns must be match or all"),
        ({"alpha": 0.0}, "alpha must be above 0"),
        ({"min_coverage": 2.0}, "min_coverage must be at most 1"),
        ({"timeout": 0.0}, "timeout must be above 0"),
        ({"nni": True, "refine": False}, "nni needs the likelihood"),
        ({"nni": True, "model": "p"}, "nni needs a likelihood"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        infer_one(Family(["a"], ["MKV"]), **options)


def test_a_program_that_runs_too_long_is_stopped_with_its_children(tmp_path: Path) -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    with pytest.raises(PhylocliError, match=r"stopped after 0\.5 s"):
        _external.run(sys.executable, ["-c", script], folder=tmp_path, timeout=0.5)


def test_a_program_that_fails_says_its_last_words(tmp_path: Path) -> None:
    script = "import sys; print('no memory for this', file=sys.stderr); sys.exit(3)"
    with pytest.raises(PhylocliError, match="status 3") as caught:
        _external.run(sys.executable, ["-c", script], folder=tmp_path, timeout=10)
    assert "no memory for this" in str(caught.value)


@pytest.mark.parametrize("engine", ["bme", "nj"])
def test_single_precision_of_large_families_gives_the_same_tree(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    family, _ = simulated(30, 150, seed=4)
    double = infer_one(family, engine=engine, refine=False).require_tree()
    monkeypatch.setattr("phylocli.tree.settings.SINGLE_ABOVE", 10)
    single = infer_one(family, engine=engine, refine=False).require_tree()
    assert splits(single) == splits(double)
    expected = distances(double)
    assert all(found == pytest.approx(expected[pair], abs=1e-5) for pair, found in distances(single).items())


@pytest.mark.parametrize("engine", ["bme", "nj", VERYFASTTREE])
def test_every_engine_respects_the_timeout_and_other_families_continue(engine: str) -> None:
    small, large = simulated(3, 30)[0], simulated(2000, 200)[0]
    failures = Failures()
    done = list(infer_trees([small, large, small], engine=engine, timeout=1, failures=failures))
    assert len(done) == 2
    assert [str(item.error) for item in failures.items] == [f"{large.label}: stopped after 1 s\nfix: raise --timeout"]


# --- many families


def three() -> Iterator[Family]:
    for k in range(3):
        family, _ = simulated(5, 80, seed=k)
        family.accession = f"PF{k}"
        if k == 1:
            family.aligned, family.rows[2] = False, "X" + family.rows[2][:-3]
        yield family


def test_one_bad_family_stops_only_itself() -> None:
    failures = Failures()
    done = list(infer_trees(three(), failures=failures))
    assert [f.accession for f in done] == ["PF0", "PF2"]
    assert [item.family for item in failures.items] == ["PF1"]
    with pytest.raises(BadInputError, match="1 of 3 families"):
        failures.raise_if_any()
    with pytest.raises(PhylocliError):
        list(infer_trees(three()))


def test_results_do_not_depend_on_processes_or_the_order_of_members() -> None:
    one, two = Failures(), Failures()
    alone = list(infer_trees(three(), failures=one))
    turned = (replace(family, ids=family.ids[::-1], rows=family.rows[::-1]) for family in three())
    together = list(infer_trees(turned, failures=two, jobs=2))
    assert [(f.accession, f.tree.to_newick(), f.notes) for f in alone] == [
        (f.accession, f.tree.to_newick(), f.notes) for f in together
    ]
    assert [str(i.error) for i in one.items] == [str(i.error) for i in two.items]


# --- trees from elsewhere


def test_a_tree_from_a_file_is_checked_and_attached(tmp_path: Path) -> None:
    family, truth = simulated(6, 50)
    path = tmp_path / "mine.nwk"
    path.write_text(truth.to_newick() + "\n")
    [done] = attach_trees([family], path)
    assert distances_close(done.require_tree(), truth, family.ids)
    assert "mine.nwk" in done.notes[-1]


def test_trees_in_a_file_go_to_families_in_order(tmp_path: Path) -> None:
    path = tmp_path / "two.nwk"
    path.write_text("(a:1,'b;c':2);\n(x:1,y:1,z:3);")
    families = [Family(["a", "b;c"], PAIR), Family(["x", "y", "z"], [*PAIR, PAIR[0]])]
    assert [sorted(f.require_tree().tip_names()) for f in attach_trees(families, path)] == [["a", "b;c"], ["x", "y", "z"]]
    with pytest.raises(BadInputError, match="2 trees for 1 family"):
        list(attach_trees(families[:1], path))
    with pytest.raises(BadInputError, match="more families"):
        list(attach_trees([*families, families[0]], path))


@pytest.mark.parametrize(
    ("newick", "message"),
    [
        ("(a:1,c:1);", "do not match"),
        ("(a:1,b);", "1 branches have no length, first that above 'b'"),
        ("(a:inf,b:1);", "'inf' is not a branch length above 'a'"),
        ("#NEXUS\nbegin trees;\n tree t = (a:1,c:1);\nend;", "do not match"),
        ("(a:1,b'c:1);", "an apostrophe within a name that is not quoted at character 7"),
        ("(a:1,b:1", "missing"),
        ("(a:1,b:1,b:1);", "twice"),
    ],
)
def test_a_tree_that_does_not_fit_is_an_error(newick: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "tree.nwk"
    path.write_text(newick)
    with pytest.raises(BadInputError, match=message):
        list(attach_trees([Family(["a", "b"], PAIR)], path))


@pytest.mark.parametrize("name", ["MéA", "a'b", "x"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_a_tree_file_is_read_in_any_encoding_that_sequences_are(name: str, encoding: str, ends: str, tmp_path: Path) -> None:
    path = tmp_path / "tree.nwk"
    path.write_bytes(f"({quote(name)}:0.1,{ends} b:0.2);{ends}".encode(encoding))
    [done] = attach_trees([Family([name, "b"], PAIR)], path, root="none")
    assert done.require_tree().tip_names() == [name, "b"]


def test_an_outgroup_roots_the_families_that_have_it() -> None:
    family, _ = simulated(6, 200)
    other, _ = simulated(5, 200)
    other.ids = [f"o{i}" for i in range(5)]
    first, second = infer_trees([family, other], outgroup=["s3"])
    tree = first.require_tree()
    assert any(tree.names[child] == "s3" for child in tree.children()[0])
    assert sorted(second.require_tree().tip_names()) == other.ids


# --- IQ-TREE, where it is installed; else a stand-in that writes what it writes


@pytest.mark.slow
@pytest.mark.needs("iqtree")
def test_iqtree_finds_the_tree_and_chooses_models() -> None:
    family, truth = simulated(8, 600, seed=7)
    done = infer_one(family, engine="iqtree")
    assert len(splits(done.require_tree()) ^ splits(truth)) <= 2
    assert "LG+G4" in done.notes[-1]
    assert "α = " in done.notes[-1]
    for name in ("auto", "mfp"):
        assert "IQ-TREE" in infer_one(family, engine="iqtree", model=name).notes[-1]


@pytest.mark.needs("piqtree")
def test_piqtree_finds_what_iqtree_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family, truth = simulated(8, 600, seed=7)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = infer_one(family, engine="iqtree")
    assert len(splits(done.require_tree()) ^ splits(truth)) <= 2
    assert "by piqtree, LG+G4 (α = " in done.notes[-1]
    short, _ = simulated(5, 100, seed=7)
    assert "by piqtree" in infer_one(short, engine="iqtree", model="auto").notes[-1]


def test_iqtree_output_is_read_and_missing_output_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family, _ = simulated(4, 50)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(iqtree, "packaged", lambda: False)
    with pytest.raises(MissingDependencyError, match="not on PATH"):
        infer_one(family, engine="iqtree")
    program = tmp_path / "iqtree2"
    program.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, sys\n"
        "assert sys.argv[1:5] == ['-s', 'alignment.fasta', '-m', 'WAG+G4'], sys.argv\n"
        "assert pathlib.Path('alignment.fasta').read_text().startswith('>t0\\n')\n"
        "pathlib.Path('alignment.fasta.treefile').write_text('(t0:1,t1:2,(t2:3,t3:4):5);\\n')\n"
        "pathlib.Path('alignment.fasta.iqtree').write_text('IQ-TREE 2.0.7 built\\n"
        "Model of substitution: WAG+G4\\nGamma shape alpha: 0.913\\n')\n".replace("built\n", "built\\n")
    )
    program.chmod(0o755)
    done = infer_one(family, engine="iqtree", model="wag")
    assert distances(done.require_tree())["s0", "s3"] == pytest.approx(10)
    assert "IQ-TREE 2.0.7, WAG+G4 (α = 0.913)" in done.notes[-1]
    assert done.tree_alpha == 0.913


def test_models_of_one_engine_are_not_those_of_another() -> None:
    family, _ = simulated(4, 50)
    with pytest.raises(UsageError, match="unknown distance or model"):
        infer_one(family, engine="bme", model="mfp")
