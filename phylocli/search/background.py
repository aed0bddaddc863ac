"""The background: unrelated proteins, embedded by the model of a table, for the null distribution of E-values.

The package contains 2,560 sequences (`background.fasta.gz`, made by `benchmarks/background.py`): 2,048 proteins and domains
of UniProt, Pfam and the PDB, and 512 fragments of others, 8 to 120 residues long, because short sequences are similar to
each other whether homologous or not. Each is of another clan, so a query has at most a few homologs among them. They are
natural sequences, not reversed or shuffled ones, because non-homologous proteins resemble each other more than a reversed
protein resembles them: by secondary structure, motifs and folds of the same class.

The vectors depend on the model and are stored in its folder (`background.safetensors`). If they are missing, the first
search computes them and writes them there, or to the user cache if the folder is read-only or another pooling is used.

Embeddings that are averaged over homologs (`embed --per-family`) have larger cosines with each other, related or not. For
tables of these, the background is averaged, too (`background-families.safetensors`, of the default model).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from phylocli.core import console
from phylocli.core.errors import BadInputError, PhylocliError, UsageError
from phylocli.embed.families import embed_families
from phylocli.formats import read_sequences
from phylocli.formats.arrays import read_arrays, write_arrays
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.family import Family
from phylocli.formats.streams import cache_folder
from phylocli.search.database import FloatArray, unit
from phylocli.search.evalues import Floats, log_p_values, sample_rows

if TYPE_CHECKING:
    from phylocli.embed import Embedder

logger = logging.getLogger(__name__)

SEQUENCES = Path(__file__).with_name("background.fasta.gz")
"""The sequences of the background."""

FAMILIES = "background-families.safetensors"
"""Name of the file with the vectors of the background averaged with homologs, in the folder of a model."""

SIZE = 4096
"""Maximum number of rows of a table that are used as background if the model has none."""

FEWEST = 1000
"""Minimum number of rows of a table that is used as background."""


@dataclass(frozen=True)
class Background:
    """Unrelated proteins.

    Attributes:
        vectors: unit vectors (m, D).
        sequences: their sequences, (m,); empty if rows of a table are used.
    """

    vectors: FloatArray
    sequences: list[str]

    def log_p_values(self, queries: FloatArray, cosines: FloatArray) -> Floats:
        """Return the log p-values of cosines; see `evalues.log_p_values`."""
        return log_p_values(queries, cosines, self.vectors)

    def nearest(self, query: FloatArray, count: int) -> list[str]:
        """Return the sequences nearest to a query (D,), nearest first."""
        order = np.argsort(-(self.vectors @ query), kind="stable")[:count]
        return [self.sequences[i] for i in order]


def background_of(embedder: Embedder, *, families: bool = False) -> Background | None:
    """Return the background of a model, from its folder or the user cache; if it is in neither, compute and save it.

    The result is None for nucleotide models, since the background consists of proteins.

    Args:
        embedder: an embedder with the model.
        families: each protein averaged with its homologs, for tables of families: from the folder of the model, or None,
            since homologs are found in a large database (`benchmarks/background.py families`).

    Raises:
        BadInputError: the file in the model's folder is damaged.
    """
    if embedder.model.alphabet != "protein":
        return None
    sequences = [sequence.residues for sequence in read_sequences(SEQUENCES)]
    if families:
        vectors = _of_families(embedder)
        if vectors is None:
            return None
    else:
        places = _places(embedder)
        vectors = next((found for place in places if (found := _load(place, embedder)) is not None), None)
        if vectors is None:
            vectors = _quantised(_compute(embedder, sequences))
            _save(places, embedder, vectors)
    values, scales = vectors
    return Background(unit(values * scales[:, None]), sequences)


def _of_families(embedder: Embedder) -> Quantised | None:
    folder, model = embedder.model.folder, embedder.model
    return None if folder is None or embedder.layer not in (None, model.depth) else _load(folder / FAMILIES, embedder)


def write_family_background(embedder: Embedder, families: Iterable[Family]) -> Path:
    """Write the background of families to the folder of a model; return the path of the file.

    Args:
        embedder: an embedder with the model.
        families: each protein of the background with its homologs, in the order of `SEQUENCES`.

    Raises:
        UsageError: the model has no folder.
        BadInputError: the families are not those of the background.
    """
    folder = embedder.model.folder
    if folder is None:
        raise UsageError("the model has no folder for its background", fix="save it first")
    names, vectors = [], []
    for of, _, found, _ in embed_families(families, embedder):
        names += of
        vectors.append(found)
    if names != [sequence.id for sequence in read_sequences(SEQUENCES)]:
        raise BadInputError("the families are not those of the background", fix=f"find homologs of {SEQUENCES}")
    _save([folder / FAMILIES], embedder, _quantised(np.concatenate(vectors)))
    return folder / FAMILIES


def background_of_table(table: EmbeddingTable) -> Background | None:
    """Return a sample of the rows of a table as background; None if the table is too small.

    The sample may contain homologs of a query; the more it contains, the more its E-values are overestimated.
    """
    if len(table) < FEWEST:
        return None
    return Background(table.take(sample_rows(len(table), SIZE)), [])


def _places(embedder: Embedder) -> list[Path]:
    """Return the possible paths of the vectors of a model: in its folder, then in the user cache."""
    model = embedder.model
    layer = "" if embedder.layer in (None, model.depth) else f"-layer{embedder.layer}"
    cached = cache_folder() / "backgrounds" / f"{model.fingerprint[:32]}{layer}.safetensors"
    return [cached] if model.folder is None else [model.folder / f"background{layer}.safetensors", cached]


def _identity(embedder: Embedder) -> dict[str, str]:
    sequences = hashlib.sha256(SEQUENCES.read_bytes()).hexdigest()
    return {"fingerprint": embedder.model.fingerprint, "sequences": sequences}


def _compute(embedder: Embedder, sequences: list[str]) -> FloatArray:
    from phylocli.embed import Embedder

    total = sum(map(len, sequences))
    logger.info(f"embedding {len(sequences):,} background proteins for E-values, once for this model")
    with console.progress_task("background", total, unit="residues") as bar:
        return unit(Embedder(embedder.model, embedder.layer, embedder.max_tokens, on_batch=bar.advance).pooled(sequences))


Quantised = tuple[np.ndarray, np.ndarray]


def _quantised(vectors: FloatArray) -> Quantised:
    """Quantise vectors to 8-bit integers (m, D) and scales (m,); the error of cosines is about 3e-4."""
    scales = np.abs(vectors).max(axis=1) / 127
    values = np.round(vectors / np.where(scales > 0, scales, 1)[:, None])
    return values.astype(np.int8), scales.astype(np.float32)


def _save(places: list[Path], embedder: Embedder, vectors: Quantised) -> None:
    """Write the vectors to the first path that is writable."""
    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_arrays(place, {"vectors": vectors[0], "scales": vectors[1]}, _identity(embedder))
        except (OSError, PhylocliError) as error:
            logger.debug(f"{place}: {error}")
        else:
            return
    logger.info("the background is not saved, because no folder for it is writable: the next search computes it again")


def _load(path: Path, embedder: Embedder) -> Quantised | None:
    """Load vectors; None if the file is missing, or belongs to other weights or sequences."""
    if not path.is_file():
        return None
    arrays, metadata = read_arrays(path, fix="remove it; the next search makes it again")
    return (arrays["vectors"], arrays["scales"]) if metadata == _identity(embedder) else None
