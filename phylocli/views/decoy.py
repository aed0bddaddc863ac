"""One more view: the second sequence shuffled, a hard negative that composition cannot tell from it.

Residues are shuffled within windows, so the decoy keeps length, overall and local composition and loses everything else,
as the local shuffles do by which similarity scores are judged (RDF2; Pearson & Lipman 1988, doi:10.1073/pnas.85.8.2444).
Only objectives that ask for all views see it.
"""

from __future__ import annotations

import numpy as np

from phylocli.core.errors import UsageError
from phylocli.views.base.contracts import Tokens

KIND = "addition"
DISTANCE = "not a homolog: none"


class Decoy:
    """Shuffles the residues within consecutive windows, the first of which is of random length.

    Args:
        window: residues; 0 shuffles the whole sequence.
    """

    expected_distance = 0.0

    def __init__(self, window: int = 20) -> None:
        self.window = int(window)
        if self.window < 0 or self.window == 1:
            raise UsageError(f"the view decoy cannot shuffle windows of {self.window}", fix="give 2 or more, or 0 for none")

    def __call__(self, tokens: Tokens, rng: np.random.Generator) -> Tokens:
        """Return the decoy, as long as the sequence."""
        if not self.window:
            return rng.permutation(tokens)
        start = int(rng.integers(self.window))
        group = (np.arange(len(tokens)) + self.window - start) // self.window
        return tokens[np.lexsort((rng.random(len(tokens)), group))]


def make(window: int = 20) -> Decoy:
    """Return the view; see `Decoy`."""
    return Decoy(window)
