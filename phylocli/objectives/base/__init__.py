"""Base of the objectives: the batch, masks, requirements, memory banks, estimators."""
