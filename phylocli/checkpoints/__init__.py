"""Checkpoints of pretrained protein language models in the format of transformers: folders, the hub, and their tokens."""
