"""What an evaluation reads: embeddings, labels, sequences and trees, joined by id."""
