"""Options of `phylocli run`: the configurations of all stages, and which families they work on."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from phylocli.config import layers
from phylocli.config._translation import TranslationConfig
from phylocli.config.align import AlignConfig
from phylocli.config.base import Cli, Config, Layer, nested_class
from phylocli.config.embed import EmbedConfig
from phylocli.config.families import FamiliesConfig
from phylocli.config.fetch import FetchConfig
from phylocli.config.map import MapConfig
from phylocli.config.pairs import PairsConfig, SamplingConfig
from phylocli.config.parallel import ParallelConfig
from phylocli.config.probe import ProbeConfig
from phylocli.config.train import TrainConfig, layers_of_training
from phylocli.config.tree import TreeConfig
from phylocli.config.types import Alphabet, Seed
from phylocli.core.errors import UsageError

logger = logging.getLogger(__name__)

DEFAULT_PAIRS = 50_000
"""Rows of the table of pairs, if one is needed and no number is given."""

SHARED = ("seed", "alphabet", "jobs", "cluster")
"""Options of a run that apply to the stages which do not set their own."""

OF_VIEW = ("min_dist", "max_dist", "unit", "relation", "species_pattern", "scheme")
"""Options of `[pairs]` that pairs sampled during training follow too."""

ONLY_BY_TABLE = tuple(name for name in SamplingConfig.model_fields if name not in (*OF_VIEW, *SHARED, "number"))
"""Options of `[pairs]` that they cannot follow."""


class HoldoutConfig(Config):
    """Which members training never sees."""

    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Fraction of the members of each family, as whole clades."""


