"""The average of the weights that training started from and of those that it ended with (WiSE-FT)."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from phylocli import models
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.task import ContrastiveTask

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightAverage:
    """Interpolates the weights of encoder and pooling towards those of the model that training started from.

    Training on a small corpus loses some of the model's accuracy on other data; the average keeps much of both (Wortsman et
    al. 2022, Robust fine-tuning of zero-shot models, arXiv 2109.01903).

    Attributes:
        start: name or folder of the model that training started from.
        coefficient: of its weights in the average, 0 … 1.
    """

    start: str
    coefficient: float

    def check(self, task: ContrastiveTask, corpus: Corpus) -> None:
        """Nothing can be wrong that the start of the run does not find: it loads the same model."""

    def fit(self, task: ContrastiveTask, corpus: Corpus) -> None:
        """Average the weights."""
        task.model.blend(models.load(self.start), self.coefficient)
        logger.info(f"averaged the weights with those of {self.start} (coefficient {self.coefficient:g})")
