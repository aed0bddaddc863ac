"""Predictions for residues, from sequences or families: 3Di letters, secondary structure, profiles."""

from __future__ import annotations

from phylocli.predict.columns import column_features, log_probabilities
from phylocli.predict.pipeline import Prediction, predict_families, predict_file, predict_residues

__all__ = ["Prediction", "column_features", "log_probabilities", "predict_families", "predict_file", "predict_residues"]
