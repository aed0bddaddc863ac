"""The command `tree`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from phylocli.formats import read_families, write_families
from phylocli.formats.newick import parse
from phylocli.store import Store


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, examples: Path) -> Path:
    """Three small families."""
    path = tmp_path_factory.mktemp("tree") / "small.sto"
    wanted = ("PF02790", "PF03773", "PF01073")
    write_families([f for f in read_families(examples / "families.sto") if f.accession in wanted], path)
    return path


def test_every_family_gets_a_tree_and_a_note(phylocli: Callable, examples: Path, tmp_path: Path) -> None:
    result = phylocli("tree", examples / "families.sto", "-o", "trees.sto")
    assert result.returncode == 0, result.stderr
    found = list(read_families(tmp_path / "trees.sto"))
    given = list(read_families(examples / "families.sto"))
    assert [f.accession for f in found] == [f.accession for f in given]
    for family in found:
        assert sorted(family.require_tree().tip_names()) == sorted(family.ids)
        assert family.notes[-1].startswith("tree BME+NNI, scikit-bio")
    record = json.loads((tmp_path / "trees.sto.provenance.json").read_text())
    assert record["stage"] == "tree"


def test_align_and_tree_chain_in_a_pipe_and_end_in_newick(phylocli: Callable, small: Path) -> None:
    aligned = phylocli("align", small, "-t", "1")
    result = phylocli("tree", "--format", "newick", "--engine", "nj", "--root", "minvar", input=aligned.stdout)
    assert result.returncode == 0, result.stderr
    trees = [parse(line) for line in result.stdout.decode().splitlines()]
    assert [len(tree.tips()) for tree in trees] == [8, 11, 11]
    assert all(len(tree.children()[0]) == 2 for tree in trees)


def test_one_bad_family_is_listed_and_the_others_are_written(phylocli: Callable, small: Path, tmp_path: Path) -> None:
    bad = "# STOCKHOLM 1.0\n#=GF AC PF99999.1\na MK1\nb MKV\n//\n"
    (tmp_path / "mixed.sto").write_text(bad + small.read_text())
    result = phylocli("tree", "mixed.sto", "-o", "trees.sto")
    assert result.returncode == 65
    assert b"warning: PF99999: " in result.stderr
    assert b"1 of 4 families got no tree" in result.stderr
    assert len(list(read_families(tmp_path / "trees.sto"))) == 3


def test_a_family_alone_that_fails_leaves_no_file(cli: Callable, tmp_path: Path) -> None:
    result = cli("tree", "-", "-o", tmp_path / "trees.sto", input=b">a\nMKV\n>b\nMK\n")
    assert result.exit_code == 65
    assert "phylocli align" in result.stderr
    assert not (tmp_path / "trees.sto").exists()


def test_a_tree_from_elsewhere_is_attached_rooted_and_drawn(cli: Callable, tmp_path: Path) -> None:
    (tmp_path / "a.fasta").write_text(">a\nMKVL-\n>b\nMKVLA\n>c\nMRVLA\n>d\nMRVIA\n")
    (tmp_path / "mine.nwk").write_text("(a:0.1,b:0.2,(c:0.1,d:0.4):0.3);\n")
    out, picture = tmp_path / "mine.sto", tmp_path / "mine.svg"
    result = cli(
        "tree", tmp_path / "a.fasta", "--tree", tmp_path / "mine.nwk", "--outgroup", "d", "--draw", picture, "-o", out
    )
    assert result.exit_code == 0, result.stderr
    [family] = read_families(out)
    tree = family.require_tree()
    assert "d" in {tree.names[child] for child in tree.children()[0]}
    assert family.notes == ["tree from mine.nwk, root outgroup"]
    assert b"substitutions per site" in picture.read_bytes()


def test_a_picture_in_the_terminal_stays_out_of_the_data(cli: Callable, small: Path, tmp_path: Path) -> None:
    result = cli("tree", small, "--draw", "-")
    assert result.stdout.count("# STOCKHOLM") == 3
    assert "─" in result.stderr
    assert "─" not in result.stdout
    result = cli("tree", small, "--draw", "-", "-o", tmp_path / "t.sto")
    assert "─" in result.stdout


def test_families_of_the_store_get_their_trees_there(cli: Callable, small: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "shelf")
    for family in read_families(small):
        store.write(family, "fetch", {})
    result = cli("tree", "--all", "--store", store.root)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert all(family.tree.to_newick() for family in store.families())
    for accession in store.accessions():  # the records of the others are not inputs of a family
        names = [Path(str(record["name"])).name for record in store.origin(accession)["inputs"]]
        assert names == [f"{accession}.sto.gz"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--engine", "vryfasttree"], 2, "did you mean 'veryfasttree'"),
        (["--model", "dayhoff"], 2, "unknown distance or model"),
        (["--alpha", "-1"], 2, "--alpha"),
        (["--root", "top"], 2, "--root must be midpoint, minvar or none"),
        (["--format", "nexus"], 2, "unknown tree format"),
        (["--draw", "tree.txt"], 2, "a picture cannot be written"),
        (["--outgroup", "nobody"], 0, "no member of"),
        (["--tree", "/nowhere.nwk"], 65, "no such file"),
    ],
)
def test_invalid_options_have_their_exit_codes(
    cli: Callable, small: Path, arguments: list[str], code: int, said: str
) -> None:
    result = cli("tree", small, *arguments)
    assert result.exit_code == code
    assert said in result.stderr


def test_support_and_interchanges_reach_the_newick_and_the_picture(phylocli: Callable, small: Path, tmp_path: Path) -> None:
    result = phylocli("tree", small, "--nni", "--support", "alrt=200", "--format", "newick", "-o", "t.nwk", "--draw", "-")
    assert result.returncode == 0, result.stderr
    trees = [parse(line) for line in (tmp_path / "t.nwk").read_text().splitlines()]
    labels = [name for tree in trees for name, tip in zip(tree.names, tree.is_tip, strict=True) if not tip and name]
    assert len(labels) >= 15
    assert all(0 <= float(label) <= 100 for label in labels)
    assert any(f"{label}─" in result.stdout.decode() + result.stderr.decode() for label in labels)


def test_options_that_do_not_go_together(cli: Callable, small: Path, tmp_path: Path) -> None:
    (tmp_path / "t.nwk").write_text("(a,b);")
    for options in (["--nni", "--tree", tmp_path / "t.nwk"], ["--nni", "--no-refine"], ["--support", "luck"]):
        result = cli("tree", small, *options, "-o", tmp_path / "out.sto")
        assert result.exit_code == 2, result.stderr
    assert not (tmp_path / "out.sto").exists()


def test_zero_timeout_fails_every_family_cleanly(phylocli: Callable, small: Path) -> None:
    """Libraries are loaded before the timeout starts: an interrupted import could crash the process."""
    result = phylocli("tree", small, "-o", "trees.sto", "--timeout", "0.001")
    assert result.returncode == 1, result.stderr
    assert b"3 of 3 families got no tree" in result.stderr
    assert b"PF02790: stopped after 0.001 s" in result.stderr


def test_every_picture_that_is_asked_for_is_drawn(cli: Callable, small: Path, tmp_path: Path) -> None:
    pictures = [tmp_path / "a.svg", tmp_path / "b.png"]
    result = cli("tree", small, "-o", tmp_path / "t.sto", "--draw", pictures[0], "--draw", pictures[1])
    assert result.exit_code == 0, result.stderr
    assert list(tmp_path.glob("a*.svg")) and list(tmp_path.glob("b*.png"))
