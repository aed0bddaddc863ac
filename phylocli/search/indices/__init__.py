"""Indices of a table of embeddings, in files beside it."""
