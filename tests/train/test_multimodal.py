"""Training on several modalities: losses number by number, missing values, masks, locked encoders, calibration."""

from __future__ import annotations

import math
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F

from phylocli.config.assignments import nested
from phylocli.config.train import TrainConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import write_families
from phylocli.formats.family import Family
from phylocli.models.model import Model
from phylocli.models.multimodal import Calibration, MultimodalModel
from phylocli.train import train_model
from phylocli.train.modalities.table import ModalityCorpus, load_modalities
from phylocli.train.modalities.task import MultimodalTask, fit_calibration

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
SETTINGS: dict[str, Any] = {
    "batch.pairs": 12,
    "head.dimension": 16,
    "validation.every": 2,
    "checkpoints.every": 2,
    "precision": "fp32",
    "modality.sequence.preset": "tiny",
    "modality.text.preset": "tiny",
}


def write_table(path: Path, rows: int = 40) -> Path:
    """Write proteins of ten families in five clans: sequence, structure letters, text; a third of the cells is missing."""
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list(LETTERS), 30)) for _ in range(rows)]
    states = ["".join(rng.choice(list(LETTERS), 30)) for _ in range(rows)]
    pl.DataFrame(
        {
            "id": [f"p{k}" for k in range(rows)],
            "family": [f"F{k % 10}" for k in range(rows)],
            "clan": [f"C{k % 5}" if k % 2 else "" for k in range(rows)],
            "sequence": sequences,
            "three_di": [None if k % 3 == 0 else state for k, state in enumerate(states)],
            "text": [None if k % 3 == 1 else f"family number {k % 10} of kind {k % 4}" for k in range(rows)],
        }
    ).write_parquet(path)
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("modalities") / "table.parquet")


def prepared(
    table: Path, recipe: str = "clip", modalities: str = "sequence,text", **settings: Any
) -> tuple[MultimodalTask, ModalityCorpus]:
    given = {k: v for k, v in SETTINGS.items() if k.split(".")[0] != "modality" or k.split(".")[1] in modalities}
    options = {"recipe": recipe, "modalities": modalities, "inputs": (str(table),), **nested({**given, **settings})}
    config = TrainConfig.of(None, options)
    task = MultimodalTask(config).eval()
    return task, load_modalities(config, task)


def pseudo_code(image: np.ndarray, text: np.ndarray, w_i: np.ndarray, w_t: np.ndarray, t: float) -> float:
    """Return CLIP's loss as in the pseudo-code of the paper, line by line."""

    def l2_normalize(x: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).sum(1, keepdims=True))

    def cross_entropy_loss(logits: np.ndarray, labels: np.ndarray, axis: int) -> float:
        rows = logits if axis == 1 else logits.T
        return float(np.mean([math.log(np.exp(row).sum()) - row[k] for row, k in zip(rows, labels, strict=True)]))

    i_e, t_e = l2_normalize(np.dot(image, w_i)), l2_normalize(np.dot(text, w_t))
    logits = np.dot(i_e, t_e.T) * np.exp(t)
    labels = np.arange(len(logits))
    return (cross_entropy_loss(logits, labels, 0) + cross_entropy_loss(logits, labels, 1)) / 2


def features(task: MultimodalTask, name: str, values: list[Any]) -> np.ndarray:
    """Return the pooled vectors of values, each encoded alone."""
    model = task.multimodal.tower(name)
    with torch.no_grad():
        return np.concatenate(
            [model(torch.tensor(v[None].astype(np.int64)), torch.ones(1, len(v)) > 0) for v in values]
        ).astype(np.float64)


def weight(task: MultimodalTask, name: str) -> np.ndarray:
    return task.multimodal.projections[name].layers.weight.detach().double().numpy().T


def test_other_forms_of_a_value_are_read_by_the_encoder_with_tokens_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    pl.DataFrame({"id": list("abcd"), "sequence": ["MKVL"] * 4, "smiles": ["CCO", "OCC", "CCN", "CCCO"]}).write_csv(path)
    task, first = prepared(path, modalities="sequence,smiles", **{"validation.fraction": 0.0})

    class Encoder(torch.nn.Module):
        def parse(self, value: object) -> np.ndarray:
            return np.full(1 + len(str(value)), 7)  # which no reader of the modality returns

    task.multimodal.tower("smiles").encoder = Encoder()
    corpus = load_modalities(first.config, task)
    batch = corpus.of_rows(np.arange(4), np.random.default_rng(0))
    assert all((value == 7).all() and len(value) >= 4 for value in batch.values["smiles"])


