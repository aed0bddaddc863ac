"""How a language model of text divides it into tokens: the rules of its tokenizer, kept with the model.

A tokenizer of the library `tokenizers` is one JSON document: normalisation, vocabulary, merges and special tokens. A model
folder contains it, so that it needs no checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError


@dataclass(frozen=True)
class TextTokenization:
    """The tokens of a checkpoint.

    Attributes:
        rules: of the tokenizer, as `tokenizers` writes them.
        padding: token of padding.
        longest: tokens of a text that are read, with those before and after it.
    """

    rules: Mapping[str, Any]
    padding: int
    longest: int
    _tokenizer: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        from tokenizers import Tokenizer

        try:
            made = Tokenizer.from_str(json.dumps(self.rules))
            made.no_padding()
            made.enable_truncation(self.longest)
        except Exception as error:  # tokenizers has no class of its own
            raise ValueError(f"the tokenizer cannot be read: {error}") from error
        object.__setattr__(self, "_tokenizer", made)

    @classmethod
    def of_tokenizer(cls, tokenizer: Any, longest: int, name: str, padding: int | None) -> Self:
        """Return the tokens of a tokenizer of transformers.

        Args:
            tokenizer: of the checkpoint.
            longest: tokens of a text that are read.
            name: of the checkpoint, for messages.
            padding: token of padding, if the tokenizer names none; such a model never sees it.

        Raises:
            BadInputError: a tokenizer in Python, without rules, or too few tokens for a text.
        """
        if not getattr(tokenizer, "is_fast", False):
            raise BadInputError(
                f"the tokenizer of {name} is a program, {type(tokenizer).__name__}",
                why="it would be needed wherever the model is used",
                fix="name a checkpoint with a tokenizer.json",
            )
        own = tokenizer.pad_token_id
        rules = json.loads(tokenizer.backend_tokenizer.to_str())
        rules["truncation"] = rules["padding"] = None
        added = tokenizer.num_special_tokens_to_add()
        if longest <= added:
            raise BadInputError(
                f"{longest} tokens are too few for a text", why=f"{name} adds {added}", fix="raise parameters.max_length"
            )
        return cls(rules, int(own if own is not None else padding or 0), longest)

    @property
    def largest(self) -> int:
        """The largest token."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    def tokens(self, text: str) -> npt.NDArray[np.int64]:
        """Return the first tokens of a text, with those that the model has before and after it, (L,)."""
        return np.array(self._tokenizer.encode(text).ids, dtype=np.int64)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"rules": dict(self.rules), "padding": self.padding, "longest": self.longest}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        return cls(dict(content["rules"]), int(content["padding"]), int(content["longest"]))
