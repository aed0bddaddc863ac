"""Neighbours by alignment: equal to the definition; kept in a file; the same from one process or several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import phylocli
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.arrays import read_arrays
from phylocli.formats.embeddings import EmbeddingTable, unit
from phylocli.search import rerank
from phylocli.search.background import background_of
from phylocli.search.neighbourhoods import alignments
from phylocli.search.neighbourhoods.alignments import Neighbourhoods, strongest
from phylocli.search.rerank import ResidueScores, align
from phylocli.search.residue_evalues import ResidueEvalues

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def globins(examples: Path) -> EmbeddingTable:
    return phylocli.load_model("default").embed(examples / "globins.fasta")


@pytest.fixture(scope="module")
def letters(examples: Path) -> dict[str, str]:
    return {s.id: s.residues for s in phylocli.read_sequences(examples / "globins.fasta")}


def by_definition(rows: np.ndarray, logs: np.ndarray, k: int) -> tuple[list[dict[int, float]], list[float]]:
    """For each row the weights of its neighbours, reciprocal or with E ≤ 0.01, and the maximum log E of others with it."""
    known: dict[tuple[int, int], list[float]] = {}
    for i in range(len(rows)):
        for j, value in zip(rows[i].tolist(), logs[i].tolist(), strict=True):
            if j >= 0:
                known.setdefault((i, j), []).append(value)
                known.setdefault((j, i), []).append(value)
    near: list[dict[int, float]] = []
    limits = []
    for i in range(len(rows)):
        ranked = sorted((float(np.mean(values)), j) for (a, j), values in known.items() if a == i)
        near.append({j: value for value, j in ranked[:k]})
        limits.append(max(ranked[k - 1][0], np.log(0.01)) if len(ranked) >= k else np.inf)
    used = [{j: v for j, v in of.items() if i in near[j] or v <= np.log(0.01)} for i, of in enumerate(near)]
    weights = [{j: 1 / (1 + np.exp(v)) for j, v in of.items()} for of in used]
    return weights, limits


@given(st.integers(0, 10**6), st.integers(1, 15), st.integers(0, 6), st.integers(1, 9))
def test_strongest_neighbours_are_those_of_the_definition(seed: int, n: int, c: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    others = [rng.permutation(np.setdiff1d(np.arange(n), i))[:c] for i in range(n)]
    rows = np.full((n, c), -1, dtype=np.int64)
    for i, of in enumerate(others):
        rows[i, : len(of)] = of
    logs = rng.normal(0, 4, (n, c)).astype(np.float32)
    found = strongest(Neighbourhoods(rows, logs), k)
    weights, limits = by_definition(rows, logs, k)
    for i in range(n):
        used = {j: w for j, w in zip(found.rows[i].tolist(), found.weights[i].tolist(), strict=True) if w > 0}
        assert used == pytest.approx(weights[i], rel=1e-5)
    np.testing.assert_allclose(found.limits, limits, rtol=1e-5, atol=1e-5)


def test_vectors_are_averaged_with_rows_that_align(globins: EmbeddingTable, letters: dict[str, str]) -> None:
    """By phmmer, with E-values that are computed here, for the table and for a new query."""
    table = EmbeddingTable("t", globins.ids[:12], globins.dimension, globins.metadata, vectors=globins.numpy()[:12])
    x = table.numpy() / np.linalg.norm(table.numpy(), axis=1, keepdims=True)
    sequences, n, k = [letters[name] for name in table.ids], 12, 4
    most = 1000  # E-values are those for at least so many rows
    logs = np.full((n, n), np.log(most))
    for i in range(n):
        evalues = align(sequences[i], sequences, most)[0]
        logs[i] = np.minimum(np.log(np.where(np.isnan(evalues), most, np.maximum(evalues, 1e-300))), np.log(most))
    rows = np.array([[j for j in range(n) if j != i] for i in range(n)])
    weights, limits = by_definition(rows, np.take_along_axis(logs, rows, 1), k)
    expected = x.astype(np.float64)
    rounds = []
    for _ in range(2):
        rounds.append(expected)
        total = [v + sum(w * expected[j] for j, w in of.items()) for v, of in zip(expected, weights, strict=True)]
        expected = np.array([v / np.linalg.norm(v) for v in total])
    found = phylocli.smooth_embeddings(table, by="phmmer", neighbours=k, sequences=letters)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)

    query = EmbeddingTable("q", globins.ids[12:13], globins.dimension, globins.metadata, vectors=globins.numpy()[12:13])
    evalues = align(letters[query.ids[0]], sequences, most)[0]
    best = sorted((float(e), j) for j, e in enumerate(evalues) if not np.isnan(e))[:k]
    vector = query.numpy()[0] / np.linalg.norm(query.numpy()[0])
    for before in rounds:
        total = vector + sum(before[j] / (1 + e) for e, j in best if np.log(max(e, 1e-300)) <= limits[j])
        vector = total / np.linalg.norm(total)
    sources = {"sequences": letters, "among_sequences": letters}
    asked = phylocli.smooth_embeddings(query, table, by="phmmer", neighbours=k, **sources)
    np.testing.assert_allclose(asked.numpy()[0], vector, atol=1e-4)
    assert asked.metadata == found.metadata
    row = EmbeddingTable("q", ["copy"], table.dimension, table.metadata, vectors=table.numpy()[3:4])
    own = phylocli.smooth_embeddings(row, table, by="phmmer", neighbours=k, among_sequences=letters)
    np.testing.assert_allclose(own.numpy()[0], found.numpy()[3], atol=1e-6)
    with pytest.raises(UsageError, match="need the sequences of q"):
        phylocli.smooth_embeddings(query, table, by="phmmer", among_sequences=letters)


def test_evalues_are_kept_beside_the_table(
    examples: Path, globins: EmbeddingTable, letters: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = tmp_path / "db.parquet"
    globins.write(db)
    sequences = examples / "globins.fasta"
    first = phylocli.smooth_embeddings(db, by="phmmer", sequences=sequences)
    kept = tmp_path / "db.parquet.phmmer.neighbours"
    whole, values = kept.read_bytes(), read_arrays(kept, fix="")[0]["log_evalues"]
    calls = []
    aligned = alignments.Reranking.evalues
    monkeypatch.setattr(alignments.Reranking, "evalues", lambda *args: calls.append(1) or aligned(*args))
    again = phylocli.smooth_embeddings(db, by="phmmer", neighbours=5, sequences=sequences)
    assert not calls and not np.array_equal(again.numpy(), first.numpy())
    np.testing.assert_array_equal(phylocli.smooth_embeddings(db, by="phmmer", sequences=letters).numpy(), first.numpy())
    hits = phylocli.search(db, db, smooth=20, smooth_by="phmmer", sequences=sequences, number=45)
    assert not calls and set(hits.columns) >= {"smoothed", "cosine", "evalue"}
    same = phylocli.smooth_embeddings(db, by="phmmer", neighbours=20, sequences=letters)
    np.testing.assert_array_equal(same.numpy(), first.numpy())  # the default
    assert phylocli.smooth_embeddings(db).metadata == phylocli.smooth_embeddings(db, neighbours=10).metadata
    tables = first, first
    apart = phylocli.search(*tables, number=45)
    np.testing.assert_allclose(hits["smoothed"], apart["cosine"], atol=2e-6)
    kept.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    phylocli.smooth_embeddings(db, by="phmmer", sequences=sequences)
    assert len(calls) == 45
    np.testing.assert_array_equal(read_arrays(kept, fix="")[0]["log_evalues"], values)
    other = {**letters, globins.ids[0]: "M" + letters[globins.ids[0]]}
    phylocli.smooth_embeddings(db, by="phmmer", sequences=other)
    assert len(calls) == 90 and kept.read_bytes() != whole


def test_an_interrupted_run_continues_with_the_rows_that_are_done(
    globins: EmbeddingTable, letters: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = EmbeddingTable("few", globins.ids[:8], globins.dimension, globins.metadata, vectors=globins.numpy()[:8])
    few.write(tmp_path / "few.parquet")
    calls = []
    aligned = alignments.Reranking.evalues

    def interrupted(*args: Any) -> np.ndarray:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return aligned(*args)

    monkeypatch.setattr(alignments.Reranking, "evalues", interrupted)
    monkeypatch.setattr(alignments, "SAVED", 0.0)
    with pytest.raises(KeyboardInterrupt):
        phylocli.smooth_embeddings(tmp_path / "few.parquet", by="phmmer", sequences=letters)
    found = phylocli.smooth_embeddings(tmp_path / "few.parquet", by="phmmer", sequences=letters)
    assert len(calls) == 9  # five rows, the interruption, and the other three
    expected = phylocli.smooth_embeddings(few, by="phmmer", sequences=letters)
    np.testing.assert_array_equal(found.numpy(), expected.numpy())


@pytest.mark.parametrize("by", ["residues", "both"])
def test_new_sequences_are_averaged_with_what_they_align_with(examples: Path, by: str) -> None:
    queries = [("alpha", "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERM"), ("myo", "MGLSDGEWQLVLNVWGKVEADIPGHGQEVLIRLFK")]
    targets = [(s.id, s.residues) for s in phylocli.read_sequences(examples / "globins.fasta")][:9]
    targets.append(("other", "MKKLLFAIPLVVPFYSHSAETVESCLAKSHTENSFTNVWKDDKTLDRYANYEGCLWNATGVVVCTGDETQCYGTW"))
    hits = phylocli.search(queries, targets, smooth=4, smooth_by=by, number=10)
    assert hits["query"].to_list() == ["alpha"] * 10 + ["myo"] * 10
    # The six complete myoglobins are each other's nearest four, but the fragment is averaged with them all the same.
    gained = hits.filter(query="myo").with_columns(gain=pl.col("smoothed") - pl.col("cosine"))
    assert gained.filter(pl.col("target").str.starts_with("MYG_"))["gain"].max() > 0.3
    assert gained.filter(target="other")["gain"].item() < 0.2


def test_unrelated_proteins_stay_apart() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 12, 40):
        vectors = rng.normal(size=(n, 64)).astype(np.float32)
        ids = [f"p{i}" for i in range(n)]
        sequences = {name: "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 90)) for name in ids}
        found = phylocli.smooth_embeddings(
            EmbeddingTable("t", ids, 64, vectors=vectors), by="phmmer", neighbours=20, sequences=sequences
        ).numpy()
        before = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        pairs = np.triu_indices(n, 1)
        assert (
            abs((found @ found.T)[pairs] - (before @ before.T)[pairs]).mean() < 0.25
        )  # 0.7 to 1 if E-values were those of so few rows


def test_other_places_of_a_table_and_other_formats(
    globins: EmbeddingTable, letters: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = EmbeddingTable("few", globins.ids[:4], globins.dimension, globins.metadata, vectors=globins.numpy()[:4])
    calls = []
    aligned = alignments.Reranking.evalues
    monkeypatch.setattr(alignments.Reranking, "evalues", lambda *args: calls.append(1) or aligned(*args))
    few.write(tmp_path / "few.parquet")
    expected = phylocli.smooth_embeddings(tmp_path / "few.parquet", by="phmmer", sequences=letters).numpy()
    assert len(calls) == 4
    for name in ("few.parquet", "few.parquet.phmmer.neighbours"):  # a copy has another time
        (tmp_path / name.replace("few", "copy", 1)).write_bytes((tmp_path / name).read_bytes())
    again = phylocli.smooth_embeddings(tmp_path / "copy.parquet", by="phmmer", sequences=letters).numpy()
    assert len(calls) == 4
    np.testing.assert_array_equal(again, expected)
    few.write(tmp_path / "few.npz")
    for _ in range(2):
        phylocli.smooth_embeddings(tmp_path / "few.npz", by="phmmer", sequences=letters)
    assert len(calls) == 8 and (tmp_path / "few.npz.phmmer.neighbours").is_file()
    (tmp_path / "few.fasta").write_text("".join(f">{name}\n{letters[name]}\n" for name in few.ids))
    parts = tmp_path / "parts"
    phylocli.embed_file(tmp_path / "few.fasta", parts, shard_size=2)
    monkeypatch.chdir(parts)
    phylocli.smooth_embeddings(".", by="phmmer", sequences=letters)
    assert len(calls) == 12 and (tmp_path / "parts.phmmer.neighbours").is_file()


def test_what_another_run_has_found_is_kept(tmp_path: Path) -> None:
    rows = np.array([[1], [0], [0]])
    nan = np.nan
    path = tmp_path / "t.neighbours"
    alignments._write(path, Neighbourhoods(rows, np.array([[1], [2], [nan]], dtype=np.float32)), "same")
    alignments._write(path, Neighbourhoods(rows, np.array([[1], [nan], [nan]], dtype=np.float32)), "same")
    kept = alignments._read(path, "same")
    assert kept is not None
    np.testing.assert_array_equal(kept.log_evalues, [[1], [2], [nan]])
    assert alignments._read(path, "other") is None
    near = np.array([[2], [0], [0]])  # another machine, on which another row is the nearest
    alignments._write(path, Neighbourhoods(near, np.array([[nan], [nan], [3]], dtype=np.float32)), "same")
    kept = alignments._read(path, "same")
    assert kept is not None
    np.testing.assert_array_equal(kept.log_evalues, [[nan], [nan], [3]])


def test_proteins_too_long_for_phmmer_are_not_aligned() -> None:
    evalues, bits = align("M" + "A" * 100_000, ["MKVLAG", "MKVLAG" * 200], 10)
    assert np.isnan(evalues).tolist() == [False, True] or np.isnan(evalues).all()
    assert np.isnan(bits[1])
    assert np.isnan(align("MKVLAG", [], 10)[0]).tolist() == []
    query = "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERMFLSFPTTKTYFPHF"
    assert np.isnan(align(query, ["GS" * 50 + query + "A" * 100_000, query], 10)[0]).tolist() == [True, False]


def test_pairs_too_large_are_not_aligned_by_residues(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = phylocli.load_model("default")
    aligner, query = ResidueScores(embedder), "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERMFLSFPTTKTYFPHF"
    targets = [query, query * 4, query[:40]]
    expected, _ = aligner(query, targets)
    monkeypatch.setattr(rerank, "MOST_CELLS", 2 * len(query) ** 2)
    found, backwards = aligner(query, targets)
    assert np.isnan(found).tolist() == np.isnan(backwards).tolist() == [False, True, False]
    np.testing.assert_allclose(found[[0, 2]], expected[[0, 2]], rtol=1e-5)
    assert [len(of) > 0 for of in aligner.paths(query, targets, np.full(3, np.inf, dtype=np.float32))] == [True, False, True]
    evalues = ResidueEvalues(aligner, background_of(embedder), 10)(query, unit(embedder.pooled([query]))[0], targets)
    assert np.isnan(evalues.evalues).all(), "unrelated proteins are too long for this limit"


def test_errors(globins: EmbeddingTable, letters: dict[str, str], tmp_path: Path) -> None:
    few = {name: letters[name] for name in globins.ids[:5]}
    dna = dict.fromkeys(globins.ids, "ATGGTGCTGAGCCCGGCGGATAAAACCAACGTGAAAGCGGCGTGGGGC")
    smoothed = phylocli.smooth_embeddings(globins)
    wrong: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (UsageError, "need the sequences", {"by": "both"}),
        (UsageError, "sequences are for neighbours by alignment", {"sequences": letters}),
        (UsageError, "divide alignments only", {"jobs": 2}),
        (BadInputError, "lacks 40", {"by": "phmmer", "sequences": few}),
        (BadInputError, "consists of nucleotides", {"by": "phmmer", "sequences": dna}),
        (UsageError, "51 neighbours by alignment", {"by": "phmmer", "sequences": letters, "neighbours": 51}),
        (UsageError, "no other table", {"by": "phmmer", "sequences": letters, "among_sequences": letters}),
    ]
    for error, message, options in wrong:
        with pytest.raises(error, match=message):
            phylocli.smooth_embeddings(globins, **options)
    with pytest.raises(UsageError, match="has been smoothed before"):
        phylocli.smooth_embeddings(smoothed, by="residues", sequences=letters)
    with pytest.raises(UsageError, match="needs --smooth"):
        phylocli.search(globins, globins, smooth_by="both")
    with pytest.raises(UsageError, match="needs the target sequences"):
        phylocli.search(globins, globins, smooth=5, smooth_by="both")
    other = EmbeddingTable("o", ["new"], globins.dimension, globins.metadata, vectors=-globins.numpy()[:1])
    with pytest.raises(UsageError, match="need the query sequences"):
        phylocli.search(other, globins, smooth=5, smooth_by="phmmer", sequences=letters)
    with pytest.raises(UsageError, match="need the sequences of o"):
        phylocli.smooth_embeddings(other, globins, by="phmmer", among_sequences=letters)
    bare = EmbeddingTable("bare", globins.ids, globins.dimension, vectors=globins.numpy())
    with pytest.raises(BadInputError, match="does not record its model"):
        phylocli.smooth_embeddings(bare, by="residues", sequences=letters)


def test_processes_and_commands_give_the_same(
    cli: Run, examples: Path, globins: EmbeddingTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = EmbeddingTable("few", globins.ids[:8], globins.dimension, globins.metadata, vectors=globins.numpy()[:8])
    sequences = examples / "globins.fasta"
    for name in ("one", "two"):
        few.write(tmp_path / f"{name}.parquet")
    options = ("--by", "phmmer", "-k", 4, "--sequences", sequences)
    assert cli("smooth", tmp_path / "one.parquet", *options, "-o", tmp_path / "1.parquet").exit_code == 0
    done = cli("smooth", tmp_path / "two.parquet", *options, "--jobs", 2, "-o", tmp_path / "2.parquet")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    searched = ("--smooth", 4, "--smooth-by", "phmmer", "--sequences", sequences)
    found = cli("search", sequences, tmp_path / "one.parquet", *searched)
    assert found.exit_code == 0 and found.stdout.splitlines()[0].split("\t")[-1] == "smoothed", found.stderr
    aligned = cli("search", sequences, tmp_path / "one.parquet", *searched, "--align", "--best")
    assert aligned.exit_code == 0 and "align_evalue" in aligned.stdout.splitlines()[0], aligned.stderr
    monkeypatch.setenv("PHYLOCLI_SEARCH__SMOOTH_BY", "both")
    plain = cli("search", tmp_path / "one.parquet", tmp_path / "one.parquet", "--best")
    assert plain.exit_code == 0 and "smoothed" not in plain.stdout, plain.stderr
