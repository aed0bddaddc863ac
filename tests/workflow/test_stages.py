import tomllib
from pathlib import Path

import pytest

from phylocli.config.layers import Layer
from phylocli.config.pairs import SamplingConfig
from phylocli.config.run import OF_VIEW, ONLY_BY_TABLE, RunConfig, of_arguments, of_file
from phylocli.core.errors import BadInputError, UsageError
from phylocli.views.phylogenetic import Phylogenetic
from phylocli.workflow.run import Chain
from phylocli.workflow.stages import Ledger, Stage


def copying(name, source, target, parameters, log, fail=False):
    def action(resuming):
        log.append((name, resuming))
        target.write_text(source.read_text() + parameters.get("add", ""))
        if fail:
            raise KeyboardInterrupt

    return Stage(name, action, (source,), parameters, (target,))


def test_a_stage_runs_once_and_again_when_something_changed(tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_text("one")
    log: list[tuple[str, bool]] = []
    assert Ledger(tmp_path).perform(copying("s", source, target, {}, log))
    assert not Ledger(tmp_path).perform(copying("s", source, target, {}, log))
    source.write_text("two")
    assert Ledger(tmp_path).perform(copying("s", source, target, {}, log))
    assert Ledger(tmp_path).perform(copying("s", source, target, {"add": "!"}, log))
    assert target.read_text() == "two!"
    target.write_text("spoiled")
    assert Ledger(tmp_path).perform(copying("s", source, target, {"add": "!"}, log))
    target.unlink()
    assert Ledger(tmp_path).perform(copying("s", source, target, {"add": "!"}, log))
    assert len(log) == 5
    assert not any(resuming for _, resuming in log)


def test_interrupted_stage_is_marked_as_resuming(tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_text("one")
    log: list[tuple[str, bool]] = []
    with pytest.raises(KeyboardInterrupt):
        Ledger(tmp_path).perform(copying("s", source, target, {}, log, fail=True))
    Ledger(tmp_path).perform(copying("s", source, target, {}, log))
    assert log == [("s", False), ("s", True)]
    # With other parameters what was begun is of no use.
    with pytest.raises(KeyboardInterrupt):
        Ledger(tmp_path).perform(copying("s", source, target, {"add": "a"}, log, fail=True))
    Ledger(tmp_path).perform(copying("s", source, target, {"add": "b"}, log))
    assert log[-1] == ("s", False)


def test_a_damaged_ledger_means_running_again(tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_text("one")
    log: list[tuple[str, bool]] = []
    Ledger(tmp_path).perform(copying("s", source, target, {}, log))
    (tmp_path / "stages.json").write_text("{")
    Ledger(tmp_path).perform(copying("s", source, target, {}, log))
    assert len(log) == 2


def load(path):
    return RunConfig.layered([of_file(path)])


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(text)
    return path


def test_files_are_relative_to_the_configuration(tmp_path):
    (tmp_path / "f.sto").write_text("")
    config = load(write(tmp_path, 'families = ["f.sto", "PF00042"]\nseed = 7\n[tree]\nengine = "nj"\n'))
    assert config.families == (str(tmp_path / "f.sto"), "PF00042")
    assert (config.seed, config.tree.engine) == (7, "nj")


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("families = [", BadInputError, "not TOML"),
        ('famlies = ["a"]', UsageError, "run.toml: there is no option 'famlies'\nfix: did you mean 'families'"),
        ("families = [3.5, {}]", UsageError, "must be text"),
        ('families = ["a"]\n[align]\nengin = "famsa"', UsageError, r"run.toml: \[align\] has no option 'engin'"),
        ('families = ["a"]\n[holdout]\nfraction = 1.5', UsageError, "run.toml: holdout.fraction must be below 1, not 1.5"),
    ],
)
def test_errors_in_a_configuration_are_reported(tmp_path, text, error, said):
    with pytest.raises(error, match=said):
        load(write(tmp_path, text))


def test_a_run_without_families_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no families given"):
        list(Chain(load(write(tmp_path, "seed = 1")), tmp_path).stages())


def test_families_and_clans_from_the_command_line():
    config = RunConfig.layered([of_arguments(["PF00042", "x.sto", "CL0090"])])
    assert (config.families, config.clans) == (("PF00042", "x.sto"), ("CL0090",))


def test_the_demo_configuration_is_valid(examples):
    config = load(examples / "demo.toml")
    assert config.families == (str(examples / "families.sto"),)


def test_a_run_takes_alphabet_and_hard_negatives_on_to_training(tmp_path, simulate):
    from phylocli.formats import write_families

    (tmp_path / "groups.tsv").write_text("family\tgroup\nPF00001\tg\nPF00002\tg\nPF00003\tg\n")
    (tmp_path / "run.toml").write_text("""
families = ["PF00001", "PF00002", "PF00003"]
[pairs]
n = 200
hard_negatives = "groups.tsv"
negatives = 1
[train]
steps = 1
device = "cpu"
encoder = {preset = "tiny"}
batch = {pairs = 6}
""")
    stages = {stage.name: stage for stage in Chain(load(tmp_path / "run.toml"), tmp_path / "out").stages()}
    (tmp_path / "out").mkdir()
    write_families([simulate(f"PF0000{k}", 24) for k in (1, 2, 3)], tmp_path / "out" / "trees.sto.gz")
    assert set(stages["train"].inputs) >= set(stages["negatives"].outputs)
    for name in ("split", "pairs", "negatives", "train"):
        stages[name].action(False)
    config = tomllib.loads((tmp_path / "out" / "run" / "config.toml").read_text())
    assert config["batch"]["hard_negatives"] == str(tmp_path / "out" / "negatives.tsv")
    assert config["alphabet"] == "protein"
    assert (tmp_path / "out" / "run" / "model" / "model.safetensors").is_file()


def test_a_run_trains_on_trees_within_the_split_that_it_saves(tmp_path, simulate):
    from phylocli.formats import read_families, write_families
    from phylocli.pairs import Split

    (tmp_path / "run.toml").write_text("""
families = ["PF00001", "PF00002"]
seed = 3
[pairs]
min_dist = 0.2
[train]
steps = 1
device = "cpu"
encoder = {preset = "tiny"}
batch = {pairs = 4}
""")
    chain = Chain(load(tmp_path / "run.toml"), tmp_path / "out")
    stages = {stage.name: stage for stage in chain.stages()}
    assert "pairs" not in stages  # no table where no number of pairs is asked for
    chain.trees.parent.mkdir()
    families = [simulate(f"PF0000{k}", 30) for k in (1, 2)]
    write_families(families, chain.trees)
    for name in ("split", "train"):
        stages[name].action(False)
    split, used = Split.read(chain.split), Split.read(chain.run / "split.parquet")
    assert {split.part_of(family.label, name) for family in families for name in family.ids} == {
        "train",
        "validation",
        "test",
    }
    trained_on = {name for family in read_families(chain.train) for name in family.ids}
    for family in families:
        assert not split.ids(family.label, "test") & trained_on
        for part in ("train", "validation"):
            assert used.ids(family.label, part) == split.ids(family.label, part)
    config = tomllib.loads((chain.run / "config.toml").read_text())
    assert config["seed"] == 3
    assert config["view"]["phylogenetic"]["min_dist"] == 0.2


@pytest.mark.parametrize(
    ("text", "on_pairs"),
    [
        ("", False),
        ("[pairs]\nmin_dist = 1\nrelation = 'orthologs'\n", False),
        ("[pairs]\nscheme = 'per-sequence'\nreplace = true\n", True),
        ("[pairs]\nbins = [[0, 1], [1, 2]]\n", True),
        ("train_on = 'pairs'\n", True),
    ],
)
def test_a_run_trains_on_a_table_where_only_a_table_can_follow(tmp_path, text, on_pairs):
    config = load(write(tmp_path, 'families = ["PF00042"]\n' + text))
    assert config.trains_on_pairs == on_pairs
    assert ("pairs" in {stage.name for stage in Chain(config, tmp_path).stages()}) == on_pairs


def test_limits_that_training_on_trees_cannot_follow_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"cannot follow \[pairs\] min_identity"):
        load(write(tmp_path, 'families = ["PF00042"]\ntrain_on = "trees"\n[pairs]\nmin_identity = 0.3\n'))


