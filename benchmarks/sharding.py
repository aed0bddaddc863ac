"""Sharded encoders: memory and time per process, with the whole encoder or a shard in each.

    python benchmarks/sharding.py [FAMILIES.sto] [--ranks 2] [--width 640] [--depth 10] [--pairs 8] [--length 32]

Each row is a few steps (NT-Xent, AdamW) of a transformer by several processes on this machine's CPU (gloo), started with
torchrun. Memory is the peak of a process's resident set above what it held before the encoder was built, the highest of
all; CPU seconds are of a step after the first, by process. "16 B/weight" is what weights, gradients and AdamW's two moments
take in float32.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from phylocli.config.assignments import nested
from phylocli.config.train import TrainConfig
from phylocli.core import console
from phylocli.train.data.loading import load_corpus
from phylocli.train.parallel.execution import Execution, choose_precision
from phylocli.train.parallel.fsdp import ShardedStrategy
from phylocli.train.parallel.strategy import Strategy
from phylocli.train.parallel.world import joined
from phylocli.train.task import ContrastiveTask

MODES = {
    "whole": (Strategy, {}),
    "whole, recomputed": (Strategy, {"batch.activation_checkpointing": True}),
    "in parts": (ShardedStrategy, {}),
    "in parts, recomputed": (ShardedStrategy, {"batch.activation_checkpointing": True}),
}
STEPS = 3
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "262144"}  # otherwise glibc keeps what is freed, and its heap is measured


def peak() -> float:
    """Return the peak of the resident set so far, MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def steps(options: argparse.Namespace) -> None:
    """Do some steps as one of the processes; rank 0 prints what they took."""
    torch.set_num_threads(1)
    console.show_messages(console.SILENT)
    kind, changes = MODES[options.only]
    size = {"width": options.width, "depth": options.depth, "heads": options.width // 64}
    changes = {
        "encoder.name": "transformer",
        **{f"encoder.parameters.{name}": value for name, value in size.items()},
        "view.name": "crop",  # needs no tree
        "view.crop.max_length": options.length,
        "batch.pairs": options.pairs,
        **changes,
    }
    config = TrainConfig.of(None, {"recipe": "simclr", **nested(changes)})
    device = torch.device("cpu")
    with joined(device) as world:
        corpus = load_corpus([options.families], config)
        corpus.batch(0)
        before = peak()
        task = ContrastiveTask(config)
        task.execution = Execution(
            config.batch.max_tokens,
            config.batch.grad_cache,
            choose_precision(options.precision, device),
            world,
            sharded=kind is ShardedStrategy,
        )
        strategy = kind(task, config.optimiser, device)
        for step in range(STEPS):
            if step == 1:
                start = time.process_time()
            strategy.gradients([corpus.batch(step)])
            strategy.clip(1.0)
            strategy.optimiser.step()
        seconds = (time.process_time() - start) / (STEPS - 1)
        memory, seconds = world.highest(peak() - before, seconds)
        if world.main:
            print(json.dumps({"weights": task.model.size, "memory": memory, "seconds": seconds}))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parent.parent / "examples" / "families.sto"
    parser.add_argument("families", nargs="?", type=Path, default=default)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--depth", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--only", metavar="MODE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        steps(options)
        return
    print(f"{options.ranks} processes, {options.pairs} pairs of at most {options.length} residues, {options.precision}")
    print("encoder               weights  16 B/weight/MiB  peak/MiB  CPU s a step")
    for mode in MODES:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(options.ranks)]
        command = [*launcher, __file__, *sys.argv[1:], "--only", mode]
        said = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **GIVE_BACK}).stdout
        found = json.loads(said.strip().splitlines()[-1])
        print(
            f"{mode:20s}  {found['weights'] / 1e6:5.0f} M  {found['weights'] * 16 / 2**20:15,.0f}  {found['memory']:8,.0f}  "
            f"{found['seconds']:12.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
