"""The Nextflow module: its description fits its process, and its script runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result

import phylocli
from phylocli.formats import read_families

MODULE = Path(__file__).parents[2] / "examples" / "nextflow" / "modules" / "nf-core" / "phylocli" / "tree"


@pytest.fixture(scope="module")
def process() -> str:
    return (MODULE / "main.nf").read_text(encoding="utf-8")


def test_description_of_the_nextflow_module_has_the_channels_of_its_process(process: str) -> None:
    described = yaml.safe_load((MODULE / "meta.yml").read_text(encoding="utf-8"))
    assert described["name"].upper() == re.search(r"^process (\w+) \{", process, re.MULTILINE)[1]  # type: ignore[index]
    assert list(described["output"]) == re.findall(r"emit: (\w+)", process)
    assert [next(iter(part)) for part in described["input"][0]] == ["meta", "families"]
    assert list(described["topics"]) == re.findall(r"topic: (\w+)", process) == ["versions"]
    files = {name for channel in described["output"].values() for name in list(channel[0][-1]) if "sto" in name}
    assert files == set(re.findall(r'path\("([^"]+)"\)', process))
    environment = yaml.safe_load((MODULE / "environment.yml").read_text(encoding="utf-8"))
    assert environment["dependencies"] == [f"bioconda::phylocli={phylocli.__version__}"]
    assert f"phylocli:{phylocli.__version__}--" in process
    names = re.findall(r'test\("(.+)"\)', (MODULE / "tests" / "main.nf.test").read_text(encoding="utf-8"))
    assert len(names) == 2 and names[1] == f"{names[0]} - stub"


def test_parameters_that_the_nextflow_test_sets_are_read_by_its_configuration(process: str) -> None:
    test = (MODULE / "tests" / "main.nf.test").read_text(encoding="utf-8")
    settings = (MODULE / "tests" / re.search(r'config "(.+)"', test)[1]).read_text(encoding="utf-8")  # type: ignore[index]
    given = [re.findall(r"(\w+) = ", block) for block in re.findall(r"params \{(.*?)\}", test, re.DOTALL)]
    assert given == [re.findall(r"params\.(\w+)", settings)] * test.count("when {")
    assert re.findall(r"(ext\.\w+) =", settings) == ["ext.args"] and "task.ext.args" in process
    assert re.search(r"withName: '(\w+)'", settings)[1] == re.search(r'process "(\w+)"', test)[1]  # type: ignore[index]


def test_script_of_the_nextflow_module_runs_and_makes_its_outputs(
    process: str, cli: Callable[..., Result], simulated_file: Callable[..., Path], tmp_path: Path
) -> None:
    script = process.split("script:")[1].split('"""')[1]
    prefix = f"{tmp_path}/globins"
    values = {
        "$args": "--engine nj --no-refine",
        "$task.cpus": "1",
        "${prefix}": prefix,
        "$families": str(simulated_file(2, 5)),
    }
    for name, value in values.items():
        assert name in script
        script = script.replace(name, value)
    program, *words = shlex.split(script.replace("\\\\\n", " "))
    assert program == "phylocli"
    result = cli(*words)
    assert result.exit_code == 0, result.output
    for pattern in re.findall(r'path\("([^"]+)"\)', process):
        assert Path(pattern.replace("${prefix}", prefix)).is_file()
    assert all(family.has_tree for family in read_families(f"{prefix}.sto.gz"))
