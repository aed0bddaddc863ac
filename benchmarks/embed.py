"""Throughput of `phylocli embed` by preset, next to the machine's own matrix products.

    python benchmarks/embed.py [--sequences FASTA] [--count 300] [--presets tiny small medium] [--device cpu] [--threads 1]

Prints a table: parameters, residues a second of wall and of CPU time, and the encoder's share of the rate at which the same
threads multiply float32 matrices. Weights are random: speed does not depend on them. Give `--compare-esm` to run ESM-2 8M
(random weights, transformers with SDPA) on the same sequences, where transformers is installed.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import torch

from phylocli.embed import Embedder
from phylocli.encoders import Model, choose_device
from phylocli.encoders.convolutional import PRESETS
from phylocli.formats import read_sequences

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "families.sto"


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds of `work`."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def gemm_rate(device: torch.device, size: int = 1536) -> float:
    """Return float32 operations a second of a square matrix product (2·n³ each), best of five."""
    a, b = (torch.randn(size, size, device=device) for _ in range(2))

    def multiply() -> None:
        (a @ b).sum().item()

    multiply()
    return 2 * size**3 / min(timed(multiply)[0] for _ in range(5))


def operations(model: Model) -> int:
    """Return operations a residue in the encoder's matrix products (2 for each weight of a linear layer)."""
    return sum(2 * m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))


def esm(sequences: list[str], device: torch.device) -> tuple[int, float, float]:
    """Return parameters, wall and CPU seconds of ESM-2 8M with random weights, batches of like length."""
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
    order = sorted(sequences, key=len)

    @torch.inference_mode()
    def run() -> None:
        for batch in (
            itertools.batched(order, 16) if hasattr(itertools, "batched") else zip(*[iter(order)] * 16, strict=False)
        ):
            width = max(map(len, batch))
            mask = torch.tensor([[i < len(s) for i in range(width)] for s in batch], device=device)
            tokens = torch.randint(4, 24, mask.shape, device=device).masked_fill(~mask, 1)
            model(input_ids=tokens, attention_mask=mask.long())

    wall, cpu = timed(run)
    return sum(p.numel() for p in model.parameters()), wall, cpu


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=Path, default=EXAMPLES)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--presets", nargs="+", default=["tiny", "small", "medium"], choices=list(PRESETS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compare-esm", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    sequences = [s.residues for s in itertools.islice(read_sequences(options.sequences), options.count)]
    residues = sum(map(len, sequences))
    rate = gemm_rate(device)
    print(f"{len(sequences)} sequences, {residues:,} residues; {device}, {options.threads} threads")
    print(f"float32 matrix products: {rate / 1e9:.0f} GFLOP/s\n")
    print(f"{'encoder':<24}{'parameters':>12}{'residues/s':>12}{'residues/CPU s':>16}{'of GEMM':>9}")
    for preset in options.presets:
        model = Model.create("convolutional", preset=preset, seed=0).to(device)
        Embedder(model).pooled(sequences[:20])  # warm up
        wall, cpu = timed(lambda model=model: Embedder(model).pooled(sequences))
        share = operations(model) * residues / wall / rate
        print(f"convolutional {preset:<10}{model.size:>12,}{residues / wall:>12,.0f}{residues / cpu:>16,.0f}{share:>9.0%}")
    if options.compare_esm:
        size, wall, cpu = esm(sequences, device)
        print(f"{'ESM-2 8M (transformers)':<24}{size:>12,}{residues / wall:>12,.0f}{residues / cpu:>16,.0f}{'':>9}")


if __name__ == "__main__":
    main()
