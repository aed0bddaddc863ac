"""Sequences from FASTQ, GenBank, EMBL and UniProt flat files, through Biopython, one record at a time.

FASTQ: qualities are ignored.

UniProt: the id is the entry name, such as `HBA_HUMAN`; the description starts with the accession.

GenBank, GenPept and EMBL, read as proteins: protein records, and in nucleotide records the protein of each coding sequence
(CDS): its `/translation`, or if it is missing, the translation of the feature with its `/transl_table` and `/codon_start`.
The id is the `/protein_id`, or else the `/locus_tag`, or else the id of the record with the number of the CDS. Pseudogenes
(`/pseudo`, `/pseudogene`) are skipped. Read as nucleotides: the sequences of the records.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from phylocli.core.errors import BadInputError
from phylocli.core.words import counted
from phylocli.formats.sequences.fasta import Sequence, shorten
from phylocli.formats.streams import text_stream

logger = logging.getLogger(__name__)


def fastq(stream: BinaryIO, name: str, letters: str = "protein") -> Iterator[Sequence]:
    """Read the sequences of a FASTQ stream.

    Raises:
        BadInputError: the stream is not FASTQ or truncated, or a read is empty.
    """
    from Bio.SeqIO.QualityIO import FastqGeneralIterator

    count = 0
    try:
        for header, read, _ in FastqGeneralIterator(text_stream(stream, name)):
            count += 1
            where = f"{name}, read {count}"
            words = header.replace("\t", " ").split(" ", 1)
            if not words[0] or not read:
                raise BadInputError(f"{where}: has no {'letters' if words[0] else 'id'}", fix="remove the read, or mend it")
            yield Sequence(words[0], read, words[1].strip() if len(words) > 1 else "", where)
    except ValueError as error:
        raise BadInputError(
            f"{name}, after read {count}: not FASTQ, or cut short",
            why=str(error),
            fix="write the file again, or remove the incomplete read",
        ) from error


def genbank(stream: BinaryIO, name: str, letters: str = "protein") -> Iterator[Sequence]:
    """Read the proteins (or with `letters` = `dna` the nucleotide sequences) of a GenBank or GenPept stream.

    Raises:
        BadInputError: the stream is not GenBank or truncated, a record has no sequence, there are no proteins when reading
            proteins, or there is a protein when reading nucleotides.
    """
    return _annotated(stream, name, letters, "GenBank")


def embl(stream: BinaryIO, name: str, letters: str = "protein") -> Iterator[Sequence]:
    """Read the proteins or the nucleotide sequences of an EMBL stream; see `genbank`."""
    return _annotated(stream, name, letters, "EMBL")


def uniprot(stream: BinaryIO, name: str, letters: str = "protein") -> Iterator[Sequence]:
    """Read the proteins of a UniProt flat file.

    Raises:
        BadInputError: the stream is not a UniProt flat file or truncated.
    """
    for count, record in enumerate(_parsed(stream, name, "UniProt"), 1):
        where = f"{name}, record {count} ({shorten(record.name)})"
        yield Sequence(record.name, _letters(record.seq, where), f"{record.id} {record.description}", where)


def _parsed(stream: BinaryIO, name: str, what: str) -> Iterator[Any]:
    """Yield Biopython's records.

    Raises:
        BadInputError: the stream is not in this format or truncated.
    """
    from Bio import BiopythonWarning, SeqIO

    count = 0
    records = SeqIO.parse(cast(Any, text_stream(stream, name)), "swiss" if what == "UniProt" else what.lower())
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", BiopythonWarning)
                record = next(records, None)
        except (ValueError, AssertionError, IndexError, KeyError) as error:
            raise BadInputError(
                f"{name}, after record {count}: not {what}, or truncated",
                why=str(error),
                fix="write or download the file again",
            ) from error
        if record is None:
            return
        count += 1
        yield record


def _annotated(stream: BinaryIO, name: str, letters: str, what: str) -> Iterator[Sequence]:
    count = pseudo = found = 0
    for count, record in enumerate(_parsed(stream, name, what), 1):
        where = f"{name}, record {count} ({shorten(record.id)})"
        is_protein = str(record.annotations.get("molecule_type")).lower() == "protein"
        if is_protein and letters != "protein":
            raise BadInputError(f"{where} is a protein, but nucleotides are needed", fix="use a model of proteins")
        if is_protein or letters != "protein":
            found += 1
            yield Sequence(record.id, _letters(record.seq, where), record.description, where)
            continue
        coding = [feature for feature in record.features if feature.type == "CDS"]
        for number, feature in enumerate(coding, 1):
            if {"pseudo", "pseudogene"} & set(feature.qualifiers):
                pseudo += 1
            else:
                found += 1
                yield _protein(record, feature, number, where)
    if count and not found:
        raise BadInputError(
            f"{name} contains no protein",
            why=f"of {counted(count, 'nucleotide record')} none has a coding sequence (CDS)"
            + (f" that is not a pseudogene, of which there are {pseudo:,}" if pseudo else ""),
            fix="fetch the records with their features, or give the proteins",
        )
    if pseudo:
        logger.info(f"{name}: {counted(pseudo, 'pseudogene')} left out, without a protein")


def _letters(sequence: Any, where: str) -> str:
    from Bio.Seq import UndefinedSequenceError

    try:
        letters = str(sequence)
    except UndefinedSequenceError as error:
        raise BadInputError(
            f"{where} has no sequence", why="it only refers to one", fix="fetch the record with its sequence"
        ) from error
    if not letters:
        raise BadInputError(f"{where} has no sequence", fix="remove the empty record, or fetch it again")
    return letters


def _protein(record: Any, feature: Any, number: int, where: str) -> Sequence:
    """Return the protein of a coding sequence."""
    said = feature.qualifiers
    name = next((said[key][0] for key in ("protein_id", "locus_tag") if said.get(key)), f"{record.id}_{number}")
    where = f"{where}, CDS {number}"
    if said.get("translation"):
        letters = "".join(said["translation"][0].split())
    else:
        _letters(record.seq, where)
        try:
            letters = str(feature.translate(record.seq, cds=False)).rstrip("*")
        except Exception as error:
            raise BadInputError(
                f"{where}: cannot be translated", why=str(error), fix="add its /translation, or remove the coding sequence"
            ) from error
    if not letters:
        raise BadInputError(f"{where}: {shorten(name)!r} has no residues", fix="remove it, or mend the record")
    return Sequence(str(name).replace(" ", "_"), letters, " ".join(said.get("product", [])), where)
