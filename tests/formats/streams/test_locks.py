"""Locks of folders: one writer at a time, no stale locks, and removal of leftover temporary files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from phylocli.core.errors import PhylocliError
from phylocli.formats.streams import locks

HOLD = """
import sys, time
from phylocli.formats.streams import locks
with locks.exclusive(sys.argv[1], *sys.argv[2:]):
    print("held", flush=True)
    time.sleep(100)
"""


def hold(folder: Path, *name: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder), *name], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_second_process_is_refused_and_names_the_running_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with hold(folder) as process:
        try:
            with pytest.raises(locks.InUseError, match=f"{folder} is in use by process {process.pid}") as caught:
                locks.exclusive(folder).__enter__()
            assert caught.value.fix is not None
            (folder / ".metrics.parquet.part").touch()
            (folder / "checkpoints").mkdir()
            (folder / "checkpoints" / ".step-00000001.pt.part").touch()
            (folder / ".model.part").mkdir()
            (folder / ".model.part" / "config.json").touch()
            (folder / "metrics.parquet").touch()
            process.send_signal(signal.SIGKILL)
            process.wait()
            with locks.exclusive(folder):
                left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
                assert left == [".lock", "checkpoints", "metrics.parquet"]
                assert json.loads((folder / ".lock").read_text())["pid"] == os.getpid()
        finally:
            process.kill()
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "metrics.parquet"]


def test_a_folder_is_refused_within_one_process_too_and_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locks.exclusive(tmp_path / "run"):
        with pytest.raises(locks.InUseError), locks.exclusive(tmp_path / "run"):
            pass
        raise ZeroDivisionError
    with locks.exclusive(tmp_path / "run"):
        pass


def test_folders_in_which_nothing_was_written_are_removed_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locks.exclusive(tmp_path / "a" / "b"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    with locks.exclusive(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine").is_dir()


def test_locks_of_other_names_in_one_folder_are_held_at_once_and_leave_temporary_files_alone(tmp_path: Path) -> None:
    with hold(tmp_path, ".shard-1.lock") as process:
        (tmp_path / ".part-000000.parquet.part").touch()
        with locks.exclusive(tmp_path, ".shard-2.lock"):
            assert (tmp_path / ".part-000000.parquet.part").exists()
        process.kill()


def test_temporary_files_in_subfolders_with_their_own_lock_are_kept(tmp_path: Path) -> None:
    inner = tmp_path / "run"
    with locks.exclusive(inner):
        part = inner / ".metrics.parquet.part"
        part.touch()
        with locks.exclusive(tmp_path):
            assert part.exists()


def test_a_lock_that_another_machine_left_is_taken_over_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".lock").write_text('{"pid": 12, "host": "node07.example"}\n')
    with locks.exclusive(tmp_path):
        pass
    assert "process 12 on node07.example" in capsys.readouterr().err
    for text in ("", "{", "[]", "\0"):  # as a power cut may leave it
        (tmp_path / ".lock").write_text(text)
        with locks.exclusive(tmp_path):
            pass


def test_a_folder_that_cannot_be_made_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PhylocliError, match="cannot be written"):
        locks.exclusive(tmp_path / "file" / "run").__enter__()
    with pytest.raises(PhylocliError, match="cannot be written"):
        locks.waiting(tmp_path / "file" / "lock", "works").__enter__()


def test_waiting_processes_take_turns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = (
        "import sys, time\nfrom phylocli.formats.streams import locks\n"
        "with locks.waiting(sys.argv[1], 'counts'):\n"
        "    print('in', flush=True); time.sleep(0.5); open(sys.argv[2], 'w').close()"
    )
    command = [sys.executable, "-c", work, str(tmp_path / "lock"), str(tmp_path / "done")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with locks.waiting(tmp_path / "lock", "counts"):
            assert (tmp_path / "done").exists()
    assert "another process counts; waiting for it" in capsys.readouterr().err


def _train(families: Path, folder: Path) -> None:
    from phylocli.train import train_model

    train_model([families], folder, steps=1, device="cpu", settings={"encoder.preset": "tiny"}, resume=True)


def _run(families: Path, folder: Path) -> None:
    from phylocli.config.run import RunConfig
    from phylocli.workflow.run import run_chain

    run_chain(RunConfig(families=(str(families),)), folder)


def _infomin(families: Path, folder: Path) -> None:
    from phylocli.infomin import analyse

    analyse(families, folder, steps=1)


def _sweep(families: Path, folder: Path) -> None:
    from phylocli.train.sweep import sweep

    sweep([families], folder, steps=1)


def _embed(families: Path, folder: Path) -> None:
    from phylocli.embed import embed_file
    from phylocli.models.model import Model

    embed_file(families, folder, model=Model.create("convolutional", preset="tiny"), shard="2/3")


@pytest.mark.parametrize("work", [_train, _run, _infomin, _sweep, _embed])
def test_every_command_that_works_in_a_folder_is_refused_while_another_does(
    work: Callable[[Path, Path], None], examples: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    with locks.exclusive(folder, ".shard-2-of-3.lock" if work is _embed else locks.NAME):
        held = list(folder.iterdir())
        with pytest.raises(locks.InUseError, match=f"{folder} is in use by process {os.getpid()}"):
            work(examples / "families.sto", folder)
        assert list(folder.iterdir()) == held
