"""Predictions for residues from single sequences: 3Di letters, secondary structure, family profiles."""

from __future__ import annotations

from phylocli.predict.pipeline import Prediction, predict_file, predict_residues

__all__ = ["Prediction", "predict_file", "predict_residues"]
