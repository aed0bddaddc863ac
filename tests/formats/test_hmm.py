from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from pyhmmer import easel, plan7

from phylocli.core.errors import BadInputError
from phylocli.formats.hmm import read_hmms

ROWS = ("MKVLAAGIVGLCA-KAYLE", "MKVLSAGLVGLCAEKAYIE", "MRVLAAG-VGLCSEKAYLD", "MKILAAGIVG-CAEKSYLE")


@pytest.fixture(scope="module")
def text() -> bytes:
    alphabet = easel.Alphabet.amino()
    rows = [easel.TextSequence(name=str(number), sequence=row) for number, row in enumerate(ROWS)]
    alignment = easel.TextMSA(name="family", accession="PF00042.27", sequences=rows).digitize(alphabet)
    hmm, _, _ = plan7.Builder(alphabet, seed=1).build_msa(alignment, plan7.Background(alphabet))
    stream = io.BytesIO()
    hmm.write(stream)
    return stream.getvalue()


def read(text: bytes, folder: Path) -> list[plan7.HMM]:
    path = folder / "some.hmm"
    path.write_bytes(text)
    return list(read_hmms(path))


def test_hmms_are_those_of_hmmers_own_parser(text: bytes, tmp_path: Path) -> None:
    second = text.replace(b"NAME  family", b"NAME  other\nDESC  a d\xe9scription\nDATE  today")
    ours = read(text + second, tmp_path)
    with plan7.HMMFile(io.BytesIO(text)) as file:
        theirs = file.read()
    assert [hmm.name for hmm in ours] == ["family", "other"]
    for hmm in ours:
        assert (hmm.accession, hmm.M, hmm.consensus) == ("PF00042.27", theirs.M, theirs.consensus)
        assert bytes(hmm.match_emissions) == bytes(theirs.match_emissions)
        assert bytes(hmm.insert_emissions) == bytes(theirs.insert_emissions)
        assert bytes(hmm.transition_probabilities) == bytes(theirs.transition_probabilities)
        assert hmm.evalue_parameters.as_vector() == theirs.evalue_parameters.as_vector()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"ALPH  amino", b"ALP   amino", "no ALPH"),
        (b"ALPH  amino", b"ALPH  amino\nALPH  DNA", "ALPH occurs twice"),
        (b"ALPH  amino", b"ALPH  DNA", "'DNA', not of proteins"),
        (b"LENG  19", b"LENG  9999999", "needs 29999999 lines"),
        (b"LENG  19", b"LENG  18", "needs 56 lines"),
        (b"LENG  19", b"LENG  -1", "LENG  -1"),
        (b"HMMER3/f", b"HMMER2.0", "first line"),
        (b"W        Y", b"Y        W", "twenty amino acids"),
    ],
)
def test_hmm_files_are_validated_before_hmmers_parser(
    text: bytes, old: bytes, new: bytes, message: str, tmp_path: Path
) -> None:
    assert old in text
    with pytest.raises(BadInputError, match=r"some\.hmm: HMM 1") as found:
        read(text.replace(old, new, 1), tmp_path)
    assert message in str(found.value)


def test_a_cut_file_is_refused_at_every_line_and_damage_never_ends_in_a_crash(text: bytes, tmp_path: Path) -> None:
    lines = text.splitlines(keepends=True)
    for end in range(1, len(lines) - 1):
        with pytest.raises(BadInputError):
            read(b"".join(lines[:end]), tmp_path)
    rng, refused = random.Random(1), 0
    for _ in range(300):
        place = rng.randrange(len(text))
        changed = text[:place] + bytes([text[place] ^ 1 << rng.randrange(8)]) + text[place + 1 :]
        try:
            read(changed, tmp_path)
        except BadInputError:
            refused += 1
    assert refused > 50  # most other bits are in digits, names and comments
