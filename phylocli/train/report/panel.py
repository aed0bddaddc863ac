"""The live panel of a run in the terminal: loss, information in nats and its ceiling, speed, time left, last validation."""

from __future__ import annotations

import itertools
import math
import time
from typing import TYPE_CHECKING

from phylocli.core import console
from phylocli.train.report.row import Row

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_BLOCKS = "▁▂▃▄▅▆▇█"
_TREND = 32
_SMOOTH = 0.1  # weight of the newest step in averages


def trend(values: list[float], width: int = _TREND) -> str:
    """Return a sparkline of at most `width` characters; more values are averaged over intervals."""
    values = [v for v in values if math.isfinite(v)]
    if len(values) < 2:
        return ""
    if len(values) > width:
        edges = [round(i * len(values) / width) for i in range(width + 1)]
        values = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(values), max(values)
    step = (high - low) / (len(_BLOCKS) - 1) or 1.0
    return "".join(_BLOCKS[round((v - low) / step)] for v in values)


def _bar(fraction: float, width: int) -> str:
    full = round(min(max(fraction, 0.0), 1.0) * width)
    return "█" * full + "░" * (width - full)


class Panel:
    """The terminal display of a run, refreshed a few times per second.

    Args:
        steps: number of steps of the run.
        done: number of steps completed before a resume.
    """

    def __init__(self, steps: int, done: int = 0) -> None:
        self.steps, self.first, self.step = steps, done, done
        self.began = time.monotonic()
        self.losses: list[float] = []
        self.row: Row = {}
        self.checked: Row = {}
        self._averages: dict[str, float] = {}

    def update(self, row: Row) -> None:
        """Show a step; values that the device has not computed yet may be missing from its row."""
        self.step = row["step"]
        if row.get("val_bound") is not None:
            self.checked = row
        if row.get("loss") is None:
            return
        self.row = row
        self.losses.append(row["loss"])
        for name in ("residues_per_second", "mfu", "seconds", "waited"):
            if row.get(name) is not None:
                before = self._averages.get(name, row[name])
                self._averages[name] = before + _SMOOTH * (row[name] - before)

    @property
    def left(self) -> float:
        """Estimated time for the remaining steps, in seconds; infinite before the first step."""
        done = self.step - self.first
        return (time.monotonic() - self.began) / done * (self.steps - self.step) if done else math.inf

    def lines(self) -> list[tuple[str, str]]:
        """Return the lines of the panel as pairs of label and text."""
        done = self.step / max(self.steps, 1)
        left = f"{console.duration(self.left)} left" if math.isfinite(self.left) else "starting"
        found = [("step", f"{_bar(done, _TREND)} {self.step}/{self.steps} · {left}")]
        if self.row:
            found.append(("loss", f"{trend(self.losses)} {self.row['loss']:.3f}".strip()))
        bound, ceiling = self.row.get("bound"), self.row.get("ceiling")
        if bound is not None and ceiling:
            found.append(("bound", f"{_bar(bound / ceiling, _TREND)} {bound:.2f} of {ceiling:.2f} nats"))
        elif bound is not None:
            found.append(("bound", f"{bound:.2f} nats"))
        words = {"residues_per_second": "{:,.0f} residues/s", "mfu": "MFU {:.0%}"}
        speed = [text.format(self._averages[name]) for name, text in words.items() if name in self._averages]
        if "waited" in self._averages:
            speed.append(f"{self._averages['waited'] / max(self._averages['seconds'], 1e-9):.0%} waiting for data")
        if speed:
            found.append(("speed", " · ".join(speed)))
        if self.checked:
            found.append(("held out", f"step {self.checked['step']}: {validation(self.checked)}"))
        return found

    def __rich__(self) -> RenderableType:
        from rich.panel import Panel as Frame
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for label, text in self.lines():
            table.add_row(Text(label, style="dim"), Text(text, overflow="ellipsis", no_wrap=True))
        return Frame(table, title="training", title_align="left", expand=False, border_style="dim")


def validation(row: Row) -> str:
    """Return a description of the metrics on held-out members."""
    return (
        f"{row['val_bound']:.2f} of {row['val_ceiling']:.2f} nats, accuracy {row['val_accuracy']:.2f}, "
        f"retrieval {row['val_retrieval']:.2f}, rank {row['val_rank']:.0f}"
    )


def live(panel: Panel) -> Live:
    """Return a context manager that displays a panel below all messages and removes it at the end of the block."""
    from rich.live import Live

    return Live(panel, console=console.stderr(), refresh_per_second=4, transient=True, redirect_stdout=False)
