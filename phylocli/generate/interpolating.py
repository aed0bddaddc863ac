"""Sequences between two sequences: decoded from latent vectors on the line between theirs.

Sinha, Song & Ermon 2021, figures 2 to 4: along all of z = [y, w], or along one part while the other stays that of the first
sequence.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from phylocli.config.interpolate import InterpolateConfig
from phylocli.core.errors import BadInputError, UsageError, unknown_name
from phylocli.core.words import counted
from phylocli.embed import load_model
from phylocli.formats import Sequence, read_sequences
from phylocli.formats.nucleotides import NucleotideCheck
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import PathLike, open_output
from phylocli.generate.decoding import decoded, tokens_of, write_fasta
from phylocli.models.latent_vectors import latent_vectors
from phylocli.models.model import Model
from phylocli.statistics.identity import identity

logger = logging.getLogger(__name__)

Part = Literal["all", "y", "w"]


@dataclass(frozen=True)
class Interpolated:
    """A sequence between two others.

    Attributes:
        t: 0 at the first, 1 at the second.
        residues: the letters that were decoded.
        identity_a, identity_b: with the first and the second, as a fraction of the longer sequence.
    """

    t: float
    residues: str
    identity_a: float
    identity_b: float


def on_the_line(z: Tensor, steps: int, part: slice) -> Tensor:
    """Return latent vectors from the first of two, (2, Z), to the second, (steps, Z); otherwise the first."""
    t = torch.linspace(0, 1, steps, dtype=z.dtype)[:, None]
    line = z[:1].repeat(steps, 1)
    line[:, part] = torch.lerp(z[:1, part], z[1:, part], t)
    return line


def interpolate(
    a: str, b: str, model: Model, *, steps: int = 8, part: Part = "all", temperature: float = 0.0, seed: int = 0
) -> list[Interpolated]:
    """Return sequences between two, both reconstructed ends included.

    Args:
        a, b: letters of the two.
        model: with a decoder, on the device to use.
        steps: number of sequences, at least 2.
        part: of the latent vector that moves from a to b.
        temperature: 0 takes the most probable outcome of each step, 1 samples.
        seed: of the samples.

    Raises:
        UsageError: the model has no decoder, or its latent vectors have no such part; fewer than two steps.
        BadInputError: a sequence is too long.

    Examples:
        >>> from phylocli.generate import interpolate
        >>> from phylocli.models.config import DecoderArchitecture
        >>> decoder = DecoderArchitecture("convolutional", {"width": 8, "depth": 1})  # of a trained model
        >>> model = phylocli.Model.create("convolutional", preset="tiny", decoder=decoder).eval()
        >>> [round(x.t, 2) for x in interpolate("MKTAYIAKQR", "MKVLWWAALLK", model, steps=3)]
        [0.0, 0.5, 1.0]
    """
    if steps < 2:
        raise UsageError(f"an interpolation cannot have {counted(steps, 'step')}", fix="give at least 2: both ends")
    model.require_decoder()
    moving = model.part(part)
    z = latent_vectors(model, [tokens_of(Sequence(name, text), model) for name, text in (("A", a), ("B", b))])
    texts = decoded(model, on_the_line(z, steps, moving), temperature=temperature, seed=seed)
    return [
        Interpolated(
            i / (steps - 1),
            text,
            identity(a, text, model.alphabet, of="longer"),
            identity(b, text, model.alphabet, of="longer"),
        )
        for i, text in enumerate(texts)
    ]


def interpolate_file(
    a: str,
    b: str,
    output: PathLike | None = None,
    config: InterpolateConfig | None = None,
    *,
    model: PathLike | None = None,
    sequences: PathLike | None = None,
    **options: Any,
) -> int:
    """Write the sequences between two as FASTA, with t and identities in the headers.

    Args:
        a, b: files with one sequence each; or ids in `sequences`.
        output: a file; `-`/None is standard output.
        config: what is interpolated; its fields may also be given as keywords.
        model: name or folder of a model with a decoder.
        sequences: the file that contains both.
        options: fields of `InterpolateConfig`.

    Returns:
        Number of sequences.

    Raises:
        UsageError: the model has no decoder or no such part, or there is no sequence of that id.
        BadInputError: a file cannot be read or has several sequences, or a sequence is too long.
    """
    from phylocli.core.threads import limit_threads

    config = InterpolateConfig.of(config, options)
    limit_threads(config.threads)
    loaded = load_model(model, config.device).model
    loaded.require_decoder()
    loaded.part(config.part)
    first, second = _ends(a, b, sequences, loaded.alphabet)
    for end in (first, second):
        tokens_of(end, loaded)  # names a sequence that is too long
    found = interpolate(
        first.residues,
        second.residues,
        loaded,
        steps=config.steps,
        part=config.part,
        temperature=config.temperature,
        seed=config.seed,
    )
    made = [
        Sequence(
            f"interpolated_{i}",
            x.residues,
            f"t={x.t:.4f} part={config.part} a={first.id} b={second.id} identity_a={x.identity_a:.4f} "
            f"identity_b={x.identity_b:.4f}",
        )
        for i, x in enumerate(found, start=1)
    ]
    with open_output(output) as stream:
        count = write_fasta(made, stream)
    write_sidecar(
        output, "interpolate", {**config.to_parameters(), "a": a, "b": b, "model": loaded.fingerprint}, config.seed
    )
    logger.info(f"{counted(count, 'sequence')} from {first.id} to {second.id} along {config.part} of the latent vector")
    return count


def _ends(a: str, b: str, sequences: PathLike | None, alphabet: str) -> tuple[Sequence, Sequence]:
    if sequences is None:
        return _only(a, alphabet), _only(b, alphabet)
    known = {sequence.id: sequence for sequence in _read(sequences, alphabet)}
    for name in (a, b):
        if name not in known:
            raise unknown_name(f"{sequences} has no sequence", name, known, most=8)
    return known[a], known[b]


def _only(source: str, alphabet: str) -> Sequence:
    found = list(_read(source, alphabet))
    if len(found) != 1:
        raise BadInputError(
            f"{source} has {counted(len(found), 'sequence')}, and one end of an interpolation is one sequence",
            fix=f"name two ids and the file: phylocli interpolate ID ID --sequences {source}",
        )
    return found[0]


def _read(source: PathLike, alphabet: str) -> Iterator[Sequence]:
    return NucleotideCheck(alphabet).sequences(read_sequences(source, letters=alphabet))
