"""Options of `phylocli train`: all settings of a training run. Recipes are TOML files with the settings that differ."""

from __future__ import annotations

import logging
import math
import typing
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, PrivateAttr, field_validator, model_validator

from phylocli import recipes
from phylocli.config.base import Cli, Config, Layer, located
from phylocli.config.types import Alphabet, Count, Device, Fraction, Numbers, Seed, Words
from phylocli.core.errors import UsageError
from phylocli.core.plugins import MODALITIES

logger = logging.getLogger(__name__)

Number = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, lt=math.inf)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0, lt=math.inf)]
Finite = Annotated[float, Field(gt=-math.inf, lt=math.inf)]

LatentPart = Literal["all", "y", "w"]
ValidationMetric = Literal["val_loss", "val_bound", "val_accuracy", "val_retrieval", "val_rank"]
VALIDATION_METRICS: tuple[ValidationMetric, ...] = typing.get_args(ValidationMetric)


def _today(values: Any, table: str, old: str, new: str) -> Any:
    """Return a table in which a parameter of a plugin has its present name."""
    if not isinstance(values, dict) or old not in values:
        return values
    logger.warning(f"{table}.{old} is now called {table}.{new}; the old name will be removed")
    return {(new if key == old else key): value for key, value in values.items()}


class Plugin(Config):
    """The name of a plugin and the plugin's own parameters, which the plugin checks."""

    model_config = ConfigDict(extra="allow")

    @property
    def parameters(self) -> dict[str, Any]:
        """The plugin's own parameters, as far as they are given."""
        return dict(self.model_extra or {})


class ViewConfig(Plugin):
    """What makes two sequences a positive pair. Each part of the view has a table for its parameters: `[view.crop]`."""

    name: str = "phylogenetic+crop"
    """A source of pairs and the transforms after it, joined by `+`."""

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "phylogenetic" not in values:
            return values
        return {**values, "phylogenetic": _today(values["phylogenetic"], "view.phylogenetic", "weighting", "scheme")}


class EncoderConfig(Config):
    """The encoder and its pooling."""

    name: str = "convolutional"
    """Name of the architecture."""
    preset: str = "small"
    """One of its sizes."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Of the architecture, over those of the preset."""
    pooling: str = "mean"
    """Name of the pooling."""
    pooling_parameters: dict[str, Any] = Field(default_factory=dict)
    """Of the pooling."""
    start: str = ""
    """A model, by name or folder, whose weights initialise the encoder, and the pooling if it is of the same kind."""
    average_coefficient: Annotated[Fraction, Cli(formerly=("start_share",))] = 0.0
    """Coefficient of those weights in an average with the trained ones, taken after training (WiSE-FT)."""


class ModalityConfig(Config):
    """A modality of `--modalities`: its encoder, and its projection into the joint space of head.dimension features. What is
    left empty is as the modality suggests."""

    encoder: str = ""
    """Name of the architecture."""
    preset: str = ""
    """One of its sizes."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Of the architecture, over those of the preset."""
    pooling: str = ""
    """Name of the pooling."""
    pooling_parameters: dict[str, Any] = Field(default_factory=dict)
    """Of the pooling."""
    hidden: Number = 0
    """Hidden units of the projection; 0: linear."""
    model: str = ""
    """A model of sequences, by name or folder, to start from instead, with its pooling."""
    locked: bool = False
    """Train only the projection: vectors are computed once, of whole values (locked-image tuning, arXiv 2111.07991)."""


class MultiviewConfig(Config):
    """Training on several modalities."""

    pairs: Literal["full", "core"] = "full"
    """Pairs of modalities that are contrasted: all, or the first modality with each other one."""
    max_length: Count = 256
    """Longest value, in positions; longer ones are cropped at random. Modalities with one position per residue are cropped
    alike."""


