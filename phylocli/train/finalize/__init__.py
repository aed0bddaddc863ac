"""After the last step: what is fitted to the trained model, as a list of steps with `check()` and `fit()`.

A step is checked before the run starts, so that what cannot be done at the end is said at the beginning. Held-out members
take no part in any of them.
"""

from __future__ import annotations

from typing import Protocol

from phylocli.config.train import TrainConfig
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.finalize.average import WeightAverage
from phylocli.train.finalize.kernel import KernelFeatures
from phylocli.train.finalize.whitening import FamilyWhitening
from phylocli.train.task import ContrastiveTask


class FinalStep(Protocol):
    """Something that is done to the model after training."""

    def check(self, task: ContrastiveTask, corpus: Corpus) -> None:
        """Raise a UsageError where `fit` would be impossible; called before training."""

    def fit(self, task: ContrastiveTask, corpus: Corpus) -> None:
        """Change `task.model`; called once, after the last step of training."""


def finalization_steps(config: TrainConfig) -> list[FinalStep]:
    """Return the steps that a configuration asks for, in their order: each fits what the one before left."""
    encoder, kernel, whitening = config.encoder, config.kernel, config.whitening
    steps: list[FinalStep] = []
    if encoder.start and encoder.average_coefficient:
        steps.append(WeightAverage(encoder.start, encoder.average_coefficient))
    if kernel.features:
        steps.append(KernelFeatures(kernel))
    if whitening.power:
        steps.append(FamilyWhitening(whitening, kernel.features))
    return steps
