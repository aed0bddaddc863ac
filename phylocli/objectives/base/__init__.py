"""What objectives share: the batch, masks, requirements, memory banks, estimators."""
