"""Metrics on held-out pairs: information in nats, retrieval, alignment, uniformity, effective rank."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.formats.streams import PathLike
from phylocli.objectives import Batch
from phylocli.objectives.align_uniform import alignment, uniformity
from phylocli.objectives.base.masking import contrast
from phylocli.objectives.base.memory_bank import MemoryBank
from phylocli.objectives.hybrid import Objective as Hybrid
from phylocli.objectives.infonce import bound as infonce_bound
from phylocli.statistics import effective_rank
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.data.types import PairBatch
from phylocli.train.run_folder import load_task
from phylocli.train.task import ContrastiveTask


def retrieval(x: Tensor, family: Tensor) -> Tensor:
    """Return the fraction of vectors whose nearest neighbour by cosine similarity is in the same family.

    Args:
        x: vectors, (N, D).
        family: family codes, (N,).
    """
    x = F.normalize(x, dim=-1)
    similarity = (x @ x.T).fill_diagonal_(-2)
    return (family[similarity.argmax(1)] == family).double().mean()


def flattened(objective: nn.Module, a: Tensor, b: Tensor, batch: Batch) -> tuple[nn.Module, tuple[Tensor, Tensor, Batch]]:
    """Return a copy of an objective and its inputs with every vector, including queued ones, replaced by the mean.

    Args:
        objective: the objective; it is not changed.
        a, b, batch: the result of `ContrastiveTask.forward_views`.
    """

    def flat(x: Tensor) -> Tensor:
        return x.flatten(0, -2).mean(0).expand_as(x)

    mean = torch.cat([a, b]).mean(0)
    objective = copy.deepcopy(objective).eval()
    for part in objective.modules():
        if isinstance(part, MemoryBank):
            part.vectors.copy_(mean.expand_as(part.vectors))
    residues, segments = (None if x is None else flat(x) for x in (batch.residues, batch.segments))
    decoded = batch.decoded
    if decoded is not None and isinstance(objective, Hybrid):  # equal vectors decode no better than the background
        decoded = replace(decoded, log_likelihood=objective.log_background(decoded))
    more = [mean.expand_as(x) for x in batch.more]
    batch = replace(batch, decoded=decoded, more=more, residues=residues, segments=segments)
    return objective, (mean.expand_as(a), mean.expand_as(b), batch)


@torch.no_grad()
def collapsed(objective: nn.Module, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Return the objective's terms for a collapsed encoder, which maps all sequences to the same vector.

    A model whose loss is not below this has learned nothing. The loss is log K for InfoNCE, and at least the log of the
    number of prototypes for SwAV. The objective's own weights are used unchanged; `collapsed_loss` fits its scalars.

    Args:
        objective: the objective; it is not changed.
        a, b, batch: the result of `ContrastiveTask.forward_views`.
    """
    objective, inputs = flattened(objective, a, b, batch)
    with torch.random.fork_rng(devices=[a.device] if a.device.type == "cuda" else []):
        return objective(*inputs)


def collapsed_loss(folder: PathLike, corpus: Corpus, step: int) -> float:
    """Return the minimum loss of a collapsed encoder on the pairs of a step.

    The minimum is taken over the initial and the final weights of the objective, with its scalars (temperature, bias)
    fitted to equal vectors. For the sigmoid loss this is the loss of a constant prediction.

    Args:
        folder: the run folder.
        corpus: the training data of the run.
        step: the step, counted from 0.
    """
    pairs = corpus.batch(step)
    first, last = (load_task(folder, trained=trained).eval() for trained in (False, True))
    with torch.no_grad():
        for empty, full in zip(first.buffers(), last.buffers(), strict=True):
            empty.copy_(full)  # initial queues are empty: use the final ones
        for task in (first, last):
            task.read_families(corpus.families)
        represented = [(x.objective, x.forward_views(pairs)) for x in (first, last)]
    return min(_fitted(objective, *them) for objective, them in represented)


def _fitted(objective: nn.Module, a: Tensor, b: Tensor, batch: Batch, rounds: int = 400) -> float:
    """Return the loss of equal vectors after fitting the objective's scalars with Adam."""
    objective, inputs = flattened(objective, a, b, batch)
    state = torch.get_rng_state()
    scalars = [p for p in objective.parameters() if p.ndim == 0]
    if scalars:
        optimiser = torch.optim.Adam(scalars, lr=0.1)
        for _ in range(rounds):
            optimiser.zero_grad()
            objective(*inputs)["loss"].backward()
            optimiser.step()
    with torch.no_grad():
        loss = float(objective(*inputs)["loss"])
    torch.set_rng_state(state)
    return loss


@torch.no_grad()
def validate(task: ContrastiveTask, pairs: PairBatch) -> dict[str, float]:
    """Evaluate the task on held-out pairs.

    Args:
        task: the task; set to evaluation mode during the call.
        pairs: held-out pairs.

    Returns:
        `val_loss`: the loss; `val_collapsed`: the loss of a collapsed encoder; `val_bound`: InfoNCE in nats with the run's
        critic and all other pairs as negatives, at most `val_ceiling` = log N; `val_accuracy`: fraction of pairs whose
        partner scores highest among its negatives; and on the embeddings before the head: `val_retrieval`,
        `val_alignment`, `val_uniformity`, `val_rank`. With labelled sequences also loss and accuracy of each residue head,
        such as `val_3di_loss` and `val_3di_accuracy`; with teachers the terms of distillation, such as `val_crd_loss`; with
        a decoder `val_decoded`, the nats by which it shortens the background's description of a sequence,
        `val_decoded_ceiling`, and the perplexity per residue.
    """
    was_training = task.training
    task.eval()
    try:
        represented = task.forward_views(pairs)
        terms = task.objective(*represented)
        embedded = task.embed(pairs.a + pairs.b)
        a, b = task.project(embedded).split(len(pairs))
        codes = task.objective_batch(pairs)
        scores = task.critic(a, b)
        every = Batch.of_pairs(len(pairs), device=scores.device).negatives()
        masked = scores.masked_fill(~(codes.negatives() | ~every), -torch.inf)
        own = torch.arange(len(pairs), device=scores.device)
        first, second = embedded.split(len(pairs))
        among = Batch.of_families(torch.from_numpy(pairs.family).to(scores.device)).twice()
        values = {
            "val_loss": terms["loss"],
            "val_collapsed": collapsed(task.objective, *represented)["loss"],
            "val_bound": infonce_bound(scores, every),
            "val_ceiling": contrast(scores, every)[1].mean(),
            "val_accuracy": (masked.argmax(1) == own).double().mean(),
            "val_retrieval": retrieval(embedded, among.family),
            "val_alignment": alignment(first, second),
            "val_uniformity": uniformity(embedded, among.negatives()),
            "val_rank": effective_rank(embedded.float().cpu().numpy()),
        }
        values |= {
            f"val_{name}": terms[name] for name in ("decoded", "decoded_ceiling", "decoded_perplexity") if name in terms
        }
        scores = {} if pairs.labelled is None else task.score_heads(pairs.labelled)
        scores |= task.score_distillation(pairs)
        return {**{name: float(value) for name, value in values.items()}, **{f"val_{name}": x for name, x in scores.items()}}
    finally:
        task.train(was_training)
