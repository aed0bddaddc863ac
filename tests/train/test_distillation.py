"""Distillation in training: what a crop is compared with, the cache of a teacher, tables, losses, and the model."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import small_run
import torch

from phylocli.config.assignments import nested
from phylocli.config.train import TrainConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.embed import Embedder, embed_file
from phylocli.encoders import pad_batch
from phylocli.formats import read_families, read_sequences
from phylocli.models.model import Model
from phylocli.train import checkpoints, train_model
from phylocli.train.data import arrays
from phylocli.train.data.arrays import checksum
from phylocli.train.data.loading import load_corpus
from phylocli.train.data.teachers import VECTOR, cache
from phylocli.train.data.teachers import targets as teacher_targets
from phylocli.train.data.teachers.targets import TeacherTargets
from phylocli.train.data.types import PairBatch
from phylocli.train.task import ContrastiveTask

pytestmark = pytest.mark.usefixtures("one_thread")

WEIGHTS = {"distillation.weights.crd": 1.0, "distillation.weights.similarity-distillation": 0.5}
RESIDUES = {"distillation.residues": 0.5, "distillation.heads.3di": 0.25, "distillation.sequences": 6}


@pytest.fixture(scope="module")
def families(simulated_file: Callable[..., Path]) -> Path:
    return simulated_file(6, members=12, length=90)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights, wider than the student, with a whitening and a head."""
    heads, wide = {"3di": {"hidden": 8, "kernel": 3}}, {"features": 96}
    model = Model.create(
        preset="tiny", parameters={"width": 48}, pooling="feature-mean", pooling_parameters=wide, seed=7, heads=heads
    )
    vectors = torch.randn(400, 96, generator=torch.Generator().manual_seed(0))
    model.whiten(vectors, torch.arange(400) % 40, 0.5, 0.001)
    return model.save(tmp_path_factory.mktemp("teacher") / "teacher")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A cache of its own."""
    return tmp_path / "cache"


def config(teacher: Path | str, **changes: Any) -> TrainConfig:
    settings = {**small_run.SMALL, **WEIGHTS, "view.crop.min_fraction": 0.3, **changes}
    return TrainConfig.of(None, {"recipe": "simclr", "teachers": (str(teacher),), **nested(settings)})


def drawn(families: Path, made: TrainConfig, kept: Path, step: int = 0) -> tuple[PairBatch, TeacherTargets]:
    corpus = load_corpus([families], made, cache=kept)
    assert corpus.teachers is not None
    return corpus.batch(step), corpus.teachers


def whole_of(families: Path, pairs: PairBatch) -> list[tuple[np.ndarray, int]]:
    """Return the member of which each view is a part, and the start of the part."""
    members = [tokens for family in read_families(families) for tokens in family.encoded()]
    found = []
    for view in pairs.a + pairs.b:
        text = view.tobytes()
        found.append(next((m, m.tobytes().find(text)) for m in members if text in m.tobytes()))
    return found


def standardised(targets: TeacherTargets, vectors: np.ndarray) -> np.ndarray:
    mean, scale = targets._standards[0][VECTOR]
    return (vectors - mean) / scale


def agree(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether the rows are equal as far as float16 goes: those of a random teacher share a mean of many times their
    spread."""
    return bool(np.linalg.norm(one - other, axis=1).max() < 0.03 * np.linalg.norm(other, axis=1).min())


# --- What a crop is compared with


def test_a_crop_has_the_mean_of_what_the_teacher_reads_in_the_context_of_the_whole(
    families: Path, teacher: Path, kept: Path
) -> None:
    pairs, targets = drawn(families, config(teacher, **{"distillation.block": 1}), kept)
    model = Model.load(teacher)
    expected = []
    for (member, start), view in zip(whole_of(families, pairs), pairs.a + pairs.b, strict=True):
        with torch.no_grad():
            residues = model.residues(*pad_batch([member]))[:, start : start + len(view)]
            expected.append(model.pool(residues, torch.ones(residues.shape[:2], dtype=torch.bool))[0].numpy())
    assert any(
        len(member) > len(view) for (member, _), view in zip(whole_of(families, pairs), pairs.a + pairs.b, strict=True)
    )
    assert pairs.taught is not None
    assert agree(pairs.taught.vectors[0], standardised(targets, np.stack(expected)))


