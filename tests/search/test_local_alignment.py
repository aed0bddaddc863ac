"""Local alignments of hits: positions, identities and bits, and BLAST's tabular output of them."""

from __future__ import annotations

import io
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from phylocli.embed import load_model
from phylocli.formats import read_sequences
from phylocli.formats.tables import hits_schema
from phylocli.search import search, search_file
from phylocli.search.blast_tabular import BlastTabularWriter
from phylocli.search.local_alignment import LocalAlignment
from phylocli.statistics.gumbel import Gumbel

PLACES = ("query_start", "query_end", "target_start", "target_end")


def test_an_alignment_counts_its_columns_as_blast_does() -> None:
    #  query  ..ACDEF--GHKX     places 2 to 10
    #  target   ACEEFWWG-KX     places 0 to 9
    pairs = np.array([(2, 0), (3, 1), (4, 2), (5, 3), (6, 4), (7, 7), (9, 8), (10, 9)])
    found = LocalAlignment.of(30.0, pairs, "WWACDEFGHKX", "ACEEFWWGKX")
    assert found.query_range == (3, 11) and found.target_range == (1, 10)
    assert found.length == 11 and found.gap_openings == 2
    assert found.identical == 6 and found.mismatches == 2  # D is not E, and an unknown residue is no other's equal
    assert found.identity == pytest.approx(6 / 11)
    assert found.rows("WWACDEFGHKX", "ACEEFWWGKX") == ("ACDEF--GHKX", "ACEEFWWG-KX")


def test_bits_say_how_many_alignments_score_as_much_by_chance() -> None:
    null = Gumbel(0.4, np.log(0.05))
    score, cells = 90.0, 20_000.0
    expected = 0.05 * cells * np.exp(-0.4 * score)
    assert cells * 2.0 ** -float(null.bits(np.array([score]))[0]) == pytest.approx(expected)


def test_blast_tabular_has_twelve_columns_and_na_for_what_is_not_known(tmp_path: Path) -> None:
    schema = pl.from_arrow(hits_schema(aligned=True).empty_table()).schema  # type: ignore[union-attr]
    known = {"query": "q", "target": "t|1", "rank": 1, "cosine": 0.5, "evalue": 3.2, "align_evalue": 1.0244e-23}
    place = {"query_start": 3, "query_end": 11, "target_start": 1, "target_end": 10, "alignment_length": 11}
    aligned = {**known, **place, "align_bits": 80.0, "bits": 71.26, "identity": 0.5455, "mismatches": 2, "gap_openings": 2}
    frame = pl.DataFrame([aligned, {**known, "align_evalue": None}], schema=schema)
    with BlastTabularWriter(tmp_path / "hits.m8", "align_evalue") as writer:
        writer.write(frame)
    text = "q\tt|1\t54.550\t11\t2\t2\t3\t11\t1\t10\t1.02e-23\t71.3\nq\tt|1" + "\tNA" * 10 + "\n"
    assert (tmp_path / "hits.m8").read_text() == text and writer.rows == 2


@pytest.mark.parametrize("way", ["residues", "phmmer"])
def test_domain_is_found_at_its_position(examples: Path, way: str) -> None:
    """A globin within a longer protein: its place, all of it identical; the whole globin is still the best hit."""
    globins = list(read_sequences(examples / "globins.fasta"))
    query = globins[1].residues
    rng = np.random.default_rng(0)
    flank, tail = ("".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), n)) for n in (70, 40))
    targets = [("whole", query), ("within", flank + query + tail), *((s.id, s.residues) for s in globins[5:15])]
    options = {"rerank": "residues"} if way == "residues" else {"align": True}
    hits = search([("q", query)], targets, **options)
    assert hits["target"][0] == "whole" and hits.row(0, named=True)["identity"] == 1
    within = hits.filter(pl.col("target") == "within").row(0, named=True)
    start, end, first, last = (within[name] for name in PLACES)
    assert first - start == last - end == 70  # on the diagonal on which it lies
    assert end - start > 0.9 * len(query) and within["gap_openings"] == 0 and within["identity"] > 0.97
    others = hits.filter(~pl.col("target").is_in(["whole", "within"])).drop_nulls("query_start")
    assert others.height >= 8 and (others["identity"] < 0.95).all() and (others["bits"] < hits["bits"][0]).all()
    assert (
        others["bits"] < within["bits"]
    ).sum() >= others.height - 1  # residues know their context: a close relative may be nearer
    columns = others["mismatches"] + (others["identity"] * others["alignment_length"]).round()
    assert (columns <= others["alignment_length"]).all() and (others["query_end"] <= len(query)).all()


@pytest.mark.parametrize(("way", "evalue"), [("residues", "residues_evalue"), ("phmmer", "align_evalue")])
def test_hits_have_one_row_a_domain_and_best_keeps_one(examples: Path, way: str, evalue: str) -> None:
    query = next(iter(read_sequences(examples / "globins.fasta"))).residues
    targets = [("twice", query + "GPGSPGPGSPGPGSPGPGSPGPGS" + query[:-10]), ("once", query)]
    options = {"rerank": "residues"} if way == "residues" else {"align": True}
    hits = search([("q", query)], targets, **options)
    rows = hits.filter(pl.col("target") == "twice").sort("target_start")
    assert rows.height == 2 and rows["rank"].n_unique() == 1 and rows[evalue].n_unique() == 1
    assert rows["target_start"][1] > rows["target_end"][0] and (rows["identity"] > 0.9).all()
    assert hits.filter(pl.col("target") == "once").height == 1
    best = search([("q", query)], targets, best=True, **options)
    assert best.height == 1 and best["target"][0] == hits["target"][0]


def test_m8_names_of_columns_and_values_are_those_of_the_table(examples: Path, tmp_path: Path) -> None:
    table = load_model("default", "cpu").embed(examples / "globins.fasta")
    table.write(tmp_path / "db.parquet")
    query = tmp_path / "queries.fasta"
    query.write_text("".join(f">{s.id}\n{s.residues}\n" for s in islice(read_sequences(examples / "globins.fasta"), 1)))
    given = {"number": 3, "rerank": "residues", "sequences": examples / "globins.fasta"}
    search_file(query, tmp_path / "db.parquet", tmp_path / "hits.parquet", **given)
    search_file(query, tmp_path / "db.parquet", tmp_path / "hits.m8", **given)
    whole = pl.read_parquet(tmp_path / "hits.parquet")
    lines = (tmp_path / "hits.m8").read_text()
    found = pl.read_csv(io.StringIO(lines), separator="\t", has_header=False)
    names = ["query", "target", "identity", "alignment_length", "mismatches", "gap_openings", *PLACES]
    found.columns = [*names, "residues_evalue", "bits"]
    assert found.select("query", "target").equals(whole.select("query", "target"))
    assert np.array_equal(found.select(names[3:]).to_numpy(), whole.select(names[3:]).to_numpy())
    assert found["identity"].to_numpy() / 100 == pytest.approx(whole["identity"].to_numpy(), abs=1e-4)
    assert found["residues_evalue"].to_numpy() == pytest.approx(whole["residues_evalue"].to_numpy(), rel=0.01)
    assert found["bits"].to_numpy() == pytest.approx(whole["bits"].to_numpy(), abs=0.1)
