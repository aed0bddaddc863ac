"""After the last step: what is fitted to the trained model."""
