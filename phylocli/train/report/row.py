"""The row of metrics of a step."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
"""Numbers by column: `step`, `loss`, the objective's other terms, …; None where one is not measured, or not yet."""
