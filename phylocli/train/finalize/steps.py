"""What comes after the last step, in its order: the average of both ends of the run, kernel means, the whitening."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phylocli import models
from phylocli.core import console
from phylocli.train.finalize.kernel import add_kernel, check_kernel
from phylocli.train.finalize.whitening import check_whitening, whiten

if TYPE_CHECKING:
    from phylocli.train.data.batch_sampler import Corpus
    from phylocli.train.task import Learner


def check_completion(learner: Learner, corpus: Corpus, settings: dict[str, Any]) -> None:
    """Raise, before a run starts, where its end could not be made.

    Args:
        learner: of the run.
        corpus: of the run.
        settings: of the run: `kernel`, `whitening`.

    Raises:
        UsageError: settings that make no sense, or too few aligned families.
    """
    check_kernel(corpus, settings, learner.model.encoder.dimension)
    check_whitening(corpus, settings["whitening"], learner.model.dimension + settings["kernel"]["features"])


def complete(learner: Learner, corpus: Corpus, settings: dict[str, Any]) -> None:
    """Make the model of a run that has done its steps; held-out members take no part.

    The average is of the weights that training began with and of those that it came to. Both are good, in different ways:
    what training learns from a small corpus costs it some of what it knew of others (Wortsman et al. 2022, Robust
    fine-tuning of zero-shot models, arXiv 2109.01903). What is fitted then belongs to the weights that come out.

    Args:
        learner: whose model is changed.
        corpus: of the run.
        settings: of the run: `encoder` (`start`, `start_share`), `kernel`, `whitening`.
    """
    start, share = settings["encoder"]["start"], settings["encoder"]["start_share"]
    if start and share:
        learner.model.blend(models.load(start), share)
        console.info(f"the weights are those of training with a share of {share:g} of those of {start}")
    add_kernel(learner, corpus, settings["kernel"])
    whiten(learner, corpus, settings["whitening"])