class HeadConfig(Config):
    """The projection head between embedding and objective; it is discarded after training."""

    hidden: Number = 256
    """Hidden units of the perceptron; 0: no head."""
    layers: Count = 1
    """Hidden layers of the perceptron, each of that many units."""
    dimension: Count = 128
    """Features of its output."""
    norm: bool = False
    """Batch normalisation before the head: removes the mean that all embeddings share."""


class CriticConfig(Plugin):
    """How two vectors are scored."""

    name: str = "cosine"
    """Name of the critic."""


class ObjectiveConfig(Plugin):
    """What is minimised."""

    name: str = "infonce"
    """Name of the objective."""

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, values: Any) -> Any:
        return _today(values, "objective", "kin_mass", "homolog_weight")


class DecoderConfig(Plugin):
    """The decoder of the objective `hybrid`, and the parts y and w of its latent vectors; other keys are its parameters."""

    name: str = ""
    """Name of the decoder; empty: none."""
    y: Annotated[Fraction, Field(gt=0)] = 0.5
    """Fraction of the latent features that are y; the rest is w."""
    contrast: LatentPart = "y"
    """The part that goes into the projection head and is contrasted."""
    reads: LatentPart = "all"
    """The part from which sequences are decoded."""
    target: Literal["own", "partner"] = "own"
    """What is decoded from the first view's latent vector: this view, or its partner."""
    background: Literal["unigram", "profile"] = "unigram"
    """The stated p(x): composition and lengths of all families, or the profile of the sequence's own family."""


class DiffusionConfig(Config):
    """The latent diffusion model of the recipe `latent-diffusion`: its network, and its training."""

    prediction: Literal["v", "epsilon"] = "v"
    """What the network predicts: v, a mixture of signal and noise, or the noise."""
    times: Annotated[int, Field(ge=2)] = 1000
    """Times of the cosine noise schedule."""
    width: Annotated[int, Field(ge=2, multiple_of=2)] = 384
    """Hidden features."""
    depth: Count = 4
    """Residual blocks."""
    batch: Count = 256
    """Latent vectors per step."""
    average: BelowOne = 0.999
    """Coefficient of the moving average of the weights, with which the model samples."""
    unconditional: Fraction = 0.1
    """Fraction of the vectors whose family or clan is hidden; needed for guidance, and for samples of any family."""


class GraphsConfig(Config):
    """The graph models of the recipes `dgi` and `infograph`, and their training."""

    hidden: Count = 128
    """Features of a layer."""
    layers: Count = 1
    """Graph convolutions (dgi), or layers of the graph isomorphism network (infograph)."""
    corruption: Literal["shuffle", "graphs"] = "shuffle"
    """For dgi: false nodes are those of the same graph with permuted features, or nodes of another graph."""
    batch: Annotated[int, Field(ge=2)] = 64
    """For infograph: graphs per step."""
    labels: Annotated[str, Cli(file=True)] = ""
    """For infograph: a table of labels of some graphs (columns id and column), for its semi-supervised form."""
    column: str = "label"
    """The column of classes in that table."""
    agreement: Positive = 0.001
    """For infograph with labels: weight of the objectives without labels."""


class OptimiserConfig(Config):
    """The optimiser; the learning rate rises linearly, stays constant, and falls along half a cosine."""

    name: Literal["adamw", "muon"] = "adamw"
    """muon: orthogonalised momentum for the matrices between hidden layers, AdamW for the rest."""
    learning_rate: Positive = 0.002
    """Highest learning rate."""
    weight_decay: Annotated[float, Field(ge=0, lt=math.inf)] = 0.05
    """Of matrices only."""
    beta1: BelowOne = 0.9
    """Of the first moment."""
    beta2: BelowOne = 0.98
    """Of the second moment."""
    warmup: Fraction = 0.05
    """Fraction of the steps in which the rate rises."""
    final: Fraction = 0.05
    """Fraction of the highest rate that is left at the end."""
    decay: Fraction = 1.0
    """Fraction of the steps, at the end, in which the rate falls; 1: all after the rise."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of each layer of the encoder, as a fraction of that of the layer above; for pretrained encoders."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of the gradient."""


