"""Training data: compiled families, sampling of pairs, batches."""
