"""E-values count what chance brings; second looks agree with their definitions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from phylocli.embed import Embedder
from phylocli.encoders import Model
from phylocli.formats import read_families
from phylocli.search import EmbeddingTable, align_residues, calibrate, unit
from phylocli.search.again import ResidueScores, align
from phylocli.search.decoys import make_decoys
from phylocli.search.significance import fit_tail
from phylocli.search.standing import calibrate_alignments, sampled_ids


@pytest.mark.parametrize(
    ("law", "factor"),
    [(stats.norm, 3.0), (stats.expon, 1.6), (stats.genpareto(0.15), 3.0), (stats.gumbel_r, 1.6)],
    ids=["normal", "exponential", "Pareto", "Gumbel"],
)
def test_tails_are_those_of_the_law_behind_them(law: stats.rv_continuous, factor: float) -> None:
    tail = fit_tail(law.rvs(size=500_000, random_state=0))
    for chance in (0.3, 0.01, 1e-3):
        assert tail.chance(law.isf(chance)) == pytest.approx(chance, rel=0.1)
    for chance in (1e-4, 1e-5, 1e-6):  # far beyond what was seen; a normal tail is taken for a longer one, which is safe
        assert chance / factor < tail.chance(law.isf(chance)) < chance * factor * (10 if law is stats.norm else 1)
    z = np.linspace(-10, 60, 500)
    assert (np.diff(tail.chance(z)) <= 0).all() and tail.chance(np.array([60.0])) > 0  # falls, and never ends


def test_few_or_equal_scores_still_give_a_law() -> None:
    assert 0 < fit_tail(np.zeros(50)).chance(np.array([1.0]))[0] <= 1
    assert fit_tail(np.arange(40.0)).chance(np.array([0.0]))[0] == pytest.approx(1)


def cone(rng: np.random.Generator, count: int) -> np.ndarray:
    """Unrelated embeddings as models give them: in a cone, some nearer to its axis than others."""
    axis = np.zeros(64)
    axis[0] = 1
    spread = rng.uniform(0.06, 0.2, size=(count, 1))
    return unit(axis + spread * rng.normal(size=(count, 64)))


def test_evalues_count_the_rows_that_are_as_near_by_chance() -> None:
    rng = np.random.default_rng(0)
    vectors, queries, decoys = cone(rng, 4000), cone(rng, 300), cone(rng, 128)
    table = EmbeddingTable("t", [str(i) for i in range(4000)], 64, {}, vectors=vectors)
    for given in (decoys, None):
        evalues = calibrate(table, given).evalues(queries, queries @ vectors.T)
        for threshold in (30.0, 10.0, 1.0, 0.1):
            hits = (evalues <= threshold).sum(axis=1).mean()
            assert threshold / 3 < hits < threshold * 3
    near = unit(queries + 0.02 * rng.normal(size=queries.shape))
    found = calibrate(table, decoys).evalues(queries, (queries * near).sum(axis=1)[:, None])
    assert np.median(found) < 1e-2  # what is nearer than chance is told apart
    assert calibrate(table, decoys).evalues(queries[:1], np.array([[-np.inf]]))[0, 0] == 4000


def test_evalues_hold_on_real_proteins_of_different_clans(examples: Path) -> None:
    """Families of no common clan: hits among them are false, and there are at most as many as the E-value says.

    Decoys have the composition of real families and find these, so in a table of a few families there are far fewer.
    """
    families = list(read_families(examples / "families.sto"))
    letters = [s.unaligned() for f in families for s in list(f.sequences())[:25]]
    group = np.array([f.clan or f.accession for f in families for _ in f.ids[:25]])
    embedder = Embedder(Model.create("convolutional", preset="tiny", seed=0))
    vectors = unit(embedder.pooled(letters))
    table = EmbeddingTable("t", [str(i) for i in range(len(vectors))], vectors.shape[1], {}, vectors=vectors)
    decoys = unit(embedder.pooled(make_decoys(letters)))
    evalues = calibrate(table, decoys).evalues(vectors, vectors @ vectors.T)
    false = group[:, None] != group[None]
    for threshold in (30.0, 10.0, 3.0, 1.0):
        hits = (false & (evalues <= threshold)).sum(axis=1).mean()
        assert hits < threshold * 2
        assert hits > threshold / 20 or threshold < 10


def test_decoys_keep_letters_and_lose_order() -> None:
    real = ["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ" * 3, "GAVLIPFMWSTCYNQDEKRH" * 4]
    found = make_decoys(real, 40)
    assert found == make_decoys(real, 40) and len(set(found)) == 40
    assert found[:2] == [s[::-1] for s in real]
    assert all(sorted(d) == sorted(real[i % 2]) for i, d in enumerate(found))
    many = make_decoys(["A" * n for n in range(1, 1001)], 10)
    assert [len(d) for d in many][:2] == [1, 112] and len(many[-1]) == 1000


def test_residue_scores_embed_each_target_once(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder(Model.create("convolutional", preset="tiny", seed=0))
    seen: list[str] = []
    plain: Callable[..., list[np.ndarray]] = embedder.residues
    monkeypatch.setattr(embedder, "residues", lambda s: (seen.extend(s), plain(s))[1])
    scores = ResidueScores(embedder)
    first = scores("MKVLA", ["MKVLA", "GGGGG", "MKVLA"])
    assert first[0] == first[2] > first[1]
    assert (scores("MKVLA", ["GGGGG"]) == first[1:2]).all() and seen.count("GGGGG") == 1
    query, target = (unit(plain([s])[0]) for s in ("MKVLA", "GGGGG"))  # averaging leaves residues as they are
    assert first[1] == pytest.approx(align_residues(query, [target], scores.comparison)[0], abs=1e-4)
    monkeypatch.setattr("phylocli.search.again.KEPT_BYTES", 0)
    assert scores("MKVLA", ["GGGGG", "MKVLA"]) == pytest.approx(first[[1, 0]])  # forgetting changes no score


def test_alignments_and_cosines_together_tell_relatives_from_chance(examples: Path) -> None:
    """Two members of each of some families, so that few rows are related: most relatives stand out, next to nothing else."""
    embedder = Embedder(Model.create("convolutional", preset="tiny", seed=0))
    families = list(read_families(examples / "families.sto"))
    letters = [s.residues[:150] for f in families for s in f.sequences()[:2]]
    rng = np.random.default_rng(0)
    letters += ["".join(rng.permutation(list(letters[i % 22]))) for i in range(60)]
    vectors = unit(embedder.pooled(letters))
    table = EmbeddingTable("t", [str(i) for i in range(len(vectors))], vectors.shape[1], {}, vectors=vectors)
    decoys = make_decoys(letters[:22], 32)
    null = unit(embedder.pooled(decoys))
    significance = calibrate(table, null)
    sample = [letters[int(name)] for name in sampled_ids(table)]
    standing = calibrate_alignments(ResidueScores(embedder), significance, table, sample, decoys, null)
    z = significance.standardised(vectors, vectors @ vectors.T)
    own, false = [], []
    for query in range(0, 22, 2):
        scores, evalues = standing(letters[query], letters, z[query])
        assert scores.argmax() == query and evalues.argmin() == query and evalues[query] < 0.02
        own.append(evalues[query + 1])
        false.append(np.delete(evalues, [query, query + 1]).min())
    assert np.median(own) < 0.5 < np.median(false) and min(false) > 0.01
    assert np.mean(np.array(own) < false) > 0.7


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
