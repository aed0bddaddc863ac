"""Local branch support from the likelihoods of the three resolutions of each inner branch.

aBayes is the posterior probability of the tree's resolution with equal prior probabilities of all three (Anisimova et al.,
Syst. Biol. 60:685 (2011), doi:10.1093/sysbio/syr041). SH-aLRT is the fraction of replicates, in which sites are resampled
under the hypothesis that all three resolutions are equally good (RELL), with a smaller difference of log likelihoods than
the observed one (Guindon et al., Syst. Biol. 59:307 (2010), doi:10.1093/sysbio/syq010).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from phylocli.formats.tree import Tree
from phylocli.tree.likelihood.batches import (
    CATEGORIES,
    Array,
    Problem,
    States,
    batched,
    device_named,
    ordered_rows,
    shapes_of,
)
from phylocli.tree.likelihood.forest import BinaryTree, Forest, SitePatterns
from phylocli.tree.likelihood.pruning import Pruner
from phylocli.tree.likelihood.quartets import neighbours, resolutions
from phylocli.tree.likelihood.shape import exact_rates
from phylocli.tree.models import substitution_model

_TIE = 0.05  # differences of log likelihood that exceed the resampled one by less are ties (as in PhyML and IQ-TREE)


@dataclass(frozen=True)
class LocalSupport:
    """Support of the branches of a tree; NaN above tips and the root, and for trivial splits.

    Attributes:
        abayes: posterior probability of the branch above each node, 1/3 if the data are uninformative, shape (nodes,).
        sh_alrt: SH-aLRT support of the branch above each node, 0 to 1, shape (nodes,).
        gain: log likelihood of the tree's resolution minus that of the better alternative, shape (nodes,).
    """

    abayes: Array
    sh_alrt: Array
    gain: Array


def local_support(
    trees: Sequence[Tree],
    names: Sequence[Sequence[str]],
    alignments: Sequence[States],
    *,
    model: str = "lg",
    alpha: float | Sequence[float] = 1.0,
    replicates: int = 1000,
    seed: int = 0,
    precision: str = "single",
    device: str = "cpu",
    max_bytes: int | None = None,
) -> list[LocalSupport]:
    """Compute the support of all inner branches of trees under a model with four Γ categories.

    For each of the three resolutions of a branch, the lengths of the five branches involved are optimised. All other lengths
    are those of the tree, which should be fitted. At polytomies one of the possible resolutions is tested. The two branches
    at a bifurcating root have the same value.

    Args:
        trees: trees with branch lengths (negative ones are treated as 0, missing ones as 0.1).
        names: name of each row of each alignment; the same set as the names of the tips.
        alignments: alignments as returned by `alphabet.encode_states`, shape (n, columns).
        model: `lg`, `wag`, `jtt` or `poisson`.
        alpha: shape of Γ, one for all or one for each tree.
        replicates: number of replicates of SH-aLRT; with 0 its values are NaN.
        seed: random seed of the replicates; each tree has its own random stream.
        precision, device, max_bytes: see `refine_trees`.

    Raises:
        UsageError: unknown model, precision or device, or `alpha` is not positive.
        BadInputError: names do not match the tips.
    """
    shapes = shapes_of(alpha, len(trees))
    rates_model = substitution_model(model)
    where = device_named(device)
    found = {}
    problems = []
    for i, (tree, rows) in enumerate(zip(trees, ordered_rows(trees, names, alignments), strict=True)):
        if len(rows) > 3:
            problems.append(Problem(i, BinaryTree.of(tree, rows), SitePatterns.of(rows)))
        else:
            nothing = np.full(len(tree), np.nan)
            found[i] = LocalSupport(nothing, nothing, nothing)
    for index, forest, start in batched(problems, shapes, precision=precision, device=where, max_bytes=max_bytes):
        pruner = Pruner(forest, rates_model, exact_rates(start, CATEGORIES))
        pruner.ascend()
        pruner.descend(derivatives=False)
        edges = neighbours(pruner)
        resampled = _resampled(forest, index, replicates, seed)
        family = forest.family[edges.node]
        values = torch.full((3, len(edges.node)), torch.nan, dtype=torch.float64, device=where)
        for part, three in resolutions(pruner, edges):
            values[0, part] = torch.softmax(three.total, dim=1)[:, 0]
            values[2, part] = three.total[:, 0] - three.total[:, 1:].amax(dim=1)
            if replicates:
                for tree_number in family[part].unique().tolist():
                    own = torch.nonzero(family[part] == tree_number).squeeze(1)
                    values[1, part.start + own] = _sh_alrt(three.sites[own], three.total[own], resampled[tree_number])
        columns = [forest.original_edges(row, edges.node) for row in values]
        for j, i in enumerate(index):
            abayes, sh_alrt, gain = (np.where(trees[i].is_tip, np.nan, column[j]) for column in columns)
            found[i] = LocalSupport(abayes, sh_alrt, gain)
    return [found[i] for i in range(len(trees))]


def _resampled(forest: Forest, index: list[int], replicates: int, seed: int) -> list[torch.Tensor]:
    """Return the resampled counts of the patterns of each tree, shape (replicates, patterns)."""
    counts = []
    for i, weights in zip(index, forest.weights.cpu().numpy(), strict=True):
        columns = weights.sum()
        rng = np.random.default_rng([seed, i])
        probability = weights / columns if columns else np.full(len(weights), 1 / len(weights))
        drawn = rng.multinomial(round(columns), probability, size=replicates)
        counts.append(torch.from_numpy(drawn.astype(np.float64)).to(forest.weights.device))
    return counts


def _sh_alrt(sites: torch.Tensor, total: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Return the SH-aLRT support of branches of a tree, shape (branches,).

    Args:
        sites: log likelihoods of patterns, shape (branches, 3, patterns).
        total: log likelihoods of the alignment, shape (branches, 3).
        counts: counts of patterns in each replicate, shape (replicates, patterns).
    """
    drawn = torch.matmul(sites, counts.T) - total.unsqueeze(2)  # centred: all three resolutions are equally good
    highest = drawn.topk(2, dim=1).values
    by_chance = highest[:, 0] - highest[:, 1]
    lead = total[:, 0] - total[:, 1:].amax(dim=1)
    return (lead[:, None] > by_chance + _TIE).double().mean(dim=1)
