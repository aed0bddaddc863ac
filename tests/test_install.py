"""The recipes for installing: they name what pyproject.toml needs, and the hosted CI runs the same make targets."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
INSTALL = ROOT / "examples" / "install"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def requirement(text: str) -> tuple[str, str]:
    found = re.match(r"([A-Za-z0-9_.-]+)\s*(>=[0-9.]+)?", text)
    assert found is not None
    return found[1].lower().replace("_", "-"), found[2] or ""


def test_the_conda_recipe_needs_what_the_package_needs() -> None:
    recipe = yaml.safe_load((INSTALL / "recipe.yaml").read_text(encoding="utf-8"))
    run = dict(requirement(text) for text in recipe["requirements"]["run"])
    for text in PROJECT["dependencies"]:
        name, version = requirement(text)
        assert run.pop(CONDA_NAMES.get(name, name)) == version, name
    assert set(run) == {"python"} and run["python"] == PROJECT["requires-python"]
    init = (ROOT / "phylocli" / "__init__.py").read_text(encoding="utf-8")
    assert f'__version__ = "{recipe["context"]["version"]}"' in init
    assert recipe["build"]["python"]["entry_points"] == [f"phylocli = {PROJECT['scripts']['phylocli']}"]


@pytest.mark.parametrize("name", ["Dockerfile", "phylocli.def"])
def test_containers_install_the_package_with_extras_that_exist(name: str) -> None:
    text = (INSTALL / name).read_text(encoding="utf-8")
    extras = re.search(r"/src\[([a-z,]+)\]", text)
    assert extras is not None and set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])
    assert "whl/cpu" in text
    if name == "Dockerfile":
        known = {"FROM", "RUN", "COPY", "WORKDIR", "ENV", "ENTRYPOINT", "CMD"}
        logical = re.sub(r"\\\n", " ", text)
        words = [line.split(" ", 1)[0] for line in logical.splitlines() if line and not line.startswith("#")]
        assert set(words) <= known and words[0] == "FROM" and "ENTRYPOINT" in words
    else:
        sections = re.findall(r"^%(\w+)", text, re.MULTILINE)
        assert len(set(sections)) == len(sections) and {"post", "runscript"} <= set(sections)
        assert text.splitlines()[2:4] == ["Bootstrap: docker", "From: python:3.12-slim"]


def test_the_hosted_ci_runs_the_make_targets_on_every_supported_python() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    tests = workflow["jobs"]["tests"]
    matrix = tests["strategy"]["matrix"]
    declared = [c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert matrix["python"] == declared and {"ubuntu-latest", "macos-latest"} <= set(matrix["os"])
    targets = {
        target
        for job in workflow["jobs"].values()
        for step in job["steps"]
        for target in re.findall(r"[a-z]+", step.get("run", "").removeprefix("make"))
        if step.get("run", "").startswith("make")
    }
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets == {"lint", "types", "imports", "docs", "test"}
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_every_extra_that_users_install_is_known_to_doctor() -> None:
    from phylocli.workflow import doctor

    offered = {how for *_, how in doctor._OPTIONAL}
    for extra in set(PROJECT["optional-dependencies"]) - {"dev", "docs", "esm"}:  # esm is another name of plm
        assert any(f"'.[{extra}]'" in how for how in offered), extra
