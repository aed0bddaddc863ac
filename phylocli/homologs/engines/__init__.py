"""Programs that search a database for homologs."""
