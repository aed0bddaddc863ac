"""An additional view: the second sequence shuffled, a hard negative of the same composition.

Residues are shuffled within windows, so the decoy keeps length and global and local composition, and nothing else, like the
local shuffles used to assess similarity scores (RDF2; Pearson & Lipman 1988, doi:10.1073/pnas.85.8.2444). Only objectives
that use all views get it.
"""

from __future__ import annotations

import numpy as np

from phylocli.core.errors import UsageError
from phylocli.views.base.contracts import Tokens

KIND = "addition"
DISTANCE = "not a homolog: none"


class Decoy:
    """Shuffles residues within consecutive windows, the first of which has random length.

    Args:
        window: window length in residues; 0 shuffles the whole sequence.
    """

    expected_distance = 0.0

    def __init__(self, window: int = 20) -> None:
        self.window = int(window)
        if self.window < 0 or self.window == 1:
            raise UsageError(f"the view decoy cannot shuffle windows of {self.window}", fix="give 2 or more, or 0 for none")

    def __call__(self, tokens: Tokens, rng: np.random.Generator) -> Tokens:
        """Return the decoy, of the same length as the sequence."""
        if not self.window:
            return rng.permutation(tokens)
        start = int(rng.integers(self.window))
        group = (np.arange(len(tokens)) + self.window - start) // self.window
        return tokens[np.lexsort((rng.random(len(tokens)), group))]


make = Decoy