def test_every_option_of_pairs_is_followed_by_the_view_or_makes_a_run_train_on_a_table(tmp_path, caplog):
    """A new option of sampling belongs to one of the two; none is dropped without a word."""
    from inspect import signature

    assert set(OF_VIEW) == set(signature(Phylogenetic).parameters)
    assert {*OF_VIEW, *ONLY_BY_TABLE, "number", "seed", "alphabet"} == set(SamplingConfig.model_fields)
    load(write(tmp_path, 'families = ["PF00042"]\n[pairs]\nholdout = "clans"\n'))
    assert "[pairs] holdout is not used" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[train]\nstepz = 3\n", r"run\.toml: \[train\] has no option 'stepz'"),
        ("[train.optimiser]\nwarmup = 2\n", r"run\.toml: \[train\] optimiser\.warmup must be at most 1, not 2"),
        ('[train]\n"batch.pairs" = "a"\n', r"run\.toml: \[train\] batch\.pairs must be a whole number"),
        ("train = 3\n", r"run\.toml: train must be a table"),
    ],
)
def test_options_of_training_are_checked_with_the_place_in_a_runs_file(tmp_path, text, said):
    with pytest.raises(UsageError, match=said):
        load(write(tmp_path, ("" if "[" in text else text) + 'families = ["PF00042"]\n' + (text if "[" in text else "")))


