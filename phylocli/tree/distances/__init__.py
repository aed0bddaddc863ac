"""Evolutionary distances between aligned sequences: distance matrix, overlap, Γ shape."""
