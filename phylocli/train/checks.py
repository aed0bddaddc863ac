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

_OF_DIFFUSION = (
    *("recipe", "idea", "paper", "inputs", "task", "latents", "seed", "steps", "device", "diffusion.", "optimiser."),
    *("validation.fraction", "validation.split", "validation.every", "checkpoints.every", "checkpoints.keep"),
)
"""Beginnings of the names of the settings that the training of a latent diffusion reads."""


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
    if config.task == "latent-diffusion":
        _check_used_by_diffusion(config)
    if not config.inputs:
        raise UsageError("no inputs given", fix="give family records with trees, or pairs tables")


def _check_used_by_diffusion(config: TrainConfig) -> None:
    """Raise a UsageError if a setting that is given over the recipe is not one of a latent diffusion.

    Files and environment variables for every command may have settings of other runs.
    """
    base = flat(TrainConfig.of(None, {"recipe": config.named_recipe}).to_toml())
    now = flat(config.to_toml())
    unused = {
        layer.name_of(key)
        for layer in config.layers
        if not layer.ambient
        for key in flat(layer.values)
        if not key.startswith(_OF_DIFFUSION) and now.get(key) != base.get(key)
    }
    if unused:
        raise UsageError(
            f"the recipe latent-diffusion does not use {', '.join(sorted(unused))}",
            why="it trains on the latent vectors of a model, which stays as it is",
            fix="leave it out; its own settings are steps, seed, diffusion.…, optimiser.…, validation.fraction, .split and "
            ".every, and checkpoints.every and .keep",
        )
