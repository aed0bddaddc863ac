"""Agreement of GPU and CPU results, and speed on the GPU: one run of at most 8 minutes, a table and a JSON file.

    python benchmarks/gpu.py                       # the first CUDA device
    python benchmarks/gpu.py --output h100.json
    python benchmarks/gpu.py --device cpu --quick  # tries the script itself, without a GPU

Agreement: a training step of every recipe and encoder (loss, and gradient of all weights), embeddings, neighbours found with
them, and likelihoods, lengths, supports and interchanges of trees, all in float32 or double precision, on the device and on
the CPU. The worst relative difference stands beside what is allowed. Then speed: training of `small` and `medium` in
bfloat16, compiled or not, with MFU (model FLOP utilisation) and peak memory; embedding; search; likelihood sweeps of many
families in batches. A stage that fails is reported, and the others go on; the exit code is then 1. Stages that the time
does not suffice for are left out and named.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from rich.console import Console
from rich.table import Table

from phylocli import models, recipes
from phylocli.config.assignments import nested
from phylocli.config.train import TrainConfig
from phylocli.core import console, plugins
from phylocli.core.alphabet import AMINO_ACIDS, encode_states
from phylocli.embed import Embedder
from phylocli.formats import write_families
from phylocli.formats.family import Family
from phylocli.models.model import Model
from phylocli.search import open_table
from phylocli.search.exact import nearest
from phylocli.simulate import IndelModel, Settings, TreeModel, simulate
from phylocli.train.compilation import compile_encoder
from phylocli.train.data.loading import load_corpus
from phylocli.train.parallel.execution import choose_precision
from phylocli.train.parallel.strategy import Strategy
from phylocli.train.report import flops
from phylocli.train.report.throughput import peak_rate
from phylocli.train.task import ContrastiveTask
from phylocli.tree.likelihood import interchange, local_support, refine_trees

SECONDS = 8 * 60
ENCODERS = [name for name in plugins.ENCODERS.names() if name not in ("plm", "language-model")]
"""The weights of the others are on a hub."""
CONTRASTIVE = [name for name in recipes.names() if recipes.read(name).values.get("task", "contrast") == "contrast"]

Row = dict[str, Any]


def wait(device: torch.device) -> None:
    """Let the device finish."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def apart(found: Any, expected: Any) -> float:
    """Return the greatest difference of two arrays as a fraction of the greatest value expected."""
    found, expected = (np.nan_to_num(np.asarray(x, dtype=np.float64)) for x in (found, expected))
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))


