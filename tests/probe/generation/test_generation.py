"""The task generation: its metrics against slow versions and closed forms, its baselines, and its errors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from typer.testing import CliRunner

import phylocli
from phylocli.cli import build
from phylocli.core.alphabet import MISSING
from phylocli.core.errors import EXIT_BAD_INPUT, EXIT_USAGE, BadInputError
from phylocli.formats import Family
from phylocli.generate.scoring import FamilyProfile
from phylocli.hmmer import build_hmm
from phylocli.models.model import Model
from phylocli.pairs import Split
from phylocli.probe.generation import NaturalFamilies, SequenceSet, baselines, read_set
from phylocli.probe.tasks import generation
from phylocli.statistics.identity import identity

pytestmark = pytest.mark.usefixtures("one_thread")

EXAMPLES = Path(__file__).parents[3] / "examples" / "families.sto"


@pytest.fixture(scope="module")
def families() -> list[Family]:
    """Three families of 30 members."""
    few = [family for family, _ in zip(phylocli.read_families(EXAMPLES), range(3), strict=False)]
    return [family.subset(family.ids[:30]) for family in few]


@pytest.fixture(scope="module")
def folder(families: list[Family], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Families, a split that holds out eight members of each, a small model, and a file of generated sequences."""
    path = tmp_path_factory.mktemp("generation")
    phylocli.write_families(families, path / "families.sto")
    Split.of((f, [("train", f.ids[:22]), ("validation", f.ids[22:])]) for f in families).write(path / "split.tsv")
    heads = {"ss3": {"hidden": 4, "kernel": 3}}
    Model.create("convolutional", preset="tiny", seed=0, heads=heads).save(path / "model")
    made = [(f.label, s.residues) for f in families for s in f.sequences()[:6]]
    (path / "new.fasta").write_text("".join(f">g{i} family={name}\n{text}\n" for i, (name, text) in enumerate(made)))
    return path


@pytest.fixture(scope="module")
def natural(folder: Path) -> NaturalFamilies:
    models = {"tiny": Model.load(folder / "model")}
    return NaturalFamilies.read(folder / "families.sto", folder / "split.tsv", models)


@pytest.fixture(scope="module")
def profile(natural: NaturalFamilies) -> FamilyProfile:
    return natural.held_out.profiles[0]


def test_members_reach_the_threshold_and_unrelated_sequences_have_no_bits(profile: FamilyProfile) -> None:
    members = [member.residues for member in profile.members]
    scores = profile.score([*members[:3], "W" * 60])
    assert [scored.above for scored in scores] == [True, True, True, False]
    assert scores[0].threshold == 25 and scores[0].bits > 25 > scores[3].bits


def test_a_gathering_threshold_of_the_record_counts(families: list[Family]) -> None:
    family = families[0].subset(families[0].ids)
    family.features = [*family.features, ("GA", "31.50 30.00;")]
    assert FamilyProfile.of(family).threshold == 31.5
    hmm = build_hmm(families[0])
    hmm.cutoffs.gathering = (40.0, 40.0)
    assert FamilyProfile.of(family, hmm).threshold == 40, "that of the profile comes first"


def test_the_nearest_training_member_is_that_of_all_pairwise_alignments(
    profile: FamilyProfile, natural: NaturalFamilies
) -> None:
    rows = natural.held_out.rows(0)
    letters = [natural.held_out.letters[k] for k in rows]
    for text, scored in zip(letters, profile.score(letters), strict=True):
        slow = max(identity(text, member.residues, of="longer") for member in profile.members)
        assert scored.identity == pytest.approx(slow, abs=0.02), "only members alike at the match states are aligned"
        named = next(member for member in profile.members if member.id == scored.nearest)
        assert identity(text, named.residues, of="longer") == scored.identity


def test_copies_and_parts_of_training_members_are_copies(profile: FamilyProfile) -> None:
    member = profile.members[0].residues
    changed = ("A" if member[5] != "A" else "C").join((member[:5], member[6:]))
    scores = profile.score([member, member[3:-3], changed])
    assert [scored.copied for scored in scores] == [True, True, False]
    assert scores[0].identity == 1 and scores[0].nearest == profile.members[0].id
    assert scores[1].identity == pytest.approx(1 - 6 / len(member)), "a fragment is not near its whole"


def test_diversity_is_the_mean_over_pairs_of_aligned_residues(natural: NaturalFamilies) -> None:
    found = generation.diversity(natural.held_out)
    states = natural.held_out.states[0]
    for k, row in enumerate(natural.held_out.rows(0)):
        distances = []
        for other in range(len(states)):
            if other != k:
                both = [(a, b) for a, b in zip(states[k], states[other], strict=True) if MISSING not in (a, b)]
                distances.append(np.mean([a != b for a, b in both]) if both else 1.0)
        assert found[row] == pytest.approx(np.mean(distances))


