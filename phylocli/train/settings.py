"""What each setting of a run may be: ranges of numbers, known words, and what settings ask of each other, in one place.

Names, types and values of plugins' parameters (`[critic]`, `[objective]`, `[encoder.parameters]`, `[view.…]`) are checked by
their plugins; `check` sees to it that this happens before a run starts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from phylocli import views
from phylocli.core import plugins
from phylocli.core.alphabet import ALPHABETS
from phylocli.core.errors import UsageError
from phylocli.core.plugins import CRITICS, ENCODERS, OBJECTIVES, POOLINGS
from phylocli.train import checkpoints, divergence
from phylocli.train.data.types import NEGATIVES
from phylocli.train.report import trackers


@dataclass(frozen=True)
class Range:
    """The values that a number may have.

    Attributes:
        low, high: the ends.
        above: the low end itself is excluded.
        below: the high end itself is excluded.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        # NaN compares as false with everything.
        return (value > self.low if self.above else value >= self.low) and (
            value < self.high if self.below else value <= self.high
        )

    def __str__(self) -> str:
        low = "" if self.low == -math.inf else f"{'above' if self.above else 'from'} {self.low:g}"
        high = "" if self.high == math.inf else f"{'below' if self.below else 'up to'} {self.high:g}"
        return " and ".join(part for part in (low, high) if part) or "that is finite"


_FRACTION = Range(0, 1)
_COUNT = Range(0)
_AT_LEAST_ONE = Range(1)
_POSITIVE = Range(0, math.inf, above=True, below=True)
_FINITE = Range(-math.inf, math.inf, above=True, below=True)

RANGES = {
    "seed": _COUNT,
    "steps": _AT_LEAST_ONE,
    "encoder.start_share": _FRACTION,
    "head.hidden": _COUNT,
    "head.dimension": _AT_LEAST_ONE,
    "optimiser.learning_rate": _POSITIVE,
    "optimiser.weight_decay": Range(0, math.inf, below=True),
    "optimiser.beta1": Range(0, 1, below=True),
    "optimiser.beta2": Range(0, 1, below=True),
    "optimiser.warmup": _FRACTION,
    "optimiser.final": _FRACTION,
    "optimiser.clip": Range(0, above=True),
    "batch.pairs": _COUNT,
    "batch.accumulate": _AT_LEAST_ONE,
    "batch.tokens": _AT_LEAST_ONE,
    "batch.workers": Range(-1),
    "batch.family_power": _FINITE,
    "batch.clan_share": _FRACTION,
    "batch.hard_share": Range(0, 1, below=True),
    "kernel.features": _COUNT,
    "kernel.axes": _AT_LEAST_ONE,
    "kernel.width": _POSITIVE,
    "whitening.power": _FRACTION,
    "whitening.vectors": Range(2),
    "whitening.floor": Range(0, 1, above=True),
    "whitening.dimension": _COUNT,
    "validation.fraction": Range(0, 1, below=True),
    "validation.pairs": Range(2),
    "validation.every": _AT_LEAST_ONE,
    "checkpoints.every": _AT_LEAST_ONE,
    "checkpoints.keep": _AT_LEAST_ONE,
}
"""Of every number in `recipes/_defaults.toml`; a test holds the two against each other."""

WORDS = {
    "precision": ("auto", "fp32", "bf16"),
    "alphabet": ALPHABETS,
    "on_divergence": divergence.ACTIONS,
    "batch.negatives": NEGATIVES,
    "checkpoints.best": ("", *checkpoints.FIGURES),
    "checkpoints.model": ("last", "best"),
}


def check(config: dict[str, Any]) -> None:
    """Check every setting of a run, before anything of it starts.

    Args:
        config: every setting, and `seed`.

    Raises:
        UsageError: a value out of its range, an unknown word, a parameter that its plugin does not have, or settings that do
            not go together.
    """
    for name, allowed in RANGES.items():
        value = setting(config, name)
        if value not in allowed:
            raise UsageError(f"{name} is {value:g}", fix=f"give a number {allowed}")
    for name, known in WORDS.items():
        word = setting(config, name)
        if word not in known:
            raise UsageError(f"{name} is {word!r}", fix=f"choose one of {', '.join(k or 'none (empty)' for k in known)}")
    _check_plugins(config)
    _check_together(config)
    trackers.check(config["log"])


def setting(config: dict[str, Any], name: str) -> Any:
    """Return a setting by its dotted name."""
    value: Any = config
    for key in name.split("."):
        value = value[key]
    return value


def _check_plugins(config: dict[str, Any]) -> None:
    critic, objective = dict(config["critic"]), dict(config["objective"])
    name = critic.pop("name")
    plugins.check_parameters("critic", name, CRITICS.load(name).Critic, critic)
    name = objective.pop("name")
    plugins.check_parameters("objective", name, OBJECTIVES.load(name).Objective, objective)
    encoder = config["encoder"]
    made = ENCODERS.load(encoder["name"]).Encoder
    if encoder["preset"] not in made.PRESETS:
        presets = ", ".join(made.PRESETS)
        raise UsageError(f"the encoder {encoder['name']!r} has no preset {encoder['preset']!r}", fix=f"it has: {presets}")
    plugins.check_parameters("encoder", encoder["name"], made, encoder["parameters"])
    pooling, parameters = encoder["pooling"], encoder["pooling_parameters"]
    plugins.check_parameters("pooling", pooling, POOLINGS.load(pooling).Pooling, parameters)
    view = dict(config["view"])
    views.build(view.pop("name"), view, config["alphabet"])


def _check_together(config: dict[str, Any]) -> None:
    start, share = config["encoder"]["start"], config["encoder"]["start_share"]
    if share and (not start or config["batch"]["shard"]):
        raise UsageError(
            f"encoder.start_share is {share:g}",
            why="it is the fraction of encoder.start's weights in the final model; a sharded encoder cannot take them",
            fix="give encoder.start too, and leave out batch.shard",
        )
    if config["checkpoints"]["model"] == "best" and not config["checkpoints"]["best"]:
        raise UsageError("checkpoints.model is 'best', but checkpoints.best is empty", fix="name a figure, or take the last")
    if config["kernel"]["features"] and config["whitening"]["power"] == 0:
        raise UsageError(
            "kernel features require whitening",
            why="without it they all point in nearly the same direction",
            fix="say --set whitening.power=0.5, or kernel.features=0",
        )
    if config["head"]["norm"] and config["batch"]["pairs"] == 1:
        raise UsageError(
            "head.norm needs at least two pairs in a batch", why="it is a batch normalisation", fix="raise batch.pairs"
        )
