"""One typed configuration a stage: `phylocli/config/pairs.py` defines every option of `phylocli pairs`, once.

The options of a command, the keys of `phylocli.toml` and of a `run` file, environment variables, range checks, provenance
records and the reference page are derived from the classes of this package. Nothing here imports a heavy library.
"""
