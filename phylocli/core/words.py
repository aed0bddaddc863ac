"""Numbers with their nouns, for messages."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, which is given in the singular.

    Examples:
        >>> from phylocli.core.words import counted
        >>> counted(1, "query"), counted(1200, "row"), counted(0, "class"), counted(7, "family")
        ('1 query', '1,200 rows', '0 classes', '7 families')
    """
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{number:,} {noun[:-1]}ies"
    return f"{number:,} {noun}{'es' if noun.endswith(('s', 'x', 'ch')) else 's'}"
