"""Options that several subcommands share, each written once."""

from __future__ import annotations

import contextlib
import glob
import itertools
from pathlib import Path
from typing import Annotated

import typer

from phylocli.formats.input_formats import SEQUENCE_FORMATS

_MOST_RECORDS = 2000
"""Records that are opened for the names of their families while the user waits for a completion."""


def model_names(incomplete: str) -> list[str]:
    from phylocli import models

    return [name for name in models.named() if name.startswith(incomplete)]


def recipe_names(incomplete: str) -> list[str]:
    from phylocli import recipes

    return [name for name in recipes.names() if name.startswith(incomplete)]


def view_names(incomplete: str) -> list[str]:
    from phylocli.core.plugins import VIEWS

    given, _, last = incomplete.rpartition("+")
    return [f"{given}+{name}" if given else name for name in VIEWS.names() if name.startswith(last)]


def stored_families(context: typer.Context, incomplete: str) -> list[str]:
    from phylocli.store import Store

    return [name for name in Store(context.params.get("store")).accessions() if name.startswith(incomplete)]


def family_names(context: typer.Context, incomplete: str) -> list[str]:
    """Complete accessions, or names in any case: of the newest Pfam release in the store, else of the store's families."""
    from phylocli.core.errors import PhylocliError

    accessions, text = stored_families(context, incomplete), incomplete.casefold()
    if not text or accessions:
        return accessions
    from phylocli.fetch.lookup import of_release, of_store
    from phylocli.fetch.services.pfam import CLANS
    from phylocli.store import Store
    from phylocli.store.inventory import releases_there

    store, found = Store(context.params.get("store")), []
    listings = [path for number in releases_there(store.root) if (path := store.release_path(number) / CLANS).is_file()]
    known = of_release(listings[-1]) if listings else itertools.islice(of_store(store), _MOST_RECORDS)
    with contextlib.suppress(PhylocliError):  # a damaged file
        # With the letters as typed: names are compared without case, completions with it.
        found = [incomplete + family.name[len(text) :] for family in known if family.name.casefold().startswith(text)]
    return found


def run_inputs(context: typer.Context, incomplete: str) -> list[str]:
    """Complete accessions of families and clans, and the files that they would hide from the shell."""
    found = [*stored_families(context, incomplete), *_stored_clans(context, incomplete)]
    return found and [*found, *sorted(glob.glob(f"{glob.escape(incomplete)}*"))]  # noqa: PTH207  as typed


def _stored_clans(context: typer.Context, incomplete: str) -> list[str]:
    from phylocli.store import Store

    return [name for name in Store(context.params.get("store")).clans() if name.startswith(incomplete)]


def _embedding_formats(incomplete: str) -> list[str]:
    from phylocli.formats.tables import EMBEDDINGS

    return [name for name in EMBEDDINGS if name.startswith(incomplete)]


Input = Annotated[
    str | None,
    typer.Argument(
        metavar="INPUT|-",
        help=f"Families or sequences ({SEQUENCE_FORMATS}), compressed or not; '-' or nothing is standard input.",
    ),
]
Sources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[INPUT|-]...",
        help=f"Sequences: {SEQUENCE_FORMATS}, compressed or not; patterns such as '*.faa'; '-' or nothing is standard "
        "input.",
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", metavar="FILE|-", help="File to write, compressed by its suffix; '-' is standard output."
    ),
]
Seed = Annotated[int, typer.Option(help="Same input and seed, same bytes.", metavar="S", min=0)]
FamilyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--family",
        metavar="ACC",
        help="Use this family of the store, by accession or name; may be repeated. Missing earlier stages run first.",
        autocompletion=family_names,
    ),
]
ClanOption = Annotated[
    list[str] | None,
    typer.Option(
        "--clan", metavar="CL", help="Use all families of this clan; may be repeated.", autocompletion=_stored_clans
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="Use all families of the store.")]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Use only families that are in the store; do not fetch any.")]
StoreOption = Annotated[
    Path | None,
    typer.Option("--store", metavar="DIR", envvar="PHYLOCLI_STORE", help="Family store (default: user data folder)."),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME|FOLDER|ORG/NAME",
        help="A model by name ('phylocli models' lists them), its folder, such as run/model of a training run, or a protein "
        "language model of the Hugging Face hub, such as facebook/esm2_t12_35M_UR50D. Default: the model included in "
        "phylocli.",
        autocompletion=model_names,
    ),
]
ModalityOption = Annotated[
    str | None,
    typer.Option(
        "--modality",
        metavar="NAME",
        help="Read this modality instead of sequences, such as three_di or text, with a model of several modalities "
        "(train --modalities).",
    ),
]
TableModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME|FOLDER",
        help="The model of the table, if it is not found by its name. 'search' embeds target sequences with it (default: "
        "the model included in phylocli).",
        autocompletion=model_names,
    ),
]
TableSequencesOption = Annotated[
    str | None,
    typer.Option("--sequences", metavar="FASTA", help="The sequences of the table, for alignments."),
]
LabelsOption = Annotated[
    str | None,
    typer.Option(
        "--labels",
        "-l",
        metavar="FILE",
        help="Labels: a table with a column of ids; or family records (Stockholm), FASTA with labels in its headers, GO "
        "annotations (GAF), a table of UniProt. See 'phylocli labels'.",
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        envvar="PHYLOCLI_CACHE",
        help="Where compiled families are kept (default: user cache folder).",
    ),
]
NoCacheOption = Annotated[bool, typer.Option("--no-cache", help="Compile families for this run only.")]
TableFormatOption = Annotated[
    str | None,
    typer.Option("--format", metavar="tsv|csv|parquet|arrow", help="Table format; by default from the suffix, else TSV."),
]
EmbeddingFormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="tsv, csv, parquet, arrow, npz, npy, hdf5, pt, or wide-tsv and wide-csv with one column a feature; "
        "by default from the suffix, else TSV.",
        autocompletion=_embedding_formats,
    ),
]
