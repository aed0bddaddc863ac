"""Sequences → states of their residues, in bounded memory, and the files that they are written to."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli.config.predict import HEAD_OF, PredictConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.words import counted
from phylocli.embed import load_model
from phylocli.embed.embedder import Embedder, FloatArray, embed_residues
from phylocli.embed.families import column_means, members_of, read_all_families, residues_in_blocks
from phylocli.embed.inputs import Sources, expand
from phylocli.formats import Sequence, Sequences, as_sequences, read_sequences
from phylocli.formats.family import Family
from phylocli.formats.output_formats import FASTA, format_by_suffix
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.sequences import fasta
from phylocli.formats.streams import STDIO, PathLike, file_sha256, open_output
from phylocli.formats.tables import TableWriter, predictions_schema
from phylocli.models.heads import find_head
from phylocli.models.model import Model
from phylocli.models.residue_predictor import FILE, HEADS, ResiduePredictor
from phylocli.predict.columns import column_features, log_probabilities
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

    They are predicted by the `ResiduePredictor` in the folder of the model; without one, or if it does not predict this, by
    the head.

    Args:
        sequences: letters, `Sequence`s or (id, letters) pairs; or the path of a sequence file.
        model: on the device to use, with a residue predictor for what is predicted, or else a head.
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
    return _of_sequences(as_sequences(sequences, model.alphabet), model, _method(what, model), max_tokens)


def predict_families(
    families: Iterable[Family], model: Model, what: str = "3di", *, max_tokens: int = 0
) -> Iterator[Prediction]:
    """Predict the states of the residues of the first member of each family, from all members, in input order.

    The sequence of a prediction is the first member, under the name of the family. Probabilities are those of the model's
    `ResiduePredictor`; without one, or for what it does not predict, they are the geometric mean, scaled to a sum of 1, of
    those that the head predicts for all members with a residue in the same match column.

    Args:
        families: aligned, such as those of `phylocli.find_homologs`.
        model, what, max_tokens: see `predict_residues`.

    Raises:
        UsageError: nothing of that name can be predicted, or the model has no such head.
        BadInputError: a family that is not aligned, or a letter that is not a residue.

    Examples:
        >>> heads = {"3di": {"hidden": 8, "kernel": 3}}  # of a trained model, see the recipe evolution-structure
        >>> model = phylocli.Model.create("convolutional", preset="tiny", seed=0, heads=heads)
        >>> prediction = next(phylocli.predict.predict_families(phylocli.read_families("examples/families.sto"), model))
        >>> len(prediction.states) == len(prediction.sequence.residues)
        True
    """
    return _of_families(families, model, _method(what, model), max_tokens)


@dataclass(frozen=True)
class _Method:
    """How states are predicted.

    Attributes:
        predict: members, vectors of their residues, and the family (None: a single sequence) → probabilities of states of
            the residues of the first member, (L, K).
        letters: of the states.
        file: of the residue predictor; None: a head of the model predicts.
    """

    predict: Callable[[SequenceOf[str], Iterable[FloatArray], Family | None], FloatArray]
    letters: str
    file: Path | None = None


def _method(what: str, model: Model) -> _Method:
    """Return how states are predicted with a model.

    Raises:
        UsageError: nothing of that name can be predicted, or the model has no such head.
    """
    if what not in HEAD_OF:
        raise UsageError(f"{what!r} cannot be predicted", fix=f"choose one of {', '.join(HEAD_OF)}")
    head = HEAD_OF[what]
    letters, predictor = find_head(head).states, ResiduePredictor.load(model) if head in HEADS else None
    if predictor is not None and head in predictor.heads:
        assert model.folder is not None  # it was loaded from there
        return _Method(functools.partial(_by_predictor, model, predictor, head), letters, model.folder / FILE)
    model.require_head(head)
    return _Method(functools.partial(_by_head, model, head), letters)


def _by_predictor(
    model: Model,
    predictor: ResiduePredictor,
    head: str,
    members: SequenceOf[str],
    residues: Iterable[FloatArray],
    family: Family | None,
) -> FloatArray:
    import torch

    columns = torch.from_numpy(column_features(model, members, residues, family)).to(model.device)[None]
    with torch.inference_mode():
        mask = torch.ones(columns.shape[:2], dtype=torch.bool, device=model.device)
        found: FloatArray = predictor(columns, mask)[head][0].exp().float().cpu().numpy()
    return found


def _by_head(
    model: Model, head: str, members: SequenceOf[str], residues: Iterable[FloatArray], family: Family | None
) -> FloatArray:
    found = (log_probabilities(model, head, vectors) for vectors in residues)
    if family is None:
        return np.exp(next(found))
    logs = column_means(family, found)
    scaled = np.exp(logs - logs.max(axis=1, keepdims=True))
    probabilities: FloatArray = (scaled / scaled.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities


def _of_sequences(sequences: Iterable[Sequence], model: Model, method: _Method, max_tokens: int) -> Iterator[Prediction]:
    """Return the predictions for sequences; see `predict_residues` for what is raised, at once."""
    return (
        Prediction(sequence, method.letters, method.predict([sequence.unaligned(model.alphabet)], [residues], None))
        for sequence, residues in embed_residues(sequences, model, max_tokens=max_tokens)
    )


def _of_families(families: Iterable[Family], model: Model, method: _Method, max_tokens: int) -> Iterator[Prediction]:
    embedder = Embedder(model, max_tokens=max_tokens)
    for family in families:
        members = members_of(family, model.alphabet)
        probabilities = method.predict(members, residues_in_blocks(members, embedder), family)
        first = Sequence(family.label, members[0], family.description, family.where)
        yield Prediction(first, method.letters, probabilities)


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
        model: name or folder of a model, see `predict_residues`; None is `default`.
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
    if confidence is not None and str(confidence) == STDIO and (output is None or str(output) == STDIO):
        raise UsageError(
            "the table and the predictions cannot both go to standard output", fix="name a file for one of them"
        )
    limit_threads(config.threads)
    embedder = load_model(model, config.device)
    method, predictions = _of_file(expand(sources), embedder.model, config)
    count = 0
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(open_output(output))
        table = None if confidence is None else stack.enter_context(TableWriter(confidence, predictions_schema()))
        for prediction in predictions:
            if format == "pssm" and count:
                raise UsageError(
                    "a matrix of PSI-BLAST is of one sequence, and the input has more",
                    fix="give one sequence at a time, or use --format hmm",
                )
            _write(prediction, format, stream)
            if table is not None:
                table.write(prediction.to_polars())
            count += 1
    parameters = {**config.to_parameters(), "model": embedder.model.fingerprint}
    if method.file is not None:
        parameters["residue_predictor"] = file_sha256(method.file)  # the fingerprint is that of the model's weights
    for written in (output, confidence):
        write_sidecar(written, "predict", parameters)
    logger.info(f"{counted(count, 'sequence')}: {find_head(HEAD_OF[config.what]).title}")
    return count


def _of_file(
    sources: SequenceOf[PathLike | None], model: Model, config: PredictConfig
) -> tuple[_Method, Iterator[Prediction]]:
    """Return how states are predicted, and the predictions for files.

    Raises:
        UsageError: the model has no such head, or --translate with families.
        BadInputError: there are no sequences.
    """
    items: Iterator[Family] | Iterator[Sequence]
    if config.per_family:
        if config.translate:
            raise UsageError("--translate is for sequences, not for families", fix="translate with 'phylocli align' first")
        items = read_all_families(sources, on_duplicate=config.on_duplicate, letters=model.alphabet)
    else:
        items = read_sequences(sources, on_duplicate=config.on_duplicate, letters=model.alphabet, genetic_code=config.code)
    first = next(items, None)
    if first is None:
        raise BadInputError("there are no sequences to predict from", fix="give at least one sequence")
    given: Any = itertools.chain([first], items)
    method = _method(config.what, model)
    of = _of_families if config.per_family else _of_sequences
    return method, of(given, model, method, config.max_tokens)


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
