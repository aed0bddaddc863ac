"""Splits without leakage: held-out members share no family, clan or clade with the others."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError, UsageError, unknown_name
from phylocli.formats.family import Family
from phylocli.formats.streams import PathLike
from phylocli.formats.tables import read_table, require_columns, split_schema, write_table
from phylocli.formats.tree import Tree
from phylocli.pairs.patristic import Patristic
from phylocli.statistics.shared_kmers import NEAR_DUPLICATE, identity_clusters

if TYPE_CHECKING:
    import polars as pl


def split_clades(family: Family, fraction: float, seed: int) -> set[str]:
    """Choose members to hold out, as whole clades, each behind a long branch.

    A clade is everything on one side of a branch. Every path from a held-out member to any other member crosses the branch
    above its clade, so the length of that branch is a lower bound on the distance between them. Near-duplicates (proteins
    with an estimated identity of 0.9 or more, see `phylocli.statistics.shared_kmers`, also by way of others) are never
    separated, wherever the tree has them: no near-duplicate of a held-out member remains in training. Clades are sampled
    with a probability proportional to size × branch length, among those with at most the number of members still needed
    whose branch is at least as long as half of all branches of the tree; if these are not enough, the bound is halved
    repeatedly, down to any length above zero. Members with distance zero are never separated.

    Args:
        family: with a tree.
        fraction: fraction of members to hold out, above 0 and below 1.
        seed: same family and seed, same choice.

    Returns:
        The held-out ids: at most round(fraction · n), and close to that number unless the members cannot be separated.

    Raises:
        UsageError: the fraction is not between 0 and 1.
        BadInputError: no tree, or no branch lengths.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"the held-out fraction must be above 0 and below 1, not {fraction:g}")
    tree = family.require_tree()
    patristic = Patristic(tree)
    n = patristic.n_tips
    rng = np.random.default_rng(seed)
    length = np.fmax(tree.length, 0.0)
    nodes = np.arange(1, len(tree))
    start, end, stem = patristic.first_tip[nodes], patristic.end_tip[nodes], length[nodes]
    # Both sides of every branch: the tips start … end − 1 below it, and all others. The two branches at a root with two
    # children are one branch of the unrooted tree, with the sum of their lengths.
    at_root = np.flatnonzero(tree.parent[nodes] == 0)
    if len(at_root) == 2:
        stem[at_root] = stem[at_root].sum()
    size = end - start
    stem[_separates_near_duplicates(family, tree)[nodes]] = 0.0
    wanted = round(fraction * n)
    held = np.zeros(n, dtype=bool)
    positive = stem[stem > 0]
    bound = float(np.median(positive)) if len(positive) else 0.0
    while held.sum() < wanted and bound > 0:
        last_round = bound <= positive.min()
        while True:
            before = np.concatenate([[0], np.cumsum(held)])
            taken = before[end] - before[start]
            room = wanted - held.sum()
            inside = np.where((taken == 0) & (size <= room) & (stem >= bound), size * stem, 0.0)
            outside = np.where((taken == held.sum()) & (n - size <= room) & (stem >= bound), (n - size) * stem, 0.0)
            weights = np.concatenate([inside, outside])
            if weights.sum() == 0:
                break
            chosen = int(rng.choice(len(weights), p=weights / weights.sum()))
            branch = chosen % len(nodes)
            clade = np.zeros(n, dtype=bool)
            clade[start[branch] : end[branch]] = True
            held |= clade if chosen < len(nodes) else ~clade
        bound = 0.0 if last_round else bound / 2
    names = tree.tip_names()
    return {names[k] for k in np.flatnonzero(held)}


def _separates_near_duplicates(family: Family, tree: Tree) -> npt.NDArray[np.bool_]:
    """Return whether the branch above each node separates near-duplicates, shape (nodes,)."""
    found = np.zeros(len(tree), dtype=bool)
    if family.alphabet != "protein":  # any two stretches of nucleotides share 5-mers
        return found
    residues = {sequence.id: sequence.residues for sequence in family.sequences()}
    tips = tree.tips()
    clusters = identity_clusters([residues[tree.names[tip]] for tip in tips], NEAR_DUPLICATE)
    parent = tree.parent
    for cluster in np.flatnonzero(np.bincount(clusters) > 1):
        members = tips[clusters == cluster]
        below: Counter[int] = Counter()
        for tip in members.tolist():
            node = tip
            while node > 0:
                below[node] += 1
                node = int(parent[node])
        found[[node for node, count in below.items() if count < len(members)]] = True
    return found


HOLDOUTS = ("families", "clans", "clades")
PARTS = ("train", "validation", "test")


