import doctest
import inspect
import io
import subprocess
import sys
from pathlib import Path

import pytest

import phylocli

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", phylocli.__all__)
def test_every_name_has_an_example_that_runs(name, tmp_path, monkeypatch):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    thing = getattr(phylocli, name)
    assert name in dir(phylocli)
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(thing), {"phylocli": phylocli}, name, None, None)
    assert test.examples
    skipped = [example for example in test.examples if example.options.get(doctest.SKIP)]
    assert not skipped or name in ("fetch_families", "run_chain")  # they need the network, or minutes
    said = io.StringIO()
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.write)
    assert not said.getvalue(), said.getvalue()


def test_importing_is_light():
    code = "import sys, phylocli; print([m for m in ('torch', 'numpy', 'polars', 'pyhmmer') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = phylocli.nonsense


def test_the_chain_in_python(examples):
    families = [f for f in phylocli.read_families(examples / "families.sto") if f.accession == "PF05893"]
    trees = list(phylocli.infer_trees(phylocli.align_families(families)))
    assert sorted(trees[0].require_tree().tip_names()) == sorted(families[0].ids)
    frame = phylocli.sample_pairs(trees, number=20, seed=0)
    assert frame.height == 20
    sampler = phylocli.PairSampler(trees[0].require_tree())
    assert sampler.n_tips == len(families[0])


CLIENT = """
from collections.abc import Iterator
from typing import assert_type

import phylocli

families = phylocli.read_families("families.sto")
assert_type(families, Iterator[phylocli.Family])
trees = phylocli.infer_trees(phylocli.align_families(families))
assert_type(trees, Iterator[phylocli.Family])
assert_type(phylocli.read_embeddings("globins.parquet"), phylocli.EmbeddingTable)
assert_type(phylocli.__version__, str)
phylocli.read_familes("families.sto")
"""


def test_a_type_checker_sees_the_names_and_their_types(tmp_path):
    (tmp_path / "client.py").write_text(CLIENT)
    # The options and the cache of `make types`, so that only the client is new.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", tmp_path / "client.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    (error,) = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert 'Module has no attribute "read_familes"' in error
