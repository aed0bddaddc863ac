"""Find homologs of sequences in a database and align them."""

from __future__ import annotations

from typing import Annotated

import typer

from phylocli.cli._options import Input, Output
from phylocli.config.homologs import HomologsConfig

EXAMPLES = [
    "phylocli homologs seqs.fasta --database uniref50.fasta.gz --engine mmseqs -o homologs.sto.gz",
    "phylocli homologs seqs.fasta --database db.fasta | phylocli embed --per-family -o emb.parquet",
    "phylocli homologs seqs.fasta --database db.fasta --rounds 3 | phylocli predict --what ss -o ss.fasta",
]


def command(
    config: HomologsConfig,
    database: Annotated[str, typer.Option(metavar="FILE", help="Proteins among which homologs are.")],
    input: Input = None,
    output: Output = None,
) -> None:
    """Find homologs of sequences in a database and align them.

    Writes one Stockholm record per sequence, with its id as name: the sequence, and regions of its homologs, aligned with
    it. 'embed --per-family' averages the embeddings of a record, which finds much more of what is related than
    the embedding of the sequence alone; 'predict' averages predictions.
    """
    from phylocli.formats import write_families
    from phylocli.formats.provenance import write_sidecar
    from phylocli.homologs import find_homologs

    write_families(find_homologs(input, database, config), output)
    write_sidecar(output, "homologs", config.to_parameters())
