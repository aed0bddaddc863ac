"""Build the background for E-values of `search`: the sequences once, the vectors for each model.

    python benchmarks/background.py sequences FAMILIES.sto.gz [...] --proteins PROTEINS.tsv.gz [--exclude KEYS.txt.gz]
    python benchmarks/background.py embed MODEL

`sequences` writes phylocli/search/background.fasta.gz, which ships with the package: 2,560 sequences in random order, no two
of which are homologs as far as Pfam knows. 1,920 are drawn from 4,096:

- real domains: one member of a family, at most two families of a clan;
- reversed domains: another member of each family;
- reversed proteins: of PROTEINS, a table with a column `sequence` (full length, at most 1,000 residues). Sequences whose key
  (the first 12 hexadecimal digits of their SHA-256) is among KEYS are left out.

640 are fragments of other reversed proteins, their lengths log-uniform from 8 to 120 residues: short sequences are near each
other, related or not.

`embed` embeds them with a model (a name or folder) and writes `background.safetensors` into its folder, as its first search
would.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl

from phylocli import models
from phylocli.embed import Embedder
from phylocli.formats import read_families
from phylocli.search.background import SEQUENCES, background_of

TOTAL, WHOLE, FRAGMENTS = 4096, 1920, 640
A_CLAN = 2
SHORTEST, LONGEST = 30, 1000
FRAGMENT = (8, 120)


def choose(families: list[str], proteins: str, exclude: str | None) -> list[tuple[str, str]]:
    """Return ids and sequences of the background, in random order."""
    rng = np.random.default_rng(0)
    real: list[tuple[str, str]] = []
    reverse: list[tuple[str, str]] = []
    of_clan: Counter[str] = Counter()
    for path in families:
        for family in read_families(path):
            members = family.sequences()
            first, second = (members[int(i)] for i in rng.permutation(len(members))[:2])
            if not family.clan or of_clan[family.clan] < A_CLAN:
                of_clan[family.clan or ""] += 1
                real.append((first.id, first.residues))
            reverse.append((f"reversed-{second.id}", second.residues[::-1]))
    keys = set(gzip.decompress(Path(exclude).read_bytes()).decode().split()) if exclude else set()
    whole = [
        sequence
        for sequence in pl.read_csv(proteins, separator="\t")["sequence"].unique(maintain_order=True)
        if SHORTEST <= len(sequence) <= LONGEST and hashlib.sha256(sequence.encode()).hexdigest()[:12] not in keys
    ]
    picked = rng.choice(len(whole), TOTAL - len(real) - len(reverse), replace=False)
    found = real + reverse + [(f"reversed-protein-{i}", whole[i][::-1]) for i in picked]
    print(f"{len(real):,} domains, {len(reverse):,} reversed domains, {len(picked):,} reversed proteins of {len(whole):,}")
    chosen = [found[i] for i in rng.permutation(len(found))[:WHOLE]]
    others = rng.choice(np.setdiff1d(np.arange(len(whole)), picked), FRAGMENTS, replace=False)
    for i, size in zip(others, np.exp(rng.uniform(*np.log(FRAGMENT), FRAGMENTS)), strict=True):
        length = min(round(size), len(whole[i]))
        start = rng.integers(0, len(whole[i]) - length + 1)
        chosen.append((f"reversed-fragment-{i}", whole[i][start : start + length][::-1]))
    return [chosen[i] for i in rng.permutation(len(chosen))]


def main() -> None:
    """Write the sequences, or the vectors of a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    chosen = actions.add_parser("sequences")
    chosen.add_argument("families", nargs="+")
    chosen.add_argument("--proteins", required=True)
    chosen.add_argument("--exclude")
    actions.add_parser("embed").add_argument("model")
    options = parser.parse_args()
    if options.action == "embed":
        background_of(Embedder(models.load(options.model)))
        return
    found = choose(options.families, options.proteins, options.exclude)
    text = "".join(f">{name}\n{residues}\n" for name, residues in found)
    SEQUENCES.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{SEQUENCES}: {sum(len(residues) for _, residues in found):,} residues")


if __name__ == "__main__":
    main()
