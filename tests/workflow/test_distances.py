"""Matrices of distances: right values of each metric, and files that other programs read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import Family
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.newick import NewickTree
from phylocli.workflow.distances import distances, write_distances

ROWS = ["MKVLAGIVAGDE", "MKVLAGIVSGDE", "MRVLSGIVSGDD"]
TREE = "((a:1,b:2):0.5,c:4);"


def family(**more: object) -> Family:
    return Family(["a", "b", "c"], ROWS, accession="PF1", **more)  # type: ignore[arg-type]


def test_patristic_distances_are_path_lengths() -> None:
    (found,) = distances([family(tree=NewickTree(TREE))])
    assert found.metric == "patristic"
    assert found.values.tolist() == [[0, 3, 5.5], [3, 0, 6.5], [5.5, 6.5, 0]]


def test_newick_trees_have_patristic_distances(tmp_path: Path) -> None:
    (tmp_path / "x.nwk").write_text("((a:1,b:2):0.5,c:4);\n(a:1,c:2);\n")
    first, second = distances(tmp_path / "x.nwk")
    assert (first.name, first.ids, first.metric) == ("x", ["a", "b", "c"], "patristic")
    assert first.values.tolist() == [[0, 3, 5.5], [3, 0, 6.5], [5.5, 6.5, 0]]
    assert (second.name, second.values.tolist()) == ("x_2", [[0, 3], [3, 0]])
    with pytest.raises(UsageError, match="a tree has no evolutionary distances"):
        list(distances(tmp_path / "x.nwk", metric="evolutionary"))
    for text, said in (("((a,b),c);", "has no branch lengths"), ("(a:1,a:1);", "'a'|a tip occurs twice")):
        (tmp_path / "x.nwk").write_text(text)
        with pytest.raises(BadInputError, match=said):
            list(distances(tmp_path / "x.nwk"))


def test_evolutionary_distances_are_those_of_the_model() -> None:
    (p,) = distances([family(tree=NewickTree(TREE))], metric="evolutionary", model="p")
    np.testing.assert_allclose(p.values * 12, [[0, 1, 4], [1, 0, 3], [4, 3, 0]])
    (lg,) = distances([family()])
    assert lg.metric == "evolutionary" and (lg.values >= p.values).all()
    with pytest.raises(BadInputError, match="is not aligned"):
        list(distances([Family(["a", "b"], ["MKV", "MK"], aligned=False)]))


def test_cosine_distances_are_one_minus_cosine() -> None:
    vectors = np.array([[1, 0], [0, 2], [3, 3]], dtype=np.float32)
    (found,) = distances(EmbeddingTable("t", ["a", "b", "c"], 2, vectors=vectors))
    half = 1 - np.sqrt(0.5)
    np.testing.assert_allclose(found.values, [[0, 1, half], [1, 0, half], [half, half, 0]], atol=1e-6)
    with pytest.raises(UsageError, match="no patristic distance"):
        list(distances(EmbeddingTable("t", ["a", "b", "c"], 2, vectors=vectors), metric="patristic"))


def test_phylip_is_what_biopython_and_scikit_bio_read_as_the_same_matrix(tmp_path: Path) -> None:
    from skbio import DistanceMatrix

    (found,) = distances([family(tree=NewickTree(TREE))])
    assert write_distances([found], tmp_path / "d.phy") == 1
    first, *rows = (tmp_path / "d.phy").read_text().splitlines()
    assert first == "3" and [row.split()[0] for row in rows] == ["a", "b", "c"]
    np.testing.assert_allclose([[float(x) for x in row.split()[1:]] for row in rows], found.values)
    write_distances([found], tmp_path / "d.tsv")
    text = (tmp_path / "d.tsv").read_text().removeprefix("id")
    assert DistanceMatrix.read(io.StringIO(text), format="lsmat")["a", "c"] == 5.5


def test_tables_hold_the_pairs_of_any_number_of_families_and_matrices_of_one(tmp_path: Path) -> None:
    matrices = list(
        distances([family(tree=NewickTree(TREE)), Family(["x", "y"], ["MK", "ML"], tree=NewickTree("(x:1,y:1);"))])
    )
    write_distances(matrices, tmp_path / "d.parquet")
    assert pl.read_parquet(tmp_path / "d.parquet")["distance"].to_list() == [3, 5.5, 6.5, 2]
    with pytest.raises(UsageError, match="several families"):
        write_distances(matrices, tmp_path / "d.tsv")
    assert not (tmp_path / "d.tsv").exists()


def test_pairs_without_common_columns_have_no_distance(tmp_path: Path) -> None:
    apart = Family(["a", "b"], ["MKVLAGIVAGDE" + "-" * 12, "-" * 12 + "MKVLAGIVAGDE"])
    (found,) = distances([apart], columns="all")
    assert np.isnan(found.values[0, 1])
    write_distances([found], tmp_path / "d.tsv")
    assert "\tNA\n" in (tmp_path / "d.tsv").read_text()
    with pytest.raises(BadInputError, match="PHYLIP cannot represent"):
        write_distances([found], tmp_path / "d.phy")