def test_divergences_of_lengths_and_compositions_have_their_closed_forms() -> None:
    assert generation.length_distance(np.array([90.0, 110]), np.array([100.0, 100])) == pytest.approx(0.1)
    p, q = np.array([0.5, 0.5, 0]), np.array([0.25, 0.25, 0.5])
    assert generation.composition_divergence(p, q) == pytest.approx(jensenshannon(p, q, 2) ** 2)
    assert generation.composition_divergence(np.array([1.0, 0]), np.array([0.0, 1])) == 1


def test_baselines_have_the_sizes_and_the_nature_they_say(natural: NaturalFamilies) -> None:
    found = baselines(natural, 0)
    assert all((made.sizes == natural.held_out.sizes) for made in found.values())
    assert all(scored.copied for scored in found["training members"].scores)
    shuffled = found["shuffled members"]
    assert all(sorted(a) == sorted(b) for a, b in zip(shuffled.letters, natural.held_out.letters, strict=True))
    fractions = {name: np.mean([scored.above for scored in made.scores]) for name, made in found.items()}
    assert min(fractions[name] for name in found if name != "shuffled members") > 0.8 and fractions["shuffled members"] == 0
    again = baselines(natural, 0)
    assert all(again[name].letters == made.letters for name, made in found.items())
    assert baselines(natural, 1)["HMM emission"].letters != found["HMM emission"].letters


def test_predicted_structure_is_compared_at_match_states(natural: NaturalFamilies) -> None:
    """Training members agree with themselves as often as a loop over predictions says."""
    model = natural.models["tiny"]
    members = natural.members
    found = generation.structure_agreement(members, model)
    profile = members.profiles[0]
    columns: list[list[str]] = []
    for text, places in profile.match_rows([member.residues for member in profile.members]):
        (prediction,) = phylocli.predict_residues([text], model, "ss")
        columns.append(["-" if k < 0 else prediction.states[k] for k in places])
    usual = []
    for column in zip(*columns, strict=True):
        kinds = sorted({c for c in column if c != "-"})
        usual.append(max(kinds, key=column.count) if kinds else "-")
    for row, states in zip(members.rows(0), columns, strict=True):
        pairs = [(a, b) for a, b in zip(states, usual, strict=True) if a != "-"]
        assert found[row] == pytest.approx(np.mean([a == b for a, b in pairs]))


def test_halves_divide_each_family(natural: NaturalFamilies) -> None:
    first = generation.halves(natural.held_out, np.random.default_rng(0))
    assert [int(first[natural.held_out.rows(code)].sum()) for code in range(3)] == [4, 4, 4]


def test_sequences_without_a_family_get_that_of_the_best_score(natural: NaturalFamilies, tmp_path: Path) -> None:
    letters = [natural.held_out.letters[natural.held_out.rows(code)[0]] for code in (2, 0)]
    (tmp_path / "x.fasta").write_text("".join(f">s{i}\n{text}\n" for i, text in enumerate(letters)))
    assert read_set(tmp_path / "x.fasta", natural.held_out.profiles).family.tolist() == [2, 0]


def test_unknown_families_and_single_sequences_are_errors(natural: NaturalFamilies, tmp_path: Path) -> None:
    (tmp_path / "x.fasta").write_text(">s family=PF99999\nMKVL\n>t family=PF99999\nMKVL\n")
    with pytest.raises(BadInputError, match="s is of an unknown family, 'PF99999'"):
        read_set(tmp_path / "x.fasta", natural.held_out.profiles)
    label = natural.held_out.profiles[0].label
    (tmp_path / "y.fasta").write_text(f">s family={label}\nMKVL\n")
    with pytest.raises(BadInputError, match="has 1 sequence"):
        read_set(tmp_path / "y.fasta", natural.held_out.profiles)


def test_families_without_held_out_members_are_named_with_the_reason(
    folder: Path, families: list[Family], tmp_path: Path
) -> None:
    first, *others = families
    parts = [(first, [("train", first.ids)]), *((f, [("train", f.ids[:22]), ("test", f.ids[22:])]) for f in others)]
    Split.of(parts).write(tmp_path / "split.tsv")
    natural = NaturalFamilies.read(folder / "families.sto", tmp_path / "split.tsv", {})
    with pytest.raises(BadInputError) as caught:
        read_set(folder / "new.fasta", natural.held_out.profiles, natural.left_out)
    assert "0 held-out members" in str(caught.value.why) and first.label in str(caught.value.why)


def test_the_frechet_distance_is_to_members_of_the_same_families(natural: NaturalFamilies) -> None:
    """Half of the members of one family are near the other half, however many other families there are."""
    rows = natural.members.rows(1)
    one = natural.members.take(rows)
    alone = NaturalFamilies(natural.training, natural.held_out.take(natural.held_out.rows(1)), natural.models)
    found, expected = (generation._of_model(which, one, "tiny", 0).estimates[0].value for which in (natural, alone))
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("fewest", [1, 10])
def test_notes_say_what_intervals_resample(natural: NaturalFamilies, monkeypatch: pytest.MonkeyPatch, fewest: int) -> None:
    monkeypatch.setattr(generation, "FEWEST_FAMILIES", fewest)
    kind = "families" if fewest == 1 else "sequences"
    assert f"intervals resample {kind}, and" in str(generation._of_sequences(natural, natural.members, 0).note)
    note = str(generation._of_model(natural, natural.members, "tiny", 0).note)
    assert note.endswith(f"secondary structure resample {kind}") and "distances resample sequences" in note


