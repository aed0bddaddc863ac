"""Maximum likelihood with IQ-TREE, from PATH or the package piqtree: the most thorough and slowest search.

Minh et al., Mol. Biol. Evol. 37:1530 (2020), doi:10.1093/molbev/msaa015. Models have four categories of Γ rates; with the
model `auto` (or `mfp`), ModelFinder selects the model (Kalyaanamoorthy et al. 2017, doi:10.1038/nmeth.4285). If IQ-TREE is
not on PATH, piqtree (`phylocli[iqtree]`) is used in a separate process.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import MissingDependencyError, PhylocliError
from phylocli.formats.newick import parse
from phylocli.formats.tree import Tree
from phylocli.tree.engines import _external
from phylocli.tree.settings import Inferred, Settings, Traits

_MODELS = {"lg": "LG+G4", "wag": "WAG+G4", "jtt": "JTT+G4", "poisson": "Poisson+G4", "auto": "MFP", "mfp": "MFP"}


def program() -> str | None:
    """Return the path of the newest version of IQ-TREE on PATH; None if there is none."""
    return next((found for name in ("iqtree3", "iqtree2", "iqtree") if (found := shutil.which(name))), None)


def packaged() -> bool:
    """Return whether the package piqtree is installed, without importing it."""
    return importlib.util.find_spec("piqtree") is not None


def available() -> bool:
    """Return whether IQ-TREE is installed."""
    return program() is not None or packaged()


TRAITS = Traits(models=tuple(_MODELS), available=available)


def infer(states: npt.NDArray[np.uint8], settings: Settings) -> Inferred:
    """Infer the tree of at least four distinct rows.

    Raises:
        MissingDependencyError: IQ-TREE is neither on PATH nor installed as piqtree.
        PhylocliError: IQ-TREE failed or exceeded the time limit.
    """
    if not available():
        raise MissingDependencyError(
            "IQ-TREE is not on PATH, and piqtree is not installed",
            fix="pip install '.[iqtree]' (Python 3.12), install IQ-TREE (conda, apt, brew), or use --engine bme",
        )
    with tempfile.TemporaryDirectory(prefix="phylocli-tree-") as folder:
        alignment = Path(folder) / "alignment.fasta"
        _external.write_alignment(states, alignment)
        path = program()
        newick, description, alpha = _by_program(path, alignment, settings) if path else _by_package(alignment, settings)
    tree = parse(newick, "the output of IQ-TREE")
    names = [_external.row_number(name) if tip else "" for name, tip in zip(tree.names, tree.is_tip, strict=True)]
    return Inferred(Tree(tree.parent, tree.length, names), description, alpha)


def _by_program(path: str, alignment: Path, settings: Settings) -> tuple[str, str, float | None]:
    """Run IQ-TREE and return Newick text, a description, and α if the model has one."""
    options = ["-m", _MODELS[settings.model], "-seed", str(settings.seed + 1), "-nt", "1", "-quiet", "-redo"]
    _external.run(path, ["-s", alignment.name, *options], folder=alignment.parent, timeout=settings.timeout)
    outcome = alignment.with_name(f"{alignment.name}.treefile")
    if not outcome.is_file():
        raise PhylocliError("IQ-TREE wrote no tree", fix="use --engine bme")
    report = alignment.with_name(f"{alignment.name}.iqtree").read_text(encoding="utf-8", errors="replace")
    version = re.search(r"IQ-TREE (\d[\w.]*)", report)
    model = re.search(r"Model of substitution: (\S+)", report)
    shape = re.search(r"Gamma shape alpha: (\d\S*)", report)
    description = (
        f"IQ-TREE{' ' + version.group(1) if version else ''}, {model.group(1) if model else _MODELS[settings.model]}"
        + (f" (α = {shape.group(1)})" if shape else "")
        + f", {' '.join(options)}"
    )
    return outcome.read_text(), description, float(shape.group(1)) if shape else None


def _by_package(alignment: Path, settings: Settings) -> tuple[str, str, float | None]:
    """Run piqtree and return Newick text, a description, and α if the model has one."""
    script = Path(__file__).with_name("_with_piqtree.py")
    arguments = ["-P", str(script), alignment.name, _MODELS[settings.model], str(settings.seed + 1)]
    out, _ = _external.run(sys.executable, arguments, folder=alignment.parent, timeout=settings.timeout)
    try:
        found = json.loads(out.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError) as error:
        raise PhylocliError("piqtree returned no tree", fix="use --engine bme") from error
    shape = f" (α = {found['alpha']:.3f})" if found["alpha"] is not None else ""
    description = f"IQ-TREE {found['version']} by piqtree, {found['model']}{shape}, seed {settings.seed + 1}"
    return found["newick"], description, found["alpha"]
