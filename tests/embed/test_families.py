"""Embeddings of families: means over their members, and over the residues in each column."""

import numpy as np
import polars as pl
import pytest

from phylocli.core.errors import BadInputError, UsageError
from phylocli.embed import Embedder, embed_file
from phylocli.embed.disk_space import forecast
from phylocli.embed.families import column_means, embed_families, embed_family_residues, read_all_families, survey_families
from phylocli.embed.to_table import PER_FAMILY, Tabulator
from phylocli.formats.embeddings import read_embeddings
from phylocli.formats.family import Family
from phylocli.models.model import Model

STOCKHOLM = """# STOCKHOLM 1.0
#=GF AC   F1
a/1-6   MKV-LAG
b/3-8   MRVWL-G
c       --VWLAG
//
# STOCKHOLM 1.0
#=GF AC   F2
a/1-6   MKVLAGHHHH
//
"""


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.create("convolutional", preset="tiny", seed=1).eval()


@pytest.fixture
def three() -> list[Family]:
    first = Family(["a", "b", "c"], ["MKV-LAG", "MRVWL-G", "--VWLAG"], accession="F1")
    return [first, Family(["d"], ["MKVLAG"], name="lone"), Family(["e", "f"], ["MKV", "MKVLA"], name="loose", aligned=False)]


def test_the_embedding_of_a_family_is_the_mean_of_the_unit_vectors_of_its_members(model, three):
    blocks = list(embed_families(three, Embedder(model, max_tokens=2)))
    assert [name for names, *_ in blocks for name in names] == ["F1", "lone", "loose"]
    assert [length for _, lengths, *_ in blocks for length in lengths] == [7, 6, 4]
    assert sum(residues for *_, residues in blocks) == 17 + 6 + 8
    found = np.concatenate([vectors for *_, vectors, _ in blocks])
    for family, vector in zip(three, found, strict=True):
        rows = np.stack([Embedder(model).pooled([row.replace("-", "")])[0] for row in family.rows]).astype(float)
        mean = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).sum(0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)


def test_means_of_residues_are_over_the_members_with_one_in_the_column(three):
    values = [np.array([[10.0 * m + i] for i in range(len(row.replace("-", "")))]) for m, row in enumerate(three[0].rows)]
    # MKV-LAG: 0 1 2 3 4 5; MRVWL-G: 10 11 12 13 14 15; --VWLAG: 20 21 22 23 24
    expected = [(0 + 10) / 2, (1 + 11) / 2, (2 + 12 + 20) / 3, (3 + 14 + 22) / 3, (4 + 23) / 2, (5 + 15 + 24) / 3]
    np.testing.assert_allclose(column_means(three[0], values)[:, 0], expected, rtol=1e-6)


def test_insertions_are_not_averaged():
    """In columns that are no match columns, residues are not aligned: the first member has its own."""
    family = Family(["a", "b"], ["MKaVLA", "MKcVLA"], column_features={"RF": "xx.xxx"})
    found = column_means(family, [np.arange(6.0)[:, None], 10 + np.arange(6.0)[:, None]])
    assert found[:, 0].tolist() == [5, 6, 2, 8, 9, 10]


def test_many_members_are_computed_in_blocks(model):
    family = Family([f"m{i}" for i in range(9)], ["MKVLAG"] * 8 + ["MRVWLG"])
    ((_, expected),) = embed_family_residues([family], Embedder(model))
    ((_, found),) = embed_family_residues([family], Embedder(model, max_tokens=3))  # two members at a time
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_sizes_count_rows_of_first_members_and_residues_of_all(model, tmp_path):
    (tmp_path / "f.sto").write_text(STOCKHOLM)
    size = survey_families([tmp_path / "f.sto"])
    assert (size.sequences, size.residues, size.rows) == (2, 27, 16)
    maker = Tabulator(model, per_residue=True, per_family=True)
    tables = list(maker.family_tables(read_all_families([tmp_path / "f.sto"])))
    assert [sum(numbers) for numbers in zip(*((t.num_rows, n, r) for t, n, r in tables), strict=True)] == [16, 2, 27]
    by_default = forecast(size, 64, half=False, per_residue=True, format="parquet")
    assert 16 * 64 * 4 < by_default < 27 * 64 * 4 + 6_000


