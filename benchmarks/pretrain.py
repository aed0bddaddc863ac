"""Train the default recipe on a corpus of families and hold it against baselines on proteins that it never saw.

    python benchmarks/pretrain.py DATA -o FOLDER [--steps 650] [--families N]

DATA holds `families/{train,more,dev}.sto.gz` (records with alignments; dev shares no clan with the others) and
`scope/dev.tsv.gz` (id, class, fold, superfamily, family, sequence). Prints the two reports' tables: retrieval among SCOPe
domains, and retrieval and patristic correlation on the dev families. Everything stays in FOLDER; a model that is there is
used again.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import polars as pl

import phylocli
from phylocli import console
from phylocli.formats.tables import read_table


def with_trees(sources: list[Path], target: Path, limit: int | None) -> Path:
    """Infer the trees of all families of these files, once."""
    if not target.is_file():
        records = itertools.chain.from_iterable(phylocli.read_families(source) for source in sources)
        phylocli.write_families(phylocli.infer_trees(itertools.islice(records, limit), jobs=2), target)
    return target


def report(name: str, source: Path, labels: Path, model: Path, folder: Path, trees: Path | None) -> None:
    """Embed with the trained and the untrained encoder, probe, and print the summary."""
    tables = []
    for kind, untrained in (("trained", None), ("untrained", 0)):
        table = folder / f"{name}_{kind}.parquet"
        phylocli.embed_file(source, table, model=model, untrained=untrained, on_duplicate="keep-first")
        tables.append(f"{kind}={table}")
    tasks = ["retrieval", "patristic"] if trees else ["retrieval"]
    phylocli.run_probes(tables, labels, folder / f"{name}_report", tasks=tasks, sequences=source, trees=trees)
    print((folder / f"{name}_report" / "report.md").read_text(encoding="utf-8"))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=650)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--families", type=int, help="only so many training and dev families, for a try")
    options = parser.parse_args()
    console.set_verbosity(console.QUIET)
    folder, families = options.output, options.data / "families"
    folder.mkdir(parents=True, exist_ok=True)
    training = with_trees([families / "train.sto.gz", families / "more.sto.gz"], folder / "train.sto.gz", options.families)
    dev = with_trees([families / "dev.sto.gz"], folder / "dev.sto.gz", options.families)
    if not (folder / "run" / "model" / "config.json").is_file():
        phylocli.train_model([training], folder / "run", steps=options.steps, seed=options.seed, resume=True)
    model = folder / "run" / "model"
    metrics = read_table(folder / "run" / "metrics.parquet")
    print(f"{metrics['residues'].sum():,} residues in {metrics['seconds'].sum() / 60:.1f} minutes\n")

    scope = read_table(options.data / "scope" / "dev.tsv.gz")
    sequences, labels = folder / "scope.fasta", folder / "scope_labels.tsv"
    sequences.write_text("".join(f">{i}\n{s}\n" for i, s in zip(scope["id"], scope["sequence"], strict=True)))
    scope.select("id", "fold", "superfamily", "family").write_csv(labels, separator="\t")
    report("scope", sequences, labels, model, folder, None)

    members = [(i, family.accession) for family in phylocli.read_families(dev) for i in family.ids]
    labels = folder / "dev_labels.tsv"
    rows = pl.DataFrame(members, schema=["id", "family"], orient="row").unique("id", keep="first", maintain_order=True)
    rows.write_csv(labels, separator="\t")
    report("dev", dev, labels, model, folder, dev)


if __name__ == "__main__":
    main()
