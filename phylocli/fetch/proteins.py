"""Download of UniProt proteins as FASTA, and of their annotations as a table of labels for `probe`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from phylocli.core.errors import BadInputError, UsageError
from phylocli.fetch.http import Client
from phylocli.fetch.retry_policy import Policy, default_policy
from phylocli.fetch.services.addresses import find_services
from phylocli.fetch.services.uniprot import Annotation, UniProt
from phylocli.formats.provenance import Source, write_sidecar
from phylocli.formats.sequences import fasta
from phylocli.formats.sequences.fasta import Sequence
from phylocli.formats.streams import PathLike, open_text_output
from phylocli.formats.tables import TableWriter, labels_schema

logger = logging.getLogger(__name__)

_ROWS = 2000


def fetch_proteins(
    output: PathLike | None,
    *,
    query: str | None = None,
    accessions: Iterable[str] | None = None,
    annotations: PathLike | None = None,
    base_url: str | None = None,
    policy: Policy | None = None,
) -> int:
    """Write the proteins that match a query, or that have given accessions, as FASTA; return their number.

    Headers are those of UniProt, so ids are of the form `sp|P68871|HBB_HUMAN`, also in the table of annotations.

    Args:
        output: FASTA file, or `-`/None for standard output.
        query: a query in UniProt's syntax, for example `xref:pfam-PF00042 AND reviewed:true`.
        accessions: accessions of proteins, instead of a query.
        annotations: path for a table of annotations, one row per protein; see `formats.tables.labels_schema`.
        base_url: the base URL of UniProt; None: `$PHYLOCLI_UNIPROT_URL`, else https://rest.uniprot.org.
        policy: waits, retries and limits; None: the default.

    Raises:
        UsageError: not exactly one of `query` and `accessions` is given, or the query is invalid.
        ServiceError: not all proteins could be fetched; no file is written.
        BadInputError: the query matches nothing; or, raised after the others are written, accessions do not exist.
    """
    if (query is None) == (accessions is None):
        raise UsageError("give either a query or accessions", fix="--uniprot 'QUERY', or --accessions FILE")
    named = list(accessions or ())
    missing: dict[str, str] = {}
    parameters: dict[str, object] = {"query": query, "accessions": len(named)}
    with Client(policy or default_policy()) as client:
        service = UniProt(client, find_services(uniprot=base_url).uniprot)
        found = service.search(query) if query is not None else service.by_accession(named, missing)
        count = _write_fasta(found, output, query)
        source: Source = {"service": "UniProt", "release": service.release, "query": query}
        if count:
            write_sidecar(output, "fetch", parameters, source=source)
        if annotations is not None and count:
            rows = (
                service.annotations(query) if query is not None else service.annotations_by_accession(named, dict(missing))
            )
            labelled = _write_labels(rows, annotations)
            write_sidecar(annotations, "fetch", parameters, source=source)
            if labelled != count:
                logger.warning(f"{count:,} sequences, {labelled:,} annotations")
    release = f" {service.release}" if service.release else ""
    logger.info(f"{count:,} protein{'' if count == 1 else 's'} of UniProt{release}")
    if missing:
        lines = [f"  {accession:<12} {why}" for accession, why in missing.items()]
        raise BadInputError(
            f"{len(missing)} of {len(named)} could not be fetched:\n" + "\n".join(lines),
            fix="check these accessions at UniProt; the other sequences were written",
        )
    return count


def _write_fasta(found: Iterator[Sequence], output: PathLike | None, query: str | None) -> int:
    first = next(found, None)
    if first is None:
        if query is not None:
            raise BadInputError(f"no UniProt protein matches {query!r}", fix="try the query on www.uniprot.org")
        return 0
    count = 0

    def counted() -> Iterator[Sequence]:
        nonlocal count
        count += 1
        yield first
        for sequence in found:
            count += 1
            yield sequence

    with open_text_output(output) as stream:
        fasta.write(counted(), stream, width=60)
    return count


def _write_labels(rows: Iterable[Annotation], output: PathLike) -> int:
    import pyarrow as pa

    schema = labels_schema()
    count = 0
    with TableWriter(output, schema) as writer:
        waiting: list[dict[str, object]] = []
        for row in rows:
            count += 1
            classes = {number.split(".", 1)[0] for number in row.ec}
            waiting.append(
                {
                    "id": row.id,
                    "accession": row.accession,
                    "length": row.length,
                    "organism": row.organism,
                    "taxon": row.taxon,
                    "ec": ";".join(row.ec),
                    "ec_class": classes.pop() if len(classes) == 1 else "",
                    "go": ";".join(row.go),
                    "pfam": ";".join(row.pfam),
                }
            )
            if len(waiting) == _ROWS:
                writer.write(pa.Table.from_pylist(waiting, schema))
                waiting = []
        writer.write(pa.Table.from_pylist(waiting, schema))
    return count
