"""Alignment engines on real and unusual families: residues and names are preserved, match columns are correct."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phylocli.align import align_families
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import read_families
from phylocli.formats.family import Family
from phylocli.hmmer import align_to, build_hmm, plain, restore
from phylocli.store import Store

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ENGINES = ["profile", "famsa", "none"]


@pytest.fixture(scope="module")
def globins() -> Family:
    """The globins of the examples, aligned."""
    [family] = [f for f in read_families(EXAMPLES / "families.sto") if f.accession == "PF00042"]
    return family


def unaligned(family: Family) -> Family:
    return Family(family.ids, [s.residues for s in family.sequences()], name=family.name, aligned=False)


def align(family: Family, **options: object) -> Family:
    [done] = align_families([family], threads=1, **options)  # type: ignore[arg-type]
    return done


def residues(family: Family) -> list[str]:
    return [sequence.residues for sequence in family.sequences()]


def check_columns(family: Family) -> None:
    """Check that match columns contain upper case and `-`, insert columns lower case and `.`."""
    assert len({len(row) for row in family.rows}) == 1
    for column, match in enumerate(family.match_columns()):
        letters = {row[column] for row in family.rows}
        assert all((c.isupper() or c == "-") if match else (c.islower() or c == ".") for c in letters)


@pytest.mark.parametrize("engine", ENGINES)
def test_methods_keep_names_residues_and_order(engine: str, globins: Family) -> None:
    done = align(globins, engine=engine)
    assert done.ids == globins.ids
    assert residues(done) == residues(globins)
    assert done.accession == "PF00042"
    assert done.clan == globins.clan
    assert any(note.startswith("align ") for note in done.notes)


@pytest.mark.parametrize("engine", ENGINES[:2])
def test_match_and_insert_columns_are_written_apart(engine: str, globins: Family) -> None:
    done = align(globins, engine=engine)
    check_columns(done)
    assert set(done.column_features) == {"RF"}
    trimmed = align(globins, engine=engine, trim="match")
    assert trimmed.columns == int(done.match_columns().sum())
    assert trimmed.match_columns().all()


def test_a_profile_built_from_a_subset_aligns_the_rest_as_the_curators_did(globins: Family) -> None:
    """The globins' rows were aligned to a profile; a profile of half of them must give back most columns of the others."""
    seed, rest = globins.ids[::2], globins.ids[1::2]
    path_hmm = build_hmm(globins.subset(seed))
    rows, reference = align_to(path_hmm, residues(globins.subset(rest)), threads=1)
    ours = [[c for c, r in zip(row, reference, strict=True) if r == "x"] for row in rows]
    theirs = [
        [c for c, match in zip(row, globins.match_columns(), strict=True) if match] for row in globins.subset(rest).rows
    ]
    assert len(ours[0]) == len(theirs[0])
    agree = sum(a == b for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True))
    assert agree / (len(ours) * len(ours[0])) > 0.95


def test_famsa_finds_the_columns_of_close_relatives() -> None:
    rows = ["MKVLAAGIVGLCAKAYLE", "MKVLAAGLCAKAYLE", "MKVLSAGIVGLCAKAYIE", "MRVLAAGIVGLCSKAYLE"]
    done = align(Family(list("abcd"), rows, aligned=False), engine="famsa")
    assert done.columns == 18
    assert done.rows[1].replace("-", "") == rows[1]
    assert done.rows[1].count("-") == 3


def test_profiles_come_from_file_seed_store_or_record_in_that_order(globins: Family, tmp_path: Path) -> None:
    hmm = build_hmm(globins)
    file = tmp_path / "globin.hmm"
    with file.open("wb") as stream:
        hmm.write(stream)
    bare = unaligned(globins)
    with pytest.raises(BadInputError, match="no profile HMM"):
        align(bare, engine="profile")
    by_file = align(bare, hmm=file)
    by_seed = align(bare, seed_alignment=EXAMPLES / "families.sto") if bare.name == "Globin" else None
    assert "globin.hmm" in by_file.notes[-1]
    if by_seed is not None:
        assert by_seed.rows == by_file.rows
    store = Store(tmp_path / "store")
    path = store.profile_path("PF00042")
    path.parent.mkdir(parents=True)
    path.write_bytes(file.read_bytes())
    bare.accession = "PF00042"
    by_store = align(bare, store=store.root)
    assert "of the store" in by_store.notes[-1]
    assert by_store.rows == by_file.rows
    assert "record's alignment" in align(globins, store=tmp_path / "empty").notes[-1]


