"""Contrastive pretraining: data, loop, checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phylocli.train.loop import Stopped as Stopped
    from phylocli.train.loop import train_model as train_model

__all__ = ["Stopped", "train_model"]


def __getattr__(name: str) -> Any:
    # Not before it is asked for: processes that only make batches need no torch.
    if name in __all__:
        from phylocli.train import loop

        return getattr(loop, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
