import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phylocli.config.pairs import PairsConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import read_families
from phylocli.formats.family import Family
from phylocli.formats.newick import NewickTree
from phylocli.formats.tables import read_table
from phylocli.pairs import (
    EmptyBandError,
    PairSampler,
    Split,
    distributions,
    split_clades,
    split_family,
    write_split,
)
from phylocli.pairs.splits import check_fractions
from phylocli.statistics.shared_kmers import nearest_identity
from phylocli.tree import infer_trees


def make_family(accession, n, seed, *, clan="", twins=False):
    rng = np.random.default_rng(seed)
    ids = [f"{accession}_{k}" for k in range(n)]
    nodes = list(ids)
    while len(nodes) > 1:
        a, b = (nodes.pop(int(rng.integers(len(nodes)))) for _ in range(2))
        close = twins and "(" not in a + b
        lengths = (0.0, 0.0) if close else tuple(rng.exponential(0.3, 2))
        nodes.append(f"({a}:{lengths[0]:.6f},{b}:{lengths[1]:.6f})")
    return Family(ids, ["ACDE"] * n, accession=accession, clan=clan, tree=NewickTree(nodes[0] + ";"))


def nearest(family, held):
    """The smallest distance between a held-out member and one that is not."""
    tree = family.require_tree()
    names = tree.tip_names()
    sampler = PairSampler(tree)
    inside = [k for k, name in enumerate(names) if name in held]
    outside = [k for k, name in enumerate(names) if name not in held]
    return min(sampler.distance(np.full(len(outside), k), outside).min() for k in inside)


@pytest.mark.parametrize("seed", range(8))
def test_held_out_clades_have_the_requested_size_and_no_near_duplicate_outside(seed):
    family = make_family("PF1", 120, seed)
    held = split_clades(family, 0.2, seed)
    assert 20 <= len(held) <= 24
    rng = np.random.default_rng(seed)
    by_chance = [nearest(family, set(rng.choice(family.ids, len(held), replace=False))) for _ in range(20)]
    lengths = family.require_tree().length[1:]
    assert nearest(family, held) >= np.median(lengths) / 2
    assert nearest(family, held) > np.median(by_chance)


def test_identical_members_are_never_parted():
    for seed in range(10):
        family = make_family("PF1", 60, seed, twins=True)
        held = split_clades(family, 0.3, seed)
        assert held and nearest(family, held) > 0


def test_members_without_any_difference_cannot_be_split():
    family = Family(["a", "b", "c"], ["AC"] * 3, accession="PF", tree=NewickTree("(a:0,b:0,c:0);"))
    assert split_clades(family, 0.4, 0) == set()


def test_seed_determines_the_held_out_members():
    family = make_family("PF1", 80, 0)
    assert split_clades(family, 0.2, 3) == split_clades(family, 0.2, 3)
    assert len({frozenset(split_clades(family, 0.2, seed)) for seed in range(10)}) > 5


def test_the_side_away_from_the_root_and_the_one_towards_it_may_both_be_held_out():
    # One member on one side of the root, the rest on the other: only the root's side is small enough.
    family = Family(["a", "b", "c", "d"], ["AC"] * 4, accession="PF", tree=NewickTree("((b:0,c:0,d:0):1,a:1);"))
    assert split_clades(family, 0.25, 0) == {"a"}


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5])
def test_a_share_outside_0_to_1_is_refused(fraction):
    with pytest.raises(UsageError, match="held-out fraction must be"):
        split_clades(make_family("PF1", 5, 0), fraction, 0)


def test_clans_are_not_divided_and_family_fractions_are_close():
    shares = check_fractions((0.6, 0.2, 0.2))
    part_of = defaultdict(set)
    counts = Counter()
    for k in range(600):
        family = Family(["a"], ["AC"], accession=f"PF{k}", clan=f"CL{k % 200}" if k % 2 else "")
        (found,) = split_family(family, "clans", shares, 1)
        assert found[1] is family
        part_of[family.clan or family.accession].add(found[0])
        counts[found[0]] += 1
    assert all(len(parts) == 1 for parts in part_of.values())
    assert counts["train"] / 600 == pytest.approx(0.6, abs=0.08)
    assert counts["test"] / 600 == pytest.approx(0.2, abs=0.08)


def test_clades_are_divided_without_overlap_and_with_nothing_lost():
    family = make_family("PF1", 100, 4)
    parts = dict(split_family(family, "clades", (0.7, 0.2, 0.1), 5))
    assert sorted(parts) == ["test", "train", "validation"]
    assert Counter(i for part in parts.values() for i in part.ids) == Counter(family.ids)
    assert (8, 17) <= (len(parts["test"]), len(parts["validation"])) <= (10, 20)
    for part in parts.values():
        assert part.require_tree().tip_names() and set(part.require_tree().tip_names()) == set(part.ids)


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.5, 0.6, -0.1), (0, 0.5, 0.5), (0.5, 0.2, 0.2)])
def test_shares_that_do_not_sum_to_one_are_refused(fractions):
    with pytest.raises(UsageError):
        check_fractions(fractions)


def test_unknown_splits_are_refused():
    with pytest.raises(UsageError, match="families, clans, clades"):
        list(split_family(make_family("PF1", 5, 0), "clade", (0.8, 0.1, 0.1), 0))