def test_one_of_many_profiles_is_picked_by_accession_or_name(globins: Family, tmp_path: Path) -> None:
    families = {f.accession: f for f in read_families(EXAMPLES / "families.sto")}
    file = tmp_path / "two.hmm"
    with file.open("wb") as stream:
        for accession in ("PF00042", "PF00076"):
            build_hmm(families[accession]).write(stream)
    done = align(families["PF00076"], hmm=file)
    assert int(done.match_columns().sum()) == build_hmm(families["PF00076"]).M
    with pytest.raises(BadInputError, match="has no HMM for PF00041"):
        align(families["PF00041"], hmm=file)


@pytest.mark.parametrize("content", [b"", b"not an HMM\n", b"HMMER3/f [3.3]\nNAME x\n"])
def test_a_file_that_is_no_profile_is_named(content: bytes, globins: Family, tmp_path: Path) -> None:
    file = tmp_path / "bad.hmm"
    file.write_bytes(content)
    with pytest.raises(BadInputError, match=r"bad\.hmm"):
        align(globins, hmm=file)


def test_a_seed_that_is_not_aligned_is_an_error(globins: Family) -> None:
    with pytest.raises(BadInputError, match="not aligned"):
        align(unaligned(globins), seed_alignment=EXAMPLES / "globins.fasta")


def test_rows_of_different_lengths_are_no_alignment() -> None:
    with pytest.raises(BadInputError, match="different lengths"):
        align(Family(["a", "b"], ["MKV", "MK"], aligned=False), engine="none")


def test_given_rows_stay_as_they_are_and_keep_their_columns_features(globins: Family) -> None:
    globins.column_features["SS_cons"] = "H" * globins.columns
    done = align(globins, engine="none")
    assert done.rows == globins.rows
    assert done.column_features == globins.column_features
    del globins.column_features["SS_cons"]


def test_unknown_methods_and_rules_are_usage_errors(globins: Family) -> None:
    with pytest.raises(UsageError, match="did you mean 'famsa'"):
        align(globins, engine="fasma")
    with pytest.raises(UsageError, match="unknown trimming"):
        align(globins, trim="all")


@pytest.mark.parametrize("engine", ENGINES[:2])
def test_unusual_letters_and_names_are_preserved(engine: str, globins: Family) -> None:
    sequences = residues(globins)[:6]
    sequences[0] = "U" + sequences[0][1:40] + "XOBZJ*" + sequences[0][46:] + "*"
    names = ["x" * 10_000, "a/b:c(d)'e", "0", "[1]", "é", "t1"]
    done = align(
        Family(names, sequences, name="Globin", aligned=False), engine=engine, seed_alignment=EXAMPLES / "families.sto"
    )
    assert done.ids == names
    assert residues(done) == [sequences[0].rstrip("*"), *sequences[1:]]


@pytest.mark.parametrize("engine", ENGINES[:2])
def test_one_sequence_and_two_identical_ones_align(engine: str, globins: Family) -> None:
    [sequence, *_] = residues(globins)
    for copies in (1, 2):
        family = Family([f"s{i}" for i in range(copies)], [sequence] * copies, name="Globin", aligned=False)
        done = align(family, engine=engine, seed_alignment=EXAMPLES / "families.sto")
        assert residues(done) == [sequence] * copies
        assert len(set(done.rows)) == 1


@pytest.mark.parametrize("row", ["MKVLAAGIVGLCAKAYLEMKVLAAGIVG", "X" * 30])
def test_a_profile_can_be_built_from_one_row(row: str) -> None:
    assert residues(align(Family(["a"], [row]))) == [row]


def test_low_coverage_is_left_out(globins: Family, capsys: pytest.CaptureFixture[str]) -> None:
    family = unaligned(globins)
    family.rows[3] = family.rows[3][:40]
    done = align(family, seed_alignment=EXAMPLES / "families.sto", min_coverage=0.6)
    assert done.ids == [name for i, name in enumerate(globins.ids) if i != 3]
    assert "left out 1 of 45" in capsys.readouterr().err


@given(st.text("ACDEFGHIKLMNPQRSTVWYUOBZJX*", min_size=1, max_size=30), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_restored_rows_hold_the_letters_that_were_there(sequence: str, random: object) -> None:
    row = "".join(
        ("-" if random.random() < 0.3 else "") + (c.lower() if random.random() < 0.3 else c) for c in plain(sequence)
    )  # type: ignore[attr-defined]
    back = restore(row, sequence)
    assert back.replace("-", "").upper() == sequence
    assert [c.islower() for c, d in zip(back, row, strict=True) if d.isalpha() and c.isalpha()] == [
        d.islower() for c, d in zip(back, row, strict=True) if d.isalpha() and c.isalpha()
    ]
