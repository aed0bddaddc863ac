"""Training data: who is in a batch, what is held out, what is left out and said, and how inputs are recognised."""

from __future__ import annotations

import collections
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phylocli.config.assignments import nested
from phylocli.config.train import TrainConfig
from phylocli.core.alphabet import decode_tokens
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import write_families
from phylocli.formats.family import Family
from phylocli.formats.newick import NewickTree
from phylocli.formats.tables import pairs_schema, write_table
from phylocli.pairs import Split, sample_pairs
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.data.loading import load_corpus
from phylocli.train.data.prefetcher import prefetched
from phylocli.train.data.types import chunks_by_length

Simulate = Callable[..., Family]


def settings(**changes: Any) -> dict[str, Any]:
    return TrainConfig.of(None, {"recipe": "simclr", **nested({"batch.pairs": 8, **changes})})


@pytest.fixture
def families(simulate: Simulate) -> list[Family]:
    return [simulate(f"PF{i:05d}", 20 + i, clan="CL0001" if i < 2 else "") for i in range(5)]


@pytest.fixture
def stockholm(families: list[Family], tmp_path: Path) -> Path:
    write_families(families, tmp_path / "families.sto")
    return tmp_path / "families.sto"


@pytest.fixture
def table(families: list[Family], tmp_path: Path) -> Path:
    frame = sample_pairs(families, number=2000, seed=0)
    write_table(frame, tmp_path / "pairs.parquet", pairs_schema())
    return tmp_path / "pairs.parquet"


def owners(families: list[Family]) -> dict[str, str]:
    return {row.replace("-", ""): f.label for f in families for row in f.rows}


def test_a_batch_holds_true_pairs_and_their_codes(families: list[Family], stockholm: Path) -> None:
    corpus = load_corpus([stockholm], settings(**{"view.name": "phylogenetic"}))
    batch = corpus.batch(3)
    owner = owners(families)
    assert len(batch) == len(batch.a) == len(batch.b) == 8
    for a, b, code in zip(batch.a, batch.b, batch.family, strict=True):
        label = corpus.families[code].label
        assert owner[decode_tokens(a)] == owner[decode_tokens(b)] == label
    clans = {corpus.families[code].clan: clan for code, clan in zip(batch.family, batch.clan, strict=True)}
    assert clans == {"CL0001": 0, "": -1}
    assert (batch.distance > 0).all()


def test_batches_are_functions_of_seed_and_step(stockholm: Path) -> None:
    def drawn(seed: int, steps: range) -> list[bytes]:
        corpus = load_corpus([stockholm], settings().updated(seed=seed))
        with prefetched(corpus, steps) as batches:
            return [b"".join(t.tobytes() for t in p.a + p.b) for p in batches]

    whole = drawn(0, range(6))
    assert drawn(0, range(4, 6)) == whole[4:]
    assert drawn(1, range(6)) != whole
    assert len(set(whole)) == 6


def test_the_order_of_inputs_does_not_matter(families: list[Family], tmp_path: Path) -> None:
    parts = [tmp_path / "a.sto", tmp_path / "b.sto"]
    write_families(families[:2], parts[0])
    write_families(families[2:], parts[1])
    one, two = (load_corpus(list(order), settings()).batch(0) for order in (parts, parts[::-1]))
    assert [t.tobytes() for t in one.a] == [t.tobytes() for t in two.a]


def corpus_of(n: int, pairs: int, **options: Any) -> Corpus:
    class Prepared:
        def draw(self, count: int, rng: np.random.Generator) -> Any:
            return [np.zeros(1, np.uint8)] * count, [np.zeros(1, np.uint8)] * count, np.zeros(count)

    from phylocli.train.data.types import FamilySource

    sizes = options.pop("sizes", [10] * n)
    sources = [FamilySource(f"F{i}", "", sizes[i], Prepared(), None, list) for i in range(n)]
    return Corpus(sources, pairs=pairs, seed=0, **options)


def test_with_enough_families_each_is_in_a_batch_at_most_once_and_in_a_round_exactly_once() -> None:
    corpus = corpus_of(12, 4)
    for turn in range(3):
        chosen = np.concatenate([corpus.chosen(step) for step in range(3 * turn, 3 * turn + 3)])
        assert sorted(chosen) == list(range(12))
    assert corpus.chosen(0).tolist() != corpus.chosen(3).tolist()
    ragged = corpus_of(10, 4)
    assert all(len(set(ragged.chosen(step))) == 4 for step in range(20))
    counts = np.bincount(np.concatenate([ragged.chosen(step) for step in range(2000)]), minlength=10)
    assert counts == pytest.approx(np.full(10, 800), rel=0.1)


