"""Each probe against brute force, closed forms, and data whose answer is known."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.stats
from sklearn import metrics as reference

from phylocli.core.errors import BadInputError
from phylocli.core.plugins import PROBES
from phylocli.formats import Family
from phylocli.formats.newick import NewickTree
from phylocli.probe import Dataset, Embedding, task_names
from phylocli.probe.inputs.residue_vectors import OneHot
from phylocli.probe.tasks import classification, clustering, geometry, patristic, regression, residues, retrieval
from phylocli.probe.tasks._contract import Measurement
from phylocli.probe.tasks._folds import folds
from phylocli.statistics.bootstrap import Estimate


def embedding(vectors: np.ndarray, name: str = "e") -> Embedding:
    return Embedding(name, [f"s{i}" for i in range(len(vectors))], np.asarray(vectors, dtype=np.float32))


def dataset(**columns: list[object]) -> Dataset:
    n = len(next(iter(columns.values())))
    return Dataset.from_labels(pl.DataFrame({"id": [f"s{i}" for i in range(n)], **columns}), "labels")


def estimate(found: Measurement, metric: str) -> Estimate:
    return next(f for f in found.estimates if f.metric == metric)


def scop_like(n: int, seed: int) -> Dataset:
    """Nested labels: folds of superfamilies of families."""
    rng = np.random.default_rng(seed)
    fold = rng.integers(0, 4, n)
    superfamily = fold * 10 + rng.integers(0, 3, n)
    family = superfamily * 10 + rng.integers(0, 3, n)
    return dataset(
        **{k: [f"x{c}" for c in v] for k, v in {"family": family, "superfamily": superfamily, "fold": fold}.items()}
    )


def brute_force_retrieval(data: Dataset, vectors: np.ndarray, level: str, finer: str | None) -> dict[str, float]:
    """The definitions, word by word, one query at a time."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    label, fold = data.classes[level], data.classes["fold"]
    close = data.classes[finer] if finer else None
    sensitivities, rocs, tops, tens, precisions = [], [], [], [], []
    for q in range(len(unit)):
        ranking = sorted((i for i in range(len(unit)) if i != q), key=lambda i: -float(unit[q] @ unit[i]))
        relatives = [i for i in ranking if label[i] == label[q] and (close is None or close[i] != close[q])]
        if not relatives:
            continue
        found = 0
        for i in ranking:
            if fold[i] != fold[q]:
                break
            found += i in relatives
        sensitivities.append(found / len(relatives))
        found, above = 0, []
        for i in ranking:
            if fold[i] != fold[q]:
                above.append(found)
            found += i in relatives
        rocs.append(np.mean((above + [found] * 5)[:5]) / len(relatives))
        judged = [i for i in ranking if i in relatives or label[i] != label[q]]
        tops.append(judged[0] in relatives)
        tens.append(any(i in relatives for i in judged[:10]))
        hits = [k for k, i in enumerate(judged, 1) if i in relatives]
        precisions.append(np.mean([(r + 1) / k for r, k in enumerate(hits)]))
    values = (np.mean(sensitivities), np.mean(rocs), np.mean(tops), np.mean(tens), np.mean(precisions))
    return dict(zip(retrieval.METRICS, map(float, values), strict=True))


@pytest.mark.parametrize(("level", "finer"), [("family", None), ("superfamily", "family"), ("fold", "superfamily")])
def test_retrieval_metrics_follow_their_definitions(level: str, finer: str | None) -> None:
    data = scop_like(90, 0)
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(90, 6)) + rng.normal(size=(400, 6))[data.classes["superfamily"]]
    found = retrieval.measure(data, embedding(vectors), level, 0)
    expected = brute_force_retrieval(data, vectors.astype(np.float32), level, finer)
    assert {f.metric: f.value for f in found.estimates} == pytest.approx(expected)


def test_retrieval_in_blocks_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data, vectors = scop_like(60, 2), np.random.default_rng(2).normal(size=(60, 4))
    whole = retrieval.measure(data, embedding(vectors), "fold", 0)
    monkeypatch.setattr(retrieval, "SEARCH_BLOCK", 1)
    parts = retrieval.measure(data, embedding(vectors), "fold", 0)
    assert [f.value for f in whole.estimates] == pytest.approx([f.value for f in parts.estimates])


