"""New sequences: latent vectors sampled by a latent diffusion, and decoded."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from phylocli.config.generate import MIN_BITS, GenerateConfig
from phylocli.core.errors import UsageError, unknown_name
from phylocli.core.words import counted
from phylocli.diffusion import LatentDiffusion
from phylocli.embed import load_model
from phylocli.formats import Sequence
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import PathLike, open_output
from phylocli.generate.decoding import AT_ONCE, decoded, write_fasta
from phylocli.generate.scoring import families_by_label, in_header, read_profiles, score_sequences
from phylocli.models.model import Model

logger = logging.getLogger(__name__)

MOST = 2**32
"""Distance between the numbers of the first sequences of two families, if several are generated."""


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
        >>> from phylocli.diffusion import DiffusionArchitecture, LatentDiffusion
        >>> from phylocli.generate import generate
        >>> from phylocli.models.config import DecoderArchitecture
        >>> decoder = DecoderArchitecture("convolutional", {"width": 8, "depth": 1})  # of a trained model
        >>> model = phylocli.Model.create("convolutional", preset="tiny", decoder=decoder).eval()
        >>> diffusion = LatentDiffusion(DiffusionArchitecture(features=64, width=16, depth=1)).eval()
        >>> [sequence.id for sequence in generate(model, diffusion, number=2, steps=10)]
        ['generated_1', 'generated_2']
    """
    config = GenerateConfig.of(config, options)
    model.require_decoder()
    conditions = _conditions(diffusion, config)
    diffusion.schedule.times(config.steps, diffusion.config.prediction)  # names a number of steps that is out of range
    return _generated(model, diffusion, config, conditions)


def _generated(
    model: Model, diffusion: LatentDiffusion, config: GenerateConfig, conditions: list[_Condition]
) -> Iterator[Sequence]:
    several = len(conditions) > 1
    for condition in conditions:
        prefix = f"{config.prefix}{condition.name}_" if several else config.prefix
        offset = condition.code * MOST if several else 0  # families have random numbers of their own
        for first in range(0, config.number, AT_ONCE):
            # Full batches, whatever the number: sums over smaller ones may round to other residues.
            codes = torch.full((AT_ONCE,), condition.code, device=model.device)
            latents = diffusion.sample(
                codes,
                seed=config.seed,
                first=offset + first,
                steps=config.steps,
                eta=config.eta,
                guidance=config.guidance,
            )
            texts = decoded(model, latents, temperature=config.temperature, seed=config.seed, first=offset + first)
            for i, text in enumerate(texts[: config.number - first], start=first + 1):
                yield Sequence(f"{prefix}{i}", text, condition.header)


class _Condition(NamedTuple):
    """The code of a family, of a clan, or 0 of neither; its name, and what headers say about it."""

    code: int
    name: str
    header: str


def _conditions(diffusion: LatentDiffusion, config: GenerateConfig) -> list[_Condition]:
    """Return the families, the clan or the absence of both that sequences are generated of.

    Raises:
        UsageError: see `generate`.
    """
    given = [("family", name) for name in config.family]
    if config.clan is not None:
        if given:
            raise UsageError("sequences are generated of families or of a clan, not of both", fix="give one of them")
        given = [("clan", config.clan)]
    if not given:
        if config.guidance != 1:
            raise UsageError(
                "guidance needs a family or clan", why="it strengthens the condition", fix="give --family ACC or --clan CL"
            )
        return [_Condition(0, "", "")]
    for kind, name in given:
        if not name.strip():
            raise UsageError(f"the name of the {kind} is empty", fix=f"give --{kind} ACC, or leave it out")
    if len(set(given)) < len(given):
        raise UsageError("a family is given twice", fix="name each family once, and raise --number")
    return [_Condition(diffusion.code(name), in_header(name), f"{kind}={in_header(name)}") for kind, name in given]


def _scored(sequences: Iterator[Sequence], config: GenerateConfig) -> Iterator[Sequence]:
    """Return sequences with the scores that --score asks for in their headers.

    Raises:
        UsageError: scores without families, or a generated family that is not among them.
        BadInputError: the families or profiles cannot be read.
    """
    if config.score is None:
        for option, differs in (("profiles", config.profiles is not None), ("min-bits", config.min_bits != MIN_BITS)):
            if differs:
                raise UsageError(f"--{option} is for scores", fix=f"give --score FAMILIES.sto too, or leave --{option} out")
        return sequences
    families = families_by_label(config.score)
    missing = next((name for name in config.family if name not in families), None)
    if missing is not None:
        raise unknown_name(f"{config.score} has no family", missing, families)
    wanted = [families[name] for name in config.family] or list(families.values())
    return score_sequences(sequences, read_profiles(wanted, config.profiles, config.min_bits))


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
    sequences = _scored(generate(loaded, diffusion, config), config)
    with open_output(output) as stream:
        count = write_fasta(sequences, stream)
    write_sidecar(output, "generate", {**config.to_parameters(), "model": loaded.fingerprint}, config.seed)
    logger.info(f"generated {counted(count, 'sequence')}")
    return count
