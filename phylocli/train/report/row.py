"""The row of metrics of a step."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
"""Values by column: `step`, `loss`, the objective's other terms, …; None if not measured or not available yet."""
