"""Residues ⇄ tokens, and the one policy for letters.

| letter | read as |
|---|---|
| the 20 amino acids | themselves; lower case (soft masking, insert states) is the same residue |
| `U` selenocysteine, `O` pyrrolysine | `C` and `K`, their closest relatives, in models and distances; files keep them |
| `B` `Z` `J` `X` | unknown: token `X` for models, missing data for distances |
| `B` `J` `O` `U` `Z`, for a pretrained language model | its own tokens for them, if it has any and its authors use them |
| `*` | at the end a stop codon, dropped; inside a sequence unknown, as `X` |
| `-` `.` | gaps: dropped wherever sequences are used unaligned |
| anything else | an error that names the sequence, the position and the character |

Nucleotides (`alphabet="dna"`) are read by the IUPAC codes of NC-IUB (Nucleic Acids Res. 13:3021, 1985): `A C G T`, `U` as
`T`, the ambiguity codes `R Y S W K M B D H V` as themselves, `N` as unknown; gaps as above, anything else is an error. They
use the first tokens of the same vocabulary, so encoders are the same; models keep the alphabet they were trained on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError, unknown_name

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
"""The 20 amino acids in alphabetical order of their letters: the order of every 20-state matrix in phylocli."""

PAD, BOS, EOS, MASK = 0, 1, 2, 3
FIRST_RESIDUE = 4
UNKNOWN = FIRST_RESIDUE + len(AMINO_ACIDS)
VOCABULARY_SIZE = UNKNOWN + 1
"""Tokens: 0 padding, 1 start, 2 end, 3 mask, 4–23 the amino acids in the order of `AMINO_ACIDS`, 24 unknown."""

RARE_RESIDUES = "BJOUZ"
"""Letters with tokens of their own, from `VOCABULARY_SIZE` on, for encoders with `reads_rare_residues`."""

MISSING = 20
"""State of a gap or an ambiguous letter in `encode_states`."""

NUCLEOTIDES = "ACGT"
NUCLEOTIDE_CODES = NUCLEOTIDES + "RYSWKMBDHV"
"""Nucleotides and IUPAC's ambiguity codes in the order of their tokens, from `FIRST_RESIDUE` on; `N` is `UNKNOWN`."""

_COMPLEMENTS = "TGCAYRSWMKVHDB"

ALPHABETS = ("protein", "dna")
_NOUNS = {"protein": ("amino acid", "protein", "X"), "dna": ("nucleotide", "nucleotide", "N")}

GAPS = "-."
_READ_AS = {"U": "C", "O": "K"}
_AMBIGUOUS = "BZJX*"
_ALLOWED = AMINO_ACIDS + "".join(_READ_AS) + _AMBIGUOUS
_NOT_ALLOWED = {
    name: re.compile(f"[^{re.escape(letters + letters.lower() + GAPS)}]")
    for name, letters in (("protein", _ALLOWED), ("dna", NUCLEOTIDE_CODES + "UN"))
}
_DELETE_GAPS = str.maketrans("", "", GAPS)
_DELETE_UNKNOWN = str.maketrans("", "", GAPS + "NX*")


def _table(offset: int, unknown: int, gap: int) -> npt.NDArray[np.uint8]:
    table = np.full(256, unknown, dtype=np.uint8)
    for state, letter in enumerate(AMINO_ACIDS):
        table[ord(letter)] = table[ord(letter.lower())] = state + offset
    for letter, other in _READ_AS.items():
        table[ord(letter)] = table[ord(letter.lower())] = table[ord(other)]
    for letter in GAPS:
        table[ord(letter)] = gap
    return table


def _nucleotide_table() -> npt.NDArray[np.uint8]:
    table = np.full(256, UNKNOWN, dtype=np.uint8)
    for code, letter in enumerate(NUCLEOTIDE_CODES):
        table[ord(letter)] = table[ord(letter.lower())] = code + FIRST_RESIDUE
    table[ord("U")] = table[ord("u")] = table[ord("T")]
    return table


def _table_with_rare_residues() -> npt.NDArray[np.uint8]:
    table = _table(FIRST_RESIDUE, UNKNOWN, PAD)
    for i, letter in enumerate(RARE_RESIDUES):
        table[ord(letter)] = table[ord(letter.lower())] = VOCABULARY_SIZE + i
    return table


_TOKENS = {"protein": _table(FIRST_RESIDUE, UNKNOWN, PAD), "dna": _nucleotide_table()}
_TOKENS_WITH_RARE_RESIDUES = _table_with_rare_residues()
_LETTERS = {
    "protein": np.array(["", "", "", "X", *AMINO_ACIDS, "X", *RARE_RESIDUES]),
    "dna": np.array(["", "", "", "N", *NUCLEOTIDE_CODES, *"N" * (VOCABULARY_SIZE - FIRST_RESIDUE - len(NUCLEOTIDE_CODES))]),
}
COMPLEMENT = np.arange(256, dtype=np.uint8)
"""Token of the complementary nucleotide by token, shape (256,); unknown, mask, start, end and padding are their own."""
COMPLEMENT[FIRST_RESIDUE : FIRST_RESIDUE + len(NUCLEOTIDE_CODES)] = [
    FIRST_RESIDUE + NUCLEOTIDE_CODES.index(letter) for letter in _COMPLEMENTS
]


