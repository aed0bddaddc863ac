"""The available models and their folders. Listing reads no weights."""

from __future__ import annotations

import json
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path

from phylocli.core.errors import BadInputError, UsageError, unknown_name
from phylocli.formats.streams import PathLike

logger = logging.getLogger(__name__)

DEFAULT = "default"
"""Name of the model used by default."""

VARIABLE = "PHYLOCLI_MODELS"
"""Environment variable: folders with further models, separated as in PATH."""

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


def roots() -> list[Path]:
    """Return the folders searched for models, in order: those of PHYLOCLI_MODELS, then the package's own."""
    named = [Path(part).expanduser() for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    return [*named, _ROOM]


def folders() -> dict[str, Path]:
    """Return the folders of all models available by name."""
    found: dict[str, Path] = {}
    for root in roots():
        if root.is_dir():
            for folder in sorted(root.iterdir()):
                if (folder / _CONFIG).is_file():
                    found.setdefault(folder.name, folder)
    return dict(sorted(found.items(), key=lambda item: (item[0] != DEFAULT, item[0])))


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


def describe(folder: Path) -> ModelEntry:
    """Return the description of a model's folder; its name is the folder's.

    Raises:
        BadInputError: it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    weights = folder / _WEIGHTS
    try:
        description = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        with safe_open(weights, framework="numpy") as tensors:
            sizes = {key: math.prod(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118
        fitted = sum(count for key, count in sizes.items() if key.startswith(_FITTED))
        parameters = sum(sizes.values())
        encoder, features, size = str(description["encoder"]), int(description["dimension"]), weights.stat().st_size
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise BadInputError(
            f"the model {folder.name!r} in {folder} is damaged",
            why=str(error) or type(error).__name__,
            fix="install it again",
        ) from error
    return ModelEntry(
        folder.name, folder, encoder, parameters, parameters - fitted, features, size, _summary(folder / _CARD)
    )


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
        model: a name, or a folder; None is `default`. A folder in the working directory with the name of a model is written
            with a slash: `./default`.

    Raises:
        UsageError: no model of that name, or no default model in this installation.
    """
    name = DEFAULT if model is None else os.fspath(model)
    known = folders()
    if name in known:
        return known[name]
    path = Path(name)
    if path.exists() or (model is not None and (os.sep in name or "/" in name)):
        return path  # errors are reported on loading
    if name == DEFAULT:
        raise UsageError(
            "no model given, and this installation includes none"
            if model is None
            else "this installation includes no model",
            fix="train one with 'phylocli train families.sto -o run' and use --model run/model",
        )
    raise unknown_name("there is no model or folder", name, known, more="; or the folder of a model")


def card(model: PathLike | None = None) -> str:
    """Return a model's card in Markdown.

    Raises:
        UsageError: no model of that name.
        BadInputError: it has no card.
    """
    path = find(model) / _CARD
    if not path.is_file():
        raise BadInputError(f"{path.parent} has no {_CARD}", fix=f"write {_CARD} into the folder")
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
