"""Training a diffusion model of the latent vectors of a trained model, which stays as it is.

Every step is a function of the seed and its number, so a stopped run resumes exactly.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from phylocli import models
from phylocli.config.train import TrainConfig
from phylocli.core.errors import BadInputError
from phylocli.core.words import counted
from phylocli.diffusion import Average, DiffusionArchitecture, LatentDiffusion, conditions_of
from phylocli.diffusion.latent_diffusion import DESCRIPTION, NONE
from phylocli.formats import read_families
from phylocli.formats.streams import atomic_directory
from phylocli.models.latent_vectors import Tokens, latent_vectors
from phylocli.models.model import CARD, Model
from phylocli.pairs import Split
from phylocli.train.full_batch.loop import finished, optimise
from phylocli.train.parallel.world import World, stream
from phylocli.train.report.row import Row
from phylocli.train.run_folder import MODEL
from phylocli.train.saved import Saved

logger = logging.getLogger(__name__)

FEWEST = 10
"""Latent vectors without which nothing can be learned."""
EVALUATED = 2048
"""Noisy latent vectors of a validation."""


@dataclass(frozen=True)
class Latents:
    """Latent vectors of the members of families.

    Attributes:
        vectors: (N, Z).
        family: code of the family as a condition, (N,) int64.
        clan: code of the clan, or of the family if it has none, (N,) int64.
        conditions: names of the codes 1, 2, …
        sources: SHA-256 of the model, and of its sequences with their families and clans, (2, 32) uint8.
    """

    vectors: Tensor
    family: Tensor
    clan: Tensor
    conditions: tuple[str, ...]
    sources: Tensor

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: Tensor) -> Self:
        """Return some of them."""
        return replace(self, vectors=self.vectors[rows], family=self.family[rows], clan=self.clan[rows])


class DiffusionTask(nn.Module):
    """A latent diffusion and the average of its weights.

    Args:
        diffusion: the latent diffusion.
        config: its training.
        sources: of the latent vectors, (2, 32).
    """

    sources: Tensor

    def __init__(self, diffusion: LatentDiffusion, config: TrainConfig, sources: Tensor) -> None:
        super().__init__()
        self.diffusion = diffusion
        self.register_buffer("sources", sources)
        self.average = Average(diffusion.denoiser, config.diffusion.average)
        self.unconditional, self.seed = config.diffusion.unconditional, config.seed

    def loss(self, latents: Latents, n: int, step: int) -> Tensor:
        """Return the loss of n random latent vectors, times and noises, which are functions of the seed and the step."""
        random = torch.Generator().manual_seed(stream(self.seed, step))
        rows = torch.randint(len(latents), (n,), generator=random)
        of_clan = torch.rand(n, generator=random) < 0.5
        conditions = torch.where(of_clan, latents.clan[rows], latents.family[rows])
        conditions = conditions.masked_fill(torch.rand(n, generator=random) < self.unconditional, NONE)
        last = self.diffusion.schedule.last(self.diffusion.config.prediction)
        times = torch.randint(last + 1, (n,), generator=random)
        noise = torch.randn(n, latents.vectors.shape[1], generator=random)
        device = self.diffusion.mean.device
        inputs = (x.to(device, non_blocking=True) for x in (latents.vectors[rows], conditions, times, noise))
        return self.diffusion.loss(*inputs)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Load the state of a checkpoint.

        Raises:
            BadInputError: it was trained on latent vectors of another model or of other sequences.
        """
        before = state_dict.get(f"{prefix}sources")
        if before is not None:
            changed = (before.to(self.sources.device) != self.sources).any(1).tolist()
            if any(changed):
                raise BadInputError(
                    ("the model of --latents has" if changed[0] else "the inputs have")
                    + " changed since the run was started",
                    why="a run learns the latent vectors of one model, of the same sequences",
                    fix="restore it, or start a new run" if changed[0] else "restore them, or start a new run",
                )
        super()._load_from_state_dict(state_dict, prefix, *others)

    @torch.no_grad()
    def validate(self, latents: Latents) -> float:
        """Return the loss of the averaged weights on latent vectors; the same times and noises at every call."""
        present = self.diffusion.denoiser
        self.diffusion.denoiser = self.average.network
        try:
            return float(self.loss(latents, EVALUATED, 0))
        finally:
            self.diffusion.denoiser = present


