"""Base classes of critics."""
