"""Throughput of `phylocli embed`, compared with matrix products on the same machine and with other encoders.

    python benchmarks/embed.py [--model NAME|FOLDER] [--sequences FASTA] [--count 300] [--presets tiny small medium]
                               [--compare esm2 unirep] [--forms float32 bfloat16 int8 compiled] [--device cpu] [--threads 1]

Prints a table for each form of arithmetic: parameters, residues a second of wall and of CPU time, the encoder's share of the
rate at which the same threads multiply matrices in that precision, and the smallest and the mean cosine of an embedding with
its float32 form. int8 is PyTorch's dynamic quantisation of linear layers, compiled is float32 by torch.compile (its first
pass is not timed). Presets have random weights: speed does not depend on them, cosines do. `--compare esm2`
runs ESM-2 8M (random weights, transformers with SDPA), `--compare unirep` UniRep-1900 (benchmarks/unirep.py), on the same
sequences, sorted into batches of like length as ours are.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from phylocli import models
from phylocli.embed import Embedder
from phylocli.encoders import token_batches
from phylocli.encoders.convolutional import PRESETS
from phylocli.formats import read_sequences
from phylocli.models.device import choose_device
from phylocli.models.model import Model
from phylocli.search import unit

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples" / "families.sto"
FORMS = ("float32", "bfloat16", "int8", "compiled")


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds of `work`."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def gemm_rate(device: torch.device, dtype: torch.dtype, size: int = 1536) -> float:
    """Return operations per CPU second (on other devices: per second) of a square matrix product (2·n³), best of five."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))

    def multiply() -> None:
        (a @ b).sum().item()

    multiply()
    return 2 * size**3 / min(timed(multiply)[device.type == "cpu"] for _ in range(5))


def operations(model: Model) -> int:
    """Return operations per residue in the matrix products of the encoder (2 per weight of a linear layer)."""
    linear = sum(2 * m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    return linear if model.kernel is None else linear + 2 * model.kernel.frequencies.numel()


def in_precision(name: str, device: torch.device) -> Any:
    """Return the context in which matrix products run in a form."""
    return torch.autocast(device.type, torch.bfloat16) if name == "bfloat16" else nullcontext()


def in_form(name: str, model: Model) -> Model:
    """Return a model that computes in a form: itself, or a changed copy of it."""
    if name == "int8":
        warnings.simplefilter("ignore")  # torch's own quantisation moves to torchao, which would be one more dependency
        return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    if name == "compiled":
        model = copy.deepcopy(model)
        model.encoder.compile(dynamic=True)
    return model


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
    parser.add_argument("--forms", nargs="+", default=["float32"], choices=FORMS)
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
    ours = {f"convolutional {name}": Model.create("convolutional", preset=name, seed=0) for name in options.presets}
    ours |= {Path(name).name if "/" in name else name: models.load(name) for name in options.model}
    exact = {name: unit(Embedder(model.to(device)).pooled(sequences)) for name, model in ours.items()}
    for form in options.forms:
        rate = gemm_rate(device, torch.bfloat16 if form == "bfloat16" else torch.float32)
        print(f"\n{form}: matrix products {rate / 1e9:.0f} GFLOP a CPU second")
        print(f"{'encoder':<28}{'parameters':>12}{'residues/s':>12}{'residues/CPU s':>16}{'of products':>13}{'cosines':>15}")
        for name, original in ours.items():
            model, found = in_form(form, original), []
            with in_precision(form, device):
                warm = sequences if form == "compiled" else sequences[:20]
                Embedder(model).pooled(warm)
                wall, cpu = timed(lambda model=model, found=found: found.append(Embedder(model).pooled(sequences)))
            busy = cpu if device.type == "cpu" else wall
            share = operations(original) * total / busy / rate
            cosines = (unit(found[0]) * exact[name]).sum(axis=1)
            alike = f"{cosines.min():.4f} {cosines.mean():.4f}"
            print(f"{name:<28}{original.size:>12,}{total / wall:>12,.0f}{total / cpu:>16,.0f}{share:>13.0%}{alike:>15}")
        peers = {"esm2": ("ESM-2 8M (transformers)", lambda p=form: esm(fewer, device, p))}
        peers["unirep"] = ("UniRep-1900", lambda p=form: unirep(fewer, p))
        for key in options.compare:
            name, run = peers[key]
            size, wall, cpu = run()
            print(f"{name:<28}{size:>12,}{part / wall:>12,.0f}{part / cpu:>16,.0f}{'':>13}")


if __name__ == "__main__":
    main()
