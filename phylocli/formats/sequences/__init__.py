"""Formats of sequences: FASTA, PIR, A2M, A3M, FASTQ and GenBank."""
