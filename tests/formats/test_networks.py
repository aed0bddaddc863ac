"""Networks in files: tables of edges and hits, BLAST tabular output, GraphML."""

from __future__ import annotations

import gzip
import math
import xml.sax
from pathlib import Path
from typing import Any

import igraph
import networkx
import numpy as np
import pytest

from phylocli.core.errors import BadInputError
from phylocli.formats.networks import Network, by_size, column_names, is_network, read_network, write_graphml

BLAST = "a\tb\t50.0\t100\t50\t0\t1\t100\t1\t100\t1e-20\t80.5\n"


def test_of_equal_pairs_the_best_is_kept_and_loops_are_dropped() -> None:
    a, b = np.array([0, 1, 2, 0, 0]), np.array([1, 0, 2, 2, 2])
    attributes = {"evalue": np.array([1e-3, 1e-5, 0.0, np.nan, 0.1]), "bits": np.array([30.0, 40, 99, 90, 10])}
    network = Network.of("n", ["a", "b", "c"], a, b, attributes)
    assert network.ends.tolist() == [[0, 1], [0, 2]]
    assert network.attributes["evalue"].tolist() == [1e-5, 0.1]  # a known E-value is better than an unknown one
    assert network.attributes["bits"].tolist() == [40, 10]


def test_components_are_numbered_by_size_then_by_first_member() -> None:
    network = Network("n", list("abcdefg"), np.array([[1, 2], [3, 4], [4, 5]]))
    assert network.components.tolist() == [2, 1, 1, 0, 0, 0, 3]
    assert by_size(np.array([7, 3, 3, 7, 5])).tolist() == [0, 1, 1, 0, 2]


def test_weights_are_cosines_else_bits_else_logs_of_evalues_else_one() -> None:
    ends = np.array([[0, 1], [1, 2]])
    e = {"evalue": np.array([1e-5, 0.0])}
    cosine, bits = {"cosine": np.array([-0.5, 0.5])}, {"bits": np.array([50.0, 60])}
    assert Network("n", list("abc"), ends, e | cosine | bits).weights.tolist() == [0, 0.5]
    assert Network("n", list("abc"), ends, e | bits).weights.tolist() == [50, 60]
    assert Network("n", list("abc"), ends, e).weights == pytest.approx([5, 300])
    assert Network("n", list("abc"), ends).weights.tolist() == [1, 1]


def test_a_column_of_weights_comes_before_all_others(tmp_path: Path) -> None:
    text = "source\ttarget\tweight\tcosine\na\tb\t5\t0.9\nb\tc\t900\t0.1\nc\tb\t7\t0.1\n"
    (tmp_path / "edges.tsv").write_text(text)
    network = read_network(tmp_path / "edges.tsv")
    assert network.weights.tolist() == [5, 900]  # of equal pairs that of the largest weight
    assert network.to_polars().columns == ["source", "target", "weight", "cosine"]
    assert network.to_polars()["weight"].to_list() == [5, 900]
    write_graphml(network, tmp_path / "net.graphml", {})
    assert networkx.read_graphml(tmp_path / "net.graphml").edges["b", "c"] == {"weight": 900, "cosine": 0.1}


def test_edges_of_unknown_similarity_have_the_smallest_weight_and_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "edges.tsv").write_text("source\ttarget\tbits\tidentity\na\tb\t50\t0.5\na\tc\t\t0.4\nb\tc\t90\t0.9\n")
    with caplog.at_level("WARNING"):
        assert read_network(tmp_path / "edges.tsv").weights.tolist() == [50, 50, 90]
    assert "the bits of 1 edge of 3 is unknown" in caplog.text
    (tmp_path / "edges.tsv").write_text("source\ttarget\tbits\tidentity\na\tb\t\t0.5\na\tc\t\t0.4\n")
    caplog.clear()
    assert read_network(tmp_path / "edges.tsv").weights.tolist() == [0.5, 0.4] and not caplog.text


