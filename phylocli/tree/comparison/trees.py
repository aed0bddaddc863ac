"""Comparison of two files of trees: Robinson–Foulds, quartet and patristic distances of each pair of trees."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import TypeIs

from phylocli.config.compare import CompareConfig
from phylocli.core.errors import BadInputError
from phylocli.core.words import counted
from phylocli.formats import read_families
from phylocli.formats.input_formats import STOCKHOLM, TEXT, sniff_file
from phylocli.formats.streams import STDIO, PathLike, display_name
from phylocli.formats.tables import trees_schema
from phylocli.formats.tree import Tree
from phylocli.formats.tree_files import read_trees
from phylocli.statistics.sampling import subsample
from phylocli.tree.comparison.compare import ZERO_LENGTH, quartet_distance, tip_distances

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)

_FEWEST = 4
"""Minimum number of tips for more than one unrooted topology."""

_FORMATS = "give Newick or NEXUS trees, or Stockholm records with trees"

Trees = PathLike | Tree | Iterable[Tree]


def compare_trees(a: Trees, b: Trees, config: CompareConfig | None = None, **options: Any) -> pl.DataFrame:
    """Compare pairs of trees, ignoring their roots.

    Args:
        a, b: trees, or files: Newick, NEXUS, or Stockholm records with trees. Records are paired by accession, other trees
            by order; a single tree is compared with every tree of the other side. Tips that are in only one tree of a pair
            are pruned first.
        config: the configuration; None uses the defaults.
        **options: fields of `CompareConfig` that override the configuration.

    Returns:
        One row per pair, with the columns of `tables.trees_schema`: `tree`, number of common `tips`, `tips_a` and `tips_b`,
        `rf` (number of splits in only one of the trees, by ete3, without branches of length zero), `max_rf` (number of
        splits of both trees), `normalised_rf` (their ratio), `quartet_distance` (fraction of the quartets resolved by A that
        B resolves differently), `pearson` and `spearman` (correlations of the patristic distances of all pairs of tips).

    Raises:
        BadInputError: a side has no trees, the numbers of trees do not match, or a pair has fewer than three common tips.

    Examples:
        >>> from phylocli.formats.newick import parse
        >>> a, b = parse("((a:1,b:1):1,(c:1,d:1):1,e:2);"), parse("((a:1,c:1):1,(b:1,d:1):1,e:2);")
        >>> phylocli.compare_trees(a, b).select("tips", "rf", "max_rf", "normalised_rf").row(0)
        (5, 4, 4, 1.0)
        >>> phylocli.compare_trees(a, a)["quartet_distance"].to_list()
        [0.0]
    """
    import polars as pl

    config = CompareConfig.of(config, options)
    first, second = _named(a), _named(b)
    rows = [_row(name, x, y, config) for name, x, y in _paired(first, second, _name(a, "A"), _name(b, "B"))]
    frame = pl.from_arrow(trees_schema().empty_table())
    assert isinstance(frame, pl.DataFrame)
    return pl.DataFrame(rows, schema=frame.schema, orient="row")


def _is_path(source: Trees) -> TypeIs[PathLike]:
    return isinstance(source, str | os.PathLike)


def _name(source: Trees, otherwise: str) -> str:
    return display_name(source) if _is_path(source) else otherwise


def _named(source: Trees) -> list[tuple[str, Tree]]:
    """Return the trees with their names: accession of the family, or number from 1."""
    if isinstance(source, Tree):
        return [("1", source)]
    if not _is_path(source):
        return [(str(number), tree) for number, tree in enumerate(source, 1)]
    form = TEXT if str(source) == STDIO else sniff_file(source)
    if form is STOCKHOLM:
        return [(family.label, family.require_tree()) for family in read_families(source)]
    return [(str(number), tree) for number, tree in enumerate(read_trees(source), 1)]


def _paired(
    a: list[tuple[str, Tree]], b: list[tuple[str, Tree]], name_a: str, name_b: str
) -> Iterator[tuple[str, Tree, Tree]]:
    for trees, name in ((a, name_a), (b, name_b)):
        if not trees:
            raise BadInputError(f"{name} contains no tree", fix=_FORMATS)
    by_name = dict(b)
    if len(a) > 1 and {name for name, _ in a} != {name for name, _ in b}:
        shared = [name for name, _ in a if name in by_name]
        if len(a) != len(b) and len(b) > 1 and not shared:
            raise BadInputError(
                f"{name_a} contains {counted(len(a), 'tree')} and {name_b} {counted(len(b), 'tree')}",
                fix="give the same number of trees on both sides, or a single tree on one side",
            )
    if len(a) == 1 and len(b) > 1:
        yield from ((name, a[0][1], tree) for name, tree in b)
    elif len(b) == 1:
        yield from ((name, tree, b[0][1]) for name, tree in a)
    elif any(name in by_name for name, _ in a):
        left = [name for name, _ in a if name not in by_name]
        if left or len(b) > len(a):
            logger.warning(f"skipped {counted(len(left) + max(0, len(b) - len(a) + len(left)), 'tree')} without a partner")
        yield from ((name, tree, by_name[name]) for name, tree in a if name in by_name)
    else:
        yield from ((name, tree, other) for (name, tree), (_, other) in zip(a, b, strict=True))


def _row(name: str, a: Tree, b: Tree, config: CompareConfig) -> tuple[Any, ...]:
    names_a, names_b = a.tip_names(), b.tip_names()
    common = sorted(set(names_a) & set(names_b))
    if len(common) < 3:
        raise BadInputError(
            f"tree {name}: only {counted(len(common), 'tip')} in common",
            why=f"names are like {names_a[0]!r} in one tree and {names_b[0]!r} in the other",
            fix="give the tips the same names in both files",
        )
    x, y = (_comparable(tree, common) for tree in (a, b))
    rf, most = _robinson_foulds(x, y) if len(common) >= _FEWEST else (0, 0)
    quartets = quartet_distance(x, y, most=config.quartets, seed=config.seed)
    pearson, spearman = _correlations(a, b, common, config) if _has_lengths(a) and _has_lengths(b) else (None, None)
    sizes = (len(common), len(names_a), len(names_b))
    return (name, *sizes, rf, most, rf / most if most else None, None if np.isnan(quartets) else quartets, pearson, spearman)


def _has_lengths(tree: Tree) -> bool:
    return not bool(np.isnan(tree.length[1:]).all())


def _comparable(tree: Tree, common: list[str]) -> Tree:
    """Return the tree pruned to the common tips, with missing branch lengths set to 1."""
    pruned = tree.prune(common) if len(common) < len(tree.tips()) else tree
    return Tree(pruned.parent, np.where(np.isnan(pruned.length), 1.0, pruned.length), pruned.names)


def _robinson_foulds(a: Tree, b: Tree) -> tuple[int, int]:
    """Return the unrooted Robinson–Foulds distance, and its maximum, by ete3."""
    first, second = (_without_empty_branches(tree) for tree in (a, b))
    found = first.robinson_foulds(second, unrooted_trees=True)
    return int(found[0]), int(found[1])


def _without_empty_branches(tree: Tree) -> Any:
    """Return an unrooted ete3 tree in which inner branches of length zero are collapsed."""
    found = tree.to_ete()
    for node in list(found.iter_descendants()):
        if not node.is_leaf() and node.dist <= ZERO_LENGTH:
            node.delete(prevent_nondicotomic=False, preserve_branch_length=False)
    if len(found.children) == 2:
        found.unroot()
    return found


def _correlations(a: Tree, b: Tree, common: list[str], config: CompareConfig) -> tuple[float | None, float | None]:
    """Return the Pearson and Spearman correlations of the patristic distances of pairs of tips; None if constant."""
    from scipy.stats import pearsonr, spearmanr

    chosen = [common[i] for i in subsample(np.arange(len(common)), config.tips, config.seed)]
    upper = np.triu_indices(len(chosen), 1)
    x, y = (tip_distances(tree.prune(chosen), chosen)[upper] for tree in (a, b))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None, None
    return float(pearsonr(x, y)[0]), float(spearmanr(x, y)[0])
