"""The model: an encoder and its pooling, and the folder that stores them."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from phylocli.checkpoints import store as checkpoints
from phylocli.core.alphabet import ALPHABETS, check_alphabet, encode_tokens
from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.plugins import ENCODERS, MODALITIES
from phylocli.decoders import SequenceDecoder, build_decoder
from phylocli.encoders.poolings import build_pooling
from phylocli.formats.streams import PathLike, atomic_directory, file_sha256, note_input
from phylocli.models import catalogue
from phylocli.models.config import DecoderArchitecture, ModelConfig
from phylocli.models.device import choose_device
from phylocli.models.heads import HeadNetwork, find_head
from phylocli.models.kernel_features import KernelMean
from phylocli.models.whitening import Whitening

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "MODEL_CARD.md"
FORMAT = "phylocli-model-1"
_AGAIN = "copy the model folder again, or train the model again"


def _checksum(description: dict[str, Any]) -> str:
    """Return the SHA-256 of the content of config.json, without that checksum itself."""
    rest = {key: value for key, value in description.items() if key != "config_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


class Model(nn.Module):
    """An encoder and its pooling: tokens (N, L) → embeddings (N, D).

    Args:
        config: the architecture. Make a model with `Model.create` or `Model.load`.

    Attributes:
        config: as given, with all parameters resolved.
        encoder: the architecture, `phylocli.encoders.<name>.Encoder`.
        pooling: the pooling module.
        kernel: kernel features of the residues, concatenated to the pooled ones; None if the model has none.
        whitening: the affine map after both; None if the model has none.
        heads: networks that predict states of residues from their vectors, by name; see `phylocli.models.heads`.
        decoder: a distribution over sequences given latent vectors, see `phylocli.decoders`; None if the model has none.
        folder: the folder that it was loaded from; None if it was created.
        precision: of matrix products in embedding (autocast), such as `torch.bfloat16`; None: float32, as the weights.
        source: model and commit on the Hugging Face hub (`hf:ORG/NAME@COMMIT`), if it is a checkpoint from there.

    Examples:
        >>> model = phylocli.Model.create("convolutional", preset="tiny", pooling="mean", seed=0)
        >>> folder = model.save("tiny-model")
        >>> phylocli.Model.load(folder).dimension
        64
    """

    folder: Path | None = None
    source: str | None = None
    precision: torch.dtype | None = None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        module = ENCODERS.load(config.encoder)
        alphabets = getattr(module, "ALPHABETS", ALPHABETS)
        if config.alphabet not in alphabets:
            raise UsageError(
                f"the encoder {config.encoder!r} does not read {config.alphabet}", fix=f"it reads {' and '.join(alphabets)}"
            )
        parses = getattr(module.Encoder, "PARSES", None)
        if parses is not None and config.modality not in parses:
            raise UsageError(
                f"the encoder {config.encoder!r} does not read {config.modality or 'sequences'}",
                fix=f"it reads {' and '.join(parses)}, in training with --modalities",
            )
        self.encoder = ENCODERS.make(config.encoder, module.Encoder, parameters=config.parameters)
        self.pooling = build_pooling(config.pooling, self.encoder.dimension, dict(config.pooling_parameters))
        self.kernel = KernelMean(self.encoder.dimension, config.kernel) if config.kernel else None
        self.whitening = Whitening(sum(self.blocks), config.whitened_to) if config.whitened else None
        self.heads = nn.ModuleDict(
            {
                name: HeadNetwork(self.encoder.dimension, len(find_head(name).states), **parameters)
                for name, parameters in config.heads.items()
            }
        )
        self.decoder: SequenceDecoder | None = None
        # An encoder that starts from a checkpoint, which may be deleted later, describes how to build it without.
        self.config = replace(config, parameters=getattr(self.encoder, "description", config.parameters))
        if config.decoder is not None:
            width = len(range(self.blocks[0])[self.part(config.decoder.reads)])
            parameters = config.decoder.parameters
            self.decoder = build_decoder(config.decoder.name, width, parameters, alphabet=config.alphabet)
            described = replace(config.decoder, parameters=getattr(self.decoder, "description", parameters))
            self.config = replace(self.config, decoder=described)

    @classmethod
    def create(
        cls,
        encoder: str = "convolutional",
        *,
        preset: str = "small",
        parameters: dict[str, Any] | None = None,
        pooling: str = "mean",
        pooling_parameters: dict[str, Any] | None = None,
        seed: int = 0,
        alphabet: str = "protein",
        heads: Mapping[str, Mapping[str, int]] | None = None,
        decoder: DecoderArchitecture | None = None,
        modality: str = "",
    ) -> Self:
        """Return a model with random weights; the same arguments give the same weights.

        Args:
            encoder: name of the architecture.
            preset: one of its sizes.
            parameters: of the encoder, overriding those of the preset.
            pooling: name of a pooling.
            pooling_parameters: of the pooling.
            seed: of the initial weights. torch's global random state is not changed.
            alphabet: alphabet of its tokens, `protein` or `dna`.
            heads: parameters of the network of each head (`hidden`, `kernel`), by its name.
            decoder: the decoder of its latent vectors.
            modality: what it reads; empty: sequences of `alphabet`.

        Raises:
            UsageError: no such modality, encoder, preset, pooling, parameter, alphabet, head or decoder.
        """
        made = ENCODERS.load(encoder).Encoder
        presets = made.PRESETS
        parsed = modality in getattr(made, "PARSES", ())
        reads = dict(MODALITIES.load(modality).INPUT) if modality and not parsed else {}
        if reads and not reads.keys() <= inspect.signature(made).parameters.keys():
            raise UsageError(
                f"the encoder {encoder!r} does not read {modality}", fix="choose convolutional, transformer or bag-of-words"
            )
        if preset not in presets:
            raise UsageError(f"the encoder {encoder!r} has no preset {preset!r}", fix=f"it has: {', '.join(presets)}")
        config = ModelConfig(
            encoder=ENCODERS.current(encoder),
            parameters={**presets[preset], **reads, **(parameters or {})},
            pooling=pooling,
            pooling_parameters=dict(pooling_parameters or {}),
            alphabet=check_alphabet(alphabet),
            heads={name: dict(values) for name, values in (heads or {}).items()},
            decoder=decoder,
            modality=modality,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(config)

    @property
    def alphabet(self) -> str:
        """The alphabet of the tokens: `protein` or `dna`."""
        return self.config.alphabet

    @property
    def blocks(self) -> list[int]:
        """Numbers of features of the pooling and, if there are any, of the kernel means."""
        pooled = int(getattr(self.pooling, "dimension", self.encoder.dimension))
        return [pooled] if self.kernel is None else [pooled, len(self.kernel.phases)]

    @property
    def dimension(self) -> int:
        """Number of features D of an embedding; that of a residue is `encoder.dimension`."""
        return self.dimension_of(None)

    def dimension_of(self, layer: int | None) -> int:
        """Return the number of features of an embedding pooled from a layer's residues; None is the last layer."""
        if layer not in (None, self.depth):
            return self.blocks[0]
        return sum(self.blocks) if self.whitening is None else self.whitening.dimension

    @property
    def depth(self) -> int:
        """Number of layers; `residues(…, layer=k)` takes 0 … depth."""
        return int(self.encoder.depth)

    @property
    def size(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.parameters())

    @property
    def trained_size(self) -> int:
        """Number of weights that training changes: all except frozen parts of the encoder."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the configuration and the weights (as float32): models with equal fingerprints give equal
        embeddings."""
        described = self.config.to_json()
        if hasattr(self.encoder, "decisive"):
            described["parameters"] = self.encoder.decisive(described["parameters"])
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def max_length(self) -> int | None:
        """Largest number of residues that the encoder can take at once; None: any."""
        found: int | None = getattr(self.encoder, "max_length", None)
        return found

    def sharing(self) -> Self:
        """Return a model of the same modules and weights, in which modules and settings can be replaced without a change of
        this one."""
        other = copy.copy(self)
        other._modules = dict(self._modules)
        return other

    def encode(self, residues: str) -> npt.NDArray[np.uint8]:
        """Return the tokens of an unaligned sequence, shape (L,), as this model reads its letters.

        Raises:
            UsageError: the model reads another modality than sequences.
        """
        if self.config.modality:
            raise UsageError(
                f"the model{f' {self.folder}' if self.folder else ''} reads {self.config.modality}, not sequences",
                fix="name the model of a run with --modalities sequence,…",
            )
        return encode_tokens(residues, self.alphabet, rare=bool(getattr(self.encoder, "reads_rare_residues", False)))

    def residues(self, tokens: Tensor, mask: Tensor, layer: int | None = None) -> Tensor:
        """Return an embedding for every residue, (N, L, D); rows of padding are undefined.

        Args:
            tokens: (N, L) int64, as returned by `encode` and `pad_batch`.
            mask: (N, L) bool, True on residues, which fill each row from the left.
            layer: return the output of this layer, 0 … depth; None is the last.
        """
        if self.precision is None:
            return self.encoder(tokens, mask, layer)
        with torch.autocast(self.device.type, self.precision):
            return self.encoder(tokens, mask, layer)

    def require_head(self, head: str) -> None:
        """Raise a UsageError if the model has no such head on its residue vectors."""
        if head not in self.heads:
            raise UsageError(
                f"the model{f' {self.folder}' if self.folder else ''} has no head {head!r}",
                why=f"it has {', '.join(self.heads)}" if len(self.heads) else "it was trained without heads on residues",
                fix=f"train one (--recipe evolution-structure --set residues.labels=TABLE --set residues.weights.{head}=1; "
                f"the column {find_head(head).column} of TABLE has its labels), and name the model with --model",
            )

    def predict_residues(self, head: str, residues: Tensor, mask: Tensor) -> Tensor:
        """Return the logits of a head for every residue, (N, L, K), from residues (N, L, D) of the last layer and their mask
        (N, L); rows of padding are undefined.

        Raises:
            UsageError: the model has no such head.
        """
        self.require_head(head)
        logits: Tensor = self.heads[head](residues, mask)
        return logits

    def require_decoder(self) -> SequenceDecoder:
        """Return the decoder, or raise a UsageError if the model has none."""
        if self.decoder is None:
            raise UsageError(
                f"the model{f' {self.folder}' if self.folder else ''} has no decoder",
                why="it was trained by contrast alone: its vectors cannot be turned into sequences",
                fix="train one with --recipe hybrid, and name its model folder",
            )
        return self.decoder

    def part(self, name: str) -> slice:
        """Return the features of z = [y, w] that are `all`, `y` or `w`.

        Raises:
            UsageError: no such part, a model that does not divide z, or a part without features.
        """
        decoder, features = self.config.decoder, self.blocks[0]
        if name == "all":
            return slice(0, features)
        if decoder is None or name not in ("y", "w"):
            raise UsageError(
                f"the model has no latent part {name!r}", fix="use all, or a model trained with a decoder: y, w"
            )
        border = round(decoder.y * features)
        found = slice(0, border) if name == "y" else slice(border, features)
        if not range(features)[found]:
            raise UsageError(
                f"the latent part {name} has no features",
                why=f"y has {border} of {features} features",
                fix="use all, or train with another decoder.y",
            )
        return found

    def latents(self, residues: Tensor, mask: Tensor) -> Tensor:
        """Return the latent vectors z, (N, Z): the residues (N, L, R) of the last layer pooled, without fitted maps."""
        pooled: Tensor = self.pooling(residues, mask)
        return pooled

    def log_likelihood(self, z: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return log q(x | z) in nats, (N,), for latent vectors (N, Z), tokens (N, L) and mask (N, L).

        Raises:
            UsageError: the model has no decoder, or a sequence is longer than its maximum.
        """
        decoder = self.require_decoder()
        return decoder.log_likelihood(self._read(z), tokens, mask)

    def decode(self, z: Tensor, uniform: Tensor, temperature: float = 1.0) -> list[Any]:
        """Return a sequence of tokens for each latent vector, see `SequenceDecoder.sample`.

        Args:
            z: (N, Z).
            uniform: (N, `decoder.draws`).
            temperature: 0 takes the most probable outcome of each step.

        Raises:
            UsageError: the model has no decoder.
        """
        decoder = self.require_decoder()
        return decoder.sample(self._read(z), uniform, temperature)

    def _read(self, z: Tensor) -> Tensor:
        assert self.config.decoder is not None
        return z[:, self.part(self.config.decoder.reads)]

    def pool(self, residues: Tensor, mask: Tensor, layer: int | None = None) -> Tensor:
        """Return one vector per sequence, (N, D), from residues (N, L, R) of a layer and their mask (N, L); None: the
        last."""
        pooled: Tensor = self.pooling(residues, mask)
        if layer not in (None, self.depth):
            return pooled  # kernel means and whitening were fitted to the last layer only
        if self.kernel is not None:
            pooled = torch.cat([pooled.float(), self.kernel(residues, mask)], dim=1)
        return pooled if self.whitening is None else self.whitening(pooled)

    def add_kernel(self, features: int, mean: Tensor, axes: Tensor, width: float, seed: int) -> None:
        """Concatenate kernel means of the residues to the pooled features from now on, see `KernelMean.fit`.

        Args:
            features: number of random Fourier features.
            mean, axes, width, seed: of the kernel.
        """
        self.kernel, self.whitening = KernelMean(self.encoder.dimension, features), None
        self.kernel.fit(mean, axes, width, seed)
        self.kernel.to(self.device)
        self.config = replace(self.config.before_fitting(), kernel=features)

    def whiten(
        self,
        vectors: Tensor,
        family: Tensor,
        power: float,
        floor: float,
        dimension: int = 0,
        nuisance: Tensor | None = None,
    ) -> None:
        """Fit the map that is applied after pooling from now on, see `Whitening.fit`.

        Args:
            vectors: (N, F), as returned by `forward` without that map.
            family: family code of each vector, (N,).
            power, floor: of the map.
            dimension: output features of the map; 0: all.
            nuisance: covariance of what is not to count, (F, F), see `Whitening.fit`.
        """
        self.whitening = Whitening(sum(self.blocks), dimension)
        self.whitening.fit(vectors, family, power, floor, self.blocks if len(self.blocks) > 1 else None, nuisance)
        self.whitening.to(self.device)
        self.config = replace(self.config, whitened=power, whitened_to=dimension)

    @torch.no_grad()
    def blend(self, other: Model, coefficient: float) -> bool:
        """Move the weights towards those of another model: the encoder's, and the pooling's if both are of the same kind.

        Args:
            other: a model whose encoder is of the same kind and size.
            coefficient: weight of the other model in the result, 0 … 1; 1 copies it.

        Returns:
            Whether the weights of the pooling were moved too. Those of heads and decoders that both models have alike
            always are.

        Raises:
            UsageError: the encoders differ in kind, size or alphabet.
        """
        if self.alphabet != other.alphabet:
            raise UsageError(
                f"{other.folder or 'that model'} reads {other.alphabet}, not {self.alphabet}",
                fix="use a model of the same alphabet",
            )
        ours, theirs_config = self.config, other.config
        alike = (ours.pooling, ours.pooling_parameters) == (theirs_config.pooling, theirs_config.pooling_parameters)
        for name in ("encoder", "pooling") if alike else ("encoder",):
            own, theirs = getattr(self, name), getattr(other, name).state_dict()
            before = own.state_dict()
            mixed = {  # tensors that do not match are left unchanged and reported by load_state_dict
                key: before[key].lerp(value.to(before[key]), coefficient)
                if value.is_floating_point() and getattr(before.get(key), "shape", None) == value.shape
                else value
                for key, value in theirs.items()
            }
            try:
                own.load_state_dict(mixed)
            except RuntimeError as error:
                sizes = ", ".join(f"{key}={value}" for key, value in theirs_config.parameters.items())
                raise UsageError(
                    f"cannot initialise {ours.encoder} with the weights of {other.folder or 'that model'}",
                    why=f"its encoder is {theirs_config.encoder} with {sizes}",
                    fix="train an encoder of the same kind and size",
                ) from error
        for name in self.heads.keys() & other.heads.keys():
            if ours.heads[name] == theirs_config.heads[name]:
                state, theirs = self.heads[name].state_dict(), other.heads[name].state_dict()
                moved = {key: value.lerp(theirs[key].to(value), coefficient) for key, value in state.items()}
                self.heads[name].load_state_dict(moved)
        if self.decoder is not None and other.decoder is not None and ours.decoder == theirs_config.decoder:
            now, theirs = self.decoder.state_dict(), other.decoder.state_dict()
            self.decoder.load_state_dict({key: value.lerp(theirs[key].to(value), coefficient) for key, value in now.items()})
        return alike

    def forward(self, tokens: Tensor, mask: Tensor, layer: int | None = None) -> Tensor:
        """Return one embedding per sequence, (N, D); arguments as in `residues`."""
        return self.pool(self.residues(tokens, mask, layer), mask, layer)

    def save(self, folder: PathLike, card: str | None = None, *, half: bool = False) -> Path:
        """Write the model atomically as a folder: config.json, model.safetensors, MODEL_CARD.md.

        Args:
            folder: an existing model is replaced; any other folder with content is not.
            card: the model card in Markdown; None writes a minimal one.
            half: write the weights as float16, half the size (relative precision 2⁻¹¹); `load` makes them float32 again.

        Raises:
            UsageError: the folder contains something other than a model.
        """
        from safetensors.torch import save

        target = Path(folder)
        if target.is_dir() and any(target.iterdir()) and not (target / CONFIG).is_file():
            raise UsageError(f"{target} is not empty and does not contain a model", fix="name an empty or a new folder")
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        if half:
            weights = {name for name, _ in self.named_parameters()}  # buffers (frequencies, tables) need full precision
            tensors = {name: tensor.half() if name in weights else tensor for name, tensor in tensors.items()}
        with atomic_directory(target) as part:
            # Not `save_file`, whose error for a full disk cannot be recognised.
            (part / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
            description = {
                "format": FORMAT,
                **self.config.to_json(),
                "dimension": self.dimension,
                "weights_sha256": file_sha256(part / WEIGHTS),
            }
            description["config_sha256"] = _checksum(description)
            (part / CONFIG).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
            (part / CARD).write_text(card or self._plain_card(), encoding="utf-8")
        return target

    def _plain_card(self) -> str:
        return (
            f"# A phylocli model\n\n{self.config.encoder} encoder, {self.size:,} parameters, {self.dimension} features, "
            f"{self.config.pooling} pooling.\n\nFingerprint: `{self.fingerprint}`\n"
        )

    @classmethod
    def load(cls, source: PathLike, device: torch.device | str = "cpu") -> Self:
        """Return a model by name (a `str`) or folder, with verified checksum, ready to embed (`eval`).

        The folder of a checkpoint in the format of transformers works as well, with the mean over residues as pooling.

        Raises:
            BadInputError: no model there, a model of another format, or damaged or mismatched weights.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = catalogue.folders().get(source, Path(source)) if isinstance(source, str) else Path(source)
        if not (path / CONFIG).is_file():
            there = "is a file, not a model folder" if path.is_file() else f"is not a model folder: it has no {CONFIG}"
            raise BadInputError(
                f"{path} {there}" if path.exists() else f"there is no model folder {path}",
                fix="name the 'model' folder of a training run" if path.exists() else "check the path",
            )
        if catalogue.is_checkpoint(path):
            return cls._of_checkpoint(path).to(device).eval()
        try:
            description = json.loads((path / CONFIG).read_text(encoding="utf-8"))
            config = ModelConfig.from_json(description)
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError, UsageError) as error:
            raise BadInputError(f"{path / CONFIG} does not describe a model", why=repr(error), fix=_AGAIN) from error
        if description.get("format") != FORMAT:
            raise BadInputError(
                f"{path} has the format {description.get('format')!r}",
                why=f"this version reads {FORMAT!r}",
                fix="update phylocli",
            )
        if _checksum(description) != description.get("config_sha256", _checksum(description)):
            raise BadInputError(f"{path / CONFIG} was edited or is damaged", why="its checksum does not match", fix=_AGAIN)
        weights = path / WEIGHTS
        if not weights.is_file():
            raise BadInputError(f"{path} is incomplete: it has no {WEIGHTS}", fix=_AGAIN)
        found = file_sha256(weights)
        if description.get("weights_sha256", found) != found:
            raise BadInputError(f"{weights} is damaged", why=f"its checksum is not the one in {CONFIG}", fix=_AGAIN)
        note_input(weights)
        try:
            shapes = _shapes(weights)
            _check_numbers(config.to_json(), shapes)
            with torch.random.fork_rng(devices=[]):
                with torch.device("meta"):  # allocates nothing until the shapes are checked against the file
                    _check_shapes(cls(config), shapes)
                model = cls(config)
            model.load_state_dict({name: tensor.float() for name, tensor in load_file(weights).items()})
        except (SafetensorError, UsageError, *_OF_BAD_VALUES) as error:
            why = str(error)[:500] or type(error).__name__
            raise BadInputError(f"{path}: the weights do not fit the configuration", why=why, fix=_AGAIN) from error
        model.folder = path
        return model.to(device).eval()

    @classmethod
    def _of_checkpoint(cls, folder: Path) -> Self:
        """Return a model of a pretrained checkpoint as it is."""
        parameters = {"checkpoint": str(folder), "mode": "frozen"}
        model = cls(ModelConfig("plm", parameters))
        # Where it is does not change what it computes, so it is not in the fingerprint.
        model.config = replace(model.config, parameters={**model.config.parameters, "checkpoint": "", "revision": ""})
        source = checkpoints.source_of(folder)
        model.folder, model.source = folder, str(source) if source else None
        for weights in sorted(folder.glob("*.safetensors")):
            note_input(weights)
        return model


