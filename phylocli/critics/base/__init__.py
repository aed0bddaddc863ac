"""What critics share."""
