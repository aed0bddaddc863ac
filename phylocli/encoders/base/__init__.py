"""Base of the encoders: batches of unequal lengths, averages, activation checkpointing."""
