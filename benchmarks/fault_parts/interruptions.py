"""Commands interrupted at random times and started again: no lost results, no leftover files."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fault_parts.launcher import Launcher
from fault_parts.results import Cells, Results

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = ROOT / "examples"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
TIMES = ("seconds", "waited", "residues_per_second", "mfu", "time", "wall", "command", "created", "host", "pid")
"""Columns and keys that say when and how fast, which no two runs have in common."""


@dataclass(frozen=True)
class Command:
    """A command to interrupt.

    Attributes:
        name: in the table.
        arguments: after `phylocli`, run in a folder of its own that holds the inputs.
        prepare: makes the inputs in a folder.
        results: names of the files and folders that it writes.
        partial: whether it keeps what it has when it is stopped, to go on from there.
    """

    name: str
    arguments: list[str]
    results: tuple[str, ...]
    prepare: Callable[[Path, Launcher], None]
    partial: bool = False


@dataclass
class Count:
    """The outcomes of the interruptions of a command, and its duration in seconds."""

    seconds: float = 0.0
    runs: int = 0
    interrupted: int = 0
    different: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)


def _some(file: Path) -> None:
    """Write four small families: what is interrupted should take a second, so that fifty times are minutes."""
    from phylocli.formats import read_families, write_families

    chosen = (1, 7, 11, 12)
    write_families((f for k, f in enumerate(read_families(EXAMPLES / "families.sto")) if k in chosen), file)


def _families(folder: Path, launcher: Launcher) -> None:
    _some(folder / "families.sto")


def _trees(folder: Path, launcher: Launcher) -> None:
    _families(folder, launcher)
    _must(launcher.run(["tree", "families.sto", "-o", "trees.sto", "-q"], folder))


def _globins(folder: Path, launcher: Launcher) -> None:
    shutil.copy(EXAMPLES / "globins.fasta", folder / "globins.fasta")
    from phylocli.formats import read_families
    from phylocli.formats.sequences import fasta

    _some(folder / "families.sto")
    with (folder / "proteins.fasta").open("w") as stream:
        for family in read_families(folder / "families.sto"):
            fasta.write(family.sequences(), stream)


def _table(folder: Path, launcher: Launcher) -> None:
    _globins(folder, launcher)
    _must(launcher.run(["embed", "proteins.fasta", "-o", "table.parquet", "-q"], folder))


def _demo(folder: Path, launcher: Launcher) -> None:
    _some(folder / "some.sto")
    (folder / "demo.toml").write_text(
        'families = ["some.sto"]\nseed = 1\n[pairs]\nn = 500\n[train]\nrecipe = "simclr"\nsteps = 6\n'
        'encoder.preset = "tiny"\nbatch.pairs = 8\nlog.mfu = false\n'
    )


SMALL = [
    "--set", "encoder.preset=tiny", "--set", "batch.pairs=16", "--set", "log.mfu=false", "--set", "validation.every=3",
]  # fmt: skip

RUNS = [f"sweep/runs/simclr,seed={seed}" for seed in (0, 1)]
SWEPT = (
    "sweep/results.tsv",
    "sweep/summary.tsv",
    *(f"{run}/{part}" for run in RUNS for part in ("metrics.parquet", "model")),
)
"""What a sweep is for; which checkpoints are left depends on the moment at which a run was stopped."""

COMMANDS = (
    Command(
        "families", ["families", "proteins.fasta", "-o", "found.sto", "--members", "members.tsv"],
        ("found.sto", "members.tsv"), _globins,
    ),
    Command("tree --jobs 2", ["tree", "families.sto", "-o", "trees.sto", "--jobs", "2"], ("trees.sto",), _families),
    Command(
        "train", ["train", "trees.sto", "-o", "run", "--resume", "--steps", "12", *SMALL, "--set", "checkpoints.every=4"],
        ("run",), _trees,
    ),
    Command("embed -o DIR/", ["embed", "proteins.fasta", "-o", "parts/", "--shard-size", "15"], ("parts",), _globins),
    Command(
        "search", ["search", "globins.fasta", "table.parquet", "-o", "hits.tsv", "--align", "--sequences", "proteins.fasta"],
        ("hits.tsv",), _table,
    ),
    Command(
        "sweep", ["sweep", "trees.sto", "-o", "sweep", "--steps", "6", "--seeds", "0,1", *SMALL], SWEPT, _trees
    ),
    Command("run", ["run", "demo.toml", "-o", "demo"], ("demo",), _demo),
    Command(
        "fetch --all", ["fetch", "--all", "--store", "store"], ("store",), lambda folder, launcher: None, partial=True
    ),
)  # fmt: skip


def _must(ended: Any) -> None:
    if ended.code != 0:
        raise RuntimeError(f"a command that nothing disturbs failed:\n{ended.output}")


def contents(folder: Path, results: tuple[str, ...]) -> dict[str, str]:
    """Return a checksum of each file that a command wrote, by its path; when and how fast it was made is left out."""
    found = {}
    for name in results:
        path = folder / name
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        for file in files:
            if file.suffix != ".lock" and not file.name.startswith(".lock"):
                found[str(file.relative_to(folder))] = hashlib.sha256(_timeless(file)).hexdigest()
    return found


def _timeless(file: Path) -> bytes:
    data = file.read_bytes()
    if file.suffix == ".json":
        return json.dumps(_without_times(json.loads(data)), sort_keys=True).encode()
    if file.suffix in (".parquet", ".tsv"):
        from phylocli.formats.tables import read_table

        table = read_table(file)
        there = [column for column in table.columns if column in TIMES]
        return table.drop(there).write_csv().encode() if there else data
    if file.name.startswith("step-") or file.name == "best.pt":  # the clock of the run is in its checkpoints
        import torch

        state = torch.load(file, map_location="cpu", weights_only=True)
        return repr(_plain(_without_times(state))).encode()
    return data


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if k not in TIMES}
    return [_without_times(v) for v in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.flatten().view(torch.uint8).numpy().tobytes()).hexdigest() if value.numel() else ""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


@contextmanager
def _services() -> Iterator[dict[str, str]]:
    sys.path.insert(0, str(ROOT / "tests" / "services"))
    from standin import Standin, changed

    with Standin() as server:
        server.always("Pfam-A", changed(slow=0.01))
        yield dict(server.environment)


def interrupt(command: Command, folder: Path, launcher: Launcher, env: dict[str, str], moments: int, seed: int) -> Count:
    """Interrupt a command at random times, restart it each time, and count faults.

    Runs that end before the signal comes do not count as interruptions; there are at most twice as many runs. Counts are
    kept after each, and the next call goes on from there.
    """
    kept = folder.with_name(f"{folder.name}-{moments}-{seed}.json")
    count = Count(**json.loads(kept.read_text())) if kept.is_file() else Count()
    inputs, whole = folder / "inputs", folder / "whole"
    inputs.mkdir(parents=True)
    command.prepare(inputs, launcher)
    shutil.copytree(inputs, whole)
    own = {**env, "PHYLOCLI_CACHE": str(folder / "cache"), "PHYLOCLI_STORE": str(folder / "unused")}
    undisturbed = launcher.run(command.arguments, whole, own)
    _must(undisturbed)
    wanted = contents(whole, command.results)
    count.seconds = count.seconds or undisturbed.seconds
    while count.interrupted < moments and count.runs < 2 * moments:
        signum = SIGNALS[count.interrupted % len(SIGNALS)]
        at = random.Random(f"{seed} {count.runs}").uniform(0.02, 1.0) * count.seconds
        label = f"{signum.name} at {at:.2f} s"
        place = folder / "disturbed"
        shutil.copytree(inputs, place)
        first = launcher.interrupted(command.arguments, place, signum, at, own)
        count.runs += 1
        count.interrupted += first.code != 0
        if first.code == 0:
            count.seconds = min(count.seconds, first.seconds)
        left = _parts(place)
        again = launcher.run(command.arguments, place, own)
        if left and signum != signal.SIGKILL and not command.partial:
            count.parts.append(f"{label}: {left[0]} after the signal")
        if left := _parts(place):
            count.parts.append(f"{label}: {left[0]} after the next run")
        if again.code != 0:
            count.failed.append(f"{label}: exit code {again.code}: {again.output[-400:]}")
        found = contents(place, command.results)
        if found != wanted and again.code == 0:
            names = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
            count.different.append(f"{label}: {', '.join(names[:4])}")
        count.orphans += [f"{label}: {line}" for line in first.orphans + again.orphans]
        count.tracebacks += [f"{label}: {e.output[-600:]}" for e in (first, again) if e.traceback]
        shutil.rmtree(place)
        kept.write_text(json.dumps(asdict(count)))
    kept.unlink(missing_ok=True)
    return count


def _parts(folder: Path) -> list[str]:
    return [str(p.relative_to(folder)) for p in folder.rglob("*") if ".part" in p.name and "part-" not in p.name]


def measure(folder: Path, moments: int, seed: int, only: str = "") -> Results:
    """Interrupt each command."""
    header = ["command", "interrupted", "other result", "failed afterwards", "temporary files left", "orphans", "tracebacks"]
    results = Results(folder / "results.jsonl", {"moments": moments, "seed": seed}, header, only)
    with _services() as env, Launcher(env) as launcher:

        def row(command: Command) -> tuple[Cells, list[str]]:
            place = folder / re.sub(r"\W+", "-", command.name)
            shutil.rmtree(place, ignore_errors=True)
            count = interrupt(command, place, launcher, env, moments, seed)
            shutil.rmtree(place, ignore_errors=True)
            kinds = (count.different, count.failed, count.parts, count.orphans, count.tracebacks)
            details = [f"{command.name}: {line}" for kind in kinds for line in kind[:5]]
            return [f"{count.interrupted} of {count.runs}", *(str(len(kind)) for kind in kinds)], details

        for command in COMMANDS:
            results.add(f"`{command.name}`", partial(row, command))
    return results
