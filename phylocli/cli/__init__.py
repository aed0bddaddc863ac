"""The command line: one module a subcommand, its file name the word typed.

A subcommand's module has a function `command` (or a typer app called `app`, for groups such as `store ls`), a docstring
whose first line is its summary, and `EXAMPLES`, shown at the end of its help. A parameter annotated with a configuration of
`phylocli.config` is replaced by the options of that configuration. The stage is imported inside the function, and the module
only when its command is used, so `phylocli --help` loads neither.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from phylocli.cli._help import Command, Group, epilog, escaped, flowing
from phylocli.cli._process import CommandFailed, guarded, mend_streams, on_ending, on_terminate
from phylocli.core.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK

# The order of the stages, then the other commands; further modules come last, by name.
ORDER = (
    *(
        "fetch",
        "families",
        "homologs",
        "align",
        "tree",
        "pairs",
        "train",
        "sweep",
        "infomin",
        "infomax",
        "embed",
        "search",
        "predict",
        "classify",
        "reconstruct",
        "interpolate",
        "generate",
        "labels",
        "probe",
        "map",
        "network",
        "serve",
        "run",
    ),
    *(
        "stats",
        "compare",
        "cluster",
        "smooth",
        "distances",
        "store",
        "views",
        "simulate",
        "recipes",
        "models",
        "mi",
        "doctor",
        "cite",
        "help",
    ),
)

HELP = """From a protein family's name to embeddings that carry function.

fetch families → align → tree → pairs → train → embed → probe. Every stage reads and writes standard formats, as files or in pipes: Stockholm, Newick, FASTA, Parquet.
"""  # noqa: E501  the help formatter folds it

EPILOG = [
    "[bold]Examples[/bold]",
    "phylocli fetch PF00042 | phylocli align | phylocli tree | phylocli pairs --min-dist 0.5 > pairs.tsv",
    "phylocli train families.sto -o run && phylocli embed seqs.fasta --model run/model -o emb.parquet",
    "phylocli run examples/demo.toml -o demo",
    "[bold]Exit codes[/bold]",
    "0 done · 1 failure · 2 usage · 65 bad input data · 69 service unavailable · 130 interrupted",
]


def names() -> list[str]:
    """Return the names of all subcommands in the order of the help: those of the chain, then the helpers, then others."""
    found = {file.stem for file in Path(__file__).parent.glob("*.py") if not file.stem.startswith("_")}
    return [*(name for name in ORDER if name in found), *sorted(found - {*ORDER})]


def module_of(name: str) -> Any:
    """Import the module of a subcommand."""
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def modules() -> list[Any]:
    """Import the thin modules of all subcommands, in the order of the help."""
    return [module_of(name) for name in names()]


def _summary(name: str) -> str:
    with Path(__file__).with_name(f"{name}.py").open(encoding="utf-8") as source:
        return source.readline().strip().strip('"')  # parsing all modules would take as long as all else


def load(name: str) -> Any:
    """Return a subcommand, as typer runs it; imports its module."""
    module = module_of(name)
    shown = name.replace("_", "-")
    app = typer.Typer(rich_markup_mode="rich", add_completion=False, pretty_exceptions_enable=False)
    app.callback()(lambda: None)  # so that typer makes a group for any number of commands
    if hasattr(module, "app"):
        inner = typer.Typer(cls=Group, help=flowing(module.__doc__), epilog=epilog(module, None), no_args_is_help=True)
        for info in module.app.registered_commands:
            _add(inner, info.name, guarded(info.callback))
        app.add_typer(inner, name=shown)
    else:
        command = guarded(module.command)
        end = epilog(module, command.configuration)  # type: ignore[attr-defined]
        _add(app, shown, command, epilog=end, no_args_is_help=getattr(module, "NO_ARGS_IS_HELP", False))
    group: Any = typer.main.get_command(app)
    return group.commands[shown]


def _add(app: typer.Typer, name: str | None, command: Callable[..., Any], **more: Any) -> None:
    app.command(name, cls=Command, help=flowing(inspect.getdoc(command) or ""), **more)(command)


class LazyGroup(Group):
    """The subcommands, of which only the one that runs is imported: the others are a name and a summary."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name in names():
            shown = name.replace("_", "-")
            self.commands[shown] = Command(shown, help=escaped(_summary(name)))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name, the command and the arguments left, with the command's module imported."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, None if command is None else load(command.name or ""), rest


def _print_version(asked: bool) -> None:
    if asked:
        from phylocli import __version__

        typer.echo(f"phylocli {__version__}")
        raise typer.Exit


def build() -> typer.Typer:
    """Return the whole command line."""
    app = typer.Typer(
        name="phylocli",
        cls=LazyGroup,
        help=HELP,
        epilog="\n\n".join(EPILOG),
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback(help=HELP)
    def top(
        version: Annotated[
            bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
        ] = False,
    ) -> None:
        pass

    return app


def main() -> None:
    """Run the command line."""
    mend_streams()
    before = os.fstat(1)
    with contextlib.suppress(ValueError):  # not in the main thread
        on_ending(on_terminate)
    try:
        with contextlib.suppress(BrokenPipeError):
            build()()
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    except SystemExit as end:
        # `phylocli embed --help | head`: where nobody reads on, rich puts the null device in the place of standard output
        # and ends with 1. That is not a failure.
        if end.code == EXIT_FAILURE and not isinstance(end, CommandFailed) and not os.path.samestat(before, os.fstat(1)):
            raise SystemExit(EXIT_OK) from None
        raise
