"""After the last step: the map that weighs an embedding's directions by how little relatives differ in them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from phylocli.core import console
from phylocli.core.errors import UsageError

if TYPE_CHECKING:
    from phylocli.train.data.batch_sampler import Corpus
    from phylocli.train.task import Learner

WHITENING = 6  # stream of random numbers, apart from those of `phylocli.train.data.batch_sampler`

FEWEST = 2.0  # vectors a feature: with fewer the covariance is mostly noise


def check_whitening(corpus: Corpus, settings: dict[str, Any], features: int) -> None:
    """Raise, before a run starts, where at its end no whitening could be fitted.

    Args:
        corpus: of the run.
        settings: `whitening`.
        features: number of features that are whitened.

    Raises:
        UsageError: settings that make no sense.
    """
    power, dimension = settings["power"], settings["dimension"]
    if power == 0:
        return
    if not 0 <= dimension <= features:
        raise UsageError(f"whitening.dimension is {dimension}", fix=f"give 0 (all {features} features), or up to {features}")
    if 0 < dimension < features and dimension >= len(corpus.families):
        console.warning(
            f"whitening will keep all {features} features: {len(corpus.families)} families have not the {dimension} axes "
            "between their means that whitening.dimension asks for"
        )


@torch.no_grad()
def whiten(learner: Learner, corpus: Corpus, settings: dict[str, Any]) -> None:
    """Fit the model's whitening on whole sequences of training members; held-out members take no part.

    The map is used on whole sequences, so it is fitted on them, whatever parts of them training saw.

    Args:
        learner: whose model is fitted; the model embeds with the map from here on.
        corpus: of the run.
        settings: `whitening`: `power`, `vectors`, `floor`, `dimension`; nothing is done where power is 0.
    """
    power, floor, vectors, dimension = (settings[key] for key in ("power", "floor", "vectors", "dimension"))
    if power == 0:
        return
    learner.eval()
    each = max(2, math.ceil(vectors / len(corpus.families)))
    found: list[torch.Tensor] = []
    family: list[int] = []
    for code, source in enumerate(corpus.families):
        members = source.members().tokens
        rng = np.random.default_rng([corpus.seed, WHITENING, code])
        chosen = [members[k] for k in np.sort(rng.permutation(len(members))[:each])]
        found.append(learner.embed(chosen).cpu())
        family += [code] * len(chosen)
    features = learner.model.dimension
    if dimension >= min(features, len(corpus.families)):
        dimension = 0
    if len(family) < FEWEST * features:
        console.warning(f"whitening {features} features with {len(family):,} vectors is mostly noise")
    learner.model.whiten(torch.cat(found), torch.tensor(family), power, floor, dimension)
    shown = f", {features} features to {dimension}" if dimension else ""
    console.info(f"whitened by the covariance within families of {len(family):,} members (power {power:g}{shown})")