def load(model: PathLike | None = None, device: str = "cpu") -> Model:
    """Return a model by name (a `str`) or folder, with verified checksum, ready for embedding.

    Args:
        model: as in `catalogue.find`.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.

    Raises:
        UsageError: no model of that name, or no such device.
        BadInputError: the folder is not a model, or is damaged.
    """
    place = choose_device(device)
    return Model.load(catalogue.find(model)).to(place)


_OF_BAD_VALUES = (RuntimeError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError, AssertionError)
"""Exceptions raised by building a module from values of wrong types."""

_LAYERS = ("depth", "num_hidden_layers")
"""Configuration values that count layers, each with at least one tensor."""

_SMALL = 8192
"""Configuration values up to this are not compared with the weights: dilations, numbers of positions."""


def _shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors of a file, by name; reads the header only."""
    from safetensors import safe_open

    with safe_open(weights, framework="numpy") as tensors:
        return {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118


def _check_numbers(config: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> None:
    """Refuse numbers that do not match any tensor of the file, before a module of that size is built.

    Raises:
        ValueError: a number that is not finite, or an integer above all sizes and numbers of tensors.
    """
    largest = max([_SMALL, len(shapes), *(size for shape in shapes.values() for size in shape)])
    pending: list[tuple[str, Any]] = list(config.items())
    while pending:
        name, value = pending.pop()
        if isinstance(value, dict):
            pending += value.items()
        elif isinstance(value, list):
            pending += [(name, item) for item in value]
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} is {value}")
        elif name in _LAYERS and isinstance(value, int) and value > len(shapes):
            raise ValueError(f"{name} is {value:.3g}, and the weights have {len(shapes)} tensors")
        elif isinstance(value, int) and abs(value) > largest:
            raise ValueError(f"{name} is {value:.3g}, and no tensor of the weights has as many rows or columns")


def _check_shapes(model: Model, shapes: dict[str, tuple[int, ...]]) -> None:
    """Compare the tensors of a model with those of a file.

    Raises:
        ValueError: names or shapes differ.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name in sorted(wanted.keys() | shapes.keys()):
        if wanted.get(name) != shapes.get(name):
            there, here = shapes.get(name, "missing"), wanted.get(name, "unknown")
            raise ValueError(f"{name} is {there} in the file, and {here} in the configuration's model")
