"""Divergence: a loss that is not finite, or an encoder that has collapsed."""

from __future__ import annotations

import math

from phylocli.core.errors import PhylocliError
from phylocli.train.report.row import Row

MOST_ROLLBACKS = 5

# Encoders that train well have an effective rank of dozens and a uniformity below -1.
LEAST_RANK, MOST_UNIFORMITY = 2.0, -0.01

# Minimum number of held-out sequences for the check: the effective rank of fewer vectors is always low.
ENOUGH = 8


class DivergedError(PhylocliError):
    """The loss or the gradient is not finite, or the encoder has collapsed."""


_FIX = (
    "start again with a new -o and a lower rate, for example --set optimiser.learning_rate=0.0005, or let the run return "
    "to its last checkpoint automatically: --on-divergence rollback"
)


def check_finite(row: Row) -> None:
    """Check that the loss and the gradient norm of a step are finite.

    Raises:
        DivergedError: one of them is infinite or NaN.
    """
    for name in ("loss", "gradient_norm"):
        if not math.isfinite(row[name]):
            raise DivergedError(
                f"training diverged: the {name.replace('_', ' ')} of step {row['step']} is {row[name]}",
                why="usually the learning rate is too high or the temperature too low",
                fix=_FIX,
            )


def check_collapse(row: Row, dimension: int) -> None:
    """Check that the embeddings of held-out members have not collapsed to a point or a line.

    Args:
        row: metrics with `step`, `val_rank` and `val_uniformity`.
        dimension: number of features of an embedding, for the message.

    Raises:
        DivergedError: the effective rank is below 2, or the uniformity is above -0.01.
    """
    rank, uniformity = row["val_rank"], row["val_uniformity"]
    # A uniformity of exactly 0 means that there are no negatives among held-out members; equal vectors have rank 1.
    if not rank >= LEAST_RANK or MOST_UNIFORMITY < uniformity < 0:
        raise DivergedError(
            f"the encoder has collapsed: after step {row['step']} held-out embeddings have an effective rank of {rank:.1f} "
            f"of {dimension} and a uniformity of {uniformity:.3f}",
            why="an objective without enough negatives, or too high a learning rate, maps all sequences to one vector",
            fix=_FIX,
        )
