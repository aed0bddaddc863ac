"""The one wrapper around HMMER: its letters, and its figures against pyhmmer's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phylocli.formats import Family, read_families
from phylocli.hmmer import SearchOptions, align_to, build_hmm, hmmsearch, phmmer


@pytest.fixture(scope="module")
def globins(examples: Path) -> Family:
    return next(iter(read_families(examples / "families.sto")))


def test_letters_that_are_not_amino_acids_are_searched_as_unknown(globins: Family) -> None:
    sequence = globins.sequences()[0].residues
    unusual = "".join("BJOUZ*"[i // 15] if i % 15 == 7 and i < 90 else letter for i, letter in enumerate(sequence))
    unknown = "".join("X" if i % 15 == 7 and i < 90 else letter for i, letter in enumerate(sequence))
    [as_given] = phmmer([unusual], [sequence, unusual], SearchOptions(filters=False))
    [as_unknown] = phmmer([unknown], [sequence, unknown], SearchOptions(filters=False))
    assert as_given.target.tolist() == as_unknown.target.tolist()
    assert as_given.score.tolist() == as_unknown.score.tolist()


def test_aligned_rows_keep_their_own_letters(globins: Family) -> None:
    sequence = "U" + globins.sequences()[0].residues[1:]
    rows, reference = align_to(build_hmm(globins), [sequence], threads=1)
    assert rows[0].replace("-", "").replace(".", "").upper() == sequence
    assert len(rows[0]) == len(reference)


def test_hits_are_those_of_pyhmmer(globins: Family) -> None:
    import pyhmmer
    from pyhmmer import easel

    letters = easel.Alphabet.amino()
    hmm, members = build_hmm(globins), [s.residues for s in globins.sequences()]
    assert not set("".join(members)) - set("ACDEFGHIKLMNPQRSTVWY")
    block = easel.DigitalSequenceBlock(
        letters, [easel.TextSequence(name=str(i), sequence=s).digitize(letters) for i, s in enumerate(members)]
    )
    expected = {
        int(hit.name): (hit.score, hit.evalue) for hit in next(iter(pyhmmer.hmmsearch([hmm], block, E=1e-3, Z=1000)))
    }
    [found] = hmmsearch([hmm], members, SearchOptions(evalue=1e-3, database_size=1000))
    assert {t: (s, e) for t, s, e in zip(*found, strict=True)} == expected
    assert (np.diff(found.score) <= 0).all()
