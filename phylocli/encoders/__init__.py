"""One architecture a file: tokens (N, L) → residues (N, L, D); and the model, an encoder with its pooling.

>>> from phylocli.encoders import Model
>>> model = Model.create("convolutional", preset="small", pooling="mean", seed=0)
>>> embeddings = model(tokens, mask)  # (N, L) int64 and bool → (N, D)
>>> model.save("model"); model = Model.load("model")
"""

from __future__ import annotations

from phylocli.encoders._batch import pad_batch
from phylocli.encoders._device import choose_device
from phylocli.encoders._model import Model
from phylocli.encoders.poolings import build_pooling

__all__ = ["Model", "build_pooling", "choose_device", "pad_batch"]
