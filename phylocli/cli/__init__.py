"""The command line: one module a subcommand, its file name the word typed.

A subcommand's module has a function `command` (or a typer app called `app`, for groups such as `store ls`), a docstring
whose first line is its summary, and `EXAMPLES`, which end its help. A parameter whose annotation is a configuration of
`phylocli.config` stands for the options of that configuration. The stage is imported inside the function, and the module
only when its command is used, so `phylocli --help` loads neither.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import inspect
import io
import logging
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_args, get_origin

import typer
import typer.core
import typer.main

from phylocli.core import console
from phylocli.core.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, PhylocliError

logger = logging.getLogger(__name__)

# The order of the chain, then the helpers; a module that is not named here comes last, by name.
ORDER = (
    *("fetch", "families", "align", "tree", "pairs", "train", "sweep", "infomin", "embed", "search", "probe", "map", "run"),
    *("store", "views", "simulate", "recipes", "models", "mi", "doctor"),
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


# What ends a process unless it is handled: a batch system, a closed terminal, ^\, a limit of CPU time, a user.
_ENDING = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGXCPU", "SIGUSR1", "SIGUSR2")


def _on_terminate(signum: int, frame: Any) -> NoReturn:
    # As an exception, so that temporary files are removed on the way out; a second signal does not disturb that.
    _on_ending(signal.SIG_IGN)
    raise SystemExit(128 + signum)  # what a shell expects


def _on_ending(handler: Any) -> None:
    """Set what signals do that end the process; those that are ignored, as under `nohup`, stay so."""
    for name in _ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, _on_terminate):
            signal.signal(number, handler)


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a command: options of its configuration, `-q/-v`, recorded inputs, and the exit code of each kind of error."""
    signature = inspect.signature(function, eval_str=True)
    shown: list[inspect.Parameter] = []
    configured: tuple[str, Any] | None = None
    for parameter in signature.parameters.values():
        if isinstance(parameter.annotation, type) and hasattr(parameter.annotation, "model_fields"):
            from phylocli.cli import _config

            configured = parameter.name, parameter.annotation
            shown += _config.expand(parameter)
        else:
            shown.append(parameter)

    @functools.wraps(function)
    def run(context: typer.Context, quiet: bool, verbose: bool, **options: Any) -> None:
        console.show_messages(console.QUIET if quiet else console.VERBOSE if verbose else console.NORMAL)
        code = EXIT_OK
        try:
            from phylocli.formats.streams import recording_inputs

            if configured is not None:
                from phylocli.cli import _config

                options[configured[0]] = _config.build(configured[1], context, options)
            with recording_inputs():
                function(**options)
            sys.stdout.flush()
        except PhylocliError as error:
            from phylocli.formats.sequences.fasta import DuplicateIdError

            has_option = "on_duplicate" in options or any(hasattr(value, "on_duplicate") for value in options.values())
            if isinstance(error, DuplicateIdError) and has_option:
                error.fix = error.OPTION_FIX
            logger.error(str(error))
            code = error.exit_code
            _trace_if_verbose()
        except KeyboardInterrupt:
            logger.error("interrupted; nothing half-written was kept")
            code = EXIT_INTERRUPTED
        except BrokenPipeError:
            _close_stdout()  # `… | head` has seen enough; that is no failure
        except MemoryError:
            logger.error("out of memory\nfix: use a smaller batch, fewer sequences at a time, or a larger machine")
            code = EXIT_FAILURE
        except OSError as error:
            logger.error(_words(error))
            code = EXIT_FAILURE
            _close_stdout()  # what is still buffered for it cannot be written either
            _trace_if_verbose()
        if code != EXIT_OK:
            raise SystemExit(code)

    for parameter in signature.parameters.values():
        _check_numbers_of(parameter)
    keyword = inspect.Parameter.KEYWORD_ONLY
    context = inspect.Parameter("context", keyword, annotation=typer.Context)
    common = [
        inspect.Parameter(
            "quiet",
            keyword,
            default=False,
            annotation=Annotated[bool, typer.Option("-q", "--quiet", help="Print only warnings and errors.")],
        ),
        inspect.Parameter(
            "verbose",
            keyword,
            default=False,
            annotation=Annotated[bool, typer.Option("-v", "--verbose", help="Print details, and tracebacks of errors.")],
        ),
    ]
    arguments = [*(p.replace(kind=keyword) for p in shown), context, *common]
    run.__signature__ = signature.replace(parameters=arguments, return_annotation=None)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in arguments}
    run.configuration = configured and configured[1]  # type: ignore[attr-defined]
    return run


