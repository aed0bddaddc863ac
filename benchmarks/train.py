"""Training speed on the CPU: phylocli, a plain PyTorch loop and lightly, on the same sequences.

    python benchmarks/train.py [FAMILIES.sto] [--threads 1] [--seconds 20] [--preset small]

All train a dilated convolutional encoder of the same architecture and size with NT-Xent on pairs of whole sequences.
The plain loop does what a first script does: `nn.Conv1d` in float32, every batch padded to the longest sequence of the
data. lightly's is the loop of its documentation, with its own loss: one view after the other through the same encoder,
each padded to its batch's longest sequence; it is left out where lightly is not installed (`pip install lightly`). Ours
drops padding, groups by length and, where the CPU can, multiplies in bfloat16. Rates are residues (not padding) per second
of CPU time, so that other load on the machine matters little; the share of the machine's own rate of matrix products is
measured beside them.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.config.train import TrainConfig
from phylocli.core.alphabet import VOCABULARY_SIZE, encode_tokens
from phylocli.encoders import pad_batch
from phylocli.encoders.convolutional import Encoder
from phylocli.formats import read_families
from phylocli.train.compilation import compile_encoder
from phylocli.train.data.types import PairBatch
from phylocli.train.parallel.execution import choose_precision
from phylocli.train.task import ContrastiveTask


class PlainEncoder(nn.Module):
    """The same architecture as `convolutional`, written with Conv1d on padded (N, D, L)."""

    def __init__(self, width: int, hidden: int, depth: int, kernel: int, max_dilation: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY_SIZE, width)
        dilations = [2 ** (i % max_dilation.bit_length()) for i in range(depth)]
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth + 1))
        self.look = nn.ModuleList(nn.Conv1d(width, hidden, kernel, dilation=d, padding=d * (kernel // 2)) for d in dilations)
        self.back = nn.ModuleList(nn.Linear(hidden, width) for _ in range(depth))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the mean over residues, (N, D), from tokens and mask (N, L)."""
        x = self.embed(tokens)
        for norm, look, back in zip(self.norms, self.look, self.back, strict=False):
            h = (norm(x) * mask[..., None]).transpose(1, 2)
            x = x + back(F.gelu(look(h)).transpose(1, 2))
        x = self.norms[-1](x) * mask[..., None]
        return x.sum(1) / mask.sum(1, keepdim=True)


def nt_xent(a: Tensor, b: Tensor, temperature: float = 0.1) -> Tensor:
    """Return NT-Xent of a and b (N, D), as commonly implemented."""
    z = F.normalize(torch.cat([a, b]), dim=1)
    scores = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    partner = torch.arange(len(z)).roll(len(a))
    return F.cross_entropy(scores, partner)


def lightly_loss() -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return lightly's NT-Xent, None where lightly is not installed."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        return None
    except RuntimeError:
        # lightly imports torchvision, and a build for CUDA does not load beside a torch for CPUs: its operators are not
        # there. The loss needs none of them, so their names will do.
        for module in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[module]
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    try:
        from lightly.loss import NTXentLoss
    except ImportError:
        return None
    return NTXentLoss(temperature=0.1)


def rate(step: Callable[[], int], seconds: float) -> float:
    """Return residues per second of CPU time."""
    step()
    start, done = time.process_time(), 0
    while time.process_time() - start < seconds:
        done += step()
    return done / (time.process_time() - start)


