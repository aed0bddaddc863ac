"""Reading frames of coding DNA: whether another frame codes for a protein more plausibly than the one that is read."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import AMINO_ACIDS, NUCLEOTIDES

EVIDENCE = 10.0
"""Log likelihood ratio, in nats, from which on another frame is taken to be the coding one.

Fragments of 40 to 300 codons read in frame, from genes of bacteria with 50 to 70 % GC and from proteins with random codons,
reached it once in 400 or less often."""

_LETTERS = "".join(AMINO_ACIDS) + "*"
_UNKNOWN = 64
_CODE = np.full(256, -1, dtype=np.int64)
_CODE[np.frombuffer(NUCLEOTIDES.encode(), dtype=np.uint8)] = range(4)


def likelier_frame(letters: str, code: int = 1) -> str | None:
    """Return the reading frame that codes for a protein rather than the first one; None if there is none.

    A frame without a stop codon before its last codon is scored by the log likelihood of its amino acids, given their
    frequencies in Swiss-Prot (HMMER's null model), minus that given the base composition of the sequence. Another frame has
    to score better than the first by `EVIDENCE`. A sequence from a start codon to a stop codon is in frame.

    Args:
        letters: nucleotides A, C, G, T and ambiguity codes, upper case, without gaps.
        code: NCBI number of the genetic code.

    Examples:
        >>> from phylocli.formats.nucleotides.reading_frames import likelier_frame
        >>> codons = dict(A="GCC", D="GAC", E="GAG", F="TTC", G="GGC", K="AAG", L="CTC", T="ACC", V="GTC")
        >>> gene = "".join(codons[letter] for letter in "VLDADKTGVKAAEGKVGAEAGEFGAEALEKLFLAFGTTKTFFGEFDLDEGDAEVKGEGKKVADAL")
        >>> likelier_frame(gene), likelier_frame(gene[2:])
        (None, 'frame 2')
    """
    amino_acids, starts = _table(code)
    bases = _CODE[np.frombuffer(letters.encode("ascii", "replace"), dtype=np.uint8)]
    first = _codons(bases)
    if len(first) * 3 == len(bases) and len(first) and first[0] in starts and amino_acids[first[-1]] == len(AMINO_ACIDS):
        return None
    scores: dict[str, float] = {}
    for strand, direction in (("", bases), (" of the reverse strand", np.where(bases < 0, bases, 3 - bases)[::-1])):
        gain = _gain(direction, amino_acids)
        for offset in range(3):
            found = amino_acids[_codons(direction[offset:])]
            if not (found[:-1] == len(AMINO_ACIDS)).any():
                scores[f"frame {offset + 1}{strand}"] = float(gain[found].sum())
    best = max(scores, key=lambda name: scores[name], default="frame 1")
    return best if "frame 1" in scores and scores[best] > scores["frame 1"] + EVIDENCE else None


def _codons(bases: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the numbers of the codons in the order of `NUCLEOTIDES`; 64 where a base is not known."""
    triples = bases[: len(bases) // 3 * 3].reshape(-1, 3)
    return np.where((triples < 0).any(axis=1), _UNKNOWN, triples @ np.array([16, 4, 1]))


def _gain(bases: npt.NDArray[np.int64], amino_acids: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the log odds of each amino acid, of a stop codon and of an unknown codon (0), (22,)."""
    frequency = np.bincount(bases[bases >= 0], minlength=4) + 1.0
    frequency /= frequency.sum()
    codons = np.einsum("i,j,k->ijk", frequency, frequency, frequency).ravel()
    by_chance = np.bincount(amino_acids[:_UNKNOWN], codons, minlength=len(_LETTERS))[: len(AMINO_ACIDS)]
    by_chance = np.maximum(by_chance / by_chance.sum(), np.finfo(np.float64).tiny)  # a code without some amino acid
    return np.concatenate([np.log(_frequencies() / by_chance), [0.0, 0.0]])


@functools.cache
def _frequencies() -> npt.NDArray[np.float64]:
    """Return the frequencies of the amino acids in Swiss-Prot, (20,)."""
    from pyhmmer.easel import Alphabet
    from pyhmmer.plan7 import Background

    return np.asarray(Background(Alphabet.amino()).residue_frequencies, dtype=np.float64)


@functools.cache
def _table(code: int) -> tuple[npt.NDArray[np.int64], frozenset[int]]:
    """Return the amino acid of each codon, (65,), 20 for a stop codon and 21 for an unknown one; and the start codons."""
    from Bio.Data.CodonTable import unambiguous_dna_by_id

    table = unambiguous_dna_by_id[code]
    names = [a + b + c for a in NUCLEOTIDES for b in NUCLEOTIDES for c in NUCLEOTIDES]
    letters = ["*" if name in table.stop_codons else table.forward_table[name] for name in names]
    return np.array([*map(_LETTERS.index, letters), len(_LETTERS)]), frozenset(map(names.index, table.start_codons))
