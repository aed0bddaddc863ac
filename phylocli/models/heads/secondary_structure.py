"""Secondary structure by DSSP (Kabsch and Sander 1983, doi:10.1002/bip.360221211), in eight or three states.

The three states are helix (H, G, I), strand (E, B) and coil (the rest), as in CASP and NetSurfP (Klausen et al. 2019,
doi:10.1002/prot.25674).
"""

from __future__ import annotations

from phylocli.models.heads.base import Categorical

_COIL = {"P": "C", "-": "C", " ": "C"}  # DSSP 4 has polyproline helices; DSSP writes a blank for coil

THREE_STATES = Categorical(
    "ss3", "dssp", "HEC", "three-state secondary structure", {"G": "H", "I": "H", "B": "E", "T": "C", "S": "C", **_COIL}
)
EIGHT_STATES = Categorical("ss8", "dssp", "HECTSGBI", "eight-state secondary structure", _COIL)
