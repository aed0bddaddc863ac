"""Ablations of the recipe of the default model: one change at a time, evaluated on unseen families.

    python benchmarks/experiments.py DATA -o FOLDER [--group parts] [--steps 100] [--seeds 0,1]

DATA holds `families/{train,more,dev}.sto.gz`; dev shares no clan with the others, and is what recipes are chosen by. Each
variant is trained for the same number of steps, so on as many residues, and embeds up to 25 members of each dev family. The
table says retrieval at the level of families and of clans (the same family left out), the correlation with patristic
distance within families, each with the interval over queries or families of the first seed, the spread over seeds, and what
training took of the CPU. Batches are half of the recipe's and whitening is fitted on a third of the members, so that a
variant takes minutes. Everything stays in FOLDER: what was killed goes on, what is done is read.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl

import phylocli
from phylocli.core import console
from phylocli.probe import NamedSource

MEMBERS = 25
SHORT = [
    "batch.pairs=128",
    "encoder.pooling_parameters.features=512",
    "kernel.features=0",
    "whitening.power=0.5",
    "whitening.dimension=0",
    "whitening.vectors=4000",
    "log.mfu=false",
]
"""Of all variants, unless a variant says otherwise: shorter runs of a smaller model than the recipe's."""

GROUPS: dict[str, dict[str, list[str]]] = {
    "parts": {
        "the recipe, 512 features": [],
        "kernel means": ["kernel.features=1024", "whitening.vectors=12000"],
        "with a head": ["head.hidden=256"],
        "no normalisation": ["head.norm=false"],
        "mean pooling (128 features)": ["encoder.pooling=mean"],
        "1,024 features": ["encoder.pooling_parameters.features=1024"],
        "no whitening": ["whitening.power=0.0"],
        "no pairs across a clan's families": ["batch.cross_family_fraction=0.0"],
        "half of them across": ["batch.cross_family_fraction=0.5"],
        "temperature 0.05": ["critic.temperature=0.05"],
        "temperature 0.2": ["critic.temperature=0.2"],
        "maximum instead of mean": ["encoder.pooling=max"],
    },
    "views": {
        "phylogenetic, crop": [],
        "distances up to 1": ["view.phylogenetic.max_dist=1.0"],
        "distances from 1 to 2": ["view.phylogenetic.min_dist=1.0", "view.phylogenetic.max_dist=2.0"],
        "distances from 2": ["view.phylogenetic.min_dist=2.0"],
        "crop alone": ["view.name=crop", "batch.cross_family_fraction=0.0"],
        "substitution, crop": ["view.name=substitution+crop", "batch.cross_family_fraction=0.0"],
        "HMM emission, crop": ["view.name=hmm-emission+crop", "batch.cross_family_fraction=0.0"],
        "dropout, crop": ["view.name=dropout+crop", "batch.cross_family_fraction=0.0", "encoder.parameters.dropout=0.1"],
        "phylogenetic, whole": ["view.name=phylogenetic"],
    },
    "objectives": {
        "nt-xent": [],
        "clip": ["objective.name=infonce"],
        "siglip": ["objective.name=siglip"],
        "dcl": ["objective.name=dcl"],
        "supcon": ["objective.name=supcon"],
        "nwj": ["objective.name=nwj"],
        "jsd": ["objective.name=jsd"],
    },
    "encoders": {
        "convolutional small": [],
        "convolutional tiny": ["encoder.preset=tiny"],
        "convolutional medium": ["encoder.preset=medium"],
        "hybrid small": ["encoder.name=hybrid"],
        "transformer small": ["encoder.name=transformer"],
        "recurrent small": ["encoder.name=recurrent"],
    },
}


def fewer(family: phylocli.Family, members: int) -> phylocli.Family:
    """Return a family reduced to a maximum number of members, sampled with a fixed seed."""
    order = np.random.default_rng(0).permutation(len(family))[:members]
    return family.subset({family.ids[k] for k in order})


def labels_of(dev: Path, folder: Path) -> Path:
    """Write family and clan (where a family has none, itself) of the dev members."""
    members = [(i, f.accession, f.clan or f.accession) for f in phylocli.read_families(dev) for i in f.ids]
    rows = pl.DataFrame(members, schema=["id", "family", "superfamily"], orient="row")
    labels = folder / "dev_labels.tsv"
    rows.unique("id", keep="first", maintain_order=True).write_csv(labels, separator="\t")
    return labels


