import doctest
import inspect
import io
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
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


@pytest.fixture
def small(tmp_path, monkeypatch, examples):
    """A working folder with a few small families and labels of their members."""
    monkeypatch.chdir(tmp_path)
    families = [f for f in phylocli.read_families(examples / "families.sto") if len(f) < 14]
    (tmp_path / "examples").mkdir()
    phylocli.write_families(families, "examples/families.sto")
    return families


def test_the_chain_in_five_lines(small):
    sequences = [sequence for family in small for sequence in family.sequences()]
    labels = pl.DataFrame({"id": [s.id for s in sequences], "family": [f.accession for f in small for _ in f.ids]})

    families = phylocli.read_families("examples/families.sto")
    trees = phylocli.infer_trees(phylocli.align_families(families))
    pairs = phylocli.sample_pairs(trees, min_dist=0.5)
    table = phylocli.load_model("default").embed(sequences)
    report = phylocli.probe(table, labels, replicates=200, projection="none")

    assert set(pairs["family"]) <= {family.accession for family in small}
    assert pairs["distance"].min() >= 0.5
    assert table.numpy().shape == (len(sequences), 1024)
    assert table.to_polars().columns[0] == "id"
    assert "retrieval" in report.to_polars()["task"].to_list()


def test_the_example_of_the_package_runs(small):
    assert doctest.testmod(phylocli).failed == 0


@pytest.mark.parametrize("name", phylocli.__all__)
def test_every_name_is_in_the_file_that_type_checkers_read(name):
    text = (ROOT / "tests" / "public_api.py").read_text(encoding="utf-8")
    assert re.search(rf"\bphylocli\.{name}\b|import .*\b{name}\b", text)


def test_a_type_checker_sees_the_names_and_their_types_and_refuses_wrong_ones(tmp_path):
    wrong = "\nphylocli.read_familes('families.sto')\nphylocli.write_families(3, 'x')\n"
    (tmp_path / "client.py").write_text((ROOT / "tests" / "public_api.py").read_text(encoding="utf-8") + wrong)
    # The options and the cache of `make types`, so that only the client is new.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", tmp_path / "client.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    misspelt, mistyped = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert 'Module has no attribute "read_familes"' in misspelt
    assert "incompatible type" in mistyped
