"""The stages together: families resolved on the store, and the whole chain as one resumable run."""

from __future__ import annotations

from phylocli.workflow.run import run_chain

__all__ = ["run_chain"]
