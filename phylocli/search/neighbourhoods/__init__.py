"""What the nearest neighbours within a table tell of each embedding: its cluster, and its smoothed vector."""