def test_the_loss_is_that_of_the_pseudo_code_of_clip(table: Path) -> None:
    task, corpus = prepared(table, **{"batch.negatives": "pair"})
    batch = corpus.of_rows(np.flatnonzero([t is not None for t in corpus.items.parsed["text"]])[:9], None)
    expected = pseudo_code(
        features(task, "sequence", batch.values["sequence"]),
        features(task, "text", batch.values["text"]),
        weight(task, "sequence"),
        weight(task, "text"),
        math.log(1 / 0.07),
    )
    found = task(batch)["loss"]
    assert found.item() == pytest.approx(expected, rel=1e-4)
    found.backward()
    learned = [p for name, p in task.named_parameters() if p.ndim == 0]
    assert len(learned) == 1 and learned[0].grad is not None and learned[0].grad != 0


def slow_loss(a: torch.Tensor, b: torch.Tensor, wrong: np.ndarray) -> float:
    """Return symmetric InfoNCE at temperature 0.07 over the allowed negatives, one row at a time."""
    scores = (F.normalize(a, dim=1) @ F.normalize(b, dim=1).T).double().numpy() / 0.07
    total = 0.0
    for matrix, mask in ((scores, wrong), (scores.T, wrong.T)):
        for i, row in enumerate(matrix):
            total += math.log(sum(math.exp(s) for j, s in enumerate(row) if j == i or mask[i, j])) - row[i]
    return total / (2 * len(scores))


@pytest.mark.parametrize("pairs", ["full", "core"])
def test_cmc_sums_the_losses_of_pairs_of_modalities_over_the_rows_that_have_both(table: Path, pairs: str) -> None:
    names = ["sequence", "text", "three-di"]
    task, corpus = prepared(table, "cmc", "sequence,text,three_di", **{"multiview.pairs": pairs})
    rows = np.arange(40)
    batch, items = corpus.of_rows(rows, None), corpus.items
    assert {name: len(values) for name, values in batch.values.items()} == {"sequence": 40, "text": 27, "three-di": 26}
    with torch.no_grad():
        joint = {name: torch.from_numpy(features(task, name, batch.values[name]) @ weight(task, name)) for name in names}
        expected = {}
        for m, n in [("sequence", "text"), ("sequence", "three-di"), *([("text", "three-di")] if pairs == "full" else [])]:
            both = [k for k in rows.tolist() if items.parsed[m][k] is not None and items.parsed[n][k] is not None]
            a, b = (joint[x][[batch.rows[x].tolist().index(k) for k in both]] for x in (m, n))
            wrong = np.array(
                [
                    [
                        items.family[i] != items.family[j]
                        and not (items.clan[i] and items.clan[i] == items.clan[j])
                        and not any(np.array_equal(items.parsed[x][i], items.parsed[x][j]) for x in (m, n))
                        for j in both
                    ]
                    for i in both
                ]
            )
            assert 0 < wrong.sum() < wrong.size - len(wrong)
            expected[f"{m}~{n}"] = slow_loss(a, b, wrong)
        terms = task(batch)
    assert terms["loss"].item() == pytest.approx(sum(expected.values()), rel=1e-4)
    assert {k: v.item() for k, v in terms.items() if k != "loss"} == pytest.approx(expected, rel=1e-4)


def test_a_batch_is_a_function_of_its_step_and_has_different_families(table: Path) -> None:
    _, corpus = prepared(table, "cmc", "sequence,text,three_di", **{"batch.pairs": 6})
    assert corpus.batch(3).content() == corpus.batch(3).content() != corpus.batch(4).content()
    assert len(set(corpus.batch(3).family.tolist())) == 6


