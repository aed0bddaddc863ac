"""The value of `--cluster`: short forms, files, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from phylocli.config.base import Layer
from phylocli.config.parallel import ClusterConfig
from phylocli.config.tree import TreeConfig
from phylocli.core.errors import BadInputError, UsageError


def test_short_forms_name_a_local_cluster_a_scheduler_or_a_batch_system() -> None:
    assert ClusterConfig.parse("local").type == "local"
    assert ClusterConfig.parse("local:3").workers == 3
    assert ClusterConfig.parse("tcp://node1:8786").address == "tcp://node1:8786"
    assert ClusterConfig.parse("lsf").type == "lsf"


def test_file_describes_the_jobs_of_a_batch_system(tmp_path: Path) -> None:
    path = tmp_path / "slurm.toml"
    path.write_text('type = "slurm"\nqueue = "long"\ncores = 8\nprocesses = 8\nmemory = "32 GB"\nadapt = "1:200"\n')
    found = ClusterConfig.parse(str(path))
    assert (found.queue, found.cores, found.processes, found.adapt) == ("long", 8, 8, (1, 200))
    path.write_text('[cluster]\ntype = "pbs"\n')
    assert ClusterConfig.parse(str(path)).type == "pbs"


def test_file_of_a_cluster_is_relative_to_the_file_that_names_it_and_a_batch_system_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "slurm").mkdir()
    (tmp_path / "mine.toml").write_text('type = "pbs"\n')
    for text, found in (("slurm", "slurm"), ("mine.toml", str(tmp_path / "mine.toml"))):
        assert TreeConfig.layered([Layer("phylocli.toml", {"cluster": text}, folder=tmp_path)]).cluster == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slrum", "unknown cluster 'slrum'"),
        ("local:0", "'local:0' has no number of workers"),
        ("local:x", "'local:x' has no number of workers"),
        ("node1:8786", "unknown cluster 'node1:8786'"),
    ],
)
def test_other_values_are_usage_errors_of_the_option(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TreeConfig.of(None, {"cluster": text})


def test_result_depends_neither_on_the_number_of_processes_nor_on_the_cluster() -> None:
    assert not {"jobs", "cluster"} & TreeConfig().identity().keys()
    one, other = (TreeConfig.of(None, {"cluster": f"tcp://node{i}:8786", "jobs": i}) for i in (1, 2))
    assert one.identity() == other.identity() and one.cluster == "tcp://node1:8786"


def test_jobs_of_files_and_the_environment_are_ignored_where_nothing_is_divided_and_those_of_the_call_are_refused() -> None:
    ambient = Layer("phylocli.toml", {"jobs": 4, "cluster": "local:2"}, ambient=True)
    typed = Layer("the command line", {"jobs": 2})
    refusal = UsageError("nothing to divide")
    for config in (TreeConfig.layered([ambient]), TreeConfig.layered([ambient]).updated(engine="nj")):
        assert (config.jobs, config.cluster) == (4, "local:2")
        assert config.undivided(refusal).in_process
    for config in (TreeConfig.layered([ambient, typed]), TreeConfig.layered([ambient]).updated(jobs=2), TreeConfig(jobs=2)):
        with pytest.raises(UsageError, match="nothing to divide"):
            config.undivided(refusal)


def test_options_that_a_use_ignores_are_refused_unless_they_are_of_files_and_the_environment() -> None:
    given = {"seed": 3}
    TreeConfig.layered([Layer("phylocli.toml", given, ambient=True)]).refuse_unused((), "this")
    with pytest.raises(UsageError, match="this does not support --seed"):
        TreeConfig.layered([Layer("phylocli.toml", given, ambient=True), Layer("the command line", given)]).refuse_unused(
            (), "this"
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("type = 'slurm'\nque = 'long'\n", "no option 'que'"),
        ("type = 'slurm'\nadapt = '9:3'\n", "'9:3' is not a range of workers"),
        ("type = 'slurm'\nwalltime = '1 h'\n", "'1 h' is not a time"),
        ("type = 'slurm'\nwalltime = '02:00'\n", "'02:00' is not a time; write hours, minutes and seconds"),
        ("type = 'local'\nwalltime = '02:00:00'\n", "the type 'local' does not use walltime"),
        ("type = 'address'\naddress = 'tcp://a:1'\ncores = 2\n", "the type 'address' does not use cores"),
        ("type = 'address'\n", "has the type 'address'"),
    ],
)
def test_errors_in_a_file_name_it_and_the_key(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        ClusterConfig.parse(str(path))


def test_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"none\.toml"):
        ClusterConfig.parse(str(tmp_path / "none.toml"))
