"""Models of several modalities, whose vectors are compared in one joint space, and the files that store them.

The model of the first modality is an ordinary model folder, so that `phylocli embed --model` reads it. Beside it are
`modalities.json` and `modalities.safetensors`: the models of the other modalities and all projections into the joint space.

    f = pool(encode(x)),   e = W f / |W f|   (or a perceptron of f / |f|),   s(x, y) = e(x) · e(y)
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.core.errors import BadInputError, PhylocliError, UsageError, unknown_name
from phylocli.core.plugins import MODALITIES
from phylocli.encoders import pad_batch, token_batches
from phylocli.formats.arrays import read_described
from phylocli.formats.streams import PathLike, atomic_directory, file_sha256, note_input, write_text
from phylocli.modalities import Values, parse
from phylocli.models import catalogue
from phylocli.models.config import ModelConfig
from phylocli.models.model import CARD, Model

WEIGHTS, DESCRIPTION = "modalities.safetensors", "modalities.json"
FORMAT = "phylocli-modalities-1"
MAX_TOKENS = 8192


@dataclass(frozen=True)
class Calibration:
    """Probabilities of K classes, and of none of them, from the cosines c₁ … c_K of an item with them.

        p(k) ∝ exp(scale · c_k),   p(none) ∝ exp(none + growth · log K)

    Temperature scaling (Guo et al. 2017, arXiv 1706.04599) with one more class, whose logit grows with the number of
    classes, as the largest of many unrelated cosines does.

    Attributes:
        scale, none, growth: fitted on held-out items, some without their class.
    """

    scale: float
    none: float
    growth: float

    def probabilities(self, cosines: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """Return the probabilities of the K classes and of none of them, (N, K + 1), from cosines (N, K)."""
        classes = cosines.shape[1]
        none = np.full((len(cosines), 1), self.none + self.growth * math.log(classes))
        logits = np.concatenate([self.scale * cosines.astype(np.float64), none], axis=1)
        logits -= logits.max(1, keepdims=True)
        found = np.exp(logits)
        return np.asarray(found / found.sum(1, keepdims=True))


class Projection(nn.Module):
    """The map of pooled vectors (N, D) into the joint space (N, E): linear, or a perceptron on unit vectors.

    Args:
        features: D.
        dimension: E.
        hidden: hidden units; 0: linear, without an offset.
    """

    def __init__(self, features: int, dimension: int, hidden: int = 0) -> None:
        super().__init__()
        self.hidden = hidden
        last = nn.Linear(hidden or features, dimension, bias=False)
        self.layers = nn.Sequential(nn.Linear(features, hidden), nn.GELU(), last) if hidden else last

    def forward(self, x: Tensor) -> Tensor:
        """Return the vectors (N, E), not normalised; they do not depend on the length of a vector but for a factor."""
        # The scale of the input changes the direction of the result only with hidden units.
        found: Tensor = self.layers(F.normalize(x, dim=-1) * x.shape[-1] ** 0.5 if self.hidden else x)
        return found


class MultimodalModel(nn.Module):
    """A model for each modality, and a projection of each into the joint space.

    Args:
        towers: the models, by the name of their modality; the first is that of the core modality.
        dimension: features E of the joint space.
        hidden: hidden units of each projection, by modality; 0: linear.

    Attributes:
        towers, projections: by modality.
        calibration: of the probabilities of classes that are described in another modality than the core's, by its name.
        folder: the folder that it was loaded from.

    Examples:
        >>> from phylocli.models.multimodal import MultimodalModel, tower
        >>> model = MultimodalModel({name: tower(name) for name in ("sequence", "text")}, 32)
        >>> cosines = model.embed("sequence", ["MKTAYIAK", "MKVLA"]) @ model.embed("text", ["a globin"]).T
        >>> cosines.shape
        (2, 1)
    """

    folder: Path | None = None

    def __init__(self, towers: Mapping[str, Model], dimension: int, hidden: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.dimension = dimension
        self.towers = nn.ModuleDict(dict(towers))
        self.projections = nn.ModuleDict(
            {name: Projection(model.dimension, dimension, (hidden or {}).get(name, 0)) for name, model in towers.items()}
        )
        self.calibration: dict[str, Calibration] = {}

    @property
    def modalities(self) -> list[str]:
        """The names of the modalities; the first is the core's."""
        return list(self.towers)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.core.device

    @property
    def core(self) -> Model:
        """The model of the first modality."""
        return self.tower(self.modalities[0])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all weights and configurations: models with equal fingerprints have the same joint space."""
        digest = hashlib.sha256(self.core.fingerprint.encode())
        for name in self.modalities:
            digest.update(f"{name} {self.tower(name).fingerprint}".encode())
        for name, tensor in sorted(self.projections.state_dict().items()):
            digest.update(name.encode() + tensor.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def tower(self, modality: str) -> Model:
        """Return the model of a modality.

        Raises:
            UsageError: there is none.
        """
        if modality not in self.towers:
            raise unknown_name(f"{self.folder or 'the model'} has no modality", modality, self.modalities)
        found = self.towers[modality]
        assert isinstance(found, Model)
        return found

    def parse(self, modality: str, value: object, where: str = "") -> Values:
        """Return the tokens or numbers of a value as the model of its modality reads them."""
        model = self.tower(modality)
        return parse(model.config.modality or modality, value, where, getattr(model.encoder, "parse", None))

    def project(self, modality: str, vectors: Tensor) -> Tensor:
        """Return joint vectors, (N, E), of pooled vectors (N, D); not normalised."""
        self.tower(modality)
        found: Tensor = self.projections[modality](vectors)
        return found

    @torch.no_grad()
    def joint(self, modality: str, vectors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        """Return unit vectors of the joint space, (N, E), of pooled vectors (N, D), as `phylocli embed` writes them."""
        projected = self.project(modality, torch.from_numpy(np.asarray(vectors, dtype=np.float32)).to(self.device))
        return F.normalize(projected, dim=-1).cpu().numpy()

    @torch.no_grad()
    def embed(self, modality: str, values: Sequence[object]) -> npt.NDArray[np.float32]:
        """Return unit vectors of the joint space, (N, E), for values as they are in a table.

        Raises:
            UsageError: no such modality.
            BadInputError: a value is not of this modality.
        """
        model, parsed = self.tower(modality), [self.parse(modality, value) for value in values]
        pooled = np.empty((len(parsed), model.dimension), dtype=np.float32)
        for rows in token_batches([len(x) for x in parsed], MAX_TOKENS):
            pooled[rows] = model(*pad_batch([parsed[i] for i in rows], model.device)).float().cpu().numpy()
        return self.joint(modality, pooled)

    def save(self, folder: PathLike, card: str | None = None) -> Path:
        """Write the model atomically as a folder; see the module.

        Raises:
            UsageError: the folder contains something other than a model.
        """
        from safetensors.torch import save

        core = self.modalities[0]
        beside = {k: v for k, v in self.state_dict().items() if not k.startswith(f"towers.{core}.")}
        with atomic_directory(Path(folder)) as part:
            self.core.save(part, card)
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in beside.items()}
            (part / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
            description = {
                "format": FORMAT,
                "dimension": self.dimension,
                "modalities": {
                    name: {
                        "hidden": self.projections[name].hidden,
                        **({} if name == core else {"model": self.tower(name).config.to_json()}),
                    }
                    for name in self.modalities
                },
                "calibration": {name: asdict(found) for name, found in self.calibration.items()},
                "core": self.core.fingerprint,
                "weights_sha256": file_sha256(part / WEIGHTS),
            }
            write_text(part / DESCRIPTION, json.dumps(description, indent=2) + "\n")
        return Path(folder)

    @classmethod
    def load(cls, folder: PathLike, device: torch.device | str = "cpu") -> Self:
        """Return a model of several modalities by name or folder, ready to embed.

        Raises:
            UsageError: the model reads one modality only.
            BadInputError: no model there, or it is damaged.
        """
        from safetensors import SafetensorError

        of_files = (SafetensorError, PhylocliError)
        path = Path(catalogue.find(folder))
        if path.is_dir() and not (path / DESCRIPTION).is_file() and (path / CARD).is_file():
            raise UsageError(
                f"{path} is a model of one modality",
                why=f"it has no {DESCRIPTION}",
                fix="train one of several: phylocli train TABLE --recipe clip --modalities sequence,text -o run",
            )
        core = Model.load(path)
        try:
            found, tensors = read_described(path / DESCRIPTION, path / WEIGHTS, FORMAT)
            if found["core"] != core.fingerprint:
                raise ValueError("the model beside it is another one")
            parts = dict(found["modalities"])
            configs = {name: ModelConfig.from_json(part["model"]) for name, part in parts.items() if "model" in part}
            shapes = {name: tensor.shape for name, tensor in tensors.items()}

            def build(first: Model) -> MultimodalModel:
                towers = {name: Model(configs[name]) if name in configs else first for name in parts}
                return cls(towers, int(found["dimension"]), {name: int(part["hidden"]) for name, part in parts.items()})

            if max(int(found["dimension"]), *(int(part["hidden"]) for part in parts.values())) > 65536:
                raise ValueError("a size is too large")
            with torch.random.fork_rng(devices=[]):
                model = cast(Self, build(core))
            wanted = {
                k: v.shape for k, v in model.state_dict().items() if not k.startswith(f"towers.{model.modalities[0]}.")
            }
            if wanted != shapes:
                raise ValueError("the weights are of another architecture")
            model.load_state_dict({**model.state_dict(), **tensors})
            model.calibration = {str(k): Calibration(**v) for k, v in found["calibration"].items()}
        except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, *of_files) as error:
            why = str(error).split("\n", 1)[0] or type(error).__name__
            raise BadInputError(
                f"the modalities of {path} cannot be read", why=why, fix="copy the folder again, or train the model again"
            ) from error
        note_input(path / WEIGHTS)
        model.folder = path
        return model.to(device).eval()


def tower(
    modality: str,
    *,
    encoder: str = "",
    preset: str = "",
    pooling: str = "",
    parameters: Mapping[str, Any] | None = None,
    pooling_parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Model:
    """Return a model of a modality with random weights; what is not given is as the modality suggests.

    Raises:
        UsageError: no such modality, encoder, preset, pooling or parameter, or an encoder that cannot read the modality.
    """
    plugin = MODALITIES.load(modality)
    suggested, alphabet = plugin.ENCODER, getattr(plugin, "ALPHABET", "")
    same = encoder in ("", suggested["name"])
    return Model.create(
        encoder or suggested["name"],
        preset=preset or (suggested["preset"] if same else "small"),
        parameters=dict(parameters or {}),
        pooling=pooling or suggested["pooling"],
        pooling_parameters=dict(pooling_parameters or {}),
        seed=seed,
        alphabet=alphabet or "protein",
        modality="" if alphabet else modality,  # ordinary models read sequences
    )


def frozen(model: Model) -> Model:
    """Return a model whose weights are not trained."""
    for p in model.parameters():
        p.requires_grad_(False)
    return model.eval()


__all__ = ["Calibration", "MultimodalModel", "Projection", "frozen", "tower"]
