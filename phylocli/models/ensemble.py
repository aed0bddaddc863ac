"""Ensembles: models of one architecture that were trained apart, joined into one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from phylocli.core.errors import UsageError
from phylocli.models.model import Model


def join_models(models: Sequence[Model]) -> Model:
    """Return the ensemble of models with convolutional encoders of one size.

    The vectors of residues, and the pooled features, are those of the members one after the other; the logits of its heads
    are the averages of theirs. Maps fitted after training (kernel means, whitening) and decoders are left out: fit them to
    the ensemble.

    Args:
        models: M ≥ 1 members, which differ in their weights only.

    Raises:
        UsageError: no model, members of different architectures, or encoders or poolings that cannot be joined.

    Examples:
        >>> members = [phylocli.Model.create("convolutional", preset="tiny", pooling="mean", seed=seed) for seed in (0, 1)]
        >>> phylocli.join_models(members).dimension
        128
    """
    if not models:
        raise UsageError("an ensemble needs at least one model")
    configs = [replace(model.config.before_fitting(), decoder=None) for model in models]
    first, number = configs[0], len(models)
    for model, config in zip(models, configs, strict=True):
        if config != first:
            raise UsageError(
                f"{model.folder or 'a model'} and {models[0].folder or 'the first'} cannot form an ensemble",
                why="their encoders, poolings or heads are of different kinds or sizes",
                fix="train them with the same settings and different seeds",
            )
    if first.encoder != "convolutional" or first.pooling not in ("mean", "feature-mean"):
        raise UsageError(
            f"models with the encoder {first.encoder!r} and the pooling {first.pooling!r} cannot form an ensemble",
            fix="use convolutional encoders, and the pooling mean or feature-mean",
        )
    pooling = dict(first.pooling_parameters)
    if first.pooling == "feature-mean":
        pooling["features"] = sum(model.blocks[0] for model in models)
    heads = {
        name: {**head, "hidden": number * head["hidden"], "groups": number} if head.get("hidden") else head
        for name, head in first.heads.items()
    }
    joined = Model(
        replace(
            first,
            encoder="ensemble",
            parameters={"members": number, **first.parameters},
            pooling_parameters=pooling,
            heads=heads,
        )
    )
    joined.load_state_dict(
        {
            **{
                f"encoder.members.{k}.{name}": value
                for k, model in enumerate(models)
                for name, value in model.encoder.state_dict().items()
            },
            **_joined_states("pooling", [model.pooling.state_dict() for model in models]),
            **_joined_states("heads", [model.heads.state_dict() for model in models]),
        }
    )
    return joined.to(models[0].device).eval()


def _joined_states(module: str, states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the weights of the poolings or the heads of all members as one: features one after the other, and the averages
    of logits."""
    found = {}
    for name in states[0]:
        parts = [state[name] for state in states]
        if name.endswith("states.weight"):
            value = torch.cat(parts, dim=1) / len(parts)
        elif name.endswith("states.bias"):
            value = torch.stack(parts).mean(0)
        elif name == "expand.weight":
            value = torch.block_diag(*parts)
        else:
            value = torch.cat(parts)
        found[f"{module}.{name}"] = value
    return found
