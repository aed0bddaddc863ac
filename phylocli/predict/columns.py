"""Features of the residues of a sequence from the model and from the alignment of its homologs.

For each residue of the first member of a family, concatenated:

| features | of |
|---|---|
| D | its vector, of the last layer of the encoder |
| D | the mean vector over all members with a residue in its column |
| K for each head | the mean log probabilities that the heads predict for these residues |
| 21 | frequencies of the 20 amino acids and of unknown ones in the column |
| 21 | its own amino acid, one-hot |
| 2 | the logarithm of the number of these members, at most `MOST_COUNTED`, and their fraction |

The mean over one member is that member's value, so a single sequence has the features of a family without homologs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as SequenceOf

import numpy as np

from phylocli.core.alphabet import AMINO_ACIDS, encode_states
from phylocli.embed.embedder import FloatArray
from phylocli.embed.families import means_and_counts, places_in_first
from phylocli.formats.family import Family
from phylocli.models.heads import find_head
from phylocli.models.model import Model

MOST_COUNTED = 21
"""Members from which a column counts as equally deep: those of a sequence and 20 homologs, as in training."""

_LETTERS = len(AMINO_ACIDS) + 1


def column_features(
    model: Model, members: SequenceOf[str], residues: Iterable[FloatArray], family: Family | None = None
) -> FloatArray:
    """Return the features of the residues of the first member, (L, F) float32.

    Args:
        model: whose heads predict.
        members: unaligned.
        residues: vectors of the last layer for each member, (its residues, D).
        family: the aligned members; None for a single sequence.

    Raises:
        BadInputError: the family is not aligned.
    """
    places = [np.arange(len(members[0]))] if family is None else places_in_first(family)
    averaged = _averaged(model, members, residues)
    own = next(averaged)
    means, counts = means_and_counts(places, itertools.chain([own], averaged))
    depth = np.stack([np.log(np.minimum(counts, MOST_COUNTED)), counts / len(members)], axis=1)
    dimension = own.shape[1] - _LETTERS - sum(len(find_head(head).states) for head in model.heads)
    return np.concatenate([own[:, :dimension], means, own[:, -_LETTERS:], depth], axis=1, dtype=np.float32)


def log_probabilities(model: Model, head: str, residues: FloatArray) -> FloatArray:
    """Return the log probabilities that a head predicts for residues (L, D) of the last layer, (L, K)."""
    import torch

    with torch.inference_mode():
        vectors = torch.from_numpy(residues).to(model.device)[None]
        mask = torch.ones(vectors.shape[:2], dtype=torch.bool, device=model.device)
        found: FloatArray = model.predict_residues(head, vectors, mask)[0].log_softmax(dim=1).float().cpu().numpy()
    return found


def _averaged(model: Model, members: SequenceOf[str], residues: Iterable[FloatArray]) -> Iterator[FloatArray]:
    """Yield what is averaged over a column, for the residues of each member."""
    for letters, vectors in zip(members, residues, strict=True):
        one = np.eye(_LETTERS, dtype=np.float32)[encode_states([letters], model.alphabet)[0]]
        predicted = (log_probabilities(model, head, vectors) for head in sorted(model.heads))
        yield np.concatenate([vectors, *predicted, one], axis=1)
