"""Show how to cite phylocli, and the methods that it builds on."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = ["phylocli cite", "phylocli cite --bibtex > phylocli.bib"]


def command(bibtex: Annotated[bool, typer.Option("--bibtex", help="Print BibTeX.")] = False) -> None:
    """Show how to cite phylocli, the paper whose idea it builds on, and the programs that do part of the work."""
    from phylocli.workflow.citation import as_bibtex, as_text

    typer.echo(as_bibtex() if bibtex else as_text())
