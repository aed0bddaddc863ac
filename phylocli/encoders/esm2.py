"""ESM-2 checkpoints (Lin et al. 2023) as the backbone: frozen, with low-rank updates, or fully trained.

The architecture is that of Hugging Face transformers (`pip install '.[esm]'`); a checkpoint is a folder, or a name on
the Hugging Face hub, which is downloaded once. Lin et al. 2023, doi:10.1126/science.ade2574; low-rank updates: Hu et al.
2021, arXiv 2106.09685. Only safetensors are read: a checkpoint cannot run code.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.encoders import _esm_checkpoint as checkpoints

ALPHABETS = ("protein",)
MODES = ("frozen", "lora", "full")

PRESETS: dict[str, dict[str, object]] = {
    "tiny": {"checkpoint": "facebook/esm2_t6_8M_UR50D"},  # 7.5 M parameters, 320 features
    "small": {"checkpoint": "facebook/esm2_t12_35M_UR50D"},  # 34 M, 480
    "medium": {"checkpoint": "facebook/esm2_t30_150M_UR50D"},  # 148 M, 640
    "large": {"checkpoint": "facebook/esm2_t33_650M_UR50D"},  # 651 M, 1280
}

# The four projections of the attention in each layer, by their names in transformers.
_ADAPTED = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")


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
    """ESM-2.

    Args:
        checkpoint: a folder with config.json and model.safetensors as transformers saves them, or a name on the hub.
        mode: `frozen`: the backbone is not trained; `lora`: low-rank updates of the attention's four projections are
            trained; `full`: all weights are trained.
        rank: of the updates.
        alpha: scale of the updates, divided by the rank.
        project: features of a perceptron on each residue after the backbone, trained in every mode and part of the model; 0:
            none. A frozen backbone cannot learn without it, or without a pooling that has weights.
        revision: of the checkpoint on the hub, a branch, tag or commit.
        backbone: the architecture as a transformers configuration; with it no checkpoint is read and weights are random. A
            saved model contains it, and therefore needs neither checkpoint nor hub.
        vocabulary: the backbone's letters in the order of its tokens, with `backbone`.

    Attributes:
        dimension: features D of a residue.
        depth: number of layers.

    Raises:
        UsageError: no checkpoint named, an unknown mode, or a rank below 1.
        BadInputError: the checkpoint is not ESM-2, or not in safetensors.
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
        vocabulary: list[str] | None = None,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise UsageError(f"esm2 has no mode {mode!r}", fix=f"choose one of {', '.join(MODES)}")
        if rank < 1 or project < 0:
            raise UsageError("the rank must be at least 1, and project at least 0")
        if backbone is None and not checkpoint:
            raise UsageError(
                "esm2 needs a checkpoint", fix="set encoder.parameters.checkpoint to a folder or a name on the hub"
            )
        if backbone is None:
            self.backbone, vocabulary = checkpoints.load(checkpoint, revision)
        else:
            self.backbone = checkpoints.build(backbone)
        config = self.backbone.config
        vocabulary = vocabulary or checkpoints.VOCABULARY
        self.description: dict[str, Any] = {
            "checkpoint": checkpoint,
            "mode": mode,
            "rank": rank,
            "alpha": alpha,
            "project": project,
            "revision": revision,
            "backbone": checkpoints.describe(config),
            "vocabulary": vocabulary,
        }
        self.mode = mode
        self._activation_checkpointing = False
        self.depth = int(config.num_hidden_layers)
        self.dimension = project or int(config.hidden_size)
        self.start, self.end, self.padding = (vocabulary.index(word) for word in ("<cls>", "<eos>", "<pad>"))
        self.letters: Tensor
        self.register_buffer("letters", checkpoints.letters(vocabulary), persistent=False)
        self.backbone.requires_grad_(mode == "full")
        if mode == "lora":
            for layer in self.backbone.encoder.layer:
                for name in _ADAPTED:
                    layer.set_submodule(name, LowRank(layer.get_submodule(name), rank, alpha))
        self.projection: nn.Module = nn.Identity()
        if project:
            self.projection = nn.Sequential(nn.Linear(config.hidden_size, project), nn.GELU(), nn.Linear(project, project))

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers of the backbone."""
        return self.backbone.encoder.layer

    @property
    def activation_checkpointing(self) -> bool:
        """Whether activations are recomputed in the backward pass, layer by layer."""
        return self._activation_checkpointing

    @activation_checkpointing.setter
    def activation_checkpointing(self, wanted: bool) -> None:
        checkpoints.set_activation_checkpointing(self.backbone, wanted)
        self._activation_checkpointing = wanted

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation; a frozen backbone stays in evaluation."""
        super().train(mode)
        if self.mode == "frozen":
            self.backbone.eval()
        return self

    def forward(self, tokens: Tensor, mask: Tensor, layer: int | None = None) -> Tensor:
        """Encode residues; arguments and result as in `convolutional`.

        Layers before the last are those of the backbone, without its final normalisation (as `repr_layers` of ESM); the
        projection is applied to the selected layer.
        """
        n, width = tokens.shape
        lengths = mask.sum(1, keepdim=True)
        position = torch.arange(width + 2, device=tokens.device)
        words = tokens.new_full((n, width + 2), self.padding)
        words[:, 0] = self.start
        words[:, 1:-1] = torch.where(mask, self.letters[tokens], self.padding)
        words.scatter_(1, lengths + 1, self.end)
        inner = layer is not None and layer != self.depth
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.mode != "frozen"):
            found = self.backbone(
                input_ids=words, attention_mask=(position < lengths + 2).long(), output_hidden_states=inner, return_dict=True
            )
        states = found.hidden_states[layer] if inner else found.last_hidden_state
        return self.projection(states[:, 1:-1])
