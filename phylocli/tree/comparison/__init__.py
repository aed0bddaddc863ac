"""Comparing trees: their splits, and Robinson–Foulds and patristic distances between them."""
