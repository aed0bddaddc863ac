"""Checkpoints of language models of proteins or of text: from a folder to a module of transformers, and its tokens.

Only safetensors, JSON and vocabularies (vocab.txt, spiece.model) are read, and only architectures of transformers itself are
built: a checkpoint cannot run code.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from phylocli.checkpoints.store import CONFIG, PICKLES, TOKENIZER_FILES, weight_files
from phylocli.checkpoints.text_tokenization import TextTokenization
from phylocli.checkpoints.tokenization import ESM_VOCABULARY, Tokenization
from phylocli.core.errors import BadInputError, MissingDependencyError, UsageError

INSTALL = "pip install '.[plm]'"

# Architectures of which only a part is an encoder, or that have heads which no embedding depends on.
_CLASSES = {"esm": "EsmModel", "t5": "T5EncoderModel", "bert": "BertModel"}
_WITHOUT_POOLER = ("esm", "bert")

# Fields of a configuration that do not describe the architecture.
_NO_ARCHITECTURE = ("architectures", "transformers_version", "_name_or_path", "dtype", "torch_dtype", "vocab_list")

# Fields that choose how it is computed, and could load kernels or libraries for that.
_NO_CHOICE = ("attn_implementation", "_attn_implementation", "quantization_config", "auto_map")

# What the vectors depend on besides the weights and their shapes, with the default values of transformers.
# Dropout and initialisation are for training, and everything else for other tasks.
_DECISIVE: dict[str, dict[str, Any]] = {
    "esm": {
        "num_attention_heads": 12, "layer_norm_eps": 1e-12, "position_embedding_type": "absolute", "rope_theta": 10000.0,
        "emb_layer_norm_before": False, "token_dropout": False, "pad_token_id": None, "mask_token_id": None,
        "is_decoder": False,
    },
    "t5": {
        "num_heads": 8, "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6, "dense_act_fn": "relu",
        "is_gated_act": False, "is_decoder": False,
    },
    "bert": {
        "num_attention_heads": 12, "layer_norm_eps": 1e-12, "position_embedding_type": "absolute", "hidden_act": "gelu",
        "is_decoder": False,
    },
}  # fmt: skip

# Of other architectures it is not known what they depend on: everything counts, except these fields of every configuration.
_NEVER_DECISIVE = re.compile(
    r"use_cache|initializer_\w+|\w*(dropout|drop_rate)\w*|gradient_checkpointing|output_\w+|return_dict|problem_type|"
    r"id2label|label2id|num_labels|task_specific_params|tie_word_embeddings|chunk_size_feed_forward|(bos|eos|sep)_token_id"
)

_NAME_ONE = "name a checkpoint of ESM, ProtT5, ProstT5, Ankh or ProtBert, for example facebook/esm2_t6_8M_UR50D"
_NAME_TEXT = "name an encoder of text, for example sentence-transformers/all-MiniLM-L6-v2"


def describe(folder: Path) -> dict[str, Any]:
    """Return the configuration of a checkpoint as needed by `build`: the content of its file, which unlike the object of
    transformers does not vary with the version of transformers.

    Raises:
        BadInputError: the folder contains no checkpoint.
    """
    return {key: value for key, value in _read(folder, str(folder)).items() if key not in _NO_ARCHITECTURE + _NO_CHOICE}


def decisive(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the vectors of a backbone depend on besides its weights, from a configuration as in `describe`.

    Of ESM, T5 and BERT, these are the fields that their encoders read, as transformers understands them: with default
    values, and under any of their names. Of others, it is all but fields that no encoder reads when it embeds.
    """
    kind = str(description.get("model_type", "esm"))
    if kind not in _DECISIVE:
        return _without(description, _NEVER_DECISIVE.fullmatch)
    with _quiet(import_transformers()):
        understood = _configuration(kind, description)
    found = {key: getattr(understood, key, description.get(key)) for key in _DECISIVE[kind]}
    return {"model_type": kind, **{k: _DECISIVE[kind][k] if value is None else value for k, value in found.items()}}


def _configuration(kind: str, words: Mapping[str, Any]) -> Any:
    return import_transformers().CONFIG_MAPPING[kind].from_dict(_without(words, _NO_CHOICE.__contains__))


