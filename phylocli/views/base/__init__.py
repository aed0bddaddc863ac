"""What views share: contracts, and a preview of what they draw."""
