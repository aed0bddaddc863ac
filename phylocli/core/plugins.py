"""Plugins: a new view, modality, encoder, decoder, critic, objective, pooling, engine, probe, … is one file.

A built-in plugin is a file in the package of its kind; the word that the user types is the file's name, with `-` for `_`.
Another package adds one by an entry point in the group of the kind, whose name is the word and whose value is the module:

    [project.entry-points."phylocli.encoders"]
    wavenet = "my_package.wavenet"

What a plugin must have is a protocol of `phylocli.core.protocols`. Names, and summaries (the first line of the docstring),
are read from the source text, so that listing imports nothing.
"""

# The contracts are protocols, passed as classes:
# mypy: disable-error-code="type-abstract"

from __future__ import annotations

import ast
import functools
import importlib
import importlib.machinery
import importlib.metadata
import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from phylocli.core import protocols
from phylocli.core.errors import PhylocliError, UsageError, unknown_name

T = TypeVar("T")
P = TypeVar("P")

_PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True)
class Kind(Generic[P]):
    """A kind of plugin.

    Attributes:
        noun: its name in messages.
        package: the folder of the built-in ones, a package below `phylocli`.
        group: the group of entry points of other packages.
        contract: the protocol of each module.
        earlier: today's names of built-in plugins, by names that models and settings of earlier versions contain.
    """

    noun: str
    package: str
    group: str
    contract: type[P]
    earlier: Mapping[str, str] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Return the names of all plugins, sorted, as the user types them."""
        return sorted({*self._files(), *_installed(self.group)})

    def current(self, name: str) -> str:
        """Return today's name, with `-` for `_`, of a plugin that an earlier version may have called otherwise."""
        wanted = name.replace("_", "-")
        return self.earlier.get(wanted, wanted)

    def summary(self, name: str) -> str:
        """Return the first line of a plugin's docstring, without importing it; empty if its source cannot be found."""
        wanted = self.current(name)
        path = self._files().get(wanted) or _source(_installed(self.group)[wanted][0].module)
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path else None
        return (doc or "").split("\n", 1)[0].rstrip(".")

    def origins(self, name: str) -> list[str]:
        """Return which packages provide a name, such as `phylocli` or `my-package 1.0`; more than one is a clash."""
        return ["phylocli"] * (name in self._files()) + [_distribution(e) for e in _installed(self.group).get(name, ())]

    def load(self, name: str) -> P:
        """Import a plugin.

        Raises:
            UsageError: no plugin of that name (the message lists the known ones and the nearest spelling), or several
                packages that provide it.
            PhylocliError: another package's plugin that cannot be imported, or lacks a part of the contract.
        """
        wanted = self.current(name)
        origins = self.origins(wanted)
        if not origins:
            raise unknown_name(f"unknown {self.noun}", wanted, self.names())
        if len(origins) > 1:
            raise _clash(self.noun, wanted, origins)
        if wanted in self._files():
            return cast(P, importlib.import_module(f"phylocli.{self.package}.{wanted.replace('-', '_')}"))
        return self._load_installed(wanted, _installed(self.group)[wanted][0], origins[0])

    def check_parameters(self, name: str, maker: Callable[..., Any], parameters: Mapping[str, Any]) -> None:
        """Check names and types of the user's parameters of a plugin, by the signature of its class or function.

        Args:
            name: of the plugin.
            maker: takes the parameters by their names.
            parameters: given by the user.

        Raises:
            UsageError: a parameter that does not exist, a value of another type, or NaN.
        """
        every = inspect.signature(maker).parameters
        known = {
            key: found for key, found in every.items() if found.default is not found.empty
        }  # others are set by phylocli
        for key, value in parameters.items():
            if key not in known:
                raise unknown_name(f"the {self.noun} {name!r} has no parameter", key, known)
            words = _annotated_types(known[key].annotation)
            types = [_TYPES.get(word) for word in words]
            if value is None or any(found is None for found in types):
                continue  # the plugin checks other types itself
            fits = any(isinstance(value, found) and (isinstance(value, bool) == (bool in found)) for found in types if found)
            if not fits or (isinstance(value, float) and math.isnan(value)):
                wanted = " or ".join(_WORDS[word] for word in words)
                raise UsageError(f"{key} of the {self.noun} {name!r} must be {wanted}, not {value!r}")

    def make(
        self, name: str, maker: Callable[..., T], *given: Any, parameters: Mapping[str, Any] | None = None, **more: Any
    ) -> T:
        """Return a plugin's object for the user's parameters.

        Args:
            name: of the plugin.
            maker: its class or function.
            given, more: arguments that are not the user's.
            parameters: given by the user.

        Raises:
            UsageError: parameters that the plugin does not have, or values that it cannot work with.
            PhylocliError: the plugin fails with its own defaults too: the fault is the plugin's.
        """
        parameters = parameters or {}
        self.check_parameters(name, maker, parameters)
        try:
            return maker(*given, **more, **parameters)
        except PhylocliError:
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            if parameters and _works(maker, *given, **more):
                shown = ", ".join(f"{key}={value!r}" for key, value in parameters.items())
                raise UsageError(
                    f"the {self.noun} {name!r} does not work with {shown}",
                    why=why,
                    fix="give values within the range of each parameter",
                ) from error
            raise PhylocliError(
                f"the {self.noun} {name!r} of {' and '.join(self.origins(name))} fails with its default parameters",
                why=why,
                fix="report it to the authors of the plugin",
            ) from error

    def _files(self) -> dict[str, Path]:
        files = _PACKAGE.joinpath(*self.package.split(".")).glob("*.py")
        return {f.stem.replace("_", "-"): f for f in files if not f.stem.startswith("_")}

    def _load_installed(self, name: str, entry: EntryPoint, origin: str) -> P:
        fix = "update that package, or uninstall it"
        try:
            plugin = entry.load()
        except Exception as error:
            raise PhylocliError(
                f"the {self.noun} {name!r} of {origin} cannot be imported from {entry.value!r}",
                why=f"{type(error).__name__}: {error}",
                fix=fix,
            ) from error
        missing = list(missing_parts(self.contract, plugin))
        if missing:
            raise PhylocliError(
                f"the {self.noun} {name!r} of {origin} is incomplete: {entry.value!r} lacks {', '.join(missing)}",
                why=f"a {self.noun} must provide the parts of phylocli.core.protocols.{self.contract.__name__}",
                fix=fix,
            )
        return cast(P, plugin)


