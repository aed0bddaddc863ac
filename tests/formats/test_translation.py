"""Coding DNA as input: translated in frame, gaps kept, and refused where it does not code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from typer.testing import Result

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import Sequence, read_families, read_sequences
from phylocli.formats.translation import translate


@pytest.mark.parametrize(
    ("letters", "protein", "code"),
    [
        ("ATGAAAGTTTAA", "MKV", 1),
        ("augaaaguu", "MKV", 1),
        ("ATGAAAGTTCC", "MKV", 1),  # two letters after the last codon
        ("ATGNNNGTR", "MXV", 1),  # GTR is valine whatever R is
        ("ATGTGAAAA", "MWK", 4),  # TGA is tryptophan in mycoplasmas
        ("ATG---GTTTAA", "M-V-", 1),
    ],
)
def test_codons_become_residues(letters: str, protein: str, code: int) -> None:
    assert translate(Sequence("a", letters), code).residues == protein


@pytest.mark.parametrize(
    ("letters", "said"),
    [
        ("ATGTAAAAA", "codon 2 is a stop codon"),
        ("MKVLAAGIVG", "holds 'L'|contains 'L'|'L' at position"),
        ("ATG-AAGTT", "cannot be translated"),
        ("AT", "has no codon"),
    ],
)
def test_what_does_not_code_is_an_error(letters: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        translate(Sequence("a", letters))


def test_an_unknown_code_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no genetic code 7"):
        translate(Sequence("a", "ATG"), 7)


def test_files_are_translated_where_they_hold_nucleotides(tmp_path: Path) -> None:
    (tmp_path / "x.fna").write_text(">a one\nATGAAAGTT\n>b\nATGAAAGTTTAA\n")
    assert [s.residues for s in read_sequences(tmp_path / "x.fna", genetic_code=1)] == ["MKV", "MKV"]
    (tmp_path / "codons.fna").write_text(">a\nATGAAAGTT\n>b\nATG---GTT\n")
    (family,) = read_families(tmp_path / "codons.fna", genetic_code=1)
    assert family.aligned and family.rows == ["MKV", "M-V"]


def test_embed_and_families_translate_and_say_so_where_they_do_not(cli: Callable[..., Result], tmp_path: Path) -> None:
    gene = "ATGGCTCTGTGGATGCGTCTGCTGCCGCTGCTGGCGCTGCTGGCGCTGTGGGGTCCGGATCCGGCGGCGGCGTTTGTGAACCAGCATCTGTGC"
    (tmp_path / "x.fna").write_text(f">a\n{gene}\n")
    (tmp_path / "x.faa").write_text(f">a\n{translate(Sequence('a', gene)).residues}\n")
    plain = cli("embed", tmp_path / "x.fna", "-o", tmp_path / "dna.parquet")
    assert "looks like nucleotides" in plain.stderr and "--translate" in plain.stderr
    for name, more in (("x.fna", ["--translate"]), ("x.faa", [])):
        assert cli("embed", tmp_path / name, "-o", tmp_path / f"{name}.parquet", *more).exit_code == 0
    first, second = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("x.fna", "x.faa"))
    assert first.equals(second) and first["length"].to_list() == [len(gene) // 3]
    wrong = cli("embed", tmp_path / "x.faa", "--translate", "-o", tmp_path / "y.parquet")
    assert wrong.exit_code == 65 and not (tmp_path / "y.parquet").exists()
