"""Modalities: cells of tables as tokens and numbers."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from phylocli.core.alphabet import encode_tokens
from phylocli.core.errors import BadInputError
from phylocli.modalities import aligned, columns_of, parse, smiles
from phylocli.modalities.text import words


def test_sequences_and_structure_letters_have_the_tokens_of_the_alphabet() -> None:
    assert parse("sequence", "MK-v").tolist() == encode_tokens("MKV").tolist()
    assert parse("three-di", "ddvX").tolist() == encode_tokens("DDVX").tolist()
    assert parse("three_di", "DVL").tolist() == encode_tokens("DVL").tolist()
    assert parse("nucleotides", "ACGU").tolist() == encode_tokens("ACGT", "dna").tolist()


def test_both_letters_of_coil_have_one_token() -> None:
    assert parse("secondary-structure", "H-E").tolist() == parse("secondary-structure", "HCE").tolist()


def test_a_profile_is_normalised_and_may_be_flat() -> None:
    rows = np.arange(1, 41, dtype=float).reshape(2, 20)
    found = parse("profile", rows.tolist())
    assert found == pytest.approx(rows / rows.sum(1, keepdims=True))
    assert parse("profile", rows.ravel().tolist()).tolist() == found.tolist()


def test_words_that_share_letters_share_tokens_and_punctuation_does_not_count() -> None:
    assert words("Heme-binding, O2 transport (α)") == ["heme", "binding", "o2", "transport", "α"]
    one, other = (set(parse("text", word).ravel().tolist()) - {0} for word in ("acyltransferase", "acetyltransferase"))
    assert len(one & other) > 15
    assert not one & (set(parse("text", "globin").ravel().tolist()) - {0})
    assert parse("text", "a globin").tolist() == parse("text", "A GLOBIN!").tolist()


def test_chlorine_and_bromine_are_one_token() -> None:
    assert len(parse("smiles", "CCl")) == 2 and len(parse("smiles", "BrC#N")) == 4
    assert len(parse("selfies", "[C][=C][Cl]")) == 3


@pytest.mark.parametrize(
    "value",
    [
        *(
            "CC(=O)Oc1ccccc1C(=O)O",
            "N[C@@H](C)C(=O)O",
            "[13CH4]",
            "[Na+].[Cl-]",
            "[Fe+2]",
            "[Ca++]",
            "F/C=C\\F",
            "c1cc[nH]c1",
        ),
        *("C1CC%12CC1CC%12", "[se]1cccc1", "[CH3:1]Br", "*C#N", "[Co@OH12](F)", "[H][H]", "O=[N+]([O-])c1ccccc1"),
    ],
)
def test_symbols_of_smiles_are_read(value: str) -> None:
    assert len(parse("smiles", value)) == len(value) - value.count("Cl") - value.count("Br")


def test_smiles_that_cannot_be_randomised_are_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "rdkit", None)
    smiles._warn.cache_clear()
    assert [smiles.augment("CCO", np.random.default_rng(k)) for k in range(3)] == ["CCO"] * 3
    assert "RDKit is not installed" in caplog.text
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("sequence", "MK1", "position 3"),
        ("three-di", "DDB", "'B' is not a letter of 3Di"),
        ("secondary-structure", "HQ", "'Q' is not a letter of secondary structure"),
        ("profile", [1.0] * 19, "20 numbers for each residue"),
        ("profile", [0.0] * 20, "not all 0"),
        ("smiles", "C C", "' ' at position 2, where no SMILES has it"),
        ("smiles", "MKVLA", "'M' at position 1"),
        ("smiles", "CC(=O", "not closed"),
        ("smiles", "CC)O", "')' at position 3"),
        ("smiles", "C[x9]", "'[' at position 2"),
        ("selfies", "CCO", "is not a SELFIES"),
        ("text", "...", "is empty as text"),
        ("sequence", "--", "is empty as sequence"),
    ],
)
def test_a_cell_of_another_modality_is_an_error_that_says_where(name: str, value: object, said: str) -> None:
    with pytest.raises(BadInputError) as caught:
        parse(name, value, "t.tsv, row 3")
    assert "t.tsv, row 3" in caught.value.what and said in str(caught.value)


def test_residue_modalities_are_cropped_alike_and_columns_have_other_names() -> None:
    assert aligned(["sequence", "text", "three-di", "profile"]) == ["sequence", "three-di", "profile"]
    assert columns_of("secondary-structure")[:2] == ("secondary_structure", "dssp")