def test_average_precision_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    positive, negative = rng.random(7).astype(np.float32), rng.random(40).astype(np.float32)
    truth = np.repeat([1, 0], [7, 40])
    expected = reference.average_precision_score(truth, np.concatenate([positive, negative]))
    assert retrieval.average_precision(positive, negative) == pytest.approx(expected)


def test_an_embedding_that_says_nothing_finds_nothing() -> None:
    found = retrieval.measure(scop_like(50, 0), embedding(np.ones((50, 3))), "family", 0)
    assert estimate(found, "top-1 accuracy").value == 0 and estimate(found, "sensitivity to first FP").value == 0


@pytest.mark.parametrize(("relevant", "others"), [(1, 4), (2, 3), (3, 3), (4, 0)])
def test_chance_levels_are_the_means_over_all_orders(relevant: int, others: int) -> None:
    precisions, firsts, recalls = [], [], []
    for places in itertools.combinations(range(relevant + others), relevant):
        precisions.append(np.mean([(r + 1) / (k + 1) for r, k in enumerate(places)]))
        wrong = [k for k in range(relevant + others) if k not in places]
        firsts.append(np.mean([k < min(wrong, default=99) for k in places]))
        recalls.append(places[0] < 2)
    r, o = np.array([float(relevant)]), np.array([float(others)])
    assert retrieval.expected_average_precision(r, o)[0] == pytest.approx(np.mean(precisions))
    assert 1 / (others + 1) == pytest.approx(np.mean(firsts))
    assert retrieval.expected_recall(r, o, 2)[0] == pytest.approx(np.mean(recalls))


def test_families_without_a_clan_are_unrelated() -> None:
    data = dataset(family=list("aabbccddeeff"), clan=["x"] * 4 + ["y"] * 4 + [""] * 4)
    found = retrieval.measure(data, embedding(np.random.default_rng(0).normal(size=(12, 3))), "clan", 0)
    assert estimate(found, "top-1 accuracy").n == 8
    codes = retrieval.filled(data, "clan")
    assert len(set(codes.tolist())) == 4 and codes[8] == codes[9] != codes[10] == codes[11]


def test_only_the_evaluated_split_is_searched() -> None:
    data = dataset(family=["a", "a", "b", "b", "a", "a", "b", "b"], split=["train"] * 4 + ["test"] * 4)
    found = retrieval.measure(data, embedding(np.random.default_rng(0).normal(size=(8, 3))), "family", 0)
    assert found.estimates[0].n == 4 and found.note == "4 queries against 4 sequences"


def test_classes_that_are_separated_are_classified() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 150)
    vectors = rng.normal(size=(150, 5)) + 8 * np.eye(5)[label]
    found = classification.measure(dataset(kind=[f"k{c}" for c in label]), embedding(vectors), "kind", 0)
    assert estimate(found, "accuracy").value > 0.98 and estimate(found, "5-NN accuracy").value > 0.98
    assert estimate(found, "accuracy").n == 150
    assert estimate(found, "accuracy").chance == pytest.approx(np.bincount(label).max() / 150, abs=0.01)


def test_classification_of_noise_is_no_better_than_chance() -> None:
    rng = np.random.default_rng(0)
    data = dataset(kind=[f"k{c}" for c in rng.integers(0, 2, 300)])
    found = estimate(classification.measure(data, embedding(rng.normal(size=(300, 8))), "kind", 0), "accuracy")
    assert abs(found.value - 0.5) < 0.1


def test_classification_follows_the_split_and_never_trains_on_scored_items() -> None:
    rng = np.random.default_rng(0)
    label = np.tile([0, 1], 60)
    split = np.repeat(["train", "valid", "test"], 40)
    vectors = rng.normal(size=(120, 4)) + 4 * np.eye(4)[label]
    vectors[80:] = rng.normal(size=(40, 4)) + 4 * np.eye(4)[1 - label[80:]]  # the test part says the opposite
    data = dataset(kind=[f"k{c}" for c in label], split=split.tolist())
    found = estimate(classification.measure(data, embedding(vectors), "kind", 0), "accuracy")
    assert found.n == 40 and found.value < 0.1


