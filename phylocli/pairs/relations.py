"""Orthologs and paralogs: speciation and duplication events of a family's tree, by species overlap.

A node is a duplication if a species occurs below more than one of its children, else a speciation (Huerta-Cepas et al.,
Genome Biol. 8:R109, 2007, doi:10.1186/gb-2007-8-6-r109; `PhyloTree.get_descendant_evol_events` of ete3). Two sequences are
orthologs if they diverged at a speciation, paralogs if at a duplication (Fitch, Syst. Zool. 19:99, 1970). A polytomy is one
event. Tips of unknown species are ignored: they do not change the event of a node, and their pairs have the relation
`unknown`. The given root of the tree is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from phylocli.pairs.patristic import Ints, Patristic

RELATIONS = ("unknown", "ortholog", "paralog")
"""Values of the column `relation`, by code."""
UNKNOWN, ORTHOLOG, PARALOG = range(3)
WANTED = {"orthologs": ORTHOLOG, "paralogs": PARALOG}


def duplications(tree: Patristic, species: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return which nodes are duplications, shape (nodes,), in O(n log n).

    A species occurs below two children of a node if and only if two of its tips that are consecutive in depth-first order
    have that node as their lowest common ancestor.

    Args:
        tree: of n tips.
        species: of each tip in depth-first order; empty where unknown.
    """
    _, code = np.unique(np.array(species, dtype=object).astype(str), return_inverse=True)
    tips = np.flatnonzero([bool(name) for name in species])
    tips = tips[np.argsort(code[tips], kind="stable")]
    same = code[tips[1:]] == code[tips[:-1]]
    found = np.zeros(tree.n_nodes, dtype=bool)
    found[tree.ancestor(tips[:-1][same], tips[1:][same])] = True
    return found


class Relations:
    """The relation of any two tips of a tree.

    Args:
        tree: of n tips.
        duplication: which nodes are duplications, shape (nodes,).
        known: which tips have a known species, shape (n,).
    """

    def __init__(self, tree: Patristic, duplication: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_]) -> None:
        self.tree, self.duplication, self.known = tree, duplication, known

    @classmethod
    def of(cls, tree: Patristic, species: Sequence[str]) -> Relations:
        """Return the relations of a tree, given the species of its tips in depth-first order."""
        return cls(tree, duplications(tree, species), np.array([bool(name) for name in species], dtype=bool))

    def restricted(self, tree: Patristic, tips: Ints) -> Relations:
        """Return the relations of the tree pruned to some tips; events are those of the whole tree.

        Args:
            tree: the pruned tree, with m tips in the order of the whole one.
            tips: their numbers in the whole tree, ascending, shape (m,).
        """
        event = np.zeros(tree.n_nodes, dtype=bool)
        inner = np.flatnonzero(tree.end_tip - tree.first_tip > 1)
        first, last = tips[tree.first_tip[inner]], tips[tree.end_tip[inner] - 1]
        event[inner] = self.duplication[self.tree.ancestor(first, last)]
        return Relations(tree, event, self.known[tips])

    def codes(self, i: Ints, j: Ints) -> npt.NDArray[np.uint8]:
        """Return the relation of tips i and j as an index of `RELATIONS`, shape (m,)."""
        if not self.known.any():
            return np.full(len(i), UNKNOWN, dtype=np.uint8)
        found = np.where(self.duplication[self.tree.ancestor(i, j)], PARALOG, ORTHOLOG)
        return np.where(self.known[i] & self.known[j], found, UNKNOWN).astype(np.uint8)

    def meeting(self, wanted: str) -> npt.NDArray[np.bool_]:
        """Return the nodes that are lowest common ancestors of `orthologs` or `paralogs`, shape (nodes,)."""
        return self.duplication if WANTED[wanted] == PARALOG else ~self.duplication
