"""Sequences → embeddings: batching without influence on the result, long sequences in windows, duplicates computed once."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from phylocli import models
from phylocli.core.alphabet import check_residues
from phylocli.core.errors import BadInputError, PhylocliError, UsageError
from phylocli.core.words import counted
from phylocli.embed.batching import spans, windows
from phylocli.encoders import build_pooling, pad_batch, token_batches
from phylocli.formats import Sequence, Sequences, as_sequences
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.nucleotides import OTHER_MODEL, NucleotideCheck
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import PathLike
from phylocli.models.model import Model

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]

WINDOW = 8_192
"""Sequences longer than this are computed in windows of this many residues."""

OVERLAP = 2_048
"""Overlap of adjacent windows. Every residue is computed with at least half of it on either side."""

# A model with a table of positions has windows of that size, with the same fraction of overlap.
_OVERLAP_FRACTION = OVERLAP / WINDOW

MAX_TOKENS = {"cpu": 8_192, "cuda": 131_072, "mps": 32_768}
"""Maximum number of tokens (with padding) per batch, by type of device."""

CACHE_BYTES = 64 << 20
"""Size of the cache of embeddings of earlier sequences, in bytes."""


def with_pooling(model: Model, pool: str | None) -> Model:
    """Return the model with another pooling, sharing its encoder and heads; None or its own name returns the model itself.

    Kernel means and whitening were fitted for the model's own pooling, and are dropped.

    Raises:
        UsageError: no such pooling, or one that has learned weights, which this model lacks.
    """
    if pool is None or pool == model.config.pooling:
        return model
    pooling = build_pooling(pool, int(model.encoder.dimension))
    if any(True for _ in pooling.parameters()):
        raise UsageError(
            f"the model has no weights for the pooling {pool!r}",
            why=f"that pooling is learned, and the model was trained with {model.config.pooling!r}",
            fix="use mean or max, or train a model with it",
        )
    other = model.sharing()
    other.config = replace(model.config.before_fitting(), pooling=pool, pooling_parameters={}, decoder=None)
    other.folder = None  # the background and the homology model there are fitted to the model's own pooling
    other.pooling, other.kernel, other.whitening, other.decoder = pooling.to(model.device), None, None, None
    return other.eval()


def untrained(model: Model, seed: int = 0) -> Model:
    """Return a model of the same architecture and pooling with random weights, as a baseline."""
    config = model.config
    return Model.create(
        config.encoder,
        preset=next(iter(type(model.encoder).PRESETS)),
        parameters=dict(config.parameters),
        pooling=config.pooling,
        pooling_parameters=dict(config.pooling_parameters),
        seed=seed,
        alphabet=model.alphabet,
    ).eval()


@dataclass
class Embedder:
    """Computes embeddings with one model.

    The result for a sequence does not depend on its neighbours in a batch (within a relative error of 1e-5; floating-point
    sums are not associative). Sequences of more than `window` residues are computed in windows that overlap by `overlap`;
    each residue's embedding comes from the window in which it is farthest from a boundary, and pooling is applied once over
    the residues of the whole sequence. For an encoder with a receptive field of at most `overlap` / 2 residues on either
    side (all presets of `convolutional`), the result equals the embedding without windows. A batch that does not fit into
    memory is computed in halves.

    Attributes:
        model: ready for use, on its device.
        layer: use residues after this layer, 0 … `model.depth`; None is the last.
        max_tokens: maximum number of tokens per batch, with padding; 0 chooses by device.
        window, overlap: for long sequences, in residues; 0: 8,192 and 2,048, or less for a model with a table of positions
            (`Model.max_length`).
        on_batch: called with the number of residues of each computed batch.

    Examples:
        >>> embedder = phylocli.load_model("default")
        >>> [vectors.shape for vectors in embedder.residues(["MKTAYIAKQR", "MKVLA"])]
        [(10, 128), (5, 128)]
    """

    model: Model
    layer: int | None = None
    max_tokens: int = 0
    window: int = 0
    overlap: int = 0
    on_batch: Callable[[int], None] | None = None
    _cache: OrderedDict[bytes, FloatArray] = field(default_factory=OrderedDict, repr=False)

    def __post_init__(self) -> None:
        if self.layer is not None and not 0 <= self.layer <= self.model.depth:
            raise UsageError(f"the model has no layer {self.layer}", fix=f"its layers are 0 to {self.model.depth}")
        longest = self.model.max_length
        if not self.window:
            self.window = WINDOW if longest is None else min(WINDOW, longest)
            self.overlap = self.overlap or int(_OVERLAP_FRACTION * self.window)
        if self.max_tokens < 0 or not 0 <= self.overlap < self.window:
            raise UsageError("the batch must hold at least one token, and windows must be longer than their overlap")
        if longest is not None and self.window > longest:
            raise UsageError(
                f"the model cannot compute windows of {self.window:,} residues",
                fix=f"give at most {longest:,}, its positions",
            )
        self.max_tokens = self.max_tokens or MAX_TOKENS.get(self.model.device.type, MAX_TOKENS["cpu"])
        self.model.eval()

    @contextlib.contextmanager
    def reporting(self, on_batch: Callable[[int], None]) -> Iterator[None]:
        """Call another function with the number of residues of each computed batch, until the end of the block."""
        before, self.on_batch = self.on_batch, on_batch
        try:
            yield
        finally:
            self.on_batch = before

    @property
    def dimension(self) -> int:
        """Number of features D of an embedding."""
        return self.model.dimension_of(self.layer)

    @property
    def metadata(self) -> dict[str, str]:
        """Metadata of a table of its embeddings: model fingerprint, encoder, pooling, layer, version."""
        return table_metadata(self.model, self.layer)

    def embed(self, sequences: Sequences) -> EmbeddingTable:
        """Embed sequences and return a table.

        Args:
            sequences: letters, `Sequence`s or (id, letters) pairs, in any order and of any length; or the path of a FASTA,
                Stockholm, FASTQ or GenBank file. Letters alone are named `seq1`, `seq2`, …

        Returns:
            One embedding per sequence, in the given order: `.numpy()` (N, D), `.to_polars()`, `.write(path)`.

        Raises:
            BadInputError: no sequences, a letter that is not a residue, duplicate ids, a file that cannot be read.

        Examples:
            >>> table = phylocli.load_model("default").embed(["MKTAYIAKQR", "MKVLA"])
            >>> table.numpy().shape
            (2, 1024)
        """
        ids: list[str] = []
        lengths: list[int] = []
        parts: list[FloatArray] = []
        for names, sizes, vectors in self.blocks(as_sequences(sequences, self.model.alphabet)):
            ids += names
            lengths += sizes
            parts.append(vectors)
        if not ids:
            raise BadInputError("there are no sequences to embed", fix="give at least one sequence")
        vectors = np.concatenate(parts)
        return EmbeddingTable("embedding", ids, self.dimension, self.metadata, vectors=vectors, lengths=lengths)

    def blocks(self, sequences: Iterable[Sequence]) -> Iterator[tuple[list[str], list[int], FloatArray]]:
        """Yield (ids, lengths, embeddings) in blocks, in input order, in bounded memory; see `embed_sequences`."""
        watch = _Watch(self.window, self.model.alphabet)
        for block in windows(watch(sequences), 64 * self.max_tokens, lambda one: len(one.residues)):
            letters = [s.residues for s in block]
            yield [s.id for s in block], [len(r) for r in letters], self.pooled(letters)
        watch.report()

    def residues(self, sequences: SequenceOf[str]) -> list[FloatArray]:
        """Return the residue embeddings of each sequence, shape (L, D) each, in the given order.

        Identical sequences are computed once and share one array.
        """
        distinct = list(dict.fromkeys(sequences))
        found = dict(zip(distinct, self._residues_of(distinct), strict=True))
        return [found[sequence] for sequence in sequences]

    @torch.inference_mode()
    def _residues_of(self, sequences: list[str]) -> list[FloatArray]:
        found: list[FloatArray] = [np.empty((0, 0), dtype=np.float32)] * len(sequences)
        pieces = [(i, span) for i, s in enumerate(sequences) for span in spans(len(s), self.window, self.overlap)]
        tokens = [self.model.encode(s) for s in sequences]
        for batch in token_batches([stop - start for _, (start, stop, _, _) in pieces], self.max_tokens):
            parts = [tokens[pieces[k][0]][pieces[k][1][0] : pieces[k][1][1]] for k in batch]
            for rows, values in self._computed(self.model.residues, parts):
                for row, k in enumerate(batch[rows]):
                    index, (start, _, keep_from, keep_to) = pieces[k]
                    if found[index].size == 0:
                        found[index] = np.empty((len(sequences[index]), values.shape[2]), dtype=np.float32)
                    found[index][keep_from:keep_to] = values[row, keep_from - start : keep_to - start]
            self._tell(sum(pieces[k][1][3] - pieces[k][1][2] for k in batch))
        return found

    def _computed(
        self,
        compute: Callable[[torch.Tensor, torch.Tensor, int | None], torch.Tensor],
        parts: SequenceOf[npt.NDArray[np.uint8]],
    ) -> Iterator[tuple[slice, FloatArray]]:
        """Yield (rows, values) of a batch of tokens: at once, or in halves if memory does not suffice.

        Raises:
            PhylocliError: memory does not suffice for one sequence.
        """
        pending = [slice(0, len(parts))]
        while pending:
            rows = pending.pop()
            try:
                values = compute(*pad_batch(parts[rows], self.model.device), self.layer).float().cpu().numpy()
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                if rows.stop - rows.start == 1:
                    raise PhylocliError(
                        f"not enough memory for {len(parts[rows.start]):,} residues on {self.model.device}",
                        why=str(error).split("\n", 1)[0],
                        fix="use --precision bf16, another device, or a smaller model",
                    ) from error
            else:
                yield rows, values
                continue
            if self.model.device.type == "cuda":
                torch.cuda.empty_cache()
            middle = (rows.start + rows.stop) // 2
            pending += [slice(middle, rows.stop), slice(rows.start, middle)]
            self.max_tokens = max(1, min(self.max_tokens, (middle - rows.start) * max(map(len, parts[rows]))))
            logger.info(f"not enough memory: smaller batches, of {self.max_tokens:,} residues")

    @torch.inference_mode()
    def pooled(self, sequences: SequenceOf[str]) -> FloatArray:
        """Return one embedding per sequence, shape (n, D), in the given order; identical sequences are computed once."""
        keys = [hashlib.blake2b(s.encode(), digest_size=16).digest() for s in sequences]
        known: dict[bytes, FloatArray] = {}
        fresh: dict[bytes, str] = {}
        for key, sequence in zip(keys, sequences, strict=True):
            if key in self._cache:
                self._cache.move_to_end(key)
                known[key] = self._cache[key]
            else:
                fresh[key] = sequence
        known.update(zip(fresh, self._pooled_fresh(list(fresh.values())), strict=True))
        for key in fresh:
            self._cache[key] = known[key]
        while len(self._cache) * self.dimension * 4 > CACHE_BYTES:
            self._cache.popitem(last=False)
        if not keys:
            return np.zeros((0, self.dimension), dtype=np.float32)
        return np.stack([known[key] for key in keys])

    def _pooled_fresh(self, sequences: list[str]) -> FloatArray:
        result = np.empty((len(sequences), self.dimension), dtype=np.float32)
        device = self.model.device
        short = [i for i, s in enumerate(sequences) if len(s) <= self.window]
        for batch in token_batches([len(sequences[i]) for i in short], self.max_tokens):
            rows = [short[k] for k in batch]
            for some, values in self._computed(self.model, [self.model.encode(sequences[i]) for i in rows]):
                result[rows[some]] = values
            self._tell(sum(len(sequences[i]) for i in rows))
        for i, sequence in enumerate(sequences):
            if len(sequence) > self.window:
                whole = torch.from_numpy(self.residues([sequence])[0]).to(device)[None]
                mask = torch.ones(whole.shape[:2], dtype=torch.bool, device=device)
                result[i] = self.model.pool(whole, mask, self.layer)[0].float().cpu().numpy()
        return result

    def _tell(self, residues: int) -> None:
        if self.on_batch is not None:
            self.on_batch(residues)


def _is_out_of_memory(error: BaseException) -> bool:
    # On the CPU, torch raises a RuntimeError that only its text tells from others.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def table_metadata(model: Model, layer: int | None) -> dict[str, str]:
    """Return the metadata of an embedding table: model fingerprint, encoder, pooling, layer, precision, version, and for a
    model of the hub its commit."""
    from phylocli import __version__

    return {
        **({"phylocli.source": model.source} if model.source else {}),
        "phylocli.precision": "bf16" if model.precision is torch.bfloat16 else "fp32",
        "phylocli.version": __version__,
        "phylocli.model": model.fingerprint,
        "phylocli.encoder": str(model.config.encoder),
        "phylocli.pooling": str(model.config.pooling),
        "phylocli.layer": str(model.depth if layer is None else layer),
    }


def load_model(model: PathLike | None = None, device: str = "auto", *, layer: int | None = None) -> Embedder:
    """Return a model by name or folder, ready to embed.

    Args:
        model: name (`phylocli models` lists them), folder or model of the Hugging Face hub; None is `default`.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        layer: use residues after this layer, 0 … depth; None is the last.

    Raises:
        UsageError: no such model, device or layer.
        BadInputError: a folder that is not a model, or is damaged.

    Examples:
        >>> table = phylocli.load_model("default").embed(["MKTAYIAKQR", "MKVLA"])
        >>> table.numpy().shape
        (2, 1024)
    """
    return Embedder(models.load(model, device), layer)


class _Watch:
    """Passes sequences on, and finally warns of special ones."""

    def __init__(self, window: int, alphabet: str) -> None:
        self.window, self.alphabet = window, alphabet
        self.unknown: list[str] = []
        self.long: list[str] = []

    def __call__(self, sequences: Iterable[Sequence]) -> Iterator[Sequence]:
        for sequence in NucleotideCheck(self.alphabet, OTHER_MODEL).sequences(sequences):
            if self.alphabet != "protein":  # readers only know the protein alphabet
                check_residues(sequence.residues, sequence.id, sequence.where, self.alphabet)
            if not sequence.residues.strip("XBZJ*" if self.alphabet == "protein" else "N"):
                self.unknown.append(sequence.id)
            if len(sequence.residues) > self.window:
                self.long.append(sequence.id)
            yield sequence

    def report(self) -> None:
        if self.unknown:
            logger.warning(
                f"{len(self.unknown)} sequences consist of unknown residues only, first {shorten(self.unknown[0])!r}; "
                "their embeddings depend on the length only"
            )
        if self.long:
            logger.info(
                f"{counted(len(self.long), 'sequence')} of more than {self.window:,} residues: in overlapping windows"
            )


def embed_sequences(
    sequences: Iterable[Sequence],
    model: Model,
    *,
    layer: int | None = None,
    max_tokens: int = 0,
    on_batch: Callable[[int], None] | None = None,
) -> Iterator[tuple[list[str], list[int], FloatArray]]:
    """Yield (ids, lengths, embeddings) in blocks, in input order, in bounded memory.

    Args:
        sequences: unaligned, as from `formats.read_sequences`.
        model: on the device to use.
        layer: use residues after this layer; None is the last.
        max_tokens: maximum number of tokens per batch; 0 chooses by device.
        on_batch: called with the number of residues of each computed batch.

    Yields:
        ids (N), lengths in residues (N), float32 embeddings of shape (N, D).

    Raises:
        UsageError: no such layer.
        BadInputError: a letter that is not a nucleotide, for a nucleotide model.

    Examples:
        >>> model = phylocli.Model.create("convolutional", preset="tiny", seed=0)
        >>> sequences = phylocli.read_sequences("examples/globins.fasta")
        >>> ids, lengths, vectors = next(phylocli.embed_sequences(sequences, model))
        >>> ids[0], lengths[0], vectors.shape[1]
        ('MYG_ESCGI', 153, 64)
    """
    return Embedder(model, layer, max_tokens, on_batch=on_batch).blocks(sequences)


def embed_residues(
    sequences: Iterable[Sequence],
    model: Model,
    *,
    layer: int | None = None,
    max_tokens: int = 0,
    on_batch: Callable[[int], None] | None = None,
) -> Iterator[tuple[Sequence, FloatArray]]:
    """Yield (sequence, its residue embeddings (L, D)) in input order; arguments and memory as in `embed_sequences`."""
    embedder = Embedder(model, layer, max_tokens, on_batch=on_batch)
    watch = _Watch(embedder.window, model.alphabet)
    for block in windows(watch(sequences), 4 * embedder.max_tokens, lambda one: len(one.residues)):
        yield from zip(block, embedder.residues([s.residues for s in block]), strict=True)
    watch.report()