def test_whole_clans_are_held_out_unless_the_table_says_which_part_a_row_is_of(table: Path, tmp_path: Path) -> None:
    _, corpus = prepared(table, **{"validation.fraction": 0.4})
    groups = [clan or family for clan, family in zip(corpus.items.clan, corpus.items.family, strict=True)]
    out, training = ({groups[k] for k in rows.tolist()} for rows in (corpus.held_out, corpus.training))
    assert out and training and not out & training
    frame = pl.read_parquet(table)
    frame.with_columns(part=pl.Series(["train", "validation", "test", "train"] * 10)).write_csv(tmp_path / "t.csv")
    _, corpus = prepared(tmp_path / "t.csv")
    number = {name: int(name[1:]) % 4 for name in corpus.items.ids}
    assert {number[corpus.items.ids[k]] for k in corpus.held_out.tolist()} == {1}
    assert {number[corpus.items.ids[k]] for k in corpus.training.tolist()} == {0, 3}


def write_rows(path: Path, columns: dict[str, list[object]]) -> Path:
    """Write a table of sequences and texts, all different, with the given columns beside them."""
    count = len(next(iter(columns.values())))
    values = {
        "sequence": ["MKV" + "ACDEFGHI"[k % 8] * (k + 1) for k in range(count)],
        "text": [f"t{k}" for k in range(count)],
    }
    pl.DataFrame({**values, **columns}).write_csv(path)
    return path


def test_a_part_is_applied_to_the_table_that_has_it_and_the_rows_of_others_are_kept(tmp_path: Path) -> None:
    parts = ["train", "valid", "Validation", "test", "training", "train"]
    one = write_rows(tmp_path / "one.csv", {"family": list("abcdef"), "part": parts})
    other = write_rows(tmp_path / "other.csv", {"family": [*"abcd", *"ghijkl"]})
    config = TrainConfig.of(
        None, {"recipe": "clip", "modalities": "sequence,text", "inputs": (str(one), str(other)), **nested(SETTINGS)}
    ).updated(validation={"fraction": 0.5})
    corpus = load_modalities(config, MultimodalTask(config))
    of = {(int(corpus.items.source[k]), corpus.items.family[k]) for k in corpus.held_out.tolist()}
    assert {f for source, f in of if source == 0} == {"b", "c"}
    assert {"b", "c"} <= {f for source, f in of if source == 1}  # as the same families of the other table
    assert len(of) == 4 + 3 and len(corpus.training) == 3 + 1 + 3


@pytest.mark.parametrize("part", ["holdout", ""])
def test_a_row_whose_part_is_unknown_is_refused(tmp_path: Path, part: str) -> None:
    with pytest.raises(BadInputError, match=r"row 2 .*column part.*(?s:.*)write train, validation or test"):
        prepared(write_rows(tmp_path / "t.csv", {"part": ["train", part, "train"]}))


