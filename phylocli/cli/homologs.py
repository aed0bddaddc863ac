"""Find homologs of sequences in a database and align them."""

from __future__ import annotations

from typing import Annotated

import typer

from phylocli.cli._options import Output
from phylocli.config.homologs import HomologsConfig
from phylocli.core.errors import UsageError
from phylocli.formats.input_formats import SEQUENCE_FORMATS
from phylocli.formats.output_formats import families_format

Sequences = Annotated[
    str | None,
    typer.Argument(
        metavar="INPUT|-",
        help=f"Sequences ({SEQUENCE_FORMATS}), compressed or not; '-' or nothing is standard input.",
    ),
]

EXAMPLES = [
    "phylocli homologs seqs.fasta --database uniprot.fasta.gz --engine mmseqs -o homologs.sto.gz",
    "phylocli homologs seqs.fasta --database db.fasta | phylocli embed --per-family -o emb.parquet",
    "phylocli homologs seqs.fasta --database db.fasta --rounds 3 | phylocli predict --per-family --what ss -o ss.fasta",
]


def command(
    config: HomologsConfig,
    database: Annotated[str, typer.Option(metavar="FILE", help="Proteins to search for homologs.")],
    input: Sequences = None,
    output: Output = None,
) -> None:
    """Find homologs of sequences in a database and align them.

    Writes one Stockholm record per sequence, with its id as name: the sequence, and regions of its homologs, aligned with
    it. 'embed --per-family' averages the embeddings of each record, which finds many more related proteins than embeddings
    of single sequences; 'predict --per-family' predicts from all of them.
    """
    from phylocli.formats import write_families
    from phylocli.formats.provenance import write_sidecar
    from phylocli.homologs import find_homologs

    if families_format(output) != "stockholm":
        raise UsageError("the output has a family for each sequence, and FASTA one", fix="use the suffix .sto")
    write_families(find_homologs(input, database, config), output)
    write_sidecar(output, "homologs", config.to_parameters())
