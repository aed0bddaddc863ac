"""All fields of all configurations are available in all sources of options, in the help and in the reference."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic.fields import FieldInfo

from phylocli.cli import load, names
from phylocli.config import layers
from phylocli.config.base import Cli, Config, nested_class

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "commands.md"


def commands() -> dict[str, tuple[type[Config], Any]]:
    """Return the configuration and the command of all commands that have one."""
    found = {}
    for name in names():
        command = load(name)
        for sub, below in getattr(command, "commands", {"": command}).items():
            configuration = getattr(below.callback, "configuration", None)
            if configuration is not None:
                found[f"{name} {sub}".strip()] = (configuration, below)
    return found


COMMANDS = commands()


def leaves(cls: type[Config], at: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], FieldInfo]]:
    found = []
    for name, field in cls.model_fields.items():
        below = nested_class(field)
        if below is None or below.table:  # a stage's own table is looked at with its command
            found.append(((*at, name), field))
        else:
            found += leaves(below, (*at, name))
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_field_reaches_command_toml_environment_provenance_and_reference(name: str) -> None:
    cls, command = COMMANDS[name]
    options = {option.name: option for option in command.params if not option.hidden}
    section = REFERENCE.read_text().split(f" phylocli {name}\n", 1)[1].split("\n## ", 1)[0]
    assert cls.table in layers.tables()
    for path, field in leaves(cls):
        key = ".".join(path)
        assert field.description, f"{key} has no docstring"
        has_flag = len(path) == 1 and Cli.of(field).shown and not nested_class(field)
        if has_flag:
            assert options[key].help.replace(r"\[", "[") == field.description
            assert f"{options[key].opts[-1]}" in section
        assert f"`{key}`" in section
        variable = f"PHYLOCLI_{cls.table.upper()}__{'__'.join(path).upper()}"
        (layer,) = layers.from_environment({variable: "7"}, cls.table)
        value: Any = layer.values
        for part in path:
            value = value[part]
        assert value == 7


@pytest.mark.parametrize("name", COMMANDS)
def test_no_two_options_of_a_command_share_a_flag(name: str) -> None:
    _, command = COMMANDS[name]
    flags = [flag for option in command.params for flag in (*option.opts, *option.secondary_opts) if flag.startswith("-")]
    assert len(flags) == len(set(flags))


def every_class() -> list[type[Config]]:
    """Return all configuration classes that a stage module defines."""
    found = []
    for table in layers.tables():
        try:
            module = importlib.import_module(f"phylocli.config.{table}")
        except ModuleNotFoundError:
            continue
        own = [thing for thing in vars(module).values() if isinstance(thing, type) and issubclass(thing, Config)]
        found += [cls for cls in own if cls.__module__ == module.__name__]
    return found


@pytest.mark.parametrize("cls", every_class(), ids=lambda cls: cls.__name__)
def test_defaults_are_valid_and_every_field_reaches_provenance_as_json(cls: type[Config]) -> None:
    if any(field.is_required() for field in cls.model_fields.values()):
        pytest.skip("has fields without a default")
    config = cls.of(None, {})
    assert cls.of(None, {name: getattr(config, name) for name in cls.model_fields}) == config
    record = json.loads(json.dumps(config.to_parameters(), allow_nan=False))
    assert set(record) == set(cls.model_fields)


def test_choices_complete_on_the_command_line() -> None:
    command = load("pairs")
    context = typer.Context(command)
    (scheme,) = [option for option in command.params if option.name == "scheme"]
    assert [item.value for item in scheme.shell_complete(context, "per")] == ["per-sequence", "per-family"]
