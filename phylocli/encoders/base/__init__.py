"""What encoders share: batches of unequal lengths, averages, activation checkpointing."""
