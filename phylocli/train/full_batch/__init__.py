"""Tasks without pairs of sequences, whose data are in memory: latent diffusion and graph models."""
