"""The default model of the package: complete, consistent with its model card, and better than random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from phylocli import models
from phylocli.checkpoints import store
from phylocli.embed import Embedder, embed_file, untrained
from phylocli.formats import read_families

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def only_the_packages_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(store.VARIABLE, raising=False)


def test_default_model_is_small_and_matches_its_card() -> None:
    entry = next(e for e in models.available() if e.name == models.DEFAULT)
    assert entry.bytes < 25e6
    model, card = models.load(), models.card()
    assert f"`{model.fingerprint}`" in card
    assert f"{model.dimension:,} features" in card and f"{model.size:,} trained parameters" in card and entry.summary
    assert f"{entry.parameters:,} in all" in card
    assert (entry.trained, entry.features) == (model.size, model.dimension)
    assert model.whitening is not None and model.kernel is not None


def test_default_model_separates_families_better_than_random_weights() -> None:
    members = [
        (row.replace("-", "").upper(), k)
        for k, f in enumerate(read_families(EXAMPLES / "families.sto"))
        for row in f.rows[::4]
    ]
    family = np.array([k for _, k in members])
    sequences = [s.replace(".", "") for s, _ in members]

    def nearest_is_kin(embedder: Embedder) -> float:
        x = embedder.pooled(sequences)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        similarity = x @ x.T
        np.fill_diagonal(similarity, -2)
        return float((family[similarity.argmax(1)] == family).mean())

    model = models.load()
    trained, random = nearest_is_kin(Embedder(model)), nearest_is_kin(Embedder(untrained(model)))
    assert trained > 0.9
    assert trained > random + 0.1


def test_embedding_needs_no_model_to_be_named(tmp_path: Path) -> None:
    embed_file(EXAMPLES / "globins.fasta", tmp_path / "emb.parquet")
    table = pl.read_parquet(tmp_path / "emb.parquet")
    assert table.height == 45
    assert np.isfinite(table["embedding"].to_numpy()).all()
