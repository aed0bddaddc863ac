"""Clients of the public services InterPro, UniProt and Pfam, and their addresses."""
