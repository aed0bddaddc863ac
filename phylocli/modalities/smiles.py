"""A molecule as SMILES.

Weininger 1988, doi:10.1021/ci00057a005. A molecule has many SMILES: with RDKit (`pip install phylocli[molecules]`) each
training step reads another one, with its atoms in random order (Bjerrum 2017, arXiv 1703.07076).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import FIRST_RESIDUE
from phylocli.core.errors import BadInputError

_ASCII = "".join(map(chr, range(33, 127)))
_PLACE = {letter: FIRST_RESIDUE + i for i, letter in enumerate(_ASCII)}
INPUT = {"vocabulary": FIRST_RESIDUE + len(_ASCII) + 2}  # with chlorine and bromine
ENCODER = {"name": "convolutional", "preset": "tiny", "pooling": "mean"}
_TWO_LETTERS = {"Cl": FIRST_RESIDUE + len(_ASCII), "Br": FIRST_RESIDUE + len(_ASCII) + 1}


def parse(value: object) -> npt.NDArray[np.uint8]:
    """Return the tokens of a SMILES, (L,), one for each character, `Cl` and `Br`."""
    if not isinstance(value, str):
        raise TypeError(f"a SMILES is needed, not {type(value).__name__}")
    text, tokens, at = value.strip(), [], 0
    while at < len(text):
        step = 2 if text[at : at + 2] in _TWO_LETTERS else 1
        part = text[at : at + step]
        if part not in _TWO_LETTERS and part not in _PLACE:
            raise BadInputError(f"{value!r} has {part!r} at position {at + 1}, which no SMILES has", fix="correct it")
        tokens.append(_TWO_LETTERS.get(part) or _PLACE[part])
        at += step
    return np.array(tokens, dtype=np.uint8)


def augment(value: str, rng: np.random.Generator) -> str:
    """Return another SMILES of the same molecule; the same one where RDKit is not installed, or cannot read it."""
    try:
        from rdkit import Chem, RDLogger
    except ImportError:
        return value
    RDLogger.DisableLog("rdApp.*")
    molecule = Chem.MolFromSmiles(value)
    if molecule is None or not molecule.GetNumAtoms():
        return value
    order = rng.permutation(molecule.GetNumAtoms()).tolist()
    return str(Chem.MolToSmiles(Chem.RenumberAtoms(molecule, order), canonical=False))
