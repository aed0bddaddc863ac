"""Child processes: they end with their parent, and their output is complete."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from phylocli.core.errors import PhylocliError
from phylocli.core.processes import WorkerPool, run_program
from phylocli.formats import Family, write_families

MARK = "PHYLOCLI_TEST_MARK"  # a variable that whatever a parent starts inherits

PARENT = """
import ctypes, sys, time
from phylocli.core import processes

def touch(name):
    open(name, "w").close()

def wait(name):
    touch(name)
    time.sleep(100)

def hold_every_thread(name):
    touch(name)
    ctypes.PyDLL(None).sleep(100)  # a call that keeps the interpreter's lock

def program(name):
    processes.run_program(["sh", "-c", f"(trap '' TERM HUP; touch {name}; sleep 100) & sleep 100"])

def program_in_worker(name):
    program(name)

if __name__ == "__main__":
    kind, *names = sys.argv[1:]
    if kind == "program":
        program(names[0])
    else:
        with processes.WorkerPool(len(names)) as pool:
            list(pool.map(globals()[kind], names))
"""


def marked(mark: str) -> list[int]:
    """Return the numbers of the processes that are descended from one with this mark."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:  # it has ended, or is another user's
            continue
    return found


def wait_until(holds: Callable[[], bool], seconds: float = 120) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def mark() -> Iterator[str]:
    value = uuid.uuid4().hex
    yield value
    for number in marked(value):
        os.kill(number, signal.SIGKILL)


@pytest.mark.needs("linux")
@pytest.mark.parametrize("kind", ["wait", "hold_every_thread", "program_in_worker", "program"])
def test_nothing_outlives_a_parent_that_is_killed(kind: str, mark: str, tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    names = ["one"] if kind == "program" else ["one", "two"]
    command = [sys.executable, "parent.py", kind, *names]
    parent = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, MARK: mark}, stderr=subprocess.DEVNULL)
    try:
        assert wait_until(lambda: all((tmp_path / name).exists() for name in names))
        assert len(marked(mark)) > len(names)
    finally:
        parent.kill()
        parent.wait()
    assert wait_until(lambda: not marked(mark), 20), "descendants outlived their parent"


@pytest.mark.needs("linux")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_a_command_that_is_ended(
    number: int,
    mark: str,
    tmp_path: Path,
    simulate: Callable[..., Family],
    phylocli_spawn: Callable[..., subprocess.Popen[bytes]],
) -> None:
    write_families([simulate(f"PF{i:05d}", 300, length=200, seed=i) for i in range(8)], tmp_path / "many.sto")
    process = phylocli_spawn("tree", "many.sto", "--jobs", "2", "-o", "trees.sto", **{MARK: mark})
    assert wait_until(lambda: len(marked(mark)) >= 4)  # it, two workers and what keeps account of shared memory
    process.send_signal(number)
    code = process.wait(60)
    assert code == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[signal.Signals(number)]
    assert wait_until(lambda: not marked(mark), 20), "workers outlived their command"


def zero_division(_: int) -> int:
    return 1 // 0


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(path: str) -> None:
    try:
        Path(path).touch()
        time.sleep(100)
    finally:
        Path(path).unlink()


def started(path: str) -> None:
    Path(path).touch()


def pid_after_start(path: str) -> tuple[int, bool]:
    return os.getpid(), Path(path).exists()


def test_workers_are_other_processes_and_are_initialised(tmp_path: Path) -> None:
    with WorkerPool(1, started, (str(tmp_path / "started"),)) as pool:
        number, there = pool.submit(pid_after_start, str(tmp_path / "started")).result()
    assert number != os.getpid()
    assert there


def test_an_error_of_the_work_arrives_and_a_dead_worker_is_named_with_a_way_out() -> None:
    with pytest.raises(ZeroDivisionError), WorkerPool(1) as pool:
        pool.submit(zero_division, 1).result()
    with pytest.raises(PhylocliError, match="a worker process died") as caught, WorkerPool(1, fix="use less") as pool:
        pool.submit(die, 1).result()
    assert caught.value.fix == "use less"
    assert isinstance(caught.value.__cause__, BrokenProcessPool)


