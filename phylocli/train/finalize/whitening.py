"""Whitening: an affine map that scales down the directions in which members of a family vary."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import torch

from phylocli.config.train import WhiteningConfig
from phylocli.core.errors import UsageError
from phylocli.core.words import counted
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.random_streams import RandomStream
from phylocli.train.task import ContrastiveTask
from phylocli.views import Tokens

logger = logging.getLogger(__name__)

FEWEST = 2.0  # vectors per feature: with fewer, the covariance estimate is mostly noise


AT_ONCE = 512
"""Sequences that are embedded together: families of a few members alone would waste most of the time."""


@dataclass(frozen=True)
class FamilyWhitening:
    """Fits the model's whitening to whole sequences of training members.

    Whole sequences are used even if training crops them, because the map is applied to whole sequences.

    Attributes:
        config: parameters of the map and of its fit.
        kernel_features: number of kernel features that the previous step adds.
    """

    config: WhiteningConfig
    kernel_features: int = 0

    def check(self, task: ContrastiveTask, corpus: Corpus) -> None:
        """Raise a UsageError if the map would have more output than input features."""
        features, families = task.model.dimension + self.kernel_features, len(corpus.families)
        dimension = self.config.dimension
        if dimension > features:
            raise UsageError(
                f"whitening.dimension is {dimension}, but the model has only {features} features",
                fix=f"give 0 (all {features} features), or at most {features}",
            )
        if 0 < dimension < features and dimension >= families:
            logger.warning(
                f"whitening keeps all {features} features: whitening.dimension is {dimension}, but {families} families "
                f"have at most {families - 1} discriminant axes"
            )

    @torch.no_grad()
    def fit(self, task: ContrastiveTask, corpus: Corpus) -> None:
        """Fit the map and add it to the model."""
        task.eval()
        each = max(2, math.ceil(self.config.vectors / len(corpus.families)))
        whole: list[Tokens] = []
        shuffled: list[Tokens] = []  # what their vectors have in common with others is the composition
        family: list[int] = []
        for code, source in enumerate(corpus.families):
            members = source.members().tokens
            rng = np.random.default_rng([corpus.seed, RandomStream.WHITENING, code])
            chosen = [members[k] for k in np.sort(rng.permutation(len(members))[:each])]
            whole += chosen
            family += [code] * len(chosen)
            if self.config.composition:
                shuffled += [rng.permutation(member) for member in chosen]
        vectors = _embedded(task, whole)
        features = task.model.dimension
        dimension = self.config.dimension
        if dimension >= min(features, len(corpus.families)):
            dimension = 0
        if len(family) < FEWEST * features:
            logger.warning(f"{len(family):,} vectors are too few to whiten {features} features reliably")
        nuisance = self.config.composition * torch.cov(_embedded(task, shuffled).double().T) if shuffled else None
        task.model.whiten(vectors, torch.tensor(family), self.config.power, self.config.floor, dimension, nuisance)
        shown = f", composition {self.config.composition:g}" if shuffled else ""
        shown += f", {features} features to {dimension}" if dimension else ""
        logger.info(
            f"whitened by the covariance within families of {counted(len(family), 'member')} "
            f"(power {self.config.power:g}{shown})"
        )


def _embedded(task: ContrastiveTask, sequences: list[Tokens]) -> torch.Tensor:
    """Return the vectors of sequences, (N, D), on the CPU."""
    parts = [task.embed(sequences[start : start + AT_ONCE]).cpu() for start in range(0, len(sequences), AT_ONCE)]
    return torch.cat(parts)