def test_a_split_is_written_as_three_tables_and_their_listing(tmp_path):
    families = [make_family(f"PF{k}", 60, k, clan="CL1") for k in range(3)]
    written = write_split(
        families, tmp_path / "p.parquet", PairsConfig(number=500, seed=2, holdout="clades", fractions=(0.6, 0.2, 0.2))
    )
    listing = read_table(tmp_path / "p.split.tsv")
    part_of = dict(listing.select("id", "part").iter_rows())
    assert len(part_of) == 180
    assert written == {"train": 300, "validation": 100, "test": 100}
    for part in written:
        frame = read_table(tmp_path / f"p.{part}.parquet")
        assert {part_of[i] for column in ("id_a", "id_b") for i in frame[column]} == {part}
    record = json.loads((tmp_path / "p.test.parquet.provenance.json").read_text())
    assert record["parameters"]["holdout"] == "clades"


def test_a_split_without_any_pair_leaves_no_files(tmp_path):
    with pytest.raises(EmptyBandError):
        write_split([make_family("PF1", 9, 0)], tmp_path / "p.tsv", PairsConfig(min_dist=90, holdout="families"))
    assert list(tmp_path.iterdir()) == []


def test_standard_output_cannot_hold_a_split():
    with pytest.raises(UsageError, match="three tables"):
        write_split([], "-", PairsConfig(holdout="families"))


@pytest.mark.parametrize("n", [30, 600])
def test_distributions_count_every_pair_once(n):
    family = make_family("PF1", n, 6)
    (found,) = distributions([family], PairsConfig(min_dist=0.5, max_dist=2))
    sampler = PairSampler(family.require_tree())
    assert sum(found.counts) == found.pairs == n * (n - 1) // 2
    assert found.in_band == sampler.count(0.5, 2)
    assert found.mean_partners * found.members_in_band == pytest.approx(2 * found.in_band)
    i, j = np.triu_indices(n, 1)
    distance = sampler.distance(i, j)
    assert found.counts == np.histogram(distance, found.edges)[0].tolist()
    assert found.quantiles["0.5"] == pytest.approx(np.median(distance), rel=0.02)
    assert found.edges[-1] == pytest.approx(distance.max(), abs=1e-12)
    assert json.loads(json.dumps(found.as_json()))["family"] == "PF1"
    assert len(found.lines()) == 19
    inside = (distance >= 0.5) & (distance <= 2)
    meet = np.bincount(sampler.tree.ancestor(i[inside], j[inside]), minlength=sampler.tree.n_nodes)
    assert sampler.ancestor_counts(0.5, 2).tolist() == meet.tolist()
    assert found.top_ancestors == pytest.approx(np.sort(meet)[-10:].sum() / meet.sum())
    (relative,) = distributions([family], PairsConfig(unit="relative"))
    assert relative.quantiles["0.5"] == pytest.approx(1)


@pytest.mark.parametrize("name", ["split.parquet", "split.tsv", "split.csv.gz"])
def test_a_split_is_read_as_it_was_written(name, tmp_path):
    families = [make_family(f"PF{k}", 20, k) for k in range(3)]
    held = {family.label: split_clades(family, 0.3, 1) for family in families}
    split = Split.of((f, [("test", held[f.label]), ("train", set(f.ids) - held[f.label])]) for f in families)
    split.write(tmp_path / name)
    read = Split.read(tmp_path / name)
    assert read.digest() == split.digest()
    for family in families:
        assert read.ids(family.label, "test") == held[family.label]
        members = read.members(family, "train")
        assert members is not None and members.ids == [name for name in family.ids if name not in held[family.label]]
        assert read.members(family, "validation") is None
        assert read.part_of(family.label, family.ids[0]) == ("test" if family.ids[0] in held[family.label] else "train")
    assert read.part_of("PF9", "x") is None


def test_the_listing_of_a_written_split_is_a_split(tmp_path):
    families = [make_family(f"PF{k}", 30, k) for k in range(2)]
    write_split(families, tmp_path / "pairs.tsv", PairsConfig(number=50, holdout="clades", fractions=(0.6, 0.2, 0.2)))
    split = Split.read(tmp_path / "pairs.split.tsv")
    for family in families:
        parts = dict(split_family(family, "clades", (0.6, 0.2, 0.2), 0))
        assert all(split.ids(family.label, part) == set(members.ids) for part, members in parts.items())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("family\tid\tpart\nPF1\ta\tdev\n", "no part 'dev'"),
        ("family\tid\tpart\nPF1\ta\ttrain\nPF1\ta\ttest\n", "'a' of PF1 more than once"),
        ("family\tid\nPF1\ta\n", "lacks the column part"),
    ],
)
def test_a_table_that_is_no_split_is_refused(rows, message, tmp_path):
    (tmp_path / "split.tsv").write_text(rows)
    with pytest.raises(BadInputError, match=message):
        Split.read(tmp_path / "split.tsv")


@pytest.mark.parametrize("seed", range(5))
def test_near_duplicates_stay_together_wherever_the_tree_has_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    family = make_family("PF1", 24, seed)
    rows = rng.choice(letters, (24, 120))
    for k in range(0, 24, 2):  # members that are anywhere in the tree, and 95 % identical
        rows[k + 1] = rows[k]
        rows[k + 1, rng.choice(120, 6, replace=False)] = "W"
    alike = replace(family, rows=["".join(row) for row in rows])
    assert split_clades(family, 0.3, seed)  # by the tree alone they would be separated
    held = split_clades(alike, 0.3, seed)
    assert all((f"PF1_{k}" in held) == (f"PF1_{k + 1}" in held) for k in range(0, 24, 2))


def test_of_the_globins_no_held_out_member_is_a_near_duplicate_of_another(examples: Path) -> None:
    families = (f for f in read_families(examples / "families.sto") if f.accession == "PF00042")
    (globins,) = infer_trees(families)
    residues = {s.id: s.residues for s in globins.sequences()}
    for seed in range(20):
        held = split_clades(globins, 0.2, seed)
        others = [residues[name] for name in globins.ids if name not in held]
        assert held and nearest_identity([residues[name] for name in held], others).max() < 0.9
