"""New sequences: latent vectors sampled by a latent diffusion, and decoded."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch

from phylocli.config.generate import GenerateConfig
from phylocli.core.errors import UsageError
from phylocli.core.words import counted
from phylocli.diffusion import LatentDiffusion
from phylocli.embed import load_model
from phylocli.formats import Sequence
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import PathLike, open_output
from phylocli.generate.decoding import AT_ONCE, decoded, write_fasta
from phylocli.models.model import Model

logger = logging.getLogger(__name__)


def generate(
    model: Model, diffusion: LatentDiffusion, config: GenerateConfig | None = None, **options: Any
) -> Iterator[Sequence]:
    """Yield new sequences, in bounded memory; sequence i is a function of the configuration and of i.

    Args:
        model: with a decoder, on the device to use.
        diffusion: of its latent vectors, see `LatentDiffusion.load`.
        config: how many, of which family, and how they are sampled; its fields may also be given as keywords.
        options: fields of `GenerateConfig`, such as `number=10`, `family="PF00042"`.

    Raises:
        UsageError: the model has no decoder; a family or clan that the diffusion was not trained on; an option out of range.

    Examples:
        >>> from phylocli.diffusion import DiffusionConfig, LatentDiffusion
        >>> from phylocli.generate import generate
        >>> from phylocli.models.config import DecoderConfig
        >>> decoder = DecoderConfig("convolutional", {"width": 8, "depth": 1})  # of a trained model, see docs/hybrid.md
        >>> model = phylocli.Model.create("convolutional", preset="tiny", decoder=decoder).eval()
        >>> diffusion = LatentDiffusion(DiffusionConfig(features=64, width=16, depth=1)).eval()
        >>> [sequence.id for sequence in generate(model, diffusion, number=2, steps=10)]
        ['generated_1', 'generated_2']
    """
    config = GenerateConfig.of(config, options)
    model.require_decoder()
    code, about = _condition(diffusion, config)
    diffusion.schedule.times(config.steps, diffusion.config.prediction)  # names a number of steps that is out of range
    return _generated(model, diffusion, config, code, about)


def _generated(
    model: Model, diffusion: LatentDiffusion, config: GenerateConfig, code: int, about: str
) -> Iterator[Sequence]:
    for first in range(0, config.number, AT_ONCE):
        # Full batches, whatever the number: sums over smaller ones may round to other residues.
        conditions = torch.full((AT_ONCE,), code, device=model.device)
        latents = diffusion.sample(
            conditions,
            seed=config.seed,
            first=first,
            steps=config.steps,
            eta=config.eta,
            guidance=config.guidance,
        )
        texts = decoded(model, latents, temperature=config.temperature, seed=config.seed, first=first)
        for i, text in enumerate(texts[: config.number - first], start=first + 1):
            yield Sequence(f"{config.prefix}{i}", text, about)


def _condition(diffusion: LatentDiffusion, config: GenerateConfig) -> tuple[int, str]:
    """Return the code of the family or clan, 0 without one, and what headers say about it.

    Raises:
        UsageError: see `generate`.
    """
    given = {kind: name for kind, name in (("family", config.family), ("clan", config.clan)) if name is not None}
    if len(given) > 1:
        raise UsageError("sequences are generated of a family or of a clan, not of both", fix="give one of them")
    if not given:
        if config.guidance != 1:
            raise UsageError(
                "guidance needs a family or clan", why="it strengthens the condition", fix="give --family ACC or --clan CL"
            )
        return 0, ""
    ((kind, name),) = given.items()
    if not name.strip():
        raise UsageError(f"the name of the {kind} is empty", fix=f"give --{kind} ACC, or leave it out")
    return diffusion.code(name), f"{kind}={name}"


def generate_file(
    model: PathLike,
    output: PathLike | None = None,
    config: GenerateConfig | None = None,
    **options: Any,
) -> int:
    """Generate sequences, and write them as FASTA.

    Args:
        model: name or folder of a model with a decoder and a latent diffusion.
        output: a file; `-`/None is standard output.
        config: how many, of which family, and how they are sampled; its fields may also be given as keywords.
        options: fields of `GenerateConfig`.

    Returns:
        Number of sequences.

    Raises:
        UsageError: the model has no decoder or no latent diffusion; a family that it does not know; an option out of range.
        BadInputError: the latent diffusion is damaged, or of another model.
    """
    from phylocli.core.threads import limit_threads

    config = GenerateConfig.of(config, options)
    limit_threads(config.threads)
    loaded = load_model(model, config.device).model
    loaded.require_decoder()
    assert loaded.folder is not None
    diffusion = LatentDiffusion.load(loaded.folder, loaded.fingerprint, loaded.device)
    sequences = generate(loaded, diffusion, config)
    with open_output(output) as stream:
        count = write_fasta(sequences, stream)
    write_sidecar(output, "generate", {**config.to_parameters(), "model": loaded.fingerprint}, config.seed)
    logger.info(f"generated {counted(count, 'sequence')}")
    return count
