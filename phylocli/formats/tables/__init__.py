"""Tables: their columns, and reading and writing them as Parquet, Arrow IPC, TSV or CSV."""

from __future__ import annotations

from phylocli.formats.tables.reading import (
    arrow_frame,
    explained,
    metadata_of,
    read_arrow,
    read_parquet_metadata,
    read_table,
    require_columns,
)
from phylocli.formats.tables.schemas import (
    benchmark_schema,
    embeddings_schema,
    hits_schema,
    information_schema,
    inputs_schema,
    labels_schema,
    members_schema,
    metrics_schema,
    negatives_schema,
    pairs_schema,
    residues_schema,
    sites_schema,
    split_schema,
    summary_schema,
)
from phylocli.formats.tables.writing import TableFormat, TableWriter, format_of, has_format, parse_format, write_table

__all__ = [
    "TableFormat",
    "TableWriter",
    "arrow_frame",
    "benchmark_schema",
    "embeddings_schema",
    "explained",
    "format_of",
    "has_format",
    "hits_schema",
    "information_schema",
    "inputs_schema",
    "labels_schema",
    "members_schema",
    "metadata_of",
    "metrics_schema",
    "negatives_schema",
    "pairs_schema",
    "parse_format",
    "read_arrow",
    "read_parquet_metadata",
    "read_table",
    "require_columns",
    "residues_schema",
    "sites_schema",
    "split_schema",
    "summary_schema",
    "write_table",
]