def test_blocks_are_weighted_by_their_residues_in_the_crop(families: Path, teacher: Path, kept: Path) -> None:
    fine, _ = drawn(families, config(teacher, **{"distillation.block": 1}), kept)
    pairs, targets = drawn(families, config(teacher, **{"distillation.block": 16}), kept)
    assert pairs.taught is not None and fine.taught is not None
    one, other = pairs.taught.vectors[0], fine.taught.vectors[0]
    cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert cosine.mean() > 0.9 and not np.allclose(one, other, atol=1e-2)
    # The part from the middle of a block to the middle of the next one but two.
    member = 5
    blocks = targets.stored[0].read(member, VECTOR, 0, 4)
    tokens = targets.compiled.family(0).tokens[member]
    found = targets.batch([0], [tokens[4:56]], 0).vectors[0][0]
    expected = (12 * blocks[0] + 16 * blocks[1] + 16 * blocks[2] + 8 * blocks[3]) / 52
    assert agree(found[None], standardised(targets, expected)[None])


def test_the_vectors_of_the_blocks_average_to_that_of_the_whole(families: Path, teacher: Path, kept: Path) -> None:
    _, targets = drawn(families, config(teacher, **{"distillation.block": 16}), kept)
    tokens = targets.compiled.family(2).tokens[3]
    sequence = {s.id: s.residues for s in read_sequences(families)}[targets.compiled.family(2).ids[3]]
    expected = Embedder(Model.load(teacher)).pooled([sequence])[0]
    assert agree(targets.batch([2], [tokens], 0).vectors[0], standardised(targets, expected)[None])


def test_a_pooling_that_is_no_average_gives_the_vector_of_the_whole(families: Path, tmp_path: Path, kept: Path) -> None:
    folder = Model.create("convolutional", preset="tiny", pooling="max", seed=3).save(tmp_path / "max")
    pairs, targets = drawn(families, config(folder), kept)
    texts = ["".join("ACDEFGHIKLMNPQRSTVWYX"[t - 4] for t in member) for member, _ in whole_of(families, pairs)]
    assert pairs.taught is not None
    expected = standardised(targets, Embedder(Model.load(folder)).pooled(texts))
    assert agree(pairs.taught.vectors[0], expected)


def test_partners_of_other_families_of_the_clan_have_their_own_vectors(
    simulated_file: Callable[..., Path], teacher: Path, kept: Path
) -> None:
    path = simulated_file(4, members=8, in_clan=3)
    pairs, _ = drawn(path, config(teacher, **{"batch.cross_family_fraction": 1.0}), kept)  # found in the other family
    assert pairs.taught is not None and np.isfinite(pairs.taught.vectors[0]).all()
    assert np.isnan(pairs.distance).any()


# --- The cache