def build(description: dict[str, Any]) -> Any:
    """Return a backbone with random weights.

    Raises:
        MissingDependencyError: transformers is not installed.
        UsageError: transformers rejects the description.
    """
    transformers = import_transformers()
    kind = str(description.get("model_type", "esm"))
    try:
        with _quiet(transformers):
            config, maker, options = _architecture(kind, description)
            model = maker._from_config(config, **options)
    except Exception as error:  # checks of configurations have their own class in each version of transformers
        raise UsageError(
            "this is not a valid description of a backbone",
            why=_reason(error),
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
    kind = check(folder, name)
    model = _backbone(folder, kind, name, _NAME_ONE)
    tokens = _tokens(folder, kind, name)
    _check_special_tokens(_read(folder, name), tokens, name)
    used = [*tokens.table().tolist(), *tokens.start, *tokens.end, tokens.padding]
    _check_largest_token(max(used), model, name)
    return _stripped(model), tokens


def load_text(folder: Path, name: str, longest: int) -> tuple[Any, TextTokenization]:
    """Return the backbone of a checkpoint of text in float32, and its tokens; arguments and errors as for `load`.

    Args:
        folder, name: as for `load`.
        longest: tokens of a text that are read, at most as many as the model has positions for.
    """
    kind = check(folder, name, _NAME_TEXT)
    vocabularies = ("tokenizer.json", "vocab.txt", "spiece.model")
    if not any((folder / file).is_file() for file in vocabularies):  # transformers would make one without words
        raise BadInputError(
            f"the tokenizer of {name} is missing",
            why=f"the folder has none of {', '.join(vocabularies)}",
            fix="download the checkpoint again, with all its files",
        )
    model = _backbone(folder, kind, name, _NAME_TEXT)
    most = max_residues(model, 0)
    longest = longest if most is None else min(longest, most)
    padding = _read(folder, name).get("pad_token_id")
    tokens = TextTokenization.of_tokenizer(_tokenizer(folder, name), longest, name, padding)
    _check_largest_token(max(tokens.largest, tokens.padding), model, name)
    return _stripped(model), tokens


def _check_largest_token(largest: int, model: Any, name: str) -> None:
    rows = int(model.get_input_embeddings().weight.shape[0])
    if largest >= rows:
        raise BadInputError(
            f"the tokenizer of {name} belongs to another model",
            why=f"it has a token {largest}, and the model has {rows} tokens",
            fix="download the checkpoint again, with all its files",
        )


def _backbone(folder: Path, kind: str, name: str, another: str) -> Any:
    """Return the backbone of a checkpoint in float32; `another` says what else to name if it cannot be read."""
    transformers = import_transformers()
    try:
        with _quiet(transformers):
            config, maker, options = _architecture(kind, _read(folder, name))
            model, found = maker.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
                **options,
            )
    except Exception as error:  # as in `build`
        raise BadInputError(f"{name} cannot be read as a checkpoint of {kind!r}", why=_reason(error), fix=another) from error
    missing = [key for key in found["missing_keys"] if not key.startswith(("contact_head", "pooler"))]
    if missing or found["mismatched_keys"]:
        why = f"for example {sorted(missing)[0]}" if missing else f"shapes differ: {sorted(found['mismatched_keys'])[0]}"
        raise BadInputError(f"{name} lacks weights of its architecture, {kind!r}", why=why, fix="download it again")
    return model


def _check_special_tokens(words: Mapping[str, Any], tokens: Tokenization, name: str) -> None:
    """Compare the tokens that a configuration names with those of the tokenizer, which may be of another model.

    Raises:
        BadInputError: they differ.
    """
    for key, token in (("pad_token_id", tokens.padding), ("mask_token_id", tokens.mask)):
        named = words.get(key)
        if named is not None and token is not None and named != token:
            raise BadInputError(
                f"the tokenizer of {name} belongs to another model",
                why=f"its {key} is {token}, and that of the model is {named}",
                fix=f"download the checkpoint again, with all its files; or correct {key} in its {CONFIG}",
            )


