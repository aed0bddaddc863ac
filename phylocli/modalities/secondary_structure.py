"""Secondary structure of each residue, in the letters of DSSP.

Kabsch & Sander 1983, doi:10.1002/bip.360221211: H α-helix, G 3₁₀-helix, I π-helix, P polyproline helix, E strand, B bridge,
T turn, S bend, C coil.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import FIRST_RESIDUE
from phylocli.modalities import letters

_LETTERS = "HGIPEBTSC-X"
INPUT = {"vocabulary": FIRST_RESIDUE + len(_LETTERS)}
ENCODER = {"name": "convolutional", "preset": "tiny", "pooling": "mean"}
COLUMNS = ("dssp", "ss3", "ss8")
PER_RESIDUE = True


def parse(value: object) -> npt.NDArray[np.uint8]:
    """Return the tokens of states, (L,); `-` and `C` are both coil, `X` is unknown."""
    return letters(
        value.replace("-", "C") if isinstance(value, str) else value, _LETTERS, FIRST_RESIDUE, "secondary structure"
    )
