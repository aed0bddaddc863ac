"""Sequence formats: FASTA, PIR, A2M, A3M, FASTQ, flat files, alignments and structures."""