def _nucleotide_states() -> npt.NDArray[np.uint8]:
    table = np.full(256, MISSING, dtype=np.uint8)
    for state, letter in enumerate(NUCLEOTIDES):
        table[ord(letter)] = table[ord(letter.lower())] = state
    table[ord("U")] = table[ord("u")] = table[ord("T")]
    return table


_STATES = {"protein": _table(0, MISSING, MISSING), "dna": _nucleotide_states()}


def check_alphabet(name: str) -> str:
    """Return the name of an alphabet.

    Raises:
        UsageError: it is neither `protein` nor `dna`.
    """
    if name not in ALPHABETS:
        raise unknown_name("unknown alphabet", name, ALPHABETS)
    return name


def looks_like_nucleotides(rows: Sequence[str]) -> bool:
    """Return whether sequences, aligned or not and in any case, are nucleotides rather than proteins.

    In the first 100 sequences: at least 15 known letters, all of them IUPAC nucleotide codes, 90 % of them A, C, G, T or U,
    and three of these four. Only proteins of low complexity look like this.
    """
    letters = "".join(rows[:100]).upper().translate(_DELETE_UNKNOWN).replace("U", "T")
    counts = [letters.count(letter) for letter in NUCLEOTIDES]
    return (
        len(letters) >= 15
        and sum(counts) >= 0.9 * len(letters)
        and sum(count > 0 for count in counts) >= 3
        and set(letters) <= set(NUCLEOTIDE_CODES)
    )


def is_nucleotide_sequence(residues: str) -> bool:
    """Return whether one sequence among others is nucleotides: it looks like them, and has at least 45 letters."""
    return len(residues) >= 45 and looks_like_nucleotides([residues[:1000]])


def check_residues(residues: str, name: str, where: str = "", alphabet: str = "protein") -> None:
    """Raise an error if a sequence contains a character that the policy does not allow.

    Args:
        residues: letters, aligned or not, any case.
        name: the sequence's id, for the message.
        where: file and line, for the message.
        alphabet: `protein` or `dna`.

    Raises:
        BadInputError: naming the sequence, the 1-based position and the character.
    """
    bad = _NOT_ALLOWED[alphabet].search(residues)
    if bad:
        shown = name if len(name) <= 80 else name[:77] + "..."
        raise BadInputError(
            f"{where + ': ' if where else ''}sequence {shown!r} contains {bad.group()!r} at position {bad.start() + 1}",
            why=f"only letters of {_NOUNS[alphabet][0]}s, gaps and ambiguity codes are allowed",
            fix=f"is this a {_NOUNS[alphabet][1]} sequence? remove or replace the character "
            f"({_NOUNS[alphabet][2]} stands for an unknown residue)",
        )


def degap(row: str) -> str:
    """Return an aligned row's residues: gaps dropped, upper case, a stop codon at the end dropped."""
    return row.translate(_DELETE_GAPS).upper().rstrip("*")


def encode_tokens(residues: str, alphabet: str = "protein", *, rare: bool = False) -> npt.NDArray[np.uint8]:
    """Return the tokens of an unaligned sequence, shape (L,), values in [FIRST_RESIDUE, UNKNOWN].

    Args:
        residues: letters.
        alphabet: `protein` or `dna`.
        rare: give the letters of `RARE_RESIDUES` tokens of their own, from `VOCABULARY_SIZE` on; proteins only.
    """
    table = _TOKENS_WITH_RARE_RESIDUES if rare and alphabet == "protein" else _TOKENS[alphabet]
    return table[np.frombuffer(residues.encode("ascii", "replace"), dtype=np.uint8)]


def decode_tokens(tokens: npt.ArrayLike, alphabet: str = "protein") -> str:
    """Return the letters of residue tokens; padding, start and end are omitted, mask is `X` (`N` for nucleotides)."""
    return "".join(_LETTERS[alphabet][np.asarray(tokens, dtype=np.int64)])


def encode_states(rows: Sequence[str], alphabet: str = "protein") -> npt.NDArray[np.uint8]:
    """Return an alignment as states, shape (n, columns): 0–19 in the order of `AMINO_ACIDS`, 20 = missing.

    Of nucleotides (`alphabet` `dna`) 0–3 in the order of `NUCLEOTIDES`; ambiguity codes are missing.

    Rows must have equal lengths. Lower-case letters (insert states) are ordinary residues: drop insert columns first if only
    homologous columns count.
    """
    if not rows:
        return np.zeros((0, 0), dtype=np.uint8)
    text = "".join(rows).encode("ascii", "replace")
    return _STATES[alphabet][np.frombuffer(text, dtype=np.uint8)].reshape(len(rows), len(rows[0]))
