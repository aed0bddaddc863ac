"""Base of CPC and CPCProt: predicting later segments of a sequence from earlier ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.objectives.base.batch import Batch, segments_of
from phylocli.objectives.base.masking import logsumexp
from phylocli.objectives.base.requirements import Requirements

Score = Callable[[Tensor, Tensor], Tensor]


class PredictiveCoding(nn.Module):
    """Contrasts a segment z_{t+k} with other segments, given the context c_t of a GRU over z_1 … z_t.

    A subclass defines `score(k)`: contexts (P, C) and segments (M, F) → scores (P, M).

    Args:
        features: of a segment.
        context: features of the context.
        steps: k = 1 … steps segments ahead.
        segment: residues per segment.
        first: number of segments before the first context.
        everywhere: negatives are all segments of unrelated sequences; False: only those at the same position t + k.
        within: segments at other positions of the same sequence are negatives, too.
    """

    def __init__(
        self, *, features: int, context: int, steps: int, segment: int, first: int, everywhere: bool, within: bool
    ) -> None:
        super().__init__()
        if min(context, steps, segment, first) < 1:
            raise UsageError("context, steps, segment and the first context must be at least 1")
        self.reader = nn.GRU(features, context, batch_first=True)
        self.steps, self.first, self.everywhere, self.within = steps, first, everywhere, within
        self.requirements = Requirements(views="none", segments=segment, negatives=not within)

    def score(self, k: int) -> Score:
        """Return the scores of segments k steps ahead of their contexts."""
        raise NotImplementedError

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, `bound` (nats, averaged over all steps ahead) and its `ceiling`, from `batch.segments` (N, T, F).

        If no sequence of the batch has enough segments, all three are 0.
        """
        segments, present = segments_of(batch)
        # Segments fill each row from the left and the GRU reads from the left, so padding has no influence.
        context = self.reader(segments)[0]
        free = batch.negatives_among(batch.family, batch.clan)
        lost, ceilings, counts = [segments.sum() * 0], [segments.new_zeros(())], [segments.new_zeros(())]
        for k in range(1, self.steps + 1):
            start = self.first + k - 1  # the first segment that is predicted
            if start >= segments.shape[1]:
                break
            scores = self.score(k)(context[:, self.first - 1 : -k].flatten(0, 1), segments.flatten(0, 1))
            scores = scores.view(len(segments), -1, *present.shape)  # (N, contexts, N, T)
            true = scores.diagonal(dim1=0, dim2=2).diagonal(offset=start, dim1=0, dim2=1)  # (N, contexts)
            candidates = self._candidates(free, present, start)
            log_probability = true - logsumexp(scores.flatten(2), candidates.flatten(2), dim=2)
            valid = present[:, start:]
            lost.append(-log_probability.masked_fill(~valid, 0).sum())
            ceilings.append(candidates.sum((2, 3)).clamp(min=1).to(scores.dtype).log().masked_fill(~valid, 0).sum())
            counts.append(valid.sum().to(scores.dtype))
        number = torch.stack(counts).sum().clamp(min=1)
        loss, ceiling = torch.stack(lost).sum() / number, torch.stack(ceilings).sum() / number
        return {"loss": loss, "bound": (ceiling - loss).detach(), "ceiling": ceiling}

    def _candidates(self, free: Tensor, present: Tensor, start: int) -> Tensor:
        """Return for each context the candidate segments, including the true one, (N, contexts, N, T) bool."""
        n, length = present.shape
        place = torch.arange(length, device=present.device)
        at = (place[None] == place[start:, None])[None, :, None]  # (1, contexts, 1, T): the predicted position
        itself = torch.eye(n, dtype=torch.bool, device=present.device)[:, None, :, None]
        others = free[:, None, :, None] & (at | self.everywhere)
        return present & (others | itself & (at | self.within))
