"""The check that a Dask worker passes before it gets work. Sent to workers by value: they may not have phylocli at all.

Before the version has been checked, it uses only the standard library and distributed.
"""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

from distributed import WorkerPlugin

from phylocli.executors.work import TOPIC  # a word, which is sent along


class Admission(WorkerPlugin):
    """Gives an accepted worker the resource that pieces require, and reports a refused one to the client.

    Args:
        name: of this work, and of the resource.
        version: of phylocli in the client.
        work: the pickled function and its preparation, unpickled in workers with that version only.
    """

    def __init__(self, name: str, version: str, work: bytes) -> None:
        self.name = name
        self._version, self._work = version, work

    async def setup(self, worker: Any) -> None:
        """Begin the check; a worker joins without waiting for it, and others do not wait for this one."""
        self._checking = asyncio.ensure_future(self._check(worker))

    async def _check(self, worker: Any) -> None:
        loop = asyncio.get_running_loop()
        try:
            problem = await loop.run_in_executor(None, self._load)
        except Exception as error:  # noqa: BLE001  whatever it is, the client has to know
            problem = f"it cannot load the work: {type(error).__name__}: {error}".split("\n", 1)[0]
        if problem:
            worker.log_event(TOPIC, {"name": self.name, "refused": worker.address, "why": problem})
            return
        await worker.set_resources(**{self.name: 1})
        worker.log_event(TOPIC, {"name": self.name, "accepted": worker.address})

    async def teardown(self, worker: Any) -> None:
        """Forget the work."""
        try:
            from phylocli.executors.dask_worker import forget
        except ImportError:
            return
        forget(self.name)
        await worker.set_resources(**{self.name: 0})

    def _load(self) -> str:
        """Load the work; return why it is not possible."""
        try:
            import phylocli
        except ImportError:
            return f"it has no phylocli; install version {self._version} there"
        if phylocli.__version__ != self._version:
            return f"it has phylocli {phylocli.__version__}, and this is {self._version}; install the same version there"
        from phylocli.core.errors import MissingDependencyError
        from phylocli.executors.dask_worker import remember

        work = pickle.loads(self._work)  # noqa: S301  a worker trusts the clients of its scheduler
        if work.prepare is not None:
            try:
                work.prepare()
            except MissingDependencyError as error:
                return f"{error.what}; {error.fix}" if error.fix else error.what
        remember(self.name, work.function)
        return ""
