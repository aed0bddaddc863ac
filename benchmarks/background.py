"""Build the background for E-values of `search`: the sequences once, the vectors for each model.

    python benchmarks/background.py sequences FAMILIES.sto.gz [...]
    python benchmarks/background.py embed MODEL
    python benchmarks/background.py families MODEL H.sto.gz

`sequences` writes phylocli/search/background.fasta.gz, which ships with the package: 2,560 sequences in random order, at
most one of each clan of the families, so that a query has at most a few homologs among them (`benchmarks/default_corpus.py`
writes families with clans, which profile searches, members in common, Pfam and CATH define):

- 2,048 proteins and domains of 30 to 1,000 residues;
- 512 fragments of others, their lengths log-uniform from 8 to 120 residues: short sequences are near each other, related or
  not.

`embed` embeds them with a model (a name or folder) and writes `background.safetensors` into its folder, as its first search
would. `families` averages each with its homologs, for E-values of embeddings of families, and writes
`background-families.safetensors`. That of the default model is made from the homologs in UniProt 2014-01 (Debian's
`metastudent-data`; three rounds of MMseqs2, at most 20 of each protein):

    phylocli homologs phylocli/search/background.fasta.gz --database uniprot.fasta --engine mmseqs --rounds 3 -o H.sto.gz
"""

from __future__ import annotations

import argparse
import gzip

import numpy as np

from phylocli import models
from phylocli.embed import Embedder
from phylocli.formats import read_families
from phylocli.search.background import SEQUENCES, background_of, write_family_background

WHOLE, FRAGMENTS = 2048, 512
SHORTEST, LONGEST = 30, 1000
FRAGMENT = (8, 120)


def choose(files: list[str]) -> list[tuple[str, str]]:
    """Return ids and sequences of the background, in random order."""
    rng = np.random.default_rng(0)
    members: dict[str, list[tuple[str, str]]] = {}
    for path in files:
        for family in read_families(path):
            fit = [s for s in family.sequences() if SHORTEST <= len(s.residues) <= LONGEST and s.residues.isalpha()]
            if fit:
                drawn = fit[int(rng.integers(len(fit)))]
                members.setdefault(family.clan or family.accession, []).append((drawn.id, drawn.residues))
    order = [list(members)[int(i)] for i in rng.permutation(len(members))[: WHOLE + FRAGMENTS]]
    chosen = {}
    for rank, clan in enumerate(order):
        name, residues = members[clan][int(rng.integers(len(members[clan])))]
        if rank >= WHOLE:
            length = min(round(np.exp(rng.uniform(*np.log(FRAGMENT)))), len(residues))
            start = int(rng.integers(len(residues) - length + 1))
            name, residues = f"{name.split('/')[0]}/{start + 1}-{start + length}", residues[start : start + length]
        chosen[residues] = name
    return [(name, residues) for residues, name in chosen.items()]


def main() -> None:
    """Write the sequences, or the vectors of a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    chosen = actions.add_parser("sequences")
    chosen.add_argument("families", nargs="+")
    actions.add_parser("embed").add_argument("model")
    averaged = actions.add_parser("families")
    averaged.add_argument("model")
    averaged.add_argument("homologs")
    options = parser.parse_args()
    if options.action == "embed":
        background_of(Embedder(models.load(options.model)))
        return
    if options.action == "families":
        print(write_family_background(Embedder(models.load(options.model)), read_families(options.homologs)))
        return
    found = choose(options.families)
    text = "".join(f">{name}\n{residues}\n" for name, residues in found)
    SEQUENCES.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{SEQUENCES}: {sum(len(residues) for _, residues in found):,} residues")


if __name__ == "__main__":
    main()
