"""Throughput of `phylocli embed`, next to the machine's own matrix products and to the field's encoders, in one run.

    python benchmarks/embed.py [--model NAME|FOLDER] [--sequences FASTA] [--count 300] [--presets tiny small medium]
                               [--compare esm2 unirep] [--precisions float32 bfloat16] [--device cpu] [--threads 1]

Prints a table: parameters, residues a second of wall and of CPU time, and the encoder's share of the rate at which the same
threads multiply matrices in the same precision. Presets have random weights: speed does not depend on them. `--compare esm2`
runs ESM-2 8M (random weights, transformers with SDPA), `--compare unirep` UniRep-1900 (benchmarks/unirep.py), on the same
sequences, sorted into batches of like length as ours are.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from phylocli import models
from phylocli.embed import Embedder
from phylocli.embed.batching import token_batches
from phylocli.encoders import Model, choose_device
from phylocli.encoders.convolutional import PRESETS
from phylocli.formats import read_sequences

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples" / "families.sto"
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds of `work`."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def gemm_rate(device: torch.device, dtype: torch.dtype, size: int = 1536) -> float:
    """Return operations a CPU second (elsewhere: a second) of a square matrix product (2·n³ each), best of five."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))

    def multiply() -> None:
        (a @ b).sum().item()

    multiply()
    return 2 * size**3 / min(timed(multiply)[device.type == "cpu"] for _ in range(5))


def operations(model: Model) -> int:
    """Return operations a residue in the encoder's matrix products (2 for each weight of a linear layer)."""
    return sum(2 * m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))


def in_precision(name: str, device: torch.device) -> Any:
    """Return the context in which matrix products run in a precision."""
    return torch.autocast(device.type, PRECISIONS[name]) if name != "float32" else nullcontext()


def esm(sequences: list[str], device: torch.device, precision: str) -> tuple[int, float, float]:
    """Return parameters, wall and CPU seconds of ESM-2 8M with random weights."""
    from transformers import EsmConfig, EsmModel

    config = EsmConfig(
        vocab_size=33,
        hidden_size=320,
        num_hidden_layers=6,
        num_attention_heads=20,
        intermediate_size=1280,
        max_position_embeddings=1026,
        position_embedding_type="rotary",
        token_dropout=False,
        pad_token_id=1,
        mask_token_id=32,
    )
    model = EsmModel(config, add_pooling_layer=False).eval().to(device)

    @torch.inference_mode()
    def run() -> None:
        for rows in token_batches([len(s) for s in sequences], 4096):
            batch = [sequences[row] for row in rows]
            width = max(map(len, batch))
            mask = torch.tensor([[i < len(s) for i in range(width)] for s in batch], device=device)
            tokens = torch.randint(4, 24, mask.shape, device=device).masked_fill(~mask, 1)
            with in_precision(precision, device):
                model(input_ids=tokens, attention_mask=mask.long())

    wall, cpu = timed(run)
    return sum(p.numel() for p in model.parameters()), wall, cpu


def unirep(sequences: list[str], precision: str) -> tuple[int, float, float]:
    """Return parameters, wall and CPU seconds of UniRep-1900."""
    sys.path.insert(0, str(HERE))
    from unirep import UniRep

    model = UniRep(1900)
    device = torch.device("cpu")

    def run() -> None:
        for rows in token_batches([len(s) + 1 for s in sequences], 12_000):
            with in_precision(precision, device):
                model([sequences[row] for row in rows])

    wall, cpu = timed(run)
    return sum(b.numel() for b in model.buffers()) + model.embedding.weight.numel(), wall, cpu


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", default=[], help="a model by name or folder")
    parser.add_argument("--sequences", type=Path, default=EXAMPLES)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--presets", nargs="*", default=["tiny", "small", "medium"], choices=list(PRESETS))
    parser.add_argument("--compare", nargs="*", default=[], choices=["esm2", "unirep"])
    parser.add_argument("--compare-count", type=int, default=60, help="sequences for the slower encoders")
    parser.add_argument("--precisions", nargs="+", default=["float32"], choices=list(PRECISIONS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    every = [s.residues for s in read_sequences(options.sequences)]
    sequences = every[:: max(1, len(every) // options.count)][: options.count]  # of all families, not of the first
    fewer = sequences[:: max(1, len(sequences) // options.compare_count)][: options.compare_count]
    total, part = sum(map(len, sequences)), sum(map(len, fewer))
    print(f"{len(sequences)} sequences, {total:,} residues ({part:,} for the others); {device}, {options.threads} threads")
    for precision in options.precisions:
        rate = gemm_rate(device, PRECISIONS[precision])
        print(f"\n{precision}: matrix products {rate / 1e9:.0f} GFLOP a CPU second")
        print(f"{'encoder':<28}{'parameters':>12}{'residues/s':>12}{'residues/CPU s':>16}{'of products':>13}")
        ours = {f"convolutional {name}": Model.create("convolutional", preset=name, seed=0) for name in options.presets}
        ours |= {Path(name).name if "/" in name else name: models.load(name) for name in options.model}
        for name, model in ours.items():
            model.to(device)
            with in_precision(precision, device):
                Embedder(model).pooled(sequences[:20])  # warm up
                wall, cpu = timed(lambda model=model: Embedder(model).pooled(sequences))
            busy = cpu if device.type == "cpu" else wall
            share = operations(model) * total / busy / rate
            print(f"{name:<28}{model.size:>12,}{total / wall:>12,.0f}{total / cpu:>16,.0f}{share:>13.0%}")
        peers = {"esm2": ("ESM-2 8M (transformers)", lambda p=precision: esm(fewer, device, p))}
        peers["unirep"] = ("UniRep-1900", lambda p=precision: unirep(fewer, p))
        for key in options.compare:
            name, run = peers[key]
            size, wall, cpu = run()
            print(f"{name:<28}{size:>12,}{part / wall:>12,.0f}{part / cpu:>16,.0f}{'':>13}")


if __name__ == "__main__":
    main()
