"""Orthologs and paralogs: against ete3, hand-made trees, and brute force."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import Family
from phylocli.formats.newick import parse
from phylocli.formats.species import SpeciesRule
from phylocli.formats.tables.species import species_rule
from phylocli.formats.tree import Tree
from phylocli.pairs import EmptyBandError, PairSampler, sample_pairs, split_family
from phylocli.pairs.patristic import Patristic
from phylocli.pairs.relations import PARALOG, RELATIONS, Relations

SPECIES = ["HUMAN", "MOUSE", "YEAST", "DROME", "ARATH"]


def random_tree(n: int, seed: int, *, unknown: float = 0.0, polytomies: float = 0.0) -> Tree:
    """A rooted tree whose tips are named as UniProt entries; some of unknown species, some inner branches collapsed."""
    rng = np.random.default_rng(seed)
    parts = []
    for k in range(n):
        species = "" if rng.random() < unknown else "_" + SPECIES[rng.integers(len(SPECIES))]
        parts.append(f"P{k}{species}/1-9:{rng.random():.3f}")
    while len(parts) > 1:
        width = 2 if rng.random() >= polytomies or len(parts) == 2 else 3
        chosen = [parts.pop(int(rng.integers(len(parts)))) for _ in range(min(width, len(parts)))]
        parts.append(f"({','.join(chosen)}):{rng.random():.3f}")
    return parse(parts[0].rpartition(":")[0] + ";")


def family_of(tree: Tree, accession: str = "PF1") -> Family:
    ids = sorted(tree.tip_names())
    return Family(ids, ["ACDE"] * len(ids), accession=accession, tree=tree)


def by_ete(family: Family) -> dict[frozenset[str], str]:
    """The relation of every pair as ete3's events have it."""
    found = {}
    tree = family.ete_tree()
    tree.get_descendant_evol_events()
    for node in tree.traverse():
        for a, b in combinations(node.children, 2):
            for x in a.get_leaf_names():
                for y in b.get_leaf_names():
                    found[frozenset((x, y))] = {"S": "ortholog", "D": "paralog"}[node.evoltype]
    return found


def by_hand(tree: Tree) -> dict[frozenset[str], str]:
    """The relation of every pair by its definition: polytomies are one event, unknown species are evidence of nothing."""
    species, children = SpeciesRule(), tree.children()

    def below(node: int) -> list[str]:
        return [tree.names[node]] if not children[node] else [x for child in children[node] for x in below(child)]

    found = {}
    for node in range(len(tree)):
        sides = [below(child) for child in children[node]]
        sets = [{species(x) for x in side} - {""} for side in sides]
        event = "paralog" if any(a & b for a, b in combinations(sets, 2)) else "ortholog"
        for one, other in combinations(sides, 2):
            for x in one:
                for y in other:
                    found[frozenset((x, y))] = event if species(x) and species(y) else "unknown"
    return found


def drawn(families: list[Family], **options: object) -> pl.DataFrame:
    return sample_pairs(families, **options)


def relations_of(frame: pl.DataFrame) -> dict[frozenset[str], str]:
    return {frozenset((a, b)): r for a, b, r in frame.select("id_a", "id_b", "relation").iter_rows()}


@pytest.mark.parametrize("seed", range(5))
def test_relations_are_those_of_ete3(seed: int) -> None:
    family = family_of(random_tree(40, seed))
    expected = by_ete(family)
    assert relations_of(drawn([family])) == expected
    assert {"ortholog", "paralog"} == set(expected.values())


def test_a_duplication_before_a_speciation_gives_paralogs_across_and_orthologs_within() -> None:
    tree = parse("((A_HUMAN:1,A_MOUSE:1):1,(B_HUMAN:1,B_MOUSE:1):1);")
    found = relations_of(drawn([family_of(tree)]))
    assert found[frozenset(("A_HUMAN", "A_MOUSE"))] == found[frozenset(("B_HUMAN", "B_MOUSE"))] == "ortholog"
    assert [found[frozenset(p)] for p in [("A_HUMAN", "B_MOUSE"), ("A_HUMAN", "B_HUMAN")]] == ["paralog", "paralog"]


def test_a_polytomy_is_one_event_and_unknown_species_are_evidence_of_nothing() -> None:
    tree = parse("((A_HUMAN:1,B_HUMAN:1,C_MOUSE:1):1,x:1,D_YEAST:1);")
    found = relations_of(drawn([family_of(tree)]))
    assert found[frozenset(("A_HUMAN", "C_MOUSE"))] == "paralog"  # which of the two it left with is not resolved
    assert found[frozenset(("A_HUMAN", "D_YEAST"))] == "ortholog"
    assert found[frozenset(("x", "D_YEAST"))] == "unknown"


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(0, 10_000))
def test_the_pairs_of_a_relation_are_those_of_brute_force(n: int, seed: int) -> None:
    tree = random_tree(n, seed, unknown=0.2, polytomies=0.3)
    expected, family = by_hand(tree), family_of(tree)
    assert relations_of(drawn([family])) == expected
    for relation, one in (("orthologs", "ortholog"), ("paralogs", "paralog")):
        wanted = {pair for pair, r in expected.items() if r == one}
        if wanted:
            assert relations_of(drawn([family], relation=relation)) == dict.fromkeys(wanted, one)
        else:
            with pytest.raises(EmptyBandError):
                drawn([family], relation=relation)


@pytest.mark.parametrize("scheme", ["uniform", "per-sequence", "log-distance"])
def test_other_filters_and_schemes_keep_to_the_relation(scheme: str) -> None:
    tree = random_tree(60, 3, unknown=0.1)
    expected = by_hand(tree)
    frame = drawn([family_of(tree)], relation="orthologs", scheme=scheme, number=40, max_per_sequence=9, min_dist=0.5)
    assert len(frame) > 20 and {expected[pair] for pair in relations_of(frame)} == {"ortholog"}


