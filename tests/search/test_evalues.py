"""E-values: calibration, and independence of other queries and rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from phylocli import models
from phylocli.core.errors import BadInputError
from phylocli.embed import Embedder, load_model, with_pooling
from phylocli.embed.to_table import PER_FAMILY
from phylocli.formats import read_families, read_sequences
from phylocli.formats.family import Family
from phylocli.models.model import Model
from phylocli.search import Background, EmbeddingTable, background, background_of, unit
from phylocli.search.background import background_of_table, write_family_background
from phylocli.search.evalues import CENSORED, EXCEEDANCES, fisher_z, log_p_values, log_survival
from phylocli.search.rerank import ResidueScores, align
from phylocli.search.residue_evalues import ResidueEvalues, cells
from phylocli.search.residue_plda import ResiduePLDA
from phylocli.search.targets import PreparedTable
from phylocli.statistics.gumbel import Gumbel, fit_gumbel


def vectors_only(vectors: np.ndarray) -> Background:
    return Background(vectors, [])


def table_of(vectors: np.ndarray) -> EmbeddingTable:
    return EmbeddingTable("t", [str(i) for i in range(len(vectors))], vectors.shape[1], {}, vectors=vectors)


@pytest.mark.parametrize("family", [stats.expon, stats.gumbel_r, stats.norm], ids=["exponential", "Gumbel", "normal"])
def test_p_values_are_as_frequent_as_they_say(family: stats.rv_continuous) -> None:
    rng = np.random.default_rng(0)
    background = family.rvs(size=(300, 4096), random_state=rng)
    scores = family.rvs(size=(300, 3000), random_state=rng)
    chances = np.exp(log_survival(background, scores))
    for chance in (0.5, 0.1, 0.01):
        assert np.mean(chances <= chance) == pytest.approx(chance, rel=0.1)
    for chance in (1e-3, 1e-4):  # of 900,000; a normal tail is taken for a longer one, which is safe
        assert chance / (6 if family is stats.norm else 2) < np.mean(chances <= chance) < 2 * chance


def test_the_tail_is_the_censored_exponential_fit_of_its_definition() -> None:
    rng = np.random.default_rng(1)
    background = rng.exponential(size=(1, 500))
    ordered = np.sort(background[0])[::-1]
    threshold, top = ordered[EXCEEDANCES], ordered[:EXCEEDANCES] - ordered[EXCEEDANCES]
    scale = (top[CENSORED:].sum() + CENSORED * top[CENSORED]) / (EXCEEDANCES - CENSORED)
    scores = np.array([[ordered[100], threshold + 0.1, threshold + 7]])
    expected = np.log([101 / 500, *(EXCEEDANCES / 500 * np.exp(-np.array([0.1, 7]) / scale))])
    assert np.allclose(log_survival(background, scores)[0], expected)
    relatives = background.copy()
    relatives[0, background[0].argsort()[-CENSORED:]] += 50  # relatives of the query change nothing
    assert np.array_equal(log_survival(relatives, scores), log_survival(background, scores))


@given(st.integers(0, 10_000), st.integers(EXCEEDANCES + 1, 60), st.integers(1, 3))
def test_p_values_fall_with_the_score_and_are_never_nan(seed: int, count: int, values: int) -> None:
    rng = np.random.default_rng(seed)
    background = rng.integers(-values, values + 1, (2, count)).astype(np.float64)  # many are equal, at times all
    scores = np.linspace(-5, 5, 41)[None].repeat(2, axis=0)
    chances = log_survival(background, scores)
    assert np.isfinite(chances).all() and (chances <= 0).all() and (np.diff(chances, axis=1) <= 0).all()


def cone(rng: np.random.Generator, count: int) -> np.ndarray:
    """Unrelated embeddings as models give them: in a cone, some nearer to its axis than others."""
    axis = np.zeros(64)
    axis[0] = 1
    spread = rng.uniform(0.06, 0.2, size=(count, 1))
    return unit(axis + spread * rng.normal(size=(count, 64)))


@pytest.mark.parametrize("rows", [10, 100, 10_000])
def test_evalues_count_unrelated_rows_in_tables_of_any_size_with_and_without_relatives(rows: int) -> None:
    rng = np.random.default_rng(0)
    null, queries, vectors = cone(rng, 2560), cone(rng, 400), cone(rng, 10_000)
    chances = np.exp(log_p_values(queries, queries @ vectors.T, null))
    related = unit(queries + 0.02 * rng.normal(size=queries.shape))
    for threshold in (0.1, 1.0, min(10.0, rows / 2)):
        hits = rows * np.mean(rows * chances <= threshold)  # of tables of so many rows, on average
        assert threshold / 2 < hits < 2 * threshold
    own = np.exp(log_p_values(queries, (queries * related).sum(axis=1)[:, None], null))
    assert np.median(rows * own) < 1e-3 * rows / 10_000  # relatives stand out; how many there are changes nothing


def test_an_evalue_depends_on_the_query_and_the_target_alone() -> None:
    rng = np.random.default_rng(2)
    null, queries = cone(rng, 500), cone(rng, 40)
    cosines = (queries @ cone(rng, 30).T).astype(np.float32)
    together = log_p_values(queries, cosines, null)
    for row in (0, 17, 39):
        alone = log_p_values(queries[row : row + 1], cosines[row : row + 1, 5:6], null)
        assert alone[0, 0] == pytest.approx(together[row, 5], abs=1e-3)  # float32 products differ with their shapes
    assert log_p_values(queries[:1], np.array([[-np.inf]]), null)[0, 0] == 0  # no hit: the chance is 1


@pytest.mark.parametrize("dimension", [1, 2])
def test_vectors_of_one_or_two_features_have_evalues(dimension: int) -> None:
    rng = np.random.default_rng(3)
    null = unit(rng.normal(size=(200, dimension)))
    with np.errstate(all="raise", under="ignore"):
        found = log_p_values(null[:5], null[:5] @ null.T, null)
        assert np.isfinite(log_p_values(np.zeros((1, dimension), np.float32), np.zeros((1, 3), np.float32), null)).all()
    assert np.isfinite(found).all()
    if dimension == 1:
        assert np.exp(found[0, 0]) == pytest.approx(np.mean(null[:, 0] == null[0, 0]))  # half of all is as near as can be


# The background of a model


def test_a_background_is_computed_once_for_a_model_and_kept_in_its_folder(
    small_background: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Model.create("convolutional", preset="tiny", seed=0).save(tmp_path / "model")
    embedder = Embedder(Model.load(folder))
    first = background_of(embedder)
    assert first is not None and len(first.sequences) == 150
    exact = unit(embedder.pooled(first.sequences))
    assert np.abs(exact @ exact.T - exact @ first.vectors.T).max() < 2e-3  # 8 bits a feature
    with monkeypatch.context() as patch:
        patch.setattr(background, "_compute", lambda *_: pytest.fail("computed again"))
        again = background_of(Embedder(Model.load(folder)))
    assert again is not None and np.array_equal(again.vectors, first.vectors)
    layer = background_of(Embedder(Model.load(folder), layer=1))  # another layer has its own
    assert (layer is not None and layer.vectors.shape != first.vectors.shape) or not np.allclose(
        layer.vectors, first.vectors
    )
    (folder / "background.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadInputError, match=r"background\.safetensors is damaged"):
        background_of(Embedder(Model.load(folder)))


def test_the_last_layer_by_number_has_the_models_own_background(small_background: Path, tmp_path: Path) -> None:
    """Tables name the layer that they are of; of the last one no second file is made."""
    folder = Model.create("convolutional", preset="tiny", seed=0).save(tmp_path / "model")
    model = Model.load(folder)
    first, last = background_of(Embedder(model)), background_of(Embedder(model, layer=model.depth))
    assert first is not None and last is not None and np.array_equal(first.vectors, last.vectors)
    assert [path.name for path in folder.glob("background*")] == ["background.safetensors"]


def test_where_a_models_folder_takes_no_background_the_cache_does(
    small_background: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHYLOCLI_CACHE", str(tmp_path / "cache"))
    model = Model.load(Model.create("convolutional", preset="tiny", seed=0).save(tmp_path / "model"))
    with monkeypatch.context() as patch:
        patch.setattr(model, "folder", tmp_path / "query.fasta" / "model")  # below a file: not even root can write there
        (tmp_path / "query.fasta").touch()
        assert background_of(Embedder(model)) is not None
    other = with_pooling(model, "max")
    assert background_of(Embedder(other)) is not None
    kept = sorted(path.name for path in (tmp_path / "cache" / "backgrounds").iterdir())
    assert kept == sorted(f"{m.fingerprint[:32]}.safetensors" for m in (model, other))
    monkeypatch.setattr(background, "_compute", lambda *_: pytest.fail("computed again"))
    assert background_of(Embedder(other)) is not None


def test_a_background_of_other_weights_or_sequences_is_replaced(small_background: Path, tmp_path: Path) -> None:
    folders = [Model.create("convolutional", preset="tiny", seed=s).save(tmp_path / str(s)) for s in (0, 1)]
    found = [background_of(Embedder(Model.load(folder))) for folder in folders]
    (folders[1] / "background.safetensors").write_bytes((folders[0] / "background.safetensors").read_bytes())
    again = background_of(Embedder(Model.load(folders[1])))
    assert found[1] is not None and again is not None and np.allclose(again.vectors, found[1].vectors, atol=1e-2)
    small_background.write_text("".join(f">{i}\n{'ACDEFGHIKLMNPQRSTVWY' * (1 + i % 3)}\n" for i in range(30)))
    other = background_of(Embedder(Model.load(folders[0])))
    assert other is not None and len(other.vectors) == 30


def test_a_model_without_a_folder_has_a_background_and_one_of_nucleotides_has_none(small_background: Path) -> None:
    assert background_of(Embedder(Model.create("convolutional", preset="tiny", seed=0))) is not None
    assert background_of(Embedder(Model.create("convolutional", preset="tiny", seed=0, alphabet="dna"))) is None


def test_the_default_models_background_ships_with_it_and_holds_no_family_twice() -> None:

    folder = models.find()
    assert (folder / "background.safetensors").is_file()
    found = list(read_sequences(background.SEQUENCES))
    assert len(found) == 2560 and len({s.residues for s in found}) == 2560
    shipped = background._load(folder / "background.safetensors", Embedder(models.load()))
    assert shipped is not None and shipped[0].shape == (2560, 1024)  # of these weights and these sequences


def test_rows_of_a_large_table_replace_a_missing_background() -> None:
    rng = np.random.default_rng(4)
    assert background_of_table(table_of(cone(rng, 999))) is None
    many = table_of(cone(rng, 5000))
    found = background_of_table(many)
    assert found is not None and len(found.vectors) == 4096
    queries = cone(rng, 200)
    hits = np.mean(5000 * np.exp(found.log_p_values(queries, queries @ many.take(range(5000)).T)) <= 1) * 5000
    assert 0.5 < hits < 2


def test_evalues_hold_on_real_proteins_of_different_clans(examples: Path) -> None:
    """With the model that ships: rows of other clans are false hits."""

    families = list(read_families(examples / "families.sto"))
    members = [(f.clan or f.accession, s.residues) for f in families for s in f.sequences()[:3]]
    group = np.array([name for name, _ in members])
    embedder = Embedder(models.load())
    vectors = unit(embedder.pooled([residues for _, residues in members]))
    known = background_of(embedder)
    assert known is not None
    evalues = len(vectors) * np.exp(known.log_p_values(vectors, vectors @ vectors.T))
    false = group[:, None] != group[None]
    for threshold in (10.0, 3.0, 1.0):
        assert (false & (evalues <= threshold)).sum(axis=1).mean() < 2 * threshold
    assert (np.diag(evalues) < 1e-20).all() and (evalues.argmin(axis=1) == np.arange(len(vectors))).all()


def test_short_sequences_that_are_near_each_other_are_not_taken_for_homologs(examples: Path) -> None:
    """Their embeddings lie together, so the background has short sequences; a table of them alone is the worst case."""

    rng = np.random.default_rng(0)
    members = [s.residues for f in read_families(examples / "families.sto") for s in f.sequences()[:20]]
    starts = [int(rng.integers(0, len(s) - 24)) for s in members if len(s) >= 25]
    pieces = [s[i : i + 25] for s, i in zip([s for s in members if len(s) >= 25], starts, strict=True)]
    embedder = Embedder(models.load())
    known = background_of(embedder)
    assert known is not None
    shuffled = unit(embedder.pooled(["".join(rng.permutation(list(s))) for s in pieces]))
    chances = np.exp(known.log_p_values(shuffled, shuffled @ unit(embedder.pooled(pieces)).T))
    np.fill_diagonal(chances, 1)
    assert 100 * np.mean(100 * chances <= 0.1) < 2  # hits in a table of 100, of which 0.1 are expected; 7 without short ones
    whole = unit(embedder.pooled(members))
    assert 100 * np.mean(100 * np.exp(known.log_p_values(shuffled, shuffled @ whole.T)) <= 1) < 2


# Alignments


def test_the_gumbel_fit_finds_the_distribution_that_scores_were_drawn_from() -> None:
    rng = np.random.default_rng(0)
    pairs = rng.integers(50, 400, 20_000) * rng.integers(50, 400, 20_000)
    true = Gumbel(0.8, np.log(0.03))
    scores = (true.log_size + np.log(pairs) - np.log(-np.log(rng.random(len(pairs))))) / true.rate
    found = fit_gumbel(scores, pairs)
    assert found.rate == pytest.approx(true.rate, rel=0.02) and found.log_size == pytest.approx(true.log_size, abs=0.15)
    for chance in (0.5, 0.01, 0.001):
        assert np.mean(np.exp(found.log_p_values(scores, pairs)) <= chance) == pytest.approx(chance, rel=0.3)
    size = np.array([4e4])
    expected = np.exp(found.log_size) * size * np.exp(-found.rate * found.scores_at(0.01, size))
    assert expected == pytest.approx(0.01)
    near, far = (found.log_p_values(np.array([s]), np.array([1e4]))[0] for s in (2000.0, 2000 + 1 / found.rate))
    assert near - far == pytest.approx(1) and far < -1000  # no digits are lost however far out


def test_censored_homologs_do_not_change_the_gumbel_fit() -> None:
    """Four scores of homologs among 128 would make chance alignments look several times as likely."""
    rng = np.random.default_rng(0)
    true, far = Gumbel(0.8, np.log(0.03)), 40.0
    sizes = rng.integers(50, 400, (200, 128)) * rng.integers(50, 400, (200, 128)).astype(float)
    clean = (true.log_size + np.log(sizes) - np.log(-np.log(rng.random(sizes.shape)))) / true.rate
    mixed = np.where(np.arange(128) < 4, clean + 50, clean)
    censored = [fit_gumbel(scores, cells, 4) for scores, cells in zip(mixed, sizes, strict=True)]
    same = [fit_gumbel(np.where(np.arange(128) < 4, 1e4, s), c, 4) for s, c in zip(mixed, sizes, strict=True)]
    assert [g.rate for g in censored] == pytest.approx([g.rate for g in same])  # how far above does not matter
    rates = [g.rate for g in censored]
    assert np.median(rates) == pytest.approx(true.rate, rel=0.15)
    plain = np.median([fit_gumbel(scores, cells).rate for scores, cells in zip(mixed, sizes, strict=True)])
    assert plain < 0.6 * true.rate
    at = np.median([g.log_p_values(np.array([far]), np.array([4e4]))[0] for g in censored])
    assert at == pytest.approx(true.log_p_values(np.array([far]), np.array([4e4]))[0], rel=0.1)


def test_a_fit_needs_scores_that_are_not_censored() -> None:
    with pytest.raises(ValueError, match="3 scores, 2 are censored"):
        fit_gumbel(np.arange(3.0), np.full(3, 100.0), 2)


def test_the_censored_gumbel_fit_is_the_maximum_of_its_likelihood() -> None:
    rng = np.random.default_rng(3)
    scores, sizes, censored = rng.gumbel(20, 3, 60), rng.integers(1000, 90_000, 60).astype(float), 5
    found = fit_gumbel(scores, sizes, censored)

    def log_likelihood(rate: float, log_size: float) -> float:
        order = np.argsort(scores)
        bound = scores[order[-censored - 1]]
        total = 0.0
        for i in order[:-censored]:
            y = np.exp(log_size) * sizes[i] * np.exp(-rate * scores[i])
            total += np.log(rate * y) - y
        for i in order[-censored:]:
            total += np.log(1 - np.exp(-np.exp(log_size) * sizes[i] * np.exp(-rate * bound)))
        return total

    best = log_likelihood(found.rate, found.log_size)
    for rate, size in ((1.02, 0.0), (0.98, 0.0), (1.0, 0.1), (1.0, -0.1), (1.02, 0.1), (0.98, -0.1)):
        assert log_likelihood(found.rate * rate, found.log_size + size) < best


@pytest.mark.parametrize("scores", [np.zeros(128), np.full(128, 3.0), np.r_[np.zeros(127), 1.0]])
def test_equal_scores_of_unrelated_pairs_still_give_p_values(scores: np.ndarray) -> None:
    for censored in (0, 4):
        null = fit_gumbel(scores, np.full(len(scores), 100.0), censored)
        found = null.log_p_values(np.array([0.0, 2, 5, 50]), np.full(4, 100.0))
        assert np.isfinite(found).all() and (np.diff(found) <= 0).all() and found[-1] < -10


def test_identical_sequences_score_best_alone_and_in_a_batch(small_background: Path, examples: Path) -> None:
    embedder = Embedder(Model.create("convolutional", preset="tiny", seed=0))
    known = background_of(embedder)
    members = [s.residues for f in read_families(examples / "families.sto") for s in f.sequences()[:2]][:12]
    vectors = unit(embedder.pooled(members))
    thousand = ResidueEvalues(ResidueScores(embedder), known, 1000)
    for query in (0, 5, 11):
        found = thousand(members[query], vectors[query], members)
        assert found.evalues.argmin() == found.scores.argmax() == query and found.evalues[query] < 1e-5
        assert found.null is not None and (found.excess >= 0).all()
        assert found.null.scores_at(0.01, cells(members[query], members)).max() < found.scores[query]
        ten = ResidueEvalues(ResidueScores(embedder), known, 10)(members[query], vectors[query], members[3:4])
        assert ten.scores[0] == pytest.approx(found.scores[3], rel=1e-3)
        assert 100 * ten.evalues[0] == pytest.approx(found.evalues[3], rel=1e-2)  # of a hundred times as many rows
    none = ResidueEvalues(ResidueScores(embedder), None, 10)(members[0], vectors[0], members)
    assert np.isnan(none.evalues).all() and none.null is None and none.scores[0] > 0


def test_what_the_reversed_query_scores_above_chance_is_subtracted() -> None:
    """A query of few letters scores as much backwards as forwards with proteins of the same composition."""
    embedder = Embedder(models.load())
    rng = np.random.default_rng(0)
    query, *similar = ("".join(rng.permutation(list("E" * 40 + "K" * 30))) for _ in range(7))
    vector = unit(embedder.pooled([query]))[0]
    aligner = ResidueScores(embedder)
    assert isinstance(aligner.comparison, ResiduePLDA)
    aligner.comparison = replace(aligner.comparison, composition=1.0)
    found = ResidueEvalues(aligner, background_of(embedder), 1000)(query, vector, similar)
    assert found.null is not None and np.median(found.excess) > 0
    sizes, (_, backwards) = cells(query, similar), aligner(query, similar)
    draws = (-np.log(-np.log(rng.random(100_000))) + found.null.log_size + np.log(sizes[0])) / found.null.rate
    assert found.null.means(sizes[:1])[0] == pytest.approx(draws.mean(), abs=5 * draws.std() / np.sqrt(len(draws)))
    assert found.excess == pytest.approx(np.maximum(backwards - found.null.means(sizes), 0), abs=1e-3)
    plain = 1000 * np.exp(found.null.log_p_values(found.scores, sizes))
    assert (found.evalues >= plain).all() and np.median(found.evalues) > 10 * np.median(plain)
    assert cells("AAA", ["AA", "A"]).tolist() == [6, 3]


def test_alignment_is_phmmers_with_the_tables_size(examples: Path) -> None:
    import pyhmmer

    globins = [s.unaligned() for f in read_families(examples / "globins.fasta") for s in f.sequences()][:3]
    noise = "".join(np.random.default_rng(0).choice(list("GP"), 60))
    evalues, bits = align(globins[0], [*globins, noise], 1000)
    letters = pyhmmer.easel.Alphabet.amino()
    digital = [pyhmmer.easel.TextSequence(name=str(i), sequence=s).digitize(letters) for i, s in enumerate(globins)]
    (hits,) = pyhmmer.phmmer(digital[:1], pyhmmer.easel.DigitalSequenceBlock(letters, digital), Z=1000, cpus=1)
    plain = {int(h.name): (h.evalue, h.score) for h in hits}
    assert plain and all((evalues[i], bits[i]) == pytest.approx(v, rel=1e-3) for i, v in plain.items())
    assert np.isnan(bits[3]) or bits[3] < bits[:3].min()


def test_transformed_cosines_are_bounded_by_the_resolution_of_a_search() -> None:
    assert fisher_z(np.array([1.0, 2.0])) == pytest.approx([np.arctanh(1 - 2.0**-21)] * 2)


def test_tables_of_families_have_the_background_of_families(small_background: Path, tmp_path: Path) -> None:
    """Each protein of it is averaged with its homologs; a model without it has none."""
    folder = Model.create("convolutional", preset="tiny", seed=0).save(tmp_path / "model")
    embedder = Embedder(Model.load(folder))
    single = background_of(embedder)
    assert single is not None
    assert background_of(embedder, families=True) is None
    families = [
        Family([name, "other"], [sequence, "MKV" * 40], name=name, aligned=False)
        for name, sequence in ((s.id, s.residues) for s in read_sequences(small_background))
    ]
    with pytest.raises(BadInputError, match="not those of the background"):
        write_family_background(embedder, families[1:])
    assert write_family_background(embedder, families).name == "background-families.safetensors"
    found = background_of(embedder, families=True)
    other = unit(embedder.pooled(["MKV" * 40]))[0]
    assert found is not None and np.abs(found.vectors - unit(single.vectors + other)).max() < 5e-3
    table = embedder.embed(["MKTAYIAKQR", "MKVLA"])
    assert np.array_equal(PreparedTable(table, embedder=embedder).background.vectors, single.vectors)
    table.metadata[PER_FAMILY] = "mean"
    assert np.array_equal(PreparedTable(table, embedder=embedder).background.vectors, found.vectors)


def test_the_default_model_has_a_background_of_families() -> None:
    embedder = load_model("default")
    single, families = background_of(embedder), background_of(embedder, families=True)
    assert single is not None and families is not None and single.vectors.shape == families.vectors.shape
    same = (single.vectors * families.vectors).sum(1)
    assert 0.5 < np.median(same) < 0.95 and same.max() > 0.999  # some have no homologs
