"""The available models and their folders. Listing reads no weights."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from phylocli.checkpoints import finding, store
from phylocli.core.errors import BadInputError, UsageError, unknown_name
from phylocli.formats.streams import PathLike

logger = logging.getLogger(__name__)

DEFAULT = "default"
"""Name of the model used by default."""

_ROOM = Path(__file__).parent
_FITTED = ("kernel.", "whitening.")
_CONFIG, _WEIGHTS, _CARD = "config.json", "model.safetensors", "MODEL_CARD.md"


@dataclass(frozen=True)
class ModelEntry:
    """A model that is available by name.

    Attributes:
        name: what the user types.
        folder: its folder.
        encoder: its architecture.
        parameters: number of values in its file: trained weights, and those fitted after training (kernel means, whitening).
        trained: number of trained weights.
        features: D, the length of an embedding.
        bytes: size of the weights' file.
        summary: the first sentence of its card.
    """

    name: str
    folder: Path
    encoder: str
    parameters: int
    trained: int
    features: int
    bytes: int
    summary: str


def folders() -> dict[str, Path]:
    """Return the folders of all models available by name: those of the user, then the package's own.

    The name of a checkpoint `ORG--NAME` is `ORG/NAME`.
    """
    found: dict[str, Path] = {}
    for root in [*store.roots(), _ROOM]:
        if root.is_dir():
            for folder in sorted(root.iterdir()):
                if (folder / _CONFIG).is_file() and not folder.name.startswith("."):
                    found.setdefault(_name(folder), folder)
    return dict(sorted(found.items(), key=lambda item: (item[0] != DEFAULT, item[0])))


def _name(folder: Path) -> str:
    """Return the name of a model: that of its folder, with `/` for `--` if it is a checkpoint of the hub."""
    name = folder.name
    return name.replace("--", "/") if "--" in name and is_checkpoint(folder) else name


def available() -> list[ModelEntry]:
    """Return the models available by name, `default` first. Reads their descriptions, not their weights.

    A model that is damaged is left out, with a warning.
    """
    found = []
    for name in folders():
        try:
            found.append(entry(name))
        except BadInputError as error:
            logger.warning(f"{error.what} ({error.why})")
    return found


def named() -> list[str]:
    """Return the names of models, `default` first, including damaged ones."""
    return list(folders())


def entry(name: str) -> ModelEntry:
    """Return the description of a model that is available by name.

    Raises:
        BadInputError: it is damaged.
    """
    return describe(folders()[name])


def is_checkpoint(folder: Path) -> bool:
    """Return whether a folder is a checkpoint in the format of transformers, not a model of phylocli."""
    try:
        content = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "format" not in content and "encoder" not in content and "model_type" in content


def describe(folder: Path) -> ModelEntry:
    """Return the description of a model's folder; its name is the folder's.

    Raises:
        BadInputError: it is damaged.
    """
    from safetensors import SafetensorError

    name = _name(folder)
    try:
        description = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        if is_checkpoint(folder):
            return _describe_checkpoint(name, folder, description)
        weights = folder / _WEIGHTS
        sizes = _sizes(weights)
        fitted = sum(count for key, count in sizes.items() if key.startswith(_FITTED))
        parameters = sum(sizes.values())
        encoder, features, size = str(description["encoder"]), int(description["dimension"]), weights.stat().st_size
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise BadInputError(
            f"the model {folder.name!r} in {folder} is damaged",
            why=str(error) or type(error).__name__,
            fix="install it again",
        ) from error
    return ModelEntry(name, folder, encoder, parameters, parameters - fitted, features, size, _summary(folder / _CARD))


def _sizes(weights: Path) -> dict[str, int]:
    """Return the number of values of each tensor of a file; reads its header only."""
    from safetensors import safe_open

    with safe_open(weights, framework="numpy") as tensors:
        return {key: math.prod(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118


def _describe_checkpoint(name: str, folder: Path, config: Mapping[str, object]) -> ModelEntry:
    """Return the description of a pretrained checkpoint: all its weights count as trained."""
    files = store.weight_files(folder)
    parameters = sum(sum(_sizes(file).values()) for file in files)
    features = config.get("hidden_size", config.get("d_model"))
    source = store.source_of(folder)
    summary = f"pretrained {config['model_type']}, " + (str(source) if source else "not from the hub")
    size = sum(file.stat().st_size for file in files)
    return ModelEntry(name, folder, "plm", parameters, parameters, int(str(features)), size, summary)


def _summary(path: Path) -> str:
    """Return the first sentence of a card's first paragraph."""
    if not path.is_file():
        return ""
    paragraph: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.strip()
        if text and not text.startswith(("#", "|", "---", "!", "```")):
            paragraph.append(text)
        elif paragraph:
            break
    return " ".join(paragraph).split(". ", 1)[0].rstrip(".").replace("\t", " ")


