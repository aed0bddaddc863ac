"""Sequences from latent vectors, by a model with a decoder: reconstructed, interpolated, generated."""

from __future__ import annotations

from phylocli.generate.interpolating import Interpolated, interpolate, interpolate_file
from phylocli.generate.reconstructing import Reconstruction, reconstruct, reconstruct_file
from phylocli.generate.sampling import generate, generate_file

__all__ = [
    "Interpolated",
    "Reconstruction",
    "generate",
    "generate_file",
    "interpolate",
    "interpolate_file",
    "reconstruct",
    "reconstruct_file",
]
