"""Hard negatives meet in batches, and no clan-mate is ever contrasted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from phylocli.config.train import TrainConfig
from phylocli.core.errors import BadInputError
from phylocli.formats import write_families
from phylocli.formats.family import Family
from phylocli.objectives import Batch
from phylocli.train import train_model
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.data.hard_negatives import HardNegatives
from phylocli.train.data.loading import load_corpus


def ring(n: int) -> list[np.ndarray]:
    """Families in a ring: each has the next two as its hard negatives."""
    return [np.array([(k + 1) % n, (k + 2) % n]) for k in range(n)]


def test_half_of_a_batch_is_hard_negatives_of_the_other_half() -> None:
    hard = HardNegatives(ring(200), 0.5)
    rng = np.random.default_rng(0)
    for _ in range(50):
        chosen = rng.permutation(200)[:16]
        batch = hard.arrange(chosen, rng)
        assert len(batch) == 16 and len(set(batch[:8])) == 8
        assert set(batch[:8]) <= set(chosen)
        for anchor in batch[:8]:
            assert {(anchor + 1) % 200, (anchor + 2) % 200} & set(batch)
        assert all({(b - 1) % 200, (b - 2) % 200} & set(batch) for b in batch[8:])


def test_families_without_hard_negatives_keep_their_batches() -> None:
    none = HardNegatives([np.array([], dtype=np.int64)] * 20, 0.5)
    chosen = np.arange(8)
    assert none.arrange(chosen, np.random.default_rng(0)).tolist() == chosen.tolist()
    one = HardNegatives([np.array([9]), *[np.array([], dtype=np.int64)] * 19], 0.5)
    batch = one.arrange(chosen, np.random.default_rng(1)).tolist()
    assert len(batch) == 8 and (0 not in batch[:4] or 9 in batch)
    assert HardNegatives(ring(20), 0.0).arrange(chosen, np.random.default_rng(0)).tolist() != []


def test_every_family_still_has_its_turn() -> None:
    hard = HardNegatives(ring(40), 0.5)
    seen = np.zeros(40)
    for step in range(400):
        order = np.random.default_rng([7, step]).permutation(40)[:8]
        np.add.at(seen, hard.arrange(order, np.random.default_rng(step)), 1)
    assert seen == pytest.approx(np.full(40, 80), rel=0.35)


@pytest.fixture
def data(simulate: Callable[..., Family], tmp_path: Path) -> tuple[Path, Path]:
    """Twenty-four families, the first four of one clan; a table that also names clan-mates and unrelated families."""
    families, table = tmp_path / "families.sto", tmp_path / "negatives.tsv"
    write_families([simulate(f"PF{k:05d}", 8, clan="CL0001" if k < 4 else "") for k in range(24)], families)
    rows = [(f"PF{k:05d}", f"PF{(k + 4) % 24:05d}") for k in range(24)] + [("PF00000", "PF00001"), ("PF00000", "PF77777")]
    table.write_text("family\tnegative\n" + "".join(f"{a}\t{b}\n" for a, b in rows))
    return families, table


def corpus_of(families: Path, table: Path | str) -> Corpus:
    values = {"view": {"name": "phylogenetic"}, "batch": {"pairs": 6, "hard_negatives": str(table)}}
    return load_corpus([families], TrainConfig.of(None, values))


def test_a_run_meets_its_hard_negatives_and_never_contrasts_a_clan(data: tuple[Path, Path], capsys) -> None:
    corpus, plain = corpus_of(*data), corpus_of(data[0], "")
    assert "two families of the same clan" in capsys.readouterr().err
    assert corpus.hard is not None and corpus.hard.neighbours[0].tolist() == [4]
    met = {True: 0, False: 0}
    for step in range(60):
        batch = corpus.batch(step)
        again = corpus.batch(step)
        assert batch.family.tolist() == again.family.tolist()
        mask = Batch.of_families(torch.from_numpy(batch.family), torch.from_numpy(batch.clan)).negatives().numpy()
        for source, kind in ((corpus, True), (plain, False)):
            members = set(source.batch(step).family.tolist())
            met[kind] += sum((k + 4) % 24 in members for k in members)
        clan = batch.family < 4
        assert not mask[np.ix_(clan, clan)].any()
        hard = (batch.family[:, None] + 4) % 24 == batch.family[None]
        homologs = clan[:, None] & clan[None]
        assert mask[hard & ~homologs].all()
    assert met[True] >= 60 * 3 > 1.3 * met[False]  # each of the three that bring one meets it


def test_training_takes_the_table(data: tuple[Path, Path], tmp_path: Path) -> None:
    settings = {
        "encoder.preset": "tiny",
        "batch.pairs": 6,
        "batch.hard_negatives": str(data[1]),
        "view.name": "phylogenetic",
        "precision": "fp32",
    }
    folder = train_model([data[0]], tmp_path / "run", steps=2, settings=settings)
    assert (folder / "config.json").is_file()
    assert str(data[1]) in (tmp_path / "run" / "provenance.json").read_text()


def test_a_table_of_other_families_is_refused(data: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.tsv"
    other.write_text("family\tnegative\nPF1\tPF2\n")
    with pytest.raises(BadInputError, match="no hard negatives"):
        corpus_of(data[0], other)
    other.write_text("family\tscore\nPF1\t2\n")
    with pytest.raises(BadInputError, match="negative"):
        corpus_of(data[0], other)