def test_macro_f1_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 5, (2, 200))
    assert classification.macro_f1(truth, guess) == pytest.approx(reference.f1_score(truth, guess, average="macro"))


def test_folds_keep_groups_whole_and_score_everything_once() -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({
        "id": [f"s{i}" for i in range(200)],
        "kind": [f"k{c}" for c in rng.integers(0, 3, 200)],
        "family": [f"f{c}" for c in rng.integers(0, 30, 200)],
    })  # fmt: skip
    data = Dataset.from_labels(frame, "labels", split_by="family")
    parts, said = folds(data, np.arange(200), 0, data.classes["kind"])
    assert "no family in two folds" in said
    for part in parts:
        assert not set(data.classes["family"][part.train]) & set(data.classes["family"][part.test])
    assert sorted(np.concatenate([p.test for p in parts])) == list(range(200))


def test_ridge_finds_a_linear_quantity_and_not_noise() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 6))
    data = dataset(heat=(vectors[:, 0] * 3 + rng.normal(scale=0.1, size=200)).tolist(), noise=rng.normal(size=200).tolist())
    found = regression.measure(data, embedding(vectors), "heat", 0)
    assert estimate(found, "Spearman").value > 0.97 and estimate(found, "R²").value > 0.97
    assert estimate(found, "RMSE").value < 0.2 < 2 < (estimate(found, "RMSE").chance or 0)
    assert abs(estimate(regression.measure(data, embedding(vectors), "noise", 0), "Spearman").value) < 0.25


def test_v_measure_and_rand_index_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for a, b in ((rng.integers(0, 6, 90), rng.integers(0, 4, 90)), (np.repeat([0, 1], 45), np.repeat([1, 0], 45))):
        assert clustering.v_measure(a, b) == pytest.approx(reference.v_measure_score(a, b))
        assert clustering.adjusted_rand(a, b) == pytest.approx(reference.adjusted_rand_score(a, b))


def test_clusters_that_are_there_are_found() -> None:
    label = np.repeat(np.arange(4), 20)
    vectors = np.eye(4)[label] * 10 + np.random.default_rng(0).normal(size=(80, 4))
    found = clustering.measure(dataset(family=[f"f{c}" for c in label]), embedding(vectors), "family", 0)
    assert estimate(found, "adjusted Rand index").value == 1 and estimate(found, "silhouette").value > 0.8


def test_geometry_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    vectors, label = rng.normal(size=(30, 5)), rng.integers(0, 4, 30)
    found = geometry.measure(dataset(family=[f"f{c}" for c in label]), embedding(vectors), "family", 0)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    squared = ((unit[:, None] - unit[None]) ** 2).sum(-1)
    off = ~np.eye(30, dtype=bool)
    same = (label[:, None] == label[None]) & off
    by_item = [squared[i][same[i]].mean() for i in range(30) if same[i].any()]
    assert estimate(found, "alignment").value == pytest.approx(np.mean(by_item), rel=1e-4)
    assert estimate(found, "uniformity").value == pytest.approx(np.log(np.exp(-2 * squared[off]).mean()), rel=1e-4)
    assert estimate(found, "anisotropy").value == pytest.approx((unit @ unit.T)[off].mean(), abs=1e-5)
    order = np.argsort(np.where(off, squared, np.inf), axis=1)
    counts = [sum(j in order[i, :10] for i in range(30)) for j in range(30)]
    assert estimate(found, "hubness").value == pytest.approx(scipy.stats.skew(counts))
    ratios = [np.log(np.sqrt(squared[i, order[i, 1]] / squared[i, order[i, 0]])) for i in range(30)]
    assert estimate(found, "intrinsic dimension").value == pytest.approx(29 / np.sum(ratios), rel=1e-3)


