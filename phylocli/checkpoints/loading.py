"""Checkpoints of protein language models: from a folder to a module of transformers, and its tokens.

Only safetensors and JSON are read, and only architectures of transformers itself: a checkpoint cannot run code.
"""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from phylocli.checkpoints.tokenization import ESM_VOCABULARY, Tokenization
from phylocli.core.errors import BadInputError, MissingDependencyError, UsageError

INSTALL = "pip install '.[plm]'"

CONFIG = "config.json"
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "spiece.model"),
)

# Architectures of which only a part is an encoder, or that have heads which no embedding depends on.
_CLASSES = {"esm": "EsmModel", "t5": "T5EncoderModel", "bert": "BertModel"}
_WITHOUT_POOLER = ("esm", "bert")

# Fields of a configuration that do not describe the architecture.
_NO_ARCHITECTURE = ("architectures", "transformers_version", "_name_or_path", "dtype", "torch_dtype", "vocab_list")

_NAME_ONE = "name a checkpoint of ESM, ProtT5, ProstT5, Ankh or ProtBert, for example facebook/esm2_t6_8M_UR50D"


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
    kind = str(description.get("model_type", "esm"))
    try:
        with _quiet(transformers):
            config = transformers.CONFIG_MAPPING[kind].from_dict(dict(description))
            options: dict[str, Any] = {"add_pooling_layer": False} if kind in _WITHOUT_POOLER else {}
            if kind in _CLASSES:
                model = getattr(transformers, _CLASSES[kind])._from_config(config, attn_implementation="sdpa", **options)
            else:
                model = transformers.AutoModel.from_config(config, trust_remote_code=False)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise UsageError(
            "this is not a valid description of a backbone",
            why=str(error).split("\n", 1)[0],
            fix="use the config.json that was written with the model",
        ) from error
    return _stripped(model)


def load(folder: Path, name: str) -> tuple[Any, Tokenization]:
    """Return the backbone of a checkpoint in float32, and its tokens.

    Args:
        folder: with config.json, weights in safetensors, and the files of the tokenizer.
        name: of the checkpoint, for messages.

    Raises:
        BadInputError: the checkpoint is incomplete or damaged, has weights in another format only, is not an encoder, needs
            code of its own, or is not a model of proteins.
        MissingDependencyError: transformers or, for a SentencePiece tokenizer, sentencepiece is not installed.
    """
    from safetensors import SafetensorError

    kind = check(folder, name)
    transformers = _transformers()
    options: dict[str, Any] = {"add_pooling_layer": False} if kind in _WITHOUT_POOLER else {}
    if kind in _CLASSES:
        options["attn_implementation"] = "sdpa"
    try:
        with _quiet(transformers):
            model, found = getattr(transformers, _CLASSES.get(kind, "AutoModel")).from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
                **options,
            )
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise BadInputError(
            f"{name} cannot be read as a checkpoint of {kind!r}", why=str(error).strip().split("\n", 1)[0], fix=_NAME_ONE
        ) from error
    missing = [key for key in found["missing_keys"] if not key.startswith(("contact_head", "pooler"))]
    if missing or found["mismatched_keys"]:
        why = f"for example {sorted(missing)[0]}" if missing else f"shapes differ: {sorted(found['mismatched_keys'])[0]}"
        raise BadInputError(f"{name} lacks weights of its architecture, {kind!r}", why=why, fix="download it again")
    tokens = _tokens(folder, kind, name)
    largest, rows = max(tokens.table().tolist()), int(model.get_input_embeddings().weight.shape[0])
    if largest >= rows:
        raise BadInputError(
            f"the tokenizer of {name} belongs to another model",
            why=f"it has a token {largest}, and the model has {rows} tokens",
            fix="download the checkpoint again, with all its files",
        )
    return _stripped(model), tokens


def check(folder: Path, name: str) -> str:
    """Return the architecture (`model_type`) of a checkpoint's folder.

    Raises:
        BadInputError: there is no checkpoint in the folder, or one that cannot be used.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        kind, remote, folding = config.get("model_type"), config.get("auto_map"), config.get("is_folding_model")
    except (OSError, ValueError, AttributeError) as error:
        raise BadInputError(f"{name} contains no checkpoint", why=str(error), fix=f"name a folder with {CONFIG}") from error
    if not any(folder.glob("*.safetensors")):
        others = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".h5"))
        raise BadInputError(
            f"{name} contains no weights in safetensors" + (f", only {', '.join(others)}" if others else ""),
            why="pickled weights can run code when they are read, and are never loaded" if others else None,
            fix="use a revision with model.safetensors (NAME@refs/pr/N on the hub), or, if you trust the file, convert it "
            "with save_pretrained() of transformers",
        )
    if folding:
        raise BadInputError(f"{name} is a model of structures (ESMFold), not an encoder", fix=_NAME_ONE)
    if kind not in _transformers().CONFIG_MAPPING:
        why = "it needs code of its own (auto_map in config.json), which is never run" if remote else None
        raise BadInputError(f"transformers has no architecture {kind!r}, that of {name}", why=why, fix=_NAME_ONE)
    if kind != "t5" and config.get("is_encoder_decoder"):
        raise BadInputError(f"{name} is an encoder with a decoder ({kind!r})", fix=_NAME_ONE)
    return str(kind)


def max_residues(config: Any, added: int) -> int | None:
    """Return the largest number of residues that a backbone's table of positions allows; None if it has none.

    Args:
        config: of the backbone.
        added: number of further tokens in each sequence.
    """
    if config.model_type == "esm":
        if getattr(config, "position_embedding_type", "absolute") == "rotary":
            return None
        return int(config.max_position_embeddings) - config.pad_token_id - 1 - added  # positions are counted from there
    if config.model_type == "t5" or getattr(config, "rope_parameters", None):
        return None
    positions = getattr(config, "max_position_embeddings", None)
    return None if positions is None else int(positions) - added


def _tokens(folder: Path, kind: str, name: str) -> Tokenization:
    if kind == "esm" and not any((folder / file).is_file() for file in TOKENIZER_FILES):
        return Tokenization.of_esm(ESM_VOCABULARY)
    transformers = _transformers()
    # AutoTokenizer would replace the rules of a tokenizer.json by those of its class, which for Ankh adds a token.
    maker = transformers.PreTrainedTokenizerFast if (folder / "tokenizer.json").is_file() else transformers.AutoTokenizer
    if (folder / "spiece.model").is_file() and maker is transformers.AutoTokenizer:
        _require_sentencepiece(name)
    try:
        with _quiet(transformers):
            tokenizer = maker.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise BadInputError(
            f"the tokenizer of {name} cannot be read",
            why=str(error).strip().split("\n", 1)[0],
            fix=f"the folder needs one of {', '.join(TOKENIZER_FILES)}; download the checkpoint again, with all its files",
        ) from error
    return Tokenization.of_tokenizer(tokenizer, name)


def _require_sentencepiece(name: str) -> None:
    for module in ("sentencepiece", "google.protobuf"):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise MissingDependencyError(
                f"the tokenizer of {name} needs sentencepiece and protobuf, and {module} is not installed", fix=INSTALL
            ) from error


def _stripped(model: Any) -> Any:
    for name in ("contact_head", "shared"):  # weights that no embedding depends on, and a second name of T5's tokens
        if hasattr(model, name):
            setattr(model, name, None)
    return model


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingDependencyError(
            "pretrained protein language models need transformers, which is not installed", fix=INSTALL
        ) from error
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
