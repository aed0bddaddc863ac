"""Probes of pairs, terms, variants and branching against brute force and data whose answer is known."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from phylocli.core.errors import BadInputError, MissingDependencyError
from phylocli.formats import Family, read_families
from phylocli.probe import Dataset, Embedding, baseline, read_labels, run_probes
from phylocli.probe.inputs.label_types import mutation_counts, terms_of
from phylocli.probe.tasks import classification, homology, mlp, multilabel, mutation, retrieval, topology
from phylocli.probe.tasks._contract import Measurement
from phylocli.statistics.bootstrap import Estimate
from phylocli.tree import infer_trees


def embedding(vectors: np.ndarray, name: str = "e") -> Embedding:
    return Embedding(name, [f"s{i}" for i in range(len(vectors))], np.asarray(vectors, dtype=np.float32))


def dataset(**columns: list[object]) -> Dataset:
    n = len(next(iter(columns.values())))
    return Dataset.from_labels(pl.DataFrame({"id": [f"s{i}" for i in range(n)], **columns}), "labels")


def estimate(found: Measurement, metric: str) -> Estimate:
    return next(f for f in found.estimates if f.metric == metric)


# Columns


def test_lists_of_terms_are_terms_and_prose_and_single_words_are_not() -> None:
    terms = terms_of(["GO:1;GO:2", "GO:2 ; GO:1", None, "GO:1", "GO:2"])
    assert terms is not None and terms.names == ["GO:1", "GO:2"]
    assert terms.member.toarray().tolist() == [[1, 1], [1, 1], [0, 0], [1, 0], [0, 1]]
    assert terms.known.tolist() == [True, True, False, True, True]
    assert terms_of(["Homo sapiens, human", "Mus musculus, mouse"] * 5) is None
    assert terms_of(["a.1.1.1", "a.1.1.2"] * 5) is None
    assert terms_of(["x1,x2", "x3,x4", "x5,x6"]) is None  # nothing shared


@pytest.mark.parametrize(
    ("texts", "counts"),
    [
        (["A108D", "A108D,N144D", ""], [1, 2, 0]),
        (["p.A108D", "WT", "A1V:G2*"], [1, 0, 2]),
        (["M1K N3T", None, "K5del"], [2, 0, 1]),
        (["kinase", "A108D"], None),
        (["", None], None),
    ],
)
def test_mutations_are_counted(texts: list[str | None], counts: list[int] | None) -> None:
    found = mutation_counts(texts)
    assert (None if found is None else found.tolist()) == counts


def test_scope_headers_are_labels(tmp_path: Path) -> None:
    path = tmp_path / "scope.fa"
    path.write_text(">d1dlwa_ a.1.1.1 (A:) Protozoan globin\nslfeql\n>d1x b.2.10.3 (B:)\nMKV\n")
    frame = read_labels(path)
    assert frame.rows() == [
        ("d1dlwa_", "a.1.1.1", "a.1.1", "a.1", "a", "SLFEQL"),
        ("d1x", "b.2.10.3", "b.2.10", "b.2", "b", "MKV"),
    ]
    path.write_text(">x some protein\nMKV\n")
    with pytest.raises(BadInputError, match=r"no header of .*scope.fa contains a label"):
        read_labels(path)


# Pairs


def test_similar_homologs_are_separated_from_unrelated_sequences() -> None:
    data = dataset(family=[f"f{i // 6}" for i in range(60)])
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(10, 8))[np.arange(60) // 6]
    assert estimate(homology.measure(data, embedding(centres), "family", 0), "AUROC").value == pytest.approx(1.0)
    noise = estimate(homology.measure(data, embedding(rng.normal(size=(60, 8))), "family", 0), "AUROC")
    assert abs(noise.value - 0.5) < 0.1
    nothing = homology.measure(data, embedding(np.ones((60, 8))), "family", 0)
    assert estimate(nothing, "AUROC").value == 0.5  # ties count half


def test_closer_relatives_are_no_pairs_at_a_coarser_level() -> None:
    data = dataset(family=[f"f{i // 5}" for i in range(80)], superfamily=[f"s{i // 10}" for i in range(80)])
    first, second, truth = homology._pairs(data, "superfamily", 0)
    family, superfamily = data.classes["family"], data.classes["superfamily"]
    assert truth.sum() == len(truth) / 2
    assert (superfamily[first[truth]] == superfamily[second[truth]]).all()
    assert (family[first[truth]] != family[second[truth]]).all()
    assert (superfamily[first[~truth]] != superfamily[second[~truth]]).all()


def test_identity_bins_hold_the_pairs_of_that_identity() -> None:
    rng = np.random.default_rng(0)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    sequences, family = [], []
    for f in range(8):
        parent = rng.choice(letters, 80)
        for _ in range(8):
            child = parent.copy()
            hit = rng.random(80) < 0.1
            child[hit] = rng.choice(letters, hit.sum())
            sequences.append("".join(child))
            family.append(f"f{f}")
    data = dataset(family=family)
    data = replace(data, sequences=dict(zip(data.ids, sequences, strict=True)))
    found = homology.measure(data, embedding(rng.normal(size=(64, 4))), "family", 0)
    named = [f.metric for f in found.estimates if "identity" in f.metric]
    assert named == ["AUROC, identity 50% or more"]


def test_phmmer_finds_relatives_that_composition_does_not(examples: Path) -> None:
    rows = []
    for family in list(read_families(examples / "families.sto"))[:4]:
        rows += [(s.id, family.label, s.residues) for s in family.sequences()[:12]]
    data = dataset(family=[label for _, label, _ in rows])
    sequences = [text for _, _, text in rows]
    found = [
        estimate(retrieval.measure(data, baseline(name, data.ids, sequences), "family", 0), "top-1 accuracy").value
        for name in ("phmmer", "composition")
    ]
    assert found[0] > 0.9 and found[0] > found[1] + 0.1


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("mmseqs2", marks=pytest.mark.needs("mmseqs")),
        pytest.param("diamond", marks=pytest.mark.needs("diamond")),
    ],
)
def test_installed_searches_agree_with_phmmer_on_close_relatives(examples: Path, name: str) -> None:
    family = next(iter(read_families(examples / "families.sto")))
    sequences = [s.residues for s in family.sequences()[:40]]
    ids = [f"s{i}" for i in range(40)]
    other, own = (baseline(n, ids, sequences).similarity(np.arange(40))(np.arange(40)) for n in (name, "phmmer"))
    assert np.isfinite(np.diag(other)).all()
    both = np.isfinite(other) & np.isfinite(own) & ~np.eye(40, dtype=bool)
    assert both.sum() >= 100 and np.corrcoef(other[both], own[both])[0, 1] > 0.9


def test_a_search_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MissingDependencyError, match="needs the program 'diamond'"):
        baseline("diamond", ["a"], ["MKV"])


def test_a_search_takes_part_in_rankings_and_in_nothing_else(examples: Path, tmp_path: Path) -> None:
    rows = ["id\tfamily\tsequence\n"]
    for family in list(read_families(examples / "families.sto"))[:3]:
        rows += [f"{s.id}\t{family.label}\t{s.residues}\n" for s in family.sequences()[:8]]
    labels = tmp_path / "labels.tsv"
    labels.write_text("".join(rows))
    ids = pl.read_csv(labels, separator="\t")["id"].to_list()
    own = Embedding("own", ids, np.random.default_rng(0).normal(size=(len(ids), 4)).astype(np.float32))
    metrics = run_probes([own], labels, tmp_path / "report", baselines=["phmmer"], replicates=100, projection="pca")
    tasks = metrics.to_polars().filter(pl.col("embedding") == "phmmer")["task"].unique().to_list()
    assert sorted(tasks) == ["homology", "retrieval"]
    assert "phmmer (pyhmmer" in (tmp_path / "report" / "report.html").read_text()


# Terms


def slow_fmax(scores: np.ndarray, truth: np.ndarray) -> float:
    """CAFA's definition, threshold by threshold and protein by protein."""
    best = 0.0
    for threshold in np.linspace(0.01, 1.0, 100):
        precisions, recalls = [], []
        for score, own in zip(scores, truth, strict=True):
            said = score >= threshold - 1e-9
            if said.any():
                precisions.append((said & own).sum() / said.sum())
            recalls.append((said & own).sum() / own.sum())
        if precisions and np.mean(precisions) + np.mean(recalls) > 0:
            p, r = np.mean(precisions), np.mean(recalls)
            best = max(best, 2 * p * r / (p + r))
    return best


