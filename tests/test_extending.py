"""docs/extending.md, followed literally: each file is written, the package installed, each command run."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import contracts
import pytest
from typer.testing import CliRunner

from phylocli import recipes
from phylocli.cli import build
from phylocli.core import plugins
from phylocli.core.errors import PhylocliError, UsageError
from phylocli.core.plugins import KINDS, Kind
from phylocli.probe.evaluate import task_names
from phylocli.workflow.doctor import diagnose

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = "".join(re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)).splitlines()
ENTRY_POINTS = tomllib.loads(FILES["pyproject.toml"])["project"]["entry-points"]


def install(folder: Path, name: str, entry_points: dict[str, dict[str, str]]) -> None:
    """Install what a wheel would install: metadata with entry points."""
    metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    groups = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in e.items()) for group, e in entry_points.items()]
    (metadata / "entry_points.txt").write_text("\n".join(groups))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on the search path with the package of the page, installed, and the examples."""
    folder = tmp_path_factory.mktemp("site")
    for title, text in FILES.items():
        (folder / title).parent.mkdir(exist_ok=True)
        (folder / title).write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "examples", folder / "examples")
    install(folder, "my-package", ENTRY_POINTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


def run(words: list[str]) -> None:
    match words:
        case ["phylocli", *arguments]:
            done = CliRunner().invoke(build(), arguments)
            assert done.exit_code == 0, f"{shlex.join(words)}\n{done.output}\n{done.exception}"
        case ["python", script]:
            exec(compile(Path(script).read_text(), script, "exec"), {})
        case ["mkdir", folder]:
            Path(folder).mkdir()
        case ["cp", *files, folder]:
            for file in files:
                shutil.copy(file, folder)
        case _:
            pytest.fail(f"the test cannot run {shlex.join(words)!r}")


def test_the_commands_of_the_page_work_in_their_order(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site)
    for command in COMMANDS:
        for part in command.split(" && "):
            run(shlex.split(part))
    assert "Nearest centroid" in (site / "report" / "report.html").read_text(encoding="utf-8")


def test_the_page_adds_one_of_each_kind() -> None:
    kinds = {(kind.package, kind.group) for kind in KINDS} | {("recipes", plugins.RECIPES)}
    assert set(ENTRY_POINTS) == {group for _, group in kinds}
    table = re.findall(r"^\| \[.*?\]\(#.*?\) \| `phylocli/(.*?)/`.*? \| `(.*?)` \|", PAGE, re.MULTILINE)
    assert {(room.replace("/", "."), group) for room, group in table} == kinds


def test_the_page_names_every_optional_attribute_that_the_code_reads() -> None:
    code = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "phylocli").rglob("*.py") if path.parent.name != "cli"
    )
    read = set(re.findall(r'getattr\(\w[^,]*, "([A-Z_]+)"', code))
    assert {"ALPHABETS", "DRAWS_MEMBERS", "ORDER"} <= read
    assert not {name for name in read if f"`{name} = " not in PAGE}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.noun)
def test_the_plugins_of_the_page_meet_the_contract_and_are_listed(kind: Kind[Any], site: Path) -> None:
    (name,) = ENTRY_POINTS[kind.group]
    assert name in kind.names()
    assert kind.origins(name) == ["my-package 1.0"]
    assert kind.summary(name)
    contracts.check(kind, name)


def test_the_files_of_the_page_work_as_built_in_plugins_too(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "_PACKAGE", tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(site)])
    for kind in KINDS:
        ((name, module),) = ENTRY_POINTS[kind.group].items()
        room = tmp_path / kind.package.replace(".", "/")
        room.mkdir(parents=True, exist_ok=True)
        shutil.copy(site / f"{module.replace('.', '/')}.py", room / f"{name.replace('-', '_')}.py")
        monkeypatch.setattr(importlib.import_module(f"phylocli.{kind.package}"), "__path__", [str(room)])
        assert kind.names() == [name]
        assert not list(plugins.missing_parts(kind.contract, kind.load(name)))
        monkeypatch.delitem(sys.modules, f"phylocli.{kind.package}.{name.replace('-', '_')}")