@pytest.mark.parametrize("dimension", [1, 3, 6])
def test_the_intrinsic_dimension_is_that_of_the_surface_however_it_is_bent(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    flat = rng.random((1500, dimension))
    bent = np.hstack([np.sin(flat), np.cos(flat), flat**2]) @ rng.normal(size=(3 * dimension, 40)) + rng.normal(size=40) * 5
    found = geometry.measure(dataset(family=["f", "g"] * 750), embedding(bent), "family", 0)
    assert estimate(found, "intrinsic dimension").value == pytest.approx(dimension, rel=0.12)


def test_hub_has_high_skewness_and_copies_have_no_intrinsic_dimension() -> None:
    squared = 1 + np.abs(np.subtract.outer(np.arange(50.0), np.arange(50.0)))
    squared[:, 7] = 0.5
    np.fill_diagonal(squared, np.inf)
    assert geometry.neighbour_counts(squared, 1)[7] == 49
    assert geometry.skewness(geometry.neighbour_counts(squared, 1)) > 5 and geometry.skewness(np.ones(4)) == 0
    same = np.zeros((4, 4))
    np.fill_diagonal(same, np.inf)
    assert len(geometry.log_ratios(same)) == 0 and np.isnan(geometry.two_nn(np.zeros(0)))


def with_caterpillar(tips: list[str]) -> Family:
    text = f"({tips[0]}:1,{tips[1]}:1)"
    for tip in tips[2:]:
        text = f"({text}:1,{tip}:1)"
    return Family(tips, ["A"] * len(tips), tree=NewickTree(text + ";"))


def test_an_embedding_that_is_the_tree_correlates_perfectly() -> None:
    ids = [f"s{i}" for i in range(12)]
    data = dataset(family=["a"] * 6 + ["b"] * 6)
    data = replace(data, trees=[with_caterpillar(ids[:6]), with_caterpillar(ids[6:])])
    # On a caterpillar two tips are as far apart as their places in it say, but for the innermost pair.
    angle = np.tile([0.0, 0.0, 0.2, 0.3, 0.4, 0.5], 2)
    angle[[0, 6]] = -0.05
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    found = estimate(patristic.measure(data, embedding(vectors), "family", 0), "patristic correlation")
    assert found.n == 2 and found.value > 0.9
    assert patristic.levels(data) == ["family"]


def test_patristic_ignores_tips_without_embeddings() -> None:
    ids = [f"s{i}" for i in range(12)]
    data = dataset(family=["a"] * 6 + ["b"] * 6)
    data = replace(data, trees=[with_caterpillar([*ids[:6], "stranger"]), with_caterpillar(ids[6:])])
    found = patristic.measure(data, embedding(np.random.default_rng(0).normal(size=(12, 4))), "family", 0)
    assert found.note == "2 families, 30 pairs"


def test_every_probe_keeps_the_contract() -> None:
    assert {"retrieval", "classification", "clustering", "geometry", "regression", "patristic"} <= set(task_names())
    data = scop_like(60, 1)
    x = embedding(np.random.default_rng(0).normal(size=(60, 5)))
    for name in task_names():
        module = PROBES.load(name)
        assert module.TITLE and PROBES.summary(name)
        for level in module.levels(data)[:1]:
            found = module.measure(data, x, level, 0)
            again = module.measure(data, x, level, 0)
            assert {f.metric for f in found.estimates} <= set(module.METRICS)
            assert [f.value for f in found.estimates] == [f.value for f in again.estimates]
            for one in found.estimates:
                assert one.rows is None or len(one.rows) == one.n
                if one.statistic is not None:  # on all items once, the statistic is the estimate
                    assert one.statistic(np.arange(one.n)) == pytest.approx(one.value, rel=1e-6)


@pytest.mark.needs("shared-data")
def test_published_composition_figures_on_scope(shared_data: Path) -> None:
    from phylocli.probe import baseline, read_labels

    frame = read_labels(shared_data / "scope" / "dev.tsv.gz")
    data = Dataset.from_labels(frame, "scope", columns=["family", "superfamily", "fold"])
    found = baseline("composition", data.ids, frame["sequence"].to_list())
    values = [retrieval.measure(data, found, level, 0).estimates[0].value for level in ("family", "superfamily", "fold")]
    assert values == pytest.approx([0.013, 0.006, 0.002], abs=0.0011)


def test_a_large_search_is_sampled_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "MAX_SCORES", 90 * 30)
    monkeypatch.setattr(retrieval, "MIN_QUERIES", 10)
    found = retrieval.measure(scop_like(90, 0), embedding(np.random.default_rng(1).normal(size=(90, 6))), "family", 0)
    assert found.estimates[0].n == 30 and found.note.startswith("30 queries (sampled from ")


