"""Trees of records: lazy parsing, and unchanged output."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest

from phylocli.core.errors import BadInputError
from phylocli.formats import Family, stockholm
from phylocli.formats.newick import NewickTree, parse


def record(newick: str) -> str:
    return f"# STOCKHOLM 1.0\n#=GF ID T\n#=GF NH {newick}\na MKV\nb MKA\nc MKI\n//\n"


def read(newick: str) -> Family:
    lines = enumerate(record(newick).splitlines(), 1)
    return next(stockholm.parse(lines, "test"))


def written(family: Family) -> str:
    stream = io.StringIO()
    stockholm.write_family(family, stream)
    return stream.getvalue()


def test_unused_tree_is_written_unchanged():
    text = "( (a:0.100000000000,b:2e-1 )'x y':1,c[&comment]:1.0);"
    assert f"#=GF NH   {text}\n" in written(read(text))
    used = read(text)
    assert used.require_tree().tip_names() == ["a", "b", "c"]
    assert f"#=GF NH   {text}\n" in written(used)


def test_a_tree_that_is_not_newick_is_refused_only_when_it_is_used():
    family = read("((a,b,c);")
    assert family.has_tree and "((a,b,c);" in written(family)
    with pytest.raises(BadInputError, match="the tree of T is not valid Newick"):
        family.require_tree()


def test_a_tree_in_memory_is_the_one_that_a_file_holds():
    tree = parse("((a:0.12345678901234,b:1):0.333333333333333,c:1e-7);")
    family = read("(a,b,c);").with_tree(tree)
    [again] = stockholm.parse(enumerate(written(family).splitlines(), 1), "test")
    assert again.require_tree() == family.require_tree()
    assert family.require_tree().length[2] == 0.1234567890


def test_a_tree_survives_pickling_before_and_after_it_was_parsed():
    tree = NewickTree("(a:1,b:2);")
    assert pickle.loads(pickle.dumps(tree)).tip_names() == ["a", "b"]
    assert tree.tip_names() == ["a", "b"]
    assert np.array_equal(pickle.loads(pickle.dumps(tree)).length, tree.length)
