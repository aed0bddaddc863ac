"""The command line: one module a subcommand, its file name the word typed.

A subcommand's module has a function `command` (or a typer app called `app`, for groups such as `store ls`), a one-line
docstring, and `EXAMPLES`, which end its help. It imports its stage inside the function, so that `phylocli --help` loads no
heavy library.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import inspect
import io
import math
import os
import pkgutil
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn, get_args, get_origin

import typer

from phylocli.core import console
from phylocli.core.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, PhylocliError

# The order of the chain, then the helpers; a module that is not named here comes last, by name.
ORDER = (
    *("fetch", "families", "align", "tree", "pairs", "train", "sweep", "infomin", "embed", "search", "probe", "map", "run"),
    *("store", "views", "simulate", "recipes", "models", "mi", "doctor"),
)

HELP = """From a protein family's name to embeddings that carry function.

fetch families → align → tree → pairs → train → embed → probe. Every stage reads and writes files and pipes that other tools can read: Stockholm, Newick, FASTA, Parquet.
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
    """Wrap a command: add `-q/-v`, record its inputs, and end with the exit code and message that an error asks for."""

    @functools.wraps(function)
    def run(*args: Any, quiet: bool, verbose: bool, **options: Any) -> None:
        console.set_verbosity(console.QUIET if quiet else console.VERBOSE if verbose else console.verbosity())
        code = EXIT_OK
        try:
            from phylocli.formats.streams import recording_inputs

            with recording_inputs():
                function(*args, **options)
            sys.stdout.flush()
        except PhylocliError as error:
            from phylocli.formats.sequences.fasta import DuplicateIdError

            if isinstance(error, DuplicateIdError) and "on_duplicate" in options:
                error.fix = error.OPTION_FIX
            console.error(str(error))
            code = error.exit_code
            _trace_if_verbose()
        except KeyboardInterrupt:
            console.error("interrupted; nothing half-written was kept")
            code = EXIT_INTERRUPTED
        except BrokenPipeError:
            _close_stdout()  # `… | head` has seen enough; that is no failure
        except MemoryError:
            console.error("out of memory\nfix: use a smaller batch, fewer sequences at a time, or a larger machine")
            code = EXIT_FAILURE
        except OSError as error:
            console.error(_words(error))
            code = EXIT_FAILURE
            _close_stdout()  # what is still buffered for it cannot be written either
            _trace_if_verbose()
        if code != EXIT_OK:
            raise SystemExit(code)

    run.is_guarded = True  # type: ignore[attr-defined]
    signature = inspect.signature(function, eval_str=True)
    for parameter in signature.parameters.values():
        _check_numbers_of(parameter)
    common = [
        inspect.Parameter(
            "quiet",
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[bool, typer.Option("-q", "--quiet", help="Print only warnings and errors.")],
        ),
        inspect.Parameter(
            "verbose",
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[bool, typer.Option("-v", "--verbose", help="Print details, and tracebacks of errors.")],
        ),
    ]
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *common], return_annotation=None
    )
    run.__annotations__ = {name: p.annotation for name, p in run.__signature__.parameters.items()}  # type: ignore[attr-defined]
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
    if console.verbosity() >= console.VERBOSE:
        import traceback

        sys.stderr.write(traceback.format_exc())


def _close_stdout() -> None:
    # Python would complain at exit when it flushes into the closed pipe.
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _examples(module: Any) -> str:
    lines = ["[bold]Examples[/bold]", *(line.replace("[", r"\[") for line in module.EXAMPLES)]
    return "\n\n".join(lines)


def modules() -> list[Any]:
    """Import the thin modules of all subcommands, in the order of the help."""
    found = [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
    found.sort(key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    return [importlib.import_module(f"{__name__}.{name}") for name in found]


def _print_version(asked: bool) -> None:
    if asked:
        from phylocli import __version__

        typer.echo(f"phylocli {__version__}")
        raise typer.Exit


def build() -> typer.Typer:
    """Return the whole command line."""
    app = typer.Typer(
        name="phylocli",
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

    for module in modules():
        name = module.__name__.rsplit(".", 1)[1].replace("_", "-")
        if hasattr(module, "app"):
            for info in module.app.registered_commands:
                if not getattr(info.callback, "is_guarded", False):  # the module's app outlives one `build`
                    info.callback = guarded(info.callback)
            app.add_typer(module.app, name=name, help=inspect.getdoc(module), epilog=_examples(module), no_args_is_help=True)
        else:
            app.command(name, epilog=_examples(module), no_args_is_help=getattr(module, "NO_ARGS_IS_HELP", False))(
                guarded(module.command)
            )
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
