"""The stages together: families resolved on the store, and the whole chain as one resumable run."""

from __future__ import annotations

from phylocli.workflow.run import plan_run, run_chain

__all__ = ["plan_run", "run_chain"]
