"""What is trained: the model, a projection head, and the objective with its critic; and what the objective asks for."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from phylocli import models, recipes
from phylocli.core import console
from phylocli.core.errors import BadInputError, UsageError
from phylocli.critics import build_critic
from phylocli.formats.streams import PathLike
from phylocli.models.model import Model
from phylocli.objectives import Batch, ViewBatch, build_objective, needs_of
from phylocli.objectives.base.memory_bank import Queue
from phylocli.train import checkpoints
from phylocli.train.data.types import PairBatch
from phylocli.train.parallel.grad_cache import Encoded, encode
from phylocli.train.parallel.world import ALONE, local, stream
from phylocli.views import Tokens


class Learner(nn.Module):
    """Model, head and objective as one module.

    A step is `represent`, the objective on what that gives, the optimiser's step, and `after_step`. Everything that lasts
    from step to step (momentum copy, queues, averages, counters) is in the state dict, so a checkpoint of it is whole.

    Args:
        settings: of the run: `encoder`, `head`, `critic`, `objective`, `batch`.
        seed: of the initial weights.

    Attributes:
        needs: what the objective asks for, see `phylocli.objectives.Needs`.
        slow: momentum copies of model and head; None where the objective asks for none.
        tokens: that go through the encoder at once, padding included.
        cache: whether gradients are cached, see `phylocli.train.parallel.grad_cache`.
        world: the processes that share each batch in training.
        sharded: whether each of them has only a part of the encoder's weights, see `phylocli.train.parallel.fsdp`.
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
            alphabet=settings["alphabet"],
        )
        if encoder["start"]:
            pooled = self.model.blend(models.load(encoder["start"]), 1.0)
            console.detail(f"the encoder starts as that of {encoder['start']}{', and so does its pooling' * pooled}")
        if settings["batch"]["recompute"]:
            if not hasattr(self.model.encoder, "recompute"):
                raise UsageError(
                    f"the encoder {encoder['name']!r} cannot compute activations again (batch.recompute)",
                    fix="save memory by --set batch.cache=true, which works with every encoder",
                )
            self.model.encoder.recompute = True
        hidden, dimension = settings["head"]["hidden"], settings["head"]["dimension"]
        critic, objective = dict(settings["critic"]), dict(settings["objective"])
        features = self.model.dimension
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head: nn.Module = nn.Identity()
            if hidden > 0:
                self.head = nn.Sequential(nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, dimension))
            if settings["head"]["norm"]:
                # Averages over residues all point the same way at first; what differs between sequences is what is left
                # when their mean is taken away. The encoder is spared the many steps of learning that.
                self.head = nn.Sequential(nn.BatchNorm1d(features, affine=False, momentum=0.05), self.head)
            projected = dimension if hidden > 0 else features
            self.critic = build_critic(critic.pop("name"), projected, critic)
            self.objective = build_objective(
                objective.pop("name"), self.critic, objective, dimension=projected, features=features
            )
        self.needs = needs_of(self.objective)
        self.slow: nn.ModuleDict | None = None
        if self.needs.momentum is not None:
            copies = {"model": copy.deepcopy(self.model), "head": copy.deepcopy(self.head)}
            self.slow = nn.ModuleDict(copies).requires_grad_(False)
        self.tokens, self.cache = settings["batch"]["tokens"], settings["batch"]["cache"]
        self.precision, self.world, self.sharded, self.seed = torch.float32, ALONE, False, seed

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def embed(self, sequences: list[Tokens], model: Model | None = None) -> Tensor:
        """Return the embeddings of sequences, (N, D) float32, in their order; of the model, or of another one.

        They go through the encoder in groups of similar length, so that little is computed on padding.
        """
        return self._encode(sequences, model or self.model).vectors

    def residues(self, sequences: list[Tokens]) -> npt.NDArray[np.float32]:
        """Return the embeddings of all residues of sequences, (L₁ + L₂ + …, R), one sequence after the other."""
        found = self._encode(sequences, self.model, keep=True)
        assert found.residues is not None and found.mask is not None
        return found.residues[found.mask].float().cpu().numpy()

    def _encode(self, sequences: list[Tokens], model: Model, *, keep: bool = False) -> Encoded:
        return encode(
            model,
            sequences,
            tokens=self.tokens,
            precision=self.precision,
            cache=self.cache,
            keep=keep,
            world=self.world if self.training else ALONE,  # what is measured, each process measures by itself
            sharded=self.sharded,
        )

    def represent(self, pairs: PairBatch) -> tuple[Tensor, Tensor, Batch]:
        """Return what the objective takes: a and b (N, D), and the batch with everything else that it asked for."""
        needs, batch = self.needs, self.codes(pairs)
        if needs.segments:
            batch.segments, batch.present = self._segments(pairs.a, needs.segments)
        if needs.views == "none":
            nothing = torch.empty(len(pairs), 0, device=self.device)
            return nothing, nothing, batch
        others = {"first": [], "pair": [pairs.b], "all": [pairs.b, *pairs.more]}[needs.views]
        together = [] if needs.momentum is not None or needs.residues else others
        first = self._encode(pairs.a + [tokens for view in together for tokens in view], self.model, keep=needs.residues)
        batch.residues, batch.mask = first.residues, first.mask
        views = list(self.head(first.vectors).split(len(pairs)))
        rest = [tokens for view in others for tokens in view]
        if rest and not together:
            if self.slow is None:
                views += self.head(self.embed(rest)).split(len(pairs))
            else:
                with torch.no_grad():
                    views += self.slow["head"](self.embed(rest, cast(Model, self.slow["model"]))).split(len(pairs))
        a, *after = views
        batch.more = after[1:]
        return a, after[0] if after else a, batch

    def _segments(self, sequences: list[Tokens], length: int) -> tuple[Tensor, Tensor]:
        """Return the vectors of consecutive segments, (N, T, F), and which there are, (N, T).

        What is left at a sequence's end is dropped; a sequence shorter than a segment is one.
        """
        counts = [max(1, len(s) // length) for s in sequences]
        cut = [s[t * length : (t + 1) * length] for s, count in zip(sequences, counts, strict=True) for t in range(count)]
        present = (torch.arange(max(counts))[None] < torch.tensor(counts)[:, None]).to(self.device, non_blocking=True)
        vectors = self.embed(cut)
        return vectors.new_zeros(*present.shape, vectors.shape[1]).masked_scatter(present[..., None], vectors), present

    def forward(self, pairs: PairBatch) -> dict[str, Tensor]:
        """Return the objective's named terms, `loss` among them, for N pairs."""
        represented = self.represent(pairs)
        # What an objective draws depends on seed and batch alone, so that all processes draw the same.
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(stream(self.seed, pairs.first))
            return self.objective(*represented)

    @torch.no_grad()
    def after_step(self) -> None:
        """Let the momentum copies follow, and the objective do what it does after a step of the optimiser."""
        if self.slow is not None:
            assert self.needs.momentum is not None
            for name, fast in (("model", self.model), ("head", self.head)):
                for average, now in zip(self.slow[name].parameters(), fast.parameters(), strict=True):
                    local(average).lerp_(local(now), 1 - self.needs.momentum)
                for old, new in zip(self.slow[name].buffers(), fast.buffers(), strict=True):
                    old.copy_(new)
        after_step = getattr(self.objective, "after_step", None)
        if callable(after_step):
            after_step()

    def pass_over(self) -> None:
        """Forget a step that is not done: what waits to enter queues is dropped."""
        for part in self.objective.modules():
            if isinstance(part, Queue):
                part.clear()

    def codes(self, pairs: PairBatch) -> ViewBatch:
        """Return what the objective masks by, on the model's device."""
        family, clan = torch.from_numpy(pairs.family), torch.from_numpy(pairs.clan)
        if pairs.negatives != "clan":
            clan = torch.full_like(clan, -1)
        if pairs.negatives == "pair":
            family = torch.arange(pairs.first, pairs.first + len(pairs))
        return ViewBatch(family.to(self.device, non_blocking=True), clan.to(self.device, non_blocking=True))


def load_learner(folder: PathLike, *, trained: bool = True) -> Learner:
    """Return the learner of a run folder: the model with head, critic and objective, as its last checkpoint left them.

    Args:
        folder: of a run.
        trained: False: as the run began.

    Raises:
        BadInputError: no run there, or no checkpoint that can be read.
    """
    path = Path(folder)
    if not (path / "config.toml").is_file():
        raise BadInputError(f"{path} holds no run", fix="name the folder that was given to 'phylocli train -o'")
    config = recipes.load(path / "config.toml")
    learner = Learner(config.settings, config.seed)
    if trained:
        state = checkpoints.load_latest(path / "checkpoints")
        if state is None:
            raise BadInputError(f"{path} has no checkpoint yet", fix="train for some steps first")
        learner.load_state_dict(state["learner"])
    return learner


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the precision of the encoder's products; `auto` is bfloat16 where the device multiplies it faster."""
    if name != "auto":
        return torch.bfloat16 if name == "bf16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu":
        can = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return torch.bfloat16 if can.get("avx512_bf16") or can.get("amx_bf16") else torch.float32
    return torch.float32
