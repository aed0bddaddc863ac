"""Prefilter for candidate pairs of homologous sequences by spaced seeds."""