def test_members_are_checked_before_the_work(tmp_path):
    for row, message in (("MK1", "MK1|'1'"), ("---", "no residues")):
        (tmp_path / "f.sto").write_text(f"# STOCKHOLM 1.0\na MKV\nb {row}\n//\n")
        with pytest.raises(BadInputError, match=message):
            survey_families([tmp_path / "f.sto"])


def test_dropped_and_renamed_families_are_said_once(model, tmp_path, caplog):
    (tmp_path / "f.sto").write_text(STOCKHOLM.replace("F2", "F1"))
    for policy, count, said in (("keep-first", 1, "dropped 1"), ("rename", 2, "renamed 1")):
        caplog.clear()
        written = embed_file(
            tmp_path / "f.sto",
            tmp_path / "e.parquet",
            model=model.save(tmp_path / "m"),
            per_family=True,
            on_duplicate=policy,
        )
        assert written == count and sum(said in record.message for record in caplog.records) == 1


def test_names_with_blanks_become_ids(tmp_path):
    (tmp_path / "my family.fasta").write_text(">a\nMKV\n>b\nMKL\n")
    (family,) = read_all_families([tmp_path / "my family.fasta"])
    assert family.label == "my_family"


def test_families_without_members_are_errors(model):
    for of in (embed_families, embed_family_residues):
        with pytest.raises(BadInputError, match="none has no members"):
            next(of([Family([], [], name="none")], Embedder(model)))


def test_formats_that_do_not_record_families_are_named(model, tmp_path, caplog):
    source = tmp_path / "f.sto"
    source.write_text(STOCKHOLM)
    embed_file(source, tmp_path / "f.npz", model=model, per_family=True)
    assert "only Parquet and Arrow record" in caplog.text


def test_residues_of_a_family_of_one_are_those_of_its_member(model, three):
    ((sequence, found),) = embed_family_residues([three[1]], Embedder(model))
    assert sequence.id == "lone"
    np.testing.assert_allclose(found, Embedder(model).residues(["MKVLAG"])[0], atol=1e-6)


def test_residues_need_an_alignment(model, three):
    with pytest.raises(BadInputError, match="loose is not aligned"):
        next(embed_family_residues([three[2]], Embedder(model)))


def test_a_file_of_families_becomes_a_table(model, tmp_path):
    source, table, residues = tmp_path / "f.sto", tmp_path / "f.parquet", tmp_path / "r.parquet"
    source.write_text(STOCKHOLM)
    assert embed_file(source, table, model=model, per_family=True) == 2  # the id a/1-6 is in both
    found = read_embeddings(table)
    assert found.ids == ["F1", "F2"] and found.metadata[PER_FAMILY] == "mean"
    assert pl.read_parquet(table)["length"].to_list() == [7, 10]
    embed_file(source, residues, model=model, per_family=True, per_residue=True)
    rows = pl.read_parquet(residues)
    assert rows["residue"].to_list() == list("MKVLAGMKVLAGHHHH") and rows["id"].to_list() == ["F1"] * 6 + ["F2"] * 10


@pytest.mark.parametrize(
    ("options", "what"),
    [({"shard_size": 10}, "a single table"), ({"translate": True}, "not for families")],
)
def test_options_that_do_not_fit_families(model, tmp_path, options, what):
    source = tmp_path / "f.sto"
    source.write_text(STOCKHOLM)
    with pytest.raises(UsageError, match=what):
        embed_file(source, tmp_path / "out", model=model, per_family=True, **options)


def test_families_of_one_name_are_errors(model, tmp_path):
    source, table = tmp_path / "f.sto", tmp_path / "f.parquet"
    source.write_text(STOCKHOLM.replace("F2", "F1"))
    with pytest.raises(BadInputError, match="'F1' occurs twice"):
        embed_file(source, table, model=model, per_family=True)
    assert not table.exists()
    embed_file(source, table, model=model, per_family=True, on_duplicate="rename")
    assert read_embeddings(table).ids == ["F1", "F1.2"]
