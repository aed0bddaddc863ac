"""Local alignments of hits: one row in BLAST's tabular output and in tables of hits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UNKNOWN = frozenset(b"X*")
"""Letters that never count as identical, even to themselves (see `statistics.identity`)."""

INCLUDED = 0.01
"""Maximum E-value of a further alignment with the same target, the inclusion threshold of HMMER."""


@dataclass(frozen=True)
class LocalAlignment:
    """A local alignment of a query with a target (a high-scoring segment pair); a hit has one per aligned domain.

    Attributes:
        bits: normalised score; for m residues in the query and n in the target, m · n · 2^-bits alignments at least as good
            are expected by chance.
        pairs: indices of the aligned residues in query and target, counted from 0, increasing; (n, 2), n ≥ 1.
        identical: number of pairs of identical residues, excluding unknown residues (X).
    """

    bits: float
    pairs: npt.NDArray[np.int64]
    identical: int

    @classmethod
    def of(cls, bits: float, pairs: npt.NDArray[np.int64], query: str, target: str) -> LocalAlignment:
        """Return the alignment of two unaligned sequences with the given index pairs (n, 2)."""
        letters = (np.frombuffer(text.encode(), np.uint8) for text in (query, target))
        ours, theirs = (values[places] for values, places in zip(letters, pairs.T, strict=True))
        return cls(bits, pairs, int(np.count_nonzero((ours == theirs) & ~np.isin(ours, list(UNKNOWN)))))

    @property
    def query_range(self) -> tuple[int, int]:
        """First and last aligned residue of the query, counted from 1."""
        return int(self.pairs[0, 0]) + 1, int(self.pairs[-1, 0]) + 1

    @property
    def target_range(self) -> tuple[int, int]:
        """First and last aligned residue of the target, counted from 1."""
        return int(self.pairs[0, 1]) + 1, int(self.pairs[-1, 1]) + 1

    @property
    def mismatches(self) -> int:
        """Number of aligned pairs of residues that are not identical."""
        return len(self.pairs) - self.identical

    @property
    def gap_openings(self) -> int:
        """Number of gaps of any length."""
        return int(np.count_nonzero(np.diff(self.pairs, axis=0) > 1))

    @property
    def length(self) -> int:
        """Number of columns, gaps included."""
        return len(self.pairs) + int((np.diff(self.pairs, axis=0) - 1).sum())

    @property
    def identity(self) -> float:
        """Fraction of columns, gaps included, with identical residues, as in BLAST."""
        return self.identical / self.length

    def rows(self, query: str, target: str) -> tuple[str, str]:
        """Return the aligned parts of both unaligned sequences, with gaps as `-`.

        >>> import numpy as np
        >>> LocalAlignment.of(9.0, np.array([[0, 1], [1, 2], [4, 3]]), "MKVLAG", "GMKA").rows("MKVLAG", "GMKA")
        ('MKVLA', 'MK--A')
        """
        (i, j), ours, theirs = self.pairs[0].tolist(), [], []
        for a, b in self.pairs.tolist():
            skipped, inserted = query[i:a], target[j:b]  # unaligned residues since the last pair
            ours += [skipped, "-" * len(inserted), query[a]]
            theirs += ["-" * len(skipped), inserted, target[b]]
            i, j = a + 1, b + 1
        return "".join(ours), "".join(theirs)
