"""Tiny random checkpoints of language models of text, as transformers saves them, with words of the tests as vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"0123456789"]
WORDS += ["a", "family", "number", "of", "kind", "heme", "kinase", "##s", "##se"]
SPREAD = 0.4
SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
POSITIONS = 24


def _bert(transformers: Any) -> Any:
    return transformers.BertModel(
        transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=POSITIONS, initializer_range=SPREAD, **SHAPE)
    )


def _roberta(transformers: Any) -> Any:
    """Return a masked language model, which has no weights of a pooler."""
    config = transformers.RobertaConfig(
        vocab_size=len(WORDS), max_position_embeddings=POSITIONS, pad_token_id=3, initializer_range=SPREAD, **SHAPE
    )
    return transformers.RobertaForMaskedLM(config)


def _distilbert(transformers: Any) -> Any:
    config = transformers.DistilBertConfig(
        vocab_size=len(WORDS), max_position_embeddings=POSITIONS, dim=16, n_layers=2, n_heads=2, hidden_dim=32,
        initializer_range=SPREAD,
    )  # fmt: skip
    return transformers.DistilBertModel(config)


MODELS: dict[str, Callable[[Any], Any]] = {"bert": _bert, "roberta": _roberta, "distilbert": _distilbert}


def make(kind: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a checkpoint of a kind of `MODELS`; return its folder."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    transformers.utils.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        MODELS[kind](transformers).save_pretrained(folder)
    rules = Tokenizer(models.WordPiece({word: k for k, word in enumerate(WORDS)}, unk_token="[UNK]"))
    rules.normalizer, rules.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    rules.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    padding = "[SEP]" if kind == "roberta" else "[PAD]"  # RoBERTa counts positions from its padding, which is not 0
    names = {"pad_token": padding, "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=rules, **names).save_pretrained(folder)
    return folder