def test_fmax_follows_its_definition() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((40, 7)) < 0.3
    truth[np.arange(40), rng.integers(0, 7, 40)] = True
    scores = np.clip(0.4 * truth + rng.random((40, 7)) * 0.7, 0, 1).astype(np.float32)
    counts, hits = multilabel._at_thresholds(scores, truth)
    assert multilabel.fmax(counts, hits, truth.sum(axis=1).astype(float)) == pytest.approx(slow_fmax(scores, truth))


@pytest.fixture(scope="module")
def proteins() -> tuple[Dataset, Embedding]:
    """Proteins whose terms their vectors tell, four terms of different frequency, with a split."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 6))
    member = x[:, :4] > np.array([0.0, 0.3, 0.8, 1.3])
    member[~member.any(axis=1), 0] = True
    go = [";".join(f"GO:{t}" for t in np.flatnonzero(row)) for row in member]
    return dataset(go=go, split=["train"] * 450 + ["test"] * 150), embedding(x)


def test_terms_encoded_in_the_vectors_are_predicted(proteins: tuple[Dataset, Embedding]) -> None:
    data, x = proteins
    assert multilabel.levels(data) == ["go"] and "go" not in data.classes
    found = multilabel.measure(data, x, "go", 0)
    fmax = estimate(found, "Fmax")
    assert fmax.chance is not None and fmax.value > 0.9 > fmax.chance
    assert estimate(found, "micro AUPRC").value > 0.95 and estimate(found, "macro AUPRC").value > 0.9
    assert estimate(found, "5-NN Fmax").value > fmax.chance
    assert fmax.n == 150 and fmax.rows is not None and fmax.rows.min() == 450


def test_terms_are_not_predicted_from_noise(proteins: tuple[Dataset, Embedding]) -> None:
    data, _ = proteins
    found = multilabel.measure(data, embedding(np.random.default_rng(1).normal(size=(600, 6))), "go", 0)
    fmax = estimate(found, "Fmax")
    assert fmax.chance is not None and abs(fmax.value - fmax.chance) < 0.05


def test_term_regressions_are_logistic_regressions() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    from phylocli.probe.tasks._heads import TermRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5)).astype(np.float32) * 3 + 1
    y = (x[:, :2] + rng.normal(size=(200, 2)) > 1).astype(np.float32)
    model = TermRegression(x, y)
    model.fit(0.01)
    scaled = StandardScaler().fit_transform(x)
    for term in range(2):
        single = LogisticRegression(C=1 / (0.01 * 200), tol=1e-8, max_iter=1000).fit(scaled, y[:, term])
        assert model.predict(x)[:, term] == pytest.approx(single.predict_proba(scaled)[:, 1], abs=2e-3)


def test_terms_absent_from_training_count_as_missed() -> None:
    rng = np.random.default_rng(0)
    go = ["GO:1;GO:2" if i % 2 else "GO:1" for i in range(100)] + ["GO:1;GO:3"] * 20
    data = dataset(go=go, split=["train"] * 100 + ["test"] * 20)
    found = multilabel.measure(data, embedding(rng.normal(size=(120, 3))), "go", 0)
    # Only GO:1 can be found: recall ½ with precision 1.
    assert estimate(found, "Fmax").value == pytest.approx(2 / 3, abs=0.01)


# Variants


def variants(wild_rows: int = 1) -> tuple[Dataset, np.ndarray]:
    rng = np.random.default_rng(0)
    steps = np.r_[np.zeros(wild_rows), rng.permutation(40) + 1.0]
    x = steps[:, None] * np.array([1.0, 2.0]) + 5
    names = [""] * wild_rows + [f"A{int(s)}V" for s in steps[wild_rows:]]
    return dataset(mutations=names, fitness=(-steps).tolist()), x


def test_variants_in_the_order_of_their_shift_correlate_perfectly() -> None:
    data, x = variants()
    assert mutation.levels(data) == ["fitness"] and "mutations" not in data.classes
    found = mutation.measure(data, embedding(x), "fitness", 0)
    assert estimate(found, "zero-shot Spearman").value == pytest.approx(1.0)
    assert estimate(found, "zero-shot Spearman").n == 40  # the wild type is no variant


def test_without_one_wild_type_there_is_no_such_probe(capsys: pytest.CaptureFixture[str]) -> None:
    data, _ = variants(2)
    assert mutation.levels(data) == [] and "2 items have no mutation" in capsys.readouterr().err


def test_each_variant_is_compared_with_its_own_wild_type() -> None:
    rng = np.random.default_rng(0)
    shift = rng.random(60)
    wild = np.array([[0.0, 0.0], [100.0, 0.0]])
    x = np.concatenate([wild, wild[np.arange(60) % 2] + np.stack([np.zeros(60), shift], axis=1)])
    # Values of the two proteins are on different scales: only within a protein does the order mean anything.
    values = [0.0, 0.0, *(-shift + 50 * (np.arange(60) % 2)).tolist()]
    data = dataset(wildtype=[None, None, *(f"s{i % 2}" for i in range(60))], fitness=values)
    found = mutation.measure(data, embedding(x), "fitness", 0)
    assert estimate(found, "zero-shot Spearman").value == pytest.approx(1.0)


def substituted() -> tuple[Dataset, list[str]]:
    """A wild type and thirty variants with one to three substitutions."""
    rng = np.random.default_rng(1)
    wild = "MKTAYIAKQRQISFVKSHFS"
    sequences = [wild]
    for _ in range(30):
        letters = list(wild)
        for at in rng.choice(len(wild), rng.integers(1, 4), replace=False):
            letters[at] = str(rng.choice([a for a in "ACDEFGHIKLMNPQRSTVWY" if a != wild[at]]))
        sequences.append("".join(letters))
    names = [";".join(f"{a}{i}{b}" for i, (a, b) in enumerate(zip(wild, s, strict=True)) if a != b) for s in sequences]
    data = dataset(mutations=names, fitness=rng.normal(size=31).tolist())
    return replace(data, sequences=dict(zip(data.ids, sequences, strict=True))), sequences


def test_log_odds_of_substitutions_are_sums_over_the_positions_that_differ() -> None:
    from Bio.Align import substitution_matrices
    from scipy.stats import spearmanr

    data, sequences = substituted()
    log_p = np.log(np.random.default_rng(2).dirichlet(np.ones(20), size=20))
    known = replace(
        embedding(np.random.default_rng(3).normal(size=(31, 4))), profile=lambda sequence: log_p[: len(sequence)]
    )
    found = mutation.measure(data, known, "fitness", 0)
    blosum, letters = substitution_matrices.load("BLOSUM62"), "ACDEFGHIKLMNPQRSTVWY"
    wild, fitness = sequences[0], data.values["fitness"][1:]
    by_matrix, by_profile = np.zeros(30), np.zeros(30)
    for row, sequence in enumerate(sequences[1:]):
        for at, (old, new) in enumerate(zip(wild, sequence, strict=True)):
            if old != new:
                by_matrix[row] += blosum[old][new] - blosum[old][old]
                by_profile[row] += log_p[at, letters.index(new)] - log_p[at, letters.index(old)]
    assert estimate(found, "by substitution matrix").value == pytest.approx(spearmanr(by_matrix, fitness).statistic)
    assert estimate(found, "profile Spearman").value == pytest.approx(spearmanr(by_profile, fitness).statistic)


@pytest.mark.parametrize("other", ["MKTAYIAKQR", "XKTAYIAKQRQISFVKSHFS", ""])
def test_variants_that_are_not_substitutions_are_left_out_of_the_log_odds_and_counted(other: str) -> None:
    data, _ = substituted()
    known = embedding(np.random.default_rng(3).normal(size=(31, 4)))
    changed = replace(data, sequences={**data.sequences, data.ids[-1]: other})
    found = mutation.measure(changed, known, "fitness", 0)
    without = replace(data, values={"fitness": np.where(np.arange(31) == 30, np.nan, data.values["fitness"])})
    expected = estimate(mutation.measure(without, known, "fitness", 0), "by substitution matrix")
    assert estimate(found, "by substitution matrix").value == pytest.approx(expected.value)
    assert estimate(found, "by substitution matrix").n == 29 and estimate(found, "zero-shot Spearman").n == 30
    assert found.note.startswith("30 variants of 1 wild type; 1 without log odds")


def test_without_enough_substitutions_there_are_no_log_odds() -> None:
    data, sequences = substituted()
    changed = [s if k < 15 else s + "A" for k, s in enumerate(sequences)]
    data = replace(data, sequences=dict(zip(data.ids, changed, strict=True)))
    found = mutation.measure(data, embedding(np.random.default_rng(3).normal(size=(31, 4))), "fitness", 0)
    assert {"by substitution matrix", "profile Spearman"}.isdisjoint(e.metric for e in found.estimates)
    assert "30 without log odds" in found.note


def test_a_wild_type_must_be_an_item() -> None:
    with pytest.raises(BadInputError, match="'gfp' is not an item"):
        dataset(mutation=["A1V", "A2V"], wildtype=["gfp", "gfp"], fitness=[1.0, 2.0])


def test_the_centroid_is_that_of_relatives_that_are_no_variants() -> None:
    data, x = variants()
    relatives = np.tile([5.0, 5.0], (6, 1)) + np.array([[0, 0], [2, 0], [0, 2], [2, 2], [1, 1], [1, 1.0]])
    names = ["", *(f"A{i}V" for i in range(40)), *[None] * 6]
    wild = [None, *["s0"] * 40, *[None] * 6]
    values = [*data.values["fitness"].tolist(), *[float("nan")] * 6]
    many = dataset(mutations=names, wildtype=wild, fitness=values)
    found = mutation.measure(many, embedding(np.concatenate([x, relatives])), "fitness", 0)
    strangers = dataset(
        mutations=[*names, None, None],
        wildtype=[*wild, None, None],
        family=[*["f"] * 47, "g", "g"],
        fitness=[*values, 0.0, 0.0],
    )
    far = np.full((2, 2), 1000.0)
    again = mutation.measure(strangers, embedding(np.concatenate([x, relatives, far])), "fitness", 0)
    distance = np.linalg.norm(x[1:] - relatives.mean(axis=0), axis=1)
    from scipy.stats import spearmanr

    expected = spearmanr(-distance, data.values["fitness"][1:]).statistic
    assert estimate(found, "family-centroid Spearman").value == pytest.approx(expected)
    assert estimate(again, "family-centroid Spearman").value == pytest.approx(expected)


# Branching


@pytest.fixture(scope="module")
def trees(examples: Path) -> list[Family]:
    chosen = [f for f in read_families(examples / "families.sto") if len(f) >= 20][:3]
    return list(infer_trees(iter(chosen), refine=False))


def test_vectors_that_are_the_tree_have_its_branching(trees: list[Family]) -> None:
    ids, blocks = [], []
    for place, family in enumerate(trees):
        tree = family.require_tree()
        tips, depth = tree.tips(), len(tree)
        paths = np.zeros((len(tips), len(trees) * 600))
        for row, tip in enumerate(tips):
            node = int(tip)
            while node > 0:
                paths[row, place * 600 + node] = np.sqrt(max(float(tree.length[node]), 0.0))
                node = int(tree.parent[node])
        assert depth < 600
        ids += [tree.names[int(t)] for t in tips]
        # One more axis for each member brings all to one length: cosine distances are then the paths between them.
        blocks.append(paths)
    x = np.concatenate(blocks)
    norm = (x**2).sum(axis=1)
    x = np.concatenate([x, np.diag(np.sqrt(norm.max() * 1.01 - norm))], axis=1)
    data = Dataset(ids, trees=trees)
    assert topology.levels(data) == ["family"]
    whole = topology.measure(data, Embedding("tree", ids, x.astype(np.float32)), "family", 0)
    assert estimate(whole, "quartet distance").value < 0.02
    noise = np.random.default_rng(0).normal(size=(len(ids), 16)).astype(np.float32)
    random = topology.measure(data, Embedding("noise", ids, noise), "family", 0)
    assert estimate(random, "quartet distance").value == pytest.approx(2 / 3, abs=0.08)
    assert estimate(random, "Robinson–Foulds distance").value > 0.9


# Classification


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    right = np.array([True, False, True, False])
    assert classification.calibration_error(confidence, right) == pytest.approx((0.9 / 2 + 0.1 / 2) / 2)
    assert classification.calibration_error(np.ones(5), np.ones(5, dtype=bool)) == 0


def test_information_is_the_entropy_for_perfect_and_zero_for_uninformative_predictions() -> None:
    label = np.arange(400) % 4
    data = dataset(kind=[f"k{c}" for c in label])
    told = classification.measure(data, embedding(np.eye(4)[label] * 10), "kind", 0)
    assert estimate(told, "information, nats").value == pytest.approx(np.log(4), abs=0.05)
    noise = classification.measure(data, embedding(np.random.default_rng(0).normal(size=(400, 4))), "kind", 0)
    assert estimate(noise, "information, nats").value < 0.05
    assert estimate(told, "calibration error").value < 0.05


def test_the_softmax_head_is_scikit_learns_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    from phylocli.probe.tasks._softmax import SoftmaxRegression

    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, 300) * 2 + 1
    x = (np.eye(9)[label] @ rng.normal(size=(9, 6)) + rng.normal(size=(300, 6))).astype(np.float32)
    x[:, 5] = x[:, 0] - 2 * x[:, 1]  # axes without variance must do no harm
    own = SoftmaxRegression(x, label, 0.1, steps=300, tolerance=1e-9)
    other = LogisticRegression(C=0.1, tol=1e-8, max_iter=2000).fit(x, label)
    assert own.classes_.tolist() == [1, 3, 5, 7]
    fewer = SoftmaxRegression(x[label != 3], label[label != 3], 1.0)
    again = SoftmaxRegression(x, label, 0.1, steps=300, tolerance=1e-9, start=fewer)
    assert again.weight == pytest.approx(own.weight, abs=2e-3)
    logits = own.decision_function(x)
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert chances / chances.sum(axis=1, keepdims=True) == pytest.approx(other.predict_proba(x), abs=3e-3)
    assert own.score(x, label) == pytest.approx(other.score(x, label), abs=0.01)


def test_many_classes_are_classified() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(150, 20)) * 3
    label = np.repeat(np.arange(150), 8)
    data = dataset(kind=[f"k{c}" for c in label], split=(["train"] * 6 + ["valid"] + ["test"]) * 150)
    found = classification.measure(data, embedding(centres[label] + rng.normal(size=(1200, 20))), "kind", 0)
    assert estimate(found, "accuracy").value > 0.9


def test_macro_average_precision_is_one_for_perfect_and_the_frequency_for_constant_scores() -> None:
    label = np.arange(300) % 3
    data = dataset(kind=[f"k{c}" for c in label], split=["train"] * 200 + ["test"] * 100)
    told = estimate(classification.measure(data, embedding(np.eye(3)[label]), "kind", 0), "macro AUPRC")
    nothing = estimate(classification.measure(data, embedding(np.ones((300, 3))), "kind", 0), "macro AUPRC")
    assert told.value == pytest.approx(1.0) and told.chance == pytest.approx(1 / 3)
    assert nothing.value == pytest.approx(1 / 3)


def test_perceptron_separates_classes_that_are_not_linearly_separable() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(800, 2))
    data = dataset(kind=["same" if a * b > 0 else "other" for a, b in x], split=["train"] * 600 + ["test"] * 200)
    linear = estimate(classification.measure(data, embedding(x), "kind", 0), "accuracy").value
    assert estimate(mlp.measure(data, embedding(x), "kind", 0), "accuracy").value > 0.8 > 0.7 > linear
