"""After the last step: the map that weighs an embedding's directions by how little relatives differ in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from phylocli import console
from phylocli.errors import UsageError

if TYPE_CHECKING:
    from phylocli.train.data import Corpus
    from phylocli.train.learner import Learner

FEWEST = 2.0  # vectors a feature: with fewer the covariance is mostly noise


@torch.no_grad()
def whiten(learner: Learner, corpus: Corpus, settings: dict[str, Any], *, first: int) -> None:
    """Fit the model's whitening on pairs of training members; held-out members take no part.

    Args:
        learner: whose model is fitted; the model embeds with the map from here on.
        corpus: of the run.
        settings: `whitening`: `power`, `vectors`, `floor`; nothing is done where power is 0.
        first: number of the first batch to draw, past the last that was trained on.

    Raises:
        UsageError: a power or a floor that makes no sense.
    """
    power, floor = settings["power"], settings["floor"]
    if power == 0:
        return
    if not (0 < power <= 1 and 0 < floor <= 1):
        raise UsageError(f"whitening.power is {power:g} and whitening.floor {floor:g}", fix="give both from 0 to 1")
    learner.eval()
    vectors: list[torch.Tensor] = []
    family: list[torch.Tensor] = []
    drawn = 0
    while drawn < settings["vectors"]:
        pairs = corpus.batch(first + len(vectors))
        vectors.append(learner.embed(pairs.a + pairs.b).cpu())
        family += [torch.from_numpy(pairs.family)] * 2
        drawn += 2 * len(pairs)
    found = torch.cat(vectors)
    if len(found) < FEWEST * found.shape[1]:
        console.warning(f"whitening {found.shape[1]} features with {len(found)} vectors; raise whitening.vectors")
    learner.model.whiten(found, torch.cat(family), power, floor)
    console.info(f"whitened by the covariance within families of {len(found):,} vectors (power {power:g})")
