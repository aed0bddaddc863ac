"""The base of all stage configurations: how an option is declared, checked, and named in messages.

An option is a field with a docstring below it::

    class PairsConfig(Config):
        table = "pairs"

        number: Annotated[int | None, Field(ge=1), Cli("-n", "--number", metavar="N", formerly=("n",))] = None
        \"\"\"Number of pairs over all families.\"\"\"

Choices are `Literal[...]`, ranges are `Field(ge=..., le=...)`, and data for the command line only are in `Cli`.
"""

from __future__ import annotations

import difflib
import logging
import math
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from phylocli.config.layers import Layer, collect, leaves
from phylocli.core.errors import UsageError, unknown_name

logger = logging.getLogger(__name__)


class Cli:
    """How a field appears on the command line.

    Args:
        *flags: such as `-n` and `--number`; by default the field's name with hyphens.
        metavar: placeholder of the value in the help; by default the choices, or a word for the type.
        panel: heading of the option in the help.
        formerly: earlier names of the field, read for one release, with a warning.
        shown: False: there is no command-line option; the field is set in TOML, Python and by `--set`.
        multiple: the option may be repeated; the field is a tuple of strings or paths.
        values: returns the values for shell completion, such as `TREE_ENGINES.names`; choices need none.
        also: additional values, such as `auto`.
        file: the field is a word that may be the path of a file or folder, as fields of the type Path are: in a TOML file
            it is relative to that file.
        decisive: False: the result does not depend on it, as on the number of threads; see `Config.identity`.
    """

    def __init__(
        self,
        *flags: str,
        metavar: str | None = None,
        panel: str | None = None,
        formerly: tuple[str, ...] = (),
        shown: bool = True,
        multiple: bool = False,
        values: Callable[[], Iterable[str]] | None = None,
        also: tuple[str, ...] = (),
        file: bool = False,
        decisive: bool = True,
    ) -> None:
        self.flags = flags
        self.metavar = metavar
        self.panel = panel
        self.formerly = formerly
        self.shown = shown
        self.multiple = multiple
        self.values = values
        self.also = also
        self.file = file
        self.decisive = decisive

    @classmethod
    def of(cls, field: FieldInfo) -> Cli:
        """Return the marker of a field; missing parts are taken from the marker of its type, such as `types.Seed`."""
        marks = [mark for mark in field.metadata if isinstance(mark, cls)]
        found = {name: value for mark in marks for name, value in vars(mark).items() if value}
        found |= {name: all(getattr(mark, name) for mark in marks) for name in ("shown", "decisive")}
        return cls(*found.pop("flags", ()), **found)


