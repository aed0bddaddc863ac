"""Recipes dgi and infograph: from networks and trees to vectors of nodes and graphs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from phylocli.core.errors import BadInputError, PhylocliError, UsageError
from phylocli.formats import read_families
from phylocli.formats.embeddings import EmbeddingTable, read_embeddings
from phylocli.formats.newick import parse
from phylocli.formats.tree import Tree
from phylocli.graphs import classify_graphs, embed_graphs, load_graph_model
from phylocli.train import train_model
from phylocli.train.data.graph_inputs import read_graphs, tree_features

RANDOM = np.random.default_rng(0)
IDS = [f"p{i}" for i in range(60)]
GROUP = np.arange(60) % 3


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of three communities whose nodes have noisy features; one node has no edges."""
    folder = tmp_path_factory.mktemp("graphs")
    edges = [(i, j) for i in range(59) for j in range(i) if RANDOM.random() < (0.4 if GROUP[i] == GROUP[j] else 0.01)]
    pl.DataFrame([(IDS[a], IDS[b]) for a, b in edges], schema=["source", "target"], orient="row").write_parquet(
        folder / "edges.parquet"
    )
    vectors = RANDOM.normal(size=(60, 12)) + 0.8 * np.eye(3, 12)[GROUP]
    EmbeddingTable("emb", IDS, 12, vectors=vectors.astype(np.float32)).write(folder / "emb.parquet")
    return folder


def run(place: Path, out: Path, steps: int = 40, **options: Any) -> Path:
    settings = {"graphs.hidden": 16, "checkpoints.every": 20} | options.pop("settings", {})
    given = {"recipe": "dgi", "features": str(place / "emb.parquet"), **options}
    return train_model([place / "edges.parquet"], out, steps=steps, device="cpu", settings=settings, **given)


