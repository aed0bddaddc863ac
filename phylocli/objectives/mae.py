"""Masked autoencoding: residues are removed, the encoder sees what is left, and a light decoder fills in the rest (He 2022).

    loss = α · mean over removed residues of  -log q(letter | what is left)  +  (1 - α) · a contrastive objective

Half of the residues of the first view are removed, in spans. The encoder reads the remaining ones as one shorter sequence,
without mask tokens: in training it sees nothing that it does not see later, and its work is halved. The decoder puts the
vectors of the remaining residues back in their places and a learned vector in all others, and reads both by a few residual
convolutions. It is discarded after training. He, Chen, Xie, Li, Dollár & Girshick 2022, Masked autoencoders are
scalable vision learners, arXiv 2111.06377, whose decoder is a transformer. Encoders here take no positions from outside, so
the encoder does not know where residues are missing.

With α < 1, what is left of the first view is contrasted with the whole second view, as in the contrastive masked autoencoder
of Huang et al. 2022, arXiv 2207.13532, whose target branch sees whole images, too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.core.alphabet import AMINO_ACIDS
from phylocli.core.errors import UsageError
from phylocli.encoders.base.batch import Layout
from phylocli.encoders.convolutional import Block
from phylocli.objectives import build_objective
from phylocli.objectives.base.batch import Batch, Removed, removed_of, residues_of
from phylocli.objectives.base.masking import mean
from phylocli.objectives.base.requirements import Removal, Requirements, requirements_of


class MaskedDecoder(nn.Module):
    """Vectors of the remaining residues → logits of the letters at all places.

    Args:
        features: F of a residue's vector.
        width: features of the decoder.
        depth: blocks, with the dilations 1, 2, 4, …
        kernel: residues that a block takes as input, odd.
        letters: K of the alphabet.

    Raises:
        UsageError: an even kernel, or a size below 1.
    """

    def __init__(self, features: int, *, width: int, depth: int, kernel: int, letters: int) -> None:
        super().__init__()
        if kernel % 2 == 0 or min(width, depth, kernel) < 1:
            raise UsageError("the decoder's kernel must be odd, and its width and depth at least 1")
        self.enter = nn.Linear(features, width)
        self.missing = nn.Parameter(0.02 * torch.randn(width))
        self.blocks = nn.ModuleList(Block(width, width, kernel, 2**k, depth) for k in range(depth))
        self.norm = nn.LayerNorm(width)
        self.letters = nn.Linear(width, letters)

    def forward(self, residues: Tensor, kept: Tensor, mask: Tensor) -> Tensor:
        """Return logits, (N, L, K).

        Args:
            residues: vectors of the remaining residues, (N, M, F), in order, from the left.
            kept: which residues remain, (N, L) bool.
            mask: which residues exist, (N, L) bool, from the left.
        """
        entered = self.enter(residues)
        source = (kept.cumsum(1) - 1).clamp(min=0)[..., None].expand(-1, -1, entered.shape[2])
        placed = torch.where(kept[..., None], entered.gather(1, source), self.missing)
        layout = Layout(mask)
        x = layout.flatten(placed)
        for block in self.blocks:
            x = block(x, layout)
        return layout.unflatten(self.letters(self.norm(x)))


class Objective(nn.Module):
    """Reconstruction of removed residues, alone or beside a contrastive objective.

    Args:
        critic: scores (N, M) of the contrastive objective.
        dimension, features, letters: as for other objectives.
        alpha: α; 1 is the autoencoder alone, 0 contrast alone, with what is left of the first view.
        removed: fraction of the residues that are removed.
        span: residues of a removed span, at most.
        width, depth, kernel: of the decoder.
        contrast: name of the contrastive objective.
        contrast_parameters: of that objective.

    Raises:
        UsageError: a value out of range, or an objective that does not contrast whole vectors.
    """

    def __init__(
        self,
        critic: nn.Module,
        *,
        dimension: int,
        features: int,
        letters: int = len(AMINO_ACIDS),
        alpha: float = 1.0,
        removed: float = 0.5,
        span: int = 4,
        width: int = 64,
        depth: int = 2,
        kernel: int = 9,
        contrast: str = "infonce",
        contrast_parameters: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise UsageError(
                f"alpha must be between 0 and 1, not {alpha}", fix="1 is the autoencoder alone, 0 contrast alone"
            )
        if not 0 < removed < 1 or span < 1:
            raise UsageError(
                f"mae cannot remove a fraction of {removed:g} in spans of {span:g} residues",
                fix="choose a fraction between 0 and 1, and spans of at least 1 residue",
            )
        self.alpha = alpha
        self.contrast: nn.Module | None = None
        needs = Requirements(views="first", negatives=False)
        if alpha < 1:
            self.contrast = build_objective(contrast, critic, contrast_parameters, dimension=dimension, features=features)
            needs = requirements_of(self.contrast)
            if needs.views == "none" or needs.removal or needs.decoder or needs.classes:
                raise UsageError(
                    f"the objective {contrast!r} cannot be the contrastive part of mae",
                    fix="name one that contrasts whole sequences, such as infonce or moco",
                )
        self.requirements = replace(needs, residues=True, removal=Removal(removed, span))
        self.decoder = MaskedDecoder(features, width=width, depth=depth, kernel=kernel, letters=letters)

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`; of the removed residues `reconstruction` (nats each) and `reconstruction_accuracy`; and the terms
        of the contrastive objective: `contrast_loss`, `contrast_bound`, …"""
        found = self.reconstructed(residues_of(batch)[0], removed_of(batch))
        terms = {} if self.contrast is None else self.contrast(a, b, batch)
        loss = self.alpha * found["reconstruction"]
        if self.contrast is not None:  # a term of weight 0 has no gradient at all
            contrast = (1 - self.alpha) * terms["loss"]
            loss = contrast if self.alpha == 0 else loss + contrast
        more = {**found, **{f"contrast_{name}": value for name, value in terms.items()}}
        return {"loss": loss, **{name: value.detach() for name, value in more.items()}}

    def reconstructed(self, residues: Tensor, x: Removed) -> dict[str, Tensor]:
        """Return the mean cross-entropy in nats, and the accuracy, of the removed residues with known letters.

        Args:
            residues: vectors of the remaining residues, (N, M, F).
            x: the sequences.
        """
        scored = x.mask & ~x.kept & (x.letters >= 0)
        logits = self.decoder(residues, x.kept, x.mask)
        nats = F.cross_entropy(logits.flatten(0, 1), x.letters.clamp(min=0).flatten(), reduction="none").view_as(x.letters)
        right = (logits.argmax(2) == x.letters).to(nats.dtype)
        return {"reconstruction": mean(nats, scored), "reconstruction_accuracy": mean(right, scored)}

    @torch.no_grad()
    def after_step(self) -> None:
        """Call that of the contrastive objective."""
        after_step = getattr(self.contrast, "after_step", None)
        if callable(after_step):
            after_step()
