"""Large batches on small devices: peak memory and time of one step, activations kept, cached or recomputed.

    python benchmarks/large_batches.py [FAMILIES.sto] [--pairs 256 2048] [--length 32] [--preset small] [--tokens 4096]

Each row is one step (NT-Xent, forward and backward, dropout on) in a process of its own on pairs of real members, cut to
`length` residues. Memory is the peak of the resident set above what the process held before the step; CPU seconds are of
the step alone. The gradients' relative difference from those of kept activations stands beside them: the steps are the
same.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phylocli.config.assignments import nested
from phylocli.config.train import TrainConfig
from phylocli.core.alphabet import encode_tokens
from phylocli.formats import read_families
from phylocli.train.data.types import PairBatch
from phylocli.train.parallel.execution import choose_precision
from phylocli.train.task import ContrastiveTask

MODES = {
    "kept": {},
    "cached": {"batch.grad_cache": True},
    "recomputed": {"batch.activation_checkpointing": True},
    "both": {"batch.grad_cache": True, "batch.activation_checkpointing": True},
}


def batch_of(path: Path, pairs: int, length: int) -> PairBatch:
    """Return pairs of random members of the same family, cut to `length` residues; each family ever anew."""
    families = [[encode_tokens(s.residues)[:length] for s in f.sequences()] for f in read_families(path)]
    rng = np.random.default_rng(0)
    chosen = rng.integers(len(families), size=pairs)
    sides = [[families[f][rng.integers(len(families[f]))] for f in chosen] for _ in range(2)]
    return PairBatch(sides[0], sides[1], np.zeros(pairs), np.arange(pairs), np.full(pairs, -1))


def peak() -> float:
    """Return the peak of the resident set so far, MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def step(options: argparse.Namespace, mode: str, pairs: int) -> dict[str, Any]:
    """Run one step; return its memory (MiB), CPU seconds and the path of its gradients."""
    torch.set_num_threads(options.threads)
    changes = {"encoder.preset": options.preset, "encoder.parameters.dropout": 0.1, "batch.max_tokens": options.tokens}
    settings = TrainConfig.of(None, {"recipe": "simclr", **nested({**changes, **MODES[mode]})})
    task = ContrastiveTask(settings)
    task.execution.precision = choose_precision(options.precision, task.device)
    task(batch_of(options.families, 8, options.length))["loss"].backward()  # what is loaded and set up once
    task.zero_grad()
    batch = batch_of(options.families, pairs, options.length)
    torch.manual_seed(1)
    before, start = peak(), time.process_time()
    task(batch)["loss"].backward()
    seconds, memory = time.process_time() - start, peak() - before
    gradient = torch.cat([p.grad.flatten() for p in task.parameters() if p.grad is not None])
    np.save(options.gradients, gradient.numpy())
    return {"memory": memory, "seconds": seconds, "residues": batch.residues}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parent.parent / "examples" / "families.sto"
    parser.add_argument("families", nargs="?", type=Path, default=default)
    parser.add_argument("--pairs", type=int, nargs="+", default=[256, 2048])
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--tokens", type=int, default=4096, help="that go through the encoder at once")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs=2, metavar=("MODE", "PAIRS"), help=argparse.SUPPRESS)
    parser.add_argument("--gradients", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(step(options, options.only[0], int(options.only[1]))))
        return
    import tempfile

    print(f"{options.preset}, {options.precision}, {options.tokens} tokens at once, at most {options.length} residues each")
    print("pairs  residues  activations  memory/MiB  CPU s  gradient")
    with tempfile.TemporaryDirectory() as folder:
        for pairs in options.pairs:
            true = None
            for mode in MODES:
                written = Path(folder) / f"{mode}.npy"
                command = [sys.executable, __file__, *sys.argv[1:], "--only", mode, str(pairs), "--gradients", str(written)]
                found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                gradient = np.load(written)
                true = gradient if true is None else true
                error = np.linalg.norm(gradient - true) / np.linalg.norm(true)
                print(
                    f"{pairs:5d}  {found['residues']:8d}  {mode:11s}  {found['memory']:10.0f}  {found['seconds']:5.1f}  "
                    f"{error:.0e}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