def _architecture(kind: str, words: Mapping[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Return the configuration of a backbone, its class, and the options to make one: torch's own attention, or the plain
    one of transformers, whatever the configuration asks for."""
    transformers = import_transformers()
    config = _configuration(kind, words)
    maker = getattr(transformers, _CLASSES[kind]) if kind in _CLASSES else transformers.MODEL_MAPPING[type(config)]
    maker = maker[0] if isinstance(maker, tuple) else maker
    options: dict[str, Any] = {"add_pooling_layer": False} if kind in _WITHOUT_POOLER else {}
    return config, maker, {**options, "attn_implementation": "sdpa" if maker._supports_sdpa else "eager"}


def _without(words: Mapping[str, Any], left_out: Callable[[str], object]) -> dict[str, Any]:
    """Return a configuration, and those within it, without some fields."""
    return {
        key: _without(value, left_out) if isinstance(value, dict) else value
        for key, value in words.items()
        if not left_out(key)
    }


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        content = dict(json.loads((folder / CONFIG).read_text(encoding="utf-8")).items())
    except (OSError, ValueError, AttributeError) as error:
        raise BadInputError(f"{name} contains no checkpoint", why=str(error), fix=f"name a folder with {CONFIG}") from error
    return content


def check(folder: Path, name: str, another: str = _NAME_ONE) -> str:
    """Return the architecture (`model_type`) of a checkpoint's folder; `another` says what else to name if it has none.

    Raises:
        BadInputError: there is no checkpoint in the folder, or one that cannot be used.
    """
    config = _read(folder, name)
    kind, remote, folding = config.get("model_type"), config.get("auto_map"), config.get("is_folding_model")
    if not weight_files(folder):
        others = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        raise BadInputError(
            f"{name} contains no weights in safetensors" + (f", only {', '.join(others)}" if others else ""),
            why="pickled weights can run code when they are read, and are never loaded" if others else None,
            fix="use a revision with model.safetensors (NAME@refs/pr/N on the hub), or, if you trust the file, convert it "
            "with save_pretrained() of transformers",
        )
    if folding:
        raise BadInputError(f"{name} is a model of structures (ESMFold), not an encoder", fix=another)
    if kind not in import_transformers().CONFIG_MAPPING:
        why = "it needs code of its own (auto_map in config.json), which is never run" if remote else None
        raise BadInputError(f"transformers has no architecture {kind!r}, that of {name}", why=why, fix=another)
    if kind != "t5" and config.get("is_encoder_decoder"):
        raise BadInputError(f"{name} is an encoder with a decoder ({kind!r})", fix=another)
    return str(kind)


def max_residues(backbone: Any, added: int) -> int | None:
    """Return the largest number of residues that a backbone's table of positions allows; None if it has none.

    Args:
        backbone: the module.
        added: number of further tokens in each sequence.
    """
    config = backbone.config
    if config.model_type == "esm" and getattr(config, "position_embedding_type", "absolute") == "rotary":
        return None
    for name, table in backbone.named_modules():
        if name.endswith("position_embeddings") and isinstance(table, torch.nn.Embedding) and table.padding_idx is not None:
            return table.num_embeddings - table.padding_idx - 1 - added  # ESM, RoBERTa: positions are counted from there
    if config.model_type == "t5" or getattr(config, "rope_parameters", None):
        return None
    positions = getattr(config, "max_position_embeddings", None)
    return None if positions is None else int(positions) - added


def _tokens(folder: Path, kind: str, name: str) -> Tokenization:
    if kind == "esm" and not any((folder / file).is_file() for file in TOKENIZER_FILES):
        return Tokenization.of_esm(ESM_VOCABULARY)
    return Tokenization.of_tokenizer(_tokenizer(folder, name), name)


def _tokenizer(folder: Path, name: str) -> Any:
    """Return the tokenizer of a checkpoint."""
    transformers = import_transformers()
    # AutoTokenizer would replace the rules of a tokenizer.json by those of its class, which for Ankh adds a token.
    maker = transformers.PreTrainedTokenizerFast if (folder / "tokenizer.json").is_file() else transformers.AutoTokenizer
    if (folder / "spiece.model").is_file() and maker is transformers.AutoTokenizer:
        _require_sentencepiece(name)
    try:
        with _quiet(transformers):
            tokenizer = maker.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise BadInputError(
            f"the tokenizer of {name} cannot be read",
            why=_reason(error),
            fix=f"the folder needs one of {', '.join(TOKENIZER_FILES)}; download the checkpoint again, with all its files",
        ) from error
    return tokenizer


def _reason(error: Exception) -> str:
    """Return the message of an error of transformers in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


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
    if getattr(model, "pooler", None) is not None:  # no token depends on it, and a checkpoint may lack its weights
        model.pooler = torch.nn.Identity()
    return model


def import_transformers() -> Any:
    """Return the module.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingDependencyError(
            "pretrained language models need transformers, which is not installed", fix=INSTALL
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
