"""Reading of TOML files: configuration, recipes and settings."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from phylocli.core.errors import BadInputError
from phylocli.formats.streams import PathLike, decode_text, explain_read_error


def read_toml(path: PathLike) -> dict[str, Any]:
    """Read a TOML file, decoded by `decode_text`.

    Raises:
        BadInputError: the file does not exist, cannot be read, or is not TOML; a known format is named.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise explain_read_error(error, str(path)) from error
    try:
        return tomllib.loads(decode_text(data, str(path)).replace("\r\n", "\n"))
    except (BadInputError, ValueError) as error:  # ValueError: TOMLDecodeError, or an integer with too many digits
        from phylocli.formats.input_formats import TEXT, TOML, format_of

        found = format_of(data[:4096])
        if found not in (TEXT, TOML):
            raise BadInputError(
                f"{path} is {found.phrase}, not a TOML file", why=str(error).split("\n")[0], fix="give settings in TOML"
            ) from error
        if isinstance(error, BadInputError):
            raise
        raise BadInputError(f"{path} is not TOML", why=str(error), fix="correct the file at that place") from error
    except RecursionError as error:
        raise BadInputError(
            f"{path} is not TOML", why="arrays within arrays, too many to be read", fix="correct the file at that place"
        ) from error
