"""ESM-2 checkpoints: from a folder or the hub to a transformers module, and its letters."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from phylocli.core import console
from phylocli.core.alphabet import AMINO_ACIDS, BOS, EOS, FIRST_RESIDUE, MASK, PAD, UNKNOWN, VOCABULARY_SIZE
from phylocli.core.errors import BadInputError, MissingDependencyError, ServiceError, UsageError

_NAME_ONE = "name an ESM-2 checkpoint, for example facebook/esm2_t6_8M_UR50D"
INSTALL = "pip install '.[esm]'"

VOCABULARY = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPNKQFYMHWCXBUZO.-", "<null_1>", "<mask>"]
"""ESM's letters in the order of their tokens: all ESM-2 checkpoints have these 33."""

_FILES = ["config.json", "vocab.txt", "*.safetensors", "*.safetensors.index.json"]

# Fields of a configuration that do not describe the architecture.
_NO_ARCHITECTURE = ("architectures", "transformers_version", "_name_or_path", "dtype", "torch_dtype", "vocab_list")


def letters(vocabulary: list[str]) -> Tensor:
    """Return the backbone's token for each token of phylocli, shape (VOCABULARY_SIZE,) int64."""
    table = torch.full((VOCABULARY_SIZE,), vocabulary.index("X"))
    for token, word in ((PAD, "<pad>"), (BOS, "<cls>"), (EOS, "<eos>"), (MASK, "<mask>"), (UNKNOWN, "X")):
        table[token] = vocabulary.index(word)
    for state, letter in enumerate(AMINO_ACIDS):
        table[FIRST_RESIDUE + state] = vocabulary.index(letter)
    return table


def describe(config: Any) -> dict[str, Any]:
    """Return the transformers configuration of a backbone as plain data, as needed by `build`."""
    words = json.loads(config.to_json_string(use_diff=True))
    return {key: value for key, value in words.items() if key not in _NO_ARCHITECTURE}


def build(description: dict[str, Any]) -> Any:
    """Return a backbone with random weights.

    Raises:
        MissingDependencyError: transformers is not installed.
        UsageError: transformers rejects the description.
    """
    transformers = _transformers()
    try:
        with _quiet(transformers):
            config = transformers.EsmConfig.from_dict(dict(description))
            model = transformers.EsmModel._from_config(config, add_pooling_layer=False, attn_implementation="sdpa")
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(
            "this is not a valid description of a backbone",
            why=str(error).split("\n", 1)[0],
            fix="use the config.json that was written with the model",
        ) from error
    return _without_contacts(model)


def load(checkpoint: str, revision: str) -> tuple[Any, list[str]]:
    """Return the backbone of a checkpoint in float32, and its letters.

    Raises:
        BadInputError: the checkpoint is not ESM-2, or not in safetensors.
        MissingDependencyError: transformers is not installed.
        ServiceError: the hub cannot be reached, or has no such checkpoint.
        UsageError: the name is neither a folder nor valid on the hub.
    """
    from safetensors import SafetensorError

    transformers = _transformers()
    folder = Path(checkpoint).expanduser()
    if not folder.is_dir():
        folder = _download(checkpoint, revision)
    _check(folder)
    vocabulary = VOCABULARY
    if (folder / "vocab.txt").is_file():
        vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").split()
    try:
        with _quiet(transformers):
            model, found = transformers.EsmModel.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                add_pooling_layer=False,
                attn_implementation="sdpa",
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise BadInputError(
            f"{checkpoint} cannot be read as ESM-2", why=str(error).split("\n", 1)[0], fix=_NAME_ONE
        ) from error
    missing = [name for name in found["missing_keys"] if not name.startswith("contact_head")]
    if missing or found["mismatched_keys"]:
        raise BadInputError(f"{checkpoint} lacks weights of ESM-2", why=f"for example {sorted(missing)[:1]}", fix=_NAME_ONE)
    lacking = {*VOCABULARY[:-2], "<mask>"} - {*vocabulary}
    if lacking or len(vocabulary) != model.config.vocab_size:
        raise BadInputError(
            f"{checkpoint} has {model.config.vocab_size} tokens that are not ESM's letters",
            why=f"it lacks {' '.join(sorted(lacking))}" if lacking else f"its vocab.txt, or ESM's, has {len(vocabulary)}",
            fix=_NAME_ONE,
        )
    return _without_contacts(model), vocabulary


def set_activation_checkpointing(model: Any, wanted: bool) -> None:
    """Recompute activations of a backbone in the backward pass, or keep them."""
    kind = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"  # older name
    if wanted:
        getattr(model, f"{kind}_checkpointing_enable")({"use_reentrant": False})
    else:
        getattr(model, f"{kind}_checkpointing_disable")()


def _check(folder: Path) -> None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind, positions, folding = (config.get(k) for k in ("model_type", "position_embedding_type", "is_folding_model"))
    except (OSError, ValueError, AttributeError) as error:
        raise BadInputError(
            f"{folder} contains no checkpoint", why=str(error), fix="name a folder with config.json"
        ) from error
    if kind != "esm" or positions != "rotary" or folding:
        raise BadInputError(
            f"{folder} is not an ESM-2 checkpoint",
            why=f"its config.json says model_type {kind!r}, position_embedding_type {positions!r}",
            fix=_NAME_ONE,
        )
    if not any(folder.glob("*.safetensors")):
        raise BadInputError(
            f"{folder} contains no weights in safetensors",
            why="other formats can run code when they are read",
            fix="save it again with save_pretrained of a recent transformers",
        )


def _download(name: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    silent = are_progress_bars_disabled()
    if not console.progress_is_shown():
        disable_progress_bars()
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_FILES))
    except HFValidationError as error:
        raise UsageError(f"{name!r} is neither a folder nor a valid name on the Hugging Face hub", fix=_NAME_ONE) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise ServiceError(
            f"the checkpoint {name} is not a folder and could not be downloaded from the Hugging Face hub",
            why=str(error).strip().split("\n", 1)[0],
            fix="check name and network, or copy the checkpoint's folder here and name that",
        ) from error
    finally:
        if not silent:
            enable_progress_bars()


def _without_contacts(model: Any) -> Any:
    model.contact_head = None  # weights that no embedding depends on
    return model


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingDependencyError("esm2 needs transformers, which is not installed", fix=INSTALL) from error
    return transformers


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Silence transformers, which would report unused weights of a checkpoint (its language-model head)."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