VIEWS = Kind("view", "views", "phylocli.views", protocols.ViewPlugin)
ENCODERS = Kind("encoder", "encoders", "phylocli.encoders", protocols.EncoderPlugin, earlier={"esm2": "plm"})
DECODERS = Kind("decoder", "decoders", "phylocli.decoders", protocols.DecoderPlugin)
CRITICS = Kind("critic", "critics", "phylocli.critics", protocols.CriticPlugin)
OBJECTIVES = Kind("objective", "objectives", "phylocli.objectives", protocols.ObjectivePlugin)
MODALITIES = Kind("modality", "modalities", "phylocli.modalities", protocols.ModalityPlugin)
POOLINGS = Kind("pooling", "encoders.poolings", "phylocli.poolings", protocols.PoolingPlugin)
TREE_ENGINES = Kind("tree engine", "tree.engines", "phylocli.tree_engines", protocols.TreeEnginePlugin)
ALIGNERS = Kind("aligner", "align.engines", "phylocli.aligners", protocols.AlignerPlugin)
FAMILY_ENGINES = Kind("family engine", "families.engines", "phylocli.family_engines", protocols.FamilyEnginePlugin)
PROBES = Kind("probe", "probe.tasks", "phylocli.probes", protocols.ProbePlugin)
BASELINES = Kind("baseline", "probe.baselines", "phylocli.baselines", protocols.BaselinePlugin)
BENCHMARKS = Kind("benchmark", "probe.benchmarks", "phylocli.benchmarks", protocols.BenchmarkPlugin)

