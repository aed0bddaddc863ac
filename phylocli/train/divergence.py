"""Divergence: a loss that is not finite, or an encoder that has collapsed."""

from __future__ import annotations

import math

from phylocli.core.errors import PhylocliError
from phylocli.train.report.row import Row

MOST_ROLLBACKS = 5

# A healthy encoder uses dozens of directions and spreads its vectors to a uniformity of -1 and less.
LEAST_RANK, MOST_UNIFORMITY = 2.0, -0.01

# Fewer held-out sequences than this are always close to a line.
ENOUGH = 8


class DivergedError(PhylocliError):
    """The loss or the gradient is not finite, or the encoder has collapsed."""


_FIX = (
    "start again with a new -o and a lower rate, for example --set optimiser.learning_rate=0.0005, or let the run return "
    "to its last checkpoint automatically: --on-divergence rollback"
)


def check_finite(row: Row) -> None:
    """Check that loss and gradient of a step are finite.

    Raises:
        DivergedError: they are not.
    """
    for name in ("loss", "gradient_norm"):
        if not math.isfinite(row[name]):
            raise DivergedError(
                f"training diverged: the {name.replace('_', ' ')} of step {row['step']} is {row[name]}",
                why="usually the learning rate is too high or the temperature too low",
                fix=_FIX,
            )


def check_collapse(row: Row, dimension: int) -> None:
    """Check that the embeddings of held-out members are not all equal, or on a line.

    Args:
        row: with `step`, `val_rank` and `val_uniformity`.
        dimension: features of an embedding.

    Raises:
        DivergedError: effective rank below 2 (of `dimension`), or uniformity above -0.01.
    """
    rank, uniformity = row["val_rank"], row["val_uniformity"]
    # Uniformity is exactly 0 if no two held-out members may be contrasted; equal vectors have rank 1.
    if not rank >= LEAST_RANK or MOST_UNIFORMITY < uniformity < 0:
        raise DivergedError(
            f"the encoder has collapsed: after step {row['step']} held-out embeddings have an effective rank of {rank:.1f} "
            f"of {dimension} and a uniformity of {uniformity:.3f}",
            why="an objective without enough negatives, or too high a learning rate, maps all sequences to one vector",
            fix=_FIX,
        )
