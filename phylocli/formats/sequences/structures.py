"""Sequences of protein structures in PDB and mmCIF, through Biopython, one per chain.

The sequence is that of the molecule (SEQRES records, `_pdbx_poly_seq_scheme`) or, if it is missing, the residues with
coordinates, with `X` for missing ones in between. Chains that are not proteins are skipped. The id is the PDB code, or else
the name of the file, with the chain: `1ABC:A`.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, BinaryIO

from phylocli.core.errors import BadInputError
from phylocli.formats.sequences.fasta import Sequence, shorten
from phylocli.formats.streams import text_lines

logger = logging.getLogger(__name__)


def pdb(stream: BinaryIO, name: str, letters: str = "protein") -> Iterator[Sequence]:
    """Read the protein chains of a PDB file."""
    return _chains(stream, name, "PDB", ("pdb-seqres", "pdb-atom"))


def mmcif(stream: BinaryIO, name: str, letters: str = "protein") -> Iterator[Sequence]:
    """Read the protein chains of an mmCIF file."""
    return _chains(stream, name, "mmCIF", ("cif-seqres", "cif-atom"))


def _chains(stream: BinaryIO, name: str, what: str, ways: tuple[str, str]) -> Iterator[Sequence]:
    """Read the chains with the first of several Biopython formats that finds any.

    Raises:
        BadInputError: the file is damaged, or contains no protein.
    """
    from Bio import BiopythonWarning, SeqIO

    text = "".join(f"{line}\n" for _, line in text_lines(stream, name))
    code = re.match(r"HEADER.{56}(\w{4})|data_(\w+)", text)
    title = (code and (code[1] or code[2])) or PurePath(name).name.split(".", 1)[0]
    problem = "it contains no protein chain"
    for way in ways:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", BiopythonWarning)
                chains: list[Any] = list(SeqIO.parse(io.StringIO(text), way))
        except Exception as error:  # noqa: BLE001  Biopython raises many types of errors for damaged files
            problem = str(error).split("\n", 1)[0][:200] or type(error).__name__
            continue
        proteins = [chain for chain in chains if str(chain.seq).strip("X")]
        if proteins:
            if len(proteins) < len(chains):
                logger.info(f"{name}: skipped {len(chains) - len(proteins)} chains that are not proteins")
            for chain in proteins:
                label = f"{title}:{chain.annotations['chain']}".replace(" ", "_")
                yield Sequence(label, str(chain.seq), "", f"{name}, chain {shorten(label)}")
            return
    raise BadInputError(
        f"{name} cannot be read as {what}", why=problem, fix="check that the file is complete, or give FASTA sequences"
    )
