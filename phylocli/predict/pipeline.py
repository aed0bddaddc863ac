"""Sequences → states of their residues, in bounded memory, and the files that they are written to."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli.config.predict import HEAD_OF, PredictConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.words import counted
from phylocli.embed import load_model
from phylocli.embed.embedder import embed_residues
from phylocli.embed.inputs import Sequences, Sources, as_sequences, expand
from phylocli.formats import Sequence, read_sequences
from phylocli.formats.output_formats import FASTA, format_by_suffix
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.sequences import fasta
from phylocli.formats.streams import PathLike, open_output
from phylocli.formats.tables import TableWriter, predictions_schema
from phylocli.models.heads import find_head
from phylocli.models.model import Model
from phylocli.predict.profiles import hmm_bytes, pssm_text

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)

SUFFIXES = {**FASTA, ".hmm": "hmm", ".pssm": "pssm"}


@dataclass(frozen=True)
class Prediction:
    """The states of the residues of a sequence.

    Attributes:
        sequence: whose residues.
        letters: of the states, one for each column of `probabilities`.
        probabilities: of each state at each residue, (L, K) float32; rows sum to 1.
    """

    sequence: Sequence
    letters: str
    probabilities: npt.NDArray[np.float32]

    @property
    def states(self) -> str:
        """The most probable state of each residue."""
        return "".join(self.letters[k] for k in self.probabilities.argmax(axis=1))

    def to_polars(self) -> pl.DataFrame:
        """Return a table of `tables.predictions_schema`: residue, most probable state, and its probability."""
        import polars as pl

        length = len(self.probabilities)
        return pl.DataFrame(
            {
                "id": [self.sequence.id] * length,
                "position": np.arange(1, length + 1, dtype=np.int64),
                "residue": list(self.sequence.residues),
                "state": list(self.states),
                "probability": self.probabilities.max(axis=1),
            }
        )


def predict_residues(sequences: Sequences, model: Model, what: str = "3di", *, max_tokens: int = 0) -> Iterator[Prediction]:
    """Predict the states of the residues of sequences; yield them in input order, in bounded memory.

    Args:
        sequences: letters, `Sequence`s or (id, letters) pairs; or the path of a sequence file.
        model: with the head that this needs, on the device to use.
        what: `3di`, `ss` (three states), `ss8` or `profile`.
        max_tokens: maximum number of residues per batch; 0 chooses by device.

    Raises:
        UsageError: nothing of that name can be predicted, or the model has no such head.
        BadInputError: a letter that is not a residue, or a file that cannot be read.

    Examples:
        >>> heads = {"3di": {"hidden": 8, "kernel": 3}}  # of a trained model, see the recipe evolution-structure
        >>> model = phylocli.Model.create("convolutional", preset="tiny", seed=0, heads=heads)
        >>> (prediction,) = phylocli.predict_residues(["MKTAYIAKQR"], model)
        >>> len(prediction.states), prediction.probabilities.shape
        (10, (10, 20))
    """
    if what not in HEAD_OF:
        raise UsageError(f"{what!r} cannot be predicted", fix=f"choose one of {', '.join(HEAD_OF)}")
    model.require_head(HEAD_OF[what])
    return _predicted(as_sequences(sequences, model.alphabet), model, HEAD_OF[what], max_tokens)


def _predicted(sequences: Iterable[Sequence], model: Model, head: str, max_tokens: int) -> Iterator[Prediction]:
    import torch

    letters = find_head(head).states
    for sequence, residues in embed_residues(sequences, model, max_tokens=max_tokens):
        with torch.inference_mode():
            vectors = torch.from_numpy(residues).to(model.device)[None]
            mask = torch.ones(vectors.shape[:2], dtype=torch.bool, device=model.device)
            probabilities = model.predict_residues(head, vectors, mask)[0].softmax(dim=1).float().cpu().numpy()
        yield Prediction(sequence, letters, probabilities)


def predict_file(
    sources: Sources,
    output: PathLike | None = None,
    config: PredictConfig | None = None,
    *,
    model: PathLike | None = None,
    confidence: PathLike | None = None,
    **options: Any,
) -> int:
    """Predict states of the residues of sequences in files, and write them.

    Args:
        sources: sequence files, patterns, or `-`/None for standard input.
        output: a file; `-`/None is standard output.
        config: what is predicted and how it is written; its fields may also be given as keywords, such as `what="ss"`.
        model: name or folder of a model with the head; None is `default`.
        confidence: a table to write in addition, with the probability of the state of each residue.
        options: fields of `PredictConfig`.

    Returns:
        Number of sequences.

    Raises:
        UsageError: the model has no such head, or a format that does not fit.
        BadInputError: no sequences, a letter that is not a residue, a file that cannot be read.

    Examples:
        >>> heads = {"ss3": {"hidden": 8, "kernel": 3}}  # of a trained model, see the recipe evolution-structure
        >>> folder = phylocli.Model.create("convolutional", preset="tiny", seed=0, heads=heads).save("with-heads")
        >>> phylocli.predict_file("examples/globins.fasta", "ss.fasta", model=folder, what="ss")
        45
    """
    from phylocli.core.threads import limit_threads

    config = PredictConfig.of(config, options)
    format = _format(output, config)
    limit_threads(config.threads)
    embedder = load_model(model, config.device)
    head = HEAD_OF[config.what]
    sequences = read_sequences(
        expand(sources), on_duplicate=config.on_duplicate, letters=embedder.model.alphabet, genetic_code=config.code
    )
    first = next(sequences, None)
    if first is None:
        raise BadInputError("there are no sequences to predict from", fix="give at least one sequence")
    embedder.model.require_head(head)
    count = 0
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(open_output(output))
        table = None if confidence is None else stack.enter_context(TableWriter(confidence, predictions_schema()))
        for prediction in _predicted(itertools.chain([first], sequences), embedder.model, head, config.max_tokens):
            if format == "pssm" and count:
                raise UsageError(
                    "a matrix of PSI-BLAST is of one sequence, and the input has more",
                    fix="give one sequence at a time, or use --format hmm",
                )
            _write(prediction, format, stream)
            if table is not None:
                table.write(prediction.to_polars())
            count += 1
    write_sidecar(output, "predict", {**config.to_parameters(), "model": embedder.model.fingerprint})
    logger.info(f"{counted(count, 'sequence')}: {find_head(head).title}")
    return count


def _format(output: PathLike | None, config: PredictConfig) -> str:
    """Return the format of the output.

    Raises:
        UsageError: one that does not fit what is predicted.
    """
    by_default = "hmm" if config.what == "profile" else "fasta"
    found = config.format or format_by_suffix(output, SUFFIXES, by_default, what="predictions", otherwise="--format")
    if found != "fasta" and config.what != "profile":
        raise UsageError(f"--what {config.what} cannot be written as {found}", fix="use FASTA, or --what profile")
    return found


def _write(prediction: Prediction, format: str, stream: IO[bytes]) -> None:
    if format == "hmm":
        stream.write(hmm_bytes(prediction.sequence, prediction.probabilities))
    elif format == "pssm":
        stream.write(pssm_text(prediction.sequence, prediction.probabilities).encode())
    else:
        states = Sequence(prediction.sequence.id, prediction.states, prediction.sequence.description)
        text = io.StringIO()
        fasta.write([states], text)
        stream.write(text.getvalue().encode())
