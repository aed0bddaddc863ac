"""The contrastive task: model, projection head, critic and objective as one module."""

from __future__ import annotations

import contextlib
import copy
import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from phylocli import models
from phylocli.config.train import TrainConfig
from phylocli.core.alphabet import FIRST_RESIDUE
from phylocli.core.errors import UsageError
from phylocli.core.plugins import DECODERS
from phylocli.critics import build_critic
from phylocli.decoders import LETTERS
from phylocli.encoders import pad_batch
from phylocli.encoders.base.activation_checkpointing import checkpointed
from phylocli.models.config import DecoderArchitecture
from phylocli.models.heads import find_head
from phylocli.models.model import Model
from phylocli.objectives import Batch, build_objective, requirements_of
from phylocli.objectives.base.batch import Decoded, Removed
from phylocli.objectives.base.classes import FamilyClassifier
from phylocli.objectives.base.memory_bank import MemoryBank
from phylocli.objectives.base.profile import FamilyProfiles, match_states
from phylocli.objectives.base.requirements import Removal
from phylocli.train.data.residue_labels import LabelledBatch
from phylocli.train.data.teachers import Teacher, TeacherBatch, open_teachers
from phylocli.train.data.types import FamilySource, PairBatch, chunks_by_length, clan_codes
from phylocli.train.distillation import Distillation
from phylocli.train.parallel.execution import Execution
from phylocli.train.parallel.grad_cache import Encoded, Keep, encode
from phylocli.train.parallel.strategy import Trainable
from phylocli.train.parallel.world import ALONE, local, stream
from phylocli.train.random_streams import RandomStream
from phylocli.views import Tokens

logger = logging.getLogger(__name__)


