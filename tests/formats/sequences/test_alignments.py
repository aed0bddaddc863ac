"""Clustal, PHYLIP and NEXUS: the rows as other programs wrote them, in each variant of the format."""

from __future__ import annotations

from pathlib import Path

import pytest
from Bio import AlignIO
from Bio.Align import MultipleSeqAlignment
from Bio.Seq import Seq
from Bio.SeqRecord import SeqRecord

from phylocli.core.errors import BadInputError
from phylocli.formats import read_families, read_sequences

ROWS = {
    "HBA_HUMAN": "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERMFLSFPTTKTYFPHF-DLSHGSAQVKGHGKKVADALTNAVAHVDDM",
    "HBB_HUMAN": "MVHLTPEEKSAVTALWGKV--NVDEVGGEALGRLLVVYPWTQRFFESFGDLSTPDAVMGNPKVKAHGKKVLGAFSDGL",
    "MYG_HORSE": "MGLSDGEWQQVLNVWGKVEADIAGHGQEVLIRLFTGHPETLEKFDKFKHLKTEAEMKASEDLKKHGTVVLTALGGILK",
}


def written(path: Path, format: str) -> Path:
    records = [SeqRecord(Seq(row), id=name, annotations={"molecule_type": "protein"}) for name, row in ROWS.items()]
    AlignIO.write([MultipleSeqAlignment(records)], path, format)
    return path


@pytest.mark.parametrize("format", ["clustal", "phylip", "phylip-relaxed", "phylip-sequential", "nexus"])
@pytest.mark.parametrize("suffix", ["", ".txt"])
def test_rows_names_and_gaps_are_those_of_the_file(tmp_path: Path, format: str, suffix: str) -> None:
    path = written(tmp_path / f"globins{suffix}", format)
    (family,) = read_families(path)
    assert dict(zip(family.ids, family.rows, strict=True)) == ROWS
    assert family.aligned and family.label == "globins"
    assert [s.residues for s in read_sequences(path)] == [row.replace("-", "") for row in ROWS.values()]


def test_an_alignment_without_gaps_is_one_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "x.phy").write_text(" 2 6\nalpha MKVLAA\nbeta  MKVIAA\n")
    (family,) = read_families(tmp_path / "x.phy")
    assert family.aligned and family.rows == ["MKVLAA", "MKVIAA"]


def test_conservation_lines_and_counts_of_clustal_are_no_residues(tmp_path: Path) -> None:
    blocks = "a      MKV-LA\t5\nb      MKVILA\t6\n       *** **\n\na      GG\t7\nb      GA\t8\n"
    (tmp_path / "x").write_text(f"CLUSTAL O(1.2.4) multiple sequence alignment\n\n\n{blocks}")
    (family,) = read_families(tmp_path / "x")
    assert family.rows == ["MKV-LAGG", "MKVILAGA"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CLUSTAL W\n\n", "cannot be read as Clustal"),
        (" 3 10\na MKV\n", "cannot be read as PHYLIP"),
        ("#NEXUS\nbegin trees;\ntree t = (a,b);\nend;\n", "it is a file of trees"),
    ],
)
def test_damage_is_an_error_that_names_the_format(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(BadInputError, match=said):
        list(read_families(tmp_path / "x"))
