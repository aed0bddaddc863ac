"""Rules for tables: missing values, dialects, and roles of columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phylocli.core.errors import BadInputError, PhylocliError, UsageError
from phylocli.formats.tables import read_table
from phylocli.formats.tables.columns import ColumnOptions, feature_columns, id_column, is_index
from phylocli.formats.tables.delimited import read_delimited
from phylocli.formats.tables.values import MISSING, numbers_of, texts_of
from phylocli.probe import Dataset, read_labels
from phylocli.probe.inputs.label_types import read_column

NAMES = ["kinase", "é", "Ångström, type", "k3", "a b"]
WORDS = [NAMES[i % 5] for i in range(20)]
NUMBERS = [round(0.37 * i - 3.1, 3) for i in range(20)]


def lines(separator: str, end: str, quote: str = "", point: str = ".") -> str:
    head = separator.join(f"{quote}{name}{quote}" for name in ("id", "kind", "stab"))
    rows = [
        separator.join([f"{quote}p{i}{quote}", f"{quote}{WORDS[i]}{quote}", str(NUMBERS[i]).replace(".", point)])
        for i in range(20)
    ]
    return end.join([head, *rows]) + end


DIALECTS: dict[str, bytes] = {
    "utf8": lines("\t", "\n").encode(),
    "latin1": lines("\t", "\n").encode("latin-1"),
    "dos": lines("\t", "\r\n").encode(),
    "mac": lines("\t", "\r").encode(),
    "bom": lines("\t", "\n").encode("utf-8-sig"),
    "utf16": lines("\t", "\r\n").encode("utf-16"),
    "R": lines("\t", "\n", '"').encode(),
    "csv": lines(",", "\n", '"').encode(),
    "excel": lines(";", "\r\n", '"', ",").encode("utf-8-sig"),
    "no last line end": lines("\t", "\n").encode().rstrip(),
    "blank lines": lines("\t", "\n\n").encode(),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_table_in_every_dialect_is_the_same_table(tmp_path: Path, dialect: str) -> None:
    (tmp_path / "t").write_bytes(DIALECTS[dialect])
    frame = read_labels(tmp_path / "t")
    data = Dataset.from_labels(frame, "t")
    assert data.ids == [f"p{i}" for i in range(20)]
    assert [data.class_names["kind"][code] for code in data.classes["kind"]] == WORDS
    assert data.values["stab"].tolist() == NUMBERS


def test_row_names_of_r_are_ids_though_the_header_leaves_them_out(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text('"kind"\t"stab"\n"p0"\t"a"\t1\n"p1"\t"b"\t2\n')
    frame = read_labels(tmp_path / "t.tsv")
    assert frame.to_dict(as_series=False) == {"id": ["p0", "p1"], "kind": ["a", "b"], "stab": ["1", "2"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id\tk\np0\ta\np1\n", r"row 3, 'p1', has 1 fields, the header 2"),
        ("id,k\np0,a\np1,b,c\n", r"row 3, 'p1,b,c', has 3 fields, the header 2"),
        ("id\tk\tk\np0\ta\tb\n", "two columns are named 'k'"),
        (";\n;", "its header names no column"),
        (",,\n,,\n,,\n", "its header names no column"),
        (">p0\nMKV\n", "is a FASTA file, not a table"),
        ("\n\n", "is empty"),
    ],
)
def test_tables_that_do_not_fit_their_header_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t").write_text(text)
    with pytest.raises(BadInputError, match=said):
        read_table(tmp_path / "t")


def test_empty_columns_of_a_spreadsheet_are_dropped() -> None:
    frame = read_delimited(b"id;k;;\np0;a;;\np1;b;;\n", "t").frame
    assert frame.to_dict(as_series=False) == {"id": ["p0", "p1"], "k": ["a", "b"]}


@given(st.binary(max_size=300) | st.text(alphabet='ab,;\t"\n\r0.1é', max_size=80).map(str.encode))
def test_any_bytes_are_a_table_or_a_typed_error(data: bytes) -> None:
    try:
        frame, _ = read_delimited(data, "x")
    except PhylocliError as error:
        assert "x" in error.what
        return
    for column in frame:
        numbers_of(texts_of(column), decimal_comma=True)


@pytest.mark.parametrize("token", sorted(MISSING))
@pytest.mark.parametrize("typed", [False, True])
def test_unknown_values_are_unknown_in_classes_terms_and_quantities(tmp_path: Path, token: str, typed: bool) -> None:
    rows = {
        "id": [f"p{i}" for i in range(12)],
        "kind": [token, " " + token, *(["x", "y"] * 5)],
        "stab": [token, token, *(str(i / 7) for i in range(10))],
        "go": [token, token, *(["a;b", "b", "a;" + token] * 3), "a"],
    }
    pl.DataFrame(rows).write_csv(tmp_path / "l.tsv", separator="\t", quote_style="never")
    if typed:
        read_table(tmp_path / "l.tsv").write_parquet(tmp_path / "l.tsv")
    data = Dataset.from_labels(read_labels(tmp_path / "l.tsv"), "l")
    assert data.class_names == {"kind": ["x", "y"]} and data.classes["kind"].tolist() == [-1, -1, *([0, 1] * 5)]
    assert np.flatnonzero(np.isnan(data.values["stab"])).tolist() == [0, 1]
    assert data.terms["go"].names == ["a", "b"] and data.terms["go"].known.tolist() == [False] * 2 + [True] * 10
    assert any("2 of 12 unknown" in why for column, _, why in data.taken if column == "stab")


def column(values: list[object], name: str = "k", options: ColumnOptions = ColumnOptions()) -> tuple[str, object]:
    found = read_column(pl.Series(name, values), options)
    return found.role, found.texts if found.texts is not None else found.values


@pytest.mark.parametrize(
    ("name", "values", "role", "read"),
    [
        ("family", [str(i % 70) for i in range(240)], "classes", [str(i % 70) for i in range(240)]),
        ("taxid", [9000 + i % 60 for i in range(240)], "classes", [str(9000 + i % 60) for i in range(240)]),
        ("k", ["1.1", "1.10", "3.40", "1.10"], "classes", ["1.1", "1.10", "3.40", "1.10"]),
        ("cath", ["1.20", "3.40", "1.20"], "classes", ["1.20", "3.40", "1.20"]),
        ("k", ["0.0", "2.0", "NA", "2.0", "0"], "classes", ["0", "2", None, "2", "0"]),
        ("k", [0.0, 2.0, float("nan"), 2.0, 0.0], "classes", ["0", "2", None, "2", "0"]),
        ("k", [True, False, None], "classes", ["True", "False", None]),
        ("k", ["k1", "k1 ", " k1", "k2\u00a0"], "classes", ["k1", "k1", "k1", "k2"]),
        ("k", ["007", "007", "8"], "classes", ["007", "007", "8"]),
    ],
)
def test_names_of_classes_that_look_like_numbers_are_classes(
    name: str, values: list[object], role: str, read: list[object]
) -> None:
    assert column(values, name) == (role, read)


def test_numbers_are_quantities_and_the_user_overrules_both_ways() -> None:
    numbers = [str(i / 3) for i in range(60)]
    assert column(numbers)[0] == "quantity"
    assert column([str(i) for i in range(60)])[0] == "quantity"
    assert column(numbers, options=ColumnOptions.of(classes="k")) == ("classes", numbers)
    role, values = column(["1", "2", "x", "2,5", "NA"], options=ColumnOptions.of(quantities=["k"]))
    assert role == "quantity" and np.array_equal(values, [1, 2, np.nan, 2.5, np.nan], equal_nan=True)  # type: ignore[arg-type]
    assert column(["1", "2", "1", "2"], options=ColumnOptions.of(quantities="k"))[0] == "quantity"
    with pytest.raises(UsageError, match="contains no numbers"):
        column(["x", "y"], options=ColumnOptions.of(quantities="k"))
    with pytest.raises(UsageError, match="contains lists"):
        column([["x"], ["y"]], options=ColumnOptions.of(classes="k"))
    with pytest.raises(UsageError, match="both classes and quantities"):
        ColumnOptions.of(classes="k", quantities="k")


def test_columns_that_are_overruled_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "l.tsv").write_text("id\tk\na\tx\nb\tx\n")
    with pytest.raises(UsageError, match="no column 'fold'"):
        read_labels(tmp_path / "l.tsv", ColumnOptions.of(classes="fold"))
    with pytest.raises(UsageError, match="'k' cannot be used"):
        Dataset.from_labels(read_labels(tmp_path / "l.tsv"), "l", options=ColumnOptions.of(classes="k"))


LISTS = [["T0"], ["T0", "T1"], ["T1", "T0"], None, ["T1"], ["T0", "T1"]]


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda words: words, id="Parquet list"),
        pytest.param(lambda words: None if words is None else repr(words), id="Python"),
        pytest.param(lambda words: None if words is None else repr(set(words)), id="set"),
        pytest.param(lambda words: None if words is None else str(np.array(words)), id="NumPy"),
        pytest.param(lambda words: "[]" if words is None else '["' + '", "'.join(words) + '"]', id="JSON"),
        pytest.param(lambda words: "NA" if words is None else 'c("' + '", "'.join(words) + '")', id="R"),
        pytest.param(lambda words: "" if words is None else ";".join(words), id="semicolons"),
        pytest.param(lambda words: None if words is None else " | ".join(words), id="bars"),
    ],
)
def test_lists_in_every_spelling_are_the_same_terms(write: Callable[[list[str] | None], object]) -> None:
    terms = read_column(pl.Series("t", [write(words) for words in LISTS], strict=False)).terms
    assert terms is not None and terms.names == ["T0", "T1"]
    assert terms.known.tolist() == [True, True, True, False, True, True]
    assert terms.member.toarray().tolist() == [[bool(words) and name in words for name in ("T0", "T1")] for words in LISTS]


def test_mostly_numbers_are_classes_with_a_warning_that_says_which_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    frame = pl.DataFrame({"id": list("abcdef"), "stab": ["0.5", "0.5", "0.7", "0.7", "0.7", "#DIV/0!"]})
    assert "stab" in Dataset.from_labels(frame, "l").classes
    said = capsys.readouterr().err
    assert "1 of 6 values are not numbers, such as '#DIV/0!'" in said and "--quantities stab" in said


def schema(**kinds: pl.DataType | type[pl.DataType]) -> pl.Schema:
    return pl.Schema(kinds)


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "Unnamed: 0.1", "__index_level_0__", "row.names", "index"])
def test_index_columns_are_never_features_and_ids_only_where_they_are_text(name: str) -> None:
    assert is_index(name) and not is_index("d0") and not is_index("unnamed protein")
    numbered = pl.Schema({name: pl.Int64, "id": pl.String, "d0": pl.Float64, "d1": pl.Float64})
    assert id_column(numbered, "t").column == "id"
    chosen, taken = feature_columns(numbered, "id", "t")
    assert chosen == ["d0", "d1"] and (name, "ignored") in [(column, role) for column, role, _ in taken]
    texts = pl.Schema({name: pl.String, "d0": pl.Float64, "d1": pl.Float64})
    assert id_column(texts, "t").column == name
    with pytest.raises(BadInputError, match="no id column"):
        id_column(pl.Schema({name: pl.Int64, "d0": pl.Float64}), "t")
    gene = pl.Schema({name: pl.Int64, "gene": pl.String, "d0": pl.Float64})
    assert id_column(gene, "t").column == "gene"


def test_ids_are_found_by_name_position_or_option() -> None:
    table = schema(gene=pl.String, Accession=pl.String, d0=pl.Float64)
    assert id_column(table, "t").column == "Accession"
    assert id_column(table, "t", ColumnOptions.of("gene")).column == "gene"
    assert id_column(table, "t", ColumnOptions.of(["other", "gene"])).column == "gene"
    with pytest.raises(UsageError, match="two id columns"):
        id_column(table, "t", ColumnOptions.of(["gene", "Accession"]))
    with pytest.raises(UsageError, match="no table has the id column 'other'"):
        ColumnOptions.of("other").check_ids([id_column(table, "t")])


FLOAT, VECTOR = pl.Float64(), pl.List(pl.Float32)


@pytest.mark.parametrize(
    ("kinds", "options", "chosen"),
    [
        ({"d0": FLOAT, "d1": FLOAT, "taxon": pl.Int64, "mass": FLOAT}, (), ["d0", "d1"]),
        ({"x": FLOAT, "y": FLOAT, "length": pl.Int64, "taxid": pl.Int64}, (), ["x", "y"]),
        ({"0": FLOAT, "1": FLOAT, "10": FLOAT, "charge": FLOAT}, (), ["0", "1", "10"]),
        ({"mean_0": FLOAT, "mean_1": FLOAT, "sd_0": FLOAT, "sd_1": FLOAT}, (), ["mean_0", "mean_1", "sd_0", "sd_1"]),
        ({"mass": FLOAT, "charge": FLOAT, "pI7": FLOAT}, (), ["mass", "charge", "pI7"]),
        ({"d0": FLOAT, "d1": FLOAT, "mass": FLOAT}, ("mass", "d1"), ["d1", "mass"]),
        ({"d0": FLOAT, "d1": FLOAT, "mass": FLOAT}, ("d*",), ["d0", "d1"]),
        ({"embedding": VECTOR, "other": VECTOR, "mass": FLOAT}, (), ["embedding"]),
        ({"embedding": VECTOR, "other": VECTOR}, ("other",), ["other"]),
        ({"esm": VECTOR, "mass": FLOAT}, (), ["esm"]),
    ],
)
def test_features_are_vectors_or_numbered_columns_or_named_by_the_user(
    kinds: dict[str, pl.DataType], options: tuple[str, ...], chosen: list[str]
) -> None:
    table = pl.Schema({"id": pl.String, **kinds})
    found, taken = feature_columns(table, "id", "t", ColumnOptions(features=options))
    assert found == chosen
    assert {column for column, role, _ in taken if role == "ignored"} == set(kinds) - set(chosen)


@pytest.mark.parametrize(
    ("kinds", "options", "error", "said"),
    [
        ({"esm": VECTOR, "other": VECTOR}, (), BadInputError, "several columns of vectors"),
        ({"taxid": pl.Int64}, (), BadInputError, "has no embeddings"),
        ({"d0": FLOAT, "d1": FLOAT, "d2": pl.String}, (), BadInputError, "'d2' contains text, but d0, d1 contain numbers"),
        ({"d0": FLOAT, "text": pl.String}, ("d0", "text"), UsageError, "'text' does not contain one number"),
        ({"d0": FLOAT}, ("e*",), UsageError, r"no feature column 'e\*'"),
    ],
)
def test_ambiguous_features_are_an_error(
    kinds: dict[str, pl.DataType], options: tuple[str, ...], error: type[PhylocliError], said: str
) -> None:
    with pytest.raises(error, match=said):
        feature_columns(pl.Schema({"id": pl.String, **kinds}), "id", "t", ColumnOptions(features=options))


def test_proteingym_as_published_is_read_with_its_mutants_as_ids(tmp_path: Path) -> None:
    rows = [f"M{i}A,{'MKV'},{i / 10}" for i in range(1, 8)]
    (tmp_path / "pg.csv").write_text("mutant,mutated_sequence,DMS_score\nWT,MKV,0\n" + "\n".join(rows) + "\n")
    frame = read_labels(tmp_path / "pg.csv")
    assert frame["id"].to_list()[:2] == ["WT", "M1A"] and "sequence" in frame.columns
    data = Dataset.from_labels(frame, "pg")
    assert data.mutations is not None and data.mutations.tolist() == [0, *([1] * 7)]
    assert data.wild_type is not None and data.wild_type.tolist() == [-1, *([0] * 7)]


def test_without_a_wild_type_it_is_said_why_there_is_no_mutation_probe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pg.csv").write_text("mutant,DMS_score\nM1A,0.5\nM2A,0.6\nM3A,0.7\n")
    data = Dataset.from_labels(read_labels(tmp_path / "pg.csv"), "pg")
    assert data.wild_type is None and "wild type is unknown" in capsys.readouterr().err