def test_a_name_of_two_packages_is_an_error_that_names_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "other-package", {"phylocli.encoders": {"transformer": "json"}, "phylocli.recipes": {"simclr": "csv"}})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"encoder 'transformer' is provided by phylocli and by other-package 1.0"):
        plugins.ENCODERS.load("transformer")
    assert plugins.ENCODERS.load("recurrent")
    with pytest.raises(UsageError, match=r"recipe 'simclr' is provided by phylocli and by other-package 1.0"):
        recipes.read("simclr")
    assert recipes.read("moco").name == "moco"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_of_this_name\n", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("class Encoder:\n    PRESETS = {}\n", "lacks Encoder.forward"),
        ("KIND = 'source'\n", "lacks Encoder"),
        ("1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_a_plugin_that_does_not_work_is_an_error_that_names_its_package(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_plugin.py").write_text(source)
    install(tmp_path, "broken-package", {"phylocli.encoders": {"broken": "broken_plugin"}})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_plugin", raising=False)
    assert "broken" in plugins.ENCODERS.names()
    with pytest.raises(PhylocliError) as caught:
        plugins.ENCODERS.load("broken")
    assert "broken-package 1.0" in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "error", "said"),
    [
        ({}, PhylocliError, r"of broken-package 1\.0 fails with its default parameters.*KeyError: 'width'"),
        ({"layers": 3}, PhylocliError, r"of broken-package 1\.0 fails with its default parameters.*KeyError: 'width'"),
        ({"width": 2, "layers": -1}, UsageError, r"does not work with width=2, layers=-1.*ValueError: too few"),
    ],
)
def test_a_constructor_that_fails_is_the_plugins_fault_unless_its_defaults_work(
    parameters: dict[str, int], error: type[PhylocliError], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = 5 if "width" in parameters else 0
    body = "    if not width:\n        {}['width']\n    if layers < 1:\n        raise ValueError('too few')\n"
    (tmp_path / "broken_view.py").write_text(f"def make(width: int = {default}, layers: int = 2):\n{body}")
    install(tmp_path, "broken-package", {"phylocli.views": {"broken": "broken_view"}})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_view", raising=False)
    with pytest.raises(PhylocliError, match=re.compile(said, re.DOTALL)) as caught:
        plugins.VIEWS.make("broken", importlib.import_module("broken_view").make, parameters=parameters)
    assert type(caught.value) is error


def test_doctor_lists_the_plugins_of_other_packages_and_what_is_wrong_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_baseline.py").write_text("def embed(name, ids, sequences):\n    raise NotImplementedError\n")
    groups = {"phylocli.baselines": {"mine": "a_baseline"}, "phylocli.probes": {"lost": "no_such_module"}}
    install(tmp_path, "good-package", {**groups, "phylocli.recipes": {"absent": "a_baseline"}})
    monkeypatch.syspath_prepend(tmp_path)
    found = {f.name: f for f in diagnose() if f.group == "plugins of other packages"}
    assert (found["baseline mine"].state, found["baseline mine"].detail) == ("ok", "good-package 1.0")
    assert found["probe lost"].state == "unusable" and "No module named 'no_such_module'" in found["probe lost"].detail
    assert found["recipe absent"].state == "unusable" and "no absent.toml" in found["recipe absent"].detail
    assert "probe retrieval" not in found  # it is no other package's


def test_a_probe_that_does_not_load_is_left_out_unless_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken_probe.py").write_text("raise ImportError('of something else')\n")
    install(tmp_path, "broken-package", {"phylocli.probes": {"a-broken-one": "broken_probe"}})
    monkeypatch.syspath_prepend(str(tmp_path))
    found = task_names()
    assert "a-broken-one" not in found and "retrieval" in found
    assert "a-broken-one" in caplog.text and "broken-package 1.0" in caplog.text
    with pytest.raises(PhylocliError, match=r"broken-package 1\.0"):
        plugins.PROBES.load("a_broken_one")
    assert plugins.POOLINGS.summary("generalised_mean") == plugins.POOLINGS.summary("generalised-mean") != ""


def test_a_recipe_whose_file_is_missing_is_an_error_that_names_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bare_package").mkdir()
    (tmp_path / "bare_package" / "__init__.py").touch()
    install(tmp_path, "bare-package", {"phylocli.recipes": {"absent": "bare_package"}})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PhylocliError, match=r"'absent' of bare-package 1.0 is missing: no absent.toml in bare_package"):
        recipes.read("absent")
    assert recipes.read("simclr").name == "simclr"
