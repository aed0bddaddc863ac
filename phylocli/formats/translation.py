"""Translation of coding DNA, aligned or not, from the first codon."""

from __future__ import annotations

from phylocli.core.alphabet import GAPS, check_residues
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.sequences.fasta import Sequence, shorten


def check_code(code: int) -> None:
    """Raise a UsageError for a number that is not an NCBI genetic code."""
    from Bio.Data import CodonTable

    if code not in CodonTable.ambiguous_dna_by_id:
        known = ", ".join(map(str, sorted(CodonTable.ambiguous_dna_by_id)))
        raise UsageError(f"there is no genetic code {code}", fix=f"known: {known}; 1 is the standard code")


def translate(sequence: Sequence, code: int = 1) -> Sequence:
    """Translate a coding sequence; three gaps become one.

    Codons with ambiguity codes that do not determine the amino acid become `X`. A terminal stop codon and an incomplete last
    codon are dropped.

    Args:
        sequence: DNA or RNA, in frame.
        code: NCBI number of the genetic code.

    Raises:
        UsageError: unknown genetic code.
        BadInputError: the sequence contains letters that are not nucleotides, a codon with one or two gaps, an internal stop
            codon, or no complete codon.

    Examples:
        >>> from phylocli.formats.translation import translate
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
    letters = sequence.residues.upper().replace(".", "-").replace("U", "T")
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
    residues = protein.replace("*", "-") if "-" in protein else body
    return Sequence(sequence.id, residues, sequence.description, sequence.where)
