"""Every public name as a caller uses it, for type checkers only: `make types` checks this file with mypy and pyright.

Nothing here runs. tests/test_api.py holds that no public name is missing.
"""

from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt
import polars as pl

import phylocli
from phylocli import Family, Model, Sequence, Tree
from phylocli.config.run import RunConfig

Vectors = npt.NDArray[np.float32] | npt.NDArray[np.float16]


def the_chain_in_five_lines(sequences: list[str], labels: pl.DataFrame) -> None:
    families = phylocli.read_families("families.sto")
    trees = phylocli.infer_trees(phylocli.align_families(families))
    pairs = phylocli.sample_pairs(trees, min_dist=0.5)
    table = phylocli.load_model("default").embed(sequences)
    report = phylocli.probe(table, labels)

    assert_type(families, Iterator[Family])
    assert_type(trees, Iterator[Family])
    assert_type(pairs, pl.DataFrame)
    assert_type(table, phylocli.EmbeddingTable)
    assert_type(report, phylocli.Metrics)
    assert_type(report.to_polars(), pl.DataFrame)
    assert_type(report.write_html("report.html"), None)


def families_and_trees(family: Family, tree: Tree) -> None:
    assert_type(phylocli.fetch_families(["PF00042"], store=phylocli.Store("store")), Iterator[Family])
    assert_type(phylocli.read_sequences(["a.fasta", Path("b.gb")], on_duplicate="rename"), Iterator[Sequence])
    assert_type(phylocli.write_families([family], "-"), int)
    assert_type(family.ids, list[str])
    assert_type(family.rows, SequenceOf[str])
    assert_type(family.subset(family.ids[:3]), Family)
    assert_type(family.with_tree(tree), Family)
    assert_type(Sequence("id", "MKV").unaligned(), str)
    assert_type(tree.tip_names(), list[str])
    assert_type(tree.to_newick(), str)
    assert_type(tree.prune(["a", "b"]), Tree)
    for simulated in phylocli.simulate_families(number=3):
        assert_type(simulated.family, Family)


def pairs_and_splits(family: Family, tree: Tree) -> None:
    sampler = phylocli.PairSampler(tree)
    assert_type(sampler.count(0.1, 0.5), int)
    split = phylocli.Split.of([(family, [("train", family.ids)])])
    assert_type(split.part_of(family.label, family.ids[0]), str | None)
    assert_type(split.members(family, "train"), Family | None)
    assert_type(phylocli.Split.read("split.tsv"), phylocli.Split)


def training_and_embedding(model: Model) -> None:
    assert_type(phylocli.train_model(["trees.sto"], "run", steps=10), Path)
    assert_type(phylocli.run_chain(RunConfig(families=("families.sto",)), "demo"), Path)
    assert_type(Model.load("default"), Model)
    assert_type(phylocli.join_models([model, model]), Model)
    assert_type(phylocli.load_model(Path("run/model"), device="cpu"), phylocli.Embedder)
    embedder = phylocli.Embedder(model)
    table = embedder.embed("globins.fasta")
    assert_type(len(table), int)
    assert_type(table.dimension, int)
    array: Vectors = table.numpy()
    assert_type(array.shape, tuple[Any, ...])
    assert_type(table.to_polars(), pl.DataFrame)
    assert_type(table.write("table.parquet"), None)
    assert_type(phylocli.embed_file("globins.fasta", "table.parquet", half=True), int)
    for ids, lengths, vectors in phylocli.embed_sequences([Sequence("a", "MKV")], model):
        assert_type(ids, list[str])
        assert_type(lengths, list[int])
        array = vectors


def search_and_probes() -> None:
    table = phylocli.read_embeddings("table.parquet")
    assert_type(phylocli.search(["MKV"], table, number=3), pl.DataFrame)
    assert_type(phylocli.search_file("query.fasta", "table.parquet", "hits.tsv"), int)
    assert_type(phylocli.predict_file("seqs.fasta", "3di.fasta", model="run/model", what="ss"), int)
    for prediction in phylocli.predict_residues(["MKV"], phylocli.Model.load("run/model"), "3di"):
        assert_type(prediction.states, str)
    assert_type(phylocli.make_labels("families.sto", columns=["clan"]), pl.DataFrame)
    assert_type(phylocli.write_labels(["families.sto"], "labels.tsv", ids="seqs.fasta"), pl.DataFrame)
    metrics = phylocli.run_probes([table], "labels.tsv", "report")
    assert_type(metrics, phylocli.Metrics)
    phylocli.draw_map(table, "map.html", labels="labels.tsv")
    with phylocli.serve(table, labels="labels.tsv", sequences="query.fasta", open=False) as server:
        assert_type(server, phylocli.ProteinServer)
        assert_type(server.url, str)


def homologs(family: Family) -> None:
    assert_type(phylocli.find_homologs("query.fasta", "db.fasta", engine="mmseqs"), Iterator[Family])


def errors_and_version() -> None:
    try:
        phylocli.read_families("missing.sto")
    except phylocli.PhylocliError as error:
        assert_type(error.what, str)
        assert_type(error.fix, str | None)
    assert_type(phylocli.__version__, str)


def inspection(family: Family, tree: Tree, table: phylocli.EmbeddingTable) -> None:
    assert_type(phylocli.file_stats(["a.fasta", Path("model")]), pl.DataFrame)
    assert_type(phylocli.compare_trees(tree, "b.nwk", quartets=100), pl.DataFrame)
    assert_type(phylocli.cluster_embeddings(table, min_cosine=0.8), pl.DataFrame)
    assert_type(phylocli.smooth_embeddings(table, neighbours=5), phylocli.EmbeddingTable)
    assert_type(phylocli.build_network(table, number=5).edges(), pl.DataFrame)
    assert_type(phylocli.write_network(phylocli.build_network(table), "network.graphml"), None)
    assert_type(phylocli.distances([family], metric="patristic"), Iterator[phylocli.DistanceMatrix])
    assert_type(phylocli.DistanceMatrix("PF1", ["a"], np.zeros((1, 1)), "cosine").to_polars(), pl.DataFrame)