def test_with_few_families_each_gives_the_same_number_of_pairs_give_or_take_one() -> None:
    corpus = corpus_of(3, 8)
    total: collections.Counter[int] = collections.Counter()
    for step in range(300):
        counts = np.bincount(corpus.chosen(step), minlength=3)
        assert counts.sum() == 8
        assert counts.max() - counts.min() <= 1
        total.update(corpus.chosen(step).tolist())
    assert list(total.values()) == pytest.approx([800, 800, 800], rel=0.1)


def test_without_a_number_the_batch_follows_the_number_of_families() -> None:
    assert [corpus_of(n, 0).pairs for n in (2, 20, 100, 1000)] == [32, 40, 200, 256]


def test_family_power_samples_in_proportion_to_size() -> None:
    corpus = corpus_of(2, 10, sizes=[10, 30], family_power=1.0)
    drawn = np.concatenate([corpus.chosen(step) for step in range(500)])
    assert (drawn == 1).mean() == pytest.approx(0.75, abs=0.03)


def sequences_of(families: list[Family], split: Split, part: str) -> set[bytes]:
    members = [found for family in families if (found := split.members(family, part)) is not None]
    return {tokens.tobytes() for family in members for tokens in family.encoded()}


def drawn(corpus: Corpus, steps: int) -> set[bytes]:
    batches = [corpus.batch(step) for step in range(steps)]
    return {tokens.tobytes() for batch in batches for tokens in batch.a + batch.b}


@pytest.mark.parametrize("band", [{}, {"min_dist": 0.0, "max_dist": 0.7}, {"min_dist": 2.5}])
def test_the_split_of_a_corpus_says_who_is_trained_on_and_who_is_validated_on(
    band: dict[str, float], families: list[Family], stockholm: Path
) -> None:
    changes = {"validation.fraction": 0.3, "view.name": "phylogenetic", "view.phylogenetic": band}
    corpus = load_corpus([stockholm], settings(**changes))
    split = corpus.split()
    train, validation = (sequences_of(families, split, part) for part in ("train", "validation"))
    assert train and train.isdisjoint(validation)
    assert drawn(corpus, 60) <= train
    held_out = corpus.validation(64)
    assert {t.tobytes() for t in held_out.a + held_out.b} <= validation if held_out is not None else not validation


@pytest.mark.parametrize("band", [{}, {"min_dist": 0.0, "max_dist": 0.4}])
def test_given_split_is_kept_for_every_view(
    band: dict[str, float], families: list[Family], stockholm: Path, tmp_path: Path
) -> None:
    thirds = [[("train", f.ids[::3] + f.ids[1::3]), ("validation", f.ids[2::6]), ("test", f.ids[5::6])] for f in families]
    given = Split.of(zip(families, thirds, strict=True))
    given.write(tmp_path / "seed-7.parquet")
    view = {"view.name": "phylogenetic", "view.phylogenetic": band}
    named = {**view, "validation.split": str(tmp_path / "seed-{seed}.parquet")}
    corpus = load_corpus([stockholm], settings(**named).updated(seed=7))
    split = corpus.split()
    used = set(split.table["family"])
    assert all(
        split.ids(label, part) == given.ids(label, part) for label in used for part in ("train", "validation", "test")
    )
    train, validation = (sequences_of(families, given, part) for part in ("train", "validation"))
    assert drawn(corpus, 40) <= train
    held_out = corpus.validation(64)
    assert held_out is None or {t.tobytes() for t in held_out.a + held_out.b} <= validation
    if not band:
        assert held_out is not None and drawn(corpus, 200) == train
    other = load_corpus([stockholm], settings(**view).updated(seed=7))
    assert other.split().digest() != split.digest()  # the survey of one split is not taken for that of another


def test_a_split_that_lacks_a_member_is_refused(families: list[Family], stockholm: Path, tmp_path: Path) -> None:
    some = Split.of((f, [("train", f.ids[1:])]) for f in families)
    some.write(tmp_path / "split.tsv")
    with pytest.raises(UsageError, match=r"the split does not list 'PF\d+/0'"):
        load_corpus([stockholm], settings(**{"validation.split": str(tmp_path / "split.tsv")}))


