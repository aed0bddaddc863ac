"""Tiny random checkpoints of each architecture of protein language models, with the vocabularies of the real ones.

Tokens are facts about the published models: ESM's 33 letters, ProtBert's 30, ProtT5's SentencePiece pieces with ProstT5's
additions, Ankh's letters without a mark for spaces.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

SPREAD = 0.4  # of initial weights: a random model is far from linear
ESM = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPNKQFYMHWCXBUZO.-", "<null_1>", "<mask>"]
PROTBERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"LAGVESIKRDTPNQFYMHCWXUBZO"]
PROTT5 = ["<pad>", "</s>", "<unk>", *(f"▁{letter}" for letter in "ALGVSREDTIPKFQNYMHWCXBOUZ")]
PROSTT5 = {**{letter: 128 + i for i, letter in enumerate("algvsredtipkfqnymhwc")}, "<fold2AA>": 148, "<AA2fold>": 149}
ANKH = ["<pad>", "</s>", "<unk>", *"ALGVSREDTIPKFQNYMHWCXBOUZ"]


def words_of(kind: str, sequence: str) -> list[int]:
    """The tokens of a sequence by the rules of the model's authors (see `checkpoints.tokenization`)."""
    if kind in ("protbert", "prott5", "prostt5"):
        sequence = sequence.translate(str.maketrans("UZOB", "XXXX"))
    if kind == "protbert":
        return [2, *map(PROTBERT.index, sequence), 3]
    if kind == "prott5":
        return [*(PROTT5.index(f"▁{letter}") for letter in sequence), 1]
    if kind == "prostt5":
        return [149, *words_of("prott5", sequence)]
    if kind == "ankh":
        return [*map(ANKH.index, sequence), 1]
    return [0, *map(ESM.index, sequence), 2]


ADDED = {"esm2": 1, "esm1b": 1, "esmc": 1, "protbert": 1, "prott5": 0, "prostt5": 1, "ankh": 0}
"""Number of tokens before the first residue, by kind."""


def make(kind: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a checkpoint of a kind of `ADDED` as the hub has it; return its folder."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _MODELS[kind](transformers)
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                torch.nn.init.normal_(parameter, 1.0 if "norm" in name.lower() and "bias" not in name else 0.0, 0.2)
            elif "t5" in kind or kind == "ankh":
                torch.nn.init.normal_(parameter, 0.0, SPREAD)
        model.save_pretrained(folder)
    _TOKENIZERS[kind](folder)
    return folder


def _esm(**changes: Any) -> Callable[[Any], Any]:
    shape = {
        "vocab_size": 33, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "pad_token_id": 1, "mask_token_id": 32, "token_dropout": True, "position_embedding_type": "rotary",
        "emb_layer_norm_before": False, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        "initializer_range": SPREAD, **changes,
    }  # fmt: skip
    return lambda transformers: transformers.EsmForMaskedLM(transformers.EsmConfig(**shape))


def _esmc(transformers: Any) -> Any:
    return transformers.EsmcModel(
        transformers.EsmcConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, initializer_range=SPREAD
        )
    )


def _bert(transformers: Any) -> Any:
    return transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=400, initializer_range=SPREAD, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )
    )  # fmt: skip


def _t5(vocabulary: int, **changes: Any) -> Callable[[Any], Any]:
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": vocabulary, **changes}
    return lambda transformers: transformers.T5ForConditionalGeneration(transformers.T5Config(**shape))


_MODELS: dict[str, Callable[[Any], Any]] = {
    "esm2": _esm(),
    "esm1b": _esm(position_embedding_type="absolute", emb_layer_norm_before=True, max_position_embeddings=302),
    "esmc": _esmc,
    "protbert": _bert,
    "prott5": _t5(128),
    "prostt5": _t5(150),
    "ankh": _t5(144, feed_forward_proj="gated-gelu", relative_attention_num_buckets=64, dropout_rate=0.0),
}


def _esm_tokens(folder: Path) -> None:
    (folder / "vocab.txt").write_text("\n".join(ESM))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "EsmTokenizer"}))


def _bert_tokens(folder: Path) -> None:
    (folder / "vocab.txt").write_text("\n".join(PROTBERT) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))


def _prott5_tokens(folder: Path) -> None:
    from sentencepiece import sentencepiece_model_pb2 as messages

    model = messages.ModelProto()
    kinds = messages.ModelProto.SentencePiece
    for i, piece in enumerate(PROTT5):
        kind = (kinds.CONTROL, kinds.CONTROL, kinds.UNKNOWN)[i] if i < 3 else kinds.NORMAL
        model.pieces.add(piece=piece, score=-0.1 * i if i >= 3 else 0.0, type=kind)
    spec = model.trainer_spec
    spec.model_type, spec.vocab_size = 1, len(PROTT5)
    spec.pad_id, spec.eos_id, spec.unk_id, spec.bos_id = 0, 1, 2, -1
    model.normalizer_spec.name = "identity"
    (folder / "spiece.model").write_bytes(model.SerializeToString())


def _prostt5_tokens(folder: Path) -> None:
    _prott5_tokens(folder)
    (folder / "added_tokens.json").write_text(json.dumps(PROSTT5))


def _ankh_tokens(folder: Path) -> None:
    from tokenizers import Tokenizer, models, processors

    tokenizer = Tokenizer(models.Unigram([(piece, -0.1 * i) for i, piece in enumerate(ANKH)], unk_id=2))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens([*ANKH[:3], *(f"<extra_id_{i}>" for i in range(115))])
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer", **special}))


_TOKENIZERS = {
    "esm2": _esm_tokens,
    "esm1b": _esm_tokens,
    "esmc": _esm_tokens,
    "protbert": _bert_tokens,
    "prott5": _prott5_tokens,
    "prostt5": _prostt5_tokens,
    "ankh": _ankh_tokens,
}


def plain(kind: str, folder: Path) -> Callable[[str], tuple[Any, ...]]:
    """The plain call of transformers: sequence → states (L, D) of its residues after each layer, the last as returned."""
    import torch
    import transformers

    name = {"protbert": "BertModel", "esmc": "EsmcModel"}.get(kind, "T5EncoderModel" if ADDED[kind] == 0 else "EsmModel")
    if kind == "prostt5":
        name = "T5EncoderModel"
    model = getattr(transformers, name).from_pretrained(folder).eval()

    def call(sequence: str) -> tuple[Any, ...]:
        words = torch.tensor([words_of(kind, sequence)])
        with torch.no_grad():
            found = model(input_ids=words, attention_mask=torch.ones_like(words), output_hidden_states=True)
        states = (*found.hidden_states[:-1], found.last_hidden_state)
        at = ADDED[kind]
        return tuple(state[0, at : at + len(sequence)] for state in states)

    return call
