"""Effects of the rules for tables on results: missing labels, quantities in `mi`, wide tables on the map, trees only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from phylocli.core.errors import BadInputError, UsageError
from phylocli.mi.paired import read_pairs
from phylocli.probe import Dataset, Embedding, draw_map, explain_inputs, probe, run_probes
from phylocli.probe.map.coordinates import place_points
from phylocli.probe.tasks import homology, retrieval

IDS = [f"p{i}" for i in range(60)]
CODE = np.arange(60) % 3
VECTORS = (4 * np.eye(3)[CODE] + np.random.default_rng(0).normal(size=(60, 3))).astype(np.float32)


def written(path: Path, **columns: object) -> Path:
    pl.DataFrame({"id": IDS, **columns}).write_csv(path, separator="\t")
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    embedding = pl.Series(VECTORS, dtype=pl.Array(pl.Float32, 3))
    pl.DataFrame({"id": IDS, "embedding": embedding}).write_parquet(tmp_path / "e.parquet")
    return tmp_path / "e.parquet"


@pytest.mark.parametrize("module", [retrieval, homology])
def test_items_of_which_nothing_is_known_are_scored_as_if_they_were_not_there(module: object) -> None:
    known = ["abc"[c] if i % 4 else None for i, c in enumerate(CODE)]
    rows = [i for i, k in enumerate(known) if k is not None]
    frame = pl.DataFrame({"id": IDS, "kind": known})
    embedding = Embedding("e", IDS, VECTORS)
    values = []
    for part in (frame, frame[rows]):
        data = Dataset.from_labels(part, "l")
        found = module.measure(data, embedding.aligned_to(data.ids), "kind", 0)  # type: ignore[attr-defined]
        values.append([(f.metric, round(f.value, 12), f.n) for f in found.estimates])
    assert values[0] == values[1]


def test_a_family_without_a_clan_is_still_ranked_at_the_level_of_clans() -> None:
    frame = pl.DataFrame({"id": list("abcd"), "family": ["f", "f", "g", None], "clan": ["c", "c", None, None]})
    assert retrieval.judged_rows(Dataset.from_labels(frame, "l"), "clan").tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("values", "options", "classes", "width"),
    [
        (VECTORS[:, 0].tolist(), {}, None, 1),
        (["abc"[c] for c in CODE], {}, ["a", "b", "c"], 3),
        (CODE.tolist(), {}, ["0", "1", "2"], 3),
        (CODE.tolist(), {"quantities": "k"}, None, 1),
    ],
)
def test_a_label_is_a_quantity_or_classes_to_mi_as_to_probe(
    table: Path, values: list[object], options: dict[str, str], classes: list[str] | None, width: int
) -> None:
    labels = written(table.parent / "l.tsv", k=values)
    data = read_pairs(table, labels=labels, column="k", **options)  # type: ignore[arg-type]
    assert data.classes == classes and data.b.shape == (60, width)
    if classes is None:
        numbers = np.asarray(values, dtype=float)
        assert np.allclose(data.b[:, 0], (numbers - numbers.mean()) / numbers.std(), atol=1e-5)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (IDS, "cannot be used as labels"),
        (["a;b", "b", "a"] * 20, "neither classes nor a quantity"),
        ([1.5] * 60, "all values of 'k' are the same"),
        (["NA"] * 60, "cannot be used as labels"),
    ],
)
def test_constant_label_is_an_error_in_mi(table: Path, values: list[object], said: str) -> None:
    labels = written(table.parent / "l.tsv", k=values)
    with pytest.raises((UsageError, BadInputError), match=said):
        read_pairs(table, labels=labels, column="k")


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_parallel_vectors_are_refused_and_one_feature_is_drawn_on_a_line(method: str) -> None:
    points, said = place_points(np.ones((20, 4), dtype=np.float32), method, 0)
    assert points is None and "same direction" in said
    scaled = np.outer(np.arange(1, 21), [1, 2, 3]).astype(np.float32)
    assert place_points(scaled, method, 0)[0] is None
    values = np.linspace(-2, 3, 20, dtype=np.float32)
    points, said = place_points(values[:, None], method, 0)
    assert points is not None and "single feature" in said
    np.testing.assert_allclose(points, np.stack([np.linspace(0, 1, 20), np.full(20, 0.5)], axis=1), atol=1e-6)
    assert place_points(np.ones((20, 1), dtype=np.float32), method, 0)[0] is None
    two = np.repeat(np.eye(2, 5, dtype=np.float32), 10, axis=0)
    points, _ = place_points(two, method, 0)
    assert points is not None and np.isfinite(points).all()


def test_a_map_of_nothing_is_an_error_and_writes_no_page(tmp_path: Path) -> None:
    flat = Embedding("flat", IDS, np.ones((60, 3), dtype=np.float32), "flat.parquet")
    with pytest.raises(BadInputError, match=r"flat\.parquet cannot be mapped"):
        draw_map(flat, tmp_path / "m.html")
    assert not (tmp_path / "m.html").exists()


def test_the_map_takes_columns_as_the_probe_does(table: Path) -> None:
    labels = written(table.parent / "l.tsv", taxid=(9000 + CODE).tolist(), k=["x", "NA", "x "] * 20)
    draw = lambda **options: draw_map(table, table.parent / "m.html", labels=labels, projection="pca", **options)  # noqa: E731
    assert draw(column="taxid").names == ["9000", "9001", "9002"]
    assert draw(column="taxid", quantities="taxid").values.tolist() == (9000 + CODE).tolist()
    page = draw(column="k")
    assert page.names == ["x"] and page.codes[:3].tolist() == [0, -1, 0]


def test_what_was_taken_for_what_is_explained_in_full(tmp_path: Path, table: Path) -> None:
    wide = {f"d{i}": VECTORS[:, i].tolist() for i in range(3)}
    features = written(tmp_path / "e.tsv", taxon=list(range(60)), mass=[0.5] * 60, **wide)
    kinds, values = ["k1", "NA", "k2 "] * 20, VECTORS[:, 0].tolist()
    labels = written(tmp_path / "l.tsv", kind=kinds, stab=values, note=IDS, split=["test"] * 60)
    rows = explain_inputs([features, table], labels).rows()
    name, source = str(labels), str(features)
    assert (source, "id", "ids", "by its name") in rows
    assert (source, "d0, d1, d2", "features", "numbered columns of numbers") in rows
    assert (source, "", "table", "60 ids, 3 features") in rows
    assert {(row[1], row[2]) for row in rows if row[0] == source} >= {("taxon", "ignored"), ("mass", "ignored")}
    assert (source, "", "matched", f"60 of 60 ids have a row in {name}") in rows
    assert (name, "kind", "classes", "text; 2 classes; 20 of 60 unknown") in rows
    assert (name, "stab", "quantity", "numbers") in rows and (name, "split", "split", "by its name") in rows
    assert [row[2] for row in rows if row[1] == "note"] == ["ignored"]
    found = explain_inputs([features], labels, quantities="stab", features=["d0", "mass"], id_column="note")
    assert (name, "note", "ids", "named by --id-column") in found.rows()
    assert (name, "stab", "quantity", "named by --quantities") in found.rows()
    assert (source, "mass, d0", "features", "named by --features") in found.rows()
    for labelled in (None, labels):
        with pytest.raises(UsageError, match="no table has the id column 'gene'"):
            explain_inputs([features], labelled, id_column="gene")


def test_explain_prints_a_table_and_evaluates_nothing(cli: Callable[..., object], tmp_path: Path, table: Path) -> None:
    labels = written(tmp_path / "l.tsv", kind=["k1", "k2"] * 30)
    done = cli("probe", table, "--labels", labels, "--explain")
    assert done.exit_code == 0, done.stderr  # type: ignore[attr-defined]
    lines = [line.split("\t") for line in done.stdout.splitlines()]  # type: ignore[attr-defined]
    assert (
        lines[0] == ["table", "column", "taken_as", "why"] and [str(labels), "kind", "classes", "text; 2 classes"] in lines
    )
    missing = cli("probe", table, "--labels", labels)
    assert missing.exit_code == 2 and "use --explain" in missing.stderr  # type: ignore[attr-defined]


def test_trees_are_evaluated_without_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    records, ids = [], []
    for family in range(2):
        names = [f"f{family}_{i}" for i in range(6)]
        nested = names[0] + ":0.1"
        for name in names[1:]:
            nested = f"({nested},{name}:{0.1 + rng.random():.3f}):0.1"
        rows = "\n".join(f"{name} ACDEFG" for name in names)
        records.append(f"# STOCKHOLM 1.0\n#=GF ID fam{family}\n#=GF NH {nested.rsplit(':', 1)[0]};\n{rows}\n//\n")
        ids += names
    (tmp_path / "t.sto").write_text("".join(records))
    table = Embedding("e", [*ids, "stranger"], rng.normal(size=(13, 4)).astype(np.float32))
    found = probe(table, trees=tmp_path / "t.sto", tasks="patristic", projection="none", replicates=100)
    assert set(found.to_polars()["task"]) == {"patristic"}


HOSTILE = [
    "<script>alert(1)</script>", "=HYPERLINK(\"http://x\",\"y\")", "@SUM(1)", "+1", "-1+1", "\"quoted\"", "a,b",
]  # fmt: skip


@pytest.mark.parametrize("suffix", ["tsv", "csv", "parquet"])
def test_ids_that_look_like_formulas_are_unchanged(tmp_path: Path, suffix: str) -> None:
    from phylocli.formats.embeddings import EmbeddingTable, read_embeddings

    vectors = np.arange(2 * len(HOSTILE), dtype=np.float32).reshape(-1, 2)
    EmbeddingTable("x", HOSTILE, 2, vectors=vectors).write(tmp_path / f"t.{suffix}")
    assert read_embeddings(tmp_path / f"t.{suffix}").ids == HOSTILE


def test_hostile_ids_and_labels_are_text_on_every_page(tmp_path: Path) -> None:
    ids = [*HOSTILE, *(f"p{i}" for i in range(23))]
    labels = pl.DataFrame({"id": ids, "kind": [HOSTILE[0], HOSTILE[1]] * 15})
    labels.write_parquet(tmp_path / "l.parquet")
    table = Embedding(HOSTILE[0], ids, np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32), HOSTILE[0])
    source = tmp_path / "l.parquet"
    draw_map(table, tmp_path / "m.html", labels=source, classes="kind", projection="pca")
    run_probes([table], source, tmp_path / "r", classes="kind", tasks=["retrieval"], projection="pca", replicates=100)
    for page in ("m.html", "r/report.html", "r/report.md"):
        assert "<script>alert" not in (tmp_path / page).read_text()