def test_pairs_of_columns_need_enough_training_members_too(folder: Path, families: list[Family], tmp_path: Path) -> None:
    Split.of((f, [("train", f.ids[:4]), ("validation", f.ids[4:])]) for f in families).write(tmp_path / "split.tsv")
    natural = NaturalFamilies.read(folder / "families.sto", tmp_path / "split.tsv", {})
    found = generation._of_sequences(natural, natural.held_out, 0)
    assert {e.metric: e.n for e in found.estimates}["mutual information r"] == 0
    assert "0 families with at least 5 generated and 5 training" in str(found.note)


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--layers", "all"], "layers"),
        (["--baselines", "composition"], "baselines"),
        (["--split-by", "family"], "split-by"),
        (["--trees", "EXISTING"], "trees"),
        (["--projection", "pca"], "projection"),
    ],
)
def test_options_that_the_task_does_not_read_are_refused(
    folder: Path, tmp_path: Path, words: list[str], option: str
) -> None:
    words = [str(folder / "families.sto") if word == "EXISTING" else word for word in words]
    words += ["--tasks", "generation", "--sequences", str(folder / "families.sto"), "--labels", str(folder / "split.tsv")]
    done = CliRunner().invoke(build(), ["probe", str(folder / "new.fasta"), *words, "-o", str(tmp_path / "r")])
    assert done.exit_code == EXIT_USAGE and f"--{option} has no effect with --tasks generation" in done.stderr


def test_options_of_the_task_are_refused_without_it(tmp_path: Path) -> None:
    words = ["probe", "x.tsv", "--labels", "y.tsv", "--min-bits", "30", "-o", str(tmp_path / "r")]
    done = CliRunner().invoke(build(), words)
    assert done.exit_code == EXIT_USAGE and "--min-bits has no effect without --tasks generation" in done.stderr


def test_the_command_compares_sets_with_baselines_and_shows_the_bias(
    folder: Path, tmp_path: Path, natural: NaturalFamilies
) -> None:
    words = ["probe", f"copies={folder / 'new.fasta'}", "--tasks", "generation", "--sequences", str(folder / "families.sto")]
    words += ["--labels", str(folder / "split.tsv"), "--model", f"tiny={folder / 'model'}", "--replicates", "100"]
    done = CliRunner().invoke(build(), [*words, "-o", str(tmp_path / "report")])
    assert done.exit_code == 0, done.stderr
    table = phylocli.Metrics.read(tmp_path / "report").to_polars()
    rows = {(r["embedding"], r["metric"]): r for r in table.iter_rows(named=True)}
    assert rows["copies", "copied"]["value"] == rows["training members", "copied"]["value"] == 1
    assert rows["held-out members", "copied"]["value"] == 0
    assert rows["held-out members", "Fréchet distance"]["n"] == 12, "half of the held-out members"
    assert rows["copies", "secondary structure agreement"]["value"] > 0
    made = SequenceSet(np.zeros(1, dtype=np.int64), natural.held_out.letters[:1], natural.held_out.profiles)
    assert math.isnan(generation.diversity(made)[0])
    page = (tmp_path / "report" / "report.html").read_text()
    summary = (tmp_path / "report" / "report.md").read_text()
    assert "paired" not in page + summary and "Holm" not in page + summary, "the sets have no items in common"
    assert not phylocli.Metrics.read(tmp_path / "report").differences
    assert "Fréchet distance by number of sequences" in page and "HMM emission" in page


def test_the_task_needs_families_and_their_split_and_runs_alone(folder: Path, tmp_path: Path) -> None:
    new, families = str(folder / "new.fasta"), str(folder / "families.sto")
    run = CliRunner()
    done = run.invoke(build(), ["probe", new, "--tasks", "generation", "-o", str(tmp_path / "a")])
    assert done.exit_code == EXIT_USAGE and "--sequences FAMILIES.sto" in done.stderr
    words = [
        "--tasks",
        "generation",
        "--sequences",
        families,
        "--labels",
        str(folder / "split.tsv"),
        "-o",
        str(tmp_path / "b"),
    ]
    done = run.invoke(build(), ["probe", new, "--tasks", "retrieval", *words])
    assert done.exit_code == EXIT_USAGE and "runs on its own" in done.stderr
    (tmp_path / "none.tsv").write_text("family\tid\tpart\nPF1\tx\ttrain\n")
    words[5] = str(tmp_path / "none.tsv")
    done = run.invoke(build(), ["probe", new, *words])
    assert done.exit_code == EXIT_BAD_INPUT and "no family has two members for training" in done.stderr
    assert not list(tmp_path.glob("[ab]"))