def test_held_out_members_never_train(families: list[Family], stockholm: Path) -> None:
    corpus = load_corpus([stockholm], settings(**{"validation.fraction": 0.3, "view.name": "phylogenetic"}))
    held_out = corpus.validation(64)
    assert held_out is not None
    out = {t.tobytes() for t in held_out.a + held_out.b}
    trained = {t.tobytes() for step in range(200) for t in corpus.batch(step).a + corpus.batch(step).b}
    assert out.isdisjoint(trained)
    assert len(set(held_out.family)) >= 4
    again = corpus.validation(64)
    assert [t.tobytes() for t in again.a] == [t.tobytes() for t in held_out.a]
    everyone = {row for f in families for row in f.rows}
    assert len(trained) + len(out) > 0.8 * len(everyone)


def test_held_out_sequences_of_a_table_never_train(table: Path) -> None:
    corpus = load_corpus([table], settings(**{"validation.fraction": 0.3, "view.name": "phylogenetic"}))
    held_out = corpus.validation(64)
    assert held_out is not None
    out = {t.tobytes() for t in held_out.a + held_out.b}
    assert out.isdisjoint({t.tobytes() for step in range(200) for t in corpus.batch(step).a + corpus.batch(step).b})


@pytest.mark.parametrize("form", ["parquet", "tsv", "arrow", "tsv.gz"])
def test_tables_of_every_format_give_the_same_batches(form: str, table: Path, tmp_path: Path) -> None:
    from phylocli.formats.tables import read_table

    write_table(read_table(table), tmp_path / f"other.{form}", pairs_schema())
    one, two = (load_corpus([p], settings()).batch(5) for p in (table, tmp_path / f"other.{form}"))
    assert [t.tobytes() for t in one.a + one.b] == [t.tobytes() for t in two.a + two.b]
    assert np.allclose(one.distance, two.distance)


def test_the_band_selects_among_a_tables_rows(table: Path) -> None:
    changes = {"view.phylogenetic": {"min_dist": 1.0, "max_dist": 1.5}}
    corpus = load_corpus([table], settings(**changes))
    assert all(((b.distance >= 1.0) & (b.distance <= 1.5)).all() for b in (corpus.batch(s) for s in range(5)))


def test_a_table_takes_transforms_but_no_other_source(table: Path) -> None:
    corpus = load_corpus([table], settings(**{"view.crop": {"max_length": 20}}))
    assert max(len(t) for t in corpus.batch(0).a) == 20
    with pytest.raises(UsageError, match="min_length ≤ max_length"):
        load_corpus([table], settings(**{"view.crop": {"min_length": 30, "max_length": 20}}))
    with pytest.raises(UsageError, match="identity"):
        load_corpus([table], settings(**{"view.name": "identity+crop"}))