class Benchmark:
    """Runs stages one after the other, each into a row.

    Args:
        device: to measure.
        quick: the least of everything.
        folder: for files.
    """

    def __init__(self, device: torch.device, quick: bool, folder: Path) -> None:
        self.device, self.quick, self.folder = device, quick, folder
        self.began = time.monotonic()
        self.rows: list[Row] = []
        tips, length, families = (8, 40, 4) if quick else (40, 180, 64)
        settings = Settings(TreeModel(tips=(tips, tips), mean_distance=1.0), (length, length), indels=IndelModel(0, 0))
        self.families: list[Family] = [made.family for made in simulate(settings, families)]
        self.path = folder / "families.sto"
        write_families(self.families, self.path)
        rng = np.random.default_rng(0)
        letters = np.array(list(AMINO_ACIDS))
        lengths = rng.integers(30, 120 if quick else 900, size=20 if quick else 4000)
        self.sequences = ["".join(letters[rng.integers(20, size=n)]) for n in lengths]

    def stage(self, name: str, run: Callable[[], Row]) -> None:
        """Run a stage if there is time left, and record its row."""
        row: Row = {"stage": name}
        start = time.monotonic()
        if start - self.began > SECONDS:
            row |= {"outcome": "left out: no time"}
        else:
            try:
                row |= {"outcome": "ok", **run()}
            except Exception as error:  # noqa: BLE001  of whatever kind: the other stages are worth having
                traceback.print_exc()
                row |= {"outcome": f"failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
        row["seconds"] = round(time.monotonic() - start, 2)
        self.rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)

    # --- agreement

    def agrees(self, differences: dict[str, float], allowed: float) -> Row:
        """Return the worst of some differences, and whether it is allowed."""
        worst = max(differences, key=differences.__getitem__)
        fine = differences[worst] <= allowed
        return {
            "outcome": "ok" if fine else "DIFFERS",
            "difference": differences[worst],
            "allowed": allowed,
            "where": worst,
        }

    def corpus(self, recipe: str, changes: dict[str, Any]) -> tuple[TrainConfig, Any]:
        """Return the settings of a run and its corpus."""
        config = TrainConfig.of(None, {"recipe": recipe, **nested(changes)})
        every_view = ContrastiveTask(config).requirements.views == "all"
        return config, load_corpus([self.path], config, every_view=every_view, cache=False)

    def step(self, recipe: str, encoder: str = "convolutional") -> Row:
        """Compare loss and gradients of a step."""
        changes = {"encoder.name": encoder, "encoder.preset": "tiny", "batch.pairs": 8 if self.quick else 64}
        changes["encoder.parameters.dropout"] = 0.0
        if recipe == "infomax":
            changes["objective.prior"] = 0.0  # its random numbers are the device's own
        config, corpus = self.corpus(recipe, changes)
        found = []
        for device in (torch.device("cpu"), self.device):
            task = ContrastiveTask(config)
            task.read_families(corpus.families)
            strategy = Strategy(task, config.optimiser, device)
            task.train()
            terms = strategy.gradients([corpus.batch(0)])
            gradient = torch.cat([p.grad.flatten().cpu() for p in task.parameters() if p.grad is not None])
            strategy.clip(1.0)
            strategy.optimiser.step()
            task.after_step()
            found.append((float(terms["loss"]), gradient))
        (loss, gradient), (other_loss, other) = found
        return self.agrees({"loss": apart(other_loss, loss), "gradient": apart(other, gradient)}, 1e-3)

    def embedding(self) -> Row:
        """Compare embeddings of the default model and of every encoder, long sequences in windows among them."""
        some = [*self.sequences[: 8 if self.quick else 200], self.sequences[0] * (4 if self.quick else 40)]
        differences = {}
        for name in ["default", *ENCODERS]:
            vectors = []
            for device in (torch.device("cpu"), self.device):
                model = models.load("default") if name == "default" else Model.create(name, preset="small", seed=0)
                embedder = Embedder(model.to(device), window=128 if self.quick else 8192, overlap=64 if self.quick else 2048)
                vectors.append(embedder.pooled(some))
            differences[name] = apart(vectors[1], vectors[0])
        return self.agrees(differences, 1e-3)

    def search(self) -> Row:
        """Compare the neighbours that queries embedded on the device and on the CPU have in one table."""
        texts = [s.residues for family in self.families for s in family.sequences()]
        frame = pl.DataFrame({"id": [str(i) for i in range(len(texts))]})
        vectors = Embedder(models.load("default")).pooled(texts)
        values = pl.Series("embedding", vectors, dtype=pl.Array(pl.Float32, vectors.shape[1]))
        frame.with_columns(values).write_parquet(self.folder / "table.parquet")
        table = open_table(self.folder / "table.parquet")
        queries = [vectors, Embedder(models.load("default").to(self.device)).pooled(texts)]
        units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in queries]
        k = min(10, len(texts))
        expected, found = (nearest(unit.astype(np.float32), table, k) for unit in units)
        same = np.mean([len(set(a) & set(b)) / k for a, b in zip(expected.rows, found.rows, strict=True)])
        return self.agrees({"cosines": apart(found.cosines, expected.cosines), "neighbours": 1 - float(same)}, 1e-2)

    def trees(self) -> tuple[list[Any], list[list[str]], list[Any]]:
        """Return trees, names and alignments of the families."""
        return (
            [family.require_tree() for family in self.families],
            [list(family.ids) for family in self.families],
            [encode_states(family.rows) for family in self.families],
        )

    def likelihood(self) -> Row:
        """Compare likelihoods and lengths after a full fit, supports, and a tree after interchanges."""
        trees, names, states = (part[:8] for part in self.trees())
        runs = []
        for device in ("cpu", str(self.device)):
            fits = refine_trees(trees, names, states, sweeps=10, precision="double", device=device)
            support = local_support(trees, names, states, replicates=100, precision="double", device=device)
            moved = interchange(trees[0], names[0], states[0], device=device)
            runs.append(
                {
                    "log likelihood": [fit.log_likelihood for fit in fits],
                    "lengths": np.concatenate([fit.tree.length for fit in fits]),
                    "shape": [fit.alpha for fit in fits],
                    "aBayes": np.concatenate([s.abayes for s in support]),
                    "interchanges": [moved.log_likelihood],
                }
            )
        return self.agrees({name: apart(runs[1][name], runs[0][name]) for name in runs[0]}, 1e-4)

    # --- speed

    def training(self, preset: str, compiled: bool) -> Row:
        """Measure steps of the default recipe's kind in the device's own precision."""
        pairs = 8 if self.quick else 256
        changes = {"encoder.preset": preset, "batch.pairs": pairs, "batch.max_tokens": 65_536, "view.crop.max_length": 180}
        config, corpus = self.corpus("simclr", changes)
        task = ContrastiveTask(config)
        task.execution.precision = choose_precision("auto", self.device)
        work = flops.count(task.model)
        strategy = Strategy(task, config.optimiser, self.device)
        batches = [corpus.batch(i) for i in range(2 if self.quick else 16)]
        began = time.monotonic()
        if compiled:
            compile_encoder(task, batches[0])
        task.train()

        def step(number: int) -> float:
            strategy.gradients([batches[number % len(batches)]])
            strategy.clip(1.0)
            strategy.optimiser.step()
            task.after_step()
            return flops.of_batch(work, task, batches[number % len(batches)])

        for number in range(2 if self.quick else len(batches)):  # every shape once
            step(number)
        wait(self.device)
        warm = time.monotonic() - began
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        start, residues, operations, number = time.perf_counter(), 0, 0.0, 0
        while time.perf_counter() - start < (0.2 if self.quick else 12):
            for _ in range(1 if self.quick else 8):  # the host may run ahead
                operations += step(number)
                residues += batches[number % len(batches)].residues
                number += 1
            wait(self.device)
        seconds = time.perf_counter() - start
        return {
            "residues_per_second": round(residues / seconds),
            "mfu": round(operations / seconds / peak_rate(self.device, task.execution.precision), 4),
            "precision": str(task.execution.precision).removeprefix("torch."),
            "steps_per_second": round(number / seconds, 2),
            "warm_up_seconds": round(warm, 1),
            **self.memory(),
        }

    def memory(self) -> Row:
        """Return the peak of the device's memory since the last reset."""
        if self.device.type != "cuda":
            return {}
        return {"peak_memory_mb": round(torch.cuda.max_memory_allocated(self.device) / 1e6)}

    def embedding_speed(self, name: str) -> Row:
        """Measure whole embeddings, tokens made on the host and vectors brought back."""
        model = models.load("default") if name == "default" else Model.create("convolutional", preset=name, seed=0)
        embedder = Embedder(model.to(self.device))
        embedder.pooled(self.sequences[: len(self.sequences) // 4])
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        fresh = [sequence[::-1] for sequence in self.sequences]  # none that is remembered
        start = time.perf_counter()
        embedder.pooled(fresh)
        seconds = time.perf_counter() - start
        return {"residues_per_second": round(sum(map(len, fresh)) / seconds), **self.memory()}

    def search_speed(self) -> Row:
        """Measure queries per second, with embedding on the device and search on the CPU."""
        table = open_table(self.folder / "table.parquet")
        embedder = Embedder(models.load("default").to(self.device))
        queries = self.sequences[: 10 if self.quick else 2000]
        start = time.perf_counter()
        vectors = embedder.pooled(queries)
        middle = time.perf_counter()
        nearest(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), table, min(10, len(table)))
        end = time.perf_counter()
        return {
            "queries_per_second": round(len(queries) / (end - start), 1),
            "rows": len(table),
            "embedding_seconds": round(middle - start, 3),
            "search_seconds": round(end - middle, 3),
        }

    def likelihood_speed(self) -> Row:
        """Measure families per minute in `refine_many`, one sweep each."""
        trees, names, states = self.trees()
        options: dict[str, Any] = {"sweeps": 1, "fit_alpha": False, "device": str(self.device)}
        refine_trees(trees[:4], names[:4], states[:4], **options)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        repeats = 1 if self.quick else 8
        wait(self.device)
        start = time.perf_counter()
        refine_trees(trees * repeats, names * repeats, states * repeats, **options)
        wait(self.device)
        seconds = time.perf_counter() - start
        return {"families_per_minute": round(60 * len(trees) * repeats / seconds), **self.memory()}

    def run(self) -> None:
        """Do all stages, agreement first."""
        for recipe in CONTRASTIVE:
            self.stage(f"agreement: step, {recipe}", lambda recipe=recipe: self.step(recipe))
        for encoder in ENCODERS:
            self.stage(f"agreement: step, {encoder}", lambda encoder=encoder: self.step("simclr", encoder))
        self.stage("agreement: embedding", self.embedding)
        self.stage("agreement: search", self.search)
        self.stage("agreement: likelihood", self.likelihood)
        for preset in ("tiny",) if self.quick else ("small", "medium"):
            for compiled in (False,) if self.quick else (False, True):
                name = f"speed: training, {preset}{', compiled' if compiled else ''}"
                self.stage(name, lambda preset=preset, compiled=compiled: self.training(preset, compiled))
        for name in ("default",) if self.quick else ("default", "medium"):
            self.stage(f"speed: embedding, {name}", lambda name=name: self.embedding_speed(name))
        self.stage("speed: search", self.search_speed)
        self.stage("speed: likelihood sweeps", self.likelihood_speed)


def show(rows: list[Row]) -> None:
    """Print the rows as a table."""
    table = Table("stage", "outcome", "figures", "seconds")
    for row in rows:
        figures = ", ".join(
            f"{name.replace('_', ' ')} {value:.2g}" if isinstance(value, float) and value < 0.01 else f"{name} {value}"
            for name, value in row.items()
            if name not in ("stage", "outcome", "seconds")
        )
        table.add_row(row["stage"], row["outcome"], figures, f"{row['seconds']:.1f}")
    Console(width=160).print(table)


def main() -> None:
    """Run the stages, print the table, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu to try the script [cuda]")
    parser.add_argument("--quick", action="store_true", help="the least of everything: tries the script, measures nothing")
    parser.add_argument("--output", type=Path, default=Path("gpu.json"), help="JSON file [gpu.json]")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit(
            f"No CUDA device: torch {torch.__version__} "
            + ("is a build without CUDA" if torch.version.cuda is None else f"(CUDA {torch.version.cuda}) finds none")
            + "; --device cpu --quick tries the script itself"
        )
    console.show_messages(console.QUIET)
    with tempfile.TemporaryDirectory() as folder:
        benchmark = Benchmark(device, options.quick, Path(folder))
        benchmark.run()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    about = {"device": str(device), "name": name, "torch": torch.__version__, "cuda": torch.version.cuda}
    print(f"{name}, torch {torch.__version__}{', quick: figures mean nothing' if options.quick else ''}")
    show(benchmark.rows)
    options.output.write_text(json.dumps({**about, "quick": options.quick, "rows": benchmark.rows}, indent=2) + "\n")
    sys.exit(any(row["outcome"] != "ok" and not row["outcome"].startswith("left out") for row in benchmark.rows))


if __name__ == "__main__":
    main()
