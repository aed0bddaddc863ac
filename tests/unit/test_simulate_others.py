"""Against an independent simulator, where it is installed: pyvolve under LG + Γ4 + I on the same tree."""

from __future__ import annotations

import numpy as np
import pytest

from phylocli.alphabet import encode_states
from phylocli.formats.newick import Tree
from phylocli.simulate import IndelModel, RateModel, Settings, TreeModel, birth_death, scaled, simulate_families


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_site_patterns_are_those_of_pyvolve() -> None:
    pyvolve = pytest.importorskip("pyvolve")
    tree = scaled(birth_death(8, np.random.default_rng(0), extinction=0.3), mean_distance=1.0)
    columns, alpha, invariant = 40_000, 0.6, 0.2
    # The mean rate of its variable sites is 1, so its branches must be longer to mean the same.
    longer = Tree(tree.parent, tree.length / (1 - invariant), tree.names).to_newick()
    model = pyvolve.Model("LG", alpha=alpha, num_categories=4, pinv=invariant)
    evolver = pyvolve.Evolver(tree=pyvolve.read_tree(tree=longer), partitions=pyvolve.Partition(models=model, size=columns))
    evolver(seqfile=None, ratefile=None, infofile=None, seed=1)
    theirs = evolver.get_sequences()
    settings = Settings(
        TreeModel(given=(tree,)), (columns, columns), rates=RateModel(alpha, 4, invariant), indels=IndelModel(0, 0)
    )
    ours = next(simulate_families(settings, seed=2)).family
    first = encode_states(ours.rows)
    second = encode_states([theirs[name] for name in ours.ids])
    i, j = np.triu_indices(8, 1)
    # The standard error of a difference of two shares of 40,000 sites is 0.0035 at most.
    np.testing.assert_allclose((first[i] == first[j]).mean(1), (second[i] == second[j]).mean(1), atol=0.012)
    for kinds in (1, 2, 3):
        shares = [(np.array([len(set(c)) for c in s.T]) == kinds).mean() for s in (first, second)]
        assert shares[0] == pytest.approx(shares[1], abs=0.012)
