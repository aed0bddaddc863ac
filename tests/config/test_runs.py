"""Stages that train several runs: where their training options come from, and their former names."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from phylocli.config.base import Layer
from phylocli.config.infomin import InfominConfig
from phylocli.config.sweep import SweepConfig
from phylocli.core.errors import UsageError


@pytest.mark.parametrize("stage", [SweepConfig, InfominConfig])
def test_training_options_without_the_word_train_work_and_are_reported(
    stage: type[SweepConfig | InfominConfig], caplog: pytest.LogCaptureFixture
) -> None:
    written = Layer("--set", {"batch": {"pairs": 9}, "head": {"hidden": 0}}, {"batch.pairs": "--set batch.pairs"})
    with caplog.at_level(logging.WARNING):
        config = stage.layered([written])
    assert (config.train.batch.pairs, config.train.head.hidden) == (9, 0)
    assert "--set batch.pairs is now called train.batch.pairs; the old name will be removed" in caplog.text
    with pytest.raises(UsageError, match=r"--set train\.batch\.pairs must be at least 0, not -1"):
        stage.layered(
            [Layer("--set", {"train": {"batch": {"pairs": -1}}}, {"train.batch.pairs": "--set train.batch.pairs"})]
        )


def test_an_option_of_the_stage_that_training_has_too_is_training_s_and_the_later_source_wins() -> None:
    config = SweepConfig.layered([Layer("", {"steps": 5, "device": "cpu"}), Layer("--set", {"train": {"steps": 7}})])
    assert (config.steps, config.train.steps, config.train.device) == (7, 7, "cpu")
    assert config.updated(steps=3).train.steps == 3
    assert config.updated(seeds=(1,)).train == config.train
    assert SweepConfig.of(None, {}).train.steps == 600
    assert InfominConfig.of(None, {}).train.steps == 200
    assert InfominConfig.of(None, {"recipe": "siglip"}).train.objective.name == "siglip"
    assert InfominConfig.of(None, {"train": {"batch.pairs": 8}}).train.validation.fraction == 0.2
    with pytest.raises(UsageError, match="--steps must be at least 1"):
        SweepConfig.layered([Layer("the command line", {"steps": 0}, {"steps": "--steps"})])


def test_a_sweep_reads_the_tables_train_and_sweep_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("phylocli.toml").write_text(
        '[train]\nrecipe = "siglip"\nbatch.pairs = 9\nsteps = 50\n[sweep]\nseeds = [1, 2]\n'
        'vary = "critic.temperature=0.1,0.2"\n'
        "[sweep.train]\nsteps = 60\n"
    )
    config = SweepConfig.layered(SweepConfig.gather({}))
    assert config.recipe_names == ("siglip",)
    assert (config.seeds, config.vary) == ((1, 2), ("critic.temperature=0.1,0.2",))
    assert (config.train.batch.pairs, config.train.steps) == (9, 60)
