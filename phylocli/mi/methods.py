"""An estimator with a critic, each given as text: `infonce`, `smile:clip=1`, `fgan:divergence=pearson`."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any, cast

import torch

from phylocli.config.assignments import parse_assignment
from phylocli.core.errors import UsageError
from phylocli.core.plugins import CRITICS, OBJECTIVES
from phylocli.critics import build_critic
from phylocli.critics.base.decoder import Decoder
from phylocli.objectives import Estimator, build_objective, estimators, needs_decoder

OPTIMAL = "optimal"


@dataclass(frozen=True)
class Choice:
    """A plugin and its parameters.

    Attributes:
        text: as given by the user.
        name: of the plugin.
        parameters: the plugin's own.
    """

    text: str
    name: str
    parameters: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Choice:
        """Return the choice described by `name` or `name:key=value,key=value`.

        Raises:
            UsageError: a parameter without a value.
        """
        name, _, rest = text.partition(":")
        return cls(text, name, dict(parse_assignment(item) for item in rest.split(",") if item))


def parse_estimators(texts: list[str]) -> list[Choice]:
    """Return estimators by name.

    Raises:
        UsageError: an unknown name, or an objective that is not an estimator.
    """
    choices = [Choice.parse(text) for text in texts]
    known = estimators()
    for choice in choices:
        OBJECTIVES.load(choice.name)
        if choice.name not in known:
            raise UsageError(
                f"{choice.name} is an objective, but does not estimate information", fix=f"known: {', '.join(known)}"
            )
    return choices


def pairings(chosen: list[Choice], critics: list[Choice], decoder: str) -> list[tuple[Choice, Choice]]:
    """Return every combination of an estimator and a critic that it can use.

    Barber–Agakov and the upper bounds need a decoder: they use those among the critics, or `decoder` if there is none. A
    decoder is also an ordinary critic, so the other estimators use it if it is named.

    Raises:
        UsageError: an unknown critic.
    """
    decoders = [c for c in critics if c.name != OPTIMAL and issubclass(cast(type, CRITICS.load(c.name).Critic), Decoder)]
    found = []
    for estimator in chosen:
        usable = critics
        if needs_decoder(estimator.name):
            usable = [c for c in critics if c.name == OPTIMAL or c in decoders]
            usable += [] if decoders else [Choice.parse(decoder)]
        found += [(estimator, critic) for critic in usable]
    return found


def build(
    estimator: Choice, critic: Choice, dimension: int, other: int, seed: int, *, entropy: float | None = None
) -> Estimator:
    """Return an estimator with a new critic.

    Args:
        estimator: name and parameters.
        critic: name and parameters.
        dimension: features of a.
        other: features of b.
        seed: of the critic's weights.
        entropy: H(b), for Barber–Agakov, if known.

    Raises:
        UsageError: an unknown parameter, a critic that cannot compare vectors of different widths, or an estimator that has
            no value in nats (f-GAN's total variation).
    """
    parameters = dict(critic.parameters)
    if "other" in inspect.signature(CRITICS.load(critic.name).Critic).parameters:
        parameters["other"] = other
    elif dimension != other:
        raise UsageError(
            f"the critic {critic.name} compares vectors of equal width, but these have {dimension} and {other} features",
            fix="use separable, concatenated or bilinear",
        )
    own = dict(estimator.parameters)
    if entropy is not None and "entropy" in inspect.signature(OBJECTIVES.load(estimator.name).Objective).parameters:
        own.setdefault("entropy", entropy)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = build_objective(estimator.name, build_critic(critic.name, dimension, parameters), own)
    assert isinstance(built, Estimator)
    built.bound(torch.zeros(2, 2), ~torch.eye(2, dtype=torch.bool))  # fail before training, not after
    return built
