"""Diagnosis of the installation (`phylocli doctor`): versions, devices, optional engines, models, store, configuration."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from phylocli.core import plugins
from phylocli.core.errors import PhylocliError
from phylocli.core.threads import available_cores

State = Literal["ok", "missing", "optional", "unusable"]


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis.

    `state` is `ok`, `missing` (required), `optional` (not required and not found) or `unusable` (found, but fails).
    """

    group: str
    name: str
    state: State
    detail: str


_REQUIRED = (
    *("torch", "numpy", "scipy", "scikit-learn", "polars", "pyarrow", "safetensors"),
    *("pyhmmer", "scikit-bio", "biopython", "ete3", "six"),
    *("requests", "urllib3", "platformdirs", "pydantic", "typer", "rich", "jinja2", "matplotlib"),
)

# name, Python module, programs on PATH, how to get it
_OPTIONAL = (
    ("famsa (align --engine famsa)", "pyfamsa", (), "pip install '.[famsa]'"),
    (
        "veryfasttree (tree --engine veryfasttree)",
        "veryfasttree",
        ("VeryFastTree", "FastTree", "FastTreeMP", "fasttree"),
        "pip install '.[trees]' (Linux), or FastTree on PATH",
    ),
    (
        "iqtree (tree --engine iqtree)",
        "piqtree",
        ("iqtree3", "iqtree2", "iqtree"),
        "conda install -c bioconda iqtree, apt install iqtree, or pip install '.[iqtree]' (Python 3.12)",
    ),
    ("umap (map, probe)", "umap", (), "pip install '.[map]'; without it t-SNE is used"),
    ("numba (search --rerank, smooth)", "numba", (), "pip install '.[fast]'; without it alignments of residues are slower"),
    ("rdkit (molecules)", "rdkit", (), "pip install '.[molecules]'; without it SMILES are not randomised in training"),
    ("igraph (network)", "igraph", (), "pip install '.[network]'; without it there are no pages and Leiden communities"),
    ("usearch (search --approximate)", "usearch", (), "pip install '.[ann]'"),
    ("dask (--cluster)", "distributed", (), "pip install '.[dask]'"),
    ("s3fs (URLs of cloud storage)", "s3fs", (), "pip install '.[cloud]'"),
    ("transformers (protein language models)", "transformers", (), "pip install '.[plm]'"),
    ("tensorboard (train, log.tensorboard)", "tensorboard", (), "pip install '.[tensorboard]'"),
    ("wandb (train, log.wandb)", "wandb", (), "pip install '.[wandb]'"),
    (
        "mmseqs (families, homologs, search baselines)",
        "",
        ("mmseqs",),
        "conda install -c bioconda mmseqs2, or apt install mmseqs2",
    ),
)


_DISTRIBUTIONS = {"umap": "umap-learn"}
"""Module → name of its distribution, if they differ."""


