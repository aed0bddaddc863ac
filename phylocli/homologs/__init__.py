"""Homologs of sequences in a database: the family of each sequence, from a search."""

from phylocli.homologs.find import find_homologs as find_homologs

__all__ = ["find_homologs"]
