"""Everything that decides one family's tree, and what of it cannot work with any family."""

from __future__ import annotations

from dataclasses import dataclass

from phylocli.core.errors import UsageError
from phylocli.core.plugins import TREE_ENGINES
from phylocli.tree.distances.matrix import FORMULAS, MAX_DISTANCE, parse_model
from phylocli.tree.refinement import refines
from phylocli.tree.rooting import METHODS
from phylocli.tree.settings import Settings
from phylocli.tree.support import parse_support

COLUMNS = ("match", "all")


@dataclass(frozen=True)
class Options:
    """Everything that decides one family's tree; see `infer_trees`."""

    engine: str = "auto"
    model: str = "lg"
    alpha: float | None = None
    min_overlap: int = 10
    max_distance: float = MAX_DISTANCE
    min_coverage: float = 0.0
    columns: str = "match"
    root: str = "midpoint"
    outgroup: tuple[str, ...] = ()
    refine: bool | None = None
    nni: bool | None = None
    support: str = "none"
    seed: int = 0
    timeout: float | None = None

    def settings(self) -> Settings:
        """Return the part of the options that engines see."""
        return Settings(
            model=model_name(self),
            alpha=self.alpha,
            min_overlap=self.min_overlap,
            max_distance=self.max_distance,
            seed=self.seed,
            timeout=self.timeout,
        )


def check_options(options: Options) -> None:
    """Raise for options that cannot work with any family.

    Raises:
        UsageError: naming the option.
    """
    model = model_name(options)
    if options.engine != "auto":
        module = TREE_ENGINES.load(options.engine)
        if model in FORMULAS and not getattr(module, "USES_DISTANCES", False):
            raise UsageError(
                f"the engine {options.engine} has no model {options.model!r}",
                why="kimura and p are formulas for distances, not models of substitution",
                fix="use --engine bme, or --model lg",
            )
    if options.alpha is not None and not options.alpha > 0:
        raise UsageError(f"the shape α of the Γ distribution is {options.alpha}", fix="give a positive number, or inf")
    if options.root not in METHODS:
        raise UsageError(f"there is no rooting named {options.root!r}", fix=f"known: {', '.join(METHODS)}")
    if options.nni and (options.refine is False or not refines(model)):
        raise UsageError(
            "interchanges need the likelihood",
            why="lengths are not refined" if options.refine is False else f"the model {model!r} has none",
            fix="leave out --nni, or --no-refine and the model",
        )
    measure = parse_support(options.support)
    if measure is not None and measure.name != "bootstrap" and not refines(model):
        raise UsageError(
            f"there is no {measure.name} support under the model {model!r}",
            why="it needs a likelihood",
            fix="use --support bootstrap, or --model lg",
        )
    resamples = measure is not None and measure.name == "bootstrap" and options.engine != "auto"
    if resamples and not getattr(TREE_ENGINES.load(options.engine), "USES_DISTANCES", False):
        raise no_bootstrap(f"the engine {options.engine}")
    if options.columns not in COLUMNS:
        raise UsageError(f"there are no columns named {options.columns!r}", fix=f"known: {', '.join(COLUMNS)}")
    if options.timeout is not None and not options.timeout > 0:
        raise UsageError(f"a time of {options.timeout} seconds makes no sense", fix="give --timeout a positive number")
    if not 0 <= options.min_coverage <= 1:
        raise UsageError(f"a coverage of {options.min_coverage} makes no sense", fix="give a share from 0 to 1")


def model_name(options: Options) -> str:
    """Return the model's name as engines know it.

    Raises:
        UsageError: no such model, for any engine or for the one that was chosen.
    """
    if options.engine != "auto":
        own = getattr(TREE_ENGINES.load(options.engine), "OWN_MODELS", ())
        if options.model.lower() in own:
            return options.model.lower()
    return parse_model(options.model)


def no_bootstrap(what: str) -> UsageError:
    """Return the error of a bootstrap that was asked for where no distances make the tree."""
    return UsageError(
        f"there is no bootstrap for {what}",
        why="it infers a tree from the distances of every replicate",
        fix="use --support alrt or abayes, or --engine bme",
    )