def families(data: Path, folder: Path) -> tuple[Path, Path]:
    """Infer trees once; return the training families and the dev families, of these at most 25 members each."""
    training, dev = folder / "train.sto.gz", folder / "dev.sto.gz"
    if not training.is_file():
        sources = [data / "families" / name for name in ("train.sto.gz", "more.sto.gz")]
        records = itertools.chain.from_iterable(phylocli.read_families(source) for source in sources)
        phylocli.write_families(phylocli.infer_trees(records, jobs=2), training)
    if not dev.is_file():
        few = (fewer(family, MEMBERS) for family in phylocli.read_families(data / "families" / "dev.sto.gz"))
        phylocli.write_families(phylocli.infer_trees(few, jobs=2), dev)
    return training, dev


def trial(
    training: Path, dev: Path, labels: Path, folder: Path, steps: int, seed: int, changes: list[str]
) -> dict[str, float]:
    """Train, embed and probe one variant, or read its stored results."""
    result = folder / "result.json"
    if not result.is_file():
        command = [sys.executable, "-m", "phylocli", "train", str(training), "--recipe", "default-model", "--resume"]
        command += ["-o", str(folder / "run"), "--steps", str(steps), "--seed", str(seed)]
        pooled = any(change.startswith("encoder.pooling=") for change in changes)  # whose parameters are its own
        base = [s for s in SHORT if not (pooled and s.startswith("encoder.pooling_parameters"))]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*command, *(part for change in [*base, *changes] for part in ("--set", change))], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = phylocli.run_probes(
            [],
            labels,
            folder / "report",
            models=[NamedSource("model", folder / "run" / "model")],
            sequences=dev,
            trees=dev,
            tasks=["retrieval", "patristic"],
            baselines=["none"],
            projection="none",
        )
        found = found.to_polars().filter(pl.col("embedding") == "model")  # the table contains the random baseline, too
        rows = {f"{r['level']} {r['metric']}": (r["value"], r["low"], r["high"]) for r in found.iter_rows(named=True)}
        rows["CPU seconds"] = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,) * 3
        result.write_text(json.dumps(rows), encoding="utf-8")
    return dict(json.loads(result.read_text(encoding="utf-8")))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--group", action="append", choices=list(GROUPS), help="may be repeated; default: all")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", default="0")
    options = parser.parse_args()
    console.show_messages(console.QUIET)
    folder = options.output
    folder.mkdir(parents=True, exist_ok=True)
    training, dev = families(options.data, folder)
    members = [(i, f.accession, f.clan or f.accession) for f in phylocli.read_families(dev) for i in f.ids]
    labels = folder / "labels.tsv"
    table = pl.DataFrame(members, schema=["id", "family", "superfamily"], orient="row")
    table.unique("id", keep="first", maintain_order=True).write_csv(labels, separator="\t")
    wanted = {
        "family": "family sensitivity to first FP",
        "clan": "superfamily sensitivity to first FP",
        "patristic": "family patristic correlation",
    }
    for group in options.group or GROUPS:
        print(f"\n{group}, {options.steps} steps\n\n| | {' | '.join(wanted)} | CPU s |\n|---|{'---|' * (len(wanted) + 1)}")
        for title, changes in GROUPS[group].items():
            found = []
            for seed in map(int, options.seeds.split(",")):
                key = "_".join(changes).replace("/", "-") or "recipe"
                at = folder / f"{options.steps}" / key / str(seed)
                at.mkdir(parents=True, exist_ok=True)
                found.append(trial(training, dev, labels, at, options.steps, seed, changes))
            cells = []
            for name in wanted.values():
                value, low, high = found[0][name]
                over = np.array([f[name][0] for f in found])
                spread = f", seeds {over.min():.3f}–{over.max():.3f}" if len(found) > 1 else ""
                cells.append(f"{value:.3f} ({low:.3f}–{high:.3f}{spread})")
            print(f"| {title} | {' | '.join(cells)} | {np.mean([f['CPU seconds'][0] for f in found]):.0f} |", flush=True)


if __name__ == "__main__":
    main()