class Split:
    """The part of each member of each family: training, validation or test.

    A split is made once and saved as a table; training and evaluation read it, so that no training member is evaluated as
    held out.

    Args:
        table: one row per member, with the columns `family`, `clan`, `id` and `part`.

    Attributes:
        table: see above.

    Raises:
        BadInputError: a part that is not one of `PARTS`, or a member listed twice in its family.

    Examples:
        >>> family = next(phylocli.read_families("examples/families.sto"))
        >>> split = phylocli.Split.of([(family, [("train", family.ids[:80]), ("validation", family.ids[80:])])])
        >>> split.write("split.parquet")
        >>> phylocli.Split.read("split.parquet").table.height
        98
    """

    def __init__(self, table: pl.DataFrame) -> None:
        self.table = table
        unknown = sorted(set(table["part"].to_list()) - set(PARTS), key=str)
        if unknown:
            raise BadInputError(f"a split has no part {unknown[0]!r}", fix=f"its parts are {', '.join(PARTS)}")
        twice = table.filter(table.select("family", "id").is_duplicated())
        if twice.height:
            family, name = twice.row(0, named=True)["family"], twice.row(0, named=True)["id"]
            raise BadInputError(f"the split lists {name!r} of {family} more than once", fix="list each member once")

    @classmethod
    def of(cls, members: Iterable[tuple[Family, Iterable[tuple[str, Iterable[str]]]]]) -> Self:
        """Return the split of families given as (family, [(part, ids), …])."""
        import polars as pl

        rows = [(family.label, family.clan, name, part) for family, parts in members for part, ids in parts for name in ids]
        return cls(pl.DataFrame(rows, schema=dict.fromkeys(("family", "clan", "id", "part"), pl.String), orient="row"))

    @classmethod
    def read(cls, path: PathLike) -> Self:
        """Read a split, as saved by `write` and `phylocli pairs --holdout`.

        Raises:
            BadInputError: the file cannot be read, or is not a split.
        """
        import polars as pl

        table = read_table(path)
        columns = ["family", "id", "part"]
        require_columns(table, columns, str(path), "a split")
        try:
            return cls(table.with_columns(pl.col(columns).cast(pl.String)))
        except BadInputError as error:
            raise BadInputError(f"{path}: {error.what}", error.why, error.fix) from None

    def write(self, path: PathLike) -> None:
        """Save the split as a table, in the format of the suffix."""
        write_table(self.table, path, split_schema())

    @cached_property
    def _parts(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for family, name, part in self.table.select("family", "id", "part").iter_rows():
            found.setdefault(family, {})[name] = part
        return found

    def part_of(self, family: str, name: str) -> str | None:
        """Return the part of a family's member, None if the split does not list it."""
        return self._parts.get(family, {}).get(name)

    def ids(self, family: str, part: str) -> set[str]:
        """Return the ids of a family's members in a part; empty if the split does not list the family."""
        return {name for name, where in self._parts.get(family, {}).items() if where == part}

    def members(self, family: Family, part: str) -> Family | None:
        """Return the members of a family in a part, in the order of the family; None if there are none."""
        ids = self.ids(family.label, part)
        kept = [name for name in family.ids if name in ids]
        return family.subset(kept) if kept else None

    def digest(self) -> str:
        """Return a checksum of the assignment of members to parts, independent of the order of rows."""
        rows = self.table.select("family", "id", "part").sort("family", "id")
        return hashlib.sha256(rows.write_csv(separator="\t").encode()).hexdigest()


def check_fractions(fractions: tuple[float, ...]) -> tuple[float, float, float]:
    """Return the fractions of training, validation and test data, summing to 1.

    Raises:
        UsageError: not three fractions, a negative one, none for training, or a sum other than 1.
    """
    if len(fractions) != 3 or min(fractions) < 0 or fractions[0] <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise UsageError(
            f"{', '.join(f'{f:g}' for f in fractions)} are not fractions of train, validation and test",
            fix="give three numbers that sum to 1, as in 0.8,0.1,0.1",
        )
    train, validation, test = fractions
    return train, validation, test


def split_family(
    family: Family, kind: str, fractions: tuple[float, float, float], seed: int
) -> Iterator[tuple[str, Family]]:
    """Yield (part, members in it) for each part of a split that contains members of the family.

    Args:
        family: with a tree if the kind is `clades`.
        kind: `families`: each family is in one part. `clans`: all families of a clan are in the same part. `clades`: each
            family is divided by `split_clades`, first test, then validation from the rest; validation and test are held out
            from training, and test from validation.
        fractions: of train, validation and test. For `families` and `clans` they are probabilities: the part is determined
            by a hash of accession and seed, and does not depend on the other families.
        seed: same seed, same split.

    Raises:
        UsageError: unknown kind.
    """
    if kind not in HOLDOUTS:
        raise unknown_name("unknown kind of split", kind, HOLDOUTS)
    if kind != "clades":
        group = (kind == "clans" and family.clan) or family.label
        yield _part_of(group, fractions, seed), family
        return
    _, validation, test = fractions
    rest = family
    held: list[tuple[str, Family]] = []
    for name, part in (("test", test), ("validation", validation / (1 - test))):
        ids = split_clades(rest, part, seed) if part > 0 and len(rest) > 1 else set()
        if ids:
            held.append((name, family.subset(ids)))
            rest = rest.subset([k for k in rest.ids if k not in ids])
    yield "train", rest
    yield from reversed(held)


def _part_of(group: str, fractions: tuple[float, float, float], seed: int) -> str:
    digest = hashlib.sha256(f"{seed}\t{group}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    train, validation, _ = fractions
    return "train" if place < train else "validation" if place < train + validation else "test"
