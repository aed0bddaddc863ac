"""Tree inference for aligned families: steps before and after the engine."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from phylocli.config.tree import TreeConfig
from phylocli.core.alphabet import MISSING, encode_states
from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.plugins import TREE_ENGINES
from phylocli.core.words import counted
from phylocli.executors.families import FamilyJournal
from phylocli.formats.failures import Failures
from phylocli.formats.family import Family, check_tips
from phylocli.formats.nucleotides import NucleotideCheck
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import PathLike, display_name
from phylocli.formats.tree import Tree
from phylocli.formats.tree_files import read_trees
from phylocli.tree import deduplicate as _collapse
from phylocli.tree.choices import automatic_engines, check_config, choose_engine, no_bootstrap, settings_of, traits_of
from phylocli.tree.distances.matrix import (
    DISTANCES,
    FORMULAS,
    fill_undefined,
)
from phylocli.tree.distances.overlap import least_overlap, overlap_groups
from phylocli.tree.parallel import Result
from phylocli.tree.refinement import improve, one_thread, rearrange, refines
from phylocli.tree.refinement import refine as refine_lengths
from phylocli.tree.rooting import root
from phylocli.tree.settings import Inferred, Settings, describe_model, distances_of, shape
from phylocli.tree.support import add_support, parse_support

logger = logging.getLogger(__name__)

MATRIX_UP_TO = 20_000
"""Maximum number of distinct sequences for distance engines, whose matrices would otherwise take more than 8 GB."""


def infer_trees(
    families: Iterable[Family],
    config: TreeConfig | None = None,
    *,
    failures: Failures | None = None,
    journal: FamilyJournal | None = None,
    **options: Any,
) -> Iterator[Family]:
    """Infer the tree of each family, and yield the families in input order.

    Identical rows are collapsed before inference and restored at distance zero. Families of up to three distinct rows need
    no engine. Negative branch lengths become zero. Members without a residue in the columns used, or that share too few
    columns with the others, are excluded with a warning.

    The tree does not depend on the order or the names of the members: engines receive the rows in a canonical order (see
    `deduplicate.canonical_order`), under row numbers. Members keep their order.

    Args:
        families: aligned families.
        config: the configuration; None uses the defaults.
        failures: collects families that fail; None raises the first failure.
        journal: results of an interrupted run.
        options: fields of `TreeConfig` that override the configuration, such as `engine="nj", refine=False`.

    Raises:
        UsageError: unknown engine, model or option.
        BadInputError: a family is not aligned, an id occurs twice, or no members can be compared.
        MissingDependencyError: the engine is not installed.

    Examples:
        >>> rows = ["MKVLAAGIVG", "MKVLSAGIVG", "MRVLSAGLVG", "MRILSPGLVG"]
        >>> family = phylocli.Family(["a", "b", "c", "d"], rows, accession="PF1")
        >>> (family,) = phylocli.infer_trees([family], engine="nj")
        >>> len(family.tree.tips())
        4
    """
    config = TreeConfig.of(config, options)
    check_config(config)
    from phylocli.tree.parallel import ordered_map

    checked = NucleotideCheck().families(families)
    if config.engine == "auto":
        checked = _announcing_engine(checked, config)
    results = ordered_map(
        infer_tree,
        checked,
        config,
        config.jobs,
        config.timeout,
        prepare,
        cluster=config.cluster,
        journal=journal,
        title="trees",
    )
    yield from _collect_failures(results, failures)


def attach_trees(
    families: Iterable[Family],
    source: PathLike,
    config: TreeConfig | None = None,
    *,
    failures: Failures | None = None,
    **options: Any,
) -> Iterator[Family]:
    """Yield each family with its tree from a Newick file, which has one tree per family in the same order.

    Tips must have the names of the members. Branch lengths are kept, except that negative ones become zero. With `refine`,
    they are the starting values (if present) for maximising the likelihood under `model` with four Γ categories; `alpha` is
    the starting value of the shape. Support values are kept, unless `support` (`abayes` or `alrt`) requests new ones.
    Members below `min_coverage` are removed from family and tree.

    Args:
        families: aligned families.
        source: Newick file.
        config: the configuration; options of engines are ignored. None uses the defaults.
        failures: collects families that fail; None raises the first failure.
        options: fields of `TreeConfig` that override the configuration.

    Raises:
        UsageError: incompatible options, such as bootstrap support.
        BadInputError: the file is not Newick or does not have one tree per family, tips are not the members, or branches
            have no lengths.
    """
    config = TreeConfig.of(config, options)
    check_config(config)
    measure = parse_support(config.support)
    if measure is not None and measure.name == "bootstrap":
        raise no_bootstrap("a given tree")
    if config.nni:
        raise UsageError("the topology of a given tree is not changed", fix="omit --tree or --nni")
    yield from _collect_failures(_attached(families, source, config), failures)


def _attached(families: Iterable[Family], source: PathLike, config: TreeConfig) -> Iterator[tuple[str, Result]]:
    trees, name = list(read_trees(source)), display_name(source)
    count = 0
    for count, family in enumerate(NucleotideCheck().families(families), 1):
        if count > len(trees):
            raise BadInputError(
                f"{name} has {counted(len(trees), 'tree')}, but there are more families", fix="give one tree per family"
            )
        try:
            note = f"tree from {Path(name).name}"
            yield family.label, _attach(family, trees[count - 1], f"{name}, tree {count}", note, config)
        except BadInputError as error:
            yield family.label, error
    if count < len(trees):
        raise BadInputError(
            f"{name} has {counted(len(trees), 'tree')} for {counted(count, 'family')}", fix="give one tree per family"
        )


def _collect_failures(results: Iterable[tuple[str, Result]], failures: Failures | None) -> Iterator[Family]:
    """Yield the families with a tree, and collect the failures of the others or raise the first."""
    for family, result in results:
        if isinstance(result, Family):
            if failures is not None:
                failures.done += 1
            yield result
        elif failures is None:
            raise result
        else:
            failures.add(family, result)


def _attach(family: Family, tree: Tree, where: str, taken: str, config: TreeConfig) -> Family:
    check_tips(tree.tip_names(), family.ids, family.label)
    missing = np.flatnonzero(np.isnan(tree.length[1:])) + 1
    if len(missing) and not config.refine:
        first = next((tree.names[node] for node in missing.tolist() if tree.names[node]), "")
        raise BadInputError(
            f"{where}: {len(missing)} branches have no length" + (f", first that above {shorten(first)!r}" if first else ""),
            fix="give a tree with lengths, or fit them with --refine",
        )
    placed, names, states = usable_states(family.as_aligned(), config.columns, config.min_coverage)
    if len(placed) < len(tree.tip_names()):
        tree = tree.prune(placed.ids)
    settings = settings_of(config)
    shape, fitted = config.alpha, None
    if config.refine and refines(settings.model) and len(placed) > 1:
        tree, words, fitted = refine_lengths(tree, names, states, settings, full=True)
        shape = fitted
        taken += f", {words}"
    measure = parse_support(config.support)
    if measure is not None and len(placed) > 3:
        tree, words = add_support(tree, names, states, settings, measure, alpha=shape)
        taken += f", {words}"
    return _rooted(placed, tree, taken, fitted, config)


def _rooted(family: Family, tree: Tree, note: str, alpha: float | None, config: TreeConfig) -> Family:
    """Return the family with its rooted tree and a note that describes the method."""
    outgroup = _present(tuple(sorted(config.outgroup)), family)
    tree = root(clip_negative(tree), config.root, outgroup)
    return family.with_tree(tree, f"{note}, root {'outgroup' if outgroup else config.root}", alpha=alpha)


def _announcing_engine(families: Iterable[Family], config: TreeConfig) -> Iterator[Family]:
    """Yield families, and log which engine `auto` chooses for large ones at the first of these."""
    usual, announced = choose_engine(0, config), False
    limit = max((limit for limit, name in automatic_engines() if name == usual), default=math.inf)
    for family in families:
        if not announced and len(family) > limit:
            announced = True
            engine = choose_engine(len(family), config)
            above = f"above {limit:,.0f} distinct sequences"
            missing = ": neither VeryFastTree nor FastTree is installed" if engine == usual else ""
            logger.info(f"{family.label} has {counted(len(family), 'member')}; engine {engine} {above}{missing}")
        yield family


def prepare(config: TreeConfig) -> None:
    """Load the libraries that `infer_tree` needs by inferring a small tree."""
    refined = config.refine or config.nni or config.support != "none"
    if config.engine != "auto" and not traits_of(config.engine).uses_distances and not refined:
        return  # an external program needs no libraries
    rows = ["MKVLAAGIVGLWERT", "MKVLSAGIVDLWEHT", "MRVLSAGLVDMWEHT", "MRILSPGLVDMFEHT", "MRILSPGQVDMFEHS"]
    model = settings_of(config).model
    change: dict[str, object] = {
        "engine": "auto",
        "model": model if model in DISTANCES else "lg",
    }  # models of external engines are not available for `auto`
    change |= {"columns": "all", "min_coverage": 0.0, "root": "midpoint", "outgroup": ()}
    infer_tree(Family([str(i) for i in range(len(rows))], rows, aligned=True), config.updated(**change))


def infer_tree(family: Family, config: TreeConfig) -> Family:
    """Infer the tree of a family; see `infer_trees`."""
    usable = usable_states(family.as_aligned(), config.columns, config.min_coverage)
    config = config.updated(min_overlap=least_overlap(config.min_overlap, usable.states.shape[1]))
    family, names, states = _comparable(usable, config)
    groups = _collapse.unique_rows(states)
    tree, description, alpha = _infer_states(states[[group[0] for group in groups]], groups, names, family.label, config)
    if settings_of(config).model in FORMULAS:  # these have no site rates
        alpha = None
    return _rooted(family, tree, f"tree {description}", alpha, config)


class Usable(NamedTuple):
    """The members and columns of a family that are used for tree inference.

    Attributes:
        family: the family without members that cannot be placed.
        names: ids in canonical order, independent of the order of the family.
        states: rows in the order of `names`, shape (n, columns used); every column has a residue.
    """

    family: Family
    names: list[str]
    states: npt.NDArray[np.uint8]


def usable_states(family: Family, columns: str, min_coverage: float) -> Usable:
    """Return the members with enough residues and their states, without columns in which no member has a residue.

    Raises:
        BadInputError: no member has enough residues.
    """
    states = encode_states(family.rows)
    if columns == "match":
        states = states[:, family.match_columns()]
    present = states != MISSING
    states = states[:, present.any(axis=0)]
    covered = present.sum(axis=1) / max(states.shape[1], 1)
    keep = (covered > 0) & (covered >= min_coverage)
    if not keep.any():
        raise BadInputError(
            f"{family.label}: no member has {'a residue' if min_coverage == 0 else 'enough residues'} in the columns used",
            fix="use --columns all, or lower --min-coverage",
        )
    if not keep.all():
        lost = [name for name, kept in zip(family.ids, keep, strict=True) if not kept]
        why = "no residue in the columns used" if min_coverage == 0 else f"a coverage under {min_coverage:g}"
        logger.warning(
            f"{family.label}: excluded {len(lost)} of {len(family)} members with {why}, first {shorten(lost[0])!r}"
        )
        family = family.with_tree(None).subset([name for name, kept in zip(family.ids, keep, strict=True) if kept])
        states = states[keep]
    order = _collapse.canonical_order(states, family.ids)
    return Usable(family, [family.ids[row] for row in order], states[order])


def _comparable(usable: Usable, config: TreeConfig) -> Usable:
    """Exclude members that do not share enough columns with the others, directly or through a chain of members.

    A likelihood needs one shared column, a distance `min_overlap` of them.

    Raises:
        BadInputError: no group of comparable members contains more than half of the family.
    """
    family, names, states = usable
    rows = _collapse.unique_rows(states)
    by_distance = len(rows) <= 3 or traits_of(choose_engine(len(rows), config)).uses_distances
    least = config.min_overlap if by_distance else 1
    different = states[[row[0] for row in rows]]
    group = overlap_groups(different, least)
    if not group.any():
        return usable
    sizes = np.bincount(group, weights=[len(row) for row in rows]).astype(int)
    largest = int(sizes.argmax())
    which = f"{least} columns" if least > 1 else "a column"
    fix = "use --columns all" if config.columns != "all" else "give an alignment in which the members overlap"
    if least > 1 and (overlap_groups(different, 1) != group).any():
        fix += f", or lower --min-overlap (now {least})"
    if 2 * sizes[largest] <= len(names):
        whole = f"{family.label}: no two different members share {which}"
        if np.count_nonzero(sizes) < len(rows):
            whole = (
                f"{family.label}: the members fall into {np.count_nonzero(sizes)} groups that do not share {which}, "
                f"the largest of {sizes[largest]} among {len(names)}"
            )
        raise BadInputError(whole, why="without shared columns, sequences cannot be compared", fix=fix)
    kept = sorted(at for row, of in zip(rows, group.tolist(), strict=True) if of == largest for at in row)
    ids = {names[at] for at in kept}
    lost = [name for name in family.ids if name not in ids]
    logger.warning(
        f"{family.label}: excluded {len(lost)} of {len(names)} members that do not share {which} with the others, "
        f"first {shorten(lost[0])!r}; {fix} to keep them"
    )
    states = states[kept]
    states = states[:, (states != MISSING).any(axis=0)]
    return Usable(family.with_tree(None).subset(ids), [names[at] for at in kept], states)


def clip_negative(tree: Tree) -> Tree:
    """Set negative branch lengths, which least-squares methods give to uncertain branches, and missing ones to zero."""
    return replace(tree, length=np.where(tree.length > 0, tree.length, 0.0))


def _present(outgroup: tuple[str, ...], family: Family) -> tuple[str, ...]:
    """Return the ids of the outgroup that are in this family; an outgroup may list members of many families."""
    members = set(family.ids)
    present = tuple(name for name in outgroup if name in members)
    if outgroup and not present:
        logger.warning(f"no member of {family.label} is in the outgroup; rooting by --root")
    return present


def _infer_states(
    states: npt.NDArray[np.uint8], groups: list[list[int]], names: list[str], label: str, config: TreeConfig
) -> Inferred:
    """Infer the tree of distinct rows, and replace its tips by the names of the rows in each group."""
    settings = settings_of(config)
    if len(states) <= 3:
        lengths, description, alpha = _few(states, settings)
        return Inferred(_collapse.star(groups, lengths, names), description, alpha)
    name = choose_engine(len(states), config)
    module = TREE_ENGINES.load(name)
    uses_distances = module.TRAITS.uses_distances
    if uses_distances and len(states) > MATRIX_UP_TO:
        raise UsageError(
            f"{label}: {len(states)} distinct sequences are too many for the engine {name}",
            why=f"the distance matrix would take {len(states) ** 2 * 20 / 1e9:.0f} GB",
            fix="use --engine veryfasttree (pip install '.[trees]')",
        )
    logger.debug(f"{label}: {len(states)} distinct sequences, {states.shape[1]} columns, engine {name}")
    refined = refines(settings.model) and (uses_distances if config.refine is None else config.refine)
    with one_thread() if refined else contextlib.nullcontext():  # loads PyTorch, which also speeds up distances
        tree, description, alpha = module.infer(states, settings)
    start = alpha if settings.alpha is None else settings.alpha  # shape for the likelihood
    rows = [str(i) for i in range(len(states))]
    if refined and uses_distances and config.nni is not False:
        tree, words, _ = rearrange(clip_negative(tree), rows, states, settings, alpha=start)
        description += f", {words}"
    if refined:
        tree, words, alpha = refine_lengths(tree, rows, states, settings, alpha=start)
        description += f", {words}"
    if config.nni:
        tree, words, alpha = improve(clip_negative(tree), rows, states, settings, alpha=start)
        description += f", {words}"
    measure = parse_support(config.support)
    if measure is not None:
        if measure.name == "bootstrap" and not uses_distances:
            raise no_bootstrap(f"the engine {name}")
        tree, words = add_support(clip_negative(tree), rows, states, settings, measure, alpha=start, engine=module)
        description += f", {words}"
    return Inferred(_collapse.expand(tree, groups, names), description, alpha)


def _few(states: npt.NDArray[np.uint8], settings: Settings) -> tuple[list[float], str, float | None]:
    """Return branch lengths of the only tree of one to three rows, a description of the method, and α."""
    if len(states) == 1:
        return [0.0], "of identical sequences", None
    alpha = shape(states, settings)
    d, _ = distances_of(states, settings, alpha)
    fill_undefined(d)
    description = f"exact for {len(states)} distinct sequences, {describe_model(settings, alpha)}"
    if len(states) == 2:
        return [d[0, 1] / 2, d[0, 1] / 2], description, alpha
    # Three distances determine three branches; one is negative if the triangle inequality is violated.
    a = (d[0, 1] + d[0, 2] - d[1, 2]) / 2
    lengths = [a, d[0, 1] - a, d[0, 2] - a]
    return [value if math.isfinite(value) else 0.0 for value in lengths], description, alpha
