"""Which sequences may be homologous at all, found by spaced words before any profile is built."""
