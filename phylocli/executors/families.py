"""Families as pieces: their journal beside the output of a command."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from phylocli import __version__
from phylocli.executors.journal import Journal
from phylocli.formats import stockholm
from phylocli.formats.family import Family
from phylocli.formats.streams import STDIO, PathLike, is_file

FamilyJournal = Journal[Family, Family]


@contextlib.contextmanager
def family_journal(output: PathLike | None, stage: str, parameters: Mapping[str, object]) -> Iterator[FamilyJournal | None]:
    """Yield the journal of a command that reads and writes families: `OUTPUT.partial`; None if the output is not a file.

    Args:
        output: of the command.
        stage: the command.
        parameters: all that the result for a family depends on besides the family.
    """
    if output is None or str(output) == STDIO or not is_file(output):
        yield None
        return
    facts = json.dumps([__version__, stage, parameters], sort_keys=True, default=str)

    def identify(family: Family) -> str:
        tree = "" if family.tree is None else family.tree.to_newick()
        return f"{facts}\n{replace(family, tree=None, where='')!r}\n{tree}"

    journal: FamilyJournal = Journal(Path(f"{output}.partial"), identify=identify, encode=_encode, decode=_decode)
    with journal.opened():
        yield journal


def _encode(family: Family) -> str:
    text = io.StringIO()
    text.write(f"{family.alphabet}\n")  # records do not have it
    stockholm.write_family(family, text)
    return text.getvalue()


def _decode(text: str) -> Family:
    alphabet, _, record = text.partition("\n")
    family = next(stockholm.parse(enumerate(record.splitlines(), 1), "a result of the interrupted run"))
    return replace(family, alphabet=alphabet)
