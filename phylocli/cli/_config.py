"""Options of a command from a configuration class, and a configuration from the user's options."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from phylocli.cli._help import escaped
from phylocli.config.assignments import nested, parse_assignment
from phylocli.config.base import Cli, Config, Layer, choices, nested_class

SET = "set_"
_LONGEST = 60  # characters of a list of plugins that is shown in full

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set an option without its own flag, by its key in TOML. Repeatable."),
]


@dataclass(frozen=True)
class _Option:
    field: str
    flag: str  # as messages call it
    value: Any = None  # value of the field if the flag is given; None: the argument of the flag
    is_old: bool = False


def expand(parameter: inspect.Parameter) -> list[inspect.Parameter]:
    """Return the parameters of a command for one parameter annotated with a configuration class."""
    cls: type[Config] = parameter.annotation
    found = []
    for name, option in _options(cls).items():
        found.append(_parameter(name, option, cls.model_fields[option.field]))
    if _has_more(cls):
        found.append(inspect.Parameter(SET, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=SetOption))
    return found


def build(cls: type[Config], context: typer.Context, values: dict[str, Any]) -> Config:
    """Return the configuration of a command: the layers, overridden by the command line.

    Args:
        cls: the class.
        context: of the command, with the options given by the user.
        values: of all options; those of the configuration are taken out.

    Raises:
        UsageError: an option that does not exist, a value out of range.
    """
    given: dict[str, Any] = {}
    names: dict[str, str] = {}
    found = {name: _flags(name, Cli.of(field)) for name, field in cls.model_fields.items()}
    typed_order = {name: place for place, name in enumerate(context.params)}  # of --replace and --no-replace the last wins
    for name, option in sorted(_options(cls).items(), key=lambda item: typed_order[item[0]]):
        value = values.pop(name)
        if _was_typed(context, name):
            key = name if option.is_old else option.field
            given[key] = value if option.value is None else option.value
            names[key] = names[option.field] = option.flag if name != option.field else "/".join(found[name])
    more = dict(parse_assignment(text) for text in values.pop(SET, None) or [])
    typed = [Layer("the command line", given, names)] if given else []
    if more:
        typed.append(Layer("--set", nested(more), {key: f"--set {key}" for key in more}))
    return cls.layered([*cls.gather(values), *typed])


def _was_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _has_more(cls: type[Config]) -> bool:
    return any(not Cli.of(field).shown or nested_class(field) for field in cls.model_fields.values())


def _options(cls: type[Config]) -> dict[str, _Option]:
    """Return the options of a class by the names of their parameters."""
    found: dict[str, _Option] = {}
    own = inspect.get_annotations(cls)  # a stage's own options precede those shared with others
    for name, field in sorted(cls.model_fields.items(), key=lambda item: item[0] not in own):
        mark = Cli.of(field)
        if not mark.shown or nested_class(field):
            continue
        flag = _flags(name, mark)[-1]
        found[name] = _Option(name, flag)
        for old in mark.formerly:
            found[old] = _Option(name, f"--{old.replace('_', '-')}", is_old=True)
        if field.annotation is bool:
            found[f"no_{name}"] = _Option(name, f"--no-{flag.removeprefix('--')}", value=False)
    return found


def _flags(name: str, mark: Cli) -> tuple[str, ...]:
    return mark.flags or (f"--{name.replace('_', '-')}",)


def _parameter(name: str, option: _Option, field: FieldInfo) -> inspect.Parameter:
    mark = Cli.of(field)
    is_flag = _is_flag(field)
    hidden = name != option.field
    declared = [option.flag] if hidden else list(_flags(name, mark))
    if is_flag and field.annotation is not bool and not hidden:  # unset, on, off
        declared[-1] += f"/--no-{declared[-1].removeprefix('--')}"
    kind: Any = bool | None if is_flag else list[str] | None if mark.multiple else str | None
    info = typer.Option(
        *declared,
        help=escaped(field.description or ""),
        metavar=None if is_flag else _metavar(field, mark),
        rich_help_panel=mark.panel,
        hidden=hidden,
        show_default=not hidden,
        autocompletion=None if is_flag else _completion(field, mark),
        min=_bound(field, "ge"),
        max=_bound(field, "le"),
    )
    default = None if hidden else _shown_default(field)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])


def _is_flag(field: FieldInfo) -> bool:
    return bool in (field.annotation, *typing.get_args(field.annotation))


def _shown_default(field: FieldInfo) -> Any:
    default = field.get_default(call_default_factory=True)
    if default is None or default is PydanticUndefined or default == ():
        return None
    if isinstance(default, bool):
        return default
    if Cli.of(field).multiple:
        return [str(part) for part in default]
    return _written(default)


def _written(value: Any) -> str:
    """Return a value as the command line takes it: `0:0.25,0.25:0.5` for ranges."""
    if isinstance(value, tuple):
        nested = any(isinstance(part, tuple) for part in value)
        return ",".join(":".join(map(_written, part)) if nested else _written(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _metavar(field: FieldInfo, mark: Cli) -> str:
    listed = "|".join(_values(field, mark))
    if mark.metavar is not None or (listed and len(listed) <= _LONGEST):
        return mark.metavar or listed
    if mark.values:
        return "NAME"
    kinds = typing.get_args(field.annotation) or (field.annotation,)
    return next((word for kind, word in ((int, "N"), (float, "X"), (Path, "FILE")) if kind in kinds), "TEXT")


def _bound(field: FieldInfo, which: str) -> float | None:
    """Return an end of the range that the help shows; the configuration checks it."""
    return next((found for part in field.metadata if (found := getattr(part, which, None)) is not None), None)


def _values(field: FieldInfo, mark: Cli) -> list[str]:
    return [*mark.also, *choices(field), *(mark.values() if mark.values else ())]


def _completion(field: FieldInfo, mark: Cli) -> Callable[[str], list[str]] | None:
    if not (mark.values or mark.also or choices(field)):
        return None

    def complete(incomplete: str) -> list[str]:
        return [word for word in _values(field, mark) if word.startswith(incomplete)]

    return complete
