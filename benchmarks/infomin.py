"""Homologs compared with noise as views: `phylocli infomin` on Pfam families, evaluated on families of other clans.

    python benchmarks/infomin.py DATA -o FOLDER [--families 400] [--steps 100] [--seeds 0,1,2] [--jobs 1]

DATA holds `families/{train,more,dev}.sto.gz`; dev shares no clan with the others. A random 400 of the training families are
trained on, by the recipe of the default model without whitening and without pairs across families, with its smallest encoder
and 32 pairs a step; quality is that of up to 25 members of each dev family. Prints the two tables and says where the figure
is. What was killed goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from experiments import families

import phylocli
from phylocli.core import console
from phylocli.infomin import QUALITIES, analyse

SETTINGS = {
    "batch.pairs": 32,
    "batch.cross_family_fraction": 0.0,
    "encoder.pooling_parameters.features": 512,
    "kernel.features": 0,
    "whitening.power": 0.0,
}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--families", type=int, default=400)
    parser.add_argument("--bands", default="0:0.5,0.5:1,1:1.5,1.5:2.5")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    console.show_messages(console.QUIET)
    options.output.mkdir(parents=True, exist_ok=True)
    training, dev = families(options.data, options.output)
    some = options.output / f"train{options.families}.sto.gz"
    if not some.is_file():
        records = list(phylocli.read_families(training))
        chosen = sorted(np.random.default_rng(0).permutation(len(records))[: options.families])
        phylocli.write_families((records[k] for k in chosen), some)
    folder = options.output / "infomin"
    table = analyse(
        some, folder, bands=options.bands, recipe="default-model", steps=options.steps, train=SETTINGS, evaluate=dev,
        seeds=[int(seed) for seed in options.seeds.split(",")], jobs=options.jobs,
    )  # fmt: skip
    columns = ["nats_infonce", "nats_smile", *QUALITIES]
    print(f"| view | distance | {' | '.join(columns)} |\n|---|---|{'---|' * len(columns)}")
    for row in table.iter_rows(named=True):
        distance = "–" if row["distance"] is None else f"{row['distance']:.2f}"
        cells = [f"{row[c]:.3f} ({row[f'{c}_low']:.3f}–{row[f'{c}_high']:.3f})" for c in columns]
        print(f"| {row['view']} | {distance} | {' | '.join(cells)} |")
    print(f"\nfigure: {folder / 'infomin.svg'}, differences: {folder / 'comparisons.tsv'}")


if __name__ == "__main__":
    main()
