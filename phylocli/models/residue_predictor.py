"""States of residues from features of the model and of the alignment of homologs.

The heads of a model see its residue vectors and are trained with it. These networks are fitted afterwards, on the frozen
model: their input has the residue, the amino acids of its homologs, and means over them of vectors and predictions of the
heads (`phylocli.predict.columns`), as profiles improve the prediction of secondary structure (Rost and Sander 1993,
doi:10.1006/jmbi.1993.1413). A single sequence is a family of one member. Blocks of dilated convolutions with residual
connections see some tens of residues to either side. The probabilities of several networks, trained from different seeds,
are averaged, which is better than each (Lakshminarayanan, Pritzel and Blundell 2017, arXiv 1612.01474).

They are stored in the folder of the model (`residue_predictor.safetensors`), those of the default model by
`benchmarks/residue_predictor.py`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.core.errors import BadInputError
from phylocli.formats.arrays import read_arrays, write_arrays
from phylocli.formats.streams import note_input
from phylocli.models.model import Model

logger = logging.getLogger(__name__)

FILE = "residue_predictor.safetensors"
"""Name of the file in the folder of a model."""

FORMAT = "phylocli-residue-predictor-1"
"""Also stands for the order of the features, and for the dilations."""

HEADS = ("3di", "ss3", "ss8")
"""Heads whose states such networks may predict."""

DILATIONS = (1, 2, 4, 8)
"""Dilations of the convolutions of successive blocks, repeated."""

_AGAIN = "copy the model folder again, or remove the file: then the heads of the model predict"


class ResiduePredictor(nn.Module):
    """Networks whose predictions are averaged.

    Args:
        networks: with the same heads.
    """

    def __init__(self, networks: Iterable[ColumnNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    @property
    def heads(self) -> list[str]:
        """Names of the heads that are predicted."""
        first = self.networks[0]
        assert isinstance(first, ColumnNetwork)
        return list(first.states)

    def forward(self, columns: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return the log of the mean probabilities for each head, (N, L, K); arguments as those of `ColumnNetwork`."""
        found = [network(columns, mask) for network in self.networks]
        logs = {head: torch.stack([of[head].log_softmax(-1) for of in found]) for head in self.heads}
        return {head: of.logsumexp(0) - math.log(len(found)) for head, of in logs.items()}

    def save(self, path: Path, fingerprint: str) -> None:
        """Write the weights, in half precision, atomically.

        Args:
            path: file to write.
            fingerprint: of the model whose columns are read.

        Raises:
            PhylocliError: the disk is full, or the file cannot be written.
        """
        weights = {name: tensor.detach().cpu().half().numpy() for name, tensor in self.state_dict().items()}
        write_arrays(path, weights, {"format": FORMAT, "fingerprint": fingerprint})

    @classmethod
    def load(cls, model: Model) -> Self | None:
        """Return the networks of a model, on its device, ready to predict; None if its folder has none, or those of another.

        Raises:
            BadInputError: the file is damaged, or of another format.
        """
        path = None if model.folder is None else model.folder / FILE
        if path is None or not path.is_file():
            return None
        arrays, metadata = read_arrays(path, fix=_AGAIN)
        if metadata.get("format") != FORMAT:
            raise BadInputError(f"{path} has the format {metadata.get('format')!r}, not {FORMAT!r}", fix=_AGAIN)
        if metadata.get("fingerprint") != model.fingerprint:
            logger.warning(f"{path} was fitted to a model with other weights and is ignored")
            return None
        try:
            weights = {name: torch.from_numpy(values).float() for name, values in arrays.items()}
            count = len({name.split(".")[1] for name in weights})
            found = cls(ColumnNetwork.shaped(_below(weights, f"networks.{number}.")) for number in range(max(1, count)))
            found.load_state_dict(weights)
        except (KeyError, ValueError, IndexError, TypeError, RuntimeError) as error:
            raise BadInputError(f"{path} is not a residue predictor", why=str(error)[:300], fix=_AGAIN) from error
        note_input(path)
        return found.to(model.device).eval()


class ColumnNetwork(nn.Module):
    """Residual blocks of dilated convolutions, and a linear map for each kind of state.

    Args:
        features: number of features of a column.
        states: number of states of each head that is predicted, see `phylocli.models.heads`.
        width: channels.
        depth: number of blocks.
        kernel: residues that a convolution sees, odd.
        dropout: probability of a feature or channel to be zero in training.
    """

    def __init__(
        self, features: int, states: Mapping[str, int], *, width: int, depth: int, kernel: int = 5, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.mean, self.scale = nn.Buffer(torch.zeros(features)), nn.Buffer(torch.ones(features))
        self.first = nn.Linear(features, width)
        self.blocks = nn.ModuleList(
            _Block(width, kernel, DILATIONS[number % len(DILATIONS)], dropout) for number in range(depth)
        )
        self.last = nn.LayerNorm(width)
        self.states = nn.ModuleDict({name: nn.Linear(width, count) for name, count in states.items()})

    @classmethod
    def shaped(cls, weights: Mapping[str, Tensor]) -> Self:
        """Return a network whose weights have the shapes of these."""
        width, features = weights["first.weight"].shape
        depth = len(_names(weights, "blocks."))
        kernel = weights["blocks.0.convolution.weight"].shape[2]
        states = {name: len(weights[f"states.{name}.weight"]) for name in _names(weights, "states.")}
        return cls(features, states, width=width, depth=depth, kernel=kernel)

    def forward(self, columns: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return the logits of each head, (N, L, K), from features (N, L, F) and their mask (N, L).

        Padding has no influence; its own logits are undefined.
        """
        inside = mask[..., None]
        values = self.first(self.dropout((columns - self.mean) / self.scale)).masked_fill(~inside, 0)
        for block in self.blocks:
            values = block(values, inside)
        values = self.last(values)
        return {name: state(values) for name, state in self.states.items()}


def _below(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def _names(weights: Mapping[str, Tensor], prefix: str) -> list[str]:
    """Return the names of the modules below a prefix, in the order of the weights."""
    return list(dict.fromkeys(name.split(".")[0] for name in _below(weights, prefix)))


class _Block(nn.Module):
    def __init__(self, width: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, width, kernel, padding=dilation * (kernel // 2), dilation=dilation)
        self.output = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, inside: Tensor) -> Tensor:
        given = self.norm(values).masked_fill(~inside, 0)
        changed: Tensor = values + self.dropout(self.output(F.gelu(self._convolved(given))))
        return changed

    def _convolved(self, values: Tensor) -> Tensor:
        """Return the convolution as one matrix product, which is faster than torch's dilated convolutions on a CPU."""
        (kernel,), (dilation,) = self.convolution.kernel_size, self.convolution.dilation
        length, reach = values.shape[1], dilation * (kernel // 2)
        padded = F.pad(values, (0, 0, reach, reach))
        seen = torch.cat([padded[:, start : start + length] for start in range(0, kernel * dilation, dilation)], dim=2)
        weight = self.convolution.weight.permute(0, 2, 1).flatten(1)
        return F.linear(seen, weight, self.convolution.bias)
