"""Approximate maximum likelihood with VeryFastTree or FastTree; scales to 100,000 sequences.

Piñeiro et al., Bioinformatics 36:4658 (2020), doi:10.1093/bioinformatics/btaa582; Price et al., PLoS ONE 5:e9490 (2010),
doi:10.1371/journal.pone.0009490. The program is included in the extra `phylocli[trees]` (Linux on x86-64); otherwise
VeryFastTree or FastTree on PATH is used. Double precision is used if the program supports it: in single precision
VeryFastTree does not terminate on some gappy families, and FastTree has a lower bound of 5e-4 on branch lengths.

With `-gamma` the program multiplies all lengths by a factor that is fitted together with α. For few, nearly identical
sequences the two are not identifiable: α approaches its bound of 0.02, and lengths are up to fifteen times too long. For α
below `LEAST_ALPHA` the factor is therefore removed, which gives the lengths of the program without `-gamma`.
"""

from __future__ import annotations

import functools
import math
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import MissingDependencyError
from phylocli.core.processes import run_program
from phylocli.formats.newick import parse
from phylocli.formats.tree import Tree
from phylocli.tree.engines import _external
from phylocli.tree.settings import Inferred, Settings, Traits

FASTEST_FROM = 50_000  # number of sequences from which neighbour joining examines fewer candidates (-fastest)

_MODELS = {"lg": ["-lg"], "wag": ["-wag"], "jtt": []}

LEAST_ALPHA = 0.1
"""Minimum plausible α. Simulated families (true α of 0.3 and 0.8) with an estimate below it had lengths that were 1.9 to 15
times too long, or not improved by the factor."""


def program() -> str | None:
    """Return the path of VeryFastTree or FastTree; None if neither is installed."""
    try:
        import veryfasttree

        if Path(veryfasttree.VFT_BINARY).is_file():
            return str(veryfasttree.VFT_BINARY)
    except ImportError:
        pass
    for name in ("VeryFastTree", "veryfasttree", "FastTree", "FastTreeDbl", "fasttree"):
        found = shutil.which(name)
        if found:
            return found
    return None


def available() -> bool:
    """Return whether VeryFastTree or FastTree is installed."""
    return program() is not None


TRAITS = Traits(models=tuple(_MODELS), automatic_up_to=math.inf, available=available)


@functools.cache
def _help(path: str) -> str:
    found = run_program([path, "-help"])
    return found.stdout + found.stderr


def infer(states: npt.NDArray[np.uint8], settings: Settings) -> Inferred:
    """Infer the tree of at least four distinct rows.

    Raises:
        MissingDependencyError: neither VeryFastTree nor FastTree is installed.
        PhylocliError: the program failed or exceeded the time limit.
    """
    path = program()
    if path is None:
        raise MissingDependencyError(
            "neither VeryFastTree nor FastTree is installed",
            fix="pip install '.[trees]' (Linux), install FastTree, or use --engine bme",
        )
    flags = _MODELS[settings.model]
    text = _help(path)
    title = "VeryFastTree" if "VeryFastTree" in text else "FastTree"
    number = re.search(rf"{title} (?:[Vv]ersion )?(\d+\.[\d.]+)", text)
    options = [*flags, "-gamma", "-nosupport", "-seed", str(settings.seed + 1)]
    if title == "VeryFastTree":
        options += ["-double-precision", "-threads", "1"]
    if len(states) >= FASTEST_FROM:
        options.append("-fastest")
    with tempfile.TemporaryDirectory(prefix="phylocli-tree-") as folder:
        alignment = Path(folder) / "alignment.fasta"
        _external.write_alignment(states, alignment)
        newick, talk = _external.run(path, [*options, alignment.name], folder=Path(folder), timeout=settings.timeout)
    tree = parse(newick.strip(), f"the output of {title}")
    names = [_external.row_number(name) if tip else "" for name, tip in zip(tree.names, tree.is_tip, strict=True)]
    found = re.search(r"alpha = (\d+\.\d+)(?: rescaling lengths by (\d+\.\d+))?", talk)
    alpha, length = float(found.group(1)) if found else None, tree.length
    said = "" if alpha is None else f" (α = {alpha:g})"
    if found and found.group(2) and alpha is not None and alpha < LEAST_ALPHA:
        length = length / float(found.group(2))
        said = f" (α = {alpha:g}: not identifiable; length scale {float(found.group(2)):g} removed)"
        alpha = None
    description = f"{title}{' ' + number.group(1) if number else ''}, {settings.model.upper()}+Γ{said}, {' '.join(options)}"
    return Inferred(Tree(tree.parent, length, names), description, alpha)