class Config(BaseModel):
    """Base of the configurations. Immutable; unknown keys are errors; NaN is refused everywhere."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    table: ClassVar[str] = ""
    """Its table in TOML and its part of variables' names: `pairs` for `[pairs]` and `PHYLOCLI_PAIRS__…`."""

    _ambient: frozenset[str] = PrivateAttr(default=frozenset())  # fields whose value comes from a file or the environment

    @classmethod
    def of(cls, config: Self | None, options: Mapping[str, Any]) -> Self:
        """Return the configuration of a Python call: a given one, with single fields given as keywords over it.

        Raises:
            UsageError: an option that does not exist, or a value out of range.
        """
        if config is None:
            return cls.layered([Layer("", dict(options))])
        if not options:
            return config
        given = {name: getattr(config, name) for name in config.model_fields_set}
        changed = type(config).layered([Layer("", given), Layer("", dict(options))])
        changed._ambient = config._ambient - options.keys()
        return changed

    @classmethod
    def gather(cls, arguments: Mapping[str, Any]) -> list[Layer]:
        """Return the layers below the options of a command: files and the environment.

        Args:
            arguments: command-line values that are not in the configuration, by the command's parameters.
        """
        return collect(cls.table)

    @classmethod
    def layered(cls, layers: Iterable[Layer]) -> Self:
        """Return the configuration of some layers, each of which beats the ones before it.

        Raises:
            UsageError: an option that does not exist, a value out of range; named as, and where, the user wrote it.
        """
        merged: dict[str, Any] = {}
        names: dict[str, str] = {}
        ambient: dict[str, bool] = {}
        present = [replace(layer, values=_renamed(cls, located(cls, layer).values, layer)) for layer in layers]
        for layer in present:
            for key in leaves(layer.values):
                names[key] = layer.name_of(key)
            ambient |= dict.fromkeys(layer.values, layer.ambient)
            merged = cls.merge(merged, layer.values)
        try:
            config = cls.model_validate(merged, context=present)  # the sources, for validators that need them
        except ValidationError as error:
            raise _usage_error(cls, error, names) from error
        config._ambient = frozenset(name for name, value in ambient.items() if value)
        return config

    @classmethod
    def merge(cls, base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        """Return nested values with changes applied to them, table by table."""
        merged = dict(base)
        for key, value in changes.items():
            old = merged.get(key)
            merged[key] = Config.merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        return merged

    def to_parameters(self) -> dict[str, Any]:
        """Return all fields in JSON types, for provenance records: an open end is None."""
        return {name: _plain(value) for name, value in self.model_dump().items()}

    def to_toml(self) -> dict[str, Any]:
        """Return all fields in TOML types, without those that are None."""
        return _for_toml(self.model_dump())

    def identity(self) -> dict[str, Any]:
        """Return the parameters that determine the result: equal parameters give equal results."""
        decisive = {name for name, field in type(self).model_fields.items() if Cli.of(field).decisive}
        return {name: value for name, value in self.to_parameters().items() if name in decisive}

    def updated(self, **changes: Any) -> Self:
        """Return a copy with other values, checked like any.

        Raises:
            UsageError: a value out of range.
        """
        return type(self).of(self, changes)

    def refuse_unused(self, used: Collection[str], purpose: str) -> None:
        """Raise a UsageError that names the options that are not as by default, and that a use of the command ignores.

        Those of files and the environment are for every use of the command, so they are ignored without an error.

        Args:
            used: the fields that it reads.
            purpose: what it does, for the message.
        """
        default = type(self)()
        names = [name for name in type(self).model_fields if name not in used]
        given = [name for name in names if name not in self._ambient and getattr(self, name) != getattr(default, name)]
        if given:
            shown = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UsageError(f"{purpose} does not support {shown}", fix="leave it out")

    @model_validator(mode="before")
    @classmethod
    def _one_for_many(cls, values: Any) -> Any:
        """Accept a single word for a list of words, as an environment variable gives it."""
        if not isinstance(values, dict):
            return values
        many = {name for name, field in cls.model_fields.items() if Cli.of(field).multiple}
        return {key: (value,) if key in many and isinstance(value, str | Path) else value for key, value in values.items()}

    @field_validator("*", mode="after")
    @classmethod
    def _no_nan(cls, value: Any) -> Any:
        if _has_nan(value):
            raise ValueError("not a number")
        return value


def nested_class(field: FieldInfo) -> type[Config] | None:
    """Return the configuration class of a field, None if it has another type."""
    kinds = typing.get_args(field.annotation) or (field.annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Config)), None)


def choices(field: FieldInfo) -> tuple[str, ...]:
    """Return the values of a field that is a `Literal` of words, also within a tuple or with None; else nothing."""
    return tuple(str(choice) for choice in _literals(field.annotation))


