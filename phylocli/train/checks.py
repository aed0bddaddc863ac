"""Checks of a configuration that require loading plugins and optional packages; done before a run starts."""

from __future__ import annotations

import logging

from phylocli import views
from phylocli.config.assignments import flat
from phylocli.config.train import TrainConfig
from phylocli.core.errors import UsageError, unknown_name
from phylocli.core.plugins import CRITICS, DECODERS, ENCODERS, OBJECTIVES, POOLINGS
from phylocli.models.heads import find_head
from phylocli.train.report import trackers

logger = logging.getLogger(__name__)

_OF_ALL = (
    *("recipe", "idea", "paper", "inputs", "task", "seed", "steps", "device", "optimiser."),
    *("checkpoints.every", "checkpoints.keep"),
)
_OF_GRAPHS = (*_OF_ALL, "features", "graphs.hidden", "graphs.layers")
USED = {
    "latent-diffusion": (
        *(*_OF_ALL, "latents", "diffusion."),
        *("validation.fraction", "validation.split", "validation.every"),
    ),
    "dgi": (*_OF_GRAPHS, "graphs.corruption"),
    "infograph": (*_OF_GRAPHS, "graphs.batch", "graphs.labels", "graphs.column", "graphs.agreement"),
    "modalities": (
        *(*_OF_ALL, "modalities", "multiview.", "modality.", "head.dimension", "critic.", "objective.", "log."),
        *("precision", "on_divergence", "checkpoints.", "batch.pairs", "batch.accumulate", "batch.max_tokens"),
        *("batch.grad_cache", "batch.workers", "batch.negatives", "batch.family_power", "batch.input_fractions"),
        *("validation.fraction", "validation.pairs", "validation.every"),
    ),
}
"""Beginnings of the names of the settings that each task reads that is not contrastive training of sequences."""
_OF_OTHERS = {"multiview.": "--modalities", "graphs.": "the recipes dgi and infograph"}
"""Beginnings of the names of settings that training on sequences does not use, and what does."""


def check_config(config: TrainConfig) -> None:
    """Check that every plugin exists and accepts its parameters, and that inputs are given.

    Raises:
        UsageError: unknown plugin, preset or parameter, a parameter of the wrong type, a setting that the task does not use,
            distillation without a teacher, or no inputs.
        MissingDependencyError: a configured tracker is not installed.
    """
    critic, objective, encoder = config.critic, config.objective, config.encoder
    CRITICS.check_parameters(critic.name, CRITICS.load(critic.name).Critic, critic.parameters)
    OBJECTIVES.check_parameters(objective.name, OBJECTIVES.load(objective.name).Objective, objective.parameters)
    if config.decoder.name:
        decoder = config.decoder
        DECODERS.check_parameters(decoder.name, DECODERS.load(decoder.name).Decoder, decoder.parameters)
    made = ENCODERS.load(encoder.name).Encoder
    if encoder.preset not in made.PRESETS:
        raise unknown_name(f"the encoder {encoder.name!r} has no preset", encoder.preset, made.PRESETS)
    ENCODERS.check_parameters(encoder.name, made, encoder.parameters)
    pooling = POOLINGS.load(encoder.pooling).Pooling
    POOLINGS.check_parameters(encoder.pooling, pooling, encoder.pooling_parameters)
    views.build(config.view.name, config.view.parameters, config.alphabet)
    for head in config.residues.weights:
        find_head(head)
    distilled = config.distillation
    for head in distilled.heads:
        find_head(head)
    for loss in distilled.weights.keys() | distilled.parameters.keys():
        OBJECTIVES.load(loss)
    wanted = any(distilled.weights.values()) or distilled.residues or distilled.head_weights or distilled.contrast != 1
    if wanted and not config.teachers:
        raise UsageError(
            "distillation needs a teacher, and none is named",
            fix="add --teacher MODEL or --teacher TABLE, or train without distillation, with another --recipe",
        )
    if config.residues.weights and not config.residues.labels:
        logger.warning(
            "the heads on residues are left out: residues.labels names no table. "
            "To train them, use --set residues.labels=TABLE"
        )
    trackers.check(config.log)
    if (config.task == "latent-diffusion") != bool(config.latents):
        raise UsageError(
            "the recipe latent-diffusion needs a model whose latent vectors it learns"
            if not config.latents
            else "--latents is for the recipe latent-diffusion only",
            fix="use --recipe latent-diffusion --latents run/model, with the model of a run with --recipe hybrid",
        )
    if config.features and config.task not in ("dgi", "infograph"):
        raise UsageError("--features is for the recipes dgi and infograph only", fix="leave it out, or name one of them")
    if config.task == "dgi" and not config.features:
        raise UsageError(
            "the recipe dgi needs embeddings of the nodes", fix="add --features TABLE, such as embeddings of the proteins"
        )
    if config.modalities and config.task != "contrast":
        raise UsageError(
            f"the recipe {config.named_recipe} does not train on --modalities", fix="leave them out, or use --recipe clip"
        )
    if config.task in USED or config.modalities:
        _check_used(config, "modalities" if config.modalities else config.task)
    else:
        for key, name in _given(config).items():
            for prefix, purpose in _OF_OTHERS.items():
                if key.startswith(prefix):
                    raise UsageError(f"{name} is for {purpose} only", fix="leave it out")
    if not config.inputs:
        raise UsageError("no inputs given", fix="give family records with trees, or pairs tables")


def _given(config: TrainConfig) -> dict[str, str]:
    """Return the settings that are given over the recipe, as the user wrote each, by their dotted names.

    Without those of files and environment variables for every command, which may be of other runs.
    """
    base = flat(TrainConfig.of(None, {"recipe": config.named_recipe}).to_toml())
    now = flat(config.to_toml())
    return {
        key: layer.name_of(key)
        for layer in config.layers
        if not layer.ambient
        for key in flat(layer.values)
        if now.get(key) != base.get(key)
    }


def _check_used(config: TrainConfig, kind: str) -> None:
    """Raise a UsageError if a setting that is given over the recipe is not one of this kind of training."""
    unused = {name for key, name in _given(config).items() if not key.startswith(USED[kind])}
    if unused:
        known = [name + "…" if name.endswith(".") else name for name in USED[kind] if name not in ("idea", "paper")]
        raise UsageError(
            f"{'training on --modalities' if kind == 'modalities' else f'the recipe {config.named_recipe}'} does not use "
            f"{', '.join(sorted(unused))}",
            why={
                "latent-diffusion": "it trains on the latent vectors of a model, which stays as it is",
                "modalities": "rows of a table are the views, and each modality has its own encoder (modality.NAME.encoder)",
            }.get(kind, "it trains a graph model, not an encoder of sequences"),
            fix=f"leave it out; its own settings are {', '.join(known)}",
        )
