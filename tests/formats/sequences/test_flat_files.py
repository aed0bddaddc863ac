"""FASTQ and GenBank as inputs, and several inputs as one."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from Bio import SeqIO
from Bio.Seq import Seq
from Bio.SeqFeature import FeatureLocation, SeqFeature
from Bio.SeqRecord import SeqRecord

from phylocli.core.errors import BadInputError
from phylocli.formats import read_sequences

GENE = "ATGAAAACCGCGTATATTGCGTAA"  # MKTAYIA*


def genome(path: Path) -> Path:
    """A record with a stored translation, one to be translated on the reverse strand, one without a name, a pseudogene."""
    letters = GENE + "CC" + str(Seq(GENE).reverse_complement()) + "CC" + GENE
    record = SeqRecord(Seq(letters), id="CHR1.1", name="CHR1", annotations={"molecule_type": "DNA"})
    stored = {"protein_id": ["AAA1.1"], "product": ["a kinase"], "translation": ["MKTAYIA"]}
    turned = {"locus_tag": ["b0002"], "transl_table": ["11"], "codon_start": ["1"]}
    record.features = [
        SeqFeature(FeatureLocation(0, 24, strand=1), "gene"),
        SeqFeature(FeatureLocation(0, 24, strand=1), "CDS", qualifiers=stored),
        SeqFeature(FeatureLocation(26, 50, strand=-1), "CDS", qualifiers=turned),
        SeqFeature(FeatureLocation(52, 76, strand=1), "CDS"),
        SeqFeature(FeatureLocation(52, 76, strand=1), "CDS", qualifiers={"pseudo": [""], "locus_tag": ["gone"]}),
    ]
    SeqIO.write(record, path, "genbank")
    return path


def test_coding_sequences_of_genbank_are_proteins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = list(read_sequences(genome(tmp_path / "g.gbk")))
    assert [(s.id, s.residues) for s in found] == [("AAA1.1", "MKTAYIA"), ("b0002", "MKTAYIA"), ("CHR1.1_3", "MKTAYIA")]
    assert found[0].description == "a kinase" and "CDS 2" in found[1].where
    assert "1 pseudogene left out" in capsys.readouterr().err


def test_nucleotides_of_genbank_are_the_record_itself(tmp_path: Path) -> None:
    (whole,) = read_sequences(genome(tmp_path / "g.gbk"), letters="dna")
    assert whole.id == "CHR1.1" and len(whole.residues) == 76


@pytest.mark.parametrize(("suffix", "format"), [("gp", "genbank"), ("embl", "embl")])
def test_protein_records_are_sequences_themselves(tmp_path: Path, suffix: str, format: str) -> None:
    record = SeqRecord(Seq("MKTAYIA"), id="P1.1", name="P1", description="one", annotations={"molecule_type": "protein"})
    SeqIO.write(record, tmp_path / f"p.{suffix}", format)
    (found,) = read_sequences(tmp_path / f"p.{suffix}")
    assert found.id.startswith("P1") and found.residues.upper() == "MKTAYIA"
    with pytest.raises(BadInputError, match="nucleotides are needed"):
        list(read_sequences(tmp_path / f"p.{suffix}", letters="dna"))


def test_fastq_is_read_compressed_or_not_on_any_number_of_lines(tmp_path: Path) -> None:
    data = b"@r1 first\nMKT\nAYIA\n+\nIIIIIII\n@r2\nMK\n+r2\n@I\n"
    (tmp_path / "r.fq.gz").write_bytes(gzip.compress(data))
    assert [(s.id, s.residues) for s in read_sequences(tmp_path / "r.fq.gz")] == [("r1", "MKTAYIA"), ("r2", "MK")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"@r1\nMK\n+\nI\n", "after read 0: not FASTQ"),
        (b"@r1\nMK\n+\nII\n@r2\nM", "after read 1: not FASTQ"),
        (b"@r1\n\n+\n\n", "no letters"),
        (b"LOCUS       X 8 bp DNA\nORIGIN\n", "not GenBank|has no sequence|is empty"),
        (b"LOCUS       X          100 aa            linear   UNK\nDEFINITION  x\n//\n", "not GenBank"),
    ],
)
def test_errors_give_their_position(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(BadInputError, match=message):
        list(read_sequences(tmp_path / "x"))


def test_several_inputs_are_one_with_one_rule_for_ids(tmp_path: Path) -> None:
    (tmp_path / "a.fasta").write_text(">x\nMK\n>y\nMKV\n")
    (tmp_path / "b.fastq").write_text("@x\nMA\n+\nII\n")
    both = [tmp_path / "a.fasta", tmp_path / "b.fastq"]
    with pytest.raises(BadInputError, match="'x' occurs twice"):
        list(read_sequences(both))
    assert [s.id for s in read_sequences(both, on_duplicate="rename")] == ["x", "y", "x.2"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_fastq_as_editors_save_it(tmp_path, encoding):
    (tmp_path / "in").write_bytes("@Zoë\nACDE\n+\nIIII\n".encode(encoding))
    assert [(s.id, s.residues) for s in read_sequences(tmp_path / "in")] == [("Zoë", "ACDE")]


def test_embl_is_read_as_genbank_is(tmp_path: Path) -> None:
    genome(tmp_path / "g.gbk")
    SeqIO.convert(tmp_path / "g.gbk", "genbank", tmp_path / "g.embl", "embl")
    by_genbank, by_embl = ([(s.id, s.residues) for s in read_sequences(tmp_path / f"g.{x}")] for x in ("gbk", "embl"))
    assert by_embl == by_genbank
    (whole,) = read_sequences(tmp_path / "g.embl", letters="dna")
    assert len(whole.residues) == 76


UNIPROT = """\
ID   CRAM_CRAAB              Reviewed;          46 AA.
AC   P01542;
DT   21-JUL-1986, integrated into UniProtKB/Swiss-Prot.
DE   RecName: Full=Crambin;
OS   Crambe hispanica subsp. abyssinica.
SQ   SEQUENCE   46 AA;  4736 MW;  919E68AF159EF722 CRC64;
     TTCCPSIVAR SNFNVCRLPG TPEALCATYT GCIIIPGATC PGDYAN
//
"""


def test_a_uniprot_flat_file_gives_entry_names_accessions_and_sequences(tmp_path: Path) -> None:
    (tmp_path / "x.dat").write_text(UNIPROT)
    (found,) = read_sequences(tmp_path / "x.dat")
    assert (found.id, found.residues) == ("CRAM_CRAAB", "TTCCPSIVARSNFNVCRLPGTPEALCATYTGCIIIPGATCPGDYAN")
    assert found.description.startswith("P01542 RecName: Full=Crambin")


def test_genbank_without_coding_sequences_says_so(tmp_path: Path) -> None:
    record = SeqRecord(Seq(GENE), id="C.1", name="C", annotations={"molecule_type": "DNA"})
    SeqIO.write(record, tmp_path / "x.gbk", "genbank")
    with pytest.raises(BadInputError, match="contains no protein\nwhy: of 1 nucleotide record none has a coding sequence"):
        list(read_sequences(tmp_path / "x.gbk"))
    assert [len(s.residues) for s in read_sequences(tmp_path / "x.gbk", letters="dna")] == [len(GENE)]