class RunConfig(ParallelConfig, TranslationConfig):
    """What a run does: its families, and each stage's options in the stage's table."""

    table: ClassVar[str] = "run"

    families: Annotated[tuple[str, ...], Cli(shown=False, multiple=True, file=True)] = ()
    """Files with families (Stockholm, FASTA), or accessions, which are fetched."""
    clans: Annotated[tuple[str, ...], Cli(shown=False, multiple=True)] = ()
    """Clan accessions, all of whose families are fetched."""
    seed: Seed = 0
    alphabet: Annotated[Alphabet, Cli()] = "protein"
    """Alphabet of the sequences. Nucleotide trees need [tree] model = "p"."""
    train_on: Annotated[Literal["trees", "pairs"] | None, Cli()] = None
    """Train on new pairs sampled from the trees at every step, or on a table of pairs. By default on trees, unless [pairs]
    has options that require a table (bins, quantiles, replacement, limits)."""
    model: Annotated[str | None, Cli(metavar="NAME|FOLDER")] = None
    """Use this model instead of training one: 'default' is the model included in phylocli."""
    group: Annotated[bool, Cli()] = False
    """First group the sequences of the files into families, as 'phylocli families' does, instead of one family per file."""
    holdout: HoldoutConfig = HoldoutConfig()
    grouping: FamiliesConfig = FamiliesConfig()
    """Options of 'phylocli families', for --group."""
    fetch: FetchConfig = FetchConfig()
    """Options of 'phylocli fetch'."""
    align: AlignConfig = AlignConfig()
    """Options of 'phylocli align'."""
    tree: TreeConfig = TreeConfig()
    """Options of 'phylocli tree'."""
    pairs: PairsConfig = PairsConfig()
    """Options of 'phylocli pairs'."""
    train: TrainConfig = Field(default_factory=dict, validate_default=True)
    """Options of 'phylocli train'."""
    embed: EmbedConfig = EmbedConfig()
    """Options of 'phylocli embed'."""
    map: MapConfig = MapConfig()
    """Options of 'phylocli map'."""
    probe: ProbeConfig = ProbeConfig()
    """Options of 'phylocli probe'."""

    @classmethod
    def gather(cls, arguments: Mapping[str, Any]) -> list[Layer]:
        """Return the layers below the options: every stage's tables, the file or families named, the environment."""
        found = []
        stages = ["run", *cls.stages()]
        for path in layers.files():
            found += [_placed(layers.from_file(path, stage), stage) for stage in stages]
            found.append(layers.from_file(path, FamiliesConfig.table).below("grouping"))
        found.append(of_arguments(list(arguments.get("what") or ())))
        for stage in stages:
            found += [_placed(layer, stage) for layer in layers.from_environment(os.environ, stage)]
        return [layer for layer in found if layer.values]

    @classmethod
    def stages(cls) -> list[str]:
        """Return the names of the stages, which are the tables of their options."""
        return [name for name, field in cls.model_fields.items() if nested_class(field) and name in layers.tables()]

    @property
    def trains_on_pairs(self) -> bool:
        """Whether training reads a table of pairs."""
        return _trains_on_pairs(self.train_on, self.pairs)

    @field_validator("train", mode="before")
    @classmethod
    def _train_of_recipe(cls, value: Any, info: ValidationInfo) -> Any:
        """Return the training that `[train]` describes: its recipe, the distances of `[pairs]`, and its own options."""
        pairs = info.data.get("pairs")
        if isinstance(value, TrainConfig) or not isinstance(value, Mapping) or pairs is None:
            return value
        shared = Layer("", {key: value[key] for key in SHARED if key in value})
        own = [shared, *layers_of_training(info.context or [Layer("", {"train": value})])]
        config, band = TrainConfig.layered(own), _band(pairs)
        samples = "phylogenetic" in config.view.name.split("+") and not _trains_on_pairs(info.data.get("train_on"), pairs)
        if band and samples:
            config = TrainConfig.layered([Layer("[pairs]", {"view": {"phylogenetic": band}}), *own])
        return config

    @model_validator(mode="before")
    @classmethod
    def _say_once(cls, values: Any) -> Any:
        """Pass seed, alphabet and translation on to the stages without their own; set the number of pairs if sampling needs
        one."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        for name, field in cls.model_fields.items():
            below, given = nested_class(field), values.get(name, {})
            if below is None or not isinstance(given, dict):
                continue
            shared = {key: values[key] for key in SHARED if key in values and key in below.model_fields}
            values[name] = {**shared, **given}
        translation = {key: values[key] for key in TranslationConfig.model_fields if key in values}
        for name in ("align", "grouping"):  # the stages that read the files
            given = values.get(name, {})
            if isinstance(given, dict):
                values[name] = {**translation, **given}
        pairs = values.get("pairs")
        if isinstance(pairs, dict) and pairs.get("number") is None and ("scheme" in pairs or pairs.get("replace")):
            values["pairs"] = {**pairs, "number": DEFAULT_PAIRS}
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.alphabet == "dna" and self.tree.model != "p":
            raise UsageError(
                "Nucleotide trees cannot be inferred with an amino acid substitution model",
                fix='set [tree] model = "p", or infer trees with another program and give them to pairs and train',
            )
        if self.alphabet == "dna" and self.translate:
            raise UsageError("translated sequences are proteins", fix="omit --translate, or --alphabet dna")
        if self.group and self.clans:
            raise UsageError(
                "--group applies to sequence files, but clans are families already", fix="leave out one of them"
            )
        if self.train.alphabet != self.alphabet:
            raise UsageError("[train] alphabet differs from the run's", fix="set alphabet once, above all tables")
        if self.pairs.holdout is not None:
            logger.warning("[pairs] holdout is not used: a run holds out clades, by [holdout] fraction")
        if self.train_on == "trees":
            table_only = _only_by_table(self.pairs)
            if table_only:
                raise UsageError(
                    f"training on trees cannot follow [pairs] {table_only[0]}", fix="leave it out, or set train_on = 'pairs'"
                )
        return self


def _only_by_table(pairs: PairsConfig) -> list[str]:
    default = PairsConfig()
    return [name for name in ONLY_BY_TABLE if getattr(pairs, name) != getattr(default, name)]


def _trains_on_pairs(train_on: str | None, pairs: PairsConfig) -> bool:
    return bool(_only_by_table(pairs)) if train_on is None else train_on == "pairs"


def _band(pairs: PairsConfig) -> dict[str, Any]:
    """Return the distances in `[pairs]`, as parameters of the view that samples pairs during training."""
    default = PairsConfig()
    given = {name: value for name in OF_VIEW if (value := getattr(pairs, name)) != getattr(default, name)}
    if given.get("scheme") == "per-family":
        given["scheme"] = "uniform"  # batches take families equally often as it is
    return given


def _placed(layer: Layer, stage: str) -> Layer:
    return layer if stage == "run" else layer.below(stage)


_CLAN = re.compile(r"CL\d{4}(\.\d+)?", re.ASCII | re.IGNORECASE)


def of_arguments(arguments: list[str]) -> Layer:
    """Return the layer of the command-line arguments: one TOML file, or families (files, accessions, clans).

    Raises:
        BadInputError: a file that cannot be read or is not TOML.
    """
    if len(arguments) == 1 and arguments[0].endswith(".toml"):
        return of_file(arguments[0])
    clans = [name for name in arguments if _CLAN.fullmatch(name) and not Path(name).exists()]
    families = [name for name in arguments if name not in clans]
    return Layer("", {key: value for key, value in (("families", families), ("clans", clans)) if value})


def of_file(path: str | Path) -> Layer:
    """Return the layer of a run's TOML file, the paths in which are relative to it.

    Raises:
        BadInputError: a file that cannot be read or is not TOML.
    """
    from phylocli.formats.toml import read_toml

    return Layer(str(path), read_toml(path), folder=Path(path).parent)
