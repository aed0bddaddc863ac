"""Hybrid bound: a decoder's bound on the whole latent vector and a contrastive bound on a part of it (Sinha 2021).

    I = α · E[ log q(x | z) - log p(x) ] + (1 - α) · I_contrast(y),   z = [y, w]

Sinha, Song & Ermon 2021, Hybrid mutual information lower-bound estimators for representation learning, section 3. The first
term is the bound of Barber & Agakov 2003 with the decoder q: what z tells about the sequence x, in nats. Contrast keeps in y
what relatives share and discards the rest, which stays in w, because the decoder needs it.

p(x) is unknown. It is replaced by a stated background p₀, so that the term is the number of nats by which z shortens the
description of x under p₀:

    E[ log q(x | z) - log p₀(x) ] = I(x; z) - E KL( p(x | z) ‖ q(x | z) ) + KL( p(x) ‖ p₀(x) )

It is a bound on I(x; z) where the last term is known, and otherwise on the information plus what the background lacks. Its
`decoded_ceiling` is E[ -log p₀(x) ]: the gain of a decoder that restores every residue.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.objectives import build_objective
from phylocli.objectives.base.background import Unigram
from phylocli.objectives.base.batch import Batch, Decoded, decoded_of
from phylocli.objectives.base.requirements import requirements_of


class Objective(nn.Module):
    """α times a decoder's bound, and 1 - α times a contrastive objective.

    Which part of z is contrasted and which is decoded are settings of the run (`decoder.y`, `decoder.contrast`,
    `decoder.reads`): `a` and `b` are made of the one, `Batch.decoded` of the other.

    Args:
        critic: scores (N, M) of the contrastive objective.
        dimension, features: as for other objectives.
        alpha: α; 0 is contrast alone, 1 the autoencoder alone. A sequence of 100 residues has up to 290 nats, a contrast
            with 100 negatives up to 4.6: with α = 0.02 both weigh about the same.
        contrast: name of the contrastive objective.
        contrast_parameters: of that objective.

    Raises:
        UsageError: α out of range, or an objective that does not contrast whole vectors.
    """

    def __init__(
        self,
        critic: nn.Module,
        *,
        dimension: int,
        features: int,
        alpha: float = 0.02,
        contrast: str = "infonce",
        contrast_parameters: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise UsageError(f"alpha must be between 0 and 1, not {alpha}", fix="0 is contrast alone, 1 the decoder alone")
        if contrast == "hybrid":
            raise UsageError("hybrid cannot be its own contrastive part", fix="name another objective, such as infonce")
        self.alpha = alpha
        self.contrast = build_objective(contrast, critic, contrast_parameters, dimension=dimension, features=features)
        needs = requirements_of(self.contrast)
        if needs.views == "none":
            raise UsageError(
                f"the objective {contrast!r} cannot be the contrastive part of hybrid",
                why="it encodes segments of sequences, and no whole sequence that could be decoded",
                fix="name one that contrasts whole sequences, such as infonce or moco",
            )
        self.requirements = replace(needs, decoder=True, negatives=needs.negatives and alpha < 1)
        self.background = Unigram()

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, `bound` (nats) and `ceiling`, and the parts of both.

        These are `decoded` (log q(x | z) - log p₀(x), nats), `decoded_ceiling` (-log p₀(x)), `decoded_perplexity` (per
        residue, of q), and of the contrastive objective `contrast_loss`, `contrast_bound`, … The weighted `bound` and
        `ceiling` exist if the contrastive objective has its own.
        """
        x = decoded_of(batch)
        background = self.log_background(x)
        gain = (x.log_likelihood - background).mean()
        terms = self.contrast(a, b, batch)
        loss, of_contrast = -self.alpha * gain, (1 - self.alpha) * terms["loss"]
        # A term of weight 0 has no gradient at all: the pure methods are exact, and an undefined term is harmless.
        total = of_contrast if self.alpha == 0 else loss if self.alpha == 1 else loss + of_contrast
        found = {
            "loss": total,
            "decoded": gain.detach(),
            "decoded_ceiling": -background.mean(),
        }
        if x.lengths is not None:
            found["decoded_perplexity"] = (-x.log_likelihood.sum() / x.lengths.sum()).exp().detach()
        for name in ("bound", "ceiling"):
            if name in terms:
                decoded = found["decoded" if name == "bound" else "decoded_ceiling"]
                found[name] = self.alpha * decoded + (1 - self.alpha) * terms[name].detach()
        return {**found, **{f"contrast_{name}": value.detach() for name, value in terms.items()}}

    def log_background(self, x: Decoded) -> Tensor:
        """Return log p₀(x) in nats, (N,): as given, or by the unigram of all sequences of training so far."""
        if x.log_background is not None:
            return x.log_background
        if x.letters is None or x.lengths is None:
            raise TypeError("decoded inputs need letters and lengths, or their log_background")
        if self.training:
            self.background.count(x.letters, x.lengths)
        counted: Tensor = self.background(x.letters, x.lengths)
        return counted.to(x.log_likelihood.dtype)

    @torch.no_grad()
    def after_step(self) -> None:
        """Call that of the contrastive objective."""
        after_step = getattr(self.contrast, "after_step", None)
        if callable(after_step):
            after_step()