def test_a_family_of_which_only_some_rows_name_the_clan_is_held_out_whole(tmp_path: Path) -> None:
    families = [f"F{k // 4}" for k in range(48)]
    clans = [f"C{k // 8}" if k % 4 == 0 else "" for k in range(48)]
    table = write_rows(tmp_path / "t.csv", {"family": families, "clan": clans})
    _, corpus = prepared(table, **{"validation.fraction": 0.5})
    held_out = {k // 8 for k in corpus.held_out.tolist()}
    assert len(held_out) == 3 and len(corpus.held_out) == 24
    assert corpus.clan.tolist() == [k // 8 for k in range(48)]  # no row of a clan is a negative of another
    corpus.write_split(tmp_path / "split.tsv")
    assert pl.read_csv(tmp_path / "split.tsv", separator="\t").group_by("family").n_unique()["clan"].unique().to_list() == [
        1
    ]


def test_a_family_whose_name_is_a_number_is_not_a_row_without_a_family(tmp_path: Path) -> None:
    _, corpus = prepared(write_rows(tmp_path / "t.csv", {"family": [None, "0", "0", None, "3", "0"]}))
    assert corpus.group.tolist() == [0, 1, 1, 2, 3, 1] and corpus.family.tolist() == [0, 1, 1, 2, 3, 1]


def test_rows_without_an_id_have_names_of_their_own_in_the_split_of_several_tables(tmp_path: Path) -> None:
    tables = [write_rows(tmp_path / f"{name}.csv", {"kind": ["x"] * 6}) for name in ("one", "other")]
    options = {"recipe": "clip", "modalities": "sequence,text", "inputs": tuple(map(str, tables)), **nested(SETTINGS)}
    config = TrainConfig.of(None, options)
    corpus = load_modalities(config, MultimodalTask(config))
    corpus.write_split(tmp_path / "split.tsv")
    assert pl.read_csv(tmp_path / "split.tsv", separator="\t").height == 12


@pytest.mark.parametrize("pairs", ["core", "full"])
def test_a_run_whose_held_out_rows_lack_the_first_modality_is_trained_without_validation(tmp_path: Path, pairs: str) -> None:
    rows = {
        "sequence": ["MKV", "MKVA", "MKVL", None, None, None],
        "three_di": [None, None, "DDV", "DVV", "VVD", "DVL"],
        "text": ["a b", "c d", None, "e f", "g h", "i j"],
        "part": ["train"] * 3 + ["validation"] * 3,
    }
    pl.DataFrame(rows).write_csv(tmp_path / "t.csv")
    settings = {**SETTINGS, "multiview.pairs": pairs, "batch.pairs": 3}
    modalities = ("sequence", "three_di", "text")
    run = tmp_path / "run"
    train_model([tmp_path / "t.csv"], run, recipe="cmc", modalities=modalities, steps=2, device="cpu", settings=settings)
    assert pl.read_parquet(run / "metrics.parquet")["loss"].is_finite().all()


def test_residues_of_several_modalities_are_cropped_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    texts = ["".join(rng.choice(list(LETTERS), 50)) for _ in range(12)]
    pl.DataFrame({"sequence": texts, "three_di": texts}).write_csv(tmp_path / "t.tsv", separator="\t")
    _, corpus = prepared(tmp_path / "t.tsv", modalities="sequence,three_di", **{"multiview.max_length": 20})
    batch = corpus.batch(0)
    pairs = list(zip(batch.values["sequence"], batch.values["three-di"], strict=True))
    assert all(len(a) == 20 and a.tolist() == b.tolist() for a, b in pairs)


def test_a_resumed_run_gives_the_model_of_an_uninterrupted_one(table: Path, tmp_path: Path) -> None:
    options = {"recipe": "clip", "modalities": ("sequence", "text"), "device": "cpu", "settings": SETTINGS}
    whole = train_model([table], tmp_path / "whole", steps=4, **options)
    parts = tmp_path / "parts"
    train_model([table], parts, steps=4, **options)
    shutil.rmtree(parts / "model")
    last = max((parts / "checkpoints").glob("step*"))
    shutil.rmtree(last) if last.is_dir() else last.unlink()
    train_model([], parts, resume=True)
    one, other = MultimodalModel.load(whole), MultimodalModel.load(parts / "model")
    assert one.fingerprint == other.fingerprint
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert Model.load(whole).fingerprint == one.core.fingerprint  # an ordinary model folder
    rows = pl.read_parquet(tmp_path / "whole" / "metrics.parquet")
    assert rows["loss"].is_finite().all() and {"val_accuracy", "val_rank"} <= set(rows.columns)
    assert tomllib.loads((tmp_path / "whole" / "config.toml").read_text())["modalities"] == ["sequence", "text"]


def test_a_locked_encoder_stays_as_it_is_and_its_vectors_are_those_of_the_model(table: Path, tmp_path: Path) -> None:
    start = Model.create("convolutional", preset="tiny", seed=3).save(tmp_path / "start")
    settings = {k: v for k, v in SETTINGS.items() if not k.startswith("modality.sequence")}
    settings |= {"modality.sequence.model": str(start), "modality.sequence.locked": True, "modality.sequence.hidden": 8}
    _, corpus = prepared(table, **{k: v for k, v in settings.items() if "sequence" in k}, **{"modality.sequence.preset": ""})
    model = Model.load(start)
    with torch.no_grad():
        text = corpus.items.cells["sequence"][4]
        assert isinstance(text, str)
        alone = model(torch.from_numpy(model.encode(text).astype(np.int64))[None], torch.ones(1, 30) > 0)[0]
    assert torch.allclose(torch.from_numpy(corpus.vectors["sequence"][4]), alone, atol=1e-5)
    folder = train_model(
        [table], tmp_path / "run", recipe="clip", modalities=("sequence", "text"), steps=2, device="cpu", settings=settings
    )
    assert Model.load(folder).fingerprint == model.fingerprint
    assert MultimodalModel.load(folder).embed("sequence", ["MKV"]).shape == (1, 16)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"modalities": "sequence"}, "at least two different modalities"),
        ({"modality.text.locked": True}, "modality.text.locked needs a trained model"),
        ({"recipe": "infograph"}, "infograph does not train on --modalities"),
        ({"modalities": "sequence,smell"}, "smell"),
        ({"view.name": "crop"}, "does not use view.name"),
        ({"objective.name": "moco"}, "cannot contrast modalities"),
        ({"modality.smiles.hidden": 3}, "smiles"),
        ({"modality.text.encoder": "recurrent"}, "does not read text"),
    ],
)
def test_settings_that_do_not_fit_are_refused(table: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    settings = {"modalities": "sequence,text", "recipe": "clip", "steps": 1, **changes}
    with pytest.raises(UsageError, match=said):
        train_model([table], tmp_path / "run", device="cpu", settings=settings)
    assert not (tmp_path / "run").exists()


def test_tables_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("id\tsequence\ttext\np1\tMKV\ta kinase\np2\tM1V\ta globin\n")
    with pytest.raises(BadInputError, match=r"t\.tsv, row 2 \(p2\), column sequence.*position 2"):
        prepared(path)
    path.write_text("id\tsequence\nx\tMKV\n")
    with pytest.raises(BadInputError, match="fewer than two of the columns sequence, text"):
        prepared(path)
    path.write_text("id\tsequence\ttext\nx\tMKV\t\n")
    with pytest.raises(BadInputError, match="no row has two"):
        prepared(path)


def test_calibrated_probabilities_are_those_of_the_answers() -> None:
    rng = np.random.default_rng(0)
    n = 300
    cosines = rng.normal(0.0, 0.15, (n, n))
    cosines[np.arange(n), np.arange(n)] += 0.5  # right pairs
    wrong = ~np.eye(n, dtype=bool)
    found = fit_calibration(cosines, wrong, seed=0)
    assert found is not None
    confidence, right = [], []
    for _ in range(3000):
        item, size = int(rng.integers(n)), int(rng.integers(2, 200))
        has = rng.random() < 0.5
        columns = np.concatenate([[item] * has, rng.permutation(np.delete(np.arange(n), item))[: size - has]]).astype(int)
        p = found.probabilities(cosines[item, columns][None])[0]
        confidence.append(p.max())
        right.append(p.argmax() == (0 if has else size))
    assert np.mean(confidence) == pytest.approx(np.mean(right), abs=0.05)
    assert np.mean(right) > 0.7
    assert Calibration(10.0, 0.0, 0.0).probabilities(np.zeros((1, 4))) == pytest.approx(np.full((1, 5), 0.2))


@pytest.mark.parametrize("clans", [0, 1, 3])
def test_held_out_rows_of_too_few_clans_give_no_calibration(clans: int) -> None:
    clan = np.arange(12) % clans if clans else np.zeros(0, dtype=int)
    cosines = np.random.default_rng(0).normal(0, 0.2, (len(clan), len(clan)))
    assert fit_calibration(cosines, clan[:, None] != clan[None], seed=0) is None


def test_family_records_have_the_description_of_the_family_as_text(tmp_path: Path) -> None:
    families = [
        Family(
            ["a", "b"],
            ["MKV-LA", "MKVILA"],
            aligned=True,
            accession=f"PF0000{k}",
            description=f"kind {k}",
            clan="CL1" * (k < 3),
        )
        for k in range(1, 6)
    ]
    write_families(families, tmp_path / "families.sto")
    _, corpus = prepared(tmp_path / "families.sto")
    items = corpus.items
    assert (items.ids[2], items.family[2], items.clan[2], items.cells["text"][2]) == ("a", "PF00002", "CL1", "kind 2")
    assert items.cells["sequence"][:2] == ["MKVLA", "MKVILA"]
