"""Settings of training runs that take seconds, by their dotted names; a test changes what it is about."""

from typing import Any

SMALL: dict[str, Any] = {
    "encoder.preset": "tiny",
    "batch.pairs": 12,
    "validation.every": 3,
    "validation.pairs": 16,
    "validation.fraction": 0.2,
    "checkpoints.every": 2,
    "precision": "fp32",
}
UNVALIDATED: dict[str, Any] = {"encoder.preset": "tiny", "batch.pairs": 12, "validation.fraction": 0.0, "precision": "fp32"}
