"""What can go wrong, in words for the user, and the exit code that each kind of failure ends with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_BAD_INPUT = 65  # EX_DATAERR of sysexits.h
EXIT_UNAVAILABLE = 69  # EX_UNAVAILABLE
EXIT_INTERRUPTED = 130  # 128 + SIGINT


class PhylocliError(Exception):
    """A failure that the user can act on.

    Args:
        what: what went wrong, with the file, line or id.
        why: the cause, if it is known and not obvious.
        fix: how to fix it.

    Examples:
        >>> print(phylocli.PhylocliError("no room", why="the disk is full", fix="free some space"))
        no room
        why: the disk is full
        fix: free some space
    """

    exit_code = EXIT_FAILURE

    def __init__(self, what: str, why: str | None = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        parts = [self.what]
        if self.why:
            parts.append(f"why: {self.why}")
        if self.fix:
            parts.append(f"fix: {self.fix}")
        return "\n".join(parts)

    def __reduce__(self) -> tuple[type[PhylocliError], tuple[str, str | None, str | None]]:
        # Errors are pickled by worker processes; the default would call __init__ with str(self) only.
        return type(self), (self.what, self.why, self.fix)


class UsageError(PhylocliError):
    """The command line or a configuration file contains something that does not exist, or incompatible options."""

    exit_code = EXIT_USAGE


class BadInputError(PhylocliError):
    """The input data are invalid."""

    exit_code = EXIT_BAD_INPUT


class ServiceError(PhylocliError):
    """A public service cannot be reached, or did not return the requested data."""

    exit_code = EXIT_UNAVAILABLE


class MissingDependencyError(PhylocliError):
    """An optional engine or package is needed and not installed."""


def joined(errors: Sequence[PhylocliError]) -> PhylocliError:
    """Return several errors as one, of the kind of the first."""
    if len(errors) == 1:
        return errors[0]
    first = errors[0]
    return type(first)("\n".join(error.what for error in errors), first.why, first.fix)


def unknown_name(what: str, name: str, known: Iterable[str], *, more: str = "", most: int = 1000) -> UsageError:
    """Return the error for a name that does not exist, with the nearest spelling and those that do.

    Args:
        what: beginning of the sentence that ends with the name: `unknown rooting`, `there is no option`.
        name: as the user wrote it.
        known: the existing names.
        more: other possibilities: `, or a file`.
        most: number of existing names that are listed.
    """
    import difflib

    known = [*known]
    near = difflib.get_close_matches(name, known, n=1)
    shown = known if len(known) <= most else [*known[:most], "…"]
    return UsageError(
        f"{what} {name!r}",
        fix=(f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(shown) or 'none'}{more}",
    )
