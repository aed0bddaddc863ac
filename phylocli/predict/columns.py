"""Features of the residues of a sequence from the model and from the alignment of its homologs.

For each residue of the first member of a family, concatenated:

| features | of |
|---|---|
| D | its vector, of the last layer of the encoder |
| D | the mean vector over all members with a residue in its column |
| K for each head | the mean log probabilities that the heads predict for these residues |
| 21 | frequencies of the 20 amino acids and of all other letters in the column |
| 21 | its own amino acid, one-hot |
| 2 | the logarithm of the number of these members, and their fraction |

The mean over one member is that member's value, so a single sequence has the features of a family without homologs.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf

import numpy as np

from phylocli.core.alphabet import AMINO_ACIDS
from phylocli.embed.embedder import FloatArray
from phylocli.embed.families import Places, places_in_first
from phylocli.formats.family import Family
from phylocli.models.model import Model

_LETTERS = len(AMINO_ACIDS) + 1
_CODES = np.full(256, _LETTERS - 1)
_CODES[np.frombuffer(AMINO_ACIDS.encode(), np.uint8)] = np.arange(len(AMINO_ACIDS))


def column_features(
    model: Model, members: SequenceOf[str], residues: Iterable[FloatArray], family: Family | None = None
) -> FloatArray:
    """Return the features of the residues of the first member, (L, F).

    Args:
        model: whose heads predict.
        members: unaligned, in capitals.
        residues: vectors of the last layer for each member, (its residues, D).
        family: the aligned members; None for a single sequence.

    Raises:
        BadInputError: the family is not aligned.
    """
    places: list[Places] = [np.arange(len(members[0]))] if family is None else places_in_first(family)
    vectors = iter(residues)
    first = next(vectors)
    own = _values(model, members[0], first)
    total, count = own.astype(np.float64), np.ones(len(own))
    for letters, of, place in zip(members[1:], vectors, places[1:], strict=True):
        shared = place >= 0
        total[place[shared]] += _values(model, letters, of)[shared]
        count[place[shared]] += 1
    means, depth = total / count[:, None], np.stack([np.log(count), count / len(members)], axis=1)
    return np.concatenate([own[:, : first.shape[1]], means, own[:, -_LETTERS:], depth], axis=1, dtype=np.float32)


def log_probabilities(model: Model, head: str, residues: FloatArray) -> FloatArray:
    """Return the log probabilities that a head predicts for residues (L, D) of the last layer, (L, K)."""
    import torch

    with torch.inference_mode():
        vectors = torch.from_numpy(residues).to(model.device)[None]
        mask = torch.ones(vectors.shape[:2], dtype=torch.bool, device=model.device)
        found: FloatArray = model.predict_residues(head, vectors, mask)[0].log_softmax(dim=1).float().cpu().numpy()
    return found


def _values(model: Model, letters: str, residues: FloatArray) -> FloatArray:
    """Return what is averaged, for the residues of a member."""
    one = np.zeros((len(letters), _LETTERS), dtype=np.float32)
    one[np.arange(len(letters)), _CODES[np.frombuffer(letters.encode(), np.uint8)]] = 1
    return np.concatenate(
        [residues, *(log_probabilities(model, head, residues) for head in sorted(model.heads)), one], axis=1
    )
