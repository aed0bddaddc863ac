"""The one wrapper around HMMER: its letters, and its figures against pyhmmer's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phylocli.formats import Family, read_families
from phylocli.hmmer import SearchOptions, align_to, build_hmm, digital_block, hmmsearch, phmmer


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
    assert {t: (s, e) for t, s, e in zip(*found[:3], strict=True)} == expected
    assert (np.diff(found.score) <= 0).all()


def test_domains_are_the_columns_of_hmmers_own_alignments(globins: Family) -> None:
    """A target of two copies has two domains; their pairs are those of the rows that HMMER prints."""
    import pyhmmer

    query = globins.sequences()[0].residues
    target = "GGSGGSGGS" + query[:-3] + "PGPGSPGPGSPGPGS" + query[4:45] + query[48:]
    (hits,) = phmmer([query], [target, query], SearchOptions(domains=True, filters=False))
    found = dict(zip(hits.target.tolist(), hits.domains, strict=True))
    assert [len(found[i]) for i in (0, 1)] == [2, 1]
    assert np.array_equal(found[1][0].pairs[:, 0], found[1][0].pairs[:, 1])
    first, second = sorted(found[0], key=lambda domain: int(domain.pairs[0, 1]))
    assert first.pairs[0, 1] - first.pairs[0, 0] == 9 and np.all(np.diff(first.pairs, axis=0) == 1)
    assert (np.diff(second.pairs[:, 0]) == 4).sum() == 1 and (np.diff(second.pairs[:, 1]) == 1).all()  # three left out
    equal = [query[i] == target[j] for domain in (first, second) for i, j in domain.pairs.tolist()]
    assert np.mean(equal) > 0.95  # ends may run a residue or two into the linkers
    (raw,) = pyhmmer.phmmer(digital_block([query]), digital_block([target]), cpus=1)
    for domain, own in zip(
        sorted(found[0], key=lambda d: -d.score), sorted(raw[0].domains, key=lambda d: -d.score), strict=True
    ):
        assert domain.score == pytest.approx(own.score, abs=0.1)
        alignment = own.alignment
        assert (domain.pairs[0] + 1).tolist() == [alignment.hmm_from, alignment.target_from]
        assert (domain.pairs[-1] + 1).tolist() == [alignment.hmm_to, alignment.target_to]
