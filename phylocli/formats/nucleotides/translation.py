"""Translation of coding DNA, aligned or not, from the first codon."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from phylocli.core.alphabet import GAPS, check_residues
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.nucleotides.reading_frames import likelier_frame
from phylocli.formats.sequences.fasta import Sequence, shorten

logger = logging.getLogger(__name__)

_NAMED = 5
"""Number of sequences that a warning names."""


def check_code(code: int) -> None:
    """Raise a UsageError for a number that is not an NCBI genetic code."""
    from Bio.Data import CodonTable

    if code not in CodonTable.ambiguous_dna_by_id:
        known = ", ".join(map(str, sorted(CodonTable.ambiguous_dna_by_id)))
        raise UsageError(f"there is no genetic code {code}", fix=f"known: {known}; 1 is the standard code")


def translate(sequence: Sequence, code: int = 1, *, aligned: bool | None = None) -> Sequence:
    """Translate a coding sequence; three gaps become one.

    Codons with ambiguity codes that do not determine the amino acid become `X`. An incomplete last codon is dropped, and a
    terminal stop codon too, except in a row of an alignment, where it becomes a gap.

    Args:
        sequence: DNA or RNA, in frame.
        code: NCBI number of the genetic code.
        aligned: whether the sequence is a row of an alignment; None: if it has gaps.

    Raises:
        UsageError: unknown genetic code.
        BadInputError: the sequence contains letters that are not nucleotides, a codon with one or two gaps, an internal stop
            codon, or no complete codon.

    Examples:
        >>> from phylocli.formats.nucleotides import translate
        >>> translate(phylocli.Sequence("a", "ATGAAAGUNTAA")).residues
        'MKV'
    """
    from Bio.Data.CodonTable import TranslationError
    from Bio.Seq import Seq

    check_code(code)
    try:
        check_residues(sequence.residues, sequence.id, sequence.where, "dna")
    except BadInputError as error:
        raise BadInputError(
            error.what,
            why="only nucleotides can be translated",
            fix="if this is a protein, give it without --translate, apart from coding sequences; else write N",
        ) from error
    letters = _letters(sequence)
    where = f"{sequence.where}: " if sequence.where else ""
    name = shorten(sequence.id)
    try:
        protein = str(Seq(letters[: len(letters) // 3 * 3]).translate(code, gap="-"))
    except (TranslationError, KeyError) as error:
        raise BadInputError(
            f"{where}{name!r} cannot be translated", why=str(error), fix="align coding DNA by codons, or leave out the gaps"
        ) from error
    body = protein.rstrip(f"*{GAPS}")
    if "*" in body:
        raise BadInputError(
            f"{where}{name!r} is not a coding sequence in frame",
            why=f"codon {body.index('*') + 1} is a stop codon",
            fix="give coding sequences from their first codon on, or another --genetic-code",
        )
    if not body.strip(GAPS):
        raise BadInputError(f"{where}{name!r} has no codon", fix="remove it")
    residues = protein.replace("*", "-") if ("-" in protein if aligned is None else aligned) else body
    return Sequence(sequence.id, residues, sequence.description, sequence.where)


class Translator:
    """Translates the coding sequences of an input, and finds those that may not be in frame.

    Args:
        code: NCBI number of the genetic code.

    Examples:
        >>> from phylocli.formats.nucleotides import Translator
        >>> translator = Translator()
        >>> [translator(phylocli.Sequence(name, letters)).residues for name, letters in (("a", "ATGAAA"), ("b", "ATGAAAG"))]
        ['MK', 'MK']
        >>> translator.findings()
        ['1 of 2 coding sequences ends in an incomplete codon, which is omitted: b; check that it begins with a codon']
    """

    def __init__(self, code: int = 1) -> None:
        self._code, self._count = code, 0
        self._incomplete: list[str] = []
        self._shifted: list[str] = []

    def __call__(self, sequence: Sequence, *, aligned: bool | None = None) -> Sequence:
        """Translate a sequence; see `translate`."""
        protein = translate(sequence, self._code, aligned=aligned)
        letters = _letters(sequence).replace("-", "")
        self._count += 1
        if len(letters) % 3:
            self._incomplete.append(shorten(sequence.id))
        if frame := likelier_frame(letters, self._code):
            self._shifted.append(f"{shorten(sequence.id)} ({frame})")
        return protein

    def family(self, members: Iterable[Sequence], *, aligned: bool = False) -> list[Sequence]:
        """Translate the members of a family, as rows of an alignment if they have the same length and gaps.

        Args:
            members: coding sequences.
            aligned: whether members of the same length are an alignment even without gaps.
        """
        given = list(members)
        gaps = aligned or any(gap in one.residues for one in given for gap in GAPS)
        return [self(one, aligned=gaps if len({len(one.residues) for one in given}) == 1 else None) for one in given]

    def findings(self) -> list[str]:
        """Return a message on the sequences that end in an incomplete codon, and one on those read in a wrong frame."""
        found = []
        for names, one, many, fix in (
            (
                self._incomplete,
                "ends in an incomplete codon, which is omitted",
                "end in an incomplete codon, which is omitted",
                "check that it begins with a codon" if len(self._incomplete) == 1 else "check that they begin with a codon",
            ),
            (
                self._shifted,
                "looks like a protein in another reading frame",
                "look like proteins in another reading frame",
                "give coding sequences from their first codon on",
            ),
        ):
            if names:
                more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
                of = f"{len(names):,} of {self._count:,} coding sequences" if self._count > 1 else "the coding sequence"
                found.append(f"{of} {one if len(names) == 1 else many}: {', '.join(names[:_NAMED])}{more}; {fix}")
        return found

    def report(self) -> None:
        """Log the findings as warnings."""
        for finding in self.findings():
            logger.warning(finding)


def _letters(sequence: Sequence) -> str:
    """Return the letters of a coding sequence, upper case, with T for U and one kind of gap."""
    return sequence.residues.upper().replace(".", "-").replace("U", "T")
