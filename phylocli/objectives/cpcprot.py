"""CPCProt: contrastive predictive coding of proteins: patches, their context, and one critic between them (Lu 2020).

    loss = mean over sequences, t ≥ first and k of  -log  exp s(c_t, z_{t+k}) / Σⱼ exp s(c_t, z^j_{t+k})

with z from patches of 11 residues, each encoded separately, c_t from a GRU over z_1 … z_t, one critic s for all k (in the
paper: the dot product, without parameters), and j over the sequence itself and unrelated ones of the batch, at the same
position. Lu, Zhang, Ghassemi & Moses 2020, doi:10.1101/2020.09.04.283929: information between a protein's global context and
its later local patches, by InfoNCE. The paper's defaults are four steps ahead and a context as wide as the vector of a
patch. The recurrent unit is discarded after training.
"""

from __future__ import annotations

from torch import nn

from phylocli.objectives.base.predictive_coding import PredictiveCoding, Score


class Objective(PredictiveCoding):
    """Information between context and later patches, on a critic's scores (in the paper: `dot`).

    Args:
        critic: scores (P, M) of contexts (P, F) and patches (M, F).
        features: of a patch and of the context.
        steps: patches ahead.
        segment: residues per patch; a shorter rest at the end of a sequence is ignored.
        first: number of patches before the first context.
    """

    def __init__(self, critic: nn.Module, *, features: int, steps: int = 4, segment: int = 11, first: int = 2) -> None:
        super().__init__(
            features=features, context=features, steps=steps, segment=segment, first=first, everywhere=False, within=False
        )
        self.critic = critic

    def score(self, k: int) -> Score:
        """Return the critic, the same for all k."""
        return self.critic