class BatchConfig(Config):
    """The pairs of a step, and how it is computed."""

    pairs: Number = 0
    """Pairs per batch; 0: twice the number of families, but at least 32 and at most 256."""
    accumulate: Count = 1
    """Number of batches whose gradients make one step; negatives come from the pair's own batch."""
    max_tokens: Annotated[int, Field(ge=1), Cli(formerly=("tokens",))] = 16384
    """Residues that go through the encoder, or the decoder, at once, padding included."""
    grad_cache: Annotated[bool, Cli(formerly=("cache",))] = False
    """Gradient caching: keep the activations of that many residues only, and encode twice; exact."""
    activation_checkpointing: Annotated[bool, Cli(formerly=("recompute",))] = False
    """Keep only the input of each of the encoder's blocks, and compute it twice."""
    shard: bool = False
    """Under torchrun: each process keeps a part of the encoder's weights, gradients and optimiser state (FSDP)."""
    workers: Annotated[int, Field(ge=-1)] = -1
    """Processes that prepare batches; 0: a thread; -1: a thread on a CPU, up to four processes with a GPU."""
    negatives: Literal["clan", "family", "pair"] = "clan"
    """Who is not a negative: members of one clan (or family), of one family, or only the pair itself."""
    family_power: Finite = 0.0
    """Sample families in proportion to size ** family_power; 0: equally often."""
    cross_family_fraction: Annotated[Fraction, Cli(formerly=("clan_share",))] = 0.0
    """Fraction of pairs whose two members are of different families of one clan, for families with others of their clan."""
    input_fractions: Numbers = ()
    """Fraction of the pairs from each input, in their order; empty: by the number of families (or by family_power)."""
    hard_negatives: Annotated[str, Cli(file=True)] = ""
    """A table from 'phylocli pairs --hard-negatives', whose families are put in the same batches."""
    hard_negative_fraction: Annotated[BelowOne, Cli(formerly=("hard_share",))] = 0.5
    """Fraction of hard negatives in a batch, if there is such a table."""


class ResiduesConfig(Config):
    """Heads on residue vectors, trained beside the objective on sequences with residue labels; they stay in the model."""

    labels: Annotated[str, Cli(file=True)] = ""
    """A table of sequences with residue labels (id, sequence, three_di, dssp, profile); without it there are no heads."""
    weights: dict[str, Weight] = Field(default_factory=dict)
    """Weight of each head's loss beside the objective: 3di, ss3, ss8, profile; 0: no such head."""
    sequences: Count = 48
    """Labelled sequences per step."""
    max_length: Count = 256
    """Largest number of residues of each; longer ones are cropped at random."""
    masked: BelowOne = 0.0
    """Fraction of their residues that the encoder does not see; their labels are predicted all the same."""
    hidden: Number = 128
    """Channels of the convolution in each head; 0: a linear map of each residue vector."""
    kernel: Annotated[int, Field(ge=1, le=63)] = 7
    """Residues that this convolution sees, odd."""

    @property
    def heads(self) -> dict[str, float]:
        """The weights of the heads that are trained, by name."""
        return {name: weight for name, weight in sorted(self.weights.items()) if weight > 0} if self.labels else {}

    @property
    def network(self) -> dict[str, int]:
        """Parameters of the network of each head."""
        return {"hidden": self.hidden, "kernel": self.kernel}


