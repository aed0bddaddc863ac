"""`phylocli network`, as users run it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import polars as pl
import pytest
from browser import Browser

from phylocli.embed import embed_file
from phylocli.models.model import Model
from phylocli.network import communities

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def place(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, the globins, and their embeddings."""
    folder = tmp_path_factory.mktemp("network")
    model = Model.create("convolutional", preset="tiny", seed=0).save(folder / "shelf" / "mini")
    (folder / "globins.fasta").write_bytes((examples / "globins.fasta").read_bytes())
    embed_file(folder / "globins.fasta", folder / "db.parquet", model=model)
    table = pl.read_parquet(folder / "db.parquet")
    np.savez(folder / "db.npz", **{row["id"]: np.array(row["embedding"], np.float32) for row in table.to_dicts()})
    kinds = table.select("id", family=pl.col("id").str.slice(0, 3))
    kinds.write_csv(folder / "labels.tsv", separator="\t")
    return folder


@pytest.fixture
def network(cli: Run, place: Path, small_background: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command; return the edges on standard output."""
    monkeypatch.setenv("PHYLOCLI_MODELS", str(place / "shelf"))

    def run(*args: object, **options: Any) -> pl.DataFrame:
        done = cli("network", *args, **options)
        assert done.exit_code == 0, done.stderr
        return pl.read_csv(io.StringIO(done.stdout), separator="\t") if done.stdout else pl.DataFrame()

    return run


def pairs(frame: pl.DataFrame) -> set[tuple[str, ...]]:
    return {tuple(sorted(row)) for row in frame.select("source", "target").iter_rows()}


def evalues(frame: pl.DataFrame) -> dict[tuple[str, ...], float]:
    return {tuple(sorted(row[:2])): row[2] for row in frame.select("source", "target", "evalue").iter_rows()}


def test_sequences_tables_and_hits_give_the_same_network(network: Run, cli: Run, place: Path) -> None:
    from_fasta = network(place / "globins.fasta", "-m", place / "shelf" / "mini", "-k", 3)
    from_table, from_arrays = network(place / "db.parquet", "-k", 3), network(place / "db.npz", "-k", 3)
    assert from_table.columns == ["source", "target", "weight", "cosine", "evalue"]
    assert pairs(from_fasta) == pairs(from_table) == pairs(from_arrays)
    hits = cli("search", place / "db.parquet", place / "db.parquet", "--exclude-self", "-k", 3).stdout
    from_hits = network("-", input=hits.encode())
    assert pairs(from_hits) == pairs(from_table)
    every = cli("search", place / "db.parquet", place / "db.parquet", "--exclude-self", "-k", 44).stdout
    smaller = evalues(network("-", input=every.encode()))  # of the two directions, one of which may not be among the 3 best
    assert evalues(from_table) == pytest.approx({pair: smaller[pair] for pair in pairs(from_table)}, rel=1e-3)
    assert len(set(smaller.values())) > 20
    edges = network("-", "--min-cosine", 0.99, input=from_table.write_csv(separator="\t").encode())
    assert pairs(edges) == pairs(from_table.filter(pl.col("cosine") >= 0.99)) and 0 < edges.height < from_table.height


def test_graphml_has_communities_labels_and_every_protein(network: Run, place: Path, tmp_path: Path) -> None:
    out, nodes = tmp_path / "net.graphml", tmp_path / "nodes.tsv"
    network(place / "db.parquet", "-k", 2, "-l", place / "labels.tsv", "-o", out, "--nodes", nodes)
    graph, table = networkx.read_graphml(out), pl.read_csv(nodes, separator="\t")
    assert set(graph.nodes) == set(table["id"]) and len(table) == 45
    for row in table.iter_rows(named=True):
        found = graph.nodes[row["id"]]
        assert (found["community"], found["degree"], found["family"]) == (row["community"], row["degree"], row["id"][:3])
    assert table["community"].n_unique() > 1 and table["representative"].equals(table["id"].alias("representative"))
    groups = [set(part["id"]) for _, part in table.group_by("community")]
    assert networkx.community.modularity(graph, groups) > 0.5
    for name in (out, nodes):
        record = json.loads(Path(f"{name}.provenance.json").read_text())
        assert record["stage"] == "network" and record["parameters"]["communities"] == "leiden"
        assert str(place / "db.parquet") in {item["name"] for item in record["inputs"]}


def test_alignments_give_identities_bits_and_representatives(network: Run, place: Path, tmp_path: Path) -> None:
    options = ("-m", place / "shelf" / "mini", "--align", "--candidates", 20, "--max-evalue", 1e-10)
    edges = network(place / "globins.fasta", *options)
    assert edges.columns == ["source", "target", "weight", "cosine", "evalue", "bits", "identity"]
    assert edges["evalue"].max() <= 1e-10 and edges["identity"].is_between(0.1, 1).all() and edges["bits"].min() > 20
    nodes = tmp_path / "nodes.tsv"
    merged = network(place / "globins.fasta", *options, "--merge-identity", 0.8, "--nodes", nodes)
    table = pl.read_csv(nodes, separator="\t")
    kept = set(table["representative"])
    assert len(table) == 45 and len(kept) < 45 and {*merged["source"], *merged["target"]} <= kept
    identical = {tuple(sorted(row[:2])): row[2] for row in edges.select("source", "target", "identity").iter_rows()}
    for protein, node in table.select("id", "representative").iter_rows():
        assert protein == node or identical[tuple(sorted((protein, node)))] >= 0.8


def test_residue_alignments_give_the_edges_of_a_search_that_reranks(
    network: Run, cli: Run, place: Path, tmp_path: Path
) -> None:
    globins, model = tmp_path / "some.fasta", ("-m", place / "shelf" / "mini")
    globins.write_text(">".join((place / "globins.fasta").read_text().split(">")[:8]))
    edges = network(globins, *model, "--rerank", "residues", "--candidates", 3, "--max-evalue", 100)
    hits = cli("search", globins, globins, "--exclude-self", "-k", 6, "--rerank", "residues", *model).stdout
    frame = pl.read_csv(io.StringIO(hits), separator="\t").select("query", "target", "residues_evalue")
    found = {(query, target): evalue for query, target, evalue in frame.iter_rows()}
    assert edges.columns == ["source", "target", "weight", "cosine", "evalue", "bits", "identity"] and edges.height > 8
    assert edges["identity"].is_between(0, 1).all() and edges["evalue"].n_unique() > 8
    for source, target, evalue in edges.select("source", "target", "evalue").iter_rows():
        assert found[source, target] == pytest.approx(evalue, rel=1e-3), (source, target)
    given = evalues(network("-", "--max-evalue", 100, input=hits.encode()))  # not those of the cosines
    assert all(given[pair] <= evalue * 1.001 for pair, evalue in evalues(edges).items())


def test_the_page_says_which_proteins_are_joined(network: Run, place: Path, tmp_path: Path) -> None:
    def about(*args: object, **options: Any) -> str:
        network(*args, "-o", page := tmp_path / "net.html", **options)
        return page.read_text()

    assert "(the 10 nearest of each)" in about(place / "db.parquet")
    assert "(cosine ≥ 0.9)" in about(place / "db.parquet", "--min-cosine", 0.9)
    given = network(place / "db.parquet", "-k", 2).write_csv(separator="\t").encode()
    assert "nearest of each" not in about("-", input=given)


def test_representatives_at_a_cosine_are_the_nodes(network: Run, place: Path, tmp_path: Path) -> None:
    nodes, out = tmp_path / "nodes.parquet", tmp_path / "net.graphml"
    network(place / "db.parquet", "--merge-cosine", 0.99, "-k", 2, "--nodes", nodes, "-o", out)
    table, graph = pl.read_parquet(nodes), networkx.read_graphml(out)
    assert set(graph.nodes) == set(table["representative"]) and 1 < len(graph) < 45
    assert sum(data["members"] for _, data in graph.nodes(data=True)) == 45


def test_the_same_seed_gives_the_same_bytes(network: Run, place: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        network(place / "db.parquet", "-o", tmp_path / f"{name}.graphml", "--page", tmp_path / f"{name}.html")
    for suffix in ("graphml", "html"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_without_igraph_communities_are_components_and_a_page_says_what_to_install(
    network: Run, cli: Run, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(communities, "find_spec", lambda name: None)
    network(place / "db.parquet", "--min-cosine", 0.99, "--nodes", tmp_path / "nodes.tsv")
    table = pl.read_csv(tmp_path / "nodes.tsv", separator="\t")
    assert table["community"].equals(table["component"].alias("community"))
    for args in (["-o", tmp_path / "x.html"], ["--communities", "leiden"], ["--resolution", 2]):
        done = cli("network", place / "db.parquet", *args)
        assert done.exit_code == 1 and "pip install '.[network]'" in done.stderr, done.stderr
        assert not done.stdout and not (tmp_path / "x.html").exists()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["db.parquet", "-o", "net.gexf"], 2, "cannot be written as .gexf"),
        (["db.parquet", "--format", "xgmml"], 2, "unknown format of networks"),
        (["db.parquet", "--page", "net.graphml"], 2, "use the suffix .html"),
        (["db.parquet", "--min-identity", "0.4"], 2, "need alignments"),
        (["db.parquet", "--align"], 2, "--sequences FASTA"),
        (["db.parquet", "--column", "family"], 2, "give --labels TABLE"),
        (["db.parquet", "--labels", "labels.tsv", "-o", "net.tsv"], 2, "GraphML and pages only"),
        (["db.parquet", "--title", "T"], 2, "add --page FILE.html"),
        (["db.parquet", "--candidates", "5"], 2, "candidates needs align or rerank"),
        (["db.parquet", "--communities", "components", "--resolution", "2"], 2, "components have no resolution"),
        (["labels.tsv"], 65, "labels.tsv"),
        (["missing.parquet"], 65, "missing.parquet"),
        (["db.parquet", "--translate"], 2, "omit --translate"),
    ],
)
def test_wrong_options_and_inputs_say_what_to_do_and_write_nothing(
    cli: Run, place: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("PHYLOCLI_MODELS", str(place / "shelf"))
    before = sorted(place.iterdir())
    done = cli("network", *args)
    assert done.exit_code == code and message in done.stderr and "fix:" in done.stderr, done.stderr
    assert done.stdout == "" and sorted(place.iterdir()) == before


@pytest.mark.needs("chromium")
def test_the_page_draws_edges_and_the_slider_hides_the_weak_ones(network: Run, place: Path, tmp_path: Path) -> None:
    page = tmp_path / "net.html"
    edges = network(place / "db.parquet", "-k", 4, "--page", page)
    data = json.loads(page.read_text().split('id="data">')[1].split("</script>")[0])
    drawn = np.frombuffer(base64.b64decode(data["edges"]), "<u4").reshape(-1, 2)
    weights = np.frombuffer(base64.b64decode(data["weights"]), "<f4")
    assert {tuple(sorted((data["ids"][a], data["ids"][b]))) for a, b in drawn} == pairs(edges)
    assert (np.diff(weights) <= 0).all() and weights[0] == pytest.approx(edges["weight"].max(), rel=1e-6)
    with Browser(tmp_path / "profile") as browser:
        browser.open(page.as_uri())
        browser.wait("document.documentElement.dataset.edgesDrawn === 'true'")
        assert f"{edges.height:,}" in browser.run("document.getElementById('least').textContent")
        browser.run("document.getElementById('threshold').value = 500")
        browser.run("document.getElementById('threshold').dispatchEvent(new Event('input'))")
        middle = (weights[0] + weights[-1]) / 2
        assert f": {(weights >= middle).sum()}" in browser.run("document.getElementById('least').textContent")


@pytest.mark.needs("chromium")
def test_a_large_network_is_moved_as_a_picture_and_drawn_anew_when_it_rests(network: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ends = np.unique(np.sort(rng.integers(0, 200, (9000, 2)), axis=1), axis=0)
    ends = ends[ends[:, 0] != ends[:, 1]]
    assert len(ends) > 4000  # from so many edges on
    rows = {"source": ends[:, 0].astype(str), "target": ends[:, 1].astype(str), "weight": rng.random(len(ends))}
    pl.DataFrame(rows).write_parquet(tmp_path / "edges.parquet")
    network(tmp_path / "edges.parquet", "--page", tmp_path / "net.html")
    wheel = "document.getElementById('map').dispatchEvent(new WheelEvent('wheel', { deltaY: -90, clientX: 300 }))"
    edges = "document.documentElement.dataset.edgesDrawn"
    ink = (  # opaque pixels of the map
        "[...document.getElementById('map').getContext('2d').getImageData(0, 0, 800, 800).data]"
        ".filter((x, k) => k % 4 === 3 && x > 0).length"
    )
    with Browser(tmp_path / "profile") as browser:
        browser.open((tmp_path / "net.html").as_uri())
        browser.wait(f"{edges} === 'true'")
        before = browser.run(ink)
        assert browser.run(f"new Promise((done) => {{ {wheel}; requestAnimationFrame(() => done({edges})); }})") == "false"
        assert browser.run(ink) > before / 2  # the picture is there meanwhile
        browser.wait(f"{edges} === 'true'")
        every = browser.run(ink)
        browser.run("document.getElementById('threshold').value = 900")
        browser.run("document.getElementById('threshold').dispatchEvent(new Event('input'))")
        browser.run("new Promise(requestAnimationFrame)")  # until then the drawing of before counts as complete
        browser.wait(f"{edges} === 'true'")
        assert browser.run(ink) < every
