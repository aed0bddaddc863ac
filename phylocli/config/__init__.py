"""One typed configuration a stage: `phylocli/config/pairs.py` defines every option of `phylocli pairs`, once.

From a class of this package derive the options of the command, the keys of `phylocli.toml` and of a `run` file, the
variables of the environment, range checks, provenance records and the reference page. Nothing here imports a heavy library.
"""
