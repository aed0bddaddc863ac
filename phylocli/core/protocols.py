"""What a plugin of each kind provides: one `Protocol` a kind, met by a module (built in, or another package's).

Parts that a protocol names are required; loading a plugin that lacks one is an error. Optional parts are listed in the
docstring. `docs/extending.md` has a complete example of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phylocli.align.settings import Aligned
    from phylocli.align.settings import Settings as AlignSettings
    from phylocli.families.pool import Pool
    from phylocli.families.residue_assignment import Group
    from phylocli.families.searching import Settings as FamilySettings
    from phylocli.formats.family import Family
    from phylocli.probe.benchmarks import Benchmark
    from phylocli.probe.inputs.dataset import Dataset
    from phylocli.probe.inputs.embedding import Embedding
    from phylocli.probe.tasks import Measurement, Metric
    from phylocli.tree.settings import Inferred
    from phylocli.tree.settings import Settings as TreeSettings
    from phylocli.tree.settings import Traits as TreeTraits


class ViewPlugin(Protocol):
    """A view: how the two sequences of a positive pair are made.

    Optional: `ALPHABETS`, the supported alphabets, `("protein",)` or `("dna",)`; by default both. `DRAWS_MEMBERS = True`: it
        samples whole members, so pairs may also come from a pairs table. A source with parameters `min_dist` and `max_dist`
        works with `sweep --bands`.
    """

    @property
    def KIND(self) -> Literal["source", "transform", "addition"]:
        """`source` samples pairs from a family, `transform` alters each sequence, `addition` makes one more view."""

    @property
    def DISTANCE(self) -> str:
        """A description of the distance between the two views, for listings; `0` if it is always zero."""

    def make(self, **parameters: Any) -> Any:
        """Return the view: a `phylocli.views.Source`, or a `Transform` for the other kinds.

        Each parameter has a default and, if of a plain type, an annotation.
        """


class ModalityPlugin(Protocol):
    """A modality: a kind of data about an item, read from a column of a table that is named like it, with `_` for `-`.

    Optional: `COLUMNS`, other names of the column; `PER_RESIDUE = True`, it has one position per residue, so that it is
        cropped like others of that kind; `ALPHABET`, `"protein"` or `"dna"`, its values are sequences, which ordinary models
        read; `augment(value, rng)`, which returns another form of a value for a step of training.
    """

    @property
    def INPUT(self) -> Mapping[str, int]:
        """What encoders must read: `vocabulary`, the number of tokens, or `inputs`, the numbers per position."""

    @property
    def ENCODER(self) -> Mapping[str, str]:
        """Names of the encoder, its preset and the pooling that suit it: `name`, `preset`, `pooling`."""

    def parse(self, value: Any) -> Any:
        """Return the tokens, (L,) or groups of them (L, G), or the numbers, (L, F), of a cell.

        Raises:
            TypeError, ValueError, BadInputError: the value is not of this modality.
        """


class EncoderClass(Protocol):
    """The class of an encoder, an `nn.Module` with the attributes `dimension` (D) and `depth` (number of layers).

    `forward(tokens, mask, layer=None)`: tokens (N, L) int64, mask (N, L) bool, True on residues → residues (N, L, D), after
    `layer` layers (0 … depth; None: all). A sequence's rows do not depend on the rest of the batch.

    Optional: `activation_checkpointing` (bool, settable), `blocks` (the modules to shard one by one), `description` (the
        parameters for building it again, if it starts from a checkpoint), `max_length` (largest number of residues, or
        None), `reads_rare_residues` (bool: tokens may include those of `alphabet.RARE_RESIDUES`), `PARSES` (the modalities
        that it reads, and no others, with a method `parse(value)` that returns their tokens in place of the modality's).
    """

    @property
    def PRESETS(self) -> Mapping[str, Mapping[str, Any]]:
        """Named sets of parameters, such as `tiny` and `small`."""

    def __call__(self, **parameters: Any) -> Any:
        """Return the encoder with random weights."""

    def forward(self, tokens: Tensor, mask: Tensor, layer: int | None = None) -> Tensor:
        """Encode residues, (N, L) → (N, L, D)."""


class EncoderPlugin(Protocol):
    """An encoder: tokens → one vector per residue."""

    @property
    def Encoder(self) -> EncoderClass:
        """The class."""


class CriticClass(Protocol):
    """The class of a critic, an `nn.Module`.

    Optional: a parameter `other` of `__init__`, the features of b if they differ from those of a.
    """

    def __call__(self, dimension: int, **parameters: Any) -> nn.Module:
        """Return the critic for vectors of `dimension` features."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Score a (N, D) against b (M, D): (N, M), the higher the likelier a true pair."""


class CriticPlugin(Protocol):
    """A critic: how two batches of vectors are scored."""

    @property
    def Critic(self) -> CriticClass:
        """The class."""


class ObjectiveClass(Protocol):
    """The class of an objective, an `nn.Module`.

    Optional: an attribute `requirements` (`phylocli.objectives.Requirements`), parameters `dimension` and `features` of
    `__init__`, a method `after_step()`; a function `bound(scores, negatives)` in the module makes it an estimator of mutual
    information.
    """

    def __call__(self, critic: nn.Module, **parameters: Any) -> nn.Module:
        """Return the objective on a critic's scores."""

    def forward(self, a: Tensor, b: Tensor, batch: Any) -> dict[str, Tensor]:
        """Return named terms from a and b (N, D) and the batch (families, clans, …); `loss` is minimised."""


class ObjectivePlugin(Protocol):
    """A training objective.

    Optional: `MAPS`, which vectors are mapped linearly before it compares a student's with a teacher's (distillation):
        `both` (to `distillation.dimension` features; the default), the `student`'s (to the teacher's features) or `none`.
    """

    @property
    def Objective(self) -> ObjectiveClass:
        """The class."""


class PoolingClass(Protocol):
    """The class of a pooling, an `nn.Module`.

    Optional: an attribute `dimension`, the features of the result if they differ from those of a residue.
    """

    def __call__(self, dimension: int, **parameters: Any) -> nn.Module:
        """Return the pooling for residues of `dimension` features."""

    def forward(self, residues: Tensor, mask: Tensor) -> Tensor:
        """Pool residues (N, L, D) with mask (N, L) to (N, D)."""


class PoolingPlugin(Protocol):
    """A pooling: residues → one vector per sequence, independent of padding."""

    @property
    def Pooling(self) -> PoolingClass:
        """The class."""


class DecoderClass(Protocol):
    """The class of a decoder, an `nn.Module` with the attributes `max_length` and `draws` (uniform random numbers that a
    sample uses); see `phylocli.decoders.SequenceDecoder`, its usual base class.

    Optional: `description` (the parameters for building it again, if it starts from a file).
    """

    def __call__(self, latent: int, *, letters: int, **parameters: Any) -> Any:
        """Return the decoder of `latent` features into K `letters`, with random weights."""

    def steps(self, z: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return log probabilities (N, S), whose sum over S is log q(x | z), for z (N, Z), tokens (N, L) and mask (N, L)."""

    def log_likelihood(self, z: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the sum of the steps, (N,)."""

    def sample(self, z: Tensor, uniform: Tensor, temperature: float = 1.0) -> list[Any]:
        """Return a sequence of tokens for each row of z, a function of its random numbers, a row of (N, `draws`)."""


class DecoderPlugin(Protocol):
    """A decoder: latent vectors → a distribution over sequences."""

    @property
    def Decoder(self) -> DecoderClass:
        """The class."""


class TreeEnginePlugin(Protocol):
    """A tree engine."""

    @property
    def TRAITS(self) -> TreeTraits:
        """What it has and needs: its models, whether it works on distances, for which families `auto` takes it."""

    def infer(self, states: Any, settings: TreeSettings) -> Inferred:
        """Return the unrooted tree of at least four different rows of states, (n, columns) uint8, tips named by row."""


class AlignerPlugin(Protocol):
    """An alignment method."""

    def align(self, family: Family, settings: AlignSettings) -> Aligned:
        """Return one aligned row per member, in their order, the match columns and a description."""


class FamilyEnginePlugin(Protocol):
    """A way to group unlabelled sequences into families."""

    def describe(self) -> str:
        """Return the method and its version, for the notes of a record."""

    def group(self, pool: Pool, settings: FamilySettings, executor: Executor) -> list[Group]:
        """Return the families of a pool of different sequences; each residue is in one at most."""


class ProbePlugin(Protocol):
    """A probe: a question to embeddings, and how the answer is scored.

    Optional: `NEEDS_RESIDUES = True` (it reads `embedding.residues`), `BY_SIMILARITY = True` (it only reads
        `embedding.similarity`, so baselines that search take part), `ON_REQUEST = True` (it runs only if named), `ORDER`
        (its position in the report, in ascending order; last by default).
    """

    @property
    def TITLE(self) -> str:
        """Its heading in the report."""

    @property
    def METRICS(self) -> Mapping[str, Metric]:
        """Its metrics by name, in the order of the report; the first is the headline."""

    def levels(self, data: Dataset) -> list[str]:
        """Return the levels (label columns, mostly) at which it can be scored; none: it does not apply."""

    def measure(self, data: Dataset, embedding: Embedding, level: str, seed: int) -> Measurement:
        """Score an embedding, whose rows are those of `data`; the same items for every embedding."""


class BaselinePlugin(Protocol):
    """A baseline for comparison with embeddings.

    Optional: `BY_DEFAULT = True` (it is computed if there are sequences, unless baselines are named).
    """

    def embed(self, name: str, ids: Sequence[str], sequences: Sequence[str]) -> Embedding:
        """Return the baseline's embedding of sequences, one row each, in their order."""


class BenchmarkPlugin(Protocol):
    """A benchmark: items, labels and probes, read from a folder of published files."""

    @property
    def PARTS(self) -> tuple[str, ...]:
        """The parts that can be scored, the default first and test parts last."""

    def load(self, folder: Path, part: str) -> Benchmark:
        """Read the items of one part."""
