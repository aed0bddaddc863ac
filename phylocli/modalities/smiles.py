"""A molecule as SMILES.

Weininger 1988, doi:10.1021/ci00057a005. A molecule has many SMILES: with RDKit (`pip install phylocli[molecules]`) each
training step reads another one, with its atoms in random order (Bjerrum 2017, arXiv 1703.07076).
"""

from __future__ import annotations

import functools
import logging
import re

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import FIRST_RESIDUE
from phylocli.core.errors import BadInputError

logger = logging.getLogger(__name__)

_ASCII = "".join(map(chr, range(33, 127)))
_PLACE = {letter: FIRST_RESIDUE + i for i, letter in enumerate(_ASCII)}
INPUT = {"vocabulary": FIRST_RESIDUE + len(_ASCII) + 2}  # with chlorine and bromine
ENCODER = {"name": "convolutional", "preset": "tiny", "pooling": "mean"}
_TWO_LETTERS = {"Cl": FIRST_RESIDUE + len(_ASCII), "Br": FIRST_RESIDUE + len(_ASCII) + 1}
_SYMBOL = re.compile(
    r"\[\d*(?:[A-Z][a-z]?|[a-z]{1,2}|\*)(?:@(?:@|[A-Z]{2}\d+)?)?(?:H\d*)?(?:\++|-+|[+-]\d+)?(?::\d+)?\]"
    r"|Cl|Br|[BCNOPSFIbcnops*]|%\d\d|\d|[-=#$:/\\~.()]"
)
"""A symbol of the OpenSMILES grammar, http://opensmiles.org/opensmiles.html."""


def parse(value: object) -> npt.NDArray[np.uint8]:
    """Return the tokens of a SMILES, (L,), one for each character, `Cl` and `Br`."""
    if not isinstance(value, str):
        raise TypeError(f"a SMILES is needed, not {type(value).__name__}")
    text, tokens, at = value.strip(), [], 0
    _check(text)
    while at < len(text):
        step = 2 if text[at : at + 2] in _TWO_LETTERS else 1
        part = text[at : at + step]
        tokens.append(_TWO_LETTERS.get(part) or _PLACE[part])
        at += step
    return np.array(tokens, dtype=np.uint8)


def _check(text: str) -> None:
    """Raise a BadInputError if a text is not of symbols of SMILES, or its parentheses do not match."""
    at = depth = 0
    while at < len(text):
        symbol = _SYMBOL.match(text, at)
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if symbol is None or depth < 0:
            raise BadInputError(f"{text!r} has {text[at]!r} at position {at + 1}, where no SMILES has it", fix="correct it")
        at = symbol.end()
    if depth:
        raise BadInputError(f"{text!r} has a branch that is not closed", fix="correct it")


@functools.cache
def _warn() -> None:
    logger.warning("RDKit is not installed, so that SMILES are not randomised: pip install phylocli[molecules]")


def augment(value: str, rng: np.random.Generator) -> str:
    """Return another SMILES of the same molecule; the same one, with a warning once, where RDKit is not installed.

    It is also the same one where RDKit cannot read it.
    """
    try:
        from rdkit import Chem, rdBase
    except ImportError:
        _warn()
        return value
    rdBase.DisableLog("rdApp.*")
    molecule = Chem.MolFromSmiles(value)
    if molecule is None or not molecule.GetNumAtoms():
        return value
    order = rng.permutation(molecule.GetNumAtoms()).tolist()
    return str(Chem.MolToSmiles(Chem.RenumberAtoms(molecule, order), canonical=False))
