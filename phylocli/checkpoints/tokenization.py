"""How each family of protein language models writes a sequence as tokens.

| family | text given to its tokenizer | B, O, U, Z | source |
|---|---|---|---|
| ESM-1b, ESM-1v, ESM-2, ESM-C | `MKV` | tokens of their own | doi:10.1126/science.ade2574 |
| ProtBert, ProtT5 | `M K V` | `X` | doi:10.1109/TPAMI.2021.3095381 |
| ProstT5 | `<AA2fold> M K V` (`<fold2AA> m k v` for 3Di states) | `X` | doi:10.1093/nargab/lqae150 |
| Ankh | `MKV`, or the letters as words | tokens of their own | arXiv 2301.06568 |
| Ankh3 | `[NLU]MKV` | tokens of their own | arXiv 2505.20052 |

A family is recognised by its tokenizer, not by its name: a prefix is used if it is one token of the vocabulary, and the form
is the first in which each residue becomes one token. Letters that the vocabulary lacks are read as `X`. A model folder
contains the resulting token numbers (`Tokenization`), so that it needs no tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from phylocli.core.alphabet import (
    AMINO_ACIDS,
    BOS,
    EOS,
    FIRST_RESIDUE,
    MASK,
    PAD,
    RARE_RESIDUES,
    UNKNOWN,
    VOCABULARY_SIZE,
)
from phylocli.core.errors import BadInputError

ESM_VOCABULARY = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPNKQFYMHWCXBUZO.-", "<null_1>", "<mask>"]
"""The letters of ESM-1b, ESM-1v and ESM-2 in the order of their tokens."""

_LETTERS = AMINO_ACIDS + "X"


@dataclass(frozen=True)
class Convention:
    """How a sequence is written for a tokenizer.

    Attributes:
        write: letters → the text, or the list of words, that the authors give to their tokenizer.
        rare_as_unknown: the authors replace B, O, U and Z by X.
        prefix: a token before the sequence; used if the vocabulary has it.
    """

    write: Callable[[str], str | list[str]]
    rare_as_unknown: bool = False
    prefix: str = ""


CONVENTIONS = (
    Convention(lambda letters: "<AA2fold> " + " ".join(letters), rare_as_unknown=True, prefix="<AA2fold>"),
    Convention(lambda letters: "[NLU]" + letters, prefix="[NLU]"),
    Convention(lambda letters: letters),
    Convention(" ".join, rare_as_unknown=True),
    Convention(list),
)
"""In the order in which they are tried."""


@dataclass(frozen=True)
class Tokenization:
    """The tokens of a checkpoint.

    Attributes:
        residues: token by letter: the 20 amino acids, X, and those of B, J, O, U, Z that are not read as X.
        start, end: tokens before and after each sequence.
        padding: token of padding.
        mask: token of a masked residue; None: there is none, and X takes its place.
    """

    residues: Mapping[str, int]
    start: tuple[int, ...]
    end: tuple[int, ...]
    padding: int
    mask: int | None

    @classmethod
    def of_esm(cls, vocabulary: list[str], *, rare: bool = True) -> Self:
        """Return the tokens of ESM for its vocabulary; without `rare`, B, O, U and Z are read as X."""
        letters = [*_LETTERS, *(RARE_RESIDUES if rare else "")]
        return cls(
            {letter: vocabulary.index(letter) for letter in letters if letter in vocabulary},
            (vocabulary.index("<cls>"),),
            (vocabulary.index("<eos>"),),
            vocabulary.index("<pad>"),
            vocabulary.index("<mask>"),
        )

    @classmethod
    def of_tokenizer(cls, tokenizer: Any, name: str) -> Self:
        """Return the tokens that a tokenizer of transformers gives to the residues of a protein.

        Args:
            tokenizer: of the checkpoint.
            name: of the checkpoint, for messages.

        Raises:
            BadInputError: the tokenizer does not give each residue one token of its own, or has no token for padding.
        """
        if tokenizer.pad_token_id is None:
            raise BadInputError(f"the tokenizer of {name} has no token for padding", fix=_ANOTHER)
        known = tokenizer.get_vocab()
        for convention in CONVENTIONS:
            if convention.prefix and convention.prefix not in known:
                continue
            found = _probe(tokenizer, convention)
            if found is not None:
                residues, start, end = found
                return cls(residues, start, end, int(tokenizer.pad_token_id), tokenizer.mask_token_id)
        lacking = [letter for letter in _LETTERS if not {letter, f"▁{letter}"} & known.keys()]
        raise BadInputError(
            f"the tokenizer of {name} does not give each amino acid one token: this is not a model of proteins",
            why=f"it has no token for {', '.join(lacking)}" if lacking else "it splits or joins the letters of a sequence",
            fix=_ANOTHER,
        )

    @property
    def added(self) -> int:
        """Number of tokens that are not residues in each sequence."""
        return len(self.start) + len(self.end)

    def table(self) -> Tensor:
        """Return the checkpoint's token for each of phylocli's, with those of `RARE_RESIDUES`, (tokens,) int64."""
        unknown = self.residues["X"]
        table = torch.full((VOCABULARY_SIZE + len(RARE_RESIDUES),), unknown)
        table[PAD] = self.padding
        table[BOS] = self.start[-1] if self.start else unknown
        table[EOS] = self.end[0] if self.end else unknown
        table[MASK] = unknown if self.mask is None else self.mask
        table[UNKNOWN] = unknown
        for state, letter in enumerate(AMINO_ACIDS):
            table[FIRST_RESIDUE + state] = self.residues[letter]
        for i, letter in enumerate(RARE_RESIDUES):
            table[VOCABULARY_SIZE + i] = self.residues.get(letter, unknown)
        return table

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "residues": dict(self.residues),
            "start": list(self.start),
            "end": list(self.end),
            "padding": self.padding,
            "mask": self.mask,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        residues = {str(letter): int(token) for letter, token in content["residues"].items()}
        if missing := [letter for letter in _LETTERS if letter not in residues]:
            raise ValueError(f"no token for {', '.join(missing)}")
        start, end = (tuple(int(token) for token in content[key]) for key in ("start", "end"))
        mask = content["mask"]
        return cls(residues, start, end, int(content["padding"]), None if mask is None else int(mask))


_ANOTHER = "name a protein language model whose tokens are single residues"


def _probe(tokenizer: Any, convention: Convention) -> tuple[dict[str, int], tuple[int, ...], tuple[int, ...]] | None:
    """Return (token by letter, tokens before, tokens after); None if the residues are not single tokens in this form."""

    def tokens(letters: str) -> list[int]:
        text = convention.write(letters)
        return list(tokenizer(text, is_split_into_words=isinstance(text, list))["input_ids"])

    first, second = tokens("A"), tokens("C")
    differ = [i for i, (a, c) in enumerate(zip(first, second, strict=False)) if a != c]
    if len(first) != len(second) or len(differ) != 1:
        return None
    at = differ[0]
    start, end = tuple(first[:at]), tuple(first[at + 1 :])
    whole = tokens(_LETTERS)
    found = whole[at : at + len(_LETTERS)]
    outside = (*whole[:at], *whole[at + len(_LETTERS) :])
    if outside != (*start, *end) or len(set(found)) < len(_LETTERS) or tokenizer.unk_token_id in whole:
        return None
    residues = dict(zip(_LETTERS, found, strict=True))
    for letter in "" if convention.rare_as_unknown else RARE_RESIDUES:
        alone = tokens(letter)
        if len(alone) == len(first) and alone[at] not in (tokenizer.unk_token_id, *found):
            residues[letter] = alone[at]
    return residues, start, end
