"""Training, from inputs to a model folder.

A run folder holds config.toml (every setting, resolved), metrics.parquet (one row a step), checkpoints/, provenance.json
and, when the run is done, model/. Batches are functions of the seed and the step, so a run that was stopped goes on
exactly as if it had not been. What happens here happens once; the steps themselves are those of `phylocli.train.loop`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch

from phylocli.core import console
from phylocli.core.errors import UsageError
from phylocli.core.threads import limit_threads
from phylocli.formats.provenance import provenance, versions
from phylocli.formats.streams import PathLike, locks, write_text
from phylocli.models.device import choose_device
from phylocli.pairs import Split
from phylocli.recipes.layers import Layer, option
from phylocli.train import checkpoints
from phylocli.train.compilation import compile_encoder
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.data.compiled import Cache
from phylocli.train.data.loading import load_corpus
from phylocli.train.divergence import DivergedError
from phylocli.train.finalize.steps import check_completion
from phylocli.train.loop import Run
from phylocli.train.parallel.strategy import Engine
from phylocli.train.parallel.world import ElsewhereError, World, device_name, joined
from phylocli.train.randomness import own_random_state
from phylocli.train.report import flops
from phylocli.train.report.metrics import MetricsLog
from phylocli.train.report.throughput import Meter
from phylocli.train.run_folder import CONFIG, METRICS, MODEL, PROVENANCE, SPLIT, open_run, resolve
from phylocli.train.signals import Stopped, stop_signals
from phylocli.train.task import Learner, choose_precision

__all__ = ["DivergedError", "Stopped", "train_model"]


def train_model(
    inputs: list[PathLike],
    output: PathLike,
    *,
    recipe: PathLike | None = None,
    steps: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    resume: bool = False,
    settings: dict[str, Any] | None = None,
    layers: Sequence[Layer] = (),
    cache: Cache = True,
) -> Path:
    """Train an encoder on homolog pairs.

    Args:
        inputs: family records with trees (pairs are then drawn fresh at every step), or pairs tables. With none, those
            of the run that is resumed, or of the run whose config.toml is the recipe.
        output: the run folder.
        recipe: a recipe's name or the path of a TOML file, such as the config.toml of another run; None takes that of the
            layers, else `simclr`.
        steps: optimiser steps; None takes the recipe's.
        seed: of weights, splits and batches; None takes that of the run whose config.toml is the recipe, or of the layers,
            else 0. On a CPU, same inputs, seed and thread count give the same model.
        device: `auto`, `cpu`, `cuda` or `mps`; None takes that of the layers, else `auto`.
        resume: go on from the last checkpoint of `output`; where there is none, start.
        settings: over the recipe's, by dotted names (`{"critic.temperature": 0.05}`) or nested.
        layers: settings between the recipe's and these, as `phylocli.recipes.layers.collect` finds them in the user's and
            the project's files and in the environment. Without any, none of these is looked at.
        cache: the folder where compiled families are kept, for later runs; True takes the user's (`$PHYLOCLI_CACHE`), False
            compiles them for this run only.

    Returns:
        The model folder, `output/model`.

    Raises:
        UsageError: an unknown recipe, setting or device; a run folder that is not empty; settings that differ on
            resuming; nothing to resume.
        InUseError: another process trains in the run folder.
        BadInputError: inputs that hold no usable family.
        DivergedError: the loss became infinite or not a number, or all embeddings alike (unless `on_divergence` says
            otherwise).
        Stopped: interrupted; a checkpoint is saved.

    Examples:
        >>> settings = {"encoder.preset": "tiny", "batch.pairs": 8, "view.name": "crop"}
        >>> folder = phylocli.train_model(["examples/families.sto"], "run", steps=1, settings=settings)
        >>> phylocli.load_model("run/model").embed(["MKTAYIAKQR"]).numpy().shape
        (1, 64)
    """
    folder = Path(output)

    def resolved() -> dict[str, Any]:
        again = resume and not inputs and (folder / CONFIG).is_file()
        if resume and not inputs and recipe is None and not again:
            raise UsageError(
                f"{folder} holds no run to resume: it has no {CONFIG}",
                fix="check the name of the folder, or name inputs to start a run there",
            )
        return resolve(inputs, folder / CONFIG if again else recipe, steps, None if again else seed, settings or {}, layers)

    limit_threads()
    target = choose_device(device_name(device or option(layers, "device") or "auto"))
    with joined(target) as world, contextlib.ExitStack() as held:
        config = world.on_main(resolved)
        world.on_main(lambda: held.enter_context(locks.exclusive(folder)))
        state = checkpoints.from_main(world, lambda: open_run(folder, config, resume))
        done = state is not None and state["step"] >= config["steps"]
        if done and world.on_main((folder / MODEL / "config.json").is_file):
            console.info(f"{folder} has done all its {config['steps']} steps; its model is {folder / MODEL}")
            return folder / MODEL
        try:
            return _train(folder, config, state, target, world, cache)
        except (Stopped, DivergedError) as error:
            if world.main:
                raise
            if isinstance(error, DivergedError):
                raise ElsewhereError(f"rank {world.rank} stops with rank 0") from None
            return folder / MODEL


def _train(
    folder: Path, config: dict[str, Any], state: dict[str, Any] | None, target: torch.device, world: World, cache: Cache
) -> Path:
    """Do the run, from its last state or from the start, and return the model folder; as one of the processes."""
    if world.size > 1 and "-" in config["inputs"]:
        raise UsageError("several processes cannot read standard input", fix="write the families to a file first")
    learner = Learner(config, config["seed"])
    learner.world = world
    corpus = load_corpus(config["inputs"], config, config["seed"], every_view=learner.needs.views == "all", cache=cache)
    learner.precision = choose_precision(config["precision"], target)
    world.check_same("families", lambda: repr([(f.label, f.clan, f.size) for f in corpus.families]).encode())
    if corpus.pairs < world.size:
        raise UsageError(f"{corpus.pairs} pairs a step are too few for {world.size} processes", fix="give more: batch.pairs")
    check_completion(learner, corpus, config)
    # One process counts for all: it takes a second copy of the model, on the host.
    work = flops.Work(*world.on_main(lambda: astuple(flops.count(learner.model)))) if config["log"]["mfu"] else None
    engine = _engine(learner, corpus, config, target)
    _check_contrast(learner, corpus)
    if config["compile"]:
        compile_encoder(learner, corpus.batch(0))
    held_out = corpus.validation(config["validation"]["pairs"])
    _say_what_is_trained(learner, corpus, held_out is not None)

    if state is None and world.main:
        import tomli_w

        write_text(folder / CONFIG, tomli_w.dumps({**config, "phylocli": versions()["phylocli"]}))
        write_text(
            folder / PROVENANCE, json.dumps(provenance("train", config, config["seed"]), indent=2, default=str) + "\n"
        )
    world.on_main(lambda: _save_split(folder / SPLIT, corpus, resumed=state is not None))
    metrics = MetricsLog(folder / METRICS, upto=state["step"] if state else 0)
    with own_random_state(config["seed"], world.rank, target), stop_signals(again=world.size == 1) as stop:
        meter = Meter(learner, work, processes=world.size)
        run = Run(folder, config, corpus, engine, metrics, meter, held_out, stop)
        start = 0
        if state is not None:
            start = run.restore(state)
            console.info(f"going on after step {start}")
        elif config["on_divergence"] == "rollback":
            run.save(0)  # something to go back to
        while True:
            try:
                run.steps(start)
                break
            except DivergedError as error:
                if config["on_divergence"] != "rollback":
                    raise
                start = run.roll_back(error)
    return run.finish()


def _save_split(path: Path, corpus: Corpus, *, resumed: bool) -> None:
    """Save who is trained on and who is held out.

    Raises:
        UsageError: a run that is resumed began with another split.
    """
    split = corpus.split()
    if resumed and path.is_file() and Split.read(path).digest() != split.digest():
        raise UsageError(
            f"the run began with another split, {path}", why="a member cannot change sides in mid-run", fix="start a new run"
        )
    split.write(path)


def _check_contrast(learner: Learner, corpus: Corpus) -> None:
    """Raise a UsageError where the objective contrasts the pairs of a batch, and no two of them may be contrasted."""
    if learner.needs.negatives and not learner.codes(corpus.batch(0)).negatives().any():
        raise UsageError(
            f"a batch of {corpus.pairs} pairs has no negatives, so there is nothing to learn from",
            why="pairs of one family or clan are never contrasted with each other",
            fix="raise batch.pairs (0 chooses it by the number of families), or use an objective without negatives",
        )


def _engine(learner: Learner, corpus: Corpus, config: dict[str, Any], target: torch.device) -> Engine:
    if not config["batch"]["shard"]:
        return Engine(learner, corpus, config["optimiser"], target)
    from phylocli.train.parallel.fsdp import ShardedEngine  # sharded tensors take a second to import

    return ShardedEngine(learner, corpus, config["optimiser"], target)


def _say_what_is_trained(learner: Learner, corpus: Corpus, validated: bool) -> None:
    families = corpus.families
    sequences = sum(f.size for f in families)
    kind = {torch.bfloat16: "bf16", torch.float32: "fp32"}[learner.precision]
    processes = f", {learner.world.size} processes" if learner.world.size > 1 else ""
    processes += ", each with its part of the encoder" if learner.sharded else ""
    size, trained = learner.model.size, learner.model.trained_size
    weights = f"{size:,} weights" if trained == size else f"{trained:,} of {size:,} weights"
    console.info(
        f"training {learner.model.config['encoder']} ({weights}) on {len(families)} families, "
        f"{sequences:,} sequences, {learner.device.type} in {kind}{processes}"
    )
    if trained == 0:
        console.warning(
            "nothing of the model is trained, only the head, which is thrown away; for a frozen encoder say "
            "encoder.parameters.project=128 or encoder.pooling=attention"
        )
    if not validated:
        console.info("no family is large enough to hold members out; there will be no validation")
