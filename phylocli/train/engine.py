"""What a step does with the weights: gradients of a batch, clipping, the optimiser; and the weights' part of checkpoints."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from phylocli.encoders import Model
from phylocli.train import distributed
from phylocli.train.data import Corpus, PairBatch
from phylocli.train.distributed import World
from phylocli.train.learner import Learner
from phylocli.train.optimiser import make_optimiser
from phylocli.train.trial import leaves_out

WEIGHTS = ("learner", "optimiser")
"""What `Engine.state` gives: large, and known to rank 0 alone."""


class Engine:
    """Trains a learner that is whole in each process; gradients are added up over the processes.

    Args:
        learner: is moved to the device.
        corpus: of the run.
        settings: `optimiser` of the run.
        device: to compute on.

    Attributes:
        learner, optimiser: of this process.
    """

    def __init__(self, learner: Learner, corpus: Corpus, settings: dict[str, Any], device: torch.device) -> None:
        self.learner, self.corpus = learner.to(device), corpus
        self.optimiser = make_optimiser(list(learner.parameters()), settings)

    @property
    def world(self) -> World:
        """The processes of the run."""
        return self.learner.world

    @functools.cached_property
    def trained(self) -> nn.Module:
        """The learner, its gradients added up over all processes."""
        if self.world.size == 1:
            return self.learner
        return distributed.replicated(self.learner, loose=leaves_out(self.learner, self.corpus.batch(0)))

    def gradients(self, batches: Sequence[PairBatch]) -> dict[str, Tensor]:
        """Compute the average gradient of some batches; return the average of their terms."""
        self.optimiser.zero_grad(set_to_none=True)
        terms: dict[str, Tensor] = {}
        for i, pairs in enumerate(batches):
            with distributed.unsynchronised(self.trained, i + 1 < len(batches)):
                found = self.trained(pairs)
                (found["loss"] / len(batches)).backward()
            for name, value in found.items():
                terms[name] = terms.get(name, 0) + value.detach() / len(batches)
        return terms

    def clip(self, most: float) -> Tensor:
        """Scale the gradient of all weights together down to a norm of at most `most`; return the norm that it had."""
        return nn.utils.clip_grad_norm_(self.learner.parameters(), most)

    def state(self) -> dict[str, Any]:
        """Return learner and optimiser as rank 0 saves them; all processes ask for it together."""
        return {"learner": self.learner.state_dict(), "optimiser": self.optimiser.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave, however many processes there were then.

        Raises:
            RuntimeError, ValueError, KeyError: it is that of another model.
        """
        self.learner.load_state_dict(state["learner"])
        self.optimiser.load_state_dict(state["optimiser"])

    def model(self) -> Model | None:
        """Return the trained model on rank 0; None elsewhere."""
        return self.learner.model if self.world.main else None
