"""Make a table of labels from family records, FASTA headers, GO annotations or UniProt tables."""

from __future__ import annotations

from typing import Annotated

import typer

from phylocli.cli._options import Output, TableFormatOption
from phylocli.config.labels import MakeLabelsConfig

EXAMPLES = [
    "phylocli labels families.sto -o labels.tsv",
    "phylocli labels families.sto --columns family_name --columns species -o labels.tsv",
    "phylocli labels uniprot_export.tsv --columns ec_class --ids seqs.fasta -o labels.tsv",
    "phylocli labels goa_human.gaf.gz --evidence experimental --aspect function --ids emb.parquet -o go.tsv",
    "phylocli labels seqs.fasta --pattern '(?P<type>alpha|beta)' -o labels.tsv",
    "phylocli labels families.sto uniprot_export.tsv -o both.tsv",
]
NO_ARGS_IS_HELP = True


def command(
    config: MakeLabelsConfig,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Stockholm, FASTA, GO annotations (GAF 2.x), a table of UniProt or any other; '-' is standard input. "
            "Several are joined by id.",
        ),
    ],
    ids: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Sequences or embeddings: write only their ids, matched by accession if they differ "
            "(sp|P68871|HBB_HUMAN is P68871).",
        ),
    ] = None,
    output: Output = None,
    format: TableFormatOption = None,
) -> None:
    """Make a table of labels for 'probe', 'map' and 'mi': a column of ids and columns of labels.

    Columns, the usual ones first. Stockholm: family, clan; family_name, family_title, species. FASTA headers: family,
    superfamily, fold, class (SCOPe), organism, taxon (UniProt, NCBI); gene, protein, species; or the groups of --pattern.
    GAF: go; symbol, taxon. UniProt tables: protein_family, ec, ec_class, go, go_function, go_process, go_component, pfam;
    organism, taxon, interpro, keywords, domain, kingdom, phylum, taxon_class, taxon_order, taxon_family, genus. Other
    tables: all. Several values in one cell are separated by ';'.
    """
    from phylocli.formats.tables import parse_format
    from phylocli.probe import write_labels

    write_labels(sources, output, config, ids=ids, format=parse_format(format))