def test_workers_clean_up_and_begin_nothing_more_when_the_block_is_left_by_an_exception(tmp_path: Path) -> None:
    path = tmp_path / "temporary"
    with pytest.raises(KeyboardInterrupt), WorkerPool(1, grace=None) as pool:
        pool.submit(sleep, str(path))
        later = [pool.submit(started, str(tmp_path / f"later{i}")) for i in range(4)]
        assert wait_until(path.exists)
        raise KeyboardInterrupt
    assert not path.exists()
    assert not list(tmp_path.iterdir())
    assert all(future.done() for future in later)


def half_a_result(path: str) -> None:
    """Write the beginning of a message to the pipe of the results, as a large result that is being sent."""
    frame = sys._getframe()
    while "result_queue" not in frame.f_locals:
        assert frame.f_back is not None
        frame = frame.f_back
    frame.f_locals["result_queue"]._writer._send(struct.pack("!i", 1000) + b"beginning")
    Path(path).write_text(str(os.getpid()))
    time.sleep(100)


def wait_for_file(path: str) -> None:
    wait_until(lambda: Path(path).exists() and bool(Path(path).read_text()))


@pytest.mark.parametrize(("death", "workers"), [("error in the block", 2), ("killed", 1), ("killed", 2)])
def test_a_worker_that_dies_while_it_sends_a_result_is_not_waited_for(death: str, workers: int, tmp_path: Path) -> None:
    expected: type[Exception] = PhylocliError if death == "killed" else ZeroDivisionError
    begun = tmp_path / "begun"
    with pytest.raises(expected), WorkerPool(workers, grace=0) as pool:
        future = pool.submit(half_a_result, str(begun))
        if workers == 2 and death == "killed":  # the other lives on, and holds the pipe open
            pool.submit(time.sleep, 100)
        wait_for_file(str(begun))
        if death == "killed":
            os.kill(int(begun.read_text()), signal.SIGKILL)
            future.result(timeout=60)
        raise ZeroDivisionError


def zeros(size: int) -> bytes:
    return bytes(size)


def test_large_results_of_several_workers_arrive_whole() -> None:
    sizes = [1 << 20, 3, (1 << 22) + 1, 0]
    with WorkerPool(2) as pool:
        futures = [pool.submit(zeros, size) for size in sizes]
        assert [len(future.result()) for future in futures] == sizes


def test_outputs_and_status_of_a_program_are_returned() -> None:
    done = run_program(["sh", "-c", "echo out; echo err >&2; cat; exit 3"])  # cat: standard input is empty
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)
    assert run_program(["sh", "-c", 'printf %s "$A$1"', "sh", "a b'\"$"], environment={"A": "é"}).stdout == "éa b'\"$"
    assert run_program([sys.executable, "-c", "print('x' * 10**6)"]).stdout == "x" * 10**6 + "\n"


def test_a_program_that_is_not_there_and_one_that_takes_too_long(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        run_program([str(tmp_path / "no-such-program")])
    with pytest.raises(TimeoutError, match=r"sleep was stopped after 0\.1 s"):
        run_program(["sleep", "100"], timeout=0.1)


def test_a_program_of_a_relative_path_is_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "where").write_text("#!/bin/sh\npwd\n")
    (tmp_path / "bin" / "where").chmod(0o755)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"bin{os.pathsep}{os.environ['PATH']}")
    assert run_program(["where"], folder=tmp_path / "other").stdout == f"{(tmp_path / 'other').resolve()}\n"


@pytest.mark.needs("linux")
def test_a_program_leaves_no_process_and_no_open_file(mark: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        run_program(["sh", "-c", "kill -SEGV $$"], environment={MARK: mark})
        assert not marked(mark)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_signal_while_workers_start_waits_until_they_have(monkeypatch: pytest.MonkeyPatch) -> None:
    from multiprocessing import popen_spawn_posix

    launch, done = popen_spawn_posix.Popen._launch, []

    def interrupted(self: object, process: object) -> None:
        signal.raise_signal(signal.SIGINT)
        launch(self, process)  # type: ignore[arg-type]
        done.append(process)

    monkeypatch.setattr(popen_spawn_posix.Popen, "_launch", interrupted)
    with pytest.raises(KeyboardInterrupt), WorkerPool(2) as pool:
        pool.submit(os.getpid)
    assert len(done) == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
