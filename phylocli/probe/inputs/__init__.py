"""Inputs of an evaluation: embeddings, labels, sequences and trees, joined by id."""
