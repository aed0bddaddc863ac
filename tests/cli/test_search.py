"""`phylocli search` as a user runs it."""

from __future__ import annotations

import gzip
import io
import re
import shlex
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from phylocli.embed import embed_file
from phylocli.formats import read_sequences
from phylocli.models.model import Model

Run = Callable[..., object]


@pytest.fixture(scope="module")
def place(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, the embeddings of the globins, and five globins as queries."""
    folder = tmp_path_factory.mktemp("search")
    model = Model.create("convolutional", preset="tiny", seed=0).save(folder / "shelf" / "mini")
    Model.create("convolutional", preset="tiny", seed=1).save(folder / "shelf" / "other")
    embed_file(examples / "globins.fasta", folder / "db.parquet", model=model)
    records = (examples / "globins.fasta").read_text().split(">")[1:6]
    (folder / "query.fasta").write_text("".join(">" + r for r in records))
    (folder / "all.fasta").write_bytes((examples / "globins.fasta").read_bytes())
    embed_file(folder / "query.fasta", folder / "query.parquet", model=model)
    for rows in (1, 2):
        (folder / f"one{rows}.fasta").write_text("".join(">" + r for r in records[:rows]))
        embed_file(folder / f"one{rows}.fasta", folder / f"one{rows}.parquet", model=model)
    return folder


@pytest.fixture
def search(cli: Run, place: Path, small_background: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pl.DataFrame]:
    """Search the globins and return the hits."""
    monkeypatch.setenv("PHYLOCLI_MODELS", str(place / "shelf"))

    def run(*args: object, **options: object) -> pl.DataFrame:
        done = cli("search", *args, "-q", **options)
        assert done.exit_code == 0, done.stderr
        return pl.read_csv(io.StringIO(done.stdout), separator="\t")

    return run


def test_sequences_are_embedded_by_the_tables_own_model(search: Callable[..., pl.DataFrame], place: Path) -> None:
    hits = search(place / "query.fasta", place / "db.parquet", "-k", 4)
    assert hits.columns == ["query", "target", "rank", "cosine", "evalue"] and hits.height == 20
    first = hits.filter(pl.col("rank") == 1)
    assert (first["query"] == first["target"]).all() and first["cosine"].min() > 0.99999
    for _, part in hits.group_by("query"):
        assert part["cosine"].is_sorted(descending=True) and part["evalue"].is_sorted()
    piped = search("-", place / "db.parquet", "-k", 4, input=(place / "query.fasta").read_bytes())
    assert piped.equals(hits)


def test_a_table_can_be_searched_with_a_table(search: Callable[..., pl.DataFrame], place: Path) -> None:
    hits = search(place / "db.parquet", place / "db.parquet", "-k", 3, "--exclude-self")
    assert hits.height == 135 and (hits["query"] != hits["target"]).all()
    bound = hits["evalue"].median() * 1.001  # written values are rounded
    few = search(place / "db.parquet", place / "db.parquet", "-k", 3, "--exclude-self", "-e", bound)
    assert 0 < few.height < 135 and few.equals(hits.filter(pl.col("evalue") <= bound))


def test_reranking_adds_columns_and_decides_the_order(
    search: Callable[..., pl.DataFrame], place: Path, examples: Path
) -> None:
    args = (place / "query.fasta", place / "db.parquet", "-k", 6, "--sequences", examples / "globins.fasta")
    plain = search(*args[:4])
    looked = search(*args, "--rerank", "residues")
    places = ["bits", "query_start", "query_end", "target_start", "target_end", "alignment_length", "identity"]
    places += ["mismatches", "gap_openings"]
    assert looked.columns[5:] == ["residues", "residues_evalue", *places]
    aligned = search(*args, "--align")
    assert aligned.columns[5:] == ["align_evalue", "align_bits", *places] and aligned["align_evalue"].min() < 1e-50
    for frame, score, falling in ((looked, "residues_evalue", False), (aligned, "align_bits", True)):
        keys = ["query", "target", "cosine"]
        assert frame.select(keys).sort(keys).equals(plain.select(keys).sort(keys))  # the same hits in another order
        for _, part in frame.group_by("query"):
            assert part[score].drop_nulls().is_sorted(descending=falling)
            assert part["rank"].to_list() == list(range(1, 7))
    both = search(*args, "--rerank", "residues", "--align")
    better = 2 * both.select(pl.min_horizontal("residues_evalue", "align_evalue")).to_series()
    assert both["both_evalue"].to_numpy() == pytest.approx(better.to_numpy(), rel=1e-3)  # four digits are written
    assert all(part["both_evalue"].is_sorted() for _, part in both.group_by("query"))
    first = looked.filter(pl.col("rank") == 1)
    assert (first["query"] == first["target"]).all()
    bound = first["residues_evalue"].max()
    wider = search(*args, "--rerank", "residues", "--candidates", 45, "-e", bound * 1.001)
    assert wider["residues_evalue"].max() <= bound and wider["rank"].max() <= 6
    assert wider.filter(pl.col("rank") == 1).select(keys).equals(first.select(keys))


def test_incomparable_tables_are_an_error(
    cli: Run, place: Path, small_background: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, db = place / "query.fasta", place / "db.parquet"
    monkeypatch.setenv("PHYLOCLI_MODELS", str(place / "shelf"))
    other = cli("search", query, db, "--model", "other")
    assert other.exit_code == 2 and "which other is not" in other.stderr
    pooled = place / "pooled.parquet"
    embed_file(query, pooled, model=place / "shelf" / "other", pooling="max")
    own = re.search(r"Fingerprint: `(\w{12})", cli("models", "show", "other").stdout)
    recorded = pl.read_csv(cli("stats", pooled).stdout.encode(), separator="\t")["model"].item()
    assert cli("search", query, pooled).exit_code == 0
    another = cli("search", query, pooled, "--model", "default").stderr
    assert (
        f"with the fingerprint {recorded}, which default is not" in another and "with the table's pooling (max)" in another
    )
    by_cli = re.search(r"Fingerprint: `(\w{12})", cli("models", "show", "default").stdout)
    assert own and by_cli and own[1] != recorded and f"why: default is {by_cli[1]}, " in another
    embed_file(query, place / "q.parquet", model=place / "shelf" / "other")
    apart = cli("search", place / "q.parquet", db)
    assert apart.exit_code == 65 and "different models" in apart.stderr
    bare = place / "bare.tsv"
    bare.write_text("id\tembedding\na\t" + " ".join(["0.5"] * 64) + "\n")
    assert "name the model with --model" in cli("search", query, bare).stderr
    told = cli("search", query, bare, "--model", "other")
    assert "embedding sequences with other" in told.stderr and told.exit_code == 0
    assert "its sequences" not in cli("search", query, db, "--align").stderr
    assert cli("search", query, db, "--align").exit_code == 2
    twice = cli("search", "-", "-", input=query.read_bytes())
    assert twice.exit_code == 2 and "cannot be both" in twice.stderr
    unknown = cli("search", query, db, "--format", "blast")
    assert unknown.exit_code == 2 and "m8" in unknown.stderr
    suffix = cli("search", query, db, "-o", place / "hits.blast")
    assert suffix.exit_code == 2 and ".m8" in suffix.stderr
    model = cli("search", place / "query.parquet", place / "all.fasta", "--model", "other")
    assert model.exit_code == 2 and "which other is not" in model.stderr
    (place / "none.fasta").touch()
    for args in ((place / "none.fasta", place / "all.fasta"), (query, place / "none.fasta"), (query, place / "gone.fasta")):
        bad = cli("search", *args)
        assert bad.exit_code == 65 and not bad.stdout and str(args[args[1] != place / "all.fasta"]) in bad.stderr
    assert "candidates needs rerank or align" in cli("search", query, db, "--candidates", 9).stderr
    lacking = cli("search", query, db, "--align", "--sequences", query)
    assert lacking.exit_code == 65 and "lacks" in lacking.stderr
    monkeypatch.setenv("PHYLOCLI_MODELS", str(place / "none"))
    (place / "db.parquet.provenance.json").unlink(missing_ok=True)
    lost = cli("search", query, db)
    assert lost.exit_code == 2 and "cannot be found" in lost.stderr and "--model" in lost.stderr


def test_sequences_are_searched_like_their_table_whatever_file_or_pipe_they_come_by(
    search: Callable[..., pl.DataFrame], place: Path, examples: Path
) -> None:
    query = place / "query.fasta"
    options = ("-k", 4, "--model", "mini")
    expected = search(query, place / "db.parquet", *options)
    packed = place / "all.fasta.gz"
    packed.write_bytes(gzip.compress((place / "all.fasta").read_bytes()))
    aligned = place / "all.sto"
    rows = [(s.id, s.residues.ljust(200, "-")) for s in read_sequences(place / "all.fasta")]
    aligned.write_text("# STOCKHOLM 1.0\n" + "".join(f"{name} {row}\n" for name, row in rows) + "//\n")
    for targets in (place / "all.fasta", packed, aligned):
        assert search(query, targets, *options).equals(expected)
    assert search(query, "-", *options, input=packed.read_bytes()).equals(expected)
    assert search(query, "-", *options, input=(place / "db.parquet").read_bytes()).equals(expected)
    assert search(place / "query.parquet", place / "all.fasta", *options).equals(expected)
    sequences = search(query, "-", *options, "--align", input=packed.read_bytes())
    assert sequences["align_evalue"].drop_nulls().min() < 1e-50


def test_a_table_that_comes_by_a_pipe_names_its_model(cli: Run, search: Callable[..., pl.DataFrame], place: Path) -> None:
    for form in ("arrow", "parquet"):
        piped = cli("embed", place / "query.fasta", "--model", "mini", "--format", form, "-o", "-")
        hits = search("-", place / "all.fasta", "-k", 2, input=piped.stdout_bytes)
        assert hits.equals(search(place / "query.fasta", place / "db.parquet", "-k", 2))


def test_the_message_says_how_to_keep_the_embeddings_of_targets(
    cli: Run, place: Path, small_background: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHYLOCLI_MODELS", str(place / "shelf"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    done = cli("search", place / "query.fasta", place / "all.fasta", "--model", "mini", "-k", 2)
    (said,) = [line for line in done.stderr.splitlines() if "phylocli embed" in line]
    assert "45 targets" in said
    command = shlex.split(said.split("phylocli ")[1])
    assert command[-2:] == ["-o", "all.parquet"]
    command[-1] = str(place / "all.parquet")
    assert cli(*command).exit_code == 0
    again = cli("search", place / "query.fasta", place / "all.parquet", "-k", 2)
    assert again.stdout == done.stdout and "embed" not in again.stderr
    assert not list(tmp_path.glob("phylocli-*"))  # no temporary files are left


def test_hits_are_left_out_by_cosine_and_the_best_of_a_query_is_one_row(
    search: Callable[..., pl.DataFrame], place: Path
) -> None:
    args = (place / "query.fasta", place / "db.parquet", "-k", 10)
    hits = search(*args)
    bound = hits["cosine"].median()
    assert search(*args, "--min-cosine", bound).equals(hits.filter(pl.col("cosine") >= bound))
    assert search(*args, "--best").equals(hits.filter(pl.col("rank") == 1))
    sequences = ("--rerank", "residues", "--sequences", place / "all.fasta", "--exclude-self")
    looked, best = search(*args, *sequences), search(*args, *sequences, "--best")
    assert best.equals(looked.filter(pl.col("rank") == 1)) and best.height == 5
    aligned = search(*args, "--align", *sequences[2:])
    bound = aligned["align_evalue"].drop_nulls().median()
    few = search(*args, "--align", *sequences[2:], "-e", bound * 1.001)
    assert few.equals(aligned.filter(pl.col("align_evalue") <= bound * 1.001)) and 0 < few.height < aligned.height


def test_approximate_search_finds_the_same_few(search: Callable[..., pl.DataFrame], place: Path) -> None:
    args = (place / "query.fasta", place / "db.parquet", "-k", 5)
    near, exact = search(*args, "--approximate"), search(*args)
    assert near.join(exact, on=["query", "target"]).height >= 24
    assert (place / "db.parquet.usearch").is_file()


def test_a_query_has_the_same_evalues_alone_and_among_others(search: Callable[..., pl.DataFrame], place: Path) -> None:
    options = ("-k", 5, "--rerank", "residues", "--sequences", place / "all.fasta")
    batch = search(place / "query.fasta", place / "db.parquet", *options)
    alone = place / "alone.fasta"
    alone.write_text(">" + (place / "query.fasta").read_text().split(">")[3])
    hits = search(alone, place / "db.parquet", *options)
    others = batch.filter(pl.col("query") == hits["query"][0])
    assert hits["target"].to_list() == others["target"].to_list()
    for column in ("evalue", "residues_evalue"):  # as far as floating point lets them
        assert hits[column].to_numpy() == pytest.approx(others[column].to_numpy(), rel=0.01)
    few = search(alone, place / "query.parquet", *options)  # the same rows in a table of 5 instead of 45
    both = few.join(hits, on="target", suffix="_many")
    for column in ("evalue", "residues_evalue"):
        assert (both[column] * 9).to_numpy() == pytest.approx(both[f"{column}_many"].to_numpy(), rel=0.01)


@pytest.mark.parametrize("rows", [1, 2])
def test_small_tables_have_the_same_evalues(search: Callable[..., pl.DataFrame], place: Path, rows: int) -> None:
    table = place / f"tiny{rows}.parquet"
    pl.read_parquet(place / "db.parquet").head(rows).write_parquet(table)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        plain = search(table, table)  # TSV does not record the model
        hits = search(place / "query.fasta", place / f"one{rows}.parquet", "-k", 3)
    assert plain.height == rows * rows and plain["evalue"].null_count() == plain.height  # no model, too few rows: null
    assert hits.height == 5 * rows and hits["evalue"].is_not_null().all() and hits["evalue"].is_not_nan().all()
    assert (hits["evalue"] <= rows).all()


def test_without_evalues_there_is_nothing_to_bound(cli: Run, place: Path) -> None:
    table = place / "one-feature.parquet"
    values = pl.Series([[1.0], [-1.0]] * 3, dtype=pl.Array(pl.Float32, 1))
    pl.DataFrame({"id": [f"r{i}" for i in range(6)], "embedding": values}).write_parquet(table)
    found = cli("search", table, table, "-k", 2)
    assert found.exit_code == 0 and "fewer than 1,000 rows" in found.stderr and "nan" not in found.stdout.lower()
    bounded = cli("search", table, table, "-e", 1)
    assert bounded.exit_code == 65 and "no E-values" in bounded.stderr and "--model" in bounded.stderr