KINDS: tuple[Kind[Any], ...] = (
    *(VIEWS, MODALITIES, ENCODERS, POOLINGS, DECODERS, CRITICS, OBJECTIVES),
    *(TREE_ENGINES, ALIGNERS, FAMILY_ENGINES, PROBES, BASELINES, BENCHMARKS),
)
RECIPES = "phylocli.recipes"
"""The group of recipes of other packages: the value of an entry point is the package that contains `<name>.toml`."""


def missing_parts(contract: type, thing: object, prefix: str = "") -> Iterator[str]:
    """Yield the parts of a protocol that a thing lacks, dotted; parts with their own protocol are checked too."""
    for name, part in vars(contract).items():
        if name.startswith("_"):
            continue
        if not hasattr(thing, name):
            yield prefix + name
        elif not isinstance(part, property):
            if not callable(getattr(thing, name)):
                yield f"{prefix}{name}()"
        elif isinstance(nested := getattr(protocols, str(part.fget.__annotations__["return"]), None), type):
            yield from missing_parts(nested, getattr(thing, name), f"{prefix}{name}.")


def recipe_names() -> list[str]:
    """Return the names of other packages' recipes, sorted."""
    return sorted(_installed(RECIPES))


def recipe_origins(name: str) -> list[str]:
    """Return which other packages provide a recipe, such as `my-package 1.0`."""
    return [_distribution(entry) for entry in _installed(RECIPES).get(name, [])]


def recipe_file(name: str, built_in: Path) -> Path:
    """Return the file of a recipe that exists: the built-in one, or another package's.

    Raises:
        UsageError: several packages that provide the name.
        PhylocliError: a package does not contain the file that it declares.
    """
    entries = _installed(RECIPES).get(name, [])
    origins = ["phylocli"] * built_in.is_file() + recipe_origins(name)
    if len(origins) > 1:
        raise _clash("recipe", name, origins)
    if not entries:
        return built_in
    package = _source(entries[0].module)
    path = package.parent / f"{name}.toml" if package else None
    if path is None or not path.is_file():
        raise PhylocliError(
            f"the recipe {name!r} of {origins[0]} is missing: no {name}.toml in {entries[0].module}",
            fix="update that package, or uninstall it",
        )
    return path


def _clash(noun: str, name: str, origins: list[str]) -> UsageError:
    return UsageError(
        f"the {noun} {name!r} is provided by {' and by '.join(origins)}",
        fix="uninstall one of them, or rename its entry point",
    )


def _installed(group: str) -> dict[str, list[EntryPoint]]:
    return _entry_points(tuple(sys.path)).get(group, {})


@functools.lru_cache(maxsize=2)
def _entry_points(search_path: tuple[str, ...]) -> dict[str, dict[str, list[EntryPoint]]]:
    """Return the entry points of our groups by group and name."""
    del search_path  # the key of the cache, on which the entry points depend
    found: dict[str, dict[str, list[EntryPoint]]] = {}
    seen = set()
    for distribution in importlib.metadata.distributions():
        if distribution.name in seen:
            continue  # an older copy further down the search path
        seen.add(distribution.name)
        for entry in distribution.entry_points:
            if entry.group.startswith("phylocli."):
                found.setdefault(entry.group, {}).setdefault(entry.name.replace("_", "-"), []).append(entry)
    return found


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"


def _source(module: str) -> Path | None:
    """Return a module's source file without importing it or its parents; None if that is not possible."""
    path: list[str] | None = None
    origin = None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        spec = importlib.machinery.PathFinder.find_spec(".".join(parts[:depth]), path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
        origin = spec.origin
    return Path(origin) if origin and origin.endswith(".py") else None


_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}
_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word"}


def _annotated_types(annotation: Any) -> list[str]:
    """Return the names of the types of an annotation, `["int"]` for `int`, `"int"` and `int | None`."""
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return [word.strip() for word in text.split("|") if word.strip() != "None"]


def _works(maker: Callable[..., Any], *given: Any, **more: Any) -> bool:
    try:
        maker(*given, **more)
    except Exception:  # noqa: BLE001  whatever a plugin raises
        return False
    return True