def processor() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def matrix_rate(dtype: torch.dtype, inner: int, outer: int, seconds: float = 2.0) -> float:
    """Return the rate of matrix products of the encoder's own shape, in floating-point operations per second of CPU time."""
    a, b = torch.randn(8192, inner, dtype=dtype), torch.randn(outer, inner, dtype=dtype)
    for _ in range(3):
        F.linear(a, b)
    start, done = time.process_time(), 0
    while time.process_time() - start < seconds:
        F.linear(a, b)
        done += 2 * a.numel() * outer
    return done / (time.process_time() - start)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parent.parent / "examples" / "families.sto"
    parser.add_argument("families", nargs="?", default=default)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0, help="CPU time for each row")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--compile", action="store_true", help="one more row: our encoder by torch.compile, compiled before")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    import numpy as np

    families = [[encode_tokens(s.residues) for s in f.sequences()] for f in read_families(options.families)]
    longest = max(len(s) for f in families for s in f)
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(8):
        chosen = rng.integers(len(families), size=options.pairs)
        sides = [[families[f][rng.integers(len(families[f]))] for f in chosen] for _ in range(2)]
        batches.append(PairBatch(*sides, np.zeros(options.pairs), chosen, np.full(options.pairs, -1)))
    print(f"{processor()}, torch {torch.__version__}")
    print(
        f"{sum(map(len, families))} sequences, longest {longest}; {options.pairs} pairs a step; {options.threads} thread(s)"
    )

    turn = iter(range(10**9))
    parameters = Encoder.PRESETS[options.preset]

    def new() -> tuple[nn.ModuleDict, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.ModuleDict({"encoder": PlainEncoder(**parameters), "head": nn.Linear(parameters["width"], 128)})
        return model, torch.optim.AdamW(model.parameters(), lr=1e-3)

    def plain_step(model: nn.ModuleDict, optimiser: torch.optim.Optimizer) -> int:
        batch = batches[next(turn) % len(batches)]
        tokens, mask = pad_batch(batch.a + batch.b)
        tokens, mask = (F.pad(t, (0, longest - t.shape[1])) for t in (tokens, mask))
        a, b = model["head"](model["encoder"](tokens, mask.float())).chunk(2)
        optimiser.zero_grad()
        nt_xent(a, b).backward()
        optimiser.step()
        return batch.residues

    criterion = lightly_loss()

    def lightly_step(model: nn.ModuleDict, optimiser: torch.optim.Optimizer) -> int:
        batch = batches[next(turn) % len(batches)]
        first, second = (pad_batch(side) for side in (batch.a, batch.b))
        z0, z1 = (model["head"](model["encoder"](tokens, mask.float())) for tokens, mask in (first, second))
        loss = criterion(z0, z1)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return batch.residues

    def our_step(task: ContrastiveTask, optimiser: torch.optim.Optimizer) -> int:
        batch = batches[next(turn) % len(batches)]
        optimiser.zero_grad()
        task(batch)["loss"].backward()
        optimiser.step()
        return batch.residues

    size = sum(p.numel() for p in new()[0]["encoder"].parameters())
    settings = TrainConfig.of(None, {"recipe": "simclr", **{"encoder": {"preset": options.preset}}})
    start = new()
    rows = [("plain PyTorch, padded, float32", rate(lambda: plain_step(*start), options.seconds), torch.float32)]
    if criterion is not None:
        lightly = new()
        rows.append(
            ("lightly, padded per batch, float32", rate(lambda: lightly_step(*lightly), options.seconds), torch.float32)
        )
    else:
        print("lightly is not installed: its loop is left out")
    kinds = [("fp32", False), ("auto", False), *([("auto", True)] if options.compile else [])]
    for precision, compiled in kinds:
        task = ContrastiveTask(settings).train()
        task.execution.precision = choose_precision(precision, torch.device("cpu"))
        if precision == "auto" and task.execution.precision == torch.float32:
            continue
        optimiser = torch.optim.AdamW(task.parameters(), lr=1e-3)
        name = f"phylocli, {'float32' if precision == 'fp32' else 'bfloat16'}{', compiled' if compiled else ''}"
        if compiled:
            compile_encoder(task, batches[0])
            for _ in range(2 * len(batches)):
                our_step(task, optimiser)
        rows.append((name, rate(lambda: our_step(task, optimiser), options.seconds), task.execution.precision))  # noqa: B023

    others = {name.split(",")[0]: value for name, value, _ in rows if not name.startswith("phylocli")}
    print(
        f"\n{'loop':36s} {'residues/CPU-s':>15s}"
        + "".join(f" {'times ' + n:>20s}" for n in others)
        + f" {'GFLOP/s':>9s} {'of the GEMM rate':>17s}"
    )
    for name, value, dtype in rows:
        work = 6 * size * value
        gemm = matrix_rate(dtype, parameters["kernel"] * parameters["width"], parameters["hidden"])
        ratios = "".join(f" {value / other:20.1f}" for other in others.values())
        print(f"{name:36s} {value:15,.0f}{ratios} {work / 1e9:9.0f} {work / gemm:16.0%}")


if __name__ == "__main__":
    main()
