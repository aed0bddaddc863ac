"""Families by name and by accessions of other databases: what is found, what is listed, what is explained."""

from __future__ import annotations

from pathlib import Path

import pytest
from standin import Standin, status

from phylocli.core.errors import BadInputError, ServiceError
from phylocli.fetch import Policy, fetch_families, fetch_members
from phylocli.fetch.accessions import Foreign, Name, Wanted, recognise
from phylocli.fetch.connection import UnreachableError
from phylocli.fetch.lookup import Candidate
from phylocli.store import Store

FAST = Policy(attempts=3).scaled(0.0005)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def accessions(store: Store, *names: str, **options: object) -> list[str]:
    return [family.accession for family in fetch_families(names, store=store, policy=FAST, **options)]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("pf00042.27", Wanted("PF00042", "27")),
        ("ipr000971", Foreign("interpro", "IPR000971")),
        ("CD01040", Foreign("cdd", "cd01040")),
        ("pthr11442:sf41", Foreign("panther", "PTHR11442:SF41")),
        ("PS01033", Foreign("prosite", "PS01033")),
        ("SSF46458", Foreign("ssf", "SSF46458")),
        ("G3DSA:1.10.490.10", Foreign("cathgene3d", "G3DSA:1.10.490.10")),
        ("TIGR00756", Foreign("ncbifam", "TIGR00756")),
        ("P68871", Foreign("uniprot", "P68871")),
        ("A0A0B4J2F0-2", Foreign("uniprot", "A0A0B4J2F0")),
        ("7tm_1", Name("7tm_1")),
        (" Zinc finger, C2H2 type ", Name("Zinc finger, C2H2 type")),
        ("HBB_HUMAN", Name("HBB_HUMAN")),
        ("PFAM", Name("PFAM")),
    ],
)
def test_accessions_and_names_are_recognised(text: str, query: object) -> None:
    assert recognise(text) == query


@pytest.mark.parametrize("text", ["globin", "GLOBIN", "RRM_1", "rrm-1", "Cyclin, N-terminal domain"])
def test_a_name_or_title_in_any_spelling_is_its_family(standin: Standin, store: Store, text: str) -> None:
    wanted = {"g": "PF00042", "r": "PF00076", "c": "PF00134"}[text[0].lower()]
    assert accessions(store, text) == [wanted]
    request = next(r for r in standin.requests if r.path.endswith("/entry/pfam/"))
    assert request.query == {"search": text, "extra_fields": "short_name", "page_size": "200"}


def test_a_part_of_names_lists_the_families_and_takes_none(standin: Standin, store: Store) -> None:
    has_it = [f for f in standin.families.values() if "ase" in f"{f.name} {f.description}".lower()]
    assert len(has_it) > 2
    with pytest.raises(BadInputError) as caught:
        accessions(store, "ase")
    first, *listed = caught.value.what.splitlines()
    assert first == f"no family of Pfam is called 'ase'; {len(has_it)} contain it:"
    assert [line.split()[0] for line in listed] == sorted(f.accession for f in has_it)
    assert store.accessions() == []


def test_many_candidates_are_cut_short_and_a_name_on_a_later_page_is_found(standin: Standin, store: Store) -> None:
    globin = standin.families["PF00042"]
    for number in range(10, 260):
        other = globin.subset(set(globin.ids[:3]))
        other.accession, other.name, other.description = f"PF{number * 10:05d}", f"x{number}", "Domain of unknown function"
        standin.families[other.accession] = other
    assert accessions(store, "x259") == ["PF02590"]
    with pytest.raises(BadInputError, match="250 families are called 'domain of unknown function'") as caught:
        accessions(store, "domain of unknown function")
    assert caught.value.what.endswith("… and 230 more")
    assert standin.count("cursor=200") == 1


