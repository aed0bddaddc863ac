"""Benchmarks, one per module, read from the user's folder: `phylocli probe --benchmark NAME --data DIR`.

A benchmark module has

- `PARTS`: the parts that can be scored, the default first and test parts last;
- `load(folder, part) -> Benchmark`: reads the items with labels and sequences.

Files are found by name anywhere below the folder, compressed or not. Pickled files are not read, because they can run code.
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
    """Read a benchmark from a folder.

    Args:
        name: name of the benchmark, see `benchmark_names`.
        folder: the folder that contains its files, at any depth.
        part: the part to score; None uses the default, which is a test part only if there is no other.

    Raises:
        UsageError: unknown benchmark or part, or missing files.
        BadInputError: a file has unexpected content.
    """
    module = BENCHMARKS.load(name)
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", fix="give the folder of the benchmark's files with --data")
    if part is not None and part not in module.PARTS:
        raise UsageError(f"{name} has no part {part!r}", fix=f"its parts are {', '.join(module.PARTS)}")
    found: Benchmark = module.load(folder, part or module.PARTS[0])
    return found


__all__ = ["Benchmark", "benchmark_names", "find", "load_benchmark"]
