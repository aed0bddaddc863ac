"""What a command does to its process: signals end it cleanly, standard streams are usable, errors become exit codes."""

from __future__ import annotations

import contextlib
import errno
import functools
import inspect
import io
import logging
import math
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn, get_args, get_origin

import typer

from phylocli.core import console
from phylocli.core.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, PhylocliError

logger = logging.getLogger(__name__)

# What ends a process unless it is handled: a batch system, a closed terminal, ^\, a limit of CPU time, a user.
_ENDING = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGXCPU", "SIGUSR1", "SIGUSR2")


def on_terminate(signum: int, frame: Any) -> NoReturn:
    # As an exception, so that temporary files are removed on the way out; a second signal does not disturb that.
    on_ending(signal.SIG_IGN)
    raise SystemExit(128 + signum)  # as in a shell


def on_ending(handler: Any) -> None:
    """Set the handlers of signals that end the process; ignored ones, as under `nohup`, stay ignored."""
    for name in _ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, on_terminate):
            signal.signal(number, handler)


class CommandFailed(SystemExit):
    """The end of a command whose error has been printed."""


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a command: options of its configuration, `-q/-v/--log-json`, recorded inputs, the exit code of each error."""
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
    def run(context: typer.Context, quiet: bool, verbose: bool, log_json: bool, **options: Any) -> None:
        level = console.QUIET if quiet else console.VERBOSE if verbose else console.NORMAL
        console.show_messages(level, as_json=log_json)
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
            logger.error(str(error), exc_info=_is_verbose())
            code = error.exit_code
        except KeyboardInterrupt:
            logger.error("interrupted; nothing half-written was kept")
            code = EXIT_INTERRUPTED
        except BrokenPipeError:
            _close_stdout()  # `… | head` has seen enough; that is not a failure
        except MemoryError:
            logger.error("out of memory\nfix: use a smaller batch, fewer sequences at a time, or a larger machine")
            code = EXIT_FAILURE
        except OSError as error:
            logger.error(_words(error), exc_info=_is_verbose())
            code = EXIT_FAILURE
            _close_stdout()  # buffered output cannot be written either
        if code != EXIT_OK:
            raise CommandFailed(code)

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
        inspect.Parameter(
            "log_json",
            keyword,
            default=False,
            annotation=Annotated[
                bool, typer.Option("--log-json", help="Print messages and progress as JSON, one object a line.")
            ],
        ),
    ]
    arguments = [*(p.replace(kind=keyword) for p in shown), context, *common]
    run.__signature__ = signature.replace(parameters=arguments, return_annotation=None)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in arguments}
    run.configuration = configured and configured[1]  # type: ignore[attr-defined]
    return run


def _check_numbers_of(parameter: inspect.Parameter) -> None:
    """Make an option with decimal numbers refuse NaN, and values outside its `min` and `max`."""
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


def _is_verbose() -> bool:
    return console.level() <= console.VERBOSE


def _close_stdout() -> None:
    # Python would complain at exit when it flushes into the closed pipe.
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def mend_streams() -> None:
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
