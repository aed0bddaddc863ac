"""Evolutionary distances of aligned rows: models, overlap, Γ shape, and the matrix."""
