import io
import itertools
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.metrics import homogeneity_completeness_v_measure

from phylocli.core.alphabet import degap
from phylocli.core.errors import BadInputError, UsageError
from phylocli.families import find_families
from phylocli.families.engines import mmseqs
from phylocli.families.grouping import Grouping
from phylocli.families.pool import Pool
from phylocli.families.prefilter.neighbours import neighbour_graph
from phylocli.families.residue_assignment import FREE, ResidueAssignment
from phylocli.families.searching import Region, Searcher, Settings
from phylocli.formats import read_families
from phylocli.formats.family import GROUP_TAG
from phylocli.formats.sequences.fasta import Sequence
from phylocli.formats.stockholm import write_family


@pytest.fixture(scope="module")
def known(examples):
    """The example families by name: unaligned members."""
    return {f.name: [Sequence(s.id, s.residues) for s in f.sequences()] for f in read_families(examples / "families.sto")}


def text_of(families):
    out = io.StringIO()
    for family in families:
        write_family(family, out)
    return out.getvalue()


def largest_place(table):
    """Return the family that has most residues of each sequence; a sequence without one is a family of its own."""
    best = {}
    for name, start, end, family, *_ in table.iter_rows():
        length = end - start + 1 if family else 0
        if length >= best.get(name, (-1, ""))[0]:
            best[name] = (length, family or name)
    return {name: family for name, (_, family) in best.items()}


@pytest.fixture(scope="module")
def everything(known):
    """All members of all example families, without their labels and shuffled, grouped."""
    sequences = [s for members in known.values() for s in members]
    random.Random(7).shuffle(sequences)
    with find_families(sequences, threads=1) as found:
        return list(found), found.members()


def test_example_families_are_recovered(known, everything):
    _, table = everything
    truth = {s.id: name for name, members in known.items() for s in members}
    predicted = largest_place(table)
    assert set(predicted) == set(truth)
    ids = sorted(truth)
    scores = homogeneity_completeness_v_measure([truth[i] for i in ids], [predicted[i] for i in ids])
    homogeneity, completeness, v_measure = scores
    assert homogeneity >= 0.99
    assert completeness >= 0.88
    assert v_measure >= 0.93


def test_no_family_holds_members_of_two_and_most_sequences_are_in_one(known, everything):
    families, table = everything
    truth = {s.id: name for name, members in known.items() for s in members}
    mixed = [f for f in families if len({truth[table_id(i, truth)] for i in f.ids}) > 1]
    assert sum(map(len, mixed)) <= 0.01 * sum(map(len, families))
    assert table.filter(table["family"].is_not_null())["id"].n_unique() >= 0.95 * len(truth)


def table_id(name, known):
    return name if name in known else name.rpartition("/")[0]


def test_records_are_the_residues_that_the_table_names(known, everything):
    families, table = everything
    residues = {s.id: s.residues for members in known.values() for s in members}
    places = {}
    for name, start, end, family, score, evalue, member, group in table.iter_rows():
        whole = (start, end) == (1, len(residues[name]))
        if family:
            assert member == (name if whole else f"{name}/{start}-{end}")
            places[family, member] = residues[name][start - 1 : end]
            assert score > 0 and evalue <= 1e-3 and group is None
    rows = {(f.accession, i): degap(row) for f in families for i, row in zip(f.ids, f.rows, strict=True)}
    assert rows == places
    assert all(len(f.column_features["RF"]) == f.columns and f.match_columns().sum() >= 30 for f in families)
    assert [f.accession for f in families] == [f"FAM{k:05d}" for k in range(1, len(families) + 1)]
    assert [len(f) for f in families] == sorted(map(len, families), reverse=True)


def test_no_residue_is_in_two_families(everything):
    _, table = everything
    for (_,), parts in table.filter(table["family"].is_not_null()).group_by("id"):
        places = sorted(zip(parts["from"], parts["to"], strict=True))
        assert all(end < start for (_, end), (start, _) in itertools.pairwise(places))


def few(known, size=12, names=("Globin", "RRM_1", "Cyclin_N")):
    return [s for name in names for s in known[name][:size]]


def test_result_does_not_depend_on_order_and_threads(known):
    sequences = [*few(known, 8), *near_copies(few(known, 3), 1, 0.1, seed=9)[1::2]]
    with find_families(sequences, threads=1) as one:
        expected, table = text_of(one), one.members()
    for seed, threads in ((0, 1), (1, 2), (2, 3)):
        random.Random(seed).shuffle(sequences)
        with find_families(sequences, threads=threads) as found:
            assert text_of(found) == expected
            assert found.members().equals(table)