@pytest.mark.parametrize(
    ("columns", "evalue"),
    [
        ({"evalue": 1, "align_evalue": 2, "residues_evalue": 3, "both_evalue": 4}, 4),
        ({"evalue": 1, "align_evalue": 2}, 2),
        ({"evalue": 1, "residues_evalue": 3}, 3),
        ({"evalue": 1}, 1),
    ],
)
def test_the_evalue_of_hits_is_that_by_which_they_are_ranked(tmp_path: Path, columns: dict[str, int], evalue: int) -> None:
    values = "\t".join(map(str, columns.values()))
    (tmp_path / "hits.tsv").write_text("\t".join(["query", "target", *columns]) + f"\na\tb\t{values}\n")
    assert read_network(tmp_path / "hits.tsv").attributes["evalue"].tolist() == [evalue]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hits.tsv", "query\ttarget\trank\tcosine\tevalue\na\tb\t1\t0.9\t1e-20\nb\ta\t1\t0.9\t2e-20\nc\tc\t1\t1\t0\n"),
        ("edges.csv", "source,target,evalue\nb,a,1e-20\nc,c,\n"),
        ("hits.m8", BLAST + BLAST.replace("a\tb", "c\tc")),
        ("outfmt7.txt", "# BLASTP 2.15.0+\n# Query: a\n" + BLAST + BLAST.replace("a\tb", "c\tc")),
        ("percent.tsv", "query\ttarget\tpident\tevalue\na\tb\t50\t1E-20\nc\tc\t100\t0\n"),
        ("mmseqs.tsv", "query\ttarget\tfident\tevalue\tbits\na\tb\t0.5\t1E-20\t80\nc\tc\t1.0\t0\t99\n"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_edges_hits_and_blast_output_are_read(tmp_path: Path, name: str, text: str, packed: bool) -> None:
    path = tmp_path / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert is_network(path)
    network = read_network(path)
    assert set(network.ids) == {"a", "b", "c"} and network.ends.shape == (1, 2)
    assert network.attributes["evalue"] == pytest.approx([1e-20])
    if "identity" in network.attributes:
        assert network.attributes["identity"] == pytest.approx([0.5])
    assert network.degree[network.ids.index("c")] == 0


def test_parquet_edges_survive_a_round_trip(tmp_path: Path) -> None:
    ends, attributes = np.array([[0, 1], [0, 2]]), {"cosine": np.array([0.5, np.nan]), "bits": np.array([1.5, 2])}
    before = Network("n", ["a", "b", "c"], ends, attributes)
    before.to_polars().write_parquet(tmp_path / "edges.parquet")
    after = read_network(tmp_path / "edges.parquet")
    assert after.ids == before.ids and np.array_equal(after.ends, ends)
    assert np.array_equal(after.attributes["cosine"], attributes["cosine"], equal_nan=True)


def test_other_files_are_not_networks(tmp_path: Path) -> None:
    for name, text in (("a.fasta", ">a\nMK\n"), ("a.tsv", "id\td1\na\t1\n"), ("labels.tsv", "id\ttarget\na\tb\n")):
        (tmp_path / name).write_text(text)
        assert not is_network(tmp_path / name), name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source\ttarget\na\t\n", "row 1 has no target"),
        ("source\ttarget\tcosine\na\tb\t0.5\na\tc\thigh\n", "cosine of row 2 is 'high', not a number"),
        ("query\ttarget\tpident\na\tb\t50\na\tc\tabc\n", "pident of row 2 is 'abc', not a number"),
        ("source\ttarget\tweight\na\tb\t-2\n", "weight of row 1 is -2"),
        (BLAST + "a\tc\tmany\n", "line 2 is not a line of BLAST tabular output"),
        ("id\tvalue\na\t1\n", "is not a table of edges"),
    ],
)
def test_faulty_edges_are_named_by_row(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "edges.tsv").write_text(text)
    with pytest.raises(BadInputError, match=message) as caught:
        read_network(tmp_path / "edges.tsv")
    assert caught.value.fix


