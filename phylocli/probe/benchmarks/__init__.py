"""Evaluations by name, one file each, read from a folder that the user has: `phylocli probe --benchmark NAME --data DIR`.

A benchmark has

- `PARTS`: the parts that can be scored, the default first; test parts come last, since nothing may be chosen on them;
- `load(folder, part) -> Benchmark`: the items with their labels and sequences, and how they are judged.

Files are found by name anywhere below the folder, compressed or not. Formats that only unpickling could read are not read.
"""

from __future__ import annotations

from pathlib import Path

from phylocli.core.errors import UsageError
from phylocli.core.plugins import BENCHMARKS
from phylocli.probe.benchmarks._contract import Benchmark
from phylocli.probe.benchmarks._files import find


def benchmark_names() -> list[str]:
    """Return the names of the benchmarks."""
    return BENCHMARKS.names()


def load_benchmark(name: str, folder: Path, part: str | None = None) -> Benchmark:
    """Return a benchmark read from a folder.

    Args:
        name: of `benchmark_names()`.
        folder: the folder of its files, at any depth.
        part: the part to score; None takes the default, which is a test part only if there is no other.

    Raises:
        UsageError: an unknown benchmark or part, or missing files.
        BadInputError: files with unexpected content.
    """
    module = BENCHMARKS.load(name)
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", fix="name the folder of the benchmark's files with --data")
    if part is not None and part not in module.PARTS:
        raise UsageError(f"{name} has no part {part!r}", fix=f"its parts are {', '.join(module.PARTS)}")
    found: Benchmark = module.load(folder, part or module.PARTS[0])
    return found


__all__ = ["Benchmark", "benchmark_names", "find", "load_benchmark"]
