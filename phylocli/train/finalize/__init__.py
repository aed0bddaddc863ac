"""Finalization steps: weight averaging, kernel features and whitening, fitted to the trained model.

Each step has `check()`, called before training so that errors are reported early, and `fit()`. Held-out members are not
used.
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
    """A step that changes the model after training."""

    def check(self, task: ContrastiveTask, corpus: Corpus) -> None:
        """Raise a UsageError if `fit` is impossible; called before training."""

    def fit(self, task: ContrastiveTask, corpus: Corpus) -> None:
        """Change `task.model`; called once, after the last step of training."""


def finalization_steps(config: TrainConfig) -> list[FinalStep]:
    """Return the steps of a configuration, in order; each is fitted to the result of the previous one."""
    encoder, kernel, whitening = config.encoder, config.kernel, config.whitening
    steps: list[FinalStep] = []
    if encoder.start and encoder.average_coefficient:
        steps.append(WeightAverage(encoder.start, encoder.average_coefficient))
    if kernel.features:
        steps.append(KernelFeatures(kernel))
    if whitening.power:
        steps.append(FamilyWhitening(whitening, kernel.features))
    return steps