@pytest.mark.parametrize(
    ("text", "families"),
    [
        ("IPR000971", ["PF00042"]),
        ("PS01033", ["PF00042"]),  # a profile of PROSITE, not a pattern
        ("SM00360", ["PF00076"]),
        ("P01000", ["PF00042"]),
        ("MYG_ESCGI", ["PF00042"]),
        ("CL0065", ["PF00134"]),
    ],
)
def test_accessions_of_other_databases_are_mapped_to_families(
    standin: Standin, store: Store, text: str, families: list[str]
) -> None:
    assert accessions(store, text) == families


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("IPR999999", "InterPro has no entry IPR999999", None),
        ("PS99999", "InterPro has no PROSITE entry PS99999", None),
        (
            "IPR002335",
            "IPR002335 (Myoglobin) has no Pfam family; its signatures: PR00613",
            "parent IPR000971 (Globin) has PF00042",
        ),
        ("cd08926", "cd08926 (CDD) is part of IPR002335 (Myoglobin), which has no Pfam family", "phylocli fetch PF00042"),
        ("PTHR47132:SF1", "is part of IPR002335", "phylocli fetch PF00042"),  # by the family of the subfamily
        ("cd01040", "cd01040 (CDD, Mb-like) is in no InterPro entry", "search by name"),
        ("PS00879", "PS00879 (PROSITE) is part of IPR022657", "phylocli fetch decarboxylase"),
        ("P68871", "InterPro has no protein P68871", "www.uniprot.org"),
        ("motif domain", "IPR000504, RNA recognition motif domain", "phylocli fetch PF00076"),
        ("myoglobin", "PF00042  (5 of 5 proteins)", "phylocli fetch PF00042"),
        ("xyzzy", "nothing in Pfam, InterPro and Swiss-Prot has 'xyzzy' in its name", "--uniprot"),
        ("NONE_HUMAN", "nothing in Pfam, InterPro and Swiss-Prot has 'NONE_HUMAN'", None),
    ],
)
def test_what_stands_for_no_family_is_explained(
    standin: Standin, store: Store, text: str, what: str, fix: str | None
) -> None:
    with pytest.raises(BadInputError) as caught:
        accessions(store, text)
    assert what in caught.value.what
    assert fix is None or fix in str(caught.value.fix)


def test_a_name_that_fails_loses_nothing_else(standin: Standin, store: Store) -> None:
    found = []
    with pytest.raises(BadInputError, match="1 of 3 could not be fetched:\n  cyclin"):
        found += [family.accession for family in fetch_families(["globin", "cyclin", "PF00076"], store=store, policy=FAST)]
    assert store.accessions() == ["PF00042", "PF00076"]


def test_search_that_times_out_is_repeated(standin: Standin, store: Store) -> None:
    standin.script("/entry/pfam/?search", status(408, b'{"detail":"Query timed out"}'), status(503))
    assert accessions(store, "globin") == ["PF00042"]


def test_names_are_looked_up_in_the_store_without_a_network(standin: Standin, store: Store) -> None:
    accessions(store, "PF00042")
    before = len(standin.requests)
    assert accessions(store, "Globin", offline=True) == ["PF00042"]
    assert len(standin.requests) == before
    assert accessions(store, "globin", base_url="http://interpro.invalid/api") == ["PF00042"]
    with pytest.raises(BadInputError, match=r"no family of the store .* has 'cyclin' in its name"):
        accessions(store, "cyclin", offline=True)
    with pytest.raises(ServiceError, match="--offline forbids"):
        accessions(store, "IPR000971", offline=True)
    with pytest.raises(UnreachableError):
        accessions(store, "cyclin", base_url="http://interpro.invalid/api")


def test_names_are_looked_up_in_a_release(standin: Standin, store: Store) -> None:
    assert accessions(store, "globin", release="38.2") == ["PF00042"]
    assert not standin.count("/interpro/api/entry")
    with pytest.raises(BadInputError, match=r"no family of Pfam 38\.2 is called 'cyclin'; one contains it"):
        accessions(store, "cyclin", release="current")


def test_members_of_a_family_by_name(standin: Standin, tmp_path: Path) -> None:
    assert fetch_members(["globin"], tmp_path / "members.fasta", policy=FAST) == 45


def test_an_accession_in_an_answer_that_is_none_is_not_taken(standin: Standin, store: Store) -> None:
    standin.families["PF00042"].accession = "../../etc"
    try:
        with pytest.raises(BadInputError):
            accessions(store, "globin")
    finally:
        standin.families["PF00042"].accession = "PF00042"


def test_candidates_are_called_by_name_and_title_with_blanks_and_underscores_alike() -> None:
    candidate = Candidate("PF00076", "RRM_1", "RNA recognition motif")
    assert candidate.is_called("rrm 1") and candidate.is_called("rna-recognition  motif")
    assert not candidate.is_called("RRM") and candidate.contains("rrm") and candidate.contains("PF00076")
