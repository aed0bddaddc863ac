"""Hard negatives: batches that contain families which are difficult to distinguish.

Negatives are the other pairs of a batch. With thousands of families and a few hundred pairs per batch, a family would rarely
share a batch with its hardest negatives. A fraction of each batch is therefore filled with hard negatives of its other
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
    """The hard negatives of each family of a corpus, and their insertion into batches.

    Args:
        neighbours: indices of the hard negatives of each family.
        fraction: fraction of a batch that consists of hard negatives, in [0, 1).
    """

    def __init__(self, neighbours: list[Ints], fraction: float = 0.5) -> None:
        self.neighbours, self.fraction = neighbours, fraction

    def arrange(self, chosen: Ints, rng: np.random.Generator) -> Ints:
        """Replace a fraction of the families of a batch by hard negatives of the remaining ones.

        The remaining families take turns, in random order, in adding one of their hard negatives, sampled uniformly and
        preferably not in the batch yet. If they have no (new) hard negatives, the original families are kept.

        Args:
            chosen: family indices of a batch's pairs, (N,).
            rng: random number generator.

        Returns:
            Family indices of the new batch, (N,).
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

    Rows with a family that is not in the corpus are skipped. Rows with two families of the same clan, which are never
    negatives, are skipped with a warning.

    Args:
        source: a table written by `phylocli pairs --hard-negatives`.
        families: the families of the corpus.
        fraction: fraction of a batch that consists of hard negatives.

    Raises:
        BadInputError: the columns are missing, or no row is for these families.
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
        logger.warning(f"{name}: skipped {relatives} rows with two families of the same clan")
    have = sum(bool(near) for near in found)
    if have == 0:
        raise BadInputError(
            f"{name} contains no hard negatives of these families",
            why=f"its families are {', '.join(map(str, table['family'].head(3)))}, …" if table.height else "it is empty",
            fix="make it from the same families: phylocli pairs FAMILIES --hard-negatives profile",
        )
    logger.info(
        f"hard negatives: available for {have} of {len(families)} families; they make up {fraction:.0%} of each batch"
    )
    return HardNegatives([np.array(sorted(set(near)), dtype=np.int64) for near in found], fraction)
