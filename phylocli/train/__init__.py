"""Contrastive pretraining: data, loop, checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phylocli.train.trainer import Stopped as Stopped
    from phylocli.train.trainer import train_model as train_model

__all__ = ["Stopped", "train_model"]


def __getattr__(name: str) -> Any:
    # Imported on first use: processes that only prepare batches need no torch.
    if name in __all__:
        from phylocli.train import trainer

        return getattr(trainer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
