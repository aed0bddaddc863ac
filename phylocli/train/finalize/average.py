"""Weight averaging of the initial (pretrained) and the final model (WiSE-FT)."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from phylocli import models
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.task import ContrastiveTask

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightAverage:
    """Interpolates between the final weights of encoder and pooling and those of the pretrained model.

    Fine-tuning on a small corpus reduces accuracy on other data; the average retains much of both accuracies (Wortsman et
    al. 2022, Robust fine-tuning of zero-shot models, arXiv 2109.01903).

    Attributes:
        start: name or folder of the pretrained model.
        coefficient: weight of the pretrained model in the average, 0 to 1.
    """

    start: str
    coefficient: float

    def check(self, task: ContrastiveTask, corpus: Corpus) -> None:
        """Do nothing: the start of the run already loads the same model."""

    def fit(self, task: ContrastiveTask, corpus: Corpus) -> None:
        """Average the weights."""
        task.model.blend(models.load(self.start), self.coefficient)
        logger.info(f"averaged the weights with those of {self.start} (coefficient {self.coefficient:g})")