def test_fusions_of_two_domains_do_not_chain_their_families(known):
    first, second = known["Globin"][:25], known["RRM_1"][:25]
    linker = "GSGSAGSGS"
    fusions = [
        Sequence(f"fusion{k}", a.residues + linker + b.residues)
        for k, (a, b) in enumerate(zip(first[20:], second[20:], strict=True))
    ]
    with find_families([*first[:20], *second[:20], *fusions], threads=1) as found:
        families, table = list(found), found.members()
    kinds = {s.id: "first" for s in first} | {s.id: "second" for s in second}
    for family in families:
        assert len({kinds[table_id(i, kinds)] for i in family.ids if table_id(i, kinds) in kinds}) <= 1
    big = {f.accession: f for f in families[:2]}
    for k in range(5):
        parts = table.filter(table["id"] == f"fusion{k}").sort("from")
        boundary = len(first[20 + k].residues)
        assert parts["family"].n_unique() == 2 and set(parts["family"]) == set(big)
        assert parts["to"][0] <= boundary + len(linker) + 10
        assert parts["from"][1] >= boundary - 10
        assert f"fusion{k}/{parts['from'][0]}-{parts['to'][0]}" in big[parts["family"][0]].ids


def test_a_family_seen_only_fused_is_cut_where_its_parts_are_seen_alone(known):
    """Domains are found even if fusions outnumber single domains."""
    first, second = known["Globin"], known["RRM_1"]
    fusions = [Sequence(f"fusion{k}", first[k].residues + second[k].residues) for k in range(8)]
    with find_families([*fusions, *first[10:16], *second[10:16]], threads=1) as found:
        table = found.members()
    for k in range(8):
        assert table.filter(table["id"] == f"fusion{k}")["family"].n_unique() == 2
    lone = {s.id for s in first[10:16]}
    assert table.filter(table["id"].is_in(lone))["family"].drop_nulls().n_unique() == 1


def test_duplicates_are_members_of_their_own(known):
    sequences = known["Globin"][:8]
    copies = [Sequence(f"copy{k}", sequences[0].residues) for k in range(3)]
    with find_families([*sequences, *copies], threads=1) as found:
        (family,) = found
    assert set(family.ids) == {s.id for s in sequences} | {c.id for c in copies}
    rows = dict(zip(family.ids, family.rows, strict=True))
    assert rows["copy0"] == rows["copy1"] == rows[sequences[0].id]


def test_copies_of_one_sequence_alone_are_a_family(known):
    text = known["Globin"][0].residues
    with find_families([Sequence("a", text), Sequence("b", text)], threads=1) as found:
        (family,) = found
        table = found.members()
    assert family.rows == [text, text] and family.ids == ["a", "b"]
    assert table["score"].null_count() == 2


def test_one_sequence_and_unrelated_ones_are_in_no_family(known):
    one = known["Globin"][0]
    with find_families([one], threads=1) as found:
        assert list(found) == []
        assert found.members().rows() == [(one.id, 1, len(one.residues), None, None, None, None, None)]
        assert found.members(singletons=False).is_empty()
    strangers = [members[0] for members in known.values()]
    with find_families(strangers, threads=1) as found:
        assert list(found) == []
    with find_families([one], min_size=1, threads=1) as found:
        assert [f.ids for f in found] == [[one.id]]


def test_unknown_residues_and_peptides_are_handled(known):
    odd = [Sequence("x1", "X" * 200), Sequence("x2", "X" * 200), Sequence("x3", "X" * 90), Sequence("short", "MK")]
    odd += [Sequence("stop", "MKV*LLAU"), Sequence("poly", "Q" * 300), Sequence("poly2", "Q" * 280)]
    with find_families([*known["Globin"][:6], *odd], threads=1) as found:
        (family,) = found
        table = found.members()
    assert len(family) == 6
    assert set(table.filter(table["family"].is_null())["id"]) == {s.id for s in odd}


def test_letters_replaced_for_hmmer_are_restored(known):
    sequences = [Sequence(s.id, s.residues.replace("C", "U").replace("M", "O", 1)) for s in known["Globin"][:10]]
    with find_families(sequences, threads=1) as found:
        (family,) = found
    by_id = {s.id: s.residues for s in sequences}
    assert {i: degap(r) for i, r in zip(family.ids, family.rows, strict=True)} == {i: by_id[i] for i in family.ids}


def test_smallest_size(known):
    sequences = [*known["Globin"][:8], *known["Cyclin_N"][:3]]
    with find_families(sequences, min_size=5, threads=1) as found:
        assert [len(f) for f in found] == [8]


@pytest.mark.parametrize(
    ("setting", "value"),
    [("evalue", 0.0), ("evalue", -1.0), ("coverage", 0.5), ("coverage", 1.1), ("min_size", 0), ("prefix", "a/b")],
)
def test_invalid_settings_are_usage_errors(setting, value):
    with pytest.raises(UsageError):
        find_families([Sequence("a", "MKV")], **{setting: value})