def remaining(length: int, removal: Removal, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Return which residues of a sequence are left, (length,).

    The sequence is cut into spans, of which the first may be shorter; whole spans are removed in random order, and of the
    last one so many residues that the fraction is exact, rounded. At least one residue is left.
    """
    span = (np.arange(length) + rng.integers(0, removal.span)) // removal.span
    order = np.argsort(rng.permutation(span[-1] + 1)[span], kind="stable")
    found = np.ones(length, dtype=bool)
    found[order[: removal.count(length)]] = False
    return found


class ContrastiveTask(Trainable):
    """Model, projection head, critic and objective.

    A training step calls `forward_views`, the objective on its result, the optimiser's step, and `after_step`. All
    persistent state (momentum encoder, memory banks, running averages, counters) is in the state dict.

    Args:
        config: configuration of the run; `config.seed` seeds the initial weights.
        execution: execution settings; None uses those of `config.batch`, a single process and float32.
        teachers: the teachers of the run; None opens those of the configuration.

    Attributes:
        requirements: the inputs that the objective requires.
        head_weights: weight of the loss of each residue head, by name.
        distillation: the losses of distillation; None without teachers.
        momentum_encoder: exponential moving averages of model and head; None if the objective needs none.
        execution: execution settings.
    """

    def __init__(
        self, config: TrainConfig, execution: Execution | None = None, teachers: Sequence[Teacher] | None = None
    ) -> None:
        super().__init__()
        encoder, batch, head, decoder = config.encoder, config.batch, config.head, config.decoder
        self.model = Model.create(
            encoder.name,
            preset=encoder.preset,
            parameters=encoder.parameters,
            pooling=encoder.pooling,
            pooling_parameters=encoder.pooling_parameters,
            seed=config.seed,
            alphabet=config.alphabet,
            heads=config.heads,
            decoder=DecoderArchitecture(decoder.name, decoder.parameters, decoder.y, decoder.reads)
            if decoder.name
            else None,
        )
        self.contrasted = self.model.part(decoder.contrast) if decoder.name else slice(None)
        self.target, self.background = decoder.target, decoder.background
        self.profiles: FamilyProfiles | None = None
        if self.background == "profile" and self.target == "partner" and batch.cross_family_fraction:
            raise UsageError(
                "the profile of a family is not a background for a partner of another family",
                fix="set batch.cross_family_fraction=0, or decoder.background=unigram",
            )
        self.head_weights = config.residues.heads
        if encoder.start:
            pooled = self.model.blend(models.load(encoder.start), 1.0)
            logger.debug(f"initialised the encoder{' and its pooling' * pooled} from {encoder.start}")
        if batch.activation_checkpointing:
            if not hasattr(self.model.encoder, "activation_checkpointing"):
                raise UsageError(
                    f"the encoder {encoder.name!r} does not support batch.activation_checkpointing",
                    fix="save memory with --set batch.grad_cache=true, which works with every encoder",
                )
            self.model.encoder.activation_checkpointing = True
        teachers = open_teachers(config) if teachers is None else teachers
        features = self.model.dimension
        contrasted = len(range(features)[self.contrasted])
        projected = head.dimension if head.hidden > 0 else contrasted
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.head: nn.Module = nn.Identity()
            if head.hidden > 0:
                sizes = [contrasted, *[head.hidden] * head.layers]
                hidden = [part for pair in itertools.pairwise(sizes) for part in (nn.Linear(*pair), nn.GELU())]
                self.head = nn.Sequential(*hidden, nn.Linear(head.hidden, head.dimension))
            if head.norm:
                # Mean-pooled vectors of an untrained encoder all have nearly the same direction. Centring them exposes the
                # differences between sequences, which the encoder would otherwise spend many steps on.
                self.head = nn.Sequential(nn.BatchNorm1d(contrasted, affine=False, momentum=0.05), self.head)
            self.critic = build_critic(config.critic.name, projected, config.critic.parameters)
            self.objective = build_objective(
                config.objective.name,
                self.critic,
                config.objective.parameters,
                dimension=projected,
                features=features,
                letters=LETTERS[config.alphabet],
            )
            self.distillation = Distillation(config.distillation, teachers, self.model) if teachers else None
        self.contrast_weight = config.distillation.contrast if teachers else 1.0
        self.requirements = requirements_of(self.objective)
        if self.requirements.decoder != bool(decoder.name):
            raise UsageError(
                f"the objective {config.objective.name!r} needs a decoder"
                if self.requirements.decoder
                else f"the objective {config.objective.name!r} does not train the decoder {decoder.name!r}",
                fix=f"name a decoder: {', '.join(DECODERS.names())} (--set decoder.name=…)"
                if self.requirements.decoder
                else "use --set objective.name=hybrid, or no decoder",
            )
        if self.requirements.classes and (batch.negatives == "pair" or batch.cross_family_fraction):
            raise UsageError(
                f"the objective {config.objective.name!r} classifies families, so both sequences of a pair must be of one",
                fix="leave out batch.negatives=pair and batch.cross_family_fraction",
            )
        if self.requirements.removal and self.distillation is not None and self.distillation.compares_residues:
            raise UsageError(
                f"the objective {config.objective.name!r} removes residues, which the teacher's cannot be compared with",
                fix="distil vectors only (distillation.residues=0), or use another objective",
            )
        if teachers and self.requirements.views == "none":
            raise UsageError(
                f"the objective {config.objective.name!r} embeds no sequences as a whole, so a teacher has nothing to teach",
                fix="use another objective, such as nt-xent",
            )
        self.momentum_encoder: nn.ModuleDict | None = None
        if self.requirements.momentum is not None:
            copies = {"model": copy.deepcopy(self.model), "head": copy.deepcopy(self.head)}
            self.momentum_encoder = nn.ModuleDict(copies).requires_grad_(False)
        self.execution = execution or Execution(batch.max_tokens, batch.grad_cache)
        self.seed = config.seed

    def models(self) -> list[Model]:
        """Return the model and, if there is one, its momentum encoder."""
        slow = [] if self.momentum_encoder is None else [cast(Model, self.momentum_encoder["model"])]
        return [self.model, *slow]

    def forward(self, pairs: PairBatch) -> dict[str, Tensor]:
        """Return the objective's named terms, including `loss`, for N pairs.

        With labelled sequences or teachers, `loss` is the weighted sum of the objective's loss, `contrastive_loss`, of the
        losses of the residue heads in nats, such as `3di_loss`, and of those of distillation, such as `crd_loss`.
        """
        encoded, a, b, batch = self._encoded_views(pairs)
        # Every process computes the whole loss, so all must use the same random numbers: seed by run and batch.
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(stream(self.seed, pairs.first))
            terms: dict[str, Tensor] = self.objective(a, b, batch)
        if pairs.labelled is None and pairs.taught is None:
            return terms
        total, more = self.contrast_weight * terms["loss"], {"contrastive_loss": terms["loss"].detach()}
        if pairs.labelled is not None:
            heads = {name: find_head(name).loss(*known) for name, known in self.predict_residues(pairs.labelled).items()}
            total = total + sum(self.head_weights[name] * loss for name, loss in heads.items())
            more |= {f"{name}_loss": loss.detach() for name, loss in heads.items()}
        if self.distillation is not None and pairs.taught is not None:
            distilled, parts = self._distil(encoded, pairs.taught, batch)
            total, more = total + distilled, {**more, **parts}
        return {**terms, **more, "loss": total}

    def _distil(self, encoded: Encoded, taught: TeacherBatch, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of distillation, and its terms, of the views that were encoded together."""
        assert self.distillation is not None
        vectors = encoded.of_vectors()[: 2 * len(batch)]
        of_residues = encoded.of_residues() if self.distillation.compares_residues else (None, None)
        codes = batch.twice() if len(vectors) == 2 * len(batch) else batch
        return self.distillation(vectors, *of_residues, taught, codes, self.model)

    def predict_residues(self, labelled: LabelledBatch) -> dict[str, tuple[Tensor, Tensor]]:
        """Return logits, (T, K), and targets, (T,) or (T, K), of each residue head for all T residues of the sequences."""
        encoded = self._encode(labelled.tokens, self.model, keep="residues")
        residues, mask = encoded.of_residues()
        # Places of residues among those with padding: a mask would make the host wait for the device.
        starts = np.arange(len(labelled)) * residues.shape[1]
        places = np.concatenate([start + np.arange(len(x)) for start, x in zip(starts, labelled.tokens, strict=True)])
        at = torch.from_numpy(places).to(self.device, non_blocking=True)
        found = {}
        for name in self.head_weights:
            logits = self.model.predict_residues(name, residues, mask).flatten(0, 1).index_select(0, at)
            targets = torch.from_numpy(np.concatenate(labelled.targets[name]))
            exact = torch.float32 if targets.is_floating_point() else torch.int64
            found[name] = logits, targets.to(exact).to(self.device, non_blocking=True)
        return found

    @torch.no_grad()
    def score_distillation(self, pairs: PairBatch) -> dict[str, float]:
        """Return the terms of distillation, such as `crd_loss`; nothing without teachers."""
        if self.distillation is None or pairs.taught is None:
            return {}
        encoded, _, _, batch = self._encoded_views(pairs)
        return {name: float(value) for name, value in self._distil(encoded, pairs.taught, batch)[1].items()}

    @torch.no_grad()
    def score_heads(self, labelled: LabelledBatch) -> dict[str, float]:
        """Return loss in nats and accuracy of each residue head, under names such as `3di_loss` and `3di_accuracy`."""
        scores: dict[str, float] = {}
        for name, (logits, targets) in self.predict_residues(labelled).items():
            head = find_head(name)
            scores |= {
                f"{name}_loss": float(head.loss(logits, targets)),
                f"{name}_accuracy": float(head.correct(logits, targets)),
            }
        return scores

    def forward_views(self, pairs: PairBatch) -> tuple[Tensor, Tensor, Batch]:
        """Return the inputs of the objective: vectors a and b, (N, D), and a batch with the other data it requires."""
        return self._encoded_views(pairs)[1:]

    def _encoded_views(self, pairs: PairBatch) -> tuple[Encoded, Tensor, Tensor, Batch]:
        """Return the embeddings of the views that are encoded together, the first view first, and the objective's inputs."""
        wanted, batch = self.requirements, self.objective_batch(pairs)
        if wanted.segments:
            batch.segments, batch.present = self._segments(pairs.a, wanted.segments)
        if wanted.views == "none":
            nothing = torch.empty(len(pairs), 0, device=self.device)
            return Encoded(), nothing, nothing, batch
        others, seen = self.further_views(pairs), pairs.a
        if wanted.removal is not None:
            batch.removed, seen = self._remove(pairs, wanted.removal)
        together = [] if wanted.momentum is not None or wanted.residues else others
        sequences = seen + [tokens for view in together for tokens in view]
        compared = self.distillation is not None and self.distillation.compares_residues
        first = self._encode(sequences, self.model, keep="both" if wanted.residues or compared else "vectors")
        if wanted.residues:
            batch.residues, batch.mask = first.residues, first.mask
        vectors = first.of_vectors()
        if wanted.decoder:
            batch.decoded = self._decode(pairs, vectors[: len(pairs)])
        views = list(self.project(vectors).split(len(pairs)))
        rest = [tokens for view in others for tokens in view]
        if rest and not together:
            if self.momentum_encoder is None:
                views += self.project(self.embed(rest)).split(len(pairs))
            else:
                with torch.no_grad():
                    keys = self.embed(rest, cast(Model, self.momentum_encoder["model"]))
                    views += self.momentum_encoder["head"](keys[:, self.contrasted]).split(len(pairs))
        a, *after = views
        batch.more = after[1:]
        return first, a, after[0] if after else a, batch

    def project(self, vectors: Tensor) -> Tensor:
        """Return the vectors that are contrasted: the projection head's for embeddings (N, D), or for their part y."""
        projected: Tensor = self.head(vectors[:, self.contrasted])
        return projected

    def _decode(self, pairs: PairBatch, z: Tensor) -> Decoded:
        """Return the log likelihood of the first views, or of their partners, given latent vectors (N, Z).

        Sequences are decoded in groups of `batch.max_tokens`; with gradient caching, the activations of one group are kept.
        """
        sequences = pairs.a if self.target == "own" else pairs.b
        precision = self.execution.precision

        def group(latents: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
            with torch.autocast(self.device.type, precision, enabled=precision != torch.float32):
                return self.model.log_likelihood(latents, tokens, mask)

        # Every process decodes the whole batch, so all must mask the same inputs.
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(stream(self.seed, pairs.first))
            groups = chunks_by_length([len(s) for s in sequences], self.execution.max_tokens)
            found = []
            for at in groups:
                given = (
                    z[torch.tensor(at).to(self.device, non_blocking=True)],
                    *pad_batch([sequences[i] for i in at], self.device),
                )
                found.append(checkpointed(group, *given, enabled=self.execution.grad_cache))
        places = torch.tensor([i for at in groups for i in at]).argsort().to(self.device, non_blocking=True)
        log_likelihood = torch.cat(found)[places]
        tokens, mask = pad_batch(sequences, self.device)
        x = Decoded(log_likelihood, self._letters(tokens), mask.sum(1))
        if self.profiles is not None:
            assert x.letters is not None
            assert x.lengths is not None
            family = torch.from_numpy(pairs.family).to(self.device, non_blocking=True)
            x.log_background = self.profiles(x.letters, x.lengths, family).to(log_likelihood.dtype)
        return x

    def _letters(self, tokens: Tensor) -> Tensor:
        """Return the letter of each token, 0 … K - 1, or -1 where it is none, or an unknown one."""
        letters = tokens - FIRST_RESIDUE
        return letters.masked_fill((letters < 0) | (letters >= LETTERS[self.model.alphabet]), -1)

    def _remove(self, pairs: PairBatch, removal: Removal) -> tuple[Removed, list[Tokens]]:
        """Return which residues of the first views are removed, and what is left of them."""
        rng = np.random.default_rng([self.seed, RandomStream.REMOVED_RESIDUES, pairs.first])
        kept = [remaining(len(tokens), removal, rng) for tokens in pairs.a]
        tokens, mask = pad_batch(pairs.a, self.device)
        seen, _ = pad_batch([row.astype(np.int64) for row in kept], self.device)
        return Removed(self._letters(tokens), mask, seen > 0), [t[k] for t, k in zip(pairs.a, kept, strict=True)]

    def read_families(self, families: Sequence[FamilySource]) -> None:
        """Make the classes of the objective, if it has any, and the profiles of the families of the corpus, if they are the
        background of decoded sequences.

        Raises:
            UsageError: families without alignments, or nucleotides.
        """
        if self.requirements.classes:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                cast(FamilyClassifier, self.objective).set_classes(torch.from_numpy(clan_codes(families)))
        if self.background != "profile" or not self.requirements.decoder:
            return
        if self.model.alphabet != "protein":
            raise UsageError("profiles are of proteins", fix="set decoder.background=unigram")
        alignments = []
        for family in families:
            members = family.members()
            if members.columns is None:
                raise UsageError(
                    f"{family.label} is not aligned, so it has no profile",
                    fix="align the families first with 'phylocli align', or set decoder.background=unigram",
                )
            alignments.append(match_states(members.tokens, members.columns))
        self.profiles = FamilyProfiles(alignments, [family.label for family in families]).to(self.device)

    def further_views(self, pairs: PairBatch) -> list[list[Tokens]]:
        """Return the views that are embedded in addition to the first."""
        every = {"none": [], "first": [], "pair": [pairs.b], "all": [pairs.b, *pairs.more]}
        return every[self.requirements.views]

    def segments(self, sequences: list[Tokens], length: int) -> list[list[Tokens]]:
        """Return the consecutive segments of `length` residues of each sequence.

        A shorter remainder at the end of a sequence is dropped; a sequence shorter than `length` is a single segment.
        """
        return [[s[k * length : (k + 1) * length] for k in range(max(1, len(s) // length))] for s in sequences]

    def objective_batch(self, pairs: PairBatch) -> Batch:
        """Return family, clan and distance of each pair, (N,) each, on the model's device."""
        family, clan = torch.from_numpy(pairs.family), torch.from_numpy(pairs.clan)
        if pairs.negatives != "clan":
            clan = torch.full_like(clan, -1)
        if pairs.negatives == "pair":
            family = torch.arange(pairs.first, pairs.first + len(pairs))
        distance = torch.from_numpy(pairs.distance.astype(np.float32))
        family, clan, distance = (x.to(self.device, non_blocking=True) for x in (family, clan, distance))
        return Batch(family, clan, distance)

    def embed(self, sequences: list[Tokens], model: Model | None = None) -> Tensor:
        """Return the embeddings of sequences by `model` (default: the task's), (N, D) float32, in input order.

        Sequences are encoded in groups of similar length to reduce padding.
        """
        return self._encode(sequences, model or self.model).of_vectors()

    def embed_residues(self, sequences: list[Tokens]) -> npt.NDArray[np.float32]:
        """Return the residue embeddings of all sequences, concatenated in input order, (L₁ + L₂ + …, R) float32."""
        residues, mask = self._encode(sequences, self.model, keep="residues").of_residues()
        return residues[mask].float().cpu().numpy()

    def _encode(self, sequences: list[Tokens], model: Model, keep: Keep = "vectors") -> Encoded:
        world = self.execution.world if self.training else ALONE  # every process evaluates on its own
        return encode(model, sequences, self.execution, keep=keep, world=world)

    def _segments(self, sequences: list[Tokens], length: int) -> tuple[Tensor, Tensor]:
        """Return the embeddings of consecutive segments, (N, T, F), and the mask of existing segments, (N, T)."""
        cut = self.segments(sequences, length)
        counts = torch.tensor([len(parts) for parts in cut])
        present = (torch.arange(int(counts.max()))[None] < counts[:, None]).to(self.device, non_blocking=True)
        vectors = self.embed([part for parts in cut for part in parts])
        return vectors.new_zeros(*present.shape, vectors.shape[1]).masked_scatter(present[..., None], vectors), present

    @torch.no_grad()
    def after_step(self) -> None:
        """Update the momentum encoder and call the objective's `after_step`; called after each optimiser step."""
        if self.momentum_encoder is not None:
            assert self.requirements.momentum is not None
            for name, fast in (("model", self.model), ("head", self.head)):
                for average, now in zip(self.momentum_encoder[name].parameters(), fast.parameters(), strict=True):
                    local(average).lerp_(local(now), 1 - self.requirements.momentum)
                for old, new in zip(self.momentum_encoder[name].buffers(), fast.buffers(), strict=True):
                    old.copy_(new)
        for part in (self.objective, self.distillation):
            after_step = getattr(part, "after_step", None)
            if callable(after_step):
                after_step()

    def discard_pending(self) -> None:
        """Discard the vectors of a skipped step that are queued for the memory banks."""
        for bank in self._banks():
            bank.discard_pending()

    def changing_buffers(self) -> list[Tensor]:
        """Return the running averages of head, objective and distillation."""
        stored = {id(buffer) for bank in self._banks() for buffer in bank.buffers()}  # updated only by `after_step`
        parts = [part for part in (self.head, self.objective, self.distillation) if part is not None]
        return [b for part in parts for b in part.buffers() if id(b) not in stored]

    def has_unused_parameters(self, pairs: PairBatch, few: int = 8) -> bool:
        """Return whether a step may leave some weights without a gradient, tested on the first `few` pairs.

        The state of the task is unchanged. An objective on segments uses different weights in different batches, so the
        result is then True.
        """
        if self.requirements.segments:
            return True
        undo = self.undo_point()
        with self._alone():
            self(pairs.first_pairs(few))["loss"].backward()
        found = any(p.requires_grad and p.grad is None for p in self.parameters())
        self.zero_grad(set_to_none=True)
        undo()
        return found

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Disable communication with other processes within the block."""
        shared = self.execution
        self.execution = replace(shared, world=ALONE)
        try:
            yield
        finally:
            self.execution = shared

    def _banks(self) -> Iterator[MemoryBank]:
        owners = [part for part in (self.objective, self.distillation) if part is not None]
        return (part for owner in owners for part in owner.modules() if isinstance(part, MemoryBank))
