"""Nucleotide sequences where proteins are expected: their detection, translation and reading frames."""

from __future__ import annotations

from phylocli.formats.nucleotides.detection import (
    OTHER_MODEL,
    SAY_DNA,
    TRANSLATE,
    TRANSLATE_FIRST,
    NucleotideCheck,
    check_translatable,
    nucleotides_among,
)
from phylocli.formats.nucleotides.translation import Translator, translate

__all__ = [
    "OTHER_MODEL",
    "SAY_DNA",
    "TRANSLATE",
    "TRANSLATE_FIRST",
    "NucleotideCheck",
    "Translator",
    "check_translatable",
    "nucleotides_among",
    "translate",
]