def test_a_second_run_reads_the_cache_and_other_families_add_what_is_missing(
    families: Path, simulated_file: Callable[..., Path], teacher: Path, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first, _ = drawn(families, config(teacher), kept)
    assert "embedding 72 sequences once" in caplog.text
    caplog.clear()
    corpus = load_corpus([families], config(teacher), cache=kept)
    again = pickle.loads(pickle.dumps(corpus)).batch(0)  # as processes that prepare batches receive it
    assert "using the embeddings" in caplog.text and "once" not in caplog.text
    assert first.taught is not None and again.taught is not None
    assert np.array_equal(first.taught.vectors[0], again.taught.vectors[0])
    caplog.clear()
    load_corpus([families, simulated_file_named(simulated_file)], config(teacher), cache=kept)
    assert "embedding 20 sequences once" in caplog.text


def simulated_file_named(simulated_file: Callable[..., Path]) -> Path:
    """Return a file of two families with other accessions."""
    path = simulated_file(2, members=10, length=70)
    path.write_text(path.read_text().replace("PF0000", "PG0000"))
    return path


def test_an_interrupted_or_damaged_cache_is_completed(
    families: Path, teacher: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache, "AT_ONCE", 700)
    monkeypatch.setattr(cache, "PART_RESIDUES", 1400)
    first, _ = drawn(families, config(teacher), kept)
    (folder,) = (kept / "teachers").iterdir()
    parts = sorted(folder.glob("part-*"))
    assert len(parts) > 2
    shutil.rmtree(parts[-1])
    values = parts[0] / "vector.bin"
    values.write_bytes(bytes([values.read_bytes()[0] ^ 1]) + values.read_bytes()[1:])
    caplog.set_level(logging.INFO)
    caplog.clear()
    again, _ = drawn(families, config(teacher), kept)
    assert "is damaged" in caplog.text and "embedding 72" not in caplog.text and "once" in caplog.text
    assert first.taught is not None and again.taught is not None
    assert agree(first.taught.vectors[0], again.taught.vectors[0])
    assert parts[0].is_dir() and parts[1].is_dir()  # a run that has opened the damaged one goes on
    caplog.clear()
    drawn(families, config(teacher), kept)
    assert "using the embeddings" in caplog.text and "is damaged" not in caplog.text
    for mark in folder.glob("part-*/damaged"):
        os.utime(mark, (0, 0))
    drawn(families, config(teacher), kept)
    assert not parts[0].exists()


def test_the_checksums_of_parts_that_are_used_are_computed_once(
    families: Path, simulated_file: Callable[..., Path], teacher: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn(families, config(teacher), kept)
    other = simulated_file_named(simulated_file)
    load_corpus([other], config(teacher), cache=kept)
    (folder,) = (kept / "teachers").iterdir()
    one, two = sorted(folder.glob("part-*"))
    computed: list[Path] = []

    def counted(path: Path) -> int:
        computed.append(path.parent)
        return checksum(path)

    monkeypatch.setattr(arrays, "checksum", counted)

    def checked() -> set[Path]:
        computed.clear()
        load_corpus([other], config(teacher), cache=kept)
        return {path for path in computed if path.parent == folder}

    assert checked() == set()  # just written
    for part in (one, two):
        os.utime(part / "checked", (0, 0))  # long ago
    assert checked() == {two}
    assert checked() == set()


def test_tokens_of_families_are_kept_up_to_a_number_of_bytes(
    families: Path, teacher: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, found = drawn(families, config(teacher), kept)
    sizes = [len(text) + ends.nbytes for text, ends in map(found._text, range(6))]
    assert found._kept_bytes == sum(sizes)
    monkeypatch.setattr(teacher_targets, "KEPT_BYTES", sum(sizes[-2:]))
    again, bounded = drawn(families, config(teacher), kept)
    for family in range(6):
        bounded._text(family)
    assert list(bounded._kept) == [4, 5] and bounded._kept_bytes == sum(sizes[-2:])
    assert first.taught is not None and again.taught is not None
    assert np.array_equal(first.taught.vectors[0], again.taught.vectors[0])


def test_without_a_cache_nothing_is_left(families: Path, teacher: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    corpus = load_corpus([families], config(teacher), cache=False)
    assert list(tmp_path.glob("phylocli-teachers-*"))
    del corpus
    assert not list(tmp_path.glob("phylocli-teachers-*"))

    def interrupted(*_: Any) -> None:
        assert list(tmp_path.glob("phylocli-teachers-*"))
        raise KeyboardInterrupt

    monkeypatch.setattr(cache, "_compute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_corpus([families], config(teacher), cache=False)
    assert not list(tmp_path.glob("phylocli-teachers-*"))


# --- Tables


@pytest.fixture(scope="module")
def tables(families: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tables")
    embed_file(families, folder / "emb.parquet", model=teacher)
    embed_file(families, folder / "residues.parquet", model=teacher, per_residue=True)
    return {"emb": folder / "emb.parquet", "residues": folder / "residues.parquet"}


def test_a_table_gives_the_vectors_of_whole_sequences(
    families: Path, teacher: Path, tables: dict[str, Path], kept: Path
) -> None:
    one, _ = drawn(families, config(tables["emb"]), kept)
    two, _ = drawn(families, config(teacher, **{"distillation.target": "whole"}), kept)
    assert one.taught is not None and two.taught is not None
    assert agree(one.taught.vectors[0], two.taught.vectors[0])


def test_a_table_of_residues_gives_crops_and_residues(families: Path, tables: dict[str, Path], kept: Path) -> None:
    made = config(tables["residues"], **{"distillation.block": 4, "distillation.residues": 1.0})
    pairs, targets = drawn(families, made, kept)
    assert pairs.taught is not None
    vectors = pl.read_parquet(tables["residues"]).sort("id", "position")
    ids = {tokens.tobytes(): name for f in read_families(families) for name, tokens in zip(f.ids, f.encoded(), strict=True)}
    mean, scale = targets._standards[0]["residues"]
    views = pairs.a + pairs.b
    for k, rows in zip(pairs.taught.sequences.tolist(), pairs.taught.residues[0], strict=True):
        member, start = whole_of(families, pairs)[k]
        own = vectors.filter(pl.col("id") == ids[member.tobytes()])["embedding"].to_numpy()
        assert np.allclose(rows["residues"], (own[start : start + len(views[k])] - mean) / scale, atol=5e-3)


def test_a_table_that_lacks_sequences_is_refused_with_their_number_and_names(
    families: Path, tables: dict[str, Path], kept: Path, tmp_path: Path
) -> None:
    frame = pl.read_parquet(tables["emb"])
    lacking = frame["id"].to_list()[3:10]
    frame.filter(~pl.col("id").is_in(lacking)).write_parquet(tmp_path / "few.parquet")
    with pytest.raises(BadInputError) as caught:
        drawn(families, config(tmp_path / "few.parquet"), kept)
    text = str(caught.value)
    assert "lacks 7 of the 72 sequences" in text and lacking[0] in text and "…" in text
    assert caught.value.fix is not None and "phylocli embed" in caught.value.fix
    assert not list((kept / "teachers").glob("*/part-*"))


def test_equal_sequences_of_a_pairs_table_need_one_id_in_the_table(kept: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACDEFGHIKL"), 40)) for _ in range(5)]
    rows = [
        ("F1", "a", "b", texts[0], texts[1]),
        ("F2", "c", "d", texts[2], texts[3]),
        ("F3", "twin", "e", texts[0], texts[4]),
    ]
    frame = pl.DataFrame(rows, schema=["family", "id_a", "id_b", "seq_a", "seq_b"], orient="row")
    frame.with_columns(distance=pl.lit(0.5)).write_csv(tmp_path / "pairs.tsv", separator="\t")
    vectors = rng.standard_normal((5, 8)).astype(np.float32)
    pl.DataFrame({"id": list("abcde"), "embedding": vectors}).write_parquet(tmp_path / "emb.parquet")
    pairs, targets = drawn(tmp_path / "pairs.tsv", config(tmp_path / "emb.parquet", **{"validation.fraction": 0.0}), kept)
    assert pairs.taught is not None
    for view, found in zip(pairs.a + pairs.b, pairs.taught.vectors[0], strict=True):
        letters = "".join("ACDEFGHIKLMNPQRSTVWYX"[token - 4] for token in view)
        own = next(k for k, text in enumerate(texts) if letters in text)
        assert np.allclose(found, standardised(targets, vectors[own]), atol=2e-3)


def test_residues_of_other_sequences_are_refused(
    families: Path, tables: dict[str, Path], kept: Path, tmp_path: Path
) -> None:
    frame = pl.read_parquet(tables["residues"])
    frame.filter(pl.col("position") > 1).write_parquet(tmp_path / "short.parquet")
    with pytest.raises(BadInputError, match="89 residues, and 90 in the families"):
        drawn(families, config(tmp_path / "short.parquet"), kept)


def test_a_table_without_embeddings_is_refused(families: Path, tables: dict[str, Path], kept: Path, tmp_path: Path) -> None:
    pl.read_parquet(tables["emb"]).select("id").write_parquet(tmp_path / "ids.parquet")
    with pytest.raises(BadInputError):
        drawn(families, config(tmp_path / "ids.parquet"), kept)


# --- What cannot be distilled


def test_a_teacher_of_another_alphabet_is_refused(families: Path, tmp_path: Path, kept: Path) -> None:
    folder = Model.create("convolutional", preset="tiny", alphabet="dna").save(tmp_path / "dna")
    with pytest.raises(UsageError, match="reads dna, and the run trains on protein"):
        drawn(families, config(folder), kept)


def test_a_head_that_no_teacher_has_is_refused(families: Path, tables: dict[str, Path], teacher: Path, kept: Path) -> None:
    with pytest.raises(UsageError, match="no teacher has head 'ss3'"):
        drawn(families, config(teacher, **{"distillation.heads.ss3": 1.0}), kept)
    with pytest.raises(UsageError, match="no teacher has residue vectors"):
        drawn(families, config(tables["emb"], **{"distillation.residues": 1.0}), kept)


@pytest.mark.parametrize("view", ["phylogenetic+crop+substitution", "phylogenetic+masking"])
def test_views_that_alter_residues_are_refused(families: Path, teacher: Path, kept: Path, view: str) -> None:
    settings = {"view.name": view, "view.crop": {}} if "crop" in view else {"view": {"name": view}}
    made = TrainConfig.of(None, {"recipe": "simclr", "teachers": (str(teacher),), **nested({**small_run.SMALL, **settings})})
    with pytest.raises(UsageError, match="not part of a member"):
        drawn(families, made, kept)


def test_objectives_that_need_more_or_less_than_two_vectors_are_refused(teacher: Path) -> None:
    with pytest.raises(UsageError, match="more than two vectors"):
        ContrastiveTask(config(teacher, **{"distillation.weights.moco": 1.0}))
    with pytest.raises(UsageError, match="embeds no sequences as a whole"):
        ContrastiveTask(config(teacher).updated(objective={"name": "cpc"}))
    with pytest.raises(UsageError, match="nosuch"):
        train_model(["x.sto"], "run", config(teacher, **{"distillation.weights.nosuch": 1.0}))


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [
        ("distil", {}),
        ("simclr", {"distillation.weights.crd": 1.0}),
        ("simclr", {"distillation.residues": 1.0}),
        ("simclr", {"distillation.heads.3di": 1.0}),
        ("simclr", {"distillation.contrast": 0.0}),
    ],
)
def test_distillation_without_a_teacher_is_refused_before_anything_is_written(
    recipe: str, settings: dict[str, Any], families: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="needs a teacher") as refused:
        train_model([families], tmp_path / "run", recipe=recipe, steps=1, device="cpu", settings=settings)
    assert "--teacher" in str(refused.value.fix) and not (tmp_path / "run").exists()


def test_the_recipe_distil_without_its_losses_is_contrast_and_needs_no_teacher(families: Path, tmp_path: Path) -> None:
    off = {"distillation.weights.crd": 0.0, "distillation.weights.similarity-distillation": 0.0}
    settings = {**small_run.UNVALIDATED, "batch.pairs": 12, **off}
    train_model([families], tmp_path / "run", recipe="distil", steps=1, device="cpu", settings=settings)
    assert (tmp_path / "run" / "model").is_dir()


# --- The losses


def test_the_loss_is_the_weighted_sum_and_each_part_is_what_it_says(families: Path, teacher: Path, kept: Path) -> None:
    made = config(teacher, **RESIDUES, **{"distillation.weights.embedding-regression": 2.0, "distillation.contrast": 0.5})
    task = ContrastiveTask(made)
    pairs, targets = drawn(families, made, kept)
    terms = task(pairs)
    parts = {
        "contrastive_loss": 0.5, "crd_loss": 1.0, "similarity-distillation_loss": 0.5, "embedding-regression_loss": 2.0,
        "residues_loss": 0.5, "teacher_3di_loss": 0.25,
    }  # fmt: skip
    assert terms["loss"].item() == pytest.approx(sum(w * terms[name].item() for name, w in parts.items()), rel=1e-5)
    assert pairs.taught is not None and task.distillation is not None
    views, taught = pairs.a + pairs.b, pairs.taught
    student = task.embed(views)
    found: Any = task.distillation.of_vectors[0]
    mapped = found["embedding-regression"].of_student(student)
    cosine = torch.nn.functional.cosine_similarity(mapped, torch.from_numpy(taught.vectors[0]))
    assert terms["embedding-regression_loss"].item() == pytest.approx((2 - 2 * cosine).mean().item(), rel=1e-4)
    model, losses, distances = Model.load(teacher), [], []
    mean, scale = targets._standards[0]["residues"]
    of_student: Any = task.distillation.of_residues["0"]
    for k in taught.sequences.tolist():
        member, start = whole_of(families, pairs)[k]
        part = slice(start, start + len(views[k]))
        with torch.no_grad():
            whole, own = model.residues(*pad_batch([member])), task.model.residues(*pad_batch([views[k]]))
            full = torch.ones(whole.shape[:2], dtype=torch.bool)
            p = model.predict_residues("3di", whole, full)[0, part].softmax(1)
            log_q = task.model.predict_residues("3di", own, torch.ones(own.shape[:2], dtype=torch.bool))[0].log_softmax(1)
            losses += (p * (p.log() - log_q)).sum(1).tolist()
            vectors = (whole[0, part] - torch.from_numpy(mean)) / float(scale)
            cosine = torch.nn.functional.cosine_similarity(of_student.of_student(own[0]), vectors)
            distances += (2 - 2 * cosine).tolist()
    assert len(taught.sequences) == 6
    assert terms["teacher_3di_loss"].item() == pytest.approx(float(np.mean(losses)), rel=1e-2)
    assert terms["residues_loss"].item() == pytest.approx(float(np.mean(distances)), rel=1e-2)


def test_the_losses_of_several_teachers_are_averaged(
    families: Path, teacher: Path, tables: dict[str, Path], kept: Path
) -> None:
    both = config(teacher).updated(teachers=(str(teacher), str(tables["emb"])))
    task, pairs = ContrastiveTask(both), drawn(families, both, kept)[0]
    assert pairs.taught is not None and task.distillation is not None
    assert [x.shape[1] for x in pairs.taught.vectors] == [96, 96]
    student, twice = task.embed(pairs.a + pairs.b), task.objective_batch(pairs).twice()
    losses = [
        module["crd"].eval()(student, torch.from_numpy(vectors), twice)["loss"].item()  # type: ignore[operator]
        for module, vectors in zip(task.distillation.of_vectors, pairs.taught.vectors, strict=True)
    ]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
    assert task.eval()(pairs)["crd_loss"].item() == pytest.approx(float(np.mean(losses)), rel=1e-5)


@pytest.mark.parametrize("objective", ["moco", "infomax", "supcon"])
def test_distillation_works_beside_objectives_that_encode_views_apart(
    families: Path, teacher: Path, kept: Path, objective: str
) -> None:
    made = config(teacher, **RESIDUES).updated(objective={"name": objective})
    task = ContrastiveTask(made)
    terms = task(drawn(families, made, kept)[0])
    terms["loss"].backward()
    assert torch.isfinite(terms["crd_loss"]) and torch.isfinite(terms["residues_loss"])


def test_gradient_caching_gives_the_same_gradients(families: Path, teacher: Path, kept: Path) -> None:
    gradients = []
    for cached in (False, True):
        made = config(teacher, **RESIDUES, **{"batch.grad_cache": cached, "batch.max_tokens": 300})
        task = ContrastiveTask(made)
        task(drawn(families, made, kept)[0])["loss"].backward()
        gradients.append({name: p.grad for name, p in task.named_parameters()})
    for name, value in gradients[0].items():
        assert value is not None and torch.allclose(value, gradients[1][name], atol=1e-5), name


def test_the_first_pairs_keep_their_own_targets(families: Path, teacher: Path, kept: Path) -> None:
    pairs, _ = drawn(families, config(teacher, **{**RESIDUES, "distillation.sequences": 24}), kept)
    few = pairs.first_pairs(5)
    assert pairs.taught is not None and few.taught is not None
    assert np.array_equal(few.taught.vectors[0], pairs.taught.vectors[0][[*range(5), *range(12, 17)]])
    views = few.a + few.b
    assert few.taught.sequences.tolist() == list(range(10))
    assert [len(rows["3di"]) for rows in few.taught.residues[0]] == [len(view) for view in views]


# --- Runs


def test_a_student_learns_from_its_teacher_and_is_a_plain_model_after(
    families: Path, teacher: Path, kept: Path, tmp_path: Path
) -> None:
    changes = {**RESIDUES, "distillation.contrast": 0.0, "validation.every": 60, "optimiser.learning_rate": 0.005}
    made = config(teacher, **changes).updated(steps=60, device="cpu")
    folder = train_model([families], tmp_path / "run", made, cache=kept)
    metrics = pl.read_parquet(tmp_path / "run" / "metrics.parquet")
    for name in ("similarity-distillation_loss", "residues_loss", "teacher_3di_loss"):
        assert metrics[name][-10:].mean() < 0.8 * metrics[name][:10].mean(), name
    assert metrics["val_crd_bound"][-1] > 0.5
    assert metrics["crd_bound"][-1] <= metrics["crd_ceiling"][-1]
    model = Model.load(folder)
    assert set(model.heads) == {"3di"} and not any("distil" in name for name in model.state_dict())
    assert "Distilled from `teacher` (crd, similarity-distillation, residues, 3di)" in (folder / "MODEL_CARD.md").read_text()


def test_a_resumed_run_with_a_buffer_continues_exactly(families: Path, teacher: Path, kept: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    made = config(teacher, **RESIDUES, **{"distillation.parameters.crd.buffer": 40}).updated(steps=4, device="cpu")
    train_model([families], whole, made, cache=kept)
    before = checkpoints.load_latest(whole / "checkpoints")
    (whole / "checkpoints" / "step-00000004.pt").unlink()
    shutil.rmtree(whole / "model")
    losses = pl.read_parquet(whole / "metrics.parquet")["loss"].to_list()
    train_model([], whole, device="cpu", resume=True, cache=kept)
    assert pl.read_parquet(whole / "metrics.parquet")["loss"].to_list() == losses
    after = checkpoints.load_latest(whole / "checkpoints")
    assert before is not None and after is not None
    assert any("of_b.vectors" in name for name in before["task"])
    assert all(torch.equal(value, after["task"][name]) for name, value in before["task"].items())


def test_distillation_combines_with_labelled_residues_and_fractions_of_inputs(
    families: Path, simulated_file: Callable[..., Path], teacher: Path, kept: Path, tmp_path: Path
) -> None:
    more = simulated_file_named(simulated_file).rename(tmp_path / "more.sto")
    letters = "ACDEFGHIKLMNPQRSTVWY"
    table = {"id": ["x", "y"], "sequence": [letters, letters[::-1]], "three_di": [letters, letters], "dssp": ["H" * 20] * 2}
    pl.DataFrame(table).write_parquet(tmp_path / "labels.parquet")
    settings = {
        **small_run.SMALL, "residues.labels": str(tmp_path / "labels.parquet"), "batch.input_fractions": [0.5, 0.5],
        "encoder.pooling_parameters.features": 64, "whitening.vectors": 50, "whitening.dimension": 0,
        "distillation.heads.3di": 0.5, **WEIGHTS,
    }  # fmt: skip
    folder = train_model(
        [families, more], tmp_path / "run", recipe="evolution-structure", steps=2, device="cpu", cache=kept,
        teachers=(str(teacher),), settings=settings,
    )  # fmt: skip
    row = pl.read_parquet(tmp_path / "run" / "metrics.parquet").row(-1, named=True)
    parts = {
        "contrastive_loss": 1.0, "3di_loss": 1.0, "ss3_loss": 0.5, "teacher_3di_loss": 0.5, "crd_loss": 1.0,
        "similarity-distillation_loss": 0.5,
    }  # fmt: skip
    assert row["loss"] == pytest.approx(sum(w * row[name] for name, w in parts.items()), rel=1e-4)
    assert set(Model.load(folder).heads) == {"3di", "ss3"}


@pytest.mark.parametrize("width", [48, 32])
def test_another_teacher_of_equal_or_other_features_cannot_continue_a_run(
    families: Path, teacher: Path, kept: Path, tmp_path: Path, width: int
) -> None:
    copy = tmp_path / "teacher"
    shutil.copytree(teacher, copy)
    run = tmp_path / "run"
    train_model([families], run, config(copy).updated(steps=4, device="cpu"), cache=kept)
    shutil.rmtree(run / "model")
    (run / "checkpoints" / "step-00000004.pt").unlink()
    shutil.rmtree(copy)
    wide = {"features": 96 if width == 48 else 64}
    Model.create(preset="tiny", parameters={"width": width}, pooling="feature-mean", pooling_parameters=wide, seed=1).save(
        copy
    )
    with pytest.raises(BadInputError, match="teacher has changed since"):
        train_model([], run, device="cpu", resume=True, cache=kept)


def test_a_language_model_teaches(families: Path, esm_checkpoint: Path, kept: Path, tmp_path: Path) -> None:
    parameters = {"checkpoint": str(esm_checkpoint)}
    folder = Model.create("plm", pooling="mean", parameters=parameters).save(tmp_path / "esm")
    made = config(folder, **{"distillation.residues": 1.0}).updated(steps=2, device="cpu")
    train_model([families], tmp_path / "run", made, cache=kept)
    row = pl.read_parquet(tmp_path / "run" / "metrics.parquet").row(-1, named=True)
    assert np.isfinite([row["crd_loss"], row["residues_loss"], row["val_crd_loss"]]).all()
