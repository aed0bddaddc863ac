"""Pretrained protein language models (ESM, ProtT5, ProstT5, Ankh, ProtBert, …): frozen, with low-rank updates, or trained.

The architectures are those of Hugging Face transformers (`pip install '.[plm]'`). A checkpoint is a folder, or a model of
the hub, which is downloaded once; see `phylocli.checkpoints` for what is read and how sequences become tokens. ESM, BERT and
T5 run without padding (`_unpadded`); any other encoder of transformers that needs no code of its own runs as it is there.
Low-rank updates: Hu et al. 2021, arXiv 2106.09685.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from phylocli.checkpoints import finding, loading, store
from phylocli.checkpoints.tokenization import ESM_VOCABULARY, Tokenization
from phylocli.core.errors import BadInputError, UsageError
from phylocli.encoders import _unpadded

ALPHABETS = ("protein",)
MODES = ("frozen", "lora", "full")

PRESETS: dict[str, dict[str, object]] = {
    "tiny": {"checkpoint": "facebook/esm2_t6_8M_UR50D"},  # 7.5 M parameters, 320 features
    "small": {"checkpoint": "facebook/esm2_t12_35M_UR50D"},  # 34 M, 480
    "medium": {"checkpoint": "facebook/esm2_t30_150M_UR50D"},  # 148 M, 640
    "large": {"checkpoint": "facebook/esm2_t33_650M_UR50D"},  # 651 M, 1280
}

# The projections of the attention in each layer, by the last parts of their names in transformers.
_ADAPTED = (
    *("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
    *("SelfAttention.q", "SelfAttention.k", "SelfAttention.v", "SelfAttention.o"),
    *("q_proj", "k_proj", "v_proj", "o_proj", "out_proj", "attn.Wqkv", "attn.Wo"),
)


class LowRank(nn.Module):
    """A fixed linear map plus a trained low-rank update: W x + b + (alpha / rank) B A x.

    B is initialised with zeros, so the first step uses the unchanged checkpoint (Hu et al. 2021, section 4.1).

    Args:
        base: the map.
        rank: of the update.
        alpha: scale of the update, divided by the rank.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        self.scale = alpha / rank
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return (…, out) from (…, in)."""
        return self.base(x) + self.scale * self.up(self.down(x))


class Encoder(nn.Module):
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
        super().__init__()
        if mode not in MODES:
            raise UsageError(f"plm has no mode {mode!r}", fix=f"choose one of {', '.join(MODES)}")
        if rank < 1 or project < 0:
            raise UsageError("the rank must be at least 1, and project at least 0")
        if backbone is None and not checkpoint:
            raise UsageError(
                "plm needs a checkpoint",
                fix="set encoder.parameters.checkpoint to a folder or a model of the hub, such as facebook/esm2_t6_8M_UR50D",
            )
        if backbone is None:
            folder = finding.find(checkpoint, revision)
            source = store.verify(folder)
            self.backbone, reading = loading.load(folder, checkpoint)
            backbone = loading.describe(folder)
            revision = source.commit if source else revision
        else:
            self.backbone = loading.build(backbone)
            reading = (
                Tokenization.from_json(tokens) if tokens else Tokenization.of_esm(vocabulary or ESM_VOCABULARY, rare=False)
            )
        config = self.backbone.config
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
        self.mode = mode
        self._activation_checkpointing = False
        self.depth = int(config.num_hidden_layers)
        self.dimension = project or int(config.hidden_size)
        self.max_length = loading.max_residues(self.backbone, reading.added)
        self.reads_rare_residues = vocabulary is None
        self.reading = reading
        self.letters: Tensor
        self.register_buffer("letters", reading.table(), persistent=False)
        self.backbone.requires_grad_(mode == "full")
        self.is_unpadded = config.model_type in _unpadded.ARCHITECTURES
        self._blocks = [_unpadded.prepare(self.backbone) if self.is_unpadded else self._found_blocks()]
        if mode == "lora":
            self._adapt(rank, alpha)
        self.projection: nn.Module = nn.Identity()
        if project:
            self.projection = nn.Sequential(nn.Linear(config.hidden_size, project), nn.GELU(), nn.Linear(project, project))

    def _found_blocks(self) -> nn.ModuleList:
        """Return the layers of a backbone of another architecture."""
        for module in self.backbone.modules():
            if isinstance(module, nn.ModuleList) and len(module) == self.depth:
                return module
        raise UsageError(
            f"the layers of the architecture {self.backbone.config.model_type!r} cannot be found",
            fix="name an encoder whose layers are one list",
        )

    def _adapt(self, rank: int, alpha: float) -> None:
        found = 0
        for block in self.blocks:
            for name, layer in list(block.named_modules()):
                if isinstance(layer, nn.Linear) and name.endswith(_ADAPTED):
                    block.set_submodule(name, LowRank(layer, rank, alpha))
                    found += 1
        if not found:
            raise UsageError(
                f"low-rank updates are not available for the architecture {self.backbone.config.model_type!r}",
                why="its layers have no projections with a known name",
                fix="set encoder.parameters.mode to frozen or full",
            )

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers of the backbone."""
        return self._blocks[0]

    @property
    def activation_checkpointing(self) -> bool:
        """Whether activations are recomputed in the backward pass, layer by layer."""
        return self._activation_checkpointing

    @activation_checkpointing.setter
    def activation_checkpointing(self, wanted: bool) -> None:
        self._activation_checkpointing = wanted
        if not self.is_unpadded:
            kind = "activation" if hasattr(self.backbone, "activation_checkpointing_enable") else "gradient"  # older name
            if wanted:
                getattr(self.backbone, f"{kind}_checkpointing_enable")({"use_reentrant": False})
            else:
                getattr(self.backbone, f"{kind}_checkpointing_disable")()

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation; a frozen backbone stays in evaluation."""
        super().train(mode)
        if self.mode == "frozen":
            self.backbone.eval()
        return self

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
        chosen = self.depth if layer is None else layer
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.mode != "frozen"):
            if self.is_unpadded:
                states = _unpadded.forward(
                    self.backbone, self.blocks, words, present, chosen, recompute=self.activation_checkpointing
                )
            else:
                states = self._states(words, present, chosen)
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

    def _states(self, words: Tensor, present: Tensor, layer: int) -> Tensor:
        """Return the hidden states of an architecture of transformers as it is, (N, W, D)."""
        inner = layer != self.depth
        found = self.backbone(input_ids=words, attention_mask=present.long(), output_hidden_states=inner, return_dict=True)
        return found.hidden_states[layer] if inner else found.last_hidden_state