def train(folder: Path, config: TrainConfig, saved: Saved | None, device: torch.device, world: World) -> Path:
    """Train a latent diffusion in a run folder, and return the model folder.

    Args:
        folder: the run folder.
        config: with `latents`, the model, and `inputs`, files of families or sequences.
        saved: the checkpoint to resume from.
        device: where to compute.
        world: of a single process.

    Raises:
        UsageError: the model has no decoder, or there are several processes.
        BadInputError: the inputs have too few sequences.
        DivergedError: the loss is not finite.
        Stopped: interrupted; a checkpoint is saved.
    """
    if finished(folder, config, saved, DESCRIPTION, world):
        return folder / MODEL
    model = models.load(config.latents, str(device))
    card = _card_of(model)
    latents = embed_members(model, config)
    training, held_out = divided(latents, config)
    task = _make(latents, config).to(device)
    task.diffusion.standardise(training.vectors)
    size = sum(p.numel() for p in task.diffusion.denoiser.parameters())
    logger.info(
        f"training a latent diffusion ({size:,} weights) on {counted(len(training), 'latent vector')} of "
        f"{latents.vectors.shape[1]} features, {len(latents.conditions)} families and clans, {device.type}"
    )

    def after(step: int, row: Row) -> None:
        task.average.update(task.diffusion.denoiser)
        if held_out is not None and (step % config.validation.every == 0 or step == config.steps):
            row["val_loss"] = task.validate(held_out)
            logger.info(f"step {step}/{config.steps} · loss {row['loss']:.4f} · held out {row['val_loss']:.4f}")

    batch = config.diffusion.batch
    rows = optimise(folder, config, task, saved, world, lambda step: {"loss": task.loss(training, batch, step)}, after)
    task.diffusion.denoiser.load_state_dict(task.average.network.state_dict())
    _write_model(folder / MODEL, model, card, task.diffusion, latents, config, rows)
    logger.info(f"the model is {folder / MODEL}; sample from it with 'phylocli generate {folder / MODEL}'")
    return folder / MODEL


def embed_members(model: Model, config: TrainConfig) -> Latents:
    """Return the latent vectors of all members of the inputs, whole; those too long for the decoder are left out.

    With `validation.split`, members that are held out there are left out.

    Raises:
        UsageError: the model has no decoder.
        BadInputError: too few sequences.
    """
    longest = model.require_decoder().max_length
    split = Split.read(config.validation.split.replace("{seed}", str(config.seed))) if config.validation.split else None
    tokens: list[Tokens] = []
    families: list[str] = []
    clans: list[str] = []
    too_long = 0
    for source in config.inputs:
        for family in read_families(source):
            for sequence in family.sequences():
                if split is not None and split.part_of(family.label, sequence.id) != "train":
                    continue
                if len(sequence.residues) > longest:
                    too_long += 1
                    continue
                tokens.append(model.encode(sequence.residues))
                families.append(family.label)
                clans.append(family.clan)
    if too_long:
        logger.warning(
            f"{counted(too_long, 'sequence')} of more than {longest} residues are left out: the decoder's max_length"
        )
    if len(tokens) < FEWEST:
        raise BadInputError(f"{len(tokens)} sequences are too few for a latent diffusion", fix=f"give at least {FEWEST}")
    conditions = conditions_of(families, clans)
    codes = {name: code for code, name in enumerate(conditions, start=1)}
    clan = [codes[name or family] for name, family in zip(clans, families, strict=True)]
    family_codes = torch.tensor([codes[name] for name in families])
    digest = hashlib.sha256(json.dumps([families, clans, [len(letters) for letters in tokens]]).encode())
    for letters in tokens:
        digest.update(letters.tobytes())
    sources = torch.tensor([list(bytes.fromhex(model.fingerprint)), list(digest.digest())], dtype=torch.uint8)
    return Latents(latent_vectors(model, tokens), family_codes, torch.tensor(clan), conditions, sources)


def divided(latents: Latents, config: TrainConfig) -> tuple[Latents, Latents | None]:
    """Return latent vectors for training and a random fraction for validation; None if there are too few."""
    order = torch.from_numpy(np.random.default_rng(config.seed).permutation(len(latents)))
    held_out = math.floor(config.validation.fraction * len(latents))
    training = latents.take(order[held_out:].sort().values)
    return training, latents.take(order[:held_out].sort().values) if held_out else None


def _make(latents: Latents, config: TrainConfig) -> DiffusionTask:
    """Return a task with random weights, a function of the seed."""
    given = config.diffusion
    architecture = DiffusionArchitecture(
        latents.vectors.shape[1], latents.conditions, given.prediction, given.times, given.width, given.depth
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return DiffusionTask(LatentDiffusion(architecture), config, latents.sources)


def _card_of(model: Model) -> str:
    """Return the model card of a loaded model."""
    path = model.folder / CARD if model.folder is not None else None
    return path.read_text(encoding="utf-8") if path is not None and path.is_file() else "# A phylocli model\n"


def _write_model(
    target: Path,
    model: Model,
    card: str,
    diffusion: LatentDiffusion,
    latents: Latents,
    config: TrainConfig,
    rows: list[Row],
) -> None:
    """Write a model folder: the model as it was loaded, and the latent diffusion."""
    checked = [row["val_loss"] for row in rows if row.get("val_loss") is not None]
    figures = f", held-out loss {checked[-1]:.4f} (1 is that of no prediction)" if checked else ""
    card += (
        f"\n- Latent diffusion: {config.steps} steps on {len(latents):,} latent vectors of {len(latents.conditions)} "
        f"families and clans, {config.diffusion.prediction}-prediction{figures}.\n"
    )
    with atomic_directory(target) as part:
        model.save(part, card)
        diffusion.save(part, model.fingerprint)
