"""Pretrained protein language models (ESM, ProtT5, ProstT5, Ankh, ProtBert, …): frozen, with low-rank updates, or trained.

The architectures are those of Hugging Face transformers (`pip install '.[plm]'`). A checkpoint is a folder, or a model of
the hub, which is downloaded once; see `phylocli.checkpoints` for what is read and how sequences become tokens. ESM, BERT and
T5 run without padding (`_unpadded`); any other encoder of transformers that needs no code of its own runs as it is there.
How they are trained is in `_pretrained`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from phylocli.checkpoints import loading
from phylocli.checkpoints.tokenization import ESM_VOCABULARY, Tokenization
from phylocli.core.errors import BadInputError, UsageError
from phylocli.encoders._pretrained import PretrainedEncoder, check_mode, read_checkpoint

ALPHABETS = ("protein",)

PRESETS: dict[str, dict[str, object]] = {
    "tiny": {"checkpoint": "facebook/esm2_t6_8M_UR50D"},  # 7.5 M parameters, 320 features
    "small": {"checkpoint": "facebook/esm2_t12_35M_UR50D"},  # 34 M, 480
    "medium": {"checkpoint": "facebook/esm2_t30_150M_UR50D"},  # 148 M, 640
    "large": {"checkpoint": "facebook/esm2_t33_650M_UR50D"},  # 651 M, 1280
}


class Encoder(PretrainedEncoder):
    """A pretrained protein language model.

    Args:
        checkpoint: a folder with config.json, model.safetensors and the tokenizer's files as transformers saves them, or a
            model of the hub, `ORG/NAME` or `hf:ORG/NAME@REVISION`.
        mode: `frozen`: the backbone is not trained; `lora`: low-rank updates of the attention's projections are trained;
            `full`: all weights are trained.
        rank: of the updates.
        alpha: scale of the updates, divided by the rank.
        project: features of a perceptron on each residue after the backbone, trained in every mode and part of the model; 0:
            none. A frozen backbone cannot learn without it, or without a pooling that has weights.
        revision: of the checkpoint on the hub, a branch, tag or commit.
        backbone: the architecture as a transformers configuration; with it no checkpoint is read and weights are random. A
            saved model contains it, and therefore needs neither checkpoint nor hub.
        tokens: the backbone's tokens, with `backbone`, as `Tokenization.to_json` writes them.
        vocabulary: instead of `tokens` in models of version 0.1: ESM's letters in the order of its tokens.

    Attributes:
        dimension: features D of a residue.
        depth: number of layers.
        max_length: largest number of residues that the table of positions allows; None: any.
        reads_rare_residues: B, O, U and Z have tokens of their own; see `alphabet.encode_tokens`.

    Raises:
        UsageError: no checkpoint named, an unknown mode, or a rank below 1.
        BadInputError: the checkpoint is not a protein language model that transformers can build, or not in safetensors.
        MissingDependencyError: transformers is not installed.
        ServiceError: the hub cannot be reached, or has no such checkpoint.
    """

    PRESETS = PRESETS

    def __init__(
        self,
        *,
        checkpoint: str = "",
        mode: str = "lora",
        rank: int = 8,
        alpha: float = 16.0,
        project: int = 0,
        revision: str = "main",
        backbone: dict[str, Any] | None = None,
        tokens: dict[str, Any] | None = None,
        vocabulary: list[str] | None = None,
    ) -> None:
        check_mode("plm", mode, rank, project)
        if backbone is None and not checkpoint:
            raise UsageError(
                "plm needs a checkpoint",
                fix="set encoder.parameters.checkpoint to a folder or a model of the hub, such as facebook/esm2_t6_8M_UR50D",
            )
        if backbone is None:
            module, reading, backbone, revision = read_checkpoint(
                checkpoint, revision, lambda folder: loading.load(folder, checkpoint)
            )
        else:
            module = loading.build(backbone)
            reading = (
                Tokenization.from_json(tokens) if tokens else Tokenization.of_esm(vocabulary or ESM_VOCABULARY, rare=False)
            )
        super().__init__(module, mode=mode, rank=rank, alpha=alpha, project=project)
        self.description: dict[str, Any] = {
            "checkpoint": checkpoint,
            "mode": mode,
            "rank": rank,
            "alpha": alpha,
            "project": project,
            "revision": revision,
            "backbone": backbone,
            **({"vocabulary": vocabulary} if vocabulary else {"tokens": reading.to_json()}),
        }
        self.max_length = loading.max_residues(self.backbone, reading.added)
        self.reads_rare_residues = vocabulary is None
        self.reading = reading
        self.letters: Tensor
        self.register_buffer("letters", reading.table(), persistent=False)

    def decisive(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters with what the vectors depend on in place of the whole configuration of the backbone."""
        if "vocabulary" in parameters:  # of version 0.1, whose fingerprints stay
            return dict(parameters)
        return {**parameters, "backbone": loading.decisive(parameters["backbone"])}

    def forward(self, tokens: Tensor, mask: Tensor, layer: int | None = None) -> Tensor:
        """Encode residues; arguments and result as in `convolutional`.

        Layers before the last are those of the backbone, without its final normalisation (as `hidden_states` of transformers
        and `repr_layers` of ESM); the projection is applied to the selected layer.

        Raises:
            BadInputError: sequences longer than the table of positions.
        """
        width = tokens.shape[1]
        if self.max_length is not None and width > self.max_length:
            raise BadInputError(
                f"a sequence of {width:,} residues is longer than the model's table of positions",
                why=f"it has positions for {self.max_length:,} residues",
                fix="embed it in windows (the default of 'embed'), or crop it in training, as with "
                f"--set view.crop.max_length={self.max_length}",
            )
        words, present = self.words(tokens, mask)
        states = self.states(words, present, layer)
        start = len(self.reading.start)
        return self.projection(states[:, start : start + width])

    def words(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the backbone's tokens, (N, W) int64, and which are there, (N, W) bool: residues with start and end."""
        n, width = tokens.shape
        start, end = self.reading.start, self.reading.end
        lengths = mask.sum(1, keepdim=True)
        position = torch.arange(width + self.reading.added, device=tokens.device)
        words = tokens.new_full((n, len(position)), self.reading.padding)
        for i, token in enumerate(start):
            words[:, i] = token
        words[:, len(start) : len(start) + width] = torch.where(mask, self.letters[tokens], self.reading.padding)
        for i, token in enumerate(end):
            words.scatter_(1, lengths + len(start) + i, token)
        return words, position < lengths + self.reading.added
