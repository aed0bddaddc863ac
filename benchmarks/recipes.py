"""Train all recipes briefly on the example families and print the results.

    python benchmarks/recipes.py [FAMILIES.sto] [--steps 100] [--seeds 2] [--preset tiny] [--recipes moco swav …]

All runs use the same encoder, 32 pairs a step and the recipes' own views, heads and critics; a tenth of each family's
members are held out as whole clades. Printed are, as the mean over the seeds: the training loss of the last 20 steps;
the least loss that an encoder would have whose vectors are all equal; and on held-out pairs of the recipe's own view
InfoNCE in nats by its critic and the share of views whose nearest other view is of the same family (both compare recipes of
the same view only). The rest is the same measure for all: the share of held-out members, whole sequences, whose nearest
other held-out member is of their family (lowest and highest of the seeds beside it), and the effective rank of their
embeddings.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import polars as pl
import torch

from phylocli import recipes
from phylocli.config.train import TrainConfig
from phylocli.core import console
from phylocli.core.alphabet import encode_tokens
from phylocli.encoders import pad_batch
from phylocli.formats import read_families, write_families
from phylocli.models.model import Model
from phylocli.pairs import Split, split_clades
from phylocli.statistics import effective_rank
from phylocli.train import train_model
from phylocli.train.data.loading import load_corpus
from phylocli.train.task import ContrastiveTask
from phylocli.train.validation import collapsed_loss, retrieval
from phylocli.tree import infer_trees


@torch.no_grad()
def homologs(model: Model, trees: Path, split: Split) -> tuple[float, float]:
    """Return retrieval and effective rank of the held-out members' embeddings, whole sequences."""
    vectors, labels = [], []
    for code, family in enumerate(read_families(trees)):
        held_out = split.members(family, "validation")
        for sequence in held_out.sequences() if held_out is not None else ():
            vectors.append(model(*pad_batch([encode_tokens(sequence.residues)]))[0])
            labels.append(code)
    x = torch.stack(vectors)
    return float(retrieval(x, torch.tensor(labels))), effective_rank(x.numpy())


def split_path(trees: Path, seed: int) -> Path:
    """Return the path of the split, which is the same for all recipes; it is written if it does not exist."""
    path = trees.with_name(f"split-{seed}.parquet")
    if not path.is_file():
        held_out = [(family, split_clades(family, 0.1, seed)) for family in read_families(trees)]
        held_out = [(f, out if len(out) >= 2 and len(f) - len(out) >= 2 else set()) for f, out in held_out]
        Split.of((f, [("validation", out), ("train", set(f.ids) - out)]) for f, out in held_out).write(path)
    return path


def run(recipe: str, trees: Path, folder: Path, steps: int, seed: int, preset: str) -> dict[str, float]:
    """Train one recipe and return its figures."""
    start = time.process_time()
    settings = {
        "encoder.preset": preset, "batch.pairs": 32, "precision": "fp32", "checkpoints.every": steps, "checkpoints.keep": 1,
        "validation.every": steps, "validation.split": str(split_path(trees, seed)),
    }  # fmt: skip
    model = Model.load(train_model([trees], folder, recipe=recipe, steps=steps, seed=seed, device="cpu", settings=settings))
    config = TrainConfig.read(folder / "config.toml")
    metrics = pl.read_parquet(folder / "metrics.parquet")
    last = metrics.row(-1, named=True)
    every = ContrastiveTask(config).requirements.views == "all"
    corpus = load_corpus([trees], config, every_view=every)
    found, rank = homologs(model, trees, corpus.split())
    return {
        "loss": metrics["loss"][-20:].mean(),  # type: ignore[dict-item]
        "collapsed": collapsed_loss(folder, corpus, steps - 1),
        "bound": last["val_bound"],
        "ceiling": last["val_ceiling"],
        "retrieval": last["val_retrieval"],
        "homologs": found,
        "rank": rank,
        "seconds": time.process_time() - start,
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parent.parent / "examples" / "families.sto"
    parser.add_argument("families", nargs="?", type=Path, default=default)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--preset", default="tiny")
    contrastive = [name for name in recipes.names() if recipes.read(name).values.get("task", "contrast") == "contrast"]
    parser.add_argument("--recipes", nargs="+", default=contrastive)
    options = parser.parse_args()
    console.show_messages(console.QUIET)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        trees = Path(scratch) / "trees.sto"
        write_families(infer_trees(read_families(options.families)), trees)
        untrained = Model.create("convolutional", preset=options.preset).eval()
        rows = [homologs(untrained, trees, Split.read(split_path(trees, seed))) for seed in range(options.seeds)]
        print("| recipe | loss | collapsed | bound of ceiling, nats | retrieval: views | homologs | rank | CPU s |")
        print("|---|---|---|---|---|---|---|---|")
        found, rank = (sum(column) / len(rows) for column in zip(*rows, strict=True))
        print(f"| untrained encoder | | | | | {found:.2f} | {rank:.1f} | |", flush=True)
        for recipe in options.recipes:
            results = [
                run(recipe, trees, Path(scratch) / f"{recipe}-{seed}", options.steps, seed, options.preset)
                for seed in range(options.seeds)
            ]
            mean = {name: sum(r[name] for r in results) / len(results) for name in results[0]}
            low, high = min(r["homologs"] for r in results), max(r["homologs"] for r in results)
            bound = f"{mean['bound']:.2f} of {mean['ceiling']:.2f}"
            print(
                f"| `{recipe}` | {mean['loss']:.2f} | {mean['collapsed']:.2f} | {bound} "
                f"| {mean['retrieval']:.2f} | {mean['homologs']:.2f} ({low:.2f}–{high:.2f}) | {mean['rank']:.1f} "
                f"| {mean['seconds']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