def test_families_that_give_no_pair_are_left_out_with_a_note(
    simulate: Simulate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    single = Family(["x"], ["ACDEFGH"], accession="PF99999")
    far = simulate("PF00009", 2, seed=1)
    far.tree = NewickTree("('PF00009/0':5,'PF00009/1':5);")
    write_families([simulate("PF00001", 9), simulate("PF00002", 9), single, far], tmp_path / "f.sto")
    corpus = load_corpus([tmp_path / "f.sto"], settings(**{"view.phylogenetic": {"max_dist": 3.0}}))
    assert [f.label for f in corpus.families] == ["PF00001", "PF00002"]
    said = capsys.readouterr().err
    assert "skipped 1 of 4 families: fewer than two members (PF99999)" in said
    assert "skipped 1 of 4 families: no pair in the distance band (PF00009)" in said


def test_no_usable_family_is_an_error(simulate: Simulate, tmp_path: Path) -> None:
    write_families([Family(["x"], ["ACDEFGH"], accession="PF99999")], tmp_path / "single.sto")
    with pytest.raises(BadInputError, match="no family can be used for training"):
        load_corpus([tmp_path / "single.sto"], settings())
    treeless = [simulate("PF00001", 5), simulate("PF00002", 5)]
    for family in treeless:
        family.tree = None
    write_families(treeless, tmp_path / "treeless.sto")
    with pytest.raises(BadInputError, match="phylocli tree"):
        load_corpus([tmp_path / "treeless.sto"], settings())


def test_views_without_phylogeny_need_no_tree(simulate: Simulate, tmp_path: Path) -> None:
    treeless = [simulate("PF00001", 30), simulate("PF00002", 30)]
    for family in treeless:
        family.tree = None
    write_families(treeless, tmp_path / "treeless.sto")
    corpus = load_corpus([tmp_path / "treeless.sto"], settings(**{"view.name": "crop"}))
    assert len(corpus.batch(0)) == 8
    assert corpus.validation(4) is not None


def test_run_without_negatives_is_an_error_with_advice(simulate: Simulate, tmp_path: Path) -> None:
    one, homologs = simulate("PF00001", 9, clan="CL0001"), simulate("PF00002", 9, clan="CL0001")
    write_families([one], tmp_path / "one.sto")
    with pytest.raises(UsageError, match="only one family"):
        load_corpus([tmp_path / "one.sto"], settings())
    assert len(load_corpus([tmp_path / "one.sto"], settings(**{"batch.negatives": "pair"})).batch(0)) == 8
    write_families([one, homologs], tmp_path / "clan.sto")
    with pytest.raises(UsageError, match="CL0001"):
        load_corpus([tmp_path / "clan.sto"], settings())
    assert load_corpus([tmp_path / "clan.sto"], settings(**{"batch.negatives": "family"}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("family\tid_a\tid_b\tseq_a\nF\tx\ty\tACD\n", "lacks the column seq_b"),
        ("family\tid_a\tid_b\tseq_a\tseq_b\n", "contains no pairs"),
        ("family\tid_a\tid_b\tseq_a\tseq_b\nF\tx\ty\tACD\tA5D\n", "'y' contains '5' at position 2"),
        ("family\tid_a\tid_b\tseq_a\tseq_b\nF\tx\ty\tACD\t---\n", "'y' has no residues"),
    ],
)
def test_bad_tables_name_what_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text(text)
    with pytest.raises(BadInputError, match=message):
        load_corpus([tmp_path / "pairs.tsv"], settings())


def test_a_family_in_two_inputs_is_an_error(stockholm: Path, table: Path) -> None:
    with pytest.raises(BadInputError, match="occurs twice"):
        load_corpus([stockholm, table], settings())


def test_groups_by_length_hold_everything_once_and_keep_to_the_budget() -> None:
    rng = np.random.default_rng(0)
    lengths = [*rng.integers(1, 300, 100).tolist(), 5000]
    groups = chunks_by_length(lengths, 1000)
    assert sorted(i for g in groups for i in g) == list(range(101))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= 1000
    waste = sum(len(g) * max(lengths[i] for i in g) for g in groups) / sum(lengths)
    assert waste < 1.1


def test_input_fractions_decide_how_many_pairs_are_of_each_input(simulate, tmp_path):
    for name, first, n in (("one", 0, 9), ("two", 9, 4)):
        write_families([simulate(f"PF{i:05d}", 8) for i in range(first, first + n)], tmp_path / f"{name}.sto")
    inputs = [tmp_path / "two.sto", tmp_path / "one.sto"]

    def corpus(*fractions):
        made = {"recipe": "simclr", "batch": {"pairs": 10, "input_fractions": fractions}, "validation": {"fraction": 0.0}}
        return load_corpus(inputs, TrainConfig.of(None, made), cache=tmp_path / "cache")

    found = corpus(3, 1)  # 7.5 and 2.5 of 10: the larger remainder, or the first of equals, is rounded up
    of_two = [f.label >= "PF00009" for f in found.families]
    rounds = np.concatenate([found.chosen(step) for step in range(9)])
    assert np.array(of_two)[rounds].mean() == 0.8
    counts = np.bincount(rounds, minlength=13)
    assert counts[:9].sum() == 18 and counts[:9].max() <= 3  # nine families, two of which are in each step
    assert set(counts[9:]) == {18}  # four families, eight pairs a step: each twice
    assert (corpus(0, 1).chosen(0) < 9).all()
    assert np.array_equal(corpus(0, 1).chosen(4), corpus(0, 2).chosen(4))
    with pytest.raises(UsageError, match=r"1 numbers for the inputs two\.sto, one\.sto"):
        corpus(1)
    with pytest.raises(UsageError, match="not all 0"):
        corpus(0, 0)
