"""Deep InfoMax: information between a sequence's vector and its residues, with a prior on the vector (Hjelm 2019).

    maximise  α · I(E(x); x) + β · mean over residues l of I(E(x); C_l(x)) - γ · D(prior, E(x))

with C_l(x) the residue vectors and E(x) the sequence vector. Both informations are estimated with a critic by
Jensen–Shannon, Donsker–Varadhan or InfoNCE. The last term is a game between the encoder and a discriminator that separates
σ(E(x)) from the uniform prior:

    D = E_prior[ log d(u) ] + E_x[ log(1 - d(σ(E(x)))) ],   maximised by d, minimised by the encoder

Hjelm et al. 2019, arXiv 1808.06670, equations 2 to 8; their DIM(G) has α, β, γ = 1, 0, 1, DIM(L) 0, 1, 0.1. Negatives are
the residues of unrelated sequences of the batch. For I(E(x); x) the authors feed the whole feature map to the critic;
because proteins differ in length, it is replaced by the mean of a perceptron over the residues (as in deep sets; Zaheer et
al. 2017, arXiv 1703.06114).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from phylocli.core.errors import UsageError
from phylocli.objectives.base.batch import Batch, residues_of
from phylocli.objectives.base.masking import logsumexp
from phylocli.objectives.base.requirements import Requirements

ESTIMATORS = ("jsd", "infonce", "dv")


def _residue_weights(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the weight of each residue within its sequence, (N, L); rows sum to 1."""
    there = mask.to(dtype)
    return there / there.sum(1, keepdim=True).clamp(min=1)


def information(scores: Tensor, mask: Tensor, free: Tensor, estimator: str) -> Tensor:
    """Return an estimate of the information between vectors and residues, a scalar to be maximised.

    Args:
        scores: of vector i and residue l of sequence j, (N, N, L).
        mask: residues that exist (not padding), (N, L).
        free: pairs of sequences that may be contrasted, (N, N).
        estimator: `jsd`: E[-softplus(-s)] - E₋[softplus(s)]; `dv`: E[s] - log E₋[exp s]; `infonce`: the mean log probability
            of a residue among itself and the negatives, at most 0. Residues within a sequence and sequences have equal
            weights.
    """
    weight = _residue_weights(mask, scores.dtype)
    own = scores.diagonal(dim1=0, dim2=1).T  # (N, L)
    pairs = free.sum().clamp(min=1)

    def positive(values: Tensor) -> Tensor:
        return (values * weight).sum(1).mean()

    if estimator == "jsd":
        against = (F.softplus(scores) * weight).sum(2)
        return positive(-F.softplus(-own)) - against.masked_fill(~free, 0).sum() / pairs
    allowed = free[:, :, None] & mask
    if estimator == "dv":
        weighted = scores + weight.clamp(min=torch.finfo(scores.dtype).tiny).log() - pairs.to(scores.dtype).log()
        return positive(own) - torch.where(allowed.any(), logsumexp(weighted, allowed), 0)
    against = logsumexp(scores.flatten(1), allowed.flatten(1), dim=1)[:, None]
    return positive(own - torch.logaddexp(own, against))


class Objective(nn.Module):
    """Deep InfoMax on a critic's scores (in the paper: encode and dot, which is `separable`).

    Args:
        critic: scores (N, M) of sequences' vectors (N, D) and residues' vectors (M, D).
        dimension: features D of a sequence's vector.
        features: of a residue's vector.
        glob: α.
        local: β.
        prior: γ.
        estimator: `jsd`, `infonce` or `dv`.
        hidden: features of the discriminator and of the perceptron that represents the whole sequence.

    Raises:
        UsageError: no such estimator, or vectors and residues of different size.
    """

    def __init__(
        self,
        critic: nn.Module,
        *,
        dimension: int,
        features: int,
        glob: float = 0.5,
        local: float = 1.0,
        prior: float = 0.1,
        estimator: str = "jsd",
        hidden: int = 128,
    ) -> None:
        super().__init__()
        if estimator not in ESTIMATORS:
            raise UsageError(f"Deep InfoMax has no estimator {estimator!r}", fix=f"choose one of {', '.join(ESTIMATORS)}")
        if min(glob, local, prior) < 0 or glob + local == 0:
            raise UsageError("Deep InfoMax needs weights of at least 0, and a global or local one above 0")
        self.critic = critic
        self.weights = {"global": glob, "local": local, "prior": prior}
        self.estimator = estimator
        self.locals = nn.Identity() if features == dimension else nn.Linear(features, dimension)
        if glob:
            self.whole = nn.Sequential(nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, dimension))
        if prior:
            self.discriminator = nn.Sequential(
                nn.Linear(dimension, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
            )
        self.requirements = Requirements(views="first", residues=True)

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss` and the terms `global`, `local` (information) and `prior` (D), from a (N, D) and residues (N, L, F).

        The discriminator is trained by the same backward pass: its own loss contributes the value 0 to `loss`.
        """
        residues, mask = residues_of(batch)
        free = batch.negatives_among(batch.family, batch.clan)
        terms: dict[str, Tensor] = {}
        loss = a.new_zeros(())
        if self.weights["global"]:
            whole = torch.einsum("nld,nl->nd", self.whole(residues), _residue_weights(mask, residues.dtype))
            scores = self.critic(a, whole)[:, :, None]
            terms["global"] = information(scores, torch.ones_like(mask[:, :1]), free, self.estimator)
            loss = loss - self.weights["global"] * terms["global"]
        if self.weights["local"]:
            scores = self.critic(a, self.locals(residues).flatten(0, 1)).view(len(a), *mask.shape)
            terms["local"] = information(scores, mask, free, self.estimator)
            loss = loss - self.weights["local"] * terms["local"]
        if self.weights["prior"]:
            terms["prior"], learned = self._game(a)
            loss = loss + self.weights["prior"] * terms["prior"] + learned - learned.detach()
        return {"loss": loss, **{name: value.detach() for name, value in terms.items()}}

    def _game(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Return D with gradients for the encoder only, and -D with gradients for the discriminator only."""
        placed = a.sigmoid()
        drawn = torch.rand_like(placed)

        def value(real: Tensor, made: Tensor) -> Tensor:  # log σ(x) = -softplus(-x), log(1 - σ(x)) = -softplus(x)
            return -F.softplus(-real).mean() - F.softplus(made).mean()

        still = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        for_encoder = value(
            functional_call(self.discriminator, still, (drawn,)), functional_call(self.discriminator, still, (placed,))
        )
        learned = -value(self.discriminator(drawn), self.discriminator(placed.detach()))
        return for_encoder, learned
