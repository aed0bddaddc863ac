"""Settings of a simulation with defaults and checks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from phylocli.config.simulate import SimulateConfig
from phylocli.core.alphabet import AMINO_ACIDS, encode_states
from phylocli.core.errors import BadInputError, UsageError, unknown_name
from phylocli.formats import read_sequences, tree_files
from phylocli.formats.nucleotides import NucleotideCheck
from phylocli.formats.streams import PathLike, display_name
from phylocli.formats.tree import Tree
from phylocli.simulate.indels import IndelModel
from phylocli.simulate.sites import Motifs, RateModel
from phylocli.simulate.trees import birth_death, coalescent, relaxed, scaled
from phylocli.tree.models import SubstitutionModel, substitution_model

Amount = tuple[int, int]
PROCESSES = ("birth-death", "coalescent")


@dataclass(frozen=True)
class TreeModel:
    """The distribution of trees.

    Attributes:
        process: `birth-death` or `coalescent`.
        tips: minimum and maximum; the number is sampled uniformly for each family.
        speciation, extinction, sampling: of `birth_death`.
        growth: of `coalescent`.
        relaxed: standard deviation of the log rate of branches; 0 is a strict clock.
        height, mean_distance: size that the tree is scaled to, substitutions per site; if both are None, it is not scaled.
        given: trees to use instead of random ones, in order; scaled and relaxed in the same way.

    Raises:
        UsageError: an unknown process, or a number out of range.
    """

    process: str = "birth-death"
    tips: Amount = (50, 50)
    speciation: float = 1.0
    extinction: float = 0.0
    sampling: float = 1.0
    growth: float = 0.0
    relaxed: float = 0.0
    height: float | None = None
    mean_distance: float | None = None
    given: tuple[Tree, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.process not in PROCESSES:
            raise unknown_name("unknown tree process", self.process, PROCESSES)
        if not 2 <= self.tips[0] <= self.tips[1]:
            raise UsageError(f"a family cannot have {_shown(self.tips)} members", fix="give 2 or more")

    def draw(self, index: int, rng: np.random.Generator) -> Tree:
        """Return the tree of the family with this index, from 0."""
        if self.given:
            tree = self.given[index % len(self.given)]
        else:
            tips = int(rng.integers(self.tips[0], self.tips[1] + 1))
            if self.process == "coalescent":
                tree = coalescent(tips, rng, growth=self.growth)
            else:
                rates = {"speciation": self.speciation, "extinction": self.extinction, "sampling": self.sampling}
                tree = birth_death(tips, rng, **rates)
        if self.relaxed:
            tree = relaxed(tree, self.relaxed, rng)
        return scaled(tree, height=self.height, mean_distance=self.mean_distance)

    def describe(self) -> str:
        """Return a description of the model for a family's note."""
        if self.given:
            parts = ["given"]
        elif self.process == "coalescent":
            parts = [f"coalescent growth={self.growth:g}"]
        else:
            parts = [f"birth-death speciation={self.speciation:g} extinction={self.extinction:g} sampling={self.sampling:g}"]
        parts.append(f"clock sd={self.relaxed:g}")
        if self.height is not None or self.mean_distance is not None:
            size = f"height={self.height:g}" if self.height is not None else f"mean_distance={self.mean_distance:g}"
            parts.append(f"scaled to {size}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Settings:
    """All settings of a simulated family.

    Attributes:
        tree: the distribution of trees.
        length: residues at the root, minimum and maximum; sampled uniformly for each family.
        model: name of the substitution model.
        frequencies: equilibrium frequencies of the 20 amino acids, in the order of `alphabet.AMINO_ACIDS`; None: the
            model's.
        rates, motifs, indels: of the sites.
    """

    tree: TreeModel = field(default_factory=TreeModel)
    length: Amount = (200, 200)
    model: str = "lg"
    frequencies: tuple[float, ...] | None = None
    rates: RateModel = field(default_factory=RateModel)
    motifs: Motifs = field(default_factory=Motifs)
    indels: IndelModel = field(default_factory=IndelModel)

    def __post_init__(self) -> None:
        if not 1 <= self.length[0] <= self.length[1]:
            raise UsageError(f"a sequence cannot have {_shown(self.length)} residues", fix="give 1 or more")
        substitution_model(self.model)

    @classmethod
    def of(cls, config: SimulateConfig) -> Settings:
        """Return the settings of a configuration; reads the files that it names.

        By default, random trees are scaled to a mean distance of 1 and given ones are not scaled; a mean distance of 0
        disables scaling.

        Raises:
            BadInputError: a file of trees or sequences that cannot be read.
            UsageError: incompatible values.
        """
        given = read_trees(config.tree) if config.tree is not None else ()
        mean_distance = config.mean_distance
        if mean_distance is None and config.height is None and not given:
            mean_distance = 1.0
        distribution, parameter = parse_distribution(config.indel_lengths)
        half = config.indels / 2
        return cls(
            tree=TreeModel(
                config.process,
                config.tips,
                config.speciation,
                config.extinction,
                config.sampling,
                config.growth,
                config.relaxed,
                config.height,
                mean_distance or None,
                given,
            ),
            length=config.length,
            model=config.model,
            frequencies=read_frequencies(config.frequencies),
            rates=RateModel(config.alpha, config.categories, config.invariant),
            motifs=Motifs(config.motifs, config.motif_length, config.motif_rate),
            indels=IndelModel(
                half if config.insertions is None else config.insertions,
                half if config.deletions is None else config.deletions,
                distribution,
                parameter,
                config.max_indel,
            ),
        )

    def substitution_model(self) -> SubstitutionModel:
        """Return the substitution model with the given equilibrium frequencies."""
        model = substitution_model(self.model)
        if self.frequencies is None:
            return model
        pi = np.array(self.frequencies)
        return SubstitutionModel.from_exchangeabilities(f"{model.name}+f", model.exchangeabilities, pi)

    def describe(self) -> str:
        """Return a description of sequence evolution for a family's note."""
        indels, rates, motifs = self.indels, self.rates, self.motifs
        gamma = "equal rates" if math.isinf(rates.alpha) else f"gamma alpha={rates.alpha:g}"
        gamma += f" categories={rates.categories}" if rates.categories and not math.isinf(rates.alpha) else ""
        parts = [self.substitution_model().name, gamma, f"invariant={rates.invariant:g}"]
        parts.append(f"insertions={indels.insertion:g} deletions={indels.deletion:g} per substitution")
        if not indels.is_off:
            parts.append(f"lengths {indels.distribution}:{indels.parameter:g} up to {indels.longest}")
        if motifs.count:
            parts.append(f"motifs: {motifs.count} of {motifs.length} residues at {motifs.rate:g} of the rate")
        return ", ".join(parts)


def _shown(amount: Amount) -> str:
    return f"{amount[0]}" if amount[0] == amount[1] else f"{amount[0]} to {amount[1]}"


def parse_distribution(text: str) -> tuple[str, float]:
    """Return distribution and parameter of a text such as `power:1.7` or `geometric:2.5`.

    Raises:
        UsageError: the text does not have this form.
    """
    distribution, _, parameter = text.partition(":")
    try:
        return distribution, float(parameter)
    except ValueError:
        raise UsageError(
            f"{text!r} is not a distribution of indel lengths", fix="write power:EXPONENT or geometric:MEAN, as in power:1.7"
        ) from None


def read_frequencies(text: str) -> tuple[float, ...] | None:
    """Return the equilibrium frequencies described by a text: `model` (None), `equal`, or a file of sequences.

    For a file (FASTA, Stockholm) they are the composition of its sequences, with a pseudocount of one per amino acid.

    Raises:
        BadInputError: the file cannot be read.
    """
    if text == "model":
        return None
    counts = np.ones(len(AMINO_ACIDS))
    if text != "equal":
        for sequence in NucleotideCheck().sequences(read_sequences(text)):
            states = encode_states([sequence.residues])[0]
            counts += np.bincount(states, minlength=len(AMINO_ACIDS) + 1)[: len(AMINO_ACIDS)]
    return tuple((counts / counts.sum()).tolist())


def read_trees(source: PathLike) -> tuple[Tree, ...]:
    """Return the trees of a Newick file, each ending with `;`.

    Raises:
        BadInputError: not Newick, fewer than two tips, missing or duplicate tip names, missing or negative branch lengths.
    """
    name = display_name(source)
    trees = []
    for number, tree in enumerate(tree_files.read_trees(source), 1):
        what = f"tree {number} of {name}"
        tips = tree.tip_names()
        if len(tips) < 2 or len(set(tips)) < len(tips) or "" in tips:
            raise BadInputError(f"{what} needs at least two tips with distinct names", fix="give every tip its own name")
        length: npt.NDArray[np.float64] = tree.length[1:]
        if not (np.isfinite(length) & (length >= 0)).all():
            raise BadInputError(
                f"{what} has branches without a length, or with a negative one", fix="give lengths in substitutions per site"
            )
        trees.append(tree)
    if not trees:
        raise BadInputError(f"{name} has no trees", fix="give trees as Newick")
    return tuple(trees)
