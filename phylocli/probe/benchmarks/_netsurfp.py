"""NetSurfP-2's data sets: secondary structure of proteins as arrays in NPZ files.

Klausen et al. 2019, doi:10.1002/prot.25674. Each file has `pdbids` (N,) and `data` (N, L, 68), with these columns
(https://services.healthtech.dtu.dk/services/NetSurfP-2.0/): 0–19 amino acid, one-hot in alphabetical order (all 0 if
unknown), 20–49 HMM profile, 50 residue mask, 51 disorder mask (1 if ordered), 52 evaluation mask (CB513), 53–56 solvent
accessibility, 57–64 eight states, one-hot in the order GHIBESTC, 65–66 angles, 67 maximum accessibility.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from phylocli.core.errors import BadInputError
from phylocli.formats.embeddings.arrays import DAMAGE
from phylocli.formats.streams import note_input
from phylocli.probe.benchmarks._files import PUBLISHED

if TYPE_CHECKING:
    import polars as pl

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
EIGHT, THREE = "GHIBESTC", "HHHEECCC"
COLUMNS = 68
_MASK, _ORDERED, _EVALUATED, _STATES = 50, 51, 52, slice(57, 65)


def read_netsurfp(path: Path) -> pl.DataFrame:
    """Read the proteins of a file: `id`, and with one letter per residue `sequence`, `ss3`, `ss8` and `resolved`.

    `resolved` is 1 for residues that are ordered and evaluated, as in published results.

    Raises:
        BadInputError: the file cannot be read, or its arrays have other names or shapes.
    """
    import polars as pl

    note_input(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in ("pdbids", "data") if name not in archive.files]
            if missing:
                raise BadInputError(
                    f"{path.name} has no array {missing[0]!r}",
                    why=f"its arrays: {', '.join(archive.files)}",
                    fix=PUBLISHED,
                )
            names, data = archive["pdbids"], archive["data"]
    except DAMAGE as error:
        raise BadInputError(f"{path.name} cannot be read as NPZ", why=str(error), fix=PUBLISHED) from error
    if data.dtype.kind not in "fiub" or data.ndim != 3 or data.shape[2] != COLUMNS or names.shape != data.shape[:1]:
        raise BadInputError(
            f"{path.name} is not a dataset of NetSurfP-2",
            why=f"'data' has shape {data.shape} of {data.dtype}, 'pdbids' {names.shape}",
            fix=f"'data' must be (proteins, residues, {COLUMNS})",
        )
    rows = []
    for name, table in zip(names, data, strict=True):
        residues = table[table[:, _MASK] > 0.5]
        known, states = residues[:, :20].max(axis=1) > 0.5, residues[:, _STATES]
        amino, state = residues[:, :20].argmax(axis=1), states.argmax(axis=1)
        counts = (residues[:, _ORDERED] > 0.5) & (residues[:, _EVALUATED] > 0.5) & (states.max(axis=1) > 0.5)
        rows.append(
            (
                name.decode() if isinstance(name, bytes) else str(name),
                "".join(LETTERS[a] if k else "X" for a, k in zip(amino, known, strict=True)),
                "".join(THREE[s] for s in state),
                "".join(EIGHT[s] for s in state),
                "".join("1" if c else "0" for c in counts),
            )
        )
    frame = pl.DataFrame(rows, schema=["id", "sequence", "ss3", "ss8", "resolved"], orient="row")
    return frame.filter(pl.col("sequence") != "").unique("id", keep="first", maintain_order=True)
