"""Choice of engine and model for a family, and checks of the configuration."""

from __future__ import annotations

from phylocli.config.tree import TreeConfig
from phylocli.core.errors import UsageError
from phylocli.core.plugins import TREE_ENGINES
from phylocli.tree.distances.matrix import FORMULAS, parse_model
from phylocli.tree.refinement import refines
from phylocli.tree.settings import Settings, Traits
from phylocli.tree.support import parse_support


def settings_of(config: TreeConfig) -> Settings:
    """Return the settings of a configuration that engines use."""
    return Settings(
        model=model_name(config),
        alpha=config.alpha,
        min_overlap=config.min_overlap,
        max_distance=config.max_distance,
        seed=config.seed,
        timeout=config.timeout,
    )


def traits_of(engine: str) -> Traits:
    """Return the models and properties of an engine.

    Raises:
        UsageError: unknown engine.
    """
    return TREE_ENGINES.load(engine).TRAITS


def automatic_engines() -> list[tuple[float, str]]:
    """Return the engines that `auto` chooses from: maximum number of distinct sequences and name, in ascending order."""
    found = [(traits.automatic_up_to, name) for name in TREE_ENGINES.names() if (traits := traits_of(name)).available()]
    return sorted((limit, name) for limit, name in found if limit is not None)


def choose_engine(size: int, config: TreeConfig) -> str:
    """Return the engine for a family of `size` distinct sequences: the requested one, or the choice of `auto`.

    `auto` chooses the engine with the lowest sufficient limit among those that have the model, or the engine with the
    highest limit if none is sufficient.
    """
    if config.engine != "auto":
        return config.engine
    model = parse_model(config.model)
    candidates = [(limit, name) for limit, name in automatic_engines() if model in traits_of(name).models]
    return next((name for limit, name in candidates if size <= limit), candidates[-1][1])


def check_config(config: TreeConfig) -> None:
    """Check that the options of a configuration are compatible with each other.

    Raises:
        UsageError: two options are incompatible.
    """
    model = model_name(config)
    named = None if config.engine == "auto" else traits_of(config.engine)
    if named is not None and model not in named.models:
        raise UsageError(
            f"the engine {config.engine} has no model {model!r}",
            why="kimura and p are formulas for distances, not substitution models" if model in FORMULAS else None,
            fix=f"use one of {', '.join(named.models)}, or the engine bme",
        )
    if config.nni and not refines(model):
        raise UsageError(f"nni needs a likelihood, but the model {model!r} has none", fix="omit nni, or use the model lg")
    measure = parse_support(config.support)
    if measure is not None and measure.name != "bootstrap" and not refines(model):
        raise UsageError(
            f"{measure.name} support needs a likelihood, but the model {model!r} has none",
            fix="use --support bootstrap, or --model lg",
        )
    if measure is not None and measure.name == "bootstrap" and named is not None and not named.uses_distances:
        raise no_bootstrap(f"the engine {config.engine}")


def model_name(config: TreeConfig) -> str:
    """Return the canonical name of the model.

    Raises:
        UsageError: unknown model, or the requested engine does not have it.
    """
    name = config.model.strip().lower()
    if config.engine != "auto" and name in traits_of(config.engine).models:
        return name
    return parse_model(config.model)


def no_bootstrap(what: str) -> UsageError:
    """Return the error for bootstrap support of a tree that is not inferred from distances."""
    return UsageError(
        f"no bootstrap support for {what}",
        why="a bootstrap tree is inferred from the distances of each replicate",
        fix="use --support alrt or abayes, or --engine bme",
    )
