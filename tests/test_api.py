import subprocess
import sys

import pytest

import phylocli


@pytest.mark.parametrize("name", sorted(phylocli._EXPORTS))
def test_every_name_is_there_and_documented(name):
    thing = getattr(phylocli, name)
    assert thing.__doc__
    assert name in dir(phylocli)


def test_importing_is_light():
    code = "import sys, phylocli; print([m for m in ('torch', 'numpy', 'polars', 'pyhmmer') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = phylocli.nonsense


def test_the_chain_in_python(examples):
    families = [f for f in phylocli.read_families(examples / "families.sto") if f.accession == "PF05893"]
    trees = list(phylocli.infer_trees(phylocli.align_families(families)))
    assert sorted(trees[0].tree().tip_names()) == sorted(families[0].ids)
    (frame,) = phylocli.draw_pairs(trees, number=20, seed=0)
    assert frame.height == 20
    sampler = phylocli.PairSampler(trees[0].tree())
    assert sampler.n_tips == len(families[0])
