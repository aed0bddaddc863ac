"""Pictures of trees: every name is there, lengths are to scale, the same tree gives the same bytes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from phylocli.core.errors import UsageError
from phylocli.formats.family import Family
from phylocli.formats.newick import NewickTree, parse
from phylocli.simulate import random_tree
from phylocli.tree.draw import MAX_TEXT_TIPS, check_target, draw_file, draw_text, drawn, scale_length

TREE = parse("((a:1,'b $x$':1):1,(c:0.5,d:3):0.5);")


def test_text_has_a_line_for_each_tip_with_lengths_to_scale() -> None:
    lines = draw_text(TREE, width=80).splitlines()
    assert [line.split()[-1] for line in lines[:4]] == ["a", "$x$", "c", "d"]
    assert lines[:2] == [lines[0], lines[1]]
    ends = [line.rstrip("abcd$x ").rstrip() for line in lines[:4]]
    length = np.array([len(end) for end in ends]) - 1
    assert length / length[3] == pytest.approx(np.array([2, 2, 1, 3.5]) / 3.5, abs=0.03)
    assert lines[-1].endswith("0.5 substitutions per site")


def test_lines_of_text_join_at_every_node() -> None:
    """Each character's arms meet arms of its neighbours."""
    arms = {
        "─": "l",
        "│": "ud",
        "┘": "ul",
        "┐": "dl",
        "┌": "dr",
        "└": "ur",
        "├": "udr",
        "┤": "udl",
        "┬": "dlr",
        "┴": "ulr",
        "┼": "udlr",
    }
    tree = random_tree(30, np.random.default_rng(1))
    rows = draw_text(tree, width=100).splitlines()[:30]
    grid = {(y, x): set(arms.get(c, "")) for y, row in enumerate(rows) for x, c in enumerate(row)}
    for (y, x), here in grid.items():
        if "u" in here:
            assert "d" in grid[y - 1, x]
        if "d" in here:
            assert "u" in grid[y + 1, x]
        if "l" in here:
            assert "r" in grid[y, x - 1] or rows[y][x - 1] == "─"  # which ends at a tip and goes on elsewhere


def test_a_large_tree_is_thinned_in_the_terminal() -> None:
    tree = random_tree(3 * MAX_TEXT_TIPS, np.random.default_rng(0))
    assert len(draw_text(tree, width=100).splitlines()) == MAX_TEXT_TIPS + 2


@pytest.mark.parametrize("newick", ["a;", "(a:0,b:0);", "(a:1,b:1,c:1,d:2);"])
def test_odd_trees_are_drawn(newick: str, tmp_path: Path) -> None:
    assert "a" in draw_text(parse(newick), width=60)
    draw_file(parse(newick), tmp_path / "tree.svg")
    assert (tmp_path / "tree.svg").stat().st_size > 500


def test_svg_holds_the_names_as_text_and_does_not_change(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        draw_file(TREE, tmp_path / name, title="PF1")
    text = (tmp_path / "one.svg").read_text()
    for label in ("a", "b $x$", "c", "d", "PF1, 4 members", "0.5 substitutions per site"):
        assert re.search(rf">{re.escape(label)}</text>", text)
    assert text == (tmp_path / "two.svg").read_text()


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_other_formats_follow_the_suffix(suffix: str, magic: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"tree{suffix}"
    draw_file(TREE, path)
    assert path.read_bytes().startswith(magic)


def test_several_families_get_a_file_each(tmp_path: Path) -> None:
    families = [
        Family(["a", "b"], ["MK", "ML"], accession=name, tree=NewickTree("(a:1,b:1);")) for name in ("PF1", "x/../y")
    ]
    assert len(list(drawn(families, tmp_path / "tree.svg"))) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tree.PF1.svg", "tree.x_.._y.svg"]
    list(drawn(families[:1], tmp_path / "alone.svg"))
    assert (tmp_path / "alone.svg").is_file()


def test_a_suffix_that_is_no_picture_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"a picture cannot be written as \.txt"):
        check_target("tree.txt")
    check_target("-")


def test_scale_bars_have_round_lengths_of_at_most_a_fifth() -> None:
    assert [scale_length(x) for x in (1.0, 5.0, 9.9, 0.02, 0.0)] == pytest.approx([0.2, 1.0, 1.0, 0.002, 0.0])


def test_support_is_drawn_on_its_branch_if_there_is_room(tmp_path: Path) -> None:
    tree = parse("((a:1,b:1)97.2:2,((c:1,d:1)50:0.01,(e:1,f:3)Clade:2)80/0.9:3,g:7);")
    text = draw_text(tree, width=100)
    assert "─97.2─┬─" in text
    assert "─80/0.9─" in text
    assert "50" not in text
    assert "Clade" not in text
    assert [len(line) for line in text.splitlines()] == [
        len(line) for line in draw_text(parse(re.sub(r"\)[\d./]+:", "):", tree.to_newick())), width=100).splitlines()
    ]
    draw_file(tree, tmp_path / "tree.svg")
    drawing = (tmp_path / "tree.svg").read_text()
    assert all(f">{label}<" in drawing for label in ("97.2", "50", "80/0.9"))
    assert ">Clade<" not in drawing


def test_a_text_picture_is_ascii_where_the_terminal_has_no_box_characters(monkeypatch):
    import io

    family = Family(["Zoë", "b"], ["AC", "AD"], tree=NewickTree("(Zoë:1,b:2);"))
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", out)
    list(drawn([family], "-", text_to_stdout=True))
    out.flush()
    text = out.buffer.getvalue().decode("ascii")
    assert "Zo\\xeb" in text and "+--" in text
