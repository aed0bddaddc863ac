"""Fit the residue PLDA for `phylocli search --rerank residues` and write it to the folder of the model.

    python benchmarks/homology.py MODEL FAMILIES.sto.gz [...] [--layers 2 4 6] [--heads 3di ss3] [--dimension 64]

MODEL is a name or folder. Features are the outputs of every second layer and the log probabilities of all heads, unless
others are named. The default model's come from the families that it was trained on (`families/train.sto.gz` and
`families/more.sto.gz`), four members of each. The file is of one set of weights: fit again after training.
"""

from __future__ import annotations

import argparse
import itertools
import time

from phylocli import models
from phylocli.formats import read_families
from phylocli.search import fit_residue_plda


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("families", nargs="+")
    parser.add_argument("--layers", type=int, nargs="*")
    parser.add_argument("--heads", nargs="*")
    parser.add_argument("--composition", type=float, help="fraction of the score due to composition that does not count")
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("-o", "--output", help="another folder than the model's")
    options = parser.parse_args()
    folder = models.find(options.model)
    start = time.process_time()
    families = itertools.chain.from_iterable(read_families(path) for path in options.families)
    fitted = fit_residue_plda(
        models.load(folder),
        families,
        layers=options.layers,
        heads=options.heads,
        composition=options.composition,
        dimension=options.dimension,
    )
    path = fitted.save(options.output or folder)
    print(f"{path}: {time.process_time() - start:.0f} CPU seconds; correlations {fitted.correlation[:5].round(3)} …")


if __name__ == "__main__":
    main()
