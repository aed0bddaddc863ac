"""Mutual information between two tables of embeddings, or embeddings and labels, in nats on held-out pairs."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phylocli.config.mi_estimate import MiEstimateConfig
from phylocli.core import console
from phylocli.core.errors import UsageError
from phylocli.core.words import counted
from phylocli.critics.base.decoder import Decoder
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import PathLike
from phylocli.formats.tables import information_schema
from phylocli.mi.learn import Scaler, fit
from phylocli.mi.methods import OPTIMAL, Choice, build, pairings, parse_estimators
from phylocli.mi.paired import IntArray, Paired, divide
from phylocli.mi.write import format_for, write_rows
from phylocli.objectives import Batch, Estimator
from phylocli.statistics.bootstrap import Estimate, interval, replicate

logger = logging.getLogger(__name__)

ESTIMATORS = ("infonce", "smile", "jsd")
LABEL_ESTIMATORS = ("barber-agakov", "infonce")
MOST = 2048
"""Maximum number of held-out pairs that are scored against each other."""

_NEGLIGIBLE = 0.005
"""Values in nats that messages round to zero."""


@dataclass
class Information:
    """One estimate.

    Attributes:
        estimator, critic: as named in the options.
        estimate_nats, low, high: on held-out pairs, with a 95 % interval.
        ceiling_nats: the maximum of the estimate: log K, or H(Y) of labels; None: no maximum.
        control_nats, control_low, control_high: the same with partners shuffled; None if not computed.
        n, groups, n_train: number of held-out pairs, groups among them, and training pairs.
        at_ceiling: whether the true information may be higher than the measurable maximum.
        side: whether the estimate is a `lower` or an `upper` bound, or `neither`. An upper bound needs an accurate decoder.
    """

    estimator: str
    critic: str
    estimate_nats: float
    low: float
    high: float
    ceiling_nats: float | None
    control_nats: float | None
    control_low: float | None
    control_high: float | None
    n: int
    groups: int | None
    n_train: int
    at_ceiling: bool
    side: str = "lower"


def estimate(data: Paired, config: MiEstimateConfig = MiEstimateConfig()) -> Iterator[Information]:
    """Yield one estimate for each estimator and critic.

    The pairs are divided into three parts: the critic is trained on one, stopped by the second, and evaluated on the third,
    all pairs against each other. Groups stay whole. The interval is the estimate ± 1.96 standard deviations over bootstrap
    resamples of the held-out pairs (or groups, if given); a pair and its copies are never negatives.

    Args:
        data: the pairs.
        config: options.

    Raises:
        UsageError: an unknown or unsuitable estimator or critic.
        BadInputError: too few groups.
    """
    methods = methods_for(data, config)
    rng = np.random.default_rng(config.seed)
    train, stop, test = divide(data, (config.stop, config.held_out), rng)
    if len(test) > MOST:
        logger.info(f"{MOST:,} of {len(test):,} held-out pairs are scored against each other")
        test = test.take(np.sort(rng.permutation(len(test))[:MOST]))
    shuffled = [part.shuffled(rng) for part in (train, stop, test)]
    for estimator, critic in methods:
        found = _measure(estimator, critic, [train, stop, test], config)
        control = _measure(estimator, critic, shuffled, config) if config.control else None
        ceiling = _ceiling(found.method, test)
        value = Information(
            estimator.text,
            critic.text,
            found.value,
            found.low,
            found.high,
            ceiling,
            control.value if control else None,
            control.low if control else None,
            control.high if control else None,
            len(test),
            None if test.groups is None else len(np.unique(test.groups)),
            len(train),
            False,
            found.method.side,
        )
        value.at_ceiling = bool(cautions(value, test))
        yield value


def methods_for(data: Paired, config: MiEstimateConfig) -> list[tuple[Choice, Choice]]:
    """Return the estimators and critics of the configuration, or by default those suited to the data.

    Raises:
        UsageError: an unknown name, or sizes out of range.
    """
    names = config.estimators or (LABEL_ESTIMATORS if data.classes else ESTIMATORS)
    critics = [Choice.parse(text) for text in config.critics]
    if any(critic.name == OPTIMAL for critic in critics):
        raise UsageError("the critic 'optimal' needs a known distribution", fix="it is for 'phylocli mi benchmark'")
    return pairings(parse_estimators(list(names)), critics, "categorical" if data.classes else "gaussian")


@dataclass
class _Measured:
    method: Estimator
    value: float
    low: float
    high: float


def _measure(estimator: Choice, critic: Choice, parts: Sequence[Paired], config: MiEstimateConfig) -> _Measured:
    train, stop, test = parts
    method = build(estimator, critic, train.a.shape[1], train.b.shape[1], config.seed)
    scaled = Scaler(train)
    if isinstance(method.critic, Decoder):
        method.critic.fit_marginal(scaled(train)[1])  # a marginal still being learned would appear as information
    step = fit(
        method,
        scaled(train),
        scaled(stop),
        batch_size=config.batch_size,
        steps=config.steps,
        learning_rate=config.learning_rate,
        seed=config.seed,
    )
    logger.debug(f"{estimator.text} on {critic.text}: the weights are those of step {step}")
    with torch.no_grad():
        scores = method.scores(*scaled(test))
    statistic = _statistic(method, scores)
    nats = Estimate("nats", statistic(np.arange(len(test))), len(test), statistic=statistic, interval="normal")
    low, high = interval(nats, replicate(nats, config.replicates, config.seed, test.groups))
    return _Measured(method, nats.value, low, high)


def _statistic(method: Estimator, scores: Tensor) -> Any:
    def value(rows: IntArray) -> float:
        index = torch.from_numpy(rows)
        # A pair that is sampled twice is not a negative of itself.
        return float(method.bound(scores[index][:, index], index[:, None] != index[None]))

    return value


def _ceiling(method: Estimator, test: Paired) -> float | None:
    own = method.ceiling(Batch.of_pairs(len(test)).negatives())
    entropy = label_entropy(test)
    known = [value for value in (own, entropy) if value is not None]
    return min(known) if known else None


def label_entropy(data: Paired) -> float | None:
    """Return H(Y) in nats of the label frequencies, the maximum of the information about them; None without labels."""
    if data.classes is None:
        return None
    fraction = data.b.mean(axis=0, dtype=np.float64)
    return float(-(fraction[fraction > 0] * np.log(fraction[fraction > 0])).sum())


def cautions(found: Information, test: Paired) -> list[str]:
    """Warn of an estimate at the limit of what can be measured; return these warnings."""
    name = f"{found.estimator} on {found.critic}"
    entropy, said = label_entropy(test), []
    if entropy is not None and found.estimate_nats > 0.95 * entropy:
        said.append(f"{name} reaches the entropy of the labels, {entropy:.2f} nats, which is the maximum")
    elif found.ceiling_nats is not None and found.ceiling_nats != entropy:
        if found.estimate_nats > found.ceiling_nats - math.log(2):
            said.append(
                f"{name} reaches its ceiling of {found.ceiling_nats:.2f} nats with {found.n:,} held-out pairs: the "
                "true information may be much higher; use more pairs, or another estimator"
            )
    elif entropy is None and found.side != "upper" and found.estimate_nats > math.log(found.n) - math.log(2):
        said.append(
            f"{name} reaches ln {found.n:,} = {math.log(found.n):.2f} nats: no lower bound is reliable "
            "above about the logarithm of the number of pairs (McAllester & Stratos 2020); it may be too high or too low"
        )
    for text in said:
        logger.warning(text)
    if found.control_low is not None and found.control_low > _NEGLIGIBLE:
        logger.warning(
            f"{name}: shuffled partners, which share no information, give {found.control_nats:.2f} nats, so the "
            "estimate is probably too high by as much"
        )
    return said


def bracketed(found: Sequence[Information]) -> tuple[float, float] | None:
    """Return the highest lower bound and the lowest upper bound, in nats; None unless there are both."""
    low = [row.estimate_nats for row in found if row.side == "lower"]
    high = [row.estimate_nats for row in found if row.side == "upper"]
    return (max(low), min(high)) if low and high else None


def _features(count: int) -> str:
    return f"{count:,} feature{'s' if count > 1 else ''}"


def run_estimate(
    data: Paired,
    output: PathLike | None = None,
    config: MiEstimateConfig = MiEstimateConfig(),
    *,
    format: str | None = None,
) -> list[Information]:
    """Estimate, and write each estimate as soon as it is computed; see `estimate`.

    Args:
        data: from `read_pairs`.
        output: path of the rows; `-`/None is standard output.
        config: options.
        format: `json`, `tsv`, `csv`, `parquet` or `arrow`; None takes it from the suffix.
    """
    format_for(output, format)
    total = len(methods_for(data, config))
    what = f"labels of {len(data.classes)} classes" if data.classes else f"vectors of {_features(data.b.shape[1])}"
    logger.info(f"{counted(len(data), 'pair')} of vectors of {_features(data.a.shape[1])} with {what}")
    found: list[Information] = []

    def kept() -> Iterator[dict[str, object]]:
        for row in console.progress(estimate(data, config), "estimating", total, "methods"):
            found.append(row)
            control = ""
            if row.control_nats is not None:
                control = f"; shuffled {row.control_nats:.2f} ({row.control_low:.2f} to {row.control_high:.2f})"
            most = "" if row.ceiling_nats is None else f", at most {row.ceiling_nats:.2f}"
            interval_ = f"{row.low:.2f} to {row.high:.2f}"
            logger.info(f"{row.estimator} on {row.critic}: {row.estimate_nats:.2f} nats ({interval_}){most}{control}")
            yield asdict(row)

    write_rows(kept(), output, information_schema(), format)
    bracket = bracketed(found)
    if bracket is not None and bracket[0] <= bracket[1]:
        logger.info(f"The information is between about {bracket[0]:.2f} and {bracket[1]:.2f} nats")
    elif bracket is not None:
        logger.warning(
            f"the upper bound, {bracket[1]:.2f} nats, is below the lower one, {bracket[0]:.2f}: either its decoder is not "
            "accurate enough for a bound, or the lower bound is too high by chance, as it may be far above the logarithm of "
            "the number of pairs; use more pairs, another decoder, or infonce as the lower bound"
        )
    write_sidecar(output, "mi estimate", config.to_parameters(), config.seed)
    return found