def _literals(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    return [choice for part in typing.get_args(annotation) for choice in _literals(part)]


def _renamed(cls: type[Config], values: Mapping[str, Any], layer: Layer) -> dict[str, Any]:
    """Return values under today's names of their fields, with a warning for each earlier name."""
    today = {old: name for name, field in cls.model_fields.items() for old in Cli.of(field).formerly}
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = key
        if key not in cls.model_fields and key in today:
            name = today[key]
            written = layer.name_of(key)
            new = f"--{name.replace('_', '-')}" if written.startswith("--") else name
            logger.warning(f"{written} is now called {new}; the old name will be removed")
        below = nested_class(cls.model_fields[name]) if name in cls.model_fields else None
        found[name] = _renamed(below, value, layer) if below is not None and isinstance(value, Mapping) else value
    return found


def located(cls: type[Config], layer: Layer) -> Layer:
    """Return a layer with the paths of existing files as seen from the working folder."""
    if layer.folder is None:
        return layer
    return replace(layer, values=_located(cls, layer.values, layer.folder), folder=None)


def _located(cls: type[Config], values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    found = dict(values)
    for name, value in values.items():
        field = cls.model_fields.get(name)
        if field is None:
            continue
        below = nested_class(field)
        if below is not None and isinstance(value, Mapping):
            found[name] = _located(below, value, folder)
        elif Cli.of(field).file or Path in (field.annotation, *typing.get_args(field.annotation)):
            parts = value if isinstance(value, list | tuple) else [value]
            words = Cli.of(field).also  # never a file, even if there is one of that name
            paths = [
                str(folder / str(part)) if part and part not in words and _exists(folder / str(part)) else part
                for part in parts
            ]
            found[name] = paths if isinstance(value, list | tuple) else paths[0]
    return found


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a text that is too long for a path
        return False


_KINDS = {
    "int": "a whole number",
    "finite": "a finite number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "path": "a path",
}
BOUNDS = {"greater_than_equal": "at least", "greater_than": "above", "less_than_equal": "at most", "less_than": "below"}
"""Words for pydantic's errors of range."""


def _usage_error(cls: type[Config], error: ValidationError, names: Mapping[str, str]) -> UsageError:
    """Return pydantic's first finding as an error in the terms of the command line."""
    found = error.errors()[0]
    kind, value, context = found["type"], found["input"], found.get("ctx", {})
    path = [str(part) for part in found["loc"]]
    holder, field = _field(cls, path)
    shown = next((names[key] for n in range(len(path), 0, -1) if (key := ".".join(path[:n])) in names), ".".join(path))
    if kind == "extra_forbidden":
        where, _, _ = shown.rpartition(": ")
        table = holder.table or ".".join([part for part in (cls.table, *path[:-1]) if part])
        place = f"{where}: " if where else f"{shown}: " if shown != ".".join(path) else ""
        owner = f"[{table}] has" if path[:-1] or table != "run" else "there is"  # a run's file has its options at the top
        return unknown_name(f"{place}{owner} no option", path[-1], holder.model_fields)
    if kind == "literal_error" and field is not None:
        known = choices(field)
        near = difflib.get_close_matches(str(value), known, n=1)
        return UsageError(
            f"{shown} must be {_either(known)}, not {value!r}", fix=f"did you mean {near[0]!r}?" if near else None
        )
    if kind in BOUNDS:
        return UsageError(f"{shown} must be {BOUNDS[kind]} {next(iter(context.values())):g}, not {value}")
    if kind in ("value_error", "assertion_error") and str(context.get("error")) != "not a number":
        return UsageError(f"{shown}: {context.get('error')}")
    if kind == "missing":
        return UsageError(f"{shown} is missing", fix=f"give {shown}")
    word = "a number" if kind == "value_error" else _KINDS.get(kind.split("_", 1)[0])
    if word is None:
        word = "a table" if field is not None and nested_class(field) else "a list" if "tuple" in kind else "another value"
    return UsageError(f"{shown} must be {word}, not {value!r}")


def _field(cls: type[Config], path: Sequence[str]) -> tuple[type[Config], FieldInfo | None]:
    field = None
    for part in path:
        below = nested_class(field) if field is not None else None
        cls = below or cls
        if part not in cls.model_fields:
            break
        field = cls.model_fields[part]
    return cls, field


def _for_toml(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _for_toml(below) for key, below in value.items() if below is not None}
    if isinstance(value, list | tuple):
        return [_for_toml(below) for below in value]
    return str(value) if isinstance(value, Path) else value


def _has_nan(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_nan, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_nan, value))
    return isinstance(value, float) and math.isnan(value)


def _either(words: Sequence[str]) -> str:
    words = [word or "''" for word in words]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _plain(value: Any) -> Any:
    if isinstance(value, float) and math.isinf(value):
        return None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(below) for key, below in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(below) for below in value]
    return value


__all__ = ["Cli", "Config", "Layer", "choices", "located", "nested_class"]
