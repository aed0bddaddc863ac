"""Input and output of files and pipes, compressed or not."""

from __future__ import annotations

from phylocli.formats.streams.paths import (
    NAME_BYTES,
    PACKED,
    STDIO,
    PathLike,
    cache_folder,
    fitting_name,
    is_file,
    is_url,
    suffix_of,
    unpacked_name,
    without_secrets,
)
from phylocli.formats.streams.reading import Input, at_rest, check_expansion, explain_read_error, open_input, read_text
from phylocli.formats.streams.recording import (
    InputRecord,
    file_sha256,
    note_input,
    record_input,
    recorded_inputs,
    recording_inputs,
)
from phylocli.formats.streams.text import binary_kind, decode_head, decode_text, display_name, text_lines, text_stream
from phylocli.formats.streams.writing import (
    OutputError,
    atomic_directory,
    atomic_path,
    explain_os_error,
    open_output,
    open_text_output,
    write_text,
)

__all__ = [
    "NAME_BYTES",
    "PACKED",
    "STDIO",
    "Input",
    "InputRecord",
    "OutputError",
    "PathLike",
    "at_rest",
    "atomic_directory",
    "atomic_path",
    "binary_kind",
    "cache_folder",
    "check_expansion",
    "decode_head",
    "decode_text",
    "display_name",
    "explain_os_error",
    "explain_read_error",
    "file_sha256",
    "fitting_name",
    "is_file",
    "is_url",
    "note_input",
    "open_input",
    "open_output",
    "open_text_output",
    "read_text",
    "record_input",
    "recorded_inputs",
    "recording_inputs",
    "suffix_of",
    "text_lines",
    "text_stream",
    "unpacked_name",
    "without_secrets",
    "write_text",
]
