"""Speed of pretrained protein language models: phylocli beside the usual loops, same weights, same machine, one run.

    python benchmarks/backbones.py [--shapes esm2-8m esm2-35m bert t5] [--sequences FASTA] [--count 100] [--batch 16]
                                   [--device cpu] [--threads 1] [--repeats 3] [--precision fp32] [--compile]

Weights are random: speed does not depend on them. Without --sequences, proteins have random letters and lengths as in
Swiss-Prot (log-normal, median 300), between 30 and 1,022 residues. Each repetition times, one after the other,

- `loop`: the example of the model cards: batches of --batch sequences in file order, padded to the longest, the plain call
  of transformers;
- `sorted`: the batching of ESM's extract.py (sorted by length, at most 4,096 tokens with padding), the plain call;
- `phylocli`: `Embedder.pooled`;

and compares the vectors. Printed are residues a second (of CPU time on a CPU) and the ratios, as median (lowest–highest).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phylocli.checkpoints import loading
from phylocli.checkpoints.tokenization import ESM_VOCABULARY, Tokenization
from phylocli.embed import Embedder
from phylocli.formats import read_sequences
from phylocli.models.config import ModelConfig
from phylocli.models.device import choose_device
from phylocli.models.model import Model

_ESM = {
    "model_type": "esm", "vocab_size": 33, "pad_token_id": 1, "mask_token_id": 32, "token_dropout": True,
    "position_embedding_type": "rotary", "emb_layer_norm_before": False, "max_position_embeddings": 1026,
}  # fmt: skip
_T5 = {"model_type": "t5", "vocab_size": 33, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8}
SHAPES: dict[str, dict[str, Any]] = {
    "esm2-8m": {
        **_ESM, "hidden_size": 320, "num_hidden_layers": 6, "num_attention_heads": 20, "intermediate_size": 1280,
    },
    "esm2-35m": {
        **_ESM, "hidden_size": 480, "num_hidden_layers": 12, "num_attention_heads": 20, "intermediate_size": 1920,
    },
    "bert": {
        "model_type": "bert", "vocab_size": 33, "hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8,
        "intermediate_size": 2048, "max_position_embeddings": 2048,
    },
    "t5": _T5,
}  # fmt: skip


def proteins(options: argparse.Namespace) -> list[str]:
    """Return the sequences, none longer than 1,022 residues, so that no method cuts or windows any."""
    if options.sequences:
        return [s.residues[:1022] for s in read_sequences(options.sequences)][: options.count]
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(np.log(300), 0.6, options.count).astype(int), 30, 1022)
    return ["".join(random.choice(list("ACDEFGHIKLMNPQRSTVWY"), n)) for n in lengths]


def in_file_order(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Return batches as the loops of model cards make them."""
    return [list(range(i, min(i + size, len(lengths)))) for i in range(0, len(lengths), size)]


def as_extract(lengths: Sequence[int], budget: int = 4096) -> list[list[int]]:
    """Return batches as ESM's extract.py makes them: sorted, at most `budget` tokens with padding."""
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batches and (len(batches[-1]) + 1) * (lengths[i] + 2) <= budget:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


class Plain:
    """The plain call of transformers on padded batches, with the mean over residues."""

    def __init__(self, backbone: Any, tokens: Tokenization, device: torch.device, precision: torch.dtype | None) -> None:
        self.backbone, self.tokens, self.device, self.precision = backbone.to(device).eval(), tokens, device, precision

    @torch.inference_mode()
    def __call__(self, sequences: list[str], batches: list[list[int]]) -> np.ndarray:
        """Return one vector a sequence, (n, D)."""
        words = [[*self.tokens.start, *map(self.tokens.residues.get, s), *self.tokens.end] for s in sequences]
        found = [np.empty(0)] * len(sequences)
        for batch in batches:
            width = max(len(words[i]) for i in batch)
            ids = torch.tensor([words[i] + [self.tokens.padding] * (width - len(words[i])) for i in batch])
            ids, there = ids.to(self.device), torch.tensor([[k < len(words[i]) for k in range(width)] for i in batch])
            with torch.autocast(self.device.type, self.precision, enabled=self.precision is not None):
                states = self.backbone(input_ids=ids, attention_mask=there.long().to(self.device)).last_hidden_state
            for row, i in enumerate(batch):
                start = len(self.tokens.start)
                found[i] = states[row, start : start + len(sequences[i])].mean(0).float().cpu().numpy()
        return np.stack(found)


def seconds(work: Callable[[], np.ndarray], device: torch.device) -> tuple[float, np.ndarray]:
    """Return the time of `work`, on a CPU that of the process, and its result."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    start = clock()
    found = work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start, found


def shown(values: list[float]) -> str:
    """Return the median, and the lowest and highest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", default=["esm2-8m", "esm2-35m"], choices=SHAPES)
    parser.add_argument("--sequences", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    sequences = proteins(options)
    lengths = [len(s) for s in sequences]
    print(f"{len(sequences)} proteins, {sum(lengths):,} residues, lengths {min(lengths)} to {max(lengths)}, {device}")
    print("model     residues/s  times `loop`          times `sorted`        largest difference")
    tokens = Tokenization.of_esm(ESM_VOCABULARY)
    precision = torch.bfloat16 if options.precision == "bf16" else None
    for name in options.shapes:
        torch.manual_seed(0)
        plain = Plain(loading.build(SHAPES[name]), tokens, device, precision)
        parameters = {"backbone": SHAPES[name], "tokens": tokens.to_json(), "mode": "frozen"}
        model = Model(ModelConfig("plm", parameters)).to(device).eval()
        model.encoder.backbone.load_state_dict(plain.backbone.state_dict())
        model.precision = precision
        if options.compile:
            model.encoder.compile(dynamic=True)
            Embedder(model).pooled(sequences)  # compiles
        ways: dict[str, Callable[[], np.ndarray]] = {
            "loop": lambda plain=plain: plain(sequences, in_file_order(lengths, options.batch)),
            "sorted": lambda plain=plain: plain(sequences, as_extract(lengths)),
            "phylocli": lambda model=model: Embedder(model).pooled(sequences),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        found: dict[str, np.ndarray] = {}
        for _ in range(options.repeats):
            for way, work in ways.items():
                taken, found[way] = seconds(work, device)
                times[way].append(taken)
        difference = max(np.abs(found["phylocli"] - found[way]).max() for way in ("loop", "sorted"))
        rate = sum(lengths) / statistics.median(times["phylocli"])
        ratios = [shown([a / b for a, b in zip(times[way], times["phylocli"], strict=True)]) for way in ("loop", "sorted")]
        print(f"{name:<9} {rate:>10,.0f}  {ratios[0]:<20}  {ratios[1]:<20}  {difference:.1e}", flush=True)


if __name__ == "__main__":
    main()
