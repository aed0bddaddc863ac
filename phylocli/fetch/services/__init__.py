"""The public services: their addresses, and what InterPro, UniProt and Pfam are asked for."""
