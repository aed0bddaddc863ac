"""Training, from inputs to a model folder.

A run folder contains config.toml (every setting), metrics.parquet (one row per step), checkpoints/, provenance.json and,
when the run is complete, model/. Batches are functions of the seed and the step, so a stopped run resumes exactly. This
module sets up and completes a run; the training loop is in `phylocli.train.loop`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch

from phylocli.config.assignments import nested
from phylocli.config.base import Config
from phylocli.config.train import TrainConfig
from phylocli.core.errors import UsageError
from phylocli.core.memory import freed_memory_kept
from phylocli.core.threads import limit_threads
from phylocli.core.words import counted
from phylocli.formats.provenance import provenance
from phylocli.formats.streams import PathLike, locks, write_text
from phylocli.models.device import choose_device
from phylocli.train import checkpoints, divergence
from phylocli.train.checks import check_config
from phylocli.train.compilation import compile_encoder
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.data.compiled import Cache
from phylocli.train.data.loading import load_corpus
from phylocli.train.data.teachers import open_teachers
from phylocli.train.data.types import BatchSource
from phylocli.train.divergence import DivergedError
from phylocli.train.finalize import finalization_steps
from phylocli.train.full_batch import graphs, latent_diffusion
from phylocli.train.loop import TrainingLoop, Validation
from phylocli.train.modalities import task as multimodal
from phylocli.train.modalities.table import load_modalities
from phylocli.train.modalities.task import MultimodalTask
from phylocli.train.optimiser import Schedule
from phylocli.train.parallel.execution import Execution, choose_precision
from phylocli.train.parallel.strategy import Strategy
from phylocli.train.parallel.world import ElsewhereError, World, device_name, joined
from phylocli.train.randomness import own_random_state
from phylocli.train.report import flops
from phylocli.train.report.metrics import MetricsLog
from phylocli.train.report.row import Row
from phylocli.train.report.step_log import StepLog
from phylocli.train.report.throughput import Meter
from phylocli.train.run_folder import (
    CHECKPOINTS,
    CONFIG,
    METRICS,
    MODEL,
    PROVENANCE,
    SPLIT,
    model_card,
    open_run,
    save_split,
    write_config,
)
from phylocli.train.saved import Saved
from phylocli.train.signals import Stopped, stop_signals
from phylocli.train.state import TrainState
from phylocli.train.task import ContrastiveTask
from phylocli.train.validation import validate

logger = logging.getLogger(__name__)

__all__ = ["DivergedError", "Stopped", "train_model"]


def train_model(
    inputs: Sequence[PathLike],
    output: PathLike,
    config: TrainConfig | None = None,
    *,
    resume: bool = False,
    cache: Cache = True,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Path:
    """Train an encoder on homolog pairs.

    Args:
        inputs: family records with trees (new pairs are sampled at every step), or pairs tables. By default, those of the
            resumed run, or of the run whose config.toml is the recipe.
        output: the run folder.
        config: the configuration; None uses the recipe `simclr`. On a CPU, the same inputs, configuration and number of
            threads give the same model.
        resume: continue from the last checkpoint of `output`, or start if there is none.
        cache: the folder in which compiled families are kept for later runs; True uses the default cache
            (`$PHYLOCLI_CACHE`), False compiles them for this run only.
        settings: settings that override the configuration, by dotted names: `{"critic.temperature": 0.05}`.
        options: fields of `TrainConfig` that override the configuration, such as `recipe="moco"`, `steps=1000`, `seed=1`.

    Returns:
        The model folder, `output/model`.

    Raises:
        UsageError: unknown recipe, setting or device; the run folder is not empty; different settings when resuming; no run
            to resume.
        InUseError: another process trains in the run folder.
        BadInputError: the inputs contain no usable family.
        DivergedError: the loss became infinite or NaN, or the encoder collapsed (unless `on_divergence` says otherwise).
        Stopped: interrupted; a checkpoint is saved.

    Examples:
        >>> settings = {"encoder.preset": "tiny", "batch.pairs": 8, "view.name": "crop"}
        >>> folder = phylocli.train_model(["examples/families.sto"], "run", steps=1, settings=settings)
        >>> phylocli.load_model("run/model").embed(["MKTAYIAKQR"]).numpy().shape
        (1, 64)
    """
    folder = Path(output)
    options = {name: value for name, value in options.items() if value is not None}
    given = TrainConfig.of(config, Config.merge(options, nested(dict(settings or {}))))

    def resolved() -> TrainConfig:
        config = given
        if resume and not inputs:
            if (folder / CONFIG).is_file():
                config = given.based_on(folder / CONFIG)
            elif not given.inputs:
                raise UsageError(
                    f"{folder} is not a run to resume: it has no {CONFIG}",
                    fix="check the name of the folder, or name inputs to start a run there",
                )
        if inputs:
            config = config.updated(inputs=tuple(map(str, inputs)))
        check_config(config)
        return config

    limit_threads()
    device = choose_device(device_name(given.device))
    with joined(device) as world, freed_memory_kept(), contextlib.ExitStack() as held:
        config = TrainConfig.model_validate(world.on_main(lambda: resolved().model_dump()))
        world.on_main(lambda: held.enter_context(locks.exclusive(folder)))
        state = checkpoints.from_main(world, lambda: open_run(folder, config, resume))
        if config.task == "latent-diffusion":
            return latent_diffusion.train(folder, config, state, device, world)
        if config.task in ("dgi", "infograph"):
            return graphs.train(folder, config, state, device, world)
        done = state is not None and state["step"] >= config.steps
        if done and world.on_main((folder / MODEL / "config.json").is_file):
            logger.info(f"{folder} is complete ({config.steps} steps); the model is in {folder / MODEL}")
            return folder / MODEL
        try:
            return _train(folder, config, state, device, world, cache)
        except (Stopped, DivergedError) as error:
            if world.main:
                raise
            if isinstance(error, DivergedError):
                raise ElsewhereError(f"rank {world.rank} stops with rank 0") from None
            return folder / MODEL


@dataclass(frozen=True)
class Prepared:
    """A run that is ready for its first step.

    Attributes:
        strategy: with the task.
        corpus: the source of batches.
        validation: of held-out items; None if there are none.
        meter: measures throughput.
        save_split: writes the split of the data into the run folder.
        finish: fits what is fitted after training, and writes the model folder.
    """

    strategy: Strategy
    corpus: BatchSource
    validation: Validation | None
    meter: Meter
    save_split: Callable[[], None]
    finish: Callable[[list[Row]], None]


def _prepare_contrast(
    folder: Path, config: TrainConfig, device: torch.device, world: World, cache: Cache, resumed: bool
) -> Prepared:
    """Prepare training on pairs of sequences."""
    batch = config.batch
    precision = choose_precision(config.precision, device)
    teachers = open_teachers(config)
    execution = Execution(batch.max_tokens, batch.grad_cache, precision, world, sharded=batch.shard)
    task = ContrastiveTask(config, execution, teachers)
    every_view = task.requirements.views == "all"
    corpus = load_corpus(config.inputs, config, every_view=every_view, cache=cache, teachers=teachers)
    del teachers  # their vectors are on disk
    world.check_same("families", lambda: repr([(f.label, f.clan, f.size) for f in corpus.families]).encode())
    _check_enough(corpus.pairs, world)
    task.read_families(corpus.families)
    final_steps = finalization_steps(config)
    for final in final_steps:
        final.check(task, corpus)
    # Counted by rank 0 only, because it needs a second copy of the model in host memory.
    work = flops.Work(*world.on_main(lambda: astuple(flops.count(task.model)))) if config.log.mfu else None
    strategy = _strategy(task, corpus, config, device)
    if task.contrast_weight:
        _check_contrast(task, corpus)
    if config.compile:
        compile_encoder(task, corpus.batch(0))
    held_out = corpus.validation(config.validation.pairs)
    _log_training_summary(task, corpus, held_out is not None)

    def finish(rows: list[Row]) -> None:
        if world.main or task.execution.sharded:
            for final in final_steps:
                final.fit(task, corpus)
        model = strategy.model()
        if model is not None:
            model.save(folder / MODEL, model_card(config, corpus, model, rows))
            logger.info(f"the model is {folder / MODEL} ({model.dimension} features)")

    return Prepared(
        strategy,
        corpus,
        None
        if held_out is None
        else Validation(lambda: validate(task, held_out), len({t.tobytes() for t in held_out.a + held_out.b})),
        Meter(task, work, processes=world.size),
        lambda: save_split(folder / SPLIT, corpus.split(), resumed=resumed),
        finish,
    )


def _prepare_modalities(folder: Path, config: TrainConfig, device: torch.device, world: World) -> Prepared:
    """Prepare training on several modalities."""
    batch = config.batch
    execution = Execution(batch.max_tokens, batch.grad_cache, choose_precision(config.precision, device), world)
    task = MultimodalTask(config, execution)
    strategy = Strategy(task, config.optimiser, device)
    corpus = load_modalities(config, task)
    world.check_same("tables", corpus.content)
    _check_enough(corpus.pairs, world)
    held_out = corpus.validation(config.validation.pairs)
    if held_out is not None and not task.can_validate(held_out):
        logger.warning("no validation: fewer than two held-out rows have the first modality, or both of a pair")
        held_out = None
    multimodal.log_summary(task, corpus, held_out)

    def finish(rows: list[Row]) -> None:
        if not world.main:
            return
        task.multimodal.calibration = multimodal.calibrated(task, corpus)
        task.multimodal.save(folder / MODEL, multimodal.model_card(config, corpus, task, rows))
        logger.info(f"the model is {folder / MODEL} ({', '.join(task.multimodal.modalities)})")

    return Prepared(
        strategy,
        corpus,
        None if held_out is None else Validation(lambda: task.validate(held_out), len(held_out)),
        Meter(task, None, processes=world.size),
        lambda: corpus.write_split(folder / SPLIT),
        finish,
    )


def _train(folder: Path, config: TrainConfig, saved: Saved | None, device: torch.device, world: World, cache: Cache) -> Path:
    """Train from a checkpoint or from the start, as one of the processes of the run, and return the model folder."""
    if world.size > 1 and "-" in config.inputs:
        raise UsageError("several processes cannot read standard input", fix="write it to a file first")
    prepared = (
        _prepare_modalities(folder, config, device, world)
        if config.modalities
        else _prepare_contrast(folder, config, device, world, cache, saved is not None)
    )
    strategy = prepared.strategy
    if saved is None and world.main:
        write_config(folder, config)
        write_text(
            folder / PROVENANCE, json.dumps(provenance("train", config.to_toml(), config.seed), indent=2, default=str) + "\n"
        )
    world.on_main(prepared.save_split)

    def check(row: Row) -> None:
        if config.on_divergence != "continue":
            divergence.check_finite(row)

    metrics = MetricsLog(folder / METRICS, upto=saved["step"] if saved else 0)
    with own_random_state(config.seed, world.rank, device), stop_signals(again=world.size == 1) as stop:
        log = StepLog(metrics, prepared.meter, world, check)
        state = TrainState(strategy.task, strategy.optimiser, Schedule.of(config))
        loop = TrainingLoop(folder, config, prepared.corpus, strategy, state, log, prepared.validation, stop)
        if saved is not None:
            state.restore(saved, strategy)
            logger.info(f"resuming after step {state.step}")
        elif config.on_divergence == "rollback":
            loop.save()  # a checkpoint for the first rollback
        while state.step < config.steps:
            try:
                loop.run()
            except DivergedError as error:
                if config.on_divergence != "rollback":
                    raise
                loop.roll_back(error)

        # The last checkpoint is already saved, so a run that is killed below writes its model when resumed.
        if config.checkpoints.model == "best" and math.isfinite(state.best):
            best = checkpoints.from_main(world, lambda: checkpoints.load_best(folder / CHECKPOINTS))
            assert best is not None
            strategy.restore_task(best)
            logger.info(f"using the model of step {best['step']}, the best by {config.checkpoints.best}")
        with loop.resumable():
            prepared.finish(metrics.rows)
    return folder / MODEL


def _check_enough(pairs: int, world: World) -> None:
    """Raise a UsageError if a process would have nothing to encode."""
    if pairs < world.size:
        raise UsageError(f"{pairs} pairs a step are too few for {world.size} processes", fix="raise batch.pairs")


def _check_contrast(task: ContrastiveTask, corpus: Corpus) -> None:
    """Raise a UsageError if the objective needs negatives and the first batch contains none."""
    if task.requirements.negatives and not task.objective_batch(corpus.batch(0)).negatives().any():
        raise UsageError(
            f"a batch of {corpus.pairs} pairs contains no negatives, so the loss is constant",
            why="pairs of the same family or clan are never contrasted with each other",
            fix="raise batch.pairs (0 chooses it by the number of families), or use an objective without negatives",
        )


def _strategy(task: ContrastiveTask, corpus: Corpus, config: TrainConfig, device: torch.device) -> Strategy:
    if not task.execution.sharded:
        return Strategy(task, config.optimiser, device, lambda: task.has_unused_parameters(corpus.batch(0)))
    from phylocli.train.parallel.fsdp import ShardedStrategy  # sharded tensors take a second to import

    return ShardedStrategy(task, config.optimiser, device)


def _log_training_summary(task: ContrastiveTask, corpus: Corpus, validated: bool) -> None:
    families, execution = corpus.families, task.execution
    sequences = sum(f.size for f in families)
    kind = {torch.bfloat16: "bf16", torch.float32: "fp32"}[execution.precision]
    processes = f", {execution.world.size} processes" if execution.world.size > 1 else ""
    processes += ", the encoder sharded among them" if execution.sharded else ""
    size, trained = task.model.size, task.model.trained_size
    weights = f"{size:,} weights" if trained == size else f"{trained:,} of {size:,} weights"
    logger.info(
        f"training {task.model.config.encoder} ({weights}) on {len(families)} families, "
        f"{counted(sequences, 'sequence')}, {task.device.type} in {kind}{processes}"
    )
    if trained == 0:
        logger.warning(
            "the model has no trainable weights: only the projection head is trained, and it is discarded. To train on top "
            "of a frozen encoder, use encoder.parameters.project=128 or encoder.pooling=attention"
        )
    if not validated:
        logger.info("no family is large enough to hold out members; validation is disabled")
