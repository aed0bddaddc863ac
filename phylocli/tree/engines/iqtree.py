"""Full maximum likelihood with IQ-TREE, where it is on PATH: the most thorough search and the slowest.

Minh et al., Mol. Biol. Evol. 37:1530 (2020), doi:10.1093/molbev/msaa015. Models with four categories of Γ rates; the model
`mfp` lets ModelFinder choose (Kalyaanamoorthy et al. 2017, doi:10.1038/nmeth.4285).
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phylocli.errors import MissingDependencyError, PhylocliError
from phylocli.formats.newick import Tree, parse
from phylocli.tree.engines import _external
from phylocli.tree.engines._settings import Inferred, Settings

OWN_MODELS = ("mfp",)
"""Models that this engine knows beside the common ones."""

_MODELS = {"lg": "LG+G4", "wag": "WAG+G4", "jtt": "JTT+G4", "poisson": "Poisson+G4", "mfp": "MFP"}


def program() -> str | None:
    """Return the path of IQ-TREE, the newest where several are there; None where there is none."""
    return next((found for name in ("iqtree3", "iqtree2", "iqtree") if (found := shutil.which(name))), None)


def available() -> bool:
    """Return whether the program was found."""
    return program() is not None


def infer(states: npt.NDArray[np.uint8], settings: Settings) -> Inferred:
    """Return the tree of at least four different rows.

    Raises:
        MissingDependencyError: IQ-TREE is not on PATH.
        PhylocliError: it failed or ran out of time.
    """
    path = program()
    if path is None:
        raise MissingDependencyError(
            "IQ-TREE is not on PATH", fix="install it (conda, apt, brew, or http://www.iqtree.org), or use --engine bme"
        )
    options = ["-m", _MODELS[settings.model], "-seed", str(settings.seed + 1), "-nt", "1", "-quiet", "-redo"]
    with tempfile.TemporaryDirectory(prefix="phylocli-tree-") as folder:
        alignment = Path(folder) / "alignment.fasta"
        _external.write_alignment(states, alignment)
        _external.run(path, ["-s", alignment.name, *options], folder=Path(folder), timeout=settings.timeout)
        outcome = Path(folder) / "alignment.fasta.treefile"
        if not outcome.is_file():
            raise PhylocliError("IQ-TREE ended well but wrote no tree", fix="use --engine bme")
        tree = parse(outcome.read_text(), "the output of IQ-TREE")
        report = (Path(folder) / "alignment.fasta.iqtree").read_text(encoding="utf-8", errors="replace")
    names = [_external.row_number(name) if tip else "" for name, tip in zip(tree.names, tree.is_tip, strict=True)]
    version = re.search(r"IQ-TREE (\d[\w.]*)", report)
    model = re.search(r"Model of substitution: (\S+)", report)
    shape = re.search(r"Gamma shape alpha: (\S+)", report)
    description = (
        f"IQ-TREE{' ' + version.group(1) if version else ''}, {model.group(1) if model else _MODELS[settings.model]}"
        + (f" (α = {shape.group(1)})" if shape else "")
        + f", {' '.join(options)}"
    )
    return Inferred(Tree(tree.parent, tree.length, names), description)
