"""Simulated families: a tree, the sequences evolved along it, their true alignment, and the truth about each column."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.config.simulate import SimulateConfig
from phylocli.core.alphabet import AMINO_ACIDS
from phylocli.core.errors import PhylocliError
from phylocli.core.words import counted
from phylocli.executors import Work, run_all
from phylocli.formats.family import Family
from phylocli.formats.tree import Tree
from phylocli.simulate.indels import History, Insertion
from phylocli.simulate.settings import Settings
from phylocli.simulate.sites import motif_letters, rate_digits
from phylocli.simulate.substitutions import Substitutions
from phylocli.simulate.trees import tips_below

_LETTERS = np.frombuffer(AMINO_ACIDS.encode(), dtype=np.uint8)
_CELLS = 1 << 25  # tips × sites cells laid out at a time
MOST_LETTERS = 4_000_000_000


@dataclass
class SimulatedFamily:
    """A simulated family and the truth about it.

    Attributes:
        family: its members, with the true tree; the rows are the true alignment, or plain sequences.
        rates: of each column of the true alignment, relative to the mean over the sites of the root, shape (columns,).
        motif: the motif of each column, from 1 on, 0 for none, shape (columns,).
        ancestral: columns of sites present at the root; the others were inserted, shape (columns,).
    """

    family: Family
    rates: npt.NDArray[np.float64]
    motif: npt.NDArray[np.int64]
    ancestral: npt.NDArray[np.bool_]


def simulate_families(config: SimulateConfig | None = None, **options: Any) -> Iterator[SimulatedFamily]:
    """Simulate families whose tree, alignment and site rates are known, each along its own tree.

    Args:
        config: options; its fields may also be given as keywords, such as `number=20, tips=(10, 50)`. Family k depends only
            on the seed and k.
        options: fields of `SimulateConfig`.

    Raises:
        UsageError: rates for which there is no tree, or motifs that do not fit.
        BadInputError: a file of trees or sequences that cannot be read.
        PhylocliError: a true alignment with more letters than fit into memory.

    Examples:
        >>> (simulated,) = phylocli.simulate_families(tips=5, length=40, seed=1)
        >>> len(simulated.family)
        5
    """
    config = SimulateConfig.of(config, options)
    settings = Settings.of(config)
    return simulate(settings, config.number, config.seed, prefix=config.prefix, jobs=config.jobs, cluster=config.cluster)


def simulate(
    settings: Settings | None = None,
    n: int = 1,
    seed: int = 0,
    *,
    aligned: bool = True,
    prefix: str = "SIM",
    jobs: int = 1,
    cluster: str | None = None,
) -> Iterator[SimulatedFamily]:
    """Simulate families from settings whose parts are objects; see `simulate_families`.

    Args:
        settings: of trees, sites and sequences; None uses the defaults.
        n: number of families; family k depends only on the seed and k.
        seed: same settings and seed, same families.
        aligned: whether rows are the true alignment; False needs less memory for large families with many insertions.
        prefix: of accessions (`SIM00001`, …); members are named `SIM00001_1`, …, or like the tips of a given tree.
        jobs: number of processes; 1 uses the current process, 0 one process per core.
        cluster: a cluster instead of processes, see `ClusterConfig.parse`.

    Raises:
        UsageError: rates for which there is no tree, or motifs that do not fit.
        PhylocliError: a true alignment with more letters than fit into memory.
    """
    function = functools.partial(_simulate_one, settings or Settings(), seed, aligned, prefix)
    pieces = ((_label(prefix, index), index) for index in range(n))
    yield from run_all(Work(function), pieces, jobs=jobs, cluster=cluster, title="families", total=n)


def _label(prefix: str, index: int) -> str:
    return f"{prefix}{index + 1:05d}"


def _simulate_one(settings: Settings, seed: int, aligned: bool, prefix: str, index: int) -> SimulatedFamily:
    rng = np.random.default_rng([seed, index])
    label = _label(prefix, index)
    tree = settings.tree.draw(index, rng)
    if not settings.tree.given:
        numbers = np.cumsum(tree.is_tip)
        names = [f"{label}_{k}" if tip else "" for k, tip in zip(numbers.tolist(), tree.is_tip.tolist(), strict=True)]
        tree = Tree(tree.parent, tree.length, names)
    return _evolve(settings, tree, label, aligned, rng)


def _evolve(settings: Settings, tree: Tree, label: str, aligned: bool, rng: np.random.Generator) -> SimulatedFamily:
    columns = int(rng.integers(settings.length[0], settings.length[1] + 1))
    process = Substitutions(settings.substitution_model())
    motif = settings.motifs.place(columns, rng)
    speed = settings.motifs.speed(columns)
    rates = speed * settings.rates.draw(columns, rng) * np.where(motif > 0, settings.motifs.rate, 1.0)
    history = History(tree, columns, settings.indels, motif, rng)
    root_states = process.along(tree.parent, tree.length, rates, rng)[tree.is_tip]
    inserted_rates = speed * settings.rates.draw(history.size - columns, rng)
    rates = np.concatenate([rates, inserted_rates])
    blocks = _Blocks(tree, history.insertions, rates, process, rng)
    order = history.order
    if aligned and len(order) * len(root_states) > MOST_LETTERS:
        raise PhylocliError(
            f"{label}: the true alignment has {counted(len(root_states), 'row')} of {len(order):,} columns",
            why="every insertion adds columns to all rows",
            fix="lower the rate of insertions, or write --format fasta, which needs no alignment",
        )
    motif = np.concatenate([motif, np.zeros(history.size - columns, dtype=np.int64)])[order]
    rates, ancestral = rates[order], order < columns
    family = Family(
        tree.tip_names(),
        list(_rows(root_states, blocks, history, aligned)),
        accession=label,
        description="Simulated family",
        aligned=aligned,
        column_features=_column_features(settings, rates, motif, ancestral) if aligned else {},
        notes=[f"simulate {settings.describe()}"],
    )
    return SimulatedFamily(family.with_tree(tree, f"tree true, {settings.tree.describe()}"), rates, motif, ancestral)


def _column_features(
    settings: Settings, rates: npt.NDArray[np.float64], motif: npt.NDArray[np.int64], ancestral: npt.NDArray[np.bool_]
) -> dict[str, str]:
    features = {"site_rate": rate_digits(rates)}
    if settings.motifs.count:
        features["motif"] = motif_letters(motif)
    if not settings.indels.is_off:
        features["ancestral"] = "".join("x" if x else "." for x in ancestral.tolist())
    return features


class _Blocks:
    """The states of inserted sites: each block evolves in the subtree below its branch."""

    def __init__(
        self,
        tree: Tree,
        insertions: list[Insertion],
        rates: npt.NDArray[np.float64],
        process: Substitutions,
        rng: np.random.Generator,
    ) -> None:
        self.insertions = insertions
        is_tip = tree.is_tip
        tips_before: npt.NDArray[np.int64] = np.cumsum(is_tip) - is_tip
        below = tips_below(tree)
        nodes = np.array([block.node for block in insertions], dtype=np.int64)
        self.first_tip: npt.NDArray[np.int64] = tips_before[nodes]
        self.end_tip = self.first_tip + below[nodes]
        self.states: list[npt.NDArray[np.uint8]] = []
        sizes = _subtree_sizes(tree)
        for block in insertions:
            start, end = block.node, block.node + int(sizes[block.node])
            # At the end of the branch, inserted residues are in equilibrium, regardless of when they arose on it.
            own = rates[block.first : block.first + block.length]
            parent = tree.parent[start:end] - start
            self.states.append(process.along(parent, tree.length[start:end], own, rng)[is_tip[start:end]])

    def lay(self, full: npt.NDArray[np.uint8], start: int) -> None:
        """Write the states of these blocks from `start` on into a matrix of the tips whose columns are site ids."""
        end = start + len(full)
        for k in np.flatnonzero((self.first_tip < end) & (self.end_tip > start)).tolist():
            block, first = self.insertions[k], int(self.first_tip[k])
            low, high = max(first, start), min(int(self.end_tip[k]), end)
            full[low - start : high - start, block.first : block.first + block.length] = self.states[k][
                low - first : high - first
            ]


def _subtree_sizes(tree: Tree) -> npt.NDArray[np.int64]:
    size = [1] * len(tree)
    parent = tree.parent.tolist()
    for node in range(len(size) - 1, 0, -1):
        size[parent[node]] += size[node]
    return np.array(size, dtype=np.int64)


def _rows(root_states: npt.NDArray[np.uint8], blocks: _Blocks, history: History, aligned: bool) -> Iterator[str]:
    """Yield the sequence of each tip, in depth-first order: a row of the true alignment, or without gaps."""
    tips, columns = root_states.shape
    place = np.full(history.size, -1, dtype=np.int64)
    place[history.order] = np.arange(len(history.order))
    step = max(1, _CELLS // history.size)
    for start in range(0, tips, step):
        part = root_states[start : start + step]
        full = np.zeros((len(part), history.size), dtype=np.uint8)
        full[:, :columns] = part
        blocks.lay(full, start)
        for row, sites in zip(full, history.sites[start : start + step], strict=True):
            letters = _LETTERS[row[sites]]
            if aligned:
                line = np.full(len(history.order), ord("-"), dtype=np.uint8)
                line[place[sites]] = letters
                letters = line
            yield letters.tobytes().decode()
