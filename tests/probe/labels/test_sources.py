"""What is read as labels: family records, FASTA headers, GO annotations, tables of UniProt, and how ids are matched."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from phylocli.config.labels import MakeLabelsConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import Family, read_families, write_families
from phylocli.probe import make_labels, read_labels, write_labels
from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.labels import match_ids

ANNOTATIONS = [
    ("P68871", "HBB", "enables", "GO:0005344", "IDA", "F", "taxon:9606"),
    ("P68871", "HBB", "enables", "GO:0020037", "IEA", "F", "taxon:9606"),
    ("P68871", "HBB", "enables", "GO:0005344", "IMP", "F", "taxon:9606"),
    ("P68871", "HBB", "located_in", "GO:0005829", "IDA", "C", "taxon:9606|taxon:1"),
    ("P02185", "MB", "NOT|enables", "GO:0004601", "IDA", "F", "taxon:9755"),
    ("P02185", "MB", "involved_in", "GO:0015671", "TAS", "P", "taxon:9755"),
]
HEAD = "!gaf-version: 2.2\n!generated-by: GOA\n"
GAF = "".join(
    f"UniProtKB\t{item}\t{symbol}\t{how}\t{term}\tPMID:1\t{code}\t\t{aspect}\tName\t\tprotein\t{taxon}\t20200101\tUniProt\t\t\n"
    for item, symbol, how, term, code, aspect, taxon in ANNOTATIONS
)
EXPORT = {
    "Entry": ["P68871", "P00519"],
    "Reviewed": ["reviewed", "reviewed"],
    "Entry Name": ["HBB_HUMAN", "ABL1_HUMAN"],
    "Protein families": ["Globin family", "Protein kinase superfamily, Tyr protein kinase family, ABL subfamily"],
    "Organism": ["Homo sapiens (Human)", "Homo sapiens (Human)"],
    "Organism (ID)": ["9606", "9606"],
    "EC number": ["", "2.7.10.2; 2.7.1.-"],
    "Gene Ontology (GO)": ["heme binding [GO:0020037]; oxygen, carrier [GO:0005344]", "ATP binding [GO:0005524]"],
    "Taxonomic lineage": [
        "Eukaryota (domain), Metazoa (kingdom), Chordata (phylum), Mammalia (class), Hominidae (family), Homo (genus)",
        "Eukaryota (domain), Metazoa (kingdom)",
    ],
    "Mass": ["15998", "122873"],
}


def write_export(path: Path) -> Path:
    rows = [EXPORT.keys(), *zip(*EXPORT.values(), strict=True)]
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return path


def test_members_of_families_are_labelled_with_family_and_clan(examples: Path) -> None:
    labels = make_labels(examples / "families.sto")
    assert labels.columns == ["id", "family", "clan", "family_name"]
    families = list(read_families(examples / "families.sto"))
    expected = {(member, f.accession, f.clan or None, f.name) for f in families for member in f.ids}
    assert set(labels.rows()) == expected
    named = make_labels(examples / "families.sto", columns=["family_name", "species"])
    assert named.filter(pl.col("id") == "MYG_ESCGI").row(0) == ("MYG_ESCGI", "Globin", "ESCGI")


def test_names_of_families_are_written_where_they_say_more_and_are_no_labels_of_their_own(
    examples: Path, tmp_path: Path
) -> None:
    (tmp_path / "named.sto").write_text("# STOCKHOLM 1.0\n#=GF ID globin\na AC\nb AC\n//\n")
    assert make_labels(tmp_path / "named.sto").columns == ["id", "family"]  # the name is the label
    write_labels(examples / "families.sto", tmp_path / "labels.tsv")
    for source in (tmp_path / "labels.tsv", examples / "families.sto"):
        assert sorted(Dataset.from_labels(read_labels(source), str(source)).classes) == ["clan", "family"]
    named = Dataset.from_labels(read_labels(tmp_path / "labels.tsv"), "labels", columns=["family_name"])
    assert list(named.classes) == ["family_name"]


def test_a_member_of_two_families_has_both_and_one_sequence(tmp_path: Path) -> None:
    path = tmp_path / "two.sto"
    write_families([Family(["a", "b"], ["MKV", "MRV"], name="one"), Family(["a", "c"], ["LL", "LV"], name="two")], path)
    frame = read_labels(path)
    assert frame.rows() == [("a", "one;two", "MKV"), ("b", "one", "MRV"), ("c", "two", "LV")]
    assert frame.columns == ["id", "family", "sequence"]


@pytest.mark.parametrize(
    ("header", "columns", "row"),
    [
        ("sp|P1|A_B Kinase 2 OS=Mus musculus OX=10090 GN=Abl1 PE=1 SV=3", (), ("Mus musculus", "10090")),
        ("sp|P1|A_B Kinase 2 OS=Mus musculus OX=10090 GN=Abl1", ("gene", "protein"), ("Abl1", "Kinase 2")),
        (
            "sp|P1|HBB_HUMAN Kinase OS=Homo sapiens (strain A=1) OX=9606",
            ("organism", "species"),
            ("Homo sapiens (strain A=1)", "HUMAN"),
        ),
        ("XP_1.1 hemoglobin subunit beta [Pan troglodytes]", (), ("Pan troglodytes",)),
        ("d1dlwa_ a.1.1.2 (A:) Protozoan globin", (), ("a.1.1.2", "a.1.1", "a.1", "a")),
        ("MYG_HORSE", (), ("HORSE",)),
    ],
)
def test_headers_of_databases_are_labels(
    header: str, columns: tuple[str, ...], row: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "x.fasta"
    path.write_text(f">{header}\nMKV\n")
    assert make_labels(path, columns=columns).row(0)[1:] == row


def test_headers_by_pattern(tmp_path: Path) -> None:
    path = tmp_path / "x.fasta"
    path.write_text(">a1 type=alpha group=7\nMKV\n>b1 type=beta\nMRV\n>c1\nLLV\n")
    both = make_labels(path, pattern=r"type=(?P<kind>\w+)(?: group=(?P<group>\d+))?")
    assert both.rows() == [("a1", "alpha", "7"), ("b1", "beta", None), ("c1", None, None)]
    assert make_labels(path, pattern="^(.)").rows() == [("a1", "a"), ("b1", "b"), ("c1", "c")]
    with pytest.raises(UsageError, match="has no named group"):
        make_labels(path, pattern="type")
    with pytest.raises(BadInputError, match=r"no header of .* matches the pattern"):
        make_labels(path, pattern="(?P<kind>gamma)")
    with pytest.raises(UsageError, match="is not a regular expression"):
        make_labels(path, pattern="(")
    with pytest.raises(BadInputError, match=r"no header of .* contains a label"):
        make_labels(path)


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({}, [("P68871", "GO:0005344;GO:0020037;GO:0005829"), ("P02185", "GO:0015671")]),
        ({"evidence": ["experimental"]}, [("P68871", "GO:0005344;GO:0005829")]),
        ({"evidence": ["iea", "TAS"]}, [("P68871", "GO:0020037"), ("P02185", "GO:0015671")]),
        ({"aspect": "function"}, [("P68871", "GO:0005344;GO:0020037")]),  # NOT is no annotation
        ({"aspect": "component", "columns": ["go", "taxon"]}, [("P68871", "GO:0005829", "9606")]),
    ],
)
@pytest.mark.parametrize("head", [True, False], ids=["whole", "without its head"])
def test_go_annotations_are_terms(
    options: dict[str, object], rows: list[tuple[str, ...]], head: bool, tmp_path: Path
) -> None:
    path = tmp_path / "goa.gaf.gz"
    path.write_bytes(gzip.compress((HEAD * head + GAF).encode()))
    assert make_labels(path, **options).rows() == rows


def test_damaged_and_empty_annotations_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "goa.gaf"
    path.write_text(HEAD + GAF + "UniProtKB\tP1\n")
    with pytest.raises(BadInputError, match="line 9: not a GO annotation"):
        make_labels(path)
    path.write_text(HEAD + GAF)
    with pytest.raises(BadInputError, match=r"no annotation with this evidence and aspect \(of 6\)"):
        make_labels(path, evidence=["IBA"])
    with pytest.raises(UsageError, match="'IDAA' is not a GO evidence code"):
        make_labels(path, evidence=["IDAA"])


def test_an_export_of_uniprot_gives_terms_classes_and_ranks(tmp_path: Path) -> None:
    path = write_export(tmp_path / "export.tsv")
    labels = make_labels(path)
    assert labels.columns == ["id", "protein_family", "ec", "ec_class", "go"]
    assert labels.rows() == [
        ("P68871", "Globin family", None, None, "GO:0020037;GO:0005344"),
        ("P00519", "Protein kinase superfamily", "2.7.10.2;2.7.1.-", "2", "GO:0005524"),
    ]
    chosen = make_labels(path, columns=["organism", "phylum", "taxon_family", "Mass"])
    assert chosen.rows() == [
        ("P68871", "Homo sapiens", "Chordata", "Hominidae", "15998"),
        ("P00519", "Homo sapiens", None, None, "122873"),
    ]
    with pytest.raises(UsageError, match=r"no source has a column 'nothing'\nfix: the columns are .*Mass"):
        make_labels(path, columns=["nothing"])


def test_sources_are_joined_and_ids_matched(tmp_path: Path) -> None:
    (tmp_path / "x.fasta").write_text(">sp|P68871|HBB_HUMAN a\nMKV\n>P00519-2\nMRV\n>Q9\nLLV\n")
    write_export(tmp_path / "export.tsv")
    (tmp_path / "goa.gaf").write_text(HEAD + GAF)
    sources = [tmp_path / "export.tsv", tmp_path / "goa.gaf"]
    table = make_labels(sources, ids=tmp_path / "x.fasta", columns=["ec_class", "symbol"])
    assert table.rows() == [("sp|P68871|HBB_HUMAN", None, "HBB"), ("P00519-2", "2", None)]
    with pytest.raises(UsageError, match="two sources have a column 'go'"):
        make_labels(sources)
    with pytest.raises(BadInputError, match="no id has a label"):
        make_labels(sources[0], ids=["Q1"])


@pytest.mark.parametrize(
    ("own", "wanted", "matched"),
    [
        (["P68871"], ["sp|P68871|HBB_HUMAN"], ["P68871"]),
        (["HBB_HUMAN"], ["tr|P68871|HBB_HUMAN/7-107"], ["HBB_HUMAN"]),
        (["sp|P68871|HBB_HUMAN"], ["P68871/1-20", "P68871/30-90"], ["sp|P68871|HBB_HUMAN"] * 2),
        (["A0A0B4J2F0"], ["A0A0B4J2F0-2"], ["A0A0B4J2F0"]),
        (["NP_000509"], ["NP_000509.1"], ["NP_000509"]),
        (["a/1-5", "a/9-12"], ["a"], []),  # which of the two is not known
        (["P68871"], ["P6887"], []),
    ],
)
def test_ids_of_one_protein_are_matched(own: list[str], wanted: list[str], matched: list[str]) -> None:
    frame = pl.DataFrame({"id": own, "was": own})
    found = match_ids(frame, wanted, "labels")
    if matched:
        assert found.rows() == list(zip(wanted, matched, strict=True))
    else:
        assert found.equals(frame)


def test_ids_that_are_the_same_are_not_matched_otherwise() -> None:
    frame = pl.DataFrame({"id": ["P1/1-5", "P68871"]})
    assert match_ids(frame, ["P1/1-5", "sp|P68871|HBB_HUMAN"], "labels").equals(frame)


def test_labels_table_is_written_with_provenance_and_a_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], examples: Path
) -> None:
    write_labels(examples / "families.sto", tmp_path / "labels.tsv")
    assert (tmp_path / "labels.tsv.provenance.json").is_file()
    assert capsys.readouterr().err == (
        "family: 14 values, known for 822 of 822 ids\nclan: 8 values, known for 550 of 822 ids\n"
        "family_name: 14 values, known for 822 of 822 ids\n"
    )
    assert read_labels(tmp_path / "labels.tsv").rows() == make_labels(examples / "families.sto").rows()


def test_evidence_may_be_named_by_kind_and_by_code() -> None:
    config = MakeLabelsConfig(evidence=("author", "ida"))
    assert config.evidence == ("author", "IDA")
    assert config.evidence_codes == {"TAS", "NAS", "IDA"}
