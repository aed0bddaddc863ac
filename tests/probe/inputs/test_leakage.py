"""Detection of near-duplicates between training and test sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from phylocli.config.probe import IdentityClusters, ProbeConfig
from phylocli.core.errors import UsageError
from phylocli.probe import Embedding, probe
from phylocli.probe.inputs import leakage
from phylocli.probe.inputs.leakage import find_leakage
from phylocli.statistics import shared_kmers
from phylocli.statistics.shared_kmers import identity_clusters, nearest_identity

LETTERS = list("ACDEFGHIKLMNPQRSTVWY")


def random_sequence(rng: np.random.Generator, length: int = 250) -> str:
    return "".join(rng.choice(LETTERS, length))


def mutated(sequence: str, identity: float, rng: np.random.Generator) -> str:
    changed = list(sequence)
    for i in rng.choice(len(sequence), round(len(sequence) * (1 - identity)), replace=False):
        changed[i] = rng.choice([c for c in LETTERS if c != changed[i]])
    return "".join(changed)


@pytest.mark.parametrize("identity", [0.95, 0.85, 0.7])
def test_the_estimate_is_near_the_identity_that_was_made(identity: float) -> None:
    rng = np.random.default_rng(0)
    training = [random_sequence(rng) for _ in range(40)]
    scored = [mutated(s, identity, rng) for s in training]
    assert nearest_identity(scored, training).mean() == pytest.approx(identity, abs=0.04)


def test_copies_fragments_and_unrelated_sequences() -> None:
    rng = np.random.default_rng(1)
    training = [random_sequence(rng) for _ in range(30)]
    found = nearest_identity([training[3], training[5][40:120], random_sequence(rng), "MK", "XXXXXXXX"], training)
    assert found[:2].tolist() == [1, 1] and found[2] < 0.45 and found[3:].tolist() == [0, 0]


def test_result_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    training = [random_sequence(rng, 60) for _ in range(20)]
    scored = [mutated(s, 0.8, rng) for s in training]
    whole = nearest_identity(scored, training)
    monkeypatch.setattr(shared_kmers, "_BLOCK", 3)
    assert (nearest_identity(scored, training) == whole).all()


def test_for_many_similar_sequences_a_subset_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    letters = random_sequence(np.random.default_rng(5), 60)
    variants = [letters[:i] + "A" + letters[i + 1 :] for i in range(60)]
    assert find_leakage(variants, [letters]).compared == 60
    monkeypatch.setattr(leakage, "MAX_SHARED", 500)  # each shares some 51 5-mers with the only other
    monkeypatch.setattr(leakage, "MIN_COMPARED", 3)
    leak = find_leakage(variants, [letters])
    assert 8 <= leak.compared <= 11 and leak.scored == 60 and leak.near_duplicates == leak.compared
    assert leak == find_leakage(variants, [letters]) and leak.related == 1


def test_counts() -> None:
    rng = np.random.default_rng(3)
    training = [random_sequence(rng) for _ in range(10)]
    leak = find_leakage([*training[:3], *(random_sequence(rng) for _ in range(7))], training)
    assert (leak.near_duplicates, leak.scored, leak.training) == (3, 10, 10) and leak.related == pytest.approx(0.3)


def test_a_leaking_split_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(4)
    training = [random_sequence(rng, 80) for _ in range(40)]
    frame = pl.DataFrame({
        "id": [f"s{i}" for i in range(80)],
        "family": [f"f{i % 4}" for i in range(80)],
        "sequence": training + training,
        "split": ["train"] * 40 + ["test"] * 40,
    })  # fmt: skip
    table = Embedding("e", frame["id"].to_list(), rng.normal(size=(80, 4)).astype(np.float32))
    metrics = probe(table, frame, tasks="classification", replicates=100, projection="none")
    assert metrics.leakage is not None and metrics.leakage.near_duplicates == 40
    assert "40 of 40 scored sequences are near-duplicates" in capsys.readouterr().err


def test_clusters_hold_near_relatives_and_fragments_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(6):
        parent = random_sequence(rng, 150)
        sequences += [parent, mutated(parent, 0.9, rng), parent[40:90]]
    codes = identity_clusters(sequences, 0.6)
    assert codes.tolist() == np.repeat(np.arange(6), 3).tolist()
    assert len(set(identity_clusters(sequences[::3], 0.6))) == 6


def test_folds_can_keep_near_relatives_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["id\tkind\tsequence\n"]
    ids = []
    for group in range(20):
        parent = random_sequence(rng, 80)
        for member in range(3):
            ids.append(f"g{group}m{member}")
            rows.append(f"{ids[-1]}\tk{group % 2}\t{parent[: 80 - member]}\n")
    labels = tmp_path / "labels.tsv"
    labels.write_text("".join(rows))
    # Vectors that only tell the group: right answers come from copies in other folds, and end when these are kept together.
    table = Embedding("group", ids, np.repeat(np.eye(20), 3, axis=0).astype(np.float32))
    options = {"tasks": ["classification"], "baselines": ["none"], "replicates": 100, "projection": "none"}
    found = []
    for name in (None, IdentityClusters(0.6)):
        metrics = probe(table, labels, split_by=name, **options).to_polars()
        found.append(metrics.filter(pl.col("metric") == "accuracy", pl.col("embedding") == "group")["value"][0])
    assert found[0] > 0.9 and found[1] < 0.7


@pytest.mark.parametrize(
    ("name", "message"), [("identity=0.1", "0.1 is out of range"), ("identity=x", "not an identity threshold")]
)
def test_thresholds_that_cannot_be_estimated_are_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ProbeConfig(split_by=name)
