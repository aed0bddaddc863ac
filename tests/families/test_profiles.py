"""Profiles: the effective number of sequences against HMMER's own bisection."""

import numpy as np
import pytest
from pyhmmer import easel, plan7

from phylocli.families.profiles import Builders, effective_number
from phylocli.formats import read_families
from phylocli.hmmer import amino


def match_rows(family):
    columns = family.match_columns()
    letters = np.array([[ord(c) for c in row.upper().replace(".", "-")] for row in family.rows], dtype=np.uint8)
    return letters[:, columns]


@pytest.fixture(scope="module")
def families(examples):
    return {f.name: match_rows(f) for f in read_families(examples / "families.sto")}


def by_hmmer(letters):
    alignment = easel.TextMSA(
        name="family",
        sequences=[easel.TextSequence(name=str(i), sequence=row.tobytes().decode()) for i, row in enumerate(letters)],
    )
    alignment.reference = "x" * letters.shape[1]
    builder = plan7.Builder(amino(), architecture="hand", EmN=10, EvN=10, EfN=10)
    return builder.build_msa(alignment.digitize(amino()), plan7.Background(amino()))[0]


@pytest.mark.parametrize("name", ["fn3", "Pkinase", "Cyclin_N", "RRM_1", "ArsP_1"])
def test_the_effective_number_is_near_that_of_hmmer(families, name):
    found = effective_number(families[name], plan7.Background(amino()))
    assert found == pytest.approx(by_hmmer(families[name]).nseq_effective, rel=0.25)


def test_where_all_rows_say_too_little_all_count():
    rows = np.array([[ord(c) for c in row] for row in ("MKVLAWGH", "CDEFYPQR")], dtype=np.uint8)
    assert effective_number(rows, plan7.Background(amino())) == pytest.approx(2.0)


def test_profiles_are_the_same_each_time_and_have_the_columns_asked_for(families):
    rows = [row.tobytes() for row in families["Cyclin_N"]]
    first, second = (Builders().profile(rows, fixed=True) for _ in range(2))
    assert len(rows[0]) == first.M
    assert np.array_equal(np.asarray(first.match_emissions), np.asarray(second.match_emissions))
    assert first.evalue_parameters.as_vector() == second.evalue_parameters.as_vector()
    sparse = [row[:10] + b"-" * 5 + row[10:] for row in rows[:-1]] + [rows[-1][:10] + b"WWWWW" + rows[-1][10:]]
    assert Builders().profile(sparse).M == first.M


@pytest.mark.parametrize("rows", [[], [b""], [b"----", b"----"]])
def test_no_profile_of_nothing(rows):
    assert Builders().profile(rows) is None