def test_graphml_is_read_by_igraph_and_networkx_with_hostile_names(tmp_path: Path) -> None:
    ids = ['a "quoted" <b> & \x07bell', "γ-globin", "c"]
    attributes = {"cosine": np.array([0.25, np.nan]), "evalue": np.array([1e-300, 2.5])}
    network = Network("net & work", ids, np.array([[0, 1], [1, 2]]), attributes)
    nodes = {"community": np.array([1, 1, 2]), "family": ["<globin>", None, "x"], "length": np.array([1.5, np.nan, 3])}
    path = tmp_path / "net.graphml"
    write_graphml(network, path, nodes)
    graph = networkx.read_graphml(path)
    clean = [ids[0].replace("\x07", ""), *ids[1:]]
    assert sorted(graph.nodes) == sorted(clean) and graph.nodes[clean[0]]["name"] == clean[0]
    assert graph.nodes[clean[0]]["family"] == "<globin>" and "family" not in graph.nodes[clean[1]]
    assert graph.edges[clean[0], clean[1]] == {"weight": 0.2500, "cosine": 0.25, "evalue": 1e-300} | {
        "weight": graph.edges[clean[0], clean[1]]["weight"]
    }
    read = igraph.Graph.Read_GraphML(str(path))
    assert read.vs["name"] == clean and read.vs["community"] == [1, 1, 2] and not read.is_directed()
    assert read.es["evalue"] == pytest.approx([1e-300, 2.5])


TYPES = {"int": int, "long": int, "float": float, "double": float, "boolean": bool, "string": str}


class Cytoscape(xml.sax.ContentHandler):
    """The rules by which Cytoscape 3 reads GraphML: its types; names of columns that differ by more than their case, beside
    its own; and of a text what the XML parser hands over last."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, tuple[str, str, type]] = {}
        self.columns = {kind: {"suid": int, "selected": bool, "name": str} for kind in ("node", "edge")}
        self.rows: dict[str, dict[str, object]] = {}
        self.row: dict[str, object] = {}
        self.key = ""

    def startElement(self, name: str, attrs: Any) -> None:
        self.key = attrs["key"] if name == "data" else ""
        if name == "key":
            self.keys[attrs["id"]] = (attrs["for"], attrs["attr.name"], TYPES[attrs["attr.type"]])
        elif name in ("node", "edge"):
            self.row = self.rows.setdefault(
                attrs["id"] if name == "node" else f"{attrs['source']} (-) {attrs['target']}", {}
            )

    def endElement(self, name: str) -> None:
        self.key = ""

    def characters(self, content: str) -> None:
        if self.key and content.strip():
            kind, name, made = self.keys[self.key]
            assert self.columns[kind].setdefault(name.casefold(), made) is made, f"a column {name} of another type"
            self.row[name] = made(content)


def test_cytoscape_igraph_and_networkx_read_the_same_values_and_types(tmp_path: Path) -> None:
    ids = ["a & b", "c|d/1-9", "é"]
    network = Network(
        "n", ids, np.array([[0, 1], [1, 2]]), {"cosine": np.array([0.5, np.nan]), "evalue": np.array([1e-9, 3])}
    )
    labels = {
        "Name": ["Fe-S & heme <2>", None, "x ]]> y"],
        "Selected": ["yes", "no", None],
        "Degree": np.array([0.5, 1, np.nan]),
    }
    nodes: dict[str, Any] = {"community": np.array([1, 1, 2]), "degree": network.degree}
    nodes |= dict(zip(column_names(labels, nodes), labels.values(), strict=True))
    path, again = tmp_path / "net.graphml", tmp_path / "again.graphml"
    write_graphml(network, path, nodes)
    graph = networkx.read_graphml(path)
    expected = {"name": "a & b", "community": 1, "degree": 1, "label_Name": "Fe-S & heme <2>", "label_Selected": "yes"}
    assert graph.nodes["a & b"] == {**expected, "label_Degree": 0.5}
    assert {key: type(value) for key, value in graph.nodes["a & b"].items() if key in ("degree", "label_Degree")} == {
        "degree": int,
        "label_Degree": float,
    }
    first = igraph.Graph.Read_GraphML(str(path))
    del first.vs["id"]  # which igraph adds
    first.write_graphml(str(again))
    other = igraph.Graph.Read_GraphML(str(again))
    assert other.vs["label_Name"] == ["Fe-S & heme <2>", "", "x ]]> y"] and other.vs["degree"] == [1, 2, 1]
    assert other.es["cosine"][0] == 0.5 and math.isnan(other.es["cosine"][1])
    reader = Cytoscape()
    xml.sax.parse(str(path), reader)
    assert reader.rows["a & b"] == {**expected, "label_Degree": 0.5}
    assert reader.rows["a & b (-) c|d/1-9"]["evalue"] == 1e-9
    assert [len(reader.rows[name]) for name in ids] == [6, 5, 4]