def test_classes_within_one_group_are_not_classified_when_groups_are_kept_whole() -> None:
    data = replace(scop_like(300, 0), split_by="superfamily")
    assert classification.levels(data) == ["fold"]  # a family lies within one superfamily
    label = data.classes["fold"]
    found = classification.measure(data, embedding(np.eye(4)[label] + 0.01), "fold", 0)
    assert estimate(found, "accuracy").value == 1 and "no superfamily in two folds" in found.note


def helix_data(split: bool) -> tuple[Dataset, dict[str, str]]:
    """Sequences whose label is H on A and K, C elsewhere; the first residue is masked and labelled wrongly."""
    rng = np.random.default_rng(0)
    letters = {f"s{i}": "".join(rng.choice(list("AKGPWY"), int(n))) for i, n in enumerate(rng.integers(5, 40, 60))}
    labels = ["".join("H" if c in "AK" else "C" for c in s) for s in letters.values()]
    wrong = [("C" if t[0] == "H" else "H") + t[1:] for t in labels]
    columns = {"id": list(letters), "sequence": list(letters.values()), "ss": wrong, "kind": ["x", "y"] * 30}
    columns["mask"] = ["0" + "1" * (len(t) - 1) for t in labels]
    if split:
        columns["split"] = ["train"] * 30 + ["valid"] * 10 + ["test"] * 20
    return Dataset.from_labels(pl.DataFrame(columns), "labels"), letters


@pytest.mark.parametrize("split", [False, True])
def test_residue_labels_are_predicted_and_masked_residues_ignored(split: bool) -> None:
    data, letters = helix_data(split)
    assert residues.levels(data) == ["ss"]
    knows = Embedding("e", data.ids, np.zeros((60, 1), dtype=np.float32), residues=OneHot(letters))
    found = residues.measure(data, knows, "ss", 0)
    assert estimate(found, "residue accuracy").value == 1 and estimate(found, "residue macro-F1").value == 1
    scored = data.rows_of("test") if split else None
    if scored is not None:
        assert estimate(found, "residue accuracy").n == 20
        assert found.note.startswith(f"{sum(len(letters[data.ids[r]]) - 1 for r in scored):,} residues of 20 sequences")


def test_residue_figures_agree_with_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    data, letters = helix_data(True)
    rng = np.random.default_rng(1)
    seen: dict[str, np.ndarray] = {}

    def guessing(*parts: object) -> object:
        def predict(x: np.ndarray) -> np.ndarray:
            seen["guess"] = rng.integers(0, 2, len(x))
            return seen["guess"]

        return predict

    monkeypatch.setattr(residues, "fit_logistic", guessing)
    table = Embedding("e", data.ids, np.zeros((60, 1), dtype=np.float32), residues=OneHot(letters))
    found = residues.measure(data, table, "ss", 0)
    text = "".join(data.residue_labels["ss"][r][1:] for r in data.rows_of("test"))
    truth = np.array([int(c == "H") for c in text])
    assert estimate(found, "residue accuracy").value == pytest.approx(reference.accuracy_score(truth, seen["guess"]))
    expected = reference.f1_score(truth, seen["guess"], average="macro")
    assert estimate(found, "residue macro-F1").value == pytest.approx(expected)


def test_embeddings_of_other_sequences_than_those_labelled_are_an_error() -> None:
    data, letters = helix_data(False)
    shorter = OneHot({name: s[:-1] for name, s in letters.items()})
    table = Embedding("e", data.ids, np.zeros((60, 1), dtype=np.float32), residues=shorter)
    with pytest.raises(BadInputError, match=r"has embeddings of \d+ residues"):
        residues.measure(data, table, "ss", 0)
