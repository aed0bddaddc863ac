"""Hard negatives in training: batches with families that are difficult to distinguish.

A negative has an effect only within a batch: with thousands of families and batches of a few hundred pairs, a family would
rarely be in a batch with its hardest negatives. Therefore a fraction of each batch consists of hard negatives of the other
families. The objective's mask still determines which pairs are contrasted.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.formats.streams import PathLike, display_name
from phylocli.formats.tables import read_table, require_columns

if TYPE_CHECKING:
    from phylocli.train.data.types import FamilySource

logger = logging.getLogger(__name__)

Ints = npt.NDArray[np.int64]


class HardNegatives:
    """For each family of a corpus its hard negatives, and how they get into its batches.

    Args:
        neighbours: for each family the indices of its hard negatives.
        fraction: of a batch that hard negatives make up, 0 to below 1.
    """

    def __init__(self, neighbours: list[Ints], fraction: float = 0.5) -> None:
        self.neighbours, self.fraction = neighbours, fraction

    def arrange(self, chosen: Ints, rng: np.random.Generator) -> Ints:
        """Return a batch of the same size with some of the chosen families, and hard negatives of these instead of the
        others.

        Each family in turn, in random order, adds one of its hard negatives, sampled uniformly, preferably one that is not
        in the batch yet. If the families have no (or no new) hard negatives, the original families fill the batch.

        Args:
            chosen: indices of the families of a batch's pairs, (N,).
            rng: random numbers.
        """
        size = len(chosen)
        order = rng.permutation(size)
        kept = chosen[order[: max(1, size - round(self.fraction * size))]]
        rest = chosen[order[len(kept) :]].tolist()
        anchors = [k for k in dict.fromkeys(kept.tolist()) if len(self.neighbours[k])]
        if not anchors:
            return chosen
        present, added = set(kept.tolist()), []
        for turn in range(len(rest)):
            near = self.neighbours[anchors[turn % len(anchors)]]
            new = [k for k in near.tolist() if k not in present]
            if not new and turn >= len(anchors):
                added.append(rest[turn])
                continue
            drawn = int(rng.choice(new if new else near))
            present.add(drawn)
            added.append(drawn)
        return np.concatenate([kept, np.array(added, dtype=np.int64)])


def load_hard_negatives(source: PathLike, families: list[FamilySource], fraction: float) -> HardNegatives:
    """Read the hard negatives of a corpus from a table with the columns `family` and `negative`.

    Rows that name a family beyond the corpus are skipped; so are, with a warning, those that name two families of one
    clan, which are never negatives.

    Args:
        source: as `phylocli pairs --hard-negatives` writes it.
        families: of the corpus.
        fraction: fraction of a batch.

    Raises:
        BadInputError: no such columns, or no row for these families.
    """
    table, name = read_table(source), display_name(source)
    require_columns(table, ["family", "negative"], name, "a table of hard negatives")
    index = {family.label: k for k, family in enumerate(families)}
    found: list[list[int]] = [[] for _ in families]
    relatives = 0
    for label, negative in table.select("family", "negative").iter_rows():
        a, b = index.get(str(label)), index.get(str(negative))
        if a is None or b is None:
            continue
        if a == b or (families[a].clan and families[a].clan == families[b].clan):
            relatives += 1
            continue
        found[a].append(b)
    if relatives:
        logger.warning(f"{name}: {relatives} rows name two families of one clan; skipping them")
    have = sum(bool(near) for near in found)
    if have == 0:
        raise BadInputError(
            f"{name} contains no hard negatives of these families",
            why=f"it names {', '.join(map(str, table['family'].head(3)))}, …" if table.height else "it is empty",
            fix="make it from the same families: phylocli pairs FAMILIES --hard-negatives profile",
        )
    logger.info(
        f"hard negatives: {have} of {len(families)} families have some, and bring them into {fraction:.0%} of each batch"
    )
    return HardNegatives([np.array(sorted(set(near)), dtype=np.int64) for near in found], fraction)
