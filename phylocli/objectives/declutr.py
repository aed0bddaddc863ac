"""DeCLUTR: an anchor span against the mean of spans near it, among all 2N vectors (Giorgi 2021).

    loss = NT-Xent between the anchors' vectors and  b̄ᵢ = mean over the positives p of i of e(p)

Giorgi, Nitski, Wang & Bader 2021, arXiv 2006.03659, section 3. The first view is the anchor; all others are its positives
(view `spans`), which are averaged, after Saunshi et al. 2019 (arXiv 1902.09229). Not implemented: several anchors per
sequence, since spans of homologs are not negatives here, and the additional masked language modelling.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phylocli.objectives import nt_xent
from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.requirements import Requirements


class Objective(nt_xent.Objective):
    """NT-Xent with averaged positives, on a critic's scores (in the paper: `cosine` over 0.05).

    Args:
        critic: scores (N, N).
    """

    def __init__(self, critic: nn.Module) -> None:
        super().__init__(critic)
        self.requirements = Requirements(views="all")

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, `bound` (nats) and its `ceiling`, from anchors a and positives b and `batch.more` (each (N, D))."""
        return super().forward(a, torch.stack([b, *batch.more]).mean(0), batch)
