"""Pretrained language models of text (BERT, RoBERTa, MPNet, T5, …): frozen, with low-rank updates, or trained.

Any encoder of Hugging Face transformers (`pip install '.[plm]'`) that needs no code of its own, with a fast tokenizer; for
the modality `text` of `--modalities`. A checkpoint is a folder, or a model of the hub, which is downloaded once. Vectors are
those of the tokens with the ones before and after them, as the model returns them: with mean pooling, the vectors of
sentence-transformers (Reimers & Gurevych 2019, arXiv 1908.10084). How they are trained is in
`_pretrained`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phylocli.checkpoints import loading
from phylocli.checkpoints.text_tokenization import TextTokenization
from phylocli.core.errors import UsageError
from phylocli.encoders._pretrained import PretrainedEncoder, check_mode, read_checkpoint

PRESETS: dict[str, dict[str, object]] = {
    "tiny": {"checkpoint": "sentence-transformers/paraphrase-MiniLM-L3-v2"},  # 17 M parameters, 384 features
    "small": {"checkpoint": "sentence-transformers/all-MiniLM-L6-v2"},  # 23 M, 384
    "medium": {"checkpoint": "sentence-transformers/all-mpnet-base-v2"},  # 109 M, 768
    "large": {"checkpoint": "FacebookAI/roberta-large"},  # 355 M, 1024
}


class Encoder(PretrainedEncoder):
    """A pretrained language model of text.

    Args:
        checkpoint: a folder with config.json, model.safetensors and the tokenizer's files as transformers saves them, or a
            model of the hub, `ORG/NAME` or `hf:ORG/NAME@REVISION`.
        mode: `frozen`: the backbone is not trained; `lora`: low-rank updates of the attention's projections are trained;
            `full`: all weights are trained.
        rank: of the updates.
        alpha: scale of the updates, divided by the rank.
        project: features of a perceptron on each token after the backbone, trained in every mode; 0: none.
        max_length: tokens of a text that are read, at most; later ones are left out.
        revision: of the checkpoint on the hub, a branch, tag or commit.
        backbone: the architecture as a transformers configuration; with it no checkpoint is read and weights are random. A
            saved model contains it, and therefore needs neither checkpoint nor hub.
        tokens: the tokens, with `backbone`, as `TextTokenization.to_json` writes them.

    Raises:
        UsageError: no checkpoint named, an unknown mode, or a rank below 1.
        BadInputError: the checkpoint is not an encoder that transformers can build, has no fast tokenizer, or is not in
            safetensors.
        MissingDependencyError: transformers is not installed.
        ServiceError: the hub cannot be reached, or has no such checkpoint.
    """

    PRESETS = PRESETS
    PARSES = ("text",)

    def __init__(
        self,
        *,
        checkpoint: str = "",
        mode: str = "lora",
        rank: int = 8,
        alpha: float = 16.0,
        project: int = 0,
        max_length: int = 256,
        revision: str = "main",
        backbone: dict[str, Any] | None = None,
        tokens: dict[str, Any] | None = None,
    ) -> None:
        check_mode("language-model", mode, rank, project)
        if backbone is None or tokens is None:
            if not checkpoint:
                raise UsageError(
                    "language-model needs a checkpoint",
                    fix="set its parameter checkpoint to a folder or a model of the hub, such as "
                    "sentence-transformers/all-MiniLM-L6-v2",
                )
            module, reading, backbone, revision = read_checkpoint(
                checkpoint, revision, lambda folder: loading.load_text(folder, checkpoint, max_length)
            )
        else:
            module, reading = loading.build(backbone), TextTokenization.from_json(tokens)
        super().__init__(module, mode=mode, rank=rank, alpha=alpha, project=project)
        self.reading = reading
        self.description: dict[str, Any] = {
            "checkpoint": checkpoint,
            "mode": mode,
            "rank": rank,
            "alpha": alpha,
            "project": project,
            "max_length": max_length,
            "revision": revision,
            "backbone": backbone,
            "tokens": reading.to_json(),
        }

    def parse(self, value: object) -> npt.NDArray[np.int64]:
        """Return the tokens of a text, (L,)."""
        if not isinstance(value, str):
            raise TypeError(f"a text is needed, not {type(value).__name__}")
        return self.reading.tokens(value)

    def decisive(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters with what the vectors depend on in place of the whole configuration of the backbone."""
        rules = sha256(json.dumps(parameters["tokens"], sort_keys=True).encode()).hexdigest()
        return {**parameters, "backbone": loading.decisive(parameters["backbone"]), "tokens": rules}

    def forward(self, tokens: Tensor, mask: Tensor, layer: int | None = None) -> Tensor:
        """Encode tokens; arguments and result as in `convolutional`, with the tokens that `parse` returns.

        Layers before the last are those of the backbone, without its final normalisation; the projection is applied to the
        selected layer.
        """
        return self.projection(self.states(torch.where(mask, tokens, self.reading.padding), mask, layer))
