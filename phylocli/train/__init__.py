"""Contrastive pretraining: data, loop, checkpoints."""

from __future__ import annotations

from phylocli.train.loop import Stopped, train_model

__all__ = ["Stopped", "train_model"]