class DistillationConfig(Config):
    """Teachers: the encoder learns to agree with the vectors of other models, beside the objective."""

    weights: dict[str, Weight] = Field(default_factory=dict)
    """Weight of each loss beside the objective: crd, embedding-regression, similarity-distillation; 0: not used. Without any
    weight here, and without residues and heads: crd = 1."""
    parameters: dict[str, dict[str, bool | int | float | str]] = Field(default_factory=dict)
    """Of these losses, by their names."""
    contrast: Weight = 1.0
    """Weight of the objective's loss; 0: distillation alone."""
    dimension: Count = 128
    """Features to which vectors of student and teacher are mapped for losses that use a critic, such as crd."""
    temperature: Positive = 0.07
    """Of the cosine critic of these losses."""
    target: Literal["crop", "whole"] = "crop"
    """What a crop is compared with: the teacher's vector of the same part, read in the context of the whole sequence; or of
    the whole sequence, which is also used where the teacher has no other."""
    block: Count = 16
    """Residues per vector that is kept on disk; a crop's is the mean of its blocks, weighted by their residues in it."""
    residues: Weight = 0.0
    """Weight of the regression of the teacher's residue vectors; 0: not used."""
    heads: dict[str, Weight] = Field(default_factory=dict)
    """Weight of the divergence from the probabilities of the teacher's heads: 3di, ss3, ss8, profile; 0: not used."""
    sequences: Count = 48
    """Sequences per step whose residues are compared, if they are."""

    @property
    def losses(self) -> dict[str, float]:
        """The weights of the losses on vectors, by name."""
        found = {name: weight for name, weight in sorted(self.weights.items()) if weight > 0}
        return found if self.weights or self.residues or self.head_weights else {"crd": 1.0}

    @property
    def head_weights(self) -> dict[str, float]:
        """The weights of the heads that are distilled, by name."""
        return {name: weight for name, weight in sorted(self.heads.items()) if weight > 0}


class KernelConfig(Config):
    """After training: kernel features of the residues, appended to the pooled features; needs aligned families and
    whitening."""

    features: Number = 0
    """Random Fourier features; 0: none."""
    axes: Count = 64
    """Axes of residues, along which homologs agree most, on which the kernel compares."""
    width: Positive = 0.08
    """Of the Gaussian kernel's frequencies, per unit of an axis."""


class WhiteningConfig(Config):
    """After training: an affine map that weighs directions by how little members of one family differ in them."""

    power: Fraction = 0.0
    """0: none; 0.5: the covariance within families becomes the identity."""
    vectors: Annotated[int, Field(ge=2)] = 12000
    """Training members that it is fitted on, whole; the same number of each family."""
    floor: Annotated[float, Field(gt=0, le=1)] = 0.001
    """Smallest fraction of the largest eigenvalue that counts."""
    composition: Annotated[float, Field(ge=0, lt=math.inf)] = 0.0
    """Weight of the covariance of shuffled members: variation in composition counts as variation within families."""
    dimension: Number = 0
    """Output features, along the axes between family means, if there are enough; 0: all."""


class ValidationConfig(Config):
    """Held-out members, and the interval of validation."""

    fraction: BelowOne = 0.1
    """Fraction of each family's members to hold out, as whole clades; 0: no validation."""
    split: Annotated[str, Cli(file=True)] = ""
    """A table (family, id, part) of held-out members to use instead, from 'phylocli pairs --holdout'; `{seed}`: the run's
    seed."""
    pairs: Annotated[int, Field(ge=2)] = 128
    """Held-out pairs."""
    every: Count = 100
    """Steps between validations."""


class CheckpointsConfig(Config):
    """When the state is saved, and which becomes the model."""

    every: Count = 100
    """Steps between checkpoints."""
    keep: Count = 2
    """Number of checkpoints that are kept."""
    best: Literal["", ValidationMetric] = "val_accuracy"
    """Metric by which the best state is kept as best.pt; empty: none."""
    model: Literal["last", "best"] = "last"
    """Which state becomes the model."""


class LogConfig(Config):
    """What is recorded besides metrics.parquet."""

    mfu: bool = True
    """Columns flops and mfu: fraction of the device's matrix-product rate (FLOP utilisation), measured at the start."""
    tensorboard: bool = False
    """Write every row to TensorBoard too, in the run folder's tensorboard/."""
    wandb: str = ""
    """Log every row to this project of Weights & Biases too."""


