import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phylocli.core import alphabet
from phylocli.core.errors import BadInputError
from phylocli.formats import read_families, read_sequences
from phylocli.formats.sequences import fasta
from phylocli.formats.sequences.fasta import Sequence


def write(tmp_path, data):
    path = tmp_path / "in.fasta"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_header_and_wrapped_lines(tmp_path):
    path = write(tmp_path, ">sp|P1|X_Y some words\nACD\nEF\n\n>b\tc\nGH\n")
    first, second = fasta.read(path)
    assert (first.id, first.description, first.residues) == ("sp|P1|X_Y", "some words", "ACDEF")
    assert (second.id, second.description, second.residues) == ("b", "c", "GH")


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
def test_any_line_end(tmp_path, ends):
    path = write(tmp_path, b">a x" + ends + b"ACD" + ends + b">b" + ends + b"EF" + ends)
    assert [(s.id, s.residues) for s in fasta.read(path)] == [("a", "ACD"), ("b", "EF")]


def test_byte_order_mark(tmp_path):
    assert [s.id for s in fasta.read(write(tmp_path, b"\xef\xbb\xbf>a\nAC\n"))] == ["a"]


@pytest.mark.parametrize("name", ["a/1-3", "a:b", "a(b)", "'q'", '"q"', "ünï😀", "x" * 10_000, "a,b;c", "=1+1", "<b>"])
def test_hostile_ids_survive(tmp_path, name):
    path = tmp_path / "out.fasta"
    with path.open("w", encoding="utf-8") as handle:
        fasta.write([Sequence(name, "ACD")], handle)
    assert [s.id for s in fasta.read(path)] == [name]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b">a\n", "no residues"),
        (b">a\n>b\nAC\n", "line 1.*'a' has no residues"),
        (b">a\n--..\n", "no residues"),
        (b">\nAC\n", "no id"),
        (b"> a\nAC\n", "no id"),
        (b"ACDE\n", "starts with '>'"),
        (b"\x89PNG\r\n\x1a\n\0\0", "PNG"),
        (b">a\nAC\0D\n", "zero bytes"),
        (b"%PDF-1.4", "PDF"),
        (b">a\nAC\n>a\nAD\n", "line 3.*'a' occurs twice"),
    ],
)
def test_invalid_fasta_is_refused_with_its_position(tmp_path, data, said):
    with pytest.raises(BadInputError, match=said):
        list(fasta.read(write(tmp_path, data)))


def test_damaged_compression_is_an_error(tmp_path):
    whole = gzip.compress(b">a\n" + bytes(np.random.default_rng(0).choice(list(b"ACDEFG"), 50_000)) + b"\n")
    with pytest.raises(BadInputError, match="damaged or end too early"):
        list(fasta.read(write(tmp_path, whole[: len(whole) // 2])))


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(BadInputError, match="no such file"):
        list(fasta.read(tmp_path / "nope"))
    with pytest.raises(BadInputError, match="folder"):
        list(fasta.read(tmp_path))


def test_duplicate_policies(tmp_path):
    path = write(tmp_path, ">a\nAC\n>a\nAD\n>a.2\nAE\n>a\nAF\n")
    assert [s.residues for s in fasta.read(path, on_duplicate="keep-first")] == ["AC", "AE"]
    renamed = [s.id for s in fasta.read(path, on_duplicate="rename")]
    assert len(set(renamed)) == 4
    assert renamed[0] == "a"


def test_sequences_are_cleaned_by_the_policy(tmp_path):
    (found,) = read_sequences(write(tmp_path, ">a\nacD-E.UOBZXJ*\n"))
    assert found.residues == "ACDEUOBZXJ"


@pytest.mark.parametrize(
    ("residues", "said"), [("AC1D", "'1' at position 3"), ("ACé", "'é' at position 3"), ("A C?D", r"'\?' at position 3")]
)
def test_a_wrong_letter_is_named_with_its_place(tmp_path, residues, said):
    with pytest.raises(BadInputError, match=said):
        list(read_sequences(write(tmp_path, f">s\n{residues}\n")))


def test_sequences_come_from_stockholm_too(examples):
    sequences = list(read_sequences(examples / "families.sto"))
    assert len(sequences) == 822
    assert all("-" not in s.residues and s.residues.isupper() for s in sequences)


def test_fasta_is_one_family(examples, tmp_path):
    (family,) = read_families(examples / "globins.fasta")
    assert (family.name, len(family), family.aligned) == ("globins", 45, False)
    (aligned,) = read_families(write(tmp_path, ">a\nAC-\n>b\nACD\n"))
    assert aligned.aligned


@given(st.text(alphabet="ACDEFGHIKLMNPQRSTVWYX", max_size=60))
def test_tokens_round_trip(residues):
    tokens = alphabet.encode_tokens(residues)
    assert tokens.dtype == np.uint8
    assert alphabet.decode_tokens(tokens) == residues
    assert ((tokens >= alphabet.FIRST_RESIDUE) & (tokens < alphabet.VOCABULARY_SIZE)).all()


def test_rare_letters_are_read_as_documented():
    tokens = alphabet.encode_tokens("UOBZXJ")
    assert alphabet.decode_tokens(tokens) == "CKXXXX"
    states = alphabet.encode_states(["UOBZ-.x*"])
    assert states.tolist() == [[alphabet.AMINO_ACIDS.index("C"), alphabet.AMINO_ACIDS.index("K"), *[alphabet.MISSING] * 6]]
