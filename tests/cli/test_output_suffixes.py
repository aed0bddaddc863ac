"""The suffix of an output determines its format; unknown suffixes are rejected, with a list, before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from phylocli.formats import read_families

CASES = {
    "align": (["align", "FAMILIES"], ".sto"),
    "tree": (["tree", "FAMILIES"], ".nwk"),
    "simulate": (["simulate"], ".fasta"),
    "families": (["families", "GLOBINS"], ".sto"),
    "fetch": (["fetch", "PF00042"], ".sto"),
    "pairs": (["pairs", "FAMILIES"], ".parquet"),
    "views": (["views", "identity", "FAMILIES"], ".parquet"),
    "embed": (["embed", "GLOBINS"], ".npz"),
    "map": (["map", "GLOBINS"], ".html"),
    "search": (["search", "GLOBINS", "GLOBINS"], ".tsv"),
    "picture": (["tree", "FAMILIES", "--draw", "WRONG"], ".svg"),
}


@pytest.mark.parametrize("case", CASES)
def test_an_unknown_suffix_is_refused_with_the_list(
    cli: Callable[..., Result], examples: Path, tmp_path: Path, case: str
) -> None:
    words, known = CASES[case]
    wrong = tmp_path / "out.xyz"
    paths = {"FAMILIES": examples / "families.sto", "GLOBINS": examples / "globins.fasta", "WRONG": wrong}
    arguments = [paths.get(word, word) for word in words]
    output = ["-o", wrong if case != "picture" else tmp_path / "out.sto"]
    done = cli(*arguments, *output)
    assert done.exit_code == 2, done.output
    assert "cannot be written as .xyz" in done.stderr and known in done.stderr
    assert not list(tmp_path.glob("out*"))


def test_a_suffix_names_the_format_of_families_and_trees(cli: Callable[..., Result], examples: Path, tmp_path: Path) -> None:
    assert cli("simulate", "--tips", "5", "-o", tmp_path / "t.nwk").exit_code == 0
    assert (tmp_path / "t.nwk").read_text().startswith("(")
    assert cli("simulate", "--tips", "5", "-o", tmp_path / "t.sto").exit_code == 0
    aligned = cli("align", tmp_path / "t.sto", "--engine", "none", "-o", tmp_path / "t.afa")
    assert aligned.exit_code == 0, aligned.output
    (stockholm,), (fasta,) = (list(read_families(tmp_path / name)) for name in ("t.sto", "t.afa"))
    assert fasta.ids == stockholm.ids and [row.replace(".", "-").upper() for row in fasta.rows] == stockholm.rows
    several = cli("align", examples / "families.sto", "--engine", "none", "-o", tmp_path / "several.fasta")
    assert several.exit_code == 2 and "FASTA contains one family" in several.stderr
    assert not list(tmp_path.glob("*several*"))
