"""The task of training on several modalities: a model and a projection for each, contrasted pair by pair.

    loss = Σ over pairs of modalities (m, n) of  L(aᵐ, bⁿ)

with L any objective on two views, over the rows that have both. With two modalities, InfoNCE in both directions and a
learned temperature this is CLIP (Radford et al. 2021, arXiv 2103.00020); with more it is contrastive multiview coding (Tian,
Krishnan & Isola 2019, arXiv 1906.05849): `full` contrasts all pairs, `core` the first modality with each other one.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli import models
from phylocli.config.train import TrainConfig
from phylocli.core import console
from phylocli.core.errors import UsageError
from phylocli.core.words import counted
from phylocli.critics import build_critic
from phylocli.formats.provenance import versions
from phylocli.modalities import Values
from phylocli.models.model import Model
from phylocli.models.multimodal import Calibration, MultimodalModel, frozen, tower
from phylocli.objectives import Batch, Requirements, build_objective, requirements_of
from phylocli.objectives.align_uniform import uniformity
from phylocli.objectives.base.masking import contrast
from phylocli.objectives.infonce import bound as infonce_bound
from phylocli.statistics import effective_rank
from phylocli.train.modalities.table import ModalityBatch, ModalityCorpus
from phylocli.train.parallel.execution import Execution
from phylocli.train.parallel.grad_cache import encode
from phylocli.train.parallel.strategy import Trainable
from phylocli.train.parallel.world import ALONE, World
from phylocli.train.report.row import Row

logger = logging.getLogger(__name__)

EMBEDDED = 256
"""Values of a locked modality that are embedded at once."""


class MultimodalTask(Trainable):
    """The models of several modalities, and an objective for each pair of them.

    Args:
        config: configuration of the run; `config.seed` seeds the initial weights.
        execution: execution settings.

    Attributes:
        multimodal: the models and projections.
        pairs: the pairs of modalities that are contrasted.
        objectives: of each pair, by their names joined by `~`, each with its own critic.

    Raises:
        UsageError: an objective that needs more than two vectors, or settings that the modalities do not have.
    """

    def __init__(self, config: TrainConfig, execution: Execution | None = None) -> None:
        super().__init__()
        names = config.modalities
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            towers = {name: _tower(config, name, config.seed + k) for k, name in enumerate(names)}
            hidden = {name: config.tower(name).hidden for name in names}
            self.multimodal = MultimodalModel(towers, config.head.dimension, hidden)
            self.pairs = list(itertools.combinations(names, 2))
            if config.multiview.pairs == "core":
                self.pairs = self.pairs[: len(names) - 1]
            self.objectives = nn.ModuleDict()
            for pair in self.pairs:
                critic = build_critic(config.critic.name, config.head.dimension, config.critic.parameters)
                self.objectives["~".join(pair)] = build_objective(
                    config.objective.name, critic, config.objective.parameters, dimension=config.head.dimension
                )
        wanted = requirements_of(next(iter(self.objectives.values())))
        if wanted != Requirements(negatives=wanted.negatives):
            raise UsageError(
                f"the objective {config.objective.name!r} cannot contrast modalities",
                why="it needs more than two vectors of a pair",
                fix="use one on two vectors, such as infonce, nt-xent, siglip or dcl",
            )
        self.locked = {name for name in names if config.tower(name).locked}
        self.execution = execution or Execution(config.batch.max_tokens, config.batch.grad_cache)
        self.seed = config.seed

    @property
    def model(self) -> Model:  # type: ignore[override]
        """The model of the first modality."""
        return self.multimodal.core

    def models(self) -> list[Model]:
        """Return the models of the modalities."""
        return [cast(Model, model) for model in self.multimodal.towers.values()]

    def train(self, mode: bool = True) -> MultimodalTask:
        """Set the mode of all parts but the locked ones."""
        super().train(mode)
        for name in self.locked:
            self.multimodal.towers[name].eval()
        return self

    def forward(self, batch: ModalityBatch) -> dict[str, Tensor]:
        """Return `loss`, the sum over pairs of modalities, and the loss of each pair, such as `sequence~text`."""
        terms: dict[str, Tensor] = {}
        total: Tensor | None = None
        for name, a, b, codes in self.views(batch):
            loss: Tensor = self.objectives[name](a, b, codes)["loss"]
            total = loss if total is None else total + loss
            terms[name] = loss.detach()
        if total is None:  # no row has both modalities of a pair
            total = torch.stack([p.sum() * 0 for p in self.multimodal.projections.parameters()]).sum()
        return {"loss": total, **(terms if len(self.pairs) > 1 else {})}

    def views(self, batch: ModalityBatch) -> list[tuple[str, Tensor, Tensor, Batch]]:
        """Return for each pair of modalities its name, vectors a and b (n, E), of the rows that have both, and their batch.

        Pairs that fewer than two rows have are left out.
        """
        vectors = {name: self.embed(name, values) for name, values in batch.values.items() if values}
        found = []
        for first, second in self.pairs:
            rows, at, other = np.intersect1d(batch.rows[first], batch.rows[second], return_indices=True)
            if len(rows) < 2:
                continue
            a, b = vectors[first][self._on_device(at)], vectors[second][self._on_device(other)]
            found.append((f"{first}~{second}", a, b, self._batch(batch, rows, (first, second))))
        return found

    def embed(self, modality: str, values: Sequence[Values]) -> Tensor:
        """Return joint vectors, (n, E), not normalised, of parsed values, or of the vectors of a locked modality."""
        if modality in self.locked:
            pooled = torch.from_numpy(np.stack(values)).to(self.device)
        else:
            pooled = self._pooled(modality, values, self.execution.world if self.training else ALONE)
        return self.multimodal.project(modality, pooled)

    def _pooled(self, modality: str, values: Sequence[Values], world: World) -> Tensor:
        """Return the pooled vectors of values, (n, D); the processes share the work if each gets a value."""
        shared = world if len(values) >= world.size else ALONE
        return encode(self.multimodal.tower(modality), values, self.execution, world=shared).of_vectors()

    def vectors_of(self, modality: str, values: Sequence[Values | None]) -> list[Values | None]:
        """Return the vector (D,) of each value of a locked modality, whole; None where it is missing.

        Collective: the processes of the run share the work.
        """
        model, world = self.multimodal.tower(modality), self.execution.world
        found: list[Values | None] = [None] * len(values)
        known: dict[bytes, list[int]] = {}
        for row, value in enumerate(values):
            if value is not None:
                known.setdefault(value.tobytes(), []).append(row)
        groups = sorted(known.values(), key=lambda rows: len(cast(Values, values[rows[0]])))
        model.eval()
        with torch.no_grad(), console.progress_task(f"embedding {modality}", len(groups), "values") as bar:
            for start in range(0, len(groups), EMBEDDED):
                part = groups[start : start + EMBEDDED]
                vectors = self._pooled(modality, [cast(Values, values[rows[0]]) for rows in part], world)
                same = world.from_main(vectors.float().cpu())  # equal to the last bit in all processes
                for rows, vector in zip(part, same.numpy(), strict=True):
                    for row in rows:
                        found[row] = vector
                bar.advance(len(part))
        return found

    def can_validate(self, batch: ModalityBatch) -> bool:
        """Return whether two rows have the first modality, and two rows have both of a pair that is contrasted."""
        both = [np.intersect1d(batch.rows[a], batch.rows[b]) for a, b in self.pairs]
        return min(len(batch.rows[self.multimodal.modalities[0]]), max(map(len, both))) >= 2

    @torch.no_grad()
    def validate(self, batch: ModalityBatch) -> dict[str, float]:
        """Evaluate on held-out rows; see `can_validate`.

        Returns:
            `val_loss`; and, averaged over the pairs of modalities and both directions: `val_accuracy`, the fraction of rows
            whose partner scores highest among its negatives; `val_bound`, InfoNCE in nats with all other rows as negatives,
            at most `val_ceiling`. For each pair its accuracy, such as `val_sequence~text`. Of the first modality's joint
            vectors: `val_retrieval`, `val_uniformity` and `val_rank`.
        """
        was_training = self.training
        self.eval()
        try:
            values: dict[str, list[float]] = {"val_accuracy": [], "val_bound": [], "val_ceiling": []}
            each: dict[str, float] = {}
            losses = 0.0
            for name, a, b, codes in self.views(batch):
                objective = self.objectives[name]
                losses += float(objective(a, b, codes)["loss"])
                scores = cast(nn.Module, objective.critic)(a, b)
                every = Batch.of_pairs(len(codes), device=scores.device).negatives()
                masked = scores.masked_fill(every & ~codes.negatives(), -torch.inf)
                own = torch.arange(len(codes), device=scores.device)
                right = [(m.argmax(1) == own).double().mean() for m in (masked, masked.T)]
                each[f"val_{name}"] = float(sum(right)) / 2
                values["val_accuracy"].append(each[f"val_{name}"])
                values["val_bound"].append(float(infonce_bound(scores, every)))
                values["val_ceiling"].append(float(contrast(scores, every)[1].mean()))
            core = self.multimodal.modalities[0]
            rows = batch.rows[core]
            vectors = F.normalize(self.embed(core, batch.values[core]), dim=-1).float()
            codes = self._batch(batch, rows, (core,))
            similarity = (vectors @ vectors.T).fill_diagonal_(-2)
            same = codes.family[similarity.argmax(1)] == codes.family
            return {
                "val_loss": losses,
                **{name: float(np.mean(found)) for name, found in values.items()},
                **(each if len(self.pairs) > 1 else {}),
                "val_retrieval": float(same.double().mean()),
                "val_uniformity": float(uniformity(vectors, codes.negatives())),
                "val_rank": effective_rank(vectors.cpu().numpy()),
            }
        finally:
            self.train(was_training)

    def _batch(self, batch: ModalityBatch, rows: npt.NDArray[np.int64], names: Sequence[str]) -> Batch:
        """Return some rows for objectives; rows with an equal value of one of the modalities are not negatives."""
        if batch.negatives == "pair":
            return Batch.of_pairs(len(rows), device=self.device)
        family = self._on_device(batch.family[rows])
        clan = self._on_device(batch.clan[rows]) if batch.negatives == "clan" else torch.full_like(family, -1)
        found = Batch.of_families(family, clan)
        found.equal = torch.zeros(len(rows), len(rows), dtype=torch.bool, device=self.device)
        for name in names:
            codes = self._on_device(batch.codes[name][rows])
            found.equal |= codes[:, None] == codes[None]
        return found

    def _on_device(self, x: npt.NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(x).to(self.device, non_blocking=True)


def _tower(config: TrainConfig, name: str, seed: int) -> Model:
    given = config.tower(name)
    if given.model:
        if given.encoder or given.preset or given.parameters or given.pooling or given.pooling_parameters:
            raise UsageError(
                f"modality.{name} names a model and parts of another", fix="give modality.NAME.model, or encoder and pooling"
            )
        model, fresh = models.load(given.model), tower(name)
        if (model.alphabet, model.config.modality) != (fresh.alphabet, fresh.config.modality):
            raise UsageError(f"the model {given.model} does not read {name}", fix="name a model of this modality")
        model.requires_grad_(True)
    else:
        model = tower(
            name,
            encoder=given.encoder,
            preset=given.preset,
            pooling=given.pooling or ("mean" if given.locked else ""),
            parameters=given.parameters,
            pooling_parameters=given.pooling_parameters,
            seed=seed,
        )
        if given.locked and (
            getattr(model.encoder, "has_random_weights", True) or any(True for _ in model.pooling.parameters())
        ):
            raise UsageError(
                f"modality.{name}.locked needs a trained model",
                why="an encoder or a pooling with random weights would stay as it is",
                fix=f"name one with modality.{name}.model, or a checkpoint with mean pooling, or leave out locked",
            )
    return frozen(model) if given.locked else model


def log_summary(task: MultimodalTask, corpus: ModalityCorpus, held_out: ModalityBatch | None) -> None:
    """Log what is trained on what."""
    for name in task.multimodal.modalities:
        model = task.multimodal.tower(name)
        have = sum(corpus.items.parsed[name][row] is not None for row in corpus.training.tolist())
        state = "locked" if name in task.locked else f"{model.trained_size:,} weights"
        logger.info(f"{name}: {counted(have, 'value')}, {model.config.encoder} ({state})")
    families = len(np.unique(corpus.family[corpus.training]))
    shown = f"validation on {counted(len(corpus.held_out), 'row')}" if held_out is not None else "no validation"
    processes = f", {task.execution.world.size} processes" if task.execution.world.size > 1 else ""
    logger.info(
        f"training on {counted(len(corpus.training), 'row')} of {families} families, {corpus.pairs} per step{processes}; "
        f"{shown}"
    )


SMALLEST, LARGEST, DRAWS = 2, 256, 4000
"""Numbers of classes between which calibration draws, and how often it does."""
GROUPS = 4
"""Fewest unrelated groups of held-out rows for a calibration."""


def calibrated(task: MultimodalTask, corpus: ModalityCorpus) -> dict[str, Calibration]:
    """Return the calibration of classes in each other modality than the core's, fitted on held-out rows.

    Each draw is a held-out item and the values of K random rows as classes, with K log-uniform between 2 and 256; in half of
    the draws the item's own value is among them, in the others none of them is right. Values of the item's homologs, or
    equal to its own, are never wrong answers. Without modalities of fewer than eight held-out rows, or of fewer than four
    unrelated groups of them.
    """
    core, *others = task.multimodal.modalities
    found: dict[str, Calibration] = {}
    batch = corpus.validation(2048)
    if batch is None:
        return found
    task.eval()
    for name in others:
        rows, at, other = np.intersect1d(batch.rows[core], batch.rows[name], return_indices=True)
        if len(rows) < 8:
            continue
        with torch.no_grad():
            a = F.normalize(task.embed(core, [batch.values[core][i] for i in at]), dim=-1)
            b = F.normalize(task.embed(name, [batch.values[name][i] for i in other]), dim=-1)
            cosines = (a @ b.T).double().cpu().numpy()
        wrong = task._batch(batch, rows, (core, name)).negatives().cpu().numpy()
        calibration = fit_calibration(cosines, wrong, corpus.seed)
        if calibration is None:
            logger.warning(f"classes in {name} have no calibrated probabilities: the held-out rows are of too few clans")
        else:
            found[name] = calibration
    return found


def fit_calibration(cosines: npt.NDArray[np.float64], wrong: npt.NDArray[np.bool_], seed: int) -> Calibration | None:
    """Fit a calibration by maximum likelihood; None where the items are of fewer than four unrelated groups.

    Args:
        cosines: of items with values, right pairs on the diagonal, (N, N).
        wrong: which values are wrong for an item, (N, N).
        seed: of the draws, see `calibrated`.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    rng = np.random.default_rng(seed)
    n = len(cosines)
    if not n or connected_components(csr_array(~wrong), directed=False)[0] < GROUPS:
        return None
    width = min(LARGEST, n)
    scores, masks, sizes = np.zeros((DRAWS, width)), np.zeros((DRAWS, width), dtype=bool), np.zeros(DRAWS)
    right = np.full(DRAWS, width)  # the place of the right class; the last is none of them
    for draw in range(DRAWS):
        item = int(rng.integers(n))
        among = np.flatnonzero(wrong[item])
        size = min(int(np.exp(rng.uniform(np.log(SMALLEST), np.log(width + 1)))), len(among) + 1)
        has = bool(rng.random() < 0.5)
        chosen = rng.permutation(among)[: size - has]
        columns = np.concatenate([[item], chosen]) if has else chosen
        scores[draw, : len(columns)], masks[draw, : len(columns)] = cosines[item, columns], True
        sizes[draw] = np.log(len(columns))
        right[draw] = 0 if has else width
    x, mask, logs, target = (torch.from_numpy(v) for v in (scores, masks, sizes, right))
    log_scale = torch.tensor(np.log(20.0), requires_grad=True)
    none = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    growth = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_scale, none, growth], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        logits = torch.cat([(log_scale.exp() * x).masked_fill(~mask, -torch.inf), (none + growth * logs)[:, None]], dim=1)
        nats = F.cross_entropy(logits, target)
        nats.backward()
        return nats

    optimiser.step(closure)
    return Calibration(float(log_scale.detach().exp()), float(none.detach()), float(growth.detach()))