def test_options_of_training_keep_the_names_of_the_command_line_and_the_environment(tmp_path, monkeypatch):
    families = Layer("", {"families": ["PF00042"]})
    with pytest.raises(UsageError, match=r"^--set train\.steps must be a whole number"):
        RunConfig.layered([families, Layer("--set", {"train": {"steps": "x"}}, {"train.steps": "--set train.steps"})])
    monkeypatch.setenv("PHYLOCLI_TRAIN__STEPS", "x")
    with pytest.raises(UsageError, match=r"^\$PHYLOCLI_TRAIN__STEPS must be a whole number"):
        RunConfig.layered([*RunConfig.gather({}), families])


def test_seed_and_alphabet_are_set_once_for_all_stages(tmp_path):
    config = load(write(tmp_path, 'families = ["PF00042"]\nseed = 5\n[pairs]\nnumber = 3\n'))
    assert config.pairs.seed == 5
    assert load(write(tmp_path, 'families = ["PF00042"]\nseed = 5\n[pairs]\nseed = 6\n')).pairs.seed == 6


def test_tables_of_the_project_file_reach_the_stages_of_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phylocli.toml").write_text('[align]\nengine = "famsa"\n[pairs]\nmin_dist = 0.5\nmax_dist = 2\n')
    monkeypatch.setenv("PHYLOCLI_PAIRS__MAX_DIST", "3")
    file = write(tmp_path, 'families = ["PF00042"]\n[pairs]\nmin_dist = 1\nmax_dist = 4\n')
    config = RunConfig.layered(RunConfig.gather({"what": [str(file)]}))
    assert (config.align.engine, config.pairs.min_dist, config.pairs.max_dist) == ("famsa", 1, 3)


def test_the_configuration_that_a_run_writes_gives_the_same_run(tmp_path):
    import tomli_w

    config = load(write(tmp_path, 'families = ["PF00042"]\nseed = 5\n[pairs]\nn = 3\nbins = "0:1,1:"\n'))
    (tmp_path / "again.toml").write_text(tomli_w.dumps(config.to_toml()))
    assert load(tmp_path / "again.toml") == config


def test_run_on_nucleotides_refuses_amino_acid_models(tmp_path):
    text = 'alphabet = "dna"\nfamilies = ["PF00042"]\n'
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(UsageError, match="amino acid substitution model"):
        load(tmp_path / "run.toml")
    (tmp_path / "run.toml").write_text(text + '[tree]\nmodel = "p"\n')
    assert load(tmp_path / "run.toml").alphabet == "dna"
    (tmp_path / "run.toml").write_text(text + '[tree]\nmodel = "p"\n[train]\nalphabet = "protein"\n')
    with pytest.raises(UsageError, match="alphabet differs from the run's"):
        load(tmp_path / "run.toml")
