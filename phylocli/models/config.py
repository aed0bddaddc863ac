"""The content of config.json of a model folder: how to build the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from phylocli.core.alphabet import check_alphabet


@dataclass(frozen=True)
class DecoderArchitecture:
    """The decoder of a model, and how its latent vectors z = [y, w] are divided.

    Attributes:
        name: of the decoder.
        parameters: all parameters of the decoder.
        y: fraction of the features of z that are y, the first ones; the rest is w.
        reads: the part of z that the decoder reads: `all`, `y` or `w`.
    """

    name: str
    parameters: Mapping[str, Any]
    y: float = 0.5
    reads: str = "all"

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the configuration in config.json.

        Raises:
            KeyError, TypeError, ValueError: it does not describe a decoder.
        """
        return cls(str(content["name"]), dict(content["parameters"]), float(content["y"]), str(content["reads"]))


@dataclass(frozen=True)
class ModelConfig:
    """The architecture of a model.

    Attributes:
        encoder: name of the architecture.
        parameters: all parameters of the encoder.
        pooling: its name.
        pooling_parameters: of the pooling.
        alphabet: alphabet of the tokens, `protein` or `dna`.
        kernel: number of kernel features concatenated to the pooled ones; 0: none.
        whitened: power of the fitted whitening; 0: none.
        whitened_to: output features of the whitening; 0: unchanged.
        heads: parameters of the network of each head on residue vectors, by its name; see `phylocli.models.heads`.
        decoder: the decoder of its pooled vectors; None if it has none.
        modality: what it reads, if this is not a sequence of `alphabet`; see `phylocli.modalities`.
    """

    encoder: str
    parameters: Mapping[str, Any]
    pooling: str = "mean"
    pooling_parameters: Mapping[str, Any] = field(default_factory=dict)
    alphabet: str = "protein"
    kernel: int = 0
    whitened: float = 0.0
    whitened_to: int = 0
    heads: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    decoder: DecoderArchitecture | None = None
    modality: str = ""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the configuration in config.json; fields for other purposes are ignored.

        Raises:
            KeyError, TypeError, ValueError, UsageError: it does not describe a model.
        """
        kinds = {"encoder": str, "parameters": dict, "pooling": str, "pooling_parameters": dict}
        for key, kind in kinds.items():
            if not isinstance(content[key], kind):
                raise TypeError(f"{key} is {content[key]!r:.100}")
        numbers = {"kernel": int, "whitened": float, "whitened_to": int}
        fitted = {key: number(content[key]) for key, number in numbers.items() if content.get(key)}
        heads = {str(name): {key: int(n) for key, n in found.items()} for name, found in content.get("heads", {}).items()}
        alphabet = check_alphabet(content.get("alphabet", "protein"))
        decoder = DecoderArchitecture.from_json(content["decoder"]) if "decoder" in content else None
        modality = str(content.get("modality", ""))
        return cls(
            **{key: content[key] for key in kinds},
            alphabet=alphabet,
            heads=heads,
            decoder=decoder,
            modality=modality,
            **fitted,
        )

    def to_json(self) -> dict[str, Any]:
        """Return it in the form of config.json, without default values (protein alphabet, no fitted maps, no heads, no
        decoder, sequences)."""
        optional = {
            "alphabet": self.alphabet if self.alphabet != "protein" else None,
            "kernel": self.kernel,
            "whitened": self.whitened,
            "whitened_to": self.whitened_to,
            "heads": {name: dict(parameters) for name, parameters in self.heads.items()},
            "decoder": asdict(self.decoder) if self.decoder else None,
            "modality": self.modality,
        }
        return {
            "encoder": self.encoder,
            "parameters": dict(self.parameters),
            "pooling": self.pooling,
            "pooling_parameters": dict(self.pooling_parameters),
            **{key: value for key, value in optional.items() if value},
        }

    def before_fitting(self) -> Self:
        """Return the configuration without the parts fitted after training: kernel features and whitening."""
        return replace(self, kernel=0, whitened=0.0, whitened_to=0)
