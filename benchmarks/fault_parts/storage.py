"""Faults of storage and clock during a command: clear errors, and unchanged previous output."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fault_parts.interruptions import COMMANDS, SMALL, Command, _globins, _table, _trees, contents
from fault_parts.launcher import Ended, Launcher
from fault_parts.results import Cells, Results

OLD = b"what was here before\n"


def _pairs(folder: Path, launcher: Launcher) -> None:
    _trees(folder, launcher)


TARGETS = (
    Command("tree -o FILE", ["tree", "families.sto", "-o", "OUT/trees.sto"], ("OUT/trees.sto",), COMMANDS[1].prepare),
    Command("pairs -o FILE", ["pairs", "trees.sto", "-o", "OUT/pairs.parquet"], ("OUT/pairs.parquet",), _pairs),
    Command("embed -o FILE", ["embed", "proteins.fasta", "-o", "OUT/e.parquet"], ("OUT/e.parquet",), _globins),
    Command(
        "embed -o DIR/", ["embed", "proteins.fasta", "-o", "OUT/parts/", "--shard-size", "30"], ("OUT/parts",), _globins
    ),
    Command("search -o FILE", ["search", "globins.fasta", "table.parquet", "-o", "OUT/hits.tsv"], ("OUT/hits.tsv",), _table),
    Command("train -o DIR", ["train", "trees.sto", "-o", "OUT/run", "--steps", "10", *SMALL], ("OUT/run",), _trees),
)
"""Commands that write into a folder OUT beside their inputs."""


@dataclass(frozen=True)
class Seen:
    """The result of a command under a fault."""

    ended: Ended
    before: bool
    parts: list[str]

    def verdict(self, *, may_work: bool) -> str:
        """Return `ok`, or what is not as it should be."""
        if self.ended.traceback:
            return "traceback"
        if self.ended.code < 0:
            return f"signal {-self.ended.code}"
        if self.ended.code == 0 and not may_work:
            return "no error"
        if self.ended.code != 0 and "error" not in self.ended.output.lower():
            return "no message"
        if not self.before:
            return "what was there is gone"
        if self.parts:
            return f"left {self.parts[0]}"
        if self.ended.orphans:
            return "orphans"
        return "ok"


def _old_files(command: Command, place: Path) -> list[Path]:
    """Put something where a command of one file writes; what a folder holds is judged by its commands themselves."""
    old = [place / name for name in command.results if Path(name).suffix]
    for path in old:
        path.write_bytes(OLD)
    return old


def _look(command: Command, place: Path, ended: Ended, old: list[Path]) -> Seen:
    kept = all(path.is_file() and path.read_bytes() == OLD for path in old) if ended.code != 0 else True
    parts = [str(p.relative_to(place)) for p in place.rglob("*") if p.name.endswith(".part")]
    return Seen(ended, kept, parts)


@contextmanager
def _tmpfs(place: Path, size: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def full_disk(command: Command, place: Path, launcher: Launcher) -> str:
    """OUT is a file system of some kilobytes."""
    out = place / "OUT"
    with _tmpfs(out, "40k"):
        old = _old_files(command, place)
        seen = _look(command, place, launcher.run(command.arguments, place), old)
        said = any(word in seen.ended.output.lower() for word in ("space", "free"))
    verdict = seen.verdict(may_work=False)
    return verdict if verdict != "ok" or said else f"does not say that the disk is full: {seen.ended.output[-200:]}"


def read_only(command: Command, place: Path, launcher: Launcher) -> str:
    """OUT cannot be written, by a user to whom permissions apply."""
    old = _old_files(command, place)
    (place / "OUT").chmod(0o555)
    ended = launcher.run(command.arguments, place, ordinary=True)
    (place / "OUT").chmod(0o755)
    return _look(command, place, ended, old).verdict(may_work=False)


def broken_disk(command: Command, place: Path, launcher: Launcher) -> str:
    """Writes into OUT fail with EIO after 2,000 bytes."""
    old = _old_files(command, place)
    env = {"FAULTS_FOLDER": str(place / "OUT"), "FAULTS_BYTES": "2000"}
    return _look(command, place, launcher.run(command.arguments, place, env), old).verdict(may_work=False)


def vanishing(command: Command, place: Path, launcher: Launcher) -> str:
    """OUT is removed as soon as something is written into it."""
    gone = threading.Event()

    def remove() -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end and not gone.is_set():
            with contextlib.suppress(OSError):
                if any((place / "OUT").iterdir()):
                    shutil.rmtree(place / "OUT", ignore_errors=True)
                    return
            time.sleep(0.002)

    watcher = threading.Thread(target=remove)
    watcher.start()
    ended = launcher.run(command.arguments, place)
    gone.set()
    watcher.join()
    return _look(command, place, ended, []).verdict(may_work=True)


def jumping_clock(command: Command, place: Path, launcher: Launcher) -> str:
    """The clock of the day jumps a day back and forth."""
    wanted = _wanted(command, place, launcher)
    ended = launcher.run(command.arguments, place, {"FAULTS_JUMP": "-86400"})
    verdict = _look(command, place, ended, []).verdict(may_work=True)
    if verdict == "ok" and ended.code != 0:
        return f"exit code {ended.code}"
    return "another result" if verdict == "ok" and contents(place, command.results) != wanted else verdict


def _wanted(command: Command, place: Path, launcher: Launcher) -> dict[str, str]:
    ended = launcher.run(command.arguments, place)
    if ended.code != 0:
        raise RuntimeError(ended.output)
    wanted = contents(place, command.results)
    shutil.rmtree(place / "OUT")
    (place / "OUT").mkdir()
    return wanted


def two_at_once(command: Command, place: Path, launcher: Launcher, other: Launcher) -> str:
    """Two processes run the same command into the same OUT at once."""
    wanted = _wanted(command, place, launcher)
    launcher.start(command.arguments, place)
    other.start(command.arguments, place)
    first, second = launcher.wait(), other.wait()
    verdicts = [_look(command, place, ended, []).verdict(may_work=True) for ended in (first, second)]
    for verdict in verdicts:
        if verdict != "ok":
            return verdict
    if first.code != 0 and second.code != 0:
        return "both failed"
    return "ok" if contents(place, command.results) == wanted else "another result"


def measure(folder: Path, only: str = "") -> Results:
    """Run each command under each fault."""
    shim = folder / "shim.so"
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).with_name("shim.c")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl"], check=True)
    faults: dict[str, Callable[[Command, Path, Launcher], str]] = {
        "full disk": full_disk, "read-only, ordinary user": read_only, "EIO": broken_disk, "folder vanishes": vanishing,
        "clock jumps": jumping_clock,
    }  # fmt: skip
    if os.geteuid() != 0:
        del faults["full disk"], faults["read-only, ordinary user"]
    header = ["fault", *(f"`{command.name}`" for command in TARGETS)]
    results = Results(folder / "results.jsonl", {}, header, only)
    with Launcher({"LD_PRELOAD": str(shim)}) as launcher, Launcher() as other:
        every = {**faults, "two at once": lambda command, place, first: two_at_once(command, place, first, other)}
        inputs: dict[str, Path] = {}
        for number, command in enumerate(TARGETS):
            inputs[command.name] = folder / f"inputs-{number}"
            shutil.rmtree(inputs[command.name], ignore_errors=True)
            inputs[command.name].mkdir()
            command.prepare(inputs[command.name], other)

        def row(name: str) -> tuple[Cells, list[str]]:
            cells = []
            for command in TARGETS:
                place = folder / "place"
                shutil.rmtree(place, ignore_errors=True)
                shutil.copytree(inputs[command.name], place)
                (place / "OUT").mkdir()
                cells.append(every[name](command, place, launcher))
            wrong = [(c.name, cell) for c, cell in zip(TARGETS, cells, strict=True) if cell != "ok"]
            return cells, [f"{name}, {command}: {cell}" for command, cell in wrong]

        for name in every:
            results.add(name, partial(row, name))
    return results
