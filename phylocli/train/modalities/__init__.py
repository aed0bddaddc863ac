"""Training on several modalities: tables of items, and the task."""
