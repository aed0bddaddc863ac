"""Similarity distillation: each sequence has the same neighbours for the student as for the teacher (Passalis & Tefas 2018).

    p_ij = softmax over j ≠ i of cos(bᵢ, bⱼ) / τ_b,   q_ij = softmax over j ≠ i of cos(aᵢ, aⱼ) / τ_a
    loss = mean over i of KL(pᵢ ‖ qᵢ)

with the student's vectors a and the teacher's b of one batch. Row-wise divergence of similarities: Passalis & Tefas 2018,
arXiv 1803.10837; with temperatures: Koohpayegani, Tejankar & Pirsiavash 2020, arXiv 2010.14713. It needs no map, since
similarities are compared and not vectors, and has no negatives: homologs are to be as similar as the teacher says. The
critic is not used.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.requirements import Requirements

MAPS = "none"


class Objective(nn.Module):
    """Kullback–Leibler divergence of the similarities within the batch, in nats.

    Args:
        critic: not used.
        temperature: τ_a, of the student.
        teacher_temperature: τ_b.
    """

    def __init__(self, critic: nn.Module, *, temperature: float = 0.1, teacher_temperature: float = 0.1) -> None:
        super().__init__()
        if temperature <= 0 or teacher_temperature <= 0:
            raise UsageError("similarity distillation needs temperatures above 0")
        self.temperature, self.teacher_temperature = temperature, teacher_temperature
        self.requirements = Requirements(negatives=False)

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, from a (N, D) and b (N, E)."""
        student, teacher = _log_neighbours(a, self.temperature), _log_neighbours(b, self.teacher_temperature)
        return {"loss": F.kl_div(student, teacher, reduction="sum", log_target=True) / len(a)}


def _log_neighbours(x: Tensor, temperature: float) -> Tensor:
    """Return the log softmax of the similarities of each of N vectors with the N - 1 others, (N, N - 1)."""
    n = len(x)
    x = F.normalize(x, dim=1)
    # Between two elements of the diagonal lie n others; a mask would make the host wait for the device.
    others = (x @ x.T).flatten()[1:].view(n - 1, n + 1)[:, :-1].reshape(n, n - 1)
    return (others / temperature).log_softmax(1)