def model_card(config: TrainConfig, corpus: ModalityCorpus, task: MultimodalTask, rows: list[Row]) -> str:
    """Return the model card in Markdown."""
    checked = [row for row in rows if row.get("val_accuracy") is not None][-1:]
    figures = "".join(
        f"On held-out rows after step {row['step']}: partner found among its negatives {row['val_accuracy']:.3f}, InfoNCE "
        f"{row['val_bound']:.2f} nats of at most {row['val_ceiling']:.2f}."
        for row in checked
    )
    lines = []
    for name in task.multimodal.modalities:
        model, given = task.multimodal.tower(name), config.tower(name)
        start = f", from `{given.model}`" if given.model else ""
        lines.append(
            f"- `{name}`: {model.config.encoder}, {model.size:,} parameters, {model.dimension} features"
            f"{start}{', locked' if given.locked else ''}."
        )
    inputs = ", ".join(f"`{source.rsplit('/', 1)[-1]}`" for source in config.inputs)
    listed = "\n".join(lines)
    return f"""# A phylocli model of {len(lines)} modalities

{listed}
- Joint space: {config.head.dimension} features.
- Recipe: `{config.recipe}` ({config.idea or "own"}), {config.steps} steps of {corpus.pairs} rows, seed {config.seed}.
- Data: {len(corpus.training):,} rows of {inputs}.
- {figures or "No rows were held out."}
- Made by phylocli {versions()["phylocli"]}. Fingerprint of the first model: `{task.multimodal.core.fingerprint}`
"""