def within_group(vectors: np.ndarray) -> float:
    """Return how often the nearest other node is of the same group."""
    x = vectors - vectors.mean(0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    cosines = x @ x.T - 2 * np.eye(len(x))
    return float((GROUP[cosines.argmax(1)] == GROUP).mean())


def test_vectors_of_nodes_learn_the_communities_of_the_network(place: Path, tmp_path: Path) -> None:
    folder = run(place, tmp_path / "run", steps=60, settings={"optimiser.learning_rate": 0.01})
    table, raw = read_embeddings(tmp_path / "run" / "embeddings.parquet"), read_embeddings(place / "emb.parquet")
    assert table.ids == IDS and table.dimension == 16
    assert within_group(table.numpy()) > within_group(raw.numpy()) + 0.1
    rows = pl.read_parquet(tmp_path / "run" / "metrics.parquet")
    assert rows["loss"][-10:].mean() < rows["loss"][:10].mean() - 0.05 and rows["accuracy"][-1] > 0.7
    inputs = read_graphs((str(place / "edges.parquet"),), str(place / "emb.parquet"))
    assert embed_graphs(load_graph_model(folder), inputs.graphs) == pytest.approx(table.numpy(), abs=1e-5)
    assert (folder / "MODEL_CARD.md").read_text().startswith("# A graph model")


def test_a_run_that_is_stopped_and_resumed_is_the_same(place: Path, tmp_path: Path) -> None:
    run(place, tmp_path / "run", steps=40)
    whole = read_embeddings(tmp_path / "run" / "embeddings.parquet").numpy()
    (tmp_path / "run" / "checkpoints" / "step-00000040.pt").unlink()  # as if it had been killed after step 20
    shutil.rmtree(tmp_path / "run" / "model")
    (tmp_path / "run" / "embeddings.parquet").unlink()
    run(place, tmp_path / "run", steps=40, resume=True)
    assert read_embeddings(tmp_path / "run" / "embeddings.parquet").numpy() == pytest.approx(whole, abs=1e-5)
    assert pl.read_parquet(tmp_path / "run" / "metrics.parquet")["step"].to_list() == list(range(1, 41))


def test_trees_are_graphs_whose_inner_nodes_are_means_of_their_children(
    simulated_file: Callable[..., Path], tmp_path: Path
) -> None:
    families = list(read_families(path := simulated_file(4, members=6)))
    ids = [name for family in families for name in family.ids]
    vectors = RANDOM.normal(size=(len(ids), 5)).astype(np.float32)
    EmbeddingTable("emb", ids, 5, vectors=vectors).write(tmp_path / "emb.parquet")
    inputs = read_graphs((str(path),), str(tmp_path / "emb.parquet"))
    assert inputs.names == [family.label for family in families] and inputs.graphs.count == 4
    assert sorted(filter(None, inputs.nodes)) == sorted(ids)
    tree, start = families[1].tree, len(families[0].tree)
    children = tree.children()
    for node in range(len(tree)):
        if children[node]:
            below = inputs.graphs.features[[start + child for child in children[node]]].mean(0)
            assert inputs.graphs.features[start + node].numpy() == pytest.approx(below.numpy(), abs=1e-5)
    edges = {tuple(sorted(pair)) for pair in (inputs.graphs.ends - start).tolist() if pair[0] >= start or min(pair) >= 0}
    assert {tuple(sorted((node, int(tree.parent[node])))) for node in range(1, len(tree))} <= edges
    settings = {"graphs.hidden": 8, "graphs.corruption": "graphs"}
    features = str(tmp_path / "emb.parquet")
    train_model([path], tmp_path / "run", recipe="dgi", steps=2, device="cpu", features=features, settings=settings)
    assert sorted(read_embeddings(tmp_path / "run" / "embeddings.parquet").ids) == sorted(ids)


def test_features_of_trees_without_embeddings_are_those_of_the_shape() -> None:
    tree: Tree = parse("((a:0.1,b:0.2):0.3,c:0.4);")
    found = {name: row for name, row in zip(tree.names, tree_features(tree).tolist(), strict=True) if name}
    assert found["b"] == pytest.approx([1, np.log(0.21), np.log(0.51), 0, 0], rel=1e-5)
    assert tree_features(tree)[0] == pytest.approx([0, np.log(0.01), np.log(0.01), np.log(3), 2], rel=1e-5)


def caterpillars_and_balanced(path: Path, count: int) -> list[str]:
    """Write families with trees of two shapes; return their labels."""
    rows, labels = [], []
    for number in range(count):
        tips = [f"f{number}s{i}" for i in range(8)]
        length = iter(RANDOM.uniform(0.1, 0.3, 40))
        parts = [f"{tip}:{next(length):.3f}" for tip in tips]
        while len(parts) > 1:
            joined = f"({parts.pop(0)},{parts.pop(0)}):{next(length):.3f}"
            parts = [joined, *parts] if number % 2 else [*parts, joined]
        sequences = "".join(f"{tip} MKVLAAGIVG\n" for tip in tips)
        rows.append(f"# STOCKHOLM 1.0\n#=GF AC F{number}\n#=GF NH {parts[0].rsplit(':', 1)[0]};\n{sequences}//\n")
        labels.append("caterpillar" if number % 2 else "balanced")
    path.write_text("".join(rows))
    return labels


def test_infograph_tells_shapes_of_trees_apart_and_learns_from_few_labels(tmp_path: Path) -> None:
    path = tmp_path / "trees.sto"
    labels = np.array(caterpillars_and_balanced(path, 24))
    settings = {"graphs.hidden": 8, "graphs.layers": 2, "graphs.batch": 12}
    folder = train_model([path], tmp_path / "run", recipe="infograph", steps=30, device="cpu", settings=settings)
    table = read_embeddings(tmp_path / "run" / "embeddings.parquet")
    assert table.ids == [f"F{i}" for i in range(24)] and table.dimension == 16
    x = table.numpy() - table.numpy().mean(0)
    x /= x.std(0) + 1e-6
    distance = np.linalg.norm(x[:, None] - x[None], axis=2) + np.eye(24) * 1e9
    assert (labels[distance.argmin(1)] == labels).mean() > 0.9
    assert load_graph_model(folder).architecture.classes == ()
    known = pl.DataFrame({"id": [f"F{i}" for i in range(6)], "shape": labels[:6]})
    known.write_csv(tmp_path / "labels.tsv", separator="\t")
    settings |= {"graphs.labels": str(tmp_path / "labels.tsv"), "graphs.column": "shape"}
    folder = train_model([path], tmp_path / "semi", recipe="infograph", steps=60, device="cpu", settings=settings)
    model, inputs = load_graph_model(folder), read_graphs((str(path),), "")
    assert model.architecture.classes == ("balanced", "caterpillar")
    table = pl.read_csv(tmp_path / "semi" / "classes.tsv", separator="\t")
    assert table["id"].to_list() == inputs.names and table["label"].to_list() == [*labels[:6], *[None] * 18]
    assert (table["predicted"].to_numpy()[6:] == labels[6:]).mean() > 0.9  # of families without a label
    found = classify_graphs(model, inputs.graphs)
    assert found.sum(1) == pytest.approx(1, abs=1e-5) and table["probability"].to_numpy() == pytest.approx(
        found.max(1), abs=1e-4
    )
    assert not (tmp_path / "run" / "classes.tsv").exists()
    with pytest.raises(UsageError, match="has no classes"):
        classify_graphs(load_graph_model(tmp_path / "run" / "model"), inputs.graphs)
    assert {"mutual", "classification", "agreement"} <= set(pl.read_parquet(tmp_path / "semi" / "metrics.parquet").columns)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"features": ""}, UsageError, "needs embeddings of the nodes"),
        ({"recipe": "simclr"}, UsageError, "for the recipes dgi and infograph only"),
        ({"settings": {"batch.pairs": 8}}, UsageError, "does not use batch.pairs"),
        ({"settings": {"graphs.corruption": "graphs"}}, UsageError, "needs several graphs"),
        ({"recipe": "infograph"}, BadInputError, "at least 3 graphs"),
        ({"recipe": "infograph", "features": ""}, BadInputError, "whose nodes have no features"),
        ({"features": "few.parquet"}, BadInputError, "nodes of .* are not in few"),
        ({"recipe": "infograph", "settings": {"graphs.labels": "l.tsv"}}, BadInputError, "label"),
    ],
)
def test_wrong_settings_and_inputs_say_what_to_do(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], kind: type, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    EmbeddingTable("few", IDS[:9], 12, vectors=np.ones((9, 12), np.float32)).write("few.parquet")
    Path("l.tsv").write_text("id\tlabel\nx\ty\n")
    with pytest.raises(PhylocliError, match=message) as caught:
        run(place, tmp_path / "run", steps=1, **changes)
    assert isinstance(caught.value, kind) and caught.value.fix


def test_a_file_in_another_format_is_said_not_to_be_a_graph(place: Path, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0")
    with pytest.raises(BadInputError, match=r"x\.png looks like a PNG picture, not a table of edges or families") as caught:
        read_graphs((str(tmp_path / "x.png"),), str(place / "emb.parquet"))
    assert "source and target" in (caught.value.fix or "")


def test_families_without_trees_are_named(examples: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="has no tree") as caught:
        train_model([examples / "families.sto"], tmp_path / "run", recipe="infograph", steps=1, device="cpu")
    assert "phylocli tree" in (caught.value.fix or "")
