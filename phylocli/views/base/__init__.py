"""Base of the views: contracts, and a preview of their samples."""