def diagnose() -> list[Finding]:
    """Return all findings. Of the libraries, only torch is imported, to find devices."""
    from phylocli import __version__
    from phylocli.store import Store

    found = [
        Finding("phylocli", "version", "ok", __version__),
        Finding("phylocli", "python", "ok", f"{platform.python_version()} on {platform.platform()}"),
    ]
    for name in _REQUIRED:
        try:
            found.append(Finding("libraries", name, "ok", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            found.append(Finding("libraries", name, "missing", f"pip install {name}"))
    found += _devices()
    for name, module, programs, how in _OPTIONAL:
        program = next((path for path in map(shutil.which, programs) if path), None)
        if module and importlib.util.find_spec(module) is not None:
            found.append(
                Finding(
                    "optional engines",
                    name,
                    "ok",
                    f"{module} {importlib.metadata.version(_DISTRIBUTIONS.get(module, module))}",
                )
            )
        elif program:
            found.append(Finding("optional engines", name, "ok", program))
        else:
            found.append(Finding("optional engines", name, "optional", f"not found; {how}"))
    found += _models()
    store = Store()
    found.append(Finding("store", str(store.root), "ok", f"{len(store.accessions())} families"))
    return found + _cache() + _plugins() + _configuration()


def _plugins() -> list[Finding]:
    """Return the plugins from other packages; plugins that fail to load are unusable."""
    from phylocli import recipes

    group = "plugins of other packages"
    found = []
    for kind in plugins.KINDS:
        for name in kind.names():
            origins = kind.origins(name)
            if origins != ["phylocli"]:
                found.append(_loaded(group, f"{kind.noun} {name}", origins, functools.partial(kind.load, name)))
    for name in plugins.recipe_names():
        found.append(_loaded(group, f"recipe {name}", plugins.recipe_origins(name), functools.partial(recipes.read, name)))
    return found


def _loaded(group: str, name: str, origins: list[str], load: Callable[[], object]) -> Finding:
    try:
        load()
    except PhylocliError as error:
        return Finding(group, name, "unusable", f"{error.what}: {error.why}" if error.why else error.what)
    return Finding(group, name, "ok", origins[0])


def _cache() -> list[Finding]:
    from phylocli.formats.streams import cache_folder

    try:
        from phylocli.train.data.compiled import contents
    except ImportError:  # torch is missing, which is reported with the libraries
        return []
    corpora, size = contents(cache_folder())
    return [Finding("cache", str(cache_folder()), "ok", f"{corpora} compiled data sets, {size / 1e6:,.0f} MB")]


def _configuration() -> list[Finding]:
    """Return the files and environment variables with settings, in ascending order of precedence."""
    from phylocli.config import layers

    group, found = "configuration", []
    files = {"user's file": layers.user_file(), "project's file": layers.project_file()}
    for name, path in files.items():
        if path is None or not path.is_file():
            where = path or f"no {layers.PROJECT_FILE} in the working folder or above it"
            found.append(Finding(group, name, "optional", f"{where}{': not found' if path else ''}"))
            continue
        try:
            stages = [table for table in layers.tables() if layers.from_file(path, table).values]
            found.append(Finding(group, name, "ok", f"{path}: options of {', '.join(stages) or 'no command'}"))
        except PhylocliError as error:
            found.append(Finding(group, name, "unusable", error.what))
    named = sorted(name for name in os.environ if name.startswith("PHYLOCLI_"))
    found += [Finding(group, f"${name}", "ok", os.environ[name]) for name in named]
    return found


def _models() -> list[Finding]:
    """Return the available models, the default first."""
    from phylocli import models

    names = models.named()
    found = []
    if models.DEFAULT not in names:
        says = "not installed; name a model with --model"
        found.append(Finding("models", models.DEFAULT, "optional", says))
    for name in names:
        try:
            entry = models.entry(name)
        except PhylocliError as error:
            found.append(Finding("models", name, "missing" if name == models.DEFAULT else "unusable", error.what))
            continue
        size = f"{entry.encoder}, {entry.parameters:,} parameters, {entry.features} features, {entry.bytes / 1e6:.1f} MB"
        found.append(Finding("models", name, "ok", f"{size}: {entry.folder}"))
    return found


def _devices() -> list[Finding]:
    cores = available_cores()
    try:
        import torch
    except ImportError as error:
        return [Finding("devices", "cpu", "missing", f"{cores} cores; torch cannot be imported: {error}")]
    found = [Finding("devices", "cpu", "ok", f"{cores} cores, torch uses {torch.get_num_threads()} threads")]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(index).total_memory / 2**30
            found.append(Finding("devices", f"cuda:{index}", "ok", f"{torch.cuda.get_device_name(index)}, {memory:.0f} GiB"))
    else:
        found.append(Finding("devices", "cuda", "optional", "no NVIDIA GPU that torch can use"))
    mps = torch.backends.mps.is_available()
    found.append(Finding("devices", "mps", "ok" if mps else "optional", "Apple GPU" if mps else "no Apple GPU"))
    return found


def as_rows(findings: list[Finding]) -> list[dict[str, str]]:
    """Return the findings as dictionaries, for JSON."""
    return [asdict(finding) for finding in findings]
