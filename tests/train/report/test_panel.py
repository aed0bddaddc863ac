"""The live panel: content, and display only if stderr is a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from phylocli.core import console
from phylocli.formats import write_families
from phylocli.formats.family import Family
from phylocli.train.report.metrics import Reporter
from phylocli.train.report.panel import Panel, trend


def row(step: int, **more: Any) -> dict[str, Any]:
    found = {"step": step, "loss": 5.0 / step, "residues": 100, "bound": 2.0, "ceiling": 4.0, "residues_per_second": 1234.0}
    return {**found, **more}


CHECKED = {"val_bound": 3.1, "val_ceiling": 4.85, "val_accuracy": 0.5, "val_retrieval": 0.9, "val_rank": 34.2}


class Terminal:
    """The other end of a pseudo-terminal: its file, and what has been written to it."""

    def __init__(self, file: Any) -> None:
        self.file, self.text = file, ""


@contextmanager
def terminal() -> Iterator[Terminal]:
    master, slave = pty.openpty()
    found = Terminal(os.fdopen(slave, "w", encoding="utf-8"))
    chunks: list[bytes] = []

    def read() -> None:
        try:
            while chunk := os.read(master, 65536):
                chunks.append(chunk)
        except OSError:  # Linux: the last writer closed it
            pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield found
    finally:
        found.file.close()
        reader.join(30)
        os.close(master)
        found.text = b"".join(chunks).decode()


def test_the_panel_says_where_the_run_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    panel = Panel(steps=100, done=40)
    assert dict(panel.lines()) == {"step": f"{'█' * 13}{'░' * 19} 40/100 · starting"}
    for step in range(41, 61):
        clock[0] += 10.0
        panel.update(row(step, mfu=0.4, seconds=2.0, waited=0.5, **(CHECKED if step == 50 else {})))
    panel.update(row(61, loss=None))  # not finished on the device
    said = dict(panel.lines())
    assert said["step"].endswith("61/100 · 6 min left")  # 39 steps at 200 / 21 seconds
    assert said["loss"].endswith(f"{5.0 / 60:.3f}") and said["loss"].startswith("█")
    assert said["bound"] == f"{'█' * 16}{'░' * 16} 2.00 of 4.00 nats"
    assert said["speed"] == "1,234 residues/s · MFU 40% · 25% waiting for data"
    assert said["held out"] == "step 50: 3.10 of 4.85 nats, accuracy 0.50, retrieval 0.90, rank 34"


def test_trends() -> None:
    assert trend([1.0]) == "" and trend([2.0, 2.0]) == "▁▁"
    assert trend([0.0, 1.0, float("nan"), 7.0]) == "▁▂█"
    assert trend([float(i) for i in range(800)], width=8) == "▁▂▃▄▅▆▇█"


@pytest.mark.parametrize(
    ("level", "term", "drawn", "said"),
    [
        (console.NORMAL, "xterm", True, True),
        (console.QUIET, "xterm", False, False),
        (console.NORMAL, "dumb", False, True),
    ],
    ids=["terminal", "quiet", "dumb"],
)
def test_a_terminal_gets_the_panel_unless_it_is_dumb_or_to_be_quiet(
    level: int, term: str, drawn: bool, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    console.show_messages(level)
    with terminal() as shown, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", shown.file)
        with Reporter(3) as report:
            for step in (1, 2, 3):
                report.step(row(step, **(CHECKED if step == 2 else {})), important=step > 1)
    assert ("╭" in shown.text) == drawn
    assert ("held out" in shown.text) == said
    assert ("step 2/3 · loss 2.500" in shown.text) == said


def test_a_pipe_gets_lines_and_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter(2) as report:
        report.step(row(1), important=False)
        report.step(row(2, **CHECKED), important=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("step 2/2 · loss 2.500 · 2.00 of 4.00 nats · held out: 3.10 of 4.85 nats")
    assert "\x1b" not in err and err.count("\n") == 1


def test_the_command_draws_on_the_terminal_and_leaves_the_pipe_alone(
    simulate: Callable[..., Family], tmp_path: Path
) -> None:
    write_families([simulate(f"PF{i:05d}", 12) for i in range(3)], tmp_path / "families.sto")
    words = ["--steps", "4", "--device", "cpu", "--set", "encoder.preset=tiny", "--set", "batch.pairs=8"]
    with terminal() as shown:
        done = subprocess.run(
            [sys.executable, "-m", "phylocli", "train", "families.sto", "-o", "run", *words],
            cwd=tmp_path,
            env={**os.environ, "TERM": "xterm", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=shown.file,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, shown.text
    assert done.stdout == b""
    for word in ("╭", "training", "4/4", "nats", "residues/s", "MFU"):
        assert word in shown.text
    assert "the model is run/model" in shown.text
