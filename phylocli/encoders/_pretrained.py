"""What encoders with pretrained backbones of transformers have in common: how they are trained, and their layers.

Low-rank updates: Hu et al. 2021, arXiv 2106.09685.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from phylocli.checkpoints import finding, loading, store
from phylocli.core.errors import UsageError
from phylocli.encoders import _unpadded

Tokens = TypeVar("Tokens")

MODES = ("frozen", "lora", "full")

# The projections of the attention in each layer, by the last parts of their names in transformers.
_ADAPTED = (
    *("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
    *("SelfAttention.q", "SelfAttention.k", "SelfAttention.v", "SelfAttention.o"),
    *("q_proj", "k_proj", "v_proj", "o_proj", "out_proj", "attn.Wqkv", "attn.Wo"),
    *("q_lin", "k_lin", "v_lin", "out_lin", "attn.q", "attn.k", "attn.v", "attn.o"),
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


def read_checkpoint(
    checkpoint: str, revision: str, load: Callable[[Path], tuple[Any, Tokens]]
) -> tuple[Any, Tokens, dict[str, Any], str]:
    """Return a backbone, its tokens, its configuration, and the revision: the commit, if the checkpoint is of the hub.

    Args:
        checkpoint, revision: as for `phylocli.checkpoints.finding.find`.
        load: reads the backbone and the tokens of a folder.
    """
    folder = finding.find(checkpoint, revision)
    source = store.verify(folder)
    module, reading = load(folder)
    return module, reading, loading.describe(folder), source.commit if source else revision


def check_mode(encoder: str, mode: str, rank: int, project: int) -> None:
    """Raise a UsageError for an unknown mode, a rank below 1, or a negative number of features."""
    if mode not in MODES:
        raise UsageError(f"{encoder} has no mode {mode!r}", fix=f"choose one of {', '.join(MODES)}")
    if rank < 1 or project < 0:
        raise UsageError("the rank must be at least 1, and project at least 0")


class PretrainedEncoder(nn.Module):
    """A backbone of transformers and the projection after it.

    Args:
        backbone: the module.
        mode: `frozen`: the backbone is not trained; `lora`: low-rank updates of the attention's projections are trained;
            `full`: all weights are trained.
        rank: of the updates.
        alpha: scale of the updates, divided by the rank.
        project: features of a perceptron on each position after the backbone, trained in every mode; 0: none.

    Attributes:
        dimension: features D of a position.
        depth: number of layers.

    Raises:
        UsageError: the layers of the backbone cannot be found, or have no known projections to be updated.
    """

    def __init__(self, backbone: Any, *, mode: str, rank: int, alpha: float, project: int) -> None:
        super().__init__()
        config = backbone.config
        self.backbone, self.mode = backbone, mode
        self._activation_checkpointing = False
        self.depth = int(config.num_hidden_layers)
        self.dimension = project or int(config.hidden_size)
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
    def has_random_weights(self) -> bool:
        """Whether there are weights that are not the checkpoint's, and change what it computes."""
        return not isinstance(self.projection, nn.Identity)

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

    def states(self, words: Tensor, present: Tensor, layer: int | None = None) -> Tensor:
        """Return the hidden states after a layer, (N, W, D), of the backbone's tokens (N, W), before the projection.

        Args:
            words: tokens, with its own for padding.
            present: which of them exist, (N, W) bool, from the left.
            layer: 0 … depth; None is the last. Layers before it are without the backbone's final normalisation.
        """
        chosen = self.depth if layer is None else layer
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.mode != "frozen"):
            if self.is_unpadded:
                return _unpadded.forward(
                    self.backbone, self.blocks, words, present, chosen, recompute=self.activation_checkpointing
                )
            inner = chosen != self.depth
            found = self.backbone(
                input_ids=words, attention_mask=present.long(), output_hidden_states=inner, return_dict=True
            )
            return found.hidden_states[chosen] if inner else found.last_hidden_state