class TrainConfig(Config):
    """Every setting of a training run.

    Values are taken, in ascending order of precedence, from the defaults, the recipe, and the layers of `layered`. If a
    layer names another plugin, the parameters of the previous one are dropped.
    """

    table: ClassVar[str] = "train"

    recipe: Annotated[str, Cli("--config", "--recipe", metavar="NAME|FILE", file=True, values=recipes.names)] = "simclr"
    """A recipe (see 'phylocli recipes'), or a TOML file; the config.toml of a run repeats it, with its inputs and seed."""
    idea: Annotated[str, Cli(shown=False)] = ""
    """What the recipe does, in one line."""
    paper: Annotated[str, Cli(shown=False)] = ""
    """Where it was published."""
    inputs: Annotated[tuple[str, ...], Cli(shown=False)] = ()
    """What is trained on."""
    task: Annotated[Literal["contrast", "latent-diffusion", "dgi", "infograph"], Cli(shown=False)] = "contrast"
    """What is trained: an encoder, a diffusion model of the latent vectors of a trained one, or a graph model."""
    latents: Annotated[str, Cli("--latents", metavar="NAME|FOLDER", file=True)] = ""
    """For --recipe latent-diffusion: the model with a decoder whose latent vectors are learned."""
    features: Annotated[str, Cli("--features", metavar="TABLE", file=True)] = ""
    """For --recipe dgi and infograph: embeddings of the nodes of networks, or of the members of trees."""
    seed: Seed = 0
    steps: Annotated[int, Field(ge=1), Cli(metavar="N")] = 600
    """Optimiser steps."""
    teachers: Annotated[tuple[str, ...], Cli("--teacher", metavar="MODEL|TABLE", multiple=True, file=True)] = ()
    """A teacher to distil: a model by name or folder, or a table of embeddings of the training sequences (ids as in the
    input); may be repeated."""
    device: Annotated[Device, Cli(decisive=False)] = "auto"
    precision: Annotated[Literal["auto", "fp32", "bf16"], Cli(shown=False)] = "auto"
    """Precision of the encoder's products; bf16: autocast, weights stay float32; auto: bf16 if the device multiplies it
    faster."""
    compile: Annotated[bool, Cli(shown=False)] = False
    """Compile the encoder with torch.compile: faster steps after a slow first one."""
    alphabet: Annotated[Alphabet, Cli(shown=False)] = "protein"
    """Alphabet of the sequences."""
    on_divergence: Annotated[Literal["stop", "rollback", "continue"], Cli()] = "stop"
    """If the loss is not finite or the encoder collapses: stop; go back to the last checkpoint with half the learning rate;
    or skip such steps."""
    modalities: Annotated[Words, Cli("--modalities", metavar="NAME,NAME,…")] = ()
    """Modalities that are contrasted with each other, the core first, in columns of the input tables:
    docs/modalities.md lists them. Without them, both sides of a pair are sequences."""
    multiview: MultiviewConfig = MultiviewConfig()
    """Training on several modalities."""
    modality: dict[str, ModalityConfig] = Field(default_factory=dict)
    """Each modality, by its name: encoder and projection."""
    view: ViewConfig = ViewConfig(crop={"min_fraction": 0.3, "max_length": 128})  # type: ignore[call-arg]
    """What makes two sequences a positive pair."""
    encoder: EncoderConfig = EncoderConfig()
    """The encoder and its pooling."""
    head: HeadConfig = HeadConfig()
    """The projection head."""
    critic: CriticConfig = CriticConfig()
    """How two vectors are scored."""
    objective: ObjectiveConfig = ObjectiveConfig()
    """What is minimised."""
    decoder: DecoderConfig = DecoderConfig()
    """What turns latent vectors into sequences."""
    diffusion: DiffusionConfig = DiffusionConfig()
    """The diffusion model of latent vectors."""
    graphs: GraphsConfig = GraphsConfig()
    """The graph model."""
    optimiser: OptimiserConfig = OptimiserConfig()
    """AdamW and its learning rate."""
    batch: BatchConfig = BatchConfig()
    """The pairs of a step."""
    residues: ResiduesConfig = ResiduesConfig()
    """Heads on residue vectors."""
    distillation: DistillationConfig = DistillationConfig()
    """What is learned from teachers."""
    kernel: KernelConfig = KernelConfig()
    """Kernel features, fitted after training."""
    whitening: WhiteningConfig = WhiteningConfig()
    """The whitening, fitted after training."""
    validation: ValidationConfig = ValidationConfig()
    """The held-out members."""
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    """When the state is saved."""
    log: LogConfig = LogConfig()
    """What is recorded."""

    _layers: tuple[Layer, ...] = PrivateAttr(default=())

    @classmethod
    def of(cls, config: Self | None, options: Mapping[str, Any]) -> Self:
        """Return the configuration of a Python call; see `Config.of`. The layers of a given one stay as they were."""
        if config is None:
            return cls.layered([Layer("", dict(options))])
        if not options:
            return config
        return cls.layered([*config.layers, Layer("", dict(options))])

    @field_validator("modalities")
    @classmethod
    def _known_modalities(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            MODALITIES.load(name)
        found = tuple(MODALITIES.current(name) for name in names)
        if found and len(set(found)) < max(2, len(found)):
            raise UsageError(f"--modalities {','.join(names)} needs at least two different modalities", fix="name each once")
        return found

    @field_validator("modality", mode="before")
    @classmethod
    def _named_modalities(cls, values: Any) -> Any:
        return {MODALITIES.current(name): value for name, value in values.items()} if isinstance(values, dict) else values

    def tower(self, modality: str) -> ModalityConfig:
        """Return the settings of a modality."""
        return self.modality.get(modality, ModalityConfig())

    @property
    def heads(self) -> dict[str, dict[str, int]]:
        """Parameters of the network of each residue head, by name: those with labels, and those of teachers."""
        distilled = self.distillation.head_weights if self.teachers else {}
        return dict.fromkeys(sorted({**self.residues.heads, **distilled}), self.residues.network)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What was given over the recipe, in ascending order of precedence."""
        return self._layers or (Layer("", self.model_dump(exclude_unset=True)),)

    @property
    def named_recipe(self) -> str:
        """The recipe as it was given, a name or a path."""
        return str(next((layer.values["recipe"] for layer in reversed(self.layers) if "recipe" in layer.values), "simclr"))

    @classmethod
    def layered(cls, layers: Iterable[Layer]) -> Self:
        """Return the configuration of the recipe that the layers name, and of the layers over it.

        The config.toml of a run is complete: files and the environment do not change its values.

        Raises:
            UsageError: an unknown recipe or option, or a value out of range.
            BadInputError: a recipe's file that cannot be read.
        """
        layers = given = [located(cls, layer) for layer in layers if layer.values]
        named = next((layer.values["recipe"] for layer in reversed(layers) if "recipe" in layer.values), "simclr")
        if not isinstance(named, str | Path):
            raise UsageError(f"recipe must be a name or a file, not {named!r}")
        recipe = recipes.read(named)
        if recipe.is_run:
            kept = [layer for layer in layers if not layer.ambient]
            ignored = [layer.where for layer in layers if layer not in kept]
            if ignored:
                logger.info(f"{named} is the complete configuration of a run; ignoring {', '.join(ignored)}")
            layers = kept
        defaults = {name: cls.model_fields[name].default.model_dump() for name in _PLUGIN_TABLES}
        about = Layer("", {"recipe": recipe.name, "idea": recipe.idea, "paper": recipe.paper})
        config = super().layered([Layer("", defaults), Layer(recipe.where, recipe.values), *layers, about])
        config._layers = tuple(given)
        return config

    @classmethod
    def merge(cls, base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        """Return nested values with changes applied; if a plugin is replaced, its parameters are dropped."""
        base = dict(base)
        for table in _PLUGIN_TABLES:
            old, new = base.get(table), changes.get(table)
            if isinstance(old, dict) and isinstance(new, dict):
                base[table] = _without_replaced(table, old, new)
        return Config.merge(base, changes)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the configuration of a run from its config.toml.

        Raises:
            BadInputError, UsageError: the file is damaged, or not a configuration.
        """
        return cls.of(None, {"recipe": path})

    def based_on(self, path: Path) -> Self:
        """Return the configuration of a run's config.toml, overridden by the options of this one, except for its recipe."""
        layers = [replace(x, values={k: v for k, v in x.values.items() if k != "recipe"}) for x in self._layers]
        return type(self).layered([Layer("", {"recipe": path}), *layers])

    def to_toml(self) -> dict[str, Any]:
        """Return all settings as in config.toml; without the device, which a run may change."""
        return {**self.model_dump(exclude={"device"}), "inputs": list(self.inputs)}

    def __eq__(self, other: object) -> bool:
        """Compare the settings, regardless of their source."""
        return isinstance(other, TrainConfig) and self.model_dump() == other.model_dump()

    __hash__ = None  # type: ignore[assignment]

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.encoder.average_coefficient and (not self.encoder.start or self.batch.shard):
            raise UsageError(
                "encoder.average_coefficient needs encoder.start, and an encoder that is not sharded",
                why="it is the coefficient of the weights of encoder.start in the final model",
                fix="set encoder.start, and batch.shard=false",
            )
        if self.optimiser.name == "muon" and self.batch.shard:
            raise UsageError(
                "the optimiser muon needs whole matrices, but batch.shard divides them among processes",
                fix="set optimiser.name=adamw, or batch.shard=false",
            )
        stray = sorted(self.modality.keys() - set(self.modalities))
        if stray:
            raise UsageError(
                f"there are settings of the modality {', '.join(stray)}, which is not trained on",
                fix=f"use --modalities {','.join([*self.modalities, *stray])}, or leave them out",
            )
        if self.checkpoints.model == "best" and not self.checkpoints.best:
            raise UsageError(
                "checkpoints.model is 'best', but checkpoints.best is empty",
                fix="name a metric, or use the last",
            )
        if self.kernel.features and self.whitening.power == 0:
            raise UsageError(
                "kernel features require whitening",
                why="without it they all point in nearly the same direction",
                fix="use --set whitening.power=0.5, or kernel.features=0",
            )
        if self.residues.kernel % 2 == 0:
            raise UsageError(f"residues.kernel is {self.residues.kernel}", fix="give an odd number, such as 7")
        fractions = self.batch.input_fractions
        if fractions and not (all(0 <= x < math.inf for x in fractions) and sum(fractions) > 0):
            raise UsageError(
                f"batch.input_fractions is {', '.join(map(str, fractions))}", fix="give numbers of at least 0, not all 0"
            )
        if self.head.norm and self.batch.pairs == 1:
            raise UsageError(
                "head.norm needs at least two pairs in a batch", why="it is a batch normalisation", fix="raise batch.pairs"
            )
        return self


def layers_of_training(layers: Iterable[Layer]) -> list[Layer]:
    """Return the layers of the table `train` of a configuration that contains one."""
    found: list[Layer] = []
    for layer in layers:
        train = layer.values.get("train")
        found += train.layers if isinstance(train, TrainConfig) else [layer.of_table("train")]
    return found


_PLUGIN_TABLES = ("view", "encoder", "critic", "objective", "decoder")


def _without_replaced(table: str, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a table without the parameters of plugins that `new` replaces."""
    replaced = "name" in new and new["name"] != old.get("name")
    if table == "encoder":
        repooled = "pooling" in new and new["pooling"] != old.get("pooling")
        return {**old, **({"parameters": {}} if replaced else {}), **({"pooling_parameters": {}} if repooled else {})}
    if not replaced:
        other = table == "objective" and "contrast" in new and new["contrast"] != old.get("contrast")  # within hybrid
        return {key: value for key, value in old.items() if not (other and key == "contrast_parameters")}
    kept = {"view": str(new["name"]).split("+"), "decoder": list(DecoderConfig.model_fields)}.get(table, [])
    return {key: value for key, value in old.items() if key in kept}