def find(model: PathLike | None = None) -> Path:
    """Return the folder of a model.

    Args:
        model: a name, a folder, or a model of the Hugging Face hub (`ORG/NAME`, `hf:ORG/NAME@REVISION`), which is downloaded
            at its first use; None is `default`. A folder in the working directory with the name of a model is written with a
            slash: `./default`.

    Raises:
        UsageError: no model of that name, or no default model in this installation.
        ServiceError: the hub cannot be reached, or has no such model.
        BadInputError: a model of the hub without weights in safetensors.
    """
    name = DEFAULT if model is None else os.fspath(model)
    known = folders()
    if name in known:
        return known[name]
    path = Path(name)
    if isinstance(model, str) and not path.exists() and store.parse_id(name) is not None:
        return finding.find(name)
    if path.exists() or (model is not None and (os.sep in name or "/" in name)):
        return path  # errors are reported on loading
    if name == DEFAULT:
        raise UsageError(
            "no model given, and this installation includes none"
            if model is None
            else "this installation includes no model",
            fix="train one with 'phylocli train families.sto -o run' and use --model run/model",
        )
    raise unknown_name(
        "there is no model or folder",
        name,
        known,
        more="; or the folder of a model, or a model of the hub, as in facebook/esm2_t6_8M_UR50D",
    )


def add(model: str) -> Path:
    """Download a model of the Hugging Face hub, or update it; return its folder.

    Args:
        model: `ORG/NAME` or `hf:ORG/NAME@REVISION`.

    Raises:
        UsageError: not written like that, or a file or folder on this machine (`hf:` tells a model apart).
        ServiceError: the hub cannot be reached, or has no such model.
        BadInputError: the model has no weights in safetensors.
    """
    if Path(model).exists():
        raise UsageError(
            f"{model} is on this machine, and 'models add' downloads from the Hugging Face hub",
            fix=f"use a model folder as it is, with --model {model}; hf:ORG/NAME is always a model of the hub",
        )
    return finding.add(store.hub_id(model))


def remove(name: str) -> Path:
    """Delete a model of the user by its name; return the folder that it had.

    Raises:
        UsageError: there is no such model, or it is the package's own.
    """
    identity, roots = store.read_id(name), store.roots()
    for known, folder in folders().items():
        if (known == name or (identity and folder.name == identity.folder_name)) and folder.parent in roots:
            store.discard(folder)
            store.discard(store.part_of(folder))
            return folder
    raise UsageError(
        f"there is no model {name!r} to remove",
        why=f"models of the user are in {', '.join(map(str, roots))}",
        fix="'phylocli models' lists the models",
    )


def card(model: PathLike | None = None) -> str:
    """Return a model's card in Markdown; of a checkpoint of a model hub without one, its config.json.

    Raises:
        UsageError: no model of that name.
        BadInputError: it is not a model folder, or has no card.
    """
    folder = find(model)
    if not (folder / _CONFIG).is_file():
        raise BadInputError(
            f"{folder} is not a model folder", fix="name the 'model' folder of a training run, or a model by its name"
        )
    checkpoint = is_checkpoint(folder)
    path = folder / ("README.md" if checkpoint else _CARD)
    if checkpoint and not path.is_file():
        settings = (folder / _CONFIG).read_text(encoding="utf-8").strip()
        said = "This checkpoint has no model card (README.md). Its config.json:"
        return f"# {folder.name}\n\n{said}\n\n```json\n{settings}\n```\n"
    if not path.is_file():
        raise BadInputError(f"{folder} has no {path.name}", fix=f"write {path.name} into the folder")
    text = path.read_text(encoding="utf-8")
    return text if text.endswith("\n") else text + "\n"


def listing() -> str:
    """Return the models as a table: name, encoder, parameters (of which trained), features, MB, summary; tab-separated."""
    lines = ["name\tencoder\tparameters\ttrained\tfeatures\tMB\tsummary"]
    for found in available():
        size = f"{found.bytes / 1e6:.1f}"
        counts = (str(found.parameters), str(found.trained), str(found.features))
        lines.append("\t".join((found.name, found.encoder, *counts, size, found.summary)))
    return "\n".join(lines) + "\n"