@pytest.mark.parametrize("sorted_up_to", [0, 512])
def test_sampling_within_a_relation_is_exactly_uniform(sorted_up_to: int) -> None:
    tree = random_tree(24, 8, polytomies=0.2)
    prepared = Patristic(tree)
    relations = Relations.of(prepared, [SpeciesRule()(name) for name in tree.tip_names()])
    sampler = PairSampler(prepared, meeting=relations.meeting("paralogs"), sorted_up_to=sorted_up_to)
    i, j = np.triu_indices(24, 1)
    distance = prepared.distance(i, j)
    inside = (relations.codes(i, j) == PARALOG) & (distance >= 0.8) & (distance <= 3.0)
    assert sampler.count(0.8, 3.0) == inside.sum() > 20
    drawn_i, drawn_j, _ = sampler.draw(20_000, 0.8, 3.0, np.random.default_rng(1), replace=True)
    seen = Counter(zip(drawn_i.tolist(), drawn_j.tolist(), strict=True))
    assert set(seen) == set(zip(i[inside].tolist(), j[inside].tolist(), strict=True))
    assert chisquare(list(seen.values())).pvalue > 1e-4
    partners = np.bincount(i[inside], minlength=24) + np.bincount(j[inside], minlength=24)
    assert sampler.partners(0.8, 3.0).tolist() == partners.tolist()
    assert sampler.quantiles([0.0, 1.0])[1] <= distance[relations.codes(i, j) == PARALOG].max()


def test_large_trees_count_the_pairs_of_a_relation_exactly() -> None:
    tree = random_tree(2000, 5, polytomies=0.05)
    prepared = Patristic(tree)
    relations = Relations.of(prepared, [SpeciesRule()(name) for name in tree.tip_names()])
    i, j = np.triu_indices(2000, 1)
    codes, distance = relations.codes(i, j), prepared.distance(i, j)
    for name, code in (("orthologs", 1), ("paralogs", 2)):
        sampler = PairSampler(prepared, meeting=relations.meeting(name))
        assert sampler.count(1.0, 6.0) == ((codes == code) & (distance >= 1) & (distance <= 6)).sum()


def test_parts_of_a_split_have_the_events_of_the_whole_family() -> None:
    tree = random_tree(60, 11)
    family, expected = family_of(tree), by_hand(tree)
    from phylocli.config.pairs import SamplingConfig
    from phylocli.pairs import StreamSampler

    for part, members in split_family(family, "clades", (0.5, 0.25, 0.25), 0):
        drawer = StreamSampler(SamplingConfig(), part)
        found = relations_of(pl.concat([*drawer.add(members, family), *drawer.finish()]))
        assert found == {pair: expected[pair] for pair in found} and found


def test_species_come_from_uniprot_names_a_table_or_a_pattern(tmp_path) -> None:
    rule = SpeciesRule()
    names = ["HBA_HUMAN/7-107", "sp|P69905|HBA_HUMAN", "A0A024R1_MOUSE", "Q9X_9BACT/1-9", "globin", "a_b"]
    assert [rule(name) for name in names] == ["HUMAN", "HUMAN", "MOUSE", "", "", ""]
    table = tmp_path / "species.tsv"
    table.write_text("id\tspecies\nA\tHomo sapiens\nB/1-9\tMus musculus\n")
    rule = species_rule(table)
    assert [rule(name) for name in ["A/1-9", "A", "B/1-9", "B", "HBA_HUMAN"]] == ["Homo sapiens"] * 2 + [
        "Mus musculus",
        "",
        "",
    ]
    table.write_text("id\torganism\nA\tHomo sapiens\n")
    assert species_rule(table)("A/1-9") == "Homo sapiens"
    assert species_rule(pattern=r"^(\w+?)\|")("9606|x") == "9606"
    assert species_rule(pattern="^[a-z]{3}")("hsa1") == "hsa"


def test_rules_of_species_that_make_no_sense_are_refused(tmp_path) -> None:
    table = tmp_path / "species.tsv"
    table.write_text("id\tspecies\nA\tx\nA\ty\n")
    with pytest.raises(BadInputError, match="'A' has two species"):
        species_rule(table)
    with pytest.raises(UsageError, match="not a regular expression"):
        drawn([], species_pattern="(")
    with pytest.raises(UsageError, match="excludes"):
        drawn([], species_pattern="x", species=table)


def test_family_without_known_species_is_an_error_with_advice() -> None:
    family = family_of(parse("((a:1,b:1):1,c:1);"))
    with pytest.raises(EmptyBandError, match="known species") as caught:
        drawn([family], relation="orthologs")
    assert "--species" in str(caught.value)
    with pytest.raises(EmptyBandError, match="--species TABLE"):
        drawn([family, family_of(parse("((x:1,y:1):1,z:1);"), "PF2")], relation="paralogs")
    assert set(drawn([family])["relation"]) == {"unknown"} <= set(RELATIONS)


def test_an_ete_tree_has_names_lengths_support_and_species() -> None:
    family = family_of(parse("((A_HUMAN:1,B_MOUSE:2)95:0.5,c:1);"))
    tree = family.ete_tree()
    assert {leaf.name: leaf.species for leaf in tree} == {"A_HUMAN": "HUMAN", "B_MOUSE": "MOUSE", "c": ""}
    [inner] = [node for node in tree.traverse() if not node.is_leaf() and not node.is_root()]
    assert (inner.support, inner.dist) == (95.0, 0.5)
    assert family.ete_tree(lambda name: name[:1]).get_species() == {"A", "B", "c"}
