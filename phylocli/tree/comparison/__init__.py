"""Comparison of trees: splits, Robinson–Foulds and quartet distances, correlation of patristic distances."""
