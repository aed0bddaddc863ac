"""Clients of InterPro, UniProt and the Pfam releases, and the addresses of these services."""
