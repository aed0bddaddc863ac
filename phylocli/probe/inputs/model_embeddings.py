"""Embeddings computed by phylocli models: trained, untrained, and of single layers."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phylocli import models
from phylocli.core import console
from phylocli.embed import Embedder, table_metadata, untrained
from phylocli.formats.streams import PathLike
from phylocli.models.heads import profile as profile_head
from phylocli.models.model import Model
from phylocli.predict import predict_residues
from phylocli.probe.inputs.embedding import Embedding

FloatArray = npt.NDArray[np.float32]

BLOCK = 1_024


@dataclass
class ModelResidues:
    """Residue embeddings, computed on demand."""

    embedder: Embedder
    sequences: Mapping[str, str]

    def __call__(self, ids: SequenceOf[str]) -> list[FloatArray]:
        """Return one array (L, D) for each id, residues in order."""
        return self.embedder.residues([self.sequences[name] for name in ids])


@dataclass
class ModelProfile:
    """The amino acids that the profile head of a model predicts at each residue of a sequence."""

    model: Model

    def __call__(self, sequence: str) -> npt.NDArray[np.float64]:
        """Return log probabilities, (L, 20), in the order of `core.alphabet.AMINO_ACIDS`."""
        (prediction,) = predict_residues([sequence], self.model, "profile")
        return np.log(np.maximum(prediction.probabilities.astype(np.float64), np.finfo(np.float32).tiny))


def load_model(model: PathLike | None, device: str = "auto") -> Model:
    """Return a model by name or folder, on a device; None is the default model."""
    return models.load(model, device)


def embed_items(
    model: Model,
    name: str,
    ids: list[str],
    sequences: Mapping[str, str],
    *,
    layer: int | None = None,
    baseline: bool = False,
) -> Embedding:
    """Embed items with a model.

    Args:
        model: the model, on the device to compute on.
        name: name in the report.
        ids: ids of the items.
        sequences: unaligned sequences by id.
        layer: layer whose residue embeddings are used; None is the last.
        baseline: whether the model is a baseline.
    """
    embedder = Embedder(model, layer)
    # Sorted by length to reduce padding, which does not change the result.
    order = sorted(range(len(ids)), key=lambda i: len(sequences[ids[i]]))
    vectors = np.zeros((len(ids), embedder.dimension), dtype=np.float32)
    with console.progress_task(f"embedding: {name}", len(ids), unit="sequences") as bar:
        for start in range(0, len(order), BLOCK):
            rows = order[start : start + BLOCK]
            vectors[rows] = embedder.pooled([sequences[ids[i]] for i in rows])
            bar.advance(len(rows))
    metadata = table_metadata(model, layer)
    said = f"{model.config.encoder}, {model.size:,} parameters"
    profile = ModelProfile(model) if profile_head.HEAD.name in model.heads and layer in (None, model.depth) else None
    residues = ModelResidues(embedder, sequences)
    return Embedding(name, ids, vectors, said, metadata, baseline=baseline, residues=residues, profile=profile)


def with_untrained(model: Model, seed: int) -> Model:
    """Return a model of the same architecture with random weights, on the same device."""
    return untrained(model, seed).to(model.device)
