"""Many independent pieces of work: in this process, in processes of this machine, or on a Dask cluster.

The results, and their order, do not depend on the engine. A piece whose worker dies is run elsewhere; one that ends three
workers is a failure, and the others continue.
"""

from __future__ import annotations

from phylocli.executors.journal import Journal
from phylocli.executors.pieces import run_all, run_pieces
from phylocli.executors.summary import summarise
from phylocli.executors.work import Work

__all__ = ["Journal", "Work", "run_all", "run_pieces", "summarise"]
