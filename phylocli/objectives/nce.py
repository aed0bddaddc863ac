"""Noise-contrastive estimation: classify pairs against ν noise samples per pair (Gutmann & Hyvärinen 2010).

    binary:   maximise  E_pairs[ log σ(s - log ν) ] + ν E_negatives[ log(1 - σ(s - log ν)) ]
    ranking:  maximise  E[ log  exp s(aᵢ, bᵢ) / Σⱼ exp s(aᵢ, bⱼ) ]

Gutmann & Hyvärinen 2010, AISTATS (PMLR 9:297), equations 3 to 5, with the noise density p(a) p(b) and the score ln p_m - ln
p_n; 2012, JMLR 13:307, for a ratio ν other than 1. The best critic of the binary form is the normalised log density ratio
for any ν, so NWJ evaluated with s + 1 gives nats. The ranking form (Jozefowicz et al. 2016, arXiv 1602.02410; compared with
the binary one by Ma & Collins 2018, arXiv 1809.01812) is InfoNCE's one-sided loss, evaluated by InfoNCE. With ν = 1 the
binary form is `jsd`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.core.errors import UsageError, unknown_name
from phylocli.objectives import infonce, nwj
from phylocli.objectives.base.estimator import Estimator
from phylocli.objectives.base.masking import contrast, mean, positives


def loss(scores: Tensor, negatives: Tensor, *, ratio: float | None = None) -> Tensor:
    """Return the binary form's loss for one pair and its ν noise samples, a scalar.

    Args:
        scores: (N, N), true pairs on the diagonal.
        negatives: the noise, (N, N).
        ratio: ν; None takes the number of negatives per pair in the batch.
    """
    nu = (negatives.sum() / len(scores)).clamp(min=1) if ratio is None else torch.tensor(ratio)
    shifted = scores - nu.to(scores).log()
    return F.softplus(-positives(shifted)).mean() + nu * mean(F.softplus(shifted), negatives)


def bound(scores: Tensor, negatives: Tensor) -> Tensor:
    """Return NWJ's bound in nats for a critic trained by the binary form, a scalar."""
    return nwj.bound(scores + 1, negatives)


FORMS = ("binary", "ranking")


class Objective(Estimator):
    """Noise-contrastive estimation on a critic's scores: `loss` and `bound` (nats).

    Args:
        critic: scores (N, N).
        ratio: ν of the binary form; 0 takes the number of negatives of each pair.
        form: `binary` or `ranking`.
    """

    def __init__(self, critic: nn.Module, *, ratio: float = 0.0, form: str = "binary") -> None:
        super().__init__(critic)
        if ratio < 0:
            raise UsageError(f"the ratio of noise to pairs cannot be {ratio}", fix="0 takes all of the batch")
        if form not in FORMS:
            raise unknown_name("unknown form of NCE", form, FORMS)
        self.ratio = ratio or None
        self.ranking = form == "ranking"

    def bound(self, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return NWJ's bound in nats, or InfoNCE's of the ranking form."""
        return infonce.bound(scores, negatives, symmetric=False) if self.ranking else bound(scores, negatives)

    def ceiling(self, negatives: Tensor) -> float | None:
        """Return log K of the ranking form; the binary one has none."""
        return float(contrast(negatives.double(), negatives)[1].mean()) if self.ranking else None

    def terms(self, scores: Tensor, negatives: Tensor) -> dict[str, Tensor]:
        """Return `loss` and `bound`."""
        value = self.bound(scores, negatives).detach()
        if self.ranking:
            return {"loss": -contrast(scores, negatives)[0].mean(), "bound": value}
        return {"loss": loss(scores, negatives, ratio=self.ratio), "bound": value}
