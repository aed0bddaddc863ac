"""Training speed on the CPU: our loop and a plain PyTorch loop, on the same sequences in one run.

    python benchmarks/train.py [FAMILIES.sto] [--threads 1] [--seconds 20] [--preset small]

Both train a dilated convolutional encoder of the same architecture and size with NT-Xent on pairs of whole sequences.
The plain loop does what a first script does: `nn.Conv1d` in float32, every batch padded to the longest sequence of the
data. Ours drops padding, groups by length and, where the CPU can, multiplies in bfloat16. Rates are residues (not
padding) per second of CPU time, so that other load on the machine matters little; the share of the machine's own rate of
matrix products is measured beside them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli import recipes
from phylocli.alphabet import VOCABULARY_SIZE, encode_tokens
from phylocli.encoders import pad_batch
from phylocli.encoders.convolutional import Encoder
from phylocli.formats import read_families
from phylocli.train.data import PairBatch
from phylocli.train.learner import Learner, choose_precision


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
    """Return NT-Xent as it is usually written, from a and b (N, D)."""
    z = F.normalize(torch.cat([a, b]), dim=1)
    scores = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    partner = torch.arange(len(z)).roll(len(a))
    return F.cross_entropy(scores, partner)


def rate(step: Callable[[], int], seconds: float) -> float:
    """Return residues per second of CPU time."""
    step()
    start, done = time.process_time(), 0
    while time.process_time() - start < seconds:
        done += step()
    return done / (time.process_time() - start)


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
    print(
        f"{sum(map(len, families))} sequences, longest {longest}; {options.pairs} pairs a step; {options.threads} thread(s)"
    )

    turn = iter(range(10**9))
    parameters = Encoder.PRESETS[options.preset]
    plain = nn.ModuleDict({"encoder": PlainEncoder(**parameters), "head": nn.Linear(parameters["width"], 128)})
    plain_optimiser = torch.optim.AdamW(plain.parameters(), lr=1e-3)

    def plain_step() -> int:
        batch = batches[next(turn) % len(batches)]
        tokens, mask = pad_batch(batch.a + batch.b)
        tokens, mask = (F.pad(t, (0, longest - t.shape[1])) for t in (tokens, mask))
        a, b = plain["head"](plain["encoder"](tokens, mask.float())).chunk(2)
        plain_optimiser.zero_grad()
        nt_xent(a, b).backward()
        plain_optimiser.step()
        return batch.residues

    def our_step(learner: Learner, optimiser: torch.optim.Optimizer) -> int:
        batch = batches[next(turn) % len(batches)]
        optimiser.zero_grad()
        learner(batch)["loss"].backward()
        optimiser.step()
        return batch.residues

    size = sum(p.numel() for p in plain["encoder"].parameters())
    settings = recipes.merge(recipes.load("simclr").settings, {"encoder": {"preset": options.preset}}, "benchmark")
    rows = [("plain PyTorch, padded, float32", rate(plain_step, options.seconds), torch.float32)]
    for precision in ("fp32", "auto"):
        learner = Learner(settings, 0).train()
        learner.precision = choose_precision(precision, torch.device("cpu"))
        if precision == "auto" and learner.precision == torch.float32:
            continue
        optimiser = torch.optim.AdamW(learner.parameters(), lr=1e-3)
        name = f"phylocli, {'float32' if precision == 'fp32' else 'bfloat16'}"
        rows.append((name, rate(lambda: our_step(learner, optimiser), options.seconds), learner.precision))  # noqa: B023

    print(f"\n{'loop':34s} {'residues/CPU-s':>15s} {'times plain':>12s} {'GFLOP/s':>9s} {'of the GEMM rate':>17s}")
    for name, value, dtype in rows:
        work = 6 * size * value
        gemm = matrix_rate(dtype, parameters["kernel"] * parameters["width"], parameters["hidden"])
        print(f"{name:34s} {value:15,.0f} {value / rows[0][1]:12.1f} {work / 1e9:9.0f} {work / gemm:16.0%}")


if __name__ == "__main__":
    main()
