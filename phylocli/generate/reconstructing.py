"""Sequences → latent vectors → sequences: what a model keeps of a sequence."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from phylocli.config.reconstruct import ReconstructConfig
from phylocli.core.errors import BadInputError
from phylocli.core.words import counted
from phylocli.embed import load_model
from phylocli.embed.inputs import Sources, expand
from phylocli.formats import Sequence, Sequences, as_sequences, read_sequences
from phylocli.formats.nucleotides import NucleotideCheck
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import PathLike, open_output
from phylocli.generate.decoding import AT_ONCE, decoded, tokens_of, write_fasta
from phylocli.models.latent_vectors import latent_vectors, log_likelihoods
from phylocli.models.model import Model
from phylocli.statistics.identity import identity

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reconstruction:
    """A sequence and what was decoded from its latent vector.

    Attributes:
        sequence: the sequence that was encoded.
        residues: the letters that were decoded.
        identity: identical residues in a global alignment of both, as a fraction of the longer one.
        log_likelihood: log q(x | z) of the sequence in nats.
    """

    sequence: Sequence
    residues: str
    identity: float
    log_likelihood: float

    def to_sequence(self) -> Sequence:
        """Return what was decoded, with identity and log likelihood in its description."""
        about = f"{self.sequence.description} identity={self.identity:.4f} log_likelihood={self.log_likelihood:.3f}"
        return Sequence(self.sequence.id, self.residues, about.strip())


def reconstruct(sequences: Sequences, model: Model, *, temperature: float = 0.0, seed: int = 0) -> Iterator[Reconstruction]:
    """Encode sequences and decode them again; yield in input order, in bounded memory.

    Args:
        sequences: letters, `Sequence`s or (id, letters) pairs; or the path of a sequence file.
        model: with a decoder, on the device to use.
        temperature: 0 takes the most probable outcome of each step, 1 samples.
        seed: of the samples.

    Raises:
        UsageError: the model has no decoder.
        BadInputError: a letter that is not a residue, a file that cannot be read, or a sequence that is too long.

    Examples:
        >>> from phylocli.generate import reconstruct
        >>> from phylocli.models.config import DecoderArchitecture
        >>> decoder = DecoderArchitecture("convolutional", {"width": 8, "depth": 1})  # of a trained model
        >>> model = phylocli.Model.create("convolutional", preset="tiny", decoder=decoder).eval()
        >>> (found,) = reconstruct(["MKTAYIAKQR"], model)
        >>> found.log_likelihood < 0
        True
    """
    model.require_decoder()
    return _reconstructed(as_sequences(sequences, model.alphabet), model, temperature, seed)


def _reconstructed(sequences: Iterable[Sequence], model: Model, temperature: float, seed: int) -> Iterator[Reconstruction]:
    stream, first = iter(sequences), 0
    while chunk := list(itertools.islice(stream, AT_ONCE)):
        tokens = [tokens_of(sequence, model) for sequence in chunk]
        latents = latent_vectors(model, tokens)
        nats = log_likelihoods(model, latents, tokens)
        texts = decoded(model, latents, temperature=temperature, seed=seed, first=first)
        for sequence, text, value in zip(chunk, texts, nats.tolist(), strict=True):
            alike = identity(sequence.residues, text, model.alphabet, of="longer")
            yield Reconstruction(sequence, text, alike, value)
        first += len(chunk)


def reconstruct_file(
    sources: Sources,
    output: PathLike | None = None,
    config: ReconstructConfig | None = None,
    *,
    model: PathLike | None = None,
    **options: Any,
) -> int:
    """Reconstruct the sequences of files, and write FASTA with identity and log likelihood in the headers.

    Args:
        sources: sequence files, patterns, or `-`/None for standard input.
        output: a file; `-`/None is standard output.
        config: how; its fields may also be given as keywords.
        model: name or folder of a model with a decoder.
        options: fields of `ReconstructConfig`.

    Returns:
        Number of sequences.

    Raises:
        UsageError: the model has no decoder.
        BadInputError: no sequences, one that is too long, a letter that is not a residue, a file that cannot be read.
    """
    from phylocli.core.threads import limit_threads

    config = ReconstructConfig.of(config, options)
    limit_threads(config.threads)
    loaded = load_model(model, config.device).model
    loaded.require_decoder()
    given = read_sequences(expand(sources), on_duplicate=config.on_duplicate, letters=loaded.alphabet)
    sequences = NucleotideCheck(loaded.alphabet).sequences(given)
    first = next(sequences, None)
    if first is None:
        raise BadInputError("there are no sequences to reconstruct", fix="give at least one sequence")
    total = nats = residues = 0.0

    def written() -> Iterator[Sequence]:
        nonlocal total, nats, residues
        for found in _reconstructed(itertools.chain([first], sequences), loaded, config.temperature, config.seed):
            total, nats = total + found.identity, nats + found.log_likelihood
            residues += len(found.sequence.residues)
            yield found.to_sequence()

    with open_output(output) as stream:
        count = write_fasta(written(), stream)
    write_sidecar(output, "reconstruct", {**config.to_parameters(), "model": loaded.fingerprint}, config.seed)
    perplexity = math.exp(-nats / residues)
    logger.info(f"{counted(count, 'sequence')}: mean identity {total / count:.3f}, perplexity per residue {perplexity:.2f}")
    return count
