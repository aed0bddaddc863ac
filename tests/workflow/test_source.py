"""Families of the store as the input of a command: missing trees are inferred, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import phylocli.tree
from phylocli.config.pairs import PairsConfig
from phylocli.config.parallel import ParallelConfig
from phylocli.config.tree import TreeConfig
from phylocli.executors import pieces
from phylocli.formats.family import Family
from phylocli.formats.streams import recording_inputs
from phylocli.store import Store
from phylocli.workflow import source
from phylocli.workflow.source import families


@pytest.fixture
def store(tmp_path: Path, simulate: Callable[..., Family]) -> Store:
    """Eight families, of which the second, the third and the seventh have no tree."""
    shelf = Store(tmp_path / "store")
    for number in range(8):
        family = simulate(f"PF0000{number}", 5, seed=number)
        shelf.write(replace(family, tree=None) if number in (1, 2, 6) else family, "fetch", {})
    return shelf


def inferring(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[TreeConfig]]:
    """Return the families whose trees are inferred from here on, and the configurations."""
    sent: list[str] = []
    configs: list[TreeConfig] = []
    infer_trees = phylocli.tree.infer_trees

    def noted(given: Iterable[Family]) -> Iterator[Family]:
        for family in given:
            sent.append(family.label)
            yield family

    def infer(given: Iterable[Family], config: TreeConfig) -> Iterator[Family]:
        configs.append(config)
        return infer_trees(noted(given), config.updated(jobs=1, cluster=None))

    monkeypatch.setattr(phylocli.tree, "infer_trees", infer)
    return sent, configs


@pytest.mark.parametrize("held", [1, 256])
def test_only_missing_trees_are_inferred_and_all_families_come_in_order(
    store: Store, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr(source, "HELD", held)
    sent, _ = inferring(monkeypatch)
    before = {accession: store.read(accession) for accession in store.accessions()}
    found = list(families(None, all_=True, store=store.root))
    assert sent == ["PF00001", "PF00002", "PF00006"]
    assert [family.accession for family in found] == store.accessions()
    assert all(family.has_tree for family in found)
    for family in found:
        known = before[family.accession]
        assert family.rows == known.rows
        if known.has_tree:
            assert family.require_tree().to_newick() == known.require_tree().to_newick()
    assert all(store.read(accession).has_tree for accession in store.accessions())


def test_no_worker_starts_if_no_tree_is_missing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    parallel = ParallelConfig(jobs=2)
    list(families(None, all_=True, store=store.root))
    monkeypatch.setattr(pieces, "_engine", lambda *_: pytest.fail("workers were started"))
    assert len(list(families(None, all_=True, store=store.root, parallel=parallel))) == 8


@pytest.mark.parametrize("jobs", [1, 2])
def test_provenance_of_an_inferred_tree_names_the_record_of_its_family_alone(store: Store, jobs: int) -> None:
    with recording_inputs() as read:
        list(families(None, all_=True, store=store.root, parallel=ParallelConfig(jobs=jobs)))
    assert {Path(record.name).name for record in read} == {f"PF0000{number}.sto.gz" for number in range(8)}
    for accession in ("PF00001", "PF00002", "PF00006"):
        names = [Path(str(record["name"])).name for record in store.origin(accession)["inputs"]]
        assert names == [f"{accession}.sto.gz"]


def test_workers_of_the_stage_tree_hold_unless_the_command_names_its_own(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHYLOCLI_TREE__CLUSTER", "local:3")
    monkeypatch.setenv("PHYLOCLI_TREE__JOBS", "3")
    for parallel, jobs, cluster in (
        (PairsConfig(), 3, "local:3"),
        (PairsConfig(jobs=2), 2, None),
        (PairsConfig(cluster="local:2"), 1, "local:2"),
    ):
        _, configs = inferring(monkeypatch)
        next(families(None, all_=True, store=store.root, parallel=parallel))
        list(families(None, family=["PF00001"], store=store.root, parallel=parallel))
        assert [(config.jobs, config.cluster) for config in configs] == [(jobs, cluster)]
        store.write(replace(store.read("PF00001"), tree=None), "fetch", {})
        monkeypatch.undo()
        monkeypatch.setenv("PHYLOCLI_TREE__CLUSTER", "local:3")
        monkeypatch.setenv("PHYLOCLI_TREE__JOBS", "3")
