"""Training data: families compiled to arrays, pairs drawn from them, batches."""
