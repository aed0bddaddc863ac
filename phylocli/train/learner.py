"""What is trained: the model, a projection head, and the objective with its critic."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from phylocli.critics import build_critic
from phylocli.encoders import Model, pad_batch
from phylocli.errors import UsageError
from phylocli.objectives import Batch, build_objective
from phylocli.train.data import PairBatch, chunks_by_length
from phylocli.views import Tokens


class Learner(nn.Module):
    """Model, head and objective as one module.

    Args:
        settings: of the run: `encoder`, `head`, `critic`, `objective`, `batch`.
        seed: of the initial weights.
    """

    def __init__(self, settings: dict[str, Any], seed: int) -> None:
        super().__init__()
        encoder = settings["encoder"]
        self.model = Model.create(
            encoder["name"],
            preset=encoder["preset"],
            parameters=encoder["parameters"],
            pooling=encoder["pooling"],
            pooling_parameters=encoder["pooling_parameters"],
            seed=seed,
        )
        hidden, dimension = settings["head"]["hidden"], settings["head"]["dimension"]
        critic, objective = dict(settings["critic"]), dict(settings["objective"])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head: nn.Module = nn.Identity()
            if hidden > 0:
                self.head = nn.Sequential(nn.Linear(self.model.dimension, hidden), nn.GELU(), nn.Linear(hidden, dimension))
            projected = dimension if hidden > 0 else self.model.dimension
            built = build_critic(critic.pop("name"), projected, critic)
            self.objective = build_objective(objective.pop("name"), built, objective)
        self.critic = built
        self.tokens = settings["batch"]["tokens"]
        self.precision = torch.float32

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def embed(self, sequences: list[Tokens]) -> Tensor:
        """Return the embeddings of sequences, (N, D) float32, in their order.

        They go through the encoder in groups of similar length, so that little is computed on padding.
        """
        groups = chunks_by_length([len(s) for s in sequences], self.tokens)
        parts = []
        with torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision != torch.float32):
            for group in groups:
                parts.append(self.model(*pad_batch([sequences[i] for i in group], self.device)))
        place = torch.empty(len(sequences), dtype=torch.int64)
        place[[i for group in groups for i in group]] = torch.arange(len(sequences))
        return torch.cat(parts).float()[place.to(self.device, non_blocking=True)]

    def forward(self, pairs: PairBatch) -> dict[str, Tensor]:
        """Return the objective's named terms, `loss` among them, for N pairs."""
        a, b = self.head(self.embed(pairs.a + pairs.b)).split(len(pairs))
        return self.objective(a, b, self.codes(pairs))

    def codes(self, pairs: PairBatch) -> Batch:
        """Return what the objective masks by, on the model's device."""
        family, clan = torch.from_numpy(pairs.family), torch.from_numpy(pairs.clan)
        if pairs.negatives != "clan":
            clan = torch.full_like(clan, -1)
        if pairs.negatives == "pair":
            family = torch.arange(len(pairs))
        return Batch(family.to(self.device, non_blocking=True), clan.to(self.device, non_blocking=True))


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the precision of the encoder's products; `auto` is bfloat16 where the device multiplies it faster.

    Raises:
        UsageError: no such precision.
    """
    if name not in ("auto", "fp32", "bf16"):
        raise UsageError(f"precision is {name!r}", fix="choose auto, fp32 or bf16")
    if name != "auto":
        return torch.bfloat16 if name == "bf16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu":
        can = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return torch.bfloat16 if can.get("avx512_bf16") or can.get("amx_bf16") else torch.float32
    return torch.float32
