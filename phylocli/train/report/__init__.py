"""Reporting of a run: metrics, progress, throughput, experiment trackers."""
