"""Base of the decoders: the steps of a likelihood, lengths, sampling, continuous inputs."""
