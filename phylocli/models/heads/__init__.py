"""Heads: what is predicted for each residue from its vector, one file each.

A head is trained beside the objective on sequences with residue labels (`phylocli.train.data.residue_labels`) and is saved
with the model.
"""

from __future__ import annotations

from phylocli.core.errors import unknown_name
from phylocli.models.heads import profile, secondary_structure, three_di
from phylocli.models.heads.base import Head, HeadNetwork, Targets, divergence

HEADS: dict[str, Head] = {
    head.name: head
    for head in (three_di.HEAD, secondary_structure.THREE_STATES, secondary_structure.EIGHT_STATES, profile.HEAD)
}
"""All heads by name."""


def find_head(name: str) -> Head:
    """Return a head by its name.

    Raises:
        UsageError: no such head.
    """
    if name not in HEADS:
        raise unknown_name("unknown head", name, list(HEADS))
    return HEADS[name]


__all__ = ["HEADS", "Head", "HeadNetwork", "Targets", "divergence", "find_head"]