def _check_numbers_of(parameter: inspect.Parameter) -> None:
    """Let an option of decimal numbers refuse NaN, and what is outside its `min` and `max`."""
    if get_origin(parameter.annotation) is not Annotated:
        return
    kind, option = get_args(parameter.annotation)[:2]
    if float not in (kind, *get_args(kind)) or option.parser is not None:
        return
    low, high = option.min, option.max

    least, most = -math.inf if low is None else low, math.inf if high is None else high

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            within = "" if low is None and high is None else f" from {least:g} to {most:g}"
            raise typer.BadParameter(f"{text!r} is not a number{within}")
        return value

    option.parser = number


def _words(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"no space left on the disk: {error}"
    if error.errno == errno.EBADF:
        return "standard output is closed\nfix: write to a file with -o"
    return str(error)


def _trace_if_verbose() -> None:
    if console.level() <= console.VERBOSE:
        import traceback

        sys.stderr.write(traceback.format_exc())


def _close_stdout() -> None:
    # Python would complain at exit when it flushes into the closed pipe.
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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


def escaped(text: str) -> str:
    """Return text whose square brackets the help shows as they are."""
    return text.replace("[", r"\[")


def _flowing(text: str) -> str:
    """Return help text whose paragraphs wrap where the terminal ends, not where the source does."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in escaped(inspect.cleandoc(text)).split("\n\n"))


def _epilog(module: Any, configuration: Any) -> str:
    lines = ["[bold]Examples[/bold]", *(escaped(line) for line in module.EXAMPLES)]
    if configuration is not None:
        table = configuration.table
        example = next(iter(configuration.model_fields))
        lines.append(
            f"Options are also read from \\[{table}] in phylocli.toml and from the environment, such as "
            f"$PHYLOCLI_{table.upper()}__{example.upper()}."
        )
    return "\n\n".join(lines)


def load(name: str) -> Any:
    """Return a subcommand, as typer runs it; imports its module."""
    module = module_of(name)
    shown = name.replace("_", "-")
    app = typer.Typer(rich_markup_mode="rich", add_completion=False, pretty_exceptions_enable=False)
    app.callback()(lambda: None)  # so that typer makes a group, whatever the number of commands
    if hasattr(module, "app"):
        inner = typer.Typer(cls=Group, help=_flowing(module.__doc__), epilog=_epilog(module, None), no_args_is_help=True)
        for info in module.app.registered_commands:
            _add(inner, info.name, guarded(info.callback))
        app.add_typer(inner, name=shown)
    else:
        command = guarded(module.command)
        epilog = _epilog(module, command.configuration)  # type: ignore[attr-defined]
        _add(app, shown, command, epilog=epilog, no_args_is_help=getattr(module, "NO_ARGS_IS_HELP", False))
    group: Any = typer.main.get_command(app)
    return group.commands[shown]


def _add(app: typer.Typer, name: str | None, command: Callable[..., Any], **more: Any) -> None:
    app.command(name, cls=Command, help=_flowing(inspect.getdoc(command) or ""), **more)(command)


def _show_types_of_values_only(parameters: list[Any]) -> list[Any]:
    """Leave out what typer shows of types in the help: `<bool>` at flags, and `<str>` at arguments."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
        elif parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: None
    return parameters


class Command(typer.core.TyperCommand):
    """A command whose help is free of typer's names of types."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters."""
        return _show_types_of_values_only(super().get_params(ctx))


class Group(typer.core.TyperGroup):
    """A group whose help is free of typer's names of types."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters."""
        return _show_types_of_values_only(super().get_params(ctx))


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


def _mend_streams() -> None:
    """Make standard streams that are closed, or cannot encode a character, usable.

    A closed one would be None, and the next file that is opened would take its number. In its place comes the null device,
    opened the other way round: using it is an error.
    """
    ways = (("stdin", "r", os.O_WRONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY))
    for number, (name, mode, flags) in enumerate(ways):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # data go through its buffer, as UTF-8
            stream.reconfigure(errors="backslashreplace")


def main() -> None:
    """Run the command line."""
    _mend_streams()
    with contextlib.suppress(ValueError):  # not in the main thread
        _on_ending(_on_terminate)
    try:
        with contextlib.suppress(BrokenPipeError):
            build()()
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