def test_unknown_engine_and_repeated_ids():
    with pytest.raises(UsageError, match="engine"):
        find_families([Sequence("a", "MKV")], engine="profil")
    with pytest.raises(BadInputError, match="more than once"):
        find_families([Sequence("a", "MKV"), Sequence("a", "MKL")], threads=1)


def test_every_seed_is_tried_and_owners_agree_with_members(known):
    pool = Pool(few(known))
    assignment = ResidueAssignment(pool, Settings())
    with ThreadPoolExecutor(1) as executor:
        Grouping(assignment, Searcher(pool, Settings()), neighbour_graph(pool, executor)).run(executor)
    owner = np.full(len(assignment.owner), FREE)
    for number, group in assignment.groups.items():
        for found in group.members:
            base = int(pool.offsets[found.region.sequence])
            owner[base + found.region.start - 1 : base + found.region.end] = number
    assert assignment.groups
    assert (owner == assignment.owner).all()
    assert assignment.free_regions(0) in ([], [Region(0, 1, int(pool.lengths[0]))]) or len(assignment.groups) > 0


def near_copies(sequences, number, part, seed=3):
    """Return each sequence, and copies of it with a part of its residues changed."""
    rng = random.Random(seed)
    copies = []
    for s in sequences:
        copies.append(s)
        for k in range(number):
            letters = [rng.choice("ACDEFGHIKLMNPQRSTVWY") if rng.random() < part else c for c in s.residues]
            copies.append(Sequence(f"{s.id}~{k}", "".join(letters)))
    return copies


def test_near_duplicates_are_members_of_the_families_of_their_representatives(known):
    originals = few(known)
    with find_families(originals, threads=1) as found:
        alone = found.members()
    with find_families(near_copies(originals, 2, 0.05), threads=1) as found:
        families, table = list(found), found.members()
    assert families[0].accession == "FAM00001"
    family_of = dict(table.filter(table["family"].is_not_null()).select("id", "family").iter_rows())
    for s in originals:
        assert {family_of[f"{s.id}~{k}"] for k in range(2)} == {family_of[s.id]}
    grouped = alone.filter(alone["family"].is_not_null())
    for (_,), members in grouped.group_by("family"):
        assert len({family_of[i] for i in members["id"]}) == 1
    assert table.filter(table["family"].is_not_null())["score"].is_not_null().all()


def test_near_duplicates_without_other_homologs_are_a_family(known):
    (lone,) = known["Globin"][:1]
    with find_families([*near_copies([lone], 4, 0.05), *known["Cyclin_N"][:1]], threads=1) as found:
        (family,) = found
    assert sorted(family.ids) == sorted([lone.id, *(f"{lone.id}~{k}" for k in range(4))])


@pytest.mark.needs("mmseqs")
def test_mmseqs_clusters_whole_sequences(known, monkeypatch):
    monkeypatch.setattr(mmseqs, "SENSITIVITY", "1")  # a tenth of the time
    lone = known["Cyclin_N"][0]
    with find_families([*near_copies(known["Globin"][:1], 3, 0.2), lone], engine="mmseqs", threads=1) as found:
        (family,) = found
        table = found.members()
    assert len(family) == 4 and family.aligned
    assert table.filter(table["family"].is_null())["id"].to_list() == [lone.id]
    assert table.filter(table["family"].is_not_null())["score"].min() > 0


@pytest.mark.needs("mmseqs")
def test_mmseqs_families_name_the_group_of_near_relatives_of_each_member(known):
    globins = {s.id: s for s in known["Globin"]}
    distant = [globins["MYG_HORSE"], globins["HBA_MACFA"]]
    with find_families(near_copies(distant, 3, 0.1), engine="mmseqs", threads=1) as found:
        (family,) = found
        table = found.members()
    group_of = dict(table.select("id", "group").iter_rows())
    assert group_of == {name: name.partition("~")[0] for name in group_of} and len(group_of) == 8
    assert {name: dict(features)[GROUP_TAG] for name, features in family.sequence_features.items()} == group_of


@pytest.mark.needs("mmseqs")
def test_mmseqs_makes_no_profiles_of_clusters_below_the_minimum_size(known, monkeypatch):
    monkeypatch.setattr(mmseqs, "SENSITIVITY", "1")
    made = []
    profiled = mmseqs._profiled
    monkeypatch.setattr(mmseqs, "_profiled", lambda *given: made.append(given[-1]) or profiled(*given))
    sequences = [*near_copies(known["Globin"][:1], 4, 0.2), *near_copies(known["SecY"][:1], 1, 0.2)]
    with find_families(sequences, engine="mmseqs", min_size=3, threads=1) as found:
        assert [len(family) for family in found] == [5]
        assert found.members()["family"].null_count() == 2
    assert len(made) == 1
