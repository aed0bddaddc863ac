"""What config.json of a model folder says: how to build the model whose weights lie beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from phylocli.core.alphabet import check_alphabet


@dataclass(frozen=True)
class ModelConfig:
    """How to build a model.

    Attributes:
        encoder: name of the architecture.
        parameters: of the encoder, every one of them.
        pooling: its name.
        pooling_parameters: of the pooling.
        alphabet: what the tokens stand for, `protein` or `dna`.
        kernel: number of kernel features beside the pooled ones; 0: none.
        whitened: power of the whitening that was fitted; 0: none.
        whitened_to: features that the whitening leads to; 0: as many as before.
    """

    encoder: str
    parameters: Mapping[str, Any]
    pooling: str = "mean"
    pooling_parameters: Mapping[str, Any] = field(default_factory=dict)
    alphabet: str = "protein"
    kernel: int = 0
    whitened: float = 0.0
    whitened_to: int = 0

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the configuration that config.json holds; fields of other purposes are ignored.

        Raises:
            KeyError, TypeError, ValueError, UsageError: it does not describe a model.
        """
        kinds = {"encoder": str, "parameters": dict, "pooling": str, "pooling_parameters": dict}
        for key, kind in kinds.items():
            if not isinstance(content[key], kind):
                raise TypeError(f"{key} is {content[key]!r:.100}")
        numbers = {"kernel": int, "whitened": float, "whitened_to": int}
        fitted = {key: number(content[key]) for key, number in numbers.items() if content.get(key)}
        alphabet = check_alphabet(content.get("alphabet", "protein"))
        return cls(**{key: content[key] for key in kinds}, alphabet=alphabet, **fitted)

    def to_json(self) -> dict[str, Any]:
        """Return it as config.json holds it: what is not there (nucleotides, fitted maps) is left out."""
        optional = {
            "alphabet": self.alphabet if self.alphabet != "protein" else None,
            "kernel": self.kernel,
            "whitened": self.whitened,
            "whitened_to": self.whitened_to,
        }
        return {
            "encoder": self.encoder,
            "parameters": dict(self.parameters),
            "pooling": self.pooling,
            "pooling_parameters": dict(self.pooling_parameters),
            **{key: value for key, value in optional.items() if value},
        }

    def before_fitting(self) -> Self:
        """Return the configuration without what is fitted after training: kernel features and whitening."""
        return replace(self, kernel=0, whitened=0.0, whitened_to=0)
