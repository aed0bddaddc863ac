from pathlib import Path

import pytest

from phylocli.core.errors import BadInputError, UsageError
from phylocli.workflow.config import from_arguments, load
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


def test_a_stage_that_was_broken_off_is_told_so(tmp_path):
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


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(text)
    return path


def test_files_are_relative_to_the_configuration(tmp_path):
    (tmp_path / "f.sto").write_text("")
    config = load(write(tmp_path, 'families = ["f.sto", "PF00042"]\nseed = 7\n[tree]\nengine = "nj"\n'))
    assert config.families == [str(tmp_path / "f.sto"), "PF00042"]
    assert (config.seed, config.tree) == (7, {"engine": "nj"})


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("families = [", BadInputError, "not TOML"),
        ('famlies = ["a"]', UsageError, "unknown entry 'famlies'"),
        ('families = "a"', UsageError, "must be a list"),
        ('families = ["a"]\n[tree]\nengin = "nj"', UsageError, "no option 'engin'"),
        ('families = ["a"]\n[holdout]\nfraction = 1.5', UsageError, "between 0 and 1"),
        ("seed = 1", UsageError, "names no families"),
    ],
)
def test_mistakes_in_a_configuration_are_named(tmp_path, text, error, said):
    with pytest.raises(error, match=said):
        load(write(tmp_path, text))


def test_families_and_clans_from_the_command_line():
    config = from_arguments(["PF00042", "x.sto", "CL0090"])
    assert (config.families, config.clans) == (["PF00042", "x.sto"], ["CL0090"])


def test_the_demo_configuration_is_valid(examples):
    config = load(examples / "demo.toml")
    assert config.families == [str(examples / "families.sto")]


def test_a_run_takes_alphabet_and_hard_negatives_on_to_training(tmp_path, simulate):
    import tomllib

    from phylocli.formats import write_families
    from phylocli.workflow.run import _chain

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
    stages = {stage.name: stage for stage in _chain(load(tmp_path / "run.toml"), tmp_path / "out", None)}
    (tmp_path / "out").mkdir()
    write_families([simulate(f"PF0000{k}", 12) for k in (1, 2, 3)], tmp_path / "out" / "train.sto.gz")
    assert set(stages["train"].inputs) >= set(stages["negatives"].outputs)
    for name in ("pairs", "negatives", "train"):
        stages[name].action(False)
    config = tomllib.loads((tmp_path / "out" / "run" / "config.toml").read_text())
    assert config["batch"]["hard_negatives"] == str(tmp_path / "out" / "negatives.tsv")
    assert config["alphabet"] == "protein"
    assert (tmp_path / "out" / "run" / "model" / "model.safetensors").is_file()


def test_a_run_on_nucleotides_says_what_its_trees_cannot_be(tmp_path):
    text = 'alphabet = "dna"\nfamilies = ["PF00042"]\n'
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(UsageError, match="model of amino acids"):
        load(tmp_path / "run.toml")
    (tmp_path / "run.toml").write_text(text + '[tree]\nmodel = "p"\n')
    assert load(tmp_path / "run.toml").alphabet == "dna"
    (tmp_path / "run.toml").write_text(text + '[tree]\nmodel = "p"\n[train]\nalphabet = "protein"\n')
    with pytest.raises(UsageError, match="alphabet is not that of the run"):
        load(tmp_path / "run.toml")
