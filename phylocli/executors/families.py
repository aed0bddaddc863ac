"""Families as pieces: their journal beside the output of a command."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from phylocli.core.errors import PhylocliError
from phylocli.executors.journal import Journal
from phylocli.formats import stockholm
from phylocli.formats.family import Family
from phylocli.formats.provenance import versions
from phylocli.formats.streams import STDIO, PathLike, file_sha256, is_file

FamilyJournal = Journal[Family, Family]


@contextlib.contextmanager
def family_journal(
    output: PathLike | None,
    stage: str,
    parameters: Mapping[str, object],
    *,
    files: Iterable[Path | None] = (),
    file_of: Callable[[Family], Path | None] = lambda family: None,
) -> Iterator[FamilyJournal | None]:
    """Yield the journal of a command that reads and writes families: `OUTPUT.partial`; None if the output is not a file.

    Args:
        output: of the command.
        stage: the command.
        parameters: all that the result for a family depends on besides the family, files, and the versions of libraries.
        files: files named by options, on whose content the results depend.
        file_of: returns the file on which the result for a family depends, such as its profile in the store.
    """
    if output is None or str(output) == STDIO or not is_file(output):
        yield None
        return
    contents = [_checksum(path) for path in files]
    facts = json.dumps([versions(), stage, parameters, contents], sort_keys=True, default=str)

    def identify(family: Family) -> str:
        tree = "" if family.tree is None else family.tree.to_newick()
        try:
            own = _checksum(file_of(family))
        except PhylocliError:  # an accession that is no file name
            own = ""
        return f"{facts}\n{own}\n{replace(family, tree=None, where='')!r}\n{tree}"

    journal: FamilyJournal = Journal(Path(f"{output}.partial"), identify=identify, encode=_encode, decode=_decode)
    with journal.opened():
        yield journal


def _checksum(path: Path | None) -> str:
    return "" if path is None or not path.is_file() else file_sha256(path)


def _encode(family: Family) -> str:
    text = io.StringIO()
    text.write(f"{family.alphabet}\n")  # records do not have it
    stockholm.write_family(family, text)
    return text.getvalue()


def _decode(text: str) -> Family:
    alphabet, _, record = text.partition("\n")
    family = next(stockholm.parse(enumerate(record.splitlines(), 1), "a result of the interrupted run"))
    return replace(family, alphabet=alphabet)
