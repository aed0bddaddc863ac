"""PDB and mmCIF: the chains' sequences, from SEQRES, or from the residues that have coordinates."""

from __future__ import annotations

from pathlib import Path

import pytest

from phylocli.core.errors import BadInputError
from phylocli.formats import read_sequences

SEQRES = """\
HEADER    OXYGEN TRANSPORT                        01-JAN-00   1ABC
SEQRES   1 A    6  MET LYS VAL LEU ALA GLY
SEQRES   1 B    4  MET MSE TRP HIS
SEQRES   1 C    3   DA  DC  DG
"""


def atom(number: int, name: str, chain: str, residue: int) -> str:
    return f"ATOM  {number:5d}  CA  {name} {chain}{residue:4d}    {1.0:8.3f}{2.0:8.3f}{3.0:8.3f}  1.00 20.00           C\n"


def test_seqres_gives_whole_chains_and_nucleic_acids_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "x.pdb").write_text(SEQRES)
    assert [(s.id, s.residues) for s in read_sequences(tmp_path / "x.pdb")] == [("1ABC:A", "MKVLAG"), ("1ABC:B", "MMWH")]


def test_without_seqres_residues_with_coordinates_count_and_gaps_are_unknown(tmp_path: Path) -> None:
    rows = [atom(1, "MET", "A", 1), atom(2, "LYS", "A", 2), atom(3, "VAL", "A", 5)]
    (tmp_path / "model.pdb").write_text("".join(rows) + "END\n")
    assert [(s.id, s.residues) for s in read_sequences(tmp_path / "model.pdb")] == [("model:A", "MKXXV")]


def test_mmcif_gives_the_same_chain(tmp_path: Path) -> None:
    head = "data_1ABC\n_entry.id 1ABC\nloop_\n_pdbx_poly_seq_scheme.asym_id\n_pdbx_poly_seq_scheme.entity_id\n"
    names = ["_pdbx_poly_seq_scheme.seq_id", "_pdbx_poly_seq_scheme.mon_id", "_pdbx_poly_seq_scheme.pdb_strand_id"]
    rows = [f"A 1 {i} {name} A" for i, name in enumerate(["MET", "LYS", "VAL"], 1)]
    (tmp_path / "x.cif").write_text(head + "\n".join(names + rows) + "\n#\n")
    (found,) = read_sequences(tmp_path / "x.cif")
    assert (found.id, found.residues) == ("1ABC:A", "MKV")


@pytest.mark.parametrize("text", ["HEADER    NOTHING\nEND\n", "data_1ABC\n_entry.id 1ABC\n", "data_x\nloop_\n_a.b\n"])
def test_a_structure_without_protein_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(BadInputError, match=r"cannot be read as (PDB|mmCIF)"):
        list(read_sequences(tmp_path / "x"))
