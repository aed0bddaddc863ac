"""Pieces on a Dask cluster: local workers, a running scheduler, or jobs of a batch system (dask-jobqueue).

Dask schedules, moves pieces to workers that join or are idle, and repeats those of lost workers. This module connects to it,
checks that workers have the same phylocli, and counts the deaths that a piece has caused.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import pickle
import random
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from phylocli.config.parallel import ClusterConfig
from phylocli.core.errors import MissingDependencyError, PhylocliError, ServiceError
from phylocli.core.processes import kill_children
from phylocli.executors.work import STRIKES, TOPIC, Died, Done, Piece, Work

if TYPE_CHECKING:
    from distributed import Client, Nanny

logger = logging.getLogger(__name__)

AHEAD = 2
"""Number of bundles under way for each worker, so that the next one is there when one has ended."""

COMPARED = 32
"""Maximum number of workers among which the scheduler chooses one for a bundle. It compares all that may get it, which takes
some microseconds for each: with a thousand, milliseconds for every bundle. Any of so many is nearly as good as the best."""

REFRESH = 1.0
"""Seconds between two looks at the workers; more if a look takes long, as with a thousand of them."""

REFRESH_MOST = 20.0
"""Longest time in seconds between two looks."""

STRANDED = 5.0
"""Seconds after which a bundle that no worker has is submitted again, if workers are idle and none has started anything for
as long: a busy scheduler also leaves workers idle. Dask does not look again for a worker for what was submitted, or given
back by a worker that left, while none was accepted."""

RESTORED_MOST = 60.0
"""Longest time in seconds between two attempts to start lost workers of this machine again. The first comes at once, each
further one after twice the time, until all are present."""

ANSWER = 30.0
"""Seconds within which a scheduler has to answer."""

PRESENT = 300.0
"""Seconds within which a scheduler in this process has to answer, however busy the machine."""

WITHOUT_WORKERS = 300.0
"""Seconds without any worker after which the workers of this machine are given up; those of other machines may wait in a
queue, for `start_timeout`."""

_WORKER_SETTINGS: dict[str, object] = {
    "distributed.worker.daemon": False,  # so that pieces may start processes
    # With Dask's own intervals of 10 and 20 ms, the event loop of a worker is rarely idle beside a piece.
    "distributed.worker.profile.interval": "100ms",
    "distributed.admin.tick.interval": "500ms",
}

_SETTINGS: dict[str, object] = {
    **_WORKER_SETTINGS,
    "distributed.scheduler.allowed-failures": 0,  # a death is reported at once; `pieces` counts them
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.admin.low-level-log-length": 0,  # else the scheduler keeps megabytes of messages for each worker
    "distributed.deploy.lost-worker-timeout": "120 s",  # a worker process of this machine is started again meanwhile
    "distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical",
    "logging": {"distributed": "critical", "distributed.client": "critical", "asyncio": "critical"},
}


@dataclass
class _Bundle:
    """A bundle under way.

    Attributes:
        arguments: pickled, of its pieces.
        seen: when it was submitted, or last known to be with a worker.
        future: of its present attempt, once it has been submitted.
        starts: number of workers that have started this attempt.
        worker: address of the last of them.
    """

    arguments: list[bytes]
    seen: float
    future: Any = None
    starts: int = 0
    worker: str = ""


@dataclass
class _Connection:
    """A client, the cluster if this process has started it, and the calls that use them, which may take turns."""

    client: Client
    cluster: Any
    own: bool
    engines: dict[str, DaskCluster] = field(default_factory=dict)
    heard: threading.Event = field(default_factory=threading.Event)
    pause: float = REFRESH
    restored: float = 0.0

    def restore(self, count: int) -> None:
        """Start the workers of this machine again that Dask has given up, such as one that was killed while it started.

        Dask drops a nanny whose worker is not connected `lost-worker-timeout` after an earlier worker was lost, even if it
        is starting another one at that moment.
        """
        lost = [name for name, nanny in self.cluster.workers.items() if nanny.status.name in ("closed", "failed")]
        present = len(self.cluster.workers) - len(lost) >= count and len(self.cluster.worker_spec) >= count
        if present or time.monotonic() < self.restored + self.pause:
            return
        self.pause, self.restored = min(2 * self.pause, RESTORED_MOST), time.monotonic()
        for name in lost:
            del self.cluster.workers[name]
        self.cluster.scale(count)

    def subscribe(self) -> None:
        """Receive the events of workers from here on."""
        self.client.subscribe_topic(TOPIC, self._note)
        end = time.monotonic() + ANSWER
        while not self.heard.wait(0.05):  # the scheduler may answer other requests before it knows of the subscription
            if self.client.status != "running" or time.monotonic() > end:
                raise _lost()
            self.client.log_event(TOPIC, {"name": ""})

    def _note(self, event: tuple[float, dict[str, Any]]) -> None:
        self.heard.set()
        _, message = event
        engine = self.engines.get(message["name"])
        if engine is not None:
            engine.note(message)


_connections: dict[ClusterConfig, _Connection] = {}


def close_clusters() -> None:
    """End the clusters that this process has started, and their workers."""
    while _connections:
        _, connection = _connections.popitem()
        _close(connection.client, connection.cluster)


def _close(client: Client | None, cluster: Any) -> None:
    """End a connection, and a cluster of this process with its workers, in limited time."""
    if client is not None:
        with contextlib.suppress(Exception):  # the scheduler may be gone
            client.close(timeout=5)
    if cluster is None:
        return
    address = cluster.scheduler_address
    with contextlib.suppress(Exception):
        cluster.close(timeout=10)
    nannies = _nannies(address)
    processes = {nanny.pid for nanny in nannies if nanny.pid}
    for nanny in nannies:
        nanny.close_gracefully(reason="the cluster has ended")  # or it starts a killed worker again
    kill_children(processes)


def _nannies(address: str) -> list[Nanny]:
    """Return the parents of the workers that this process has started for a scheduler, whether its cluster still knows them
    or not."""
    from distributed import Nanny

    return [nanny for nanny in [*Nanny._instances] if nanny.scheduler_addr == address]


def _patience(config: ClusterConfig) -> float:
    """Return the seconds to wait for a worker, if there is none."""
    given = config.type != "local" or "start_timeout" in config.model_fields_set
    return config.start_timeout if given else WITHOUT_WORKERS


def _lost() -> ServiceError:
    return ServiceError(
        "the connection to the Dask scheduler was lost",
        fix="run the same command again; it continues with the results on disk",
    )


atexit.register(close_clusters)


class DaskCluster:
    """A cluster on which the pieces of one call run; it stays open for later calls of this process.

    Args:
        work: the function.
        config: the cluster.

    Raises:
        MissingDependencyError: Dask is not installed.
        ServiceError: the scheduler does not answer.
    """

    def __init__(self, work: Work[Any, Any], config: ClusterConfig) -> None:
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError("--cluster needs Dask", fix="pip install 'phylocli[dask]'") from error
        self._config = config
        self._name = f"phylocli-{uuid.uuid4().hex[:12]}"
        self._work = pickle.dumps(work, protocol=5)
        self._bundles: dict[int, _Bundle] = {}
        self._tickets: dict[str, int] = {}
        self._attempts = 0
        self._refused: dict[str, str] = {}
        self._accepted: set[str] = set()
        self._newly_accepted: set[str] = set()  # since the last look began
        self._provided = 0  # number of workers for which bundles have been asked for
        self._looked = 0.0
        self._refresh = REFRESH
        self._last_worker = self._last_start = time.monotonic()
        self._dashboard = ""
        self._lock = threading.Lock()
        self._rng = random.Random(0)

    def __enter__(self) -> DaskCluster:
        from distributed import as_completed

        from phylocli import __version__
        from phylocli.executors import admission

        self._connection = _connected(self._config)
        client = self._client = self._connection.client
        self._dashboard = client.dashboard_link or ""
        self._completed = as_completed([], loop=client.loop, with_results=True, raise_errors=False)
        self._connection.engines[self._name] = self
        try:
            self._register(admission.Admission(self._name, __version__, self._work))
            self._wait_for_worker()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def _register(self, plugin: Any) -> None:
        """Send the check of workers to all workers, also later ones.

        Raises:
            ServiceError: the scheduler was lost.
        """
        import cloudpickle

        from phylocli.executors import admission

        cloudpickle.register_pickle_by_value(admission)
        try:
            for _ in range(2):  # an error of the first attempt may be that the scheduler was not reached
                try:
                    self._client.register_plugin(plugin, name=self._name)
                    return
                except OSError as error:
                    if self._client.status != "running":
                        raise _lost() from error
            # A worker is lost and still known. The others have the check, and new ones get it.
        finally:
            cloudpickle.unregister_pickle_by_value(admission)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.engines.pop(self._name, None)
        unexpected = error is not None and not isinstance(error, GeneratorExit | PhylocliError)
        if unexpected or self._client.status != "running":  # ^C, or the scheduler is gone, and would be waited for
            close_clusters()
            return
        with contextlib.suppress(Exception):  # the scheduler may go just now
            self._client.cancel(list(self._completed.futures), force=True)
            self._completed.clear()
            self._client.unregister_worker_plugin(self._name)

    @property
    def workers(self) -> int:
        """Number of accepted workers, at the last look."""
        return len(self._accepted)

    @property
    def capacity(self) -> int:
        """Some bundles for each worker; enough for those that an adaptive cluster may get."""
        if time.monotonic() - self._looked > self._refresh:
            self._look()
        adapted = self._config.adapt[1] if self._config.adapt else 0
        self._provided = self.workers
        return AHEAD * max(1, self._provided, adapted)

    @property
    def dashboard(self) -> str:
        """The link to Dask's dashboard; nothing before the cluster is entered."""
        return self._dashboard

    def start(self, ticket: int, bundle: list[Piece]) -> None:
        """Submit a bundle to the scheduler."""
        self._submit(ticket, [piece.argument for piece in bundle])

    def _submit(self, ticket: int, arguments: list[bytes]) -> None:
        from phylocli.executors.dask_worker import perform_bundle

        self._attempts += 1
        key = f"{self._name}-{self._attempts}"
        options: dict[str, Any] = {"key": key, "resources": {self._name: 1}, "pure": False}
        with self._lock:
            if len(self._accepted) > COMPARED:
                options["workers"] = self._rng.sample(tuple(self._accepted), COMPARED)
            # Before it is submitted: a worker may start it, and say so, before the client has returned.
            bundle = self._bundles[ticket] = _Bundle(arguments, time.monotonic())
        bundle.future = self._client.submit(perform_bundle, self._name, ticket, arguments, **options)
        self._tickets[key] = ticket
        self._completed.add(bundle.future)

    def finished(self, *, wait: bool = True) -> list[tuple[int, Done | Died]]:
        """Return the bundles that have ended; none if workers have come, which need bundles of their own."""
        found: list[tuple[int, Done | Died]] = []
        while True:
            for future, outcome in self._completed.next_batch(block=False):
                ticket = self._tickets.pop(future.key, None)
                if ticket is not None:  # not one that was submitted again
                    found.append((ticket, self._outcome(ticket, future, outcome)))
                    with self._lock:
                        del self._bundles[ticket]
            if found or not wait or self.workers > self._provided:
                return found
            with self._completed.thread_condition:
                if not self._completed.has_ready():
                    self._completed.thread_condition.wait(0.1)
                    if self._client.status != "running" and not self._completed.has_ready():
                        raise _lost()
            if time.monotonic() - self._looked > self._refresh:
                self._look()
                self._submit_stranded()
                self._expect_workers()

    def _outcome(self, ticket: int, future: Any, outcome: Any) -> Done | Died:
        from distributed import KilledWorker

        if future.status == "finished":
            done, messages = outcome
            for name, level, text in messages:
                logging.getLogger(name).log(level, text)
            return done
        error = outcome[1] if isinstance(outcome, tuple) else outcome
        if isinstance(error, KilledWorker):
            starts = self._bundles[ticket].starts
            # A scheduler of someone else has its own number of repetitions, after which no more are worth while.
            return Died(0 if starts == 0 else 1 if self._connection.own else max(starts, STRIKES))
        if future.status == "error":
            raise error
        raise _lost()

    def _submit_stranded(self) -> None:
        """Submit again what waits although workers are idle."""
        now = time.monotonic()
        with self._lock:
            waiting = {ticket: bundle for ticket, bundle in self._bundles.items() if bundle.worker not in self._accepted}
            for bundle in self._bundles.values():
                if bundle.worker in self._accepted:
                    bundle.seen = now
            idle = len(self._accepted) - (len(self._bundles) - len(waiting))
            quiet = now - self._last_start
        if idle <= 0 or quiet <= STRANDED:
            return
        stranded = [(ticket, bundle) for ticket, bundle in waiting.items() if now - bundle.seen > STRANDED][:idle]
        if stranded:
            self._client.cancel([bundle.future for _, bundle in stranded])
        for ticket, bundle in stranded:
            self._tickets.pop(bundle.future.key, None)
            self._submit(ticket, bundle.arguments)

    def _expect_workers(self) -> None:
        """Raise an error if all workers have been lost, and no others come."""
        if self._accepted:
            self._last_worker = time.monotonic()
            return
        limit = _patience(self._config)
        if time.monotonic() - self._last_worker > limit:
            raise ServiceError(
                f"all workers of the cluster were lost, and none has come for {limit:g} s",
                why=next(iter(self._refused.values()), None),
                fix="see why they ended; the same command continues with the results on disk",
            )

    def note(self, message: dict[str, Any]) -> None:
        """Take an event of a worker; called by the client's own thread."""
        if "started" in message:
            with self._lock:
                self._last_start = time.monotonic()
                bundle = self._bundles.get(message["started"])
                if bundle is not None:
                    bundle.starts += 1
                    bundle.worker = message["worker"]
            return
        if "accepted" in message:  # without asking for the list of all, of which there may be a thousand
            with self._lock:
                self._accepted.add(message["accepted"])
                self._newly_accepted.add(message["accepted"])
        elif message["refused"] not in self._refused:
            self._refused[message["refused"]] = message["why"]
            logger.warning(f"the worker {message['refused']} is not used: {message['why']}")

    def _look(self) -> None:
        begun = self._looked = time.monotonic()
        with self._lock:
            self._newly_accepted.clear()
        try:
            known = self._client.scheduler_info(n_workers=-1)["workers"]
        except OSError as error:  # which asks the scheduler
            raise _lost() from error
        loop = self._client.loop
        assert loop is not None
        accepted = {address for address, found in known.items() if found.get("resources", {}).get(self._name)}
        with self._lock:  # the list may be older than an event that has come meanwhile
            self._accepted = accepted | self._newly_accepted
        self._refresh = min(max(REFRESH, 20 * (time.monotonic() - begun)), REFRESH_MOST)
        expected = self._config.expected_workers
        if self._config.type == "local":
            if len(known) < expected:
                loop.add_callback(self._connection.restore, expected)
            else:
                self._connection.pause = REFRESH

    def _wait_for_worker(self) -> None:
        """Wait for the first worker that is accepted.

        Raises:
            ServiceError: none came, or all were refused.
        """
        limit = _patience(self._config)
        end = time.monotonic() + limit
        told = time.monotonic() + 10
        while True:
            if self._client.status != "running":
                raise _lost()
            with contextlib.suppress(OSError):  # lost, or slower than that
                self._client.sync(self._client._update_scheduler_info, n_workers=-1, callback_timeout=ANSWER)
            self._look()
            if self._accepted:
                self._last_worker = time.monotonic()
                return
            present = self._client.scheduler_info(n_workers=-1)["workers"]
            if present and all(address in self._refused for address in present):
                why = next(iter(self._refused.values()))
                raise ServiceError("no worker of the cluster can be used", why=why, fix="start workers that can")
            if time.monotonic() > end:
                raise ServiceError(
                    f"no worker came within {limit:g} s",
                    why=next(iter(self._refused.values()), None),
                    fix="look at the queue, or raise start_timeout in the file of the cluster",
                )
            if told and time.monotonic() > told:
                logger.info("waiting for the first worker of the cluster")
                told = 0.0
            time.sleep(0.1)


def _connected(config: ClusterConfig) -> _Connection:
    """Return the connection to a cluster, which is started at its first use."""
    known = _connections.get(config)
    if known is not None and known.client.status == "running":
        return known
    import dask
    from distributed import Client

    dask.config.set(_SETTINGS)
    for name in ("distributed", "asyncio", "tornado"):  # what matters is reported by events and errors
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if config.type == "address":
        try:
            client = Client(config.address, timeout=30, set_as_default=False)
        except (OSError, TimeoutError) as error:
            raise ServiceError(
                f"the Dask scheduler {config.address} does not answer",
                why=str(error).split("\n", 1)[0] or None,
                fix="start it with 'dask scheduler', or check the address",
            ) from error
        found = _Connection(client, None, own=False)
    else:
        cluster = _local(config) if config.type == "local" else _batch(config)
        try:
            found = _Connection(Client(cluster, timeout=PRESENT, set_as_default=False), cluster, own=True)
            if config.type == "local":
                cluster.scale(config.expected_workers)
        except (OSError, TimeoutError) as error:
            _close(None, cluster)
            raise ServiceError(
                f"the Dask scheduler of this command did not answer within {PRESENT:g} s",
                why=str(error).split("\n", 1)[0] or None,
                fix="the machine may be too busy; run the same command again",
            ) from error
        except BaseException:
            _close(None, cluster)
            raise
    _connections[config] = found
    found.subscribe()
    link = found.client.dashboard_link
    logger.info(f"cluster: {found.client.scheduler_info()['address']}" + (f", dashboard {link}" if link else ""))
    return found


def _local(config: ClusterConfig) -> Any:
    """Return a cluster of this machine, without workers: while they start, a client might wait too long for an answer."""
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=0,
        threads_per_worker=1,
        processes=True,
        memory_limit=config.memory if "memory" in config.model_fields_set else "auto",
        dashboard_address="127.0.0.1:0",
        local_directory=config.local_directory or tempfile.gettempdir(),
        host="127.0.0.1",
    )


def _batch(config: ClusterConfig) -> Any:
    cluster = _jobs(config)
    count = config.workers or config.processes
    least, most = config.adapt or (count, count)
    cluster.adapt(minimum=least, maximum=most)  # also replaces jobs that are lost
    return cluster


def _jobs(config: ClusterConfig) -> Any:
    """Return a cluster of a batch system, without jobs."""
    import dask

    dask_jobqueue = _jobqueue()
    classes = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster"}
    # dask-jobqueue's own configuration applies to what the file does not set.
    names = _parameters(config.type)
    given = {names[field]: getattr(config, field) for field in names.keys() & config.model_fields_set}
    own = {name: dask.config.get(f"jobqueue.{config.type}.{name}", None) for name in ("cores", "processes", "memory")}
    defaults = {name: getattr(config, name) for name, value in own.items() if value is None}
    limit = _seconds(config.walltime)
    prologue = given.pop(names["prologue"], None) or dask.config.get(f"jobqueue.{config.type}.job-script-prologue", None)
    return getattr(dask_jobqueue, classes[config.type])(
        walltime=_written(limit, config.type),
        # Workers leave before the batch system ends them, at different times.
        worker_extra_args=["--lifetime", f"{int(limit * 0.9)}s", "--lifetime-stagger", f"{int(limit * 0.05)}s"],
        scheduler_options={"dashboard_address": ":0"},
        job_script_prologue=[*_exports(_WORKER_SETTINGS), *(prologue or ())],
        **{**defaults, **{name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}},
    )


def _exports(settings: Mapping[str, object]) -> list[str]:
    """Return lines of a job script that give settings of Dask to its workers."""
    names = (name.upper().replace("-", "_").replace(".", "__") for name in settings)
    return [f"export DASK_{name}={value}" for name, value in zip(names, settings.values(), strict=True)]


def _jobqueue() -> Any:
    """Return the module dask_jobqueue, whose import would make ^C a successful end of the command."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        import dask_jobqueue
    except ImportError as error:
        raise MissingDependencyError("batch systems need dask-jobqueue", fix="pip install 'phylocli[dask]'") from error
    signal.signal(signal.SIGINT, handler)
    return dask_jobqueue


def _parameters(system: str) -> dict[str, str]:
    """Return the parameters of dask-jobqueue, by the field of the configuration."""
    fields = ("queue", "cores", "processes", "memory", "interface", "python", "local_directory", "log_directory")
    return {
        **{name: name for name in fields},
        "account": "account" if system in ("slurm", "pbs") else "project",
        "prologue": "job_script_prologue",
        "directives": "job_extra_directives",
    }


def _seconds(walltime: str) -> int:
    days, _, rest = walltime.rpartition("-")
    hours, minutes, seconds = map(int, rest.split(":"))
    return (int(days or 0) * 24 + hours) * 3600 + minutes * 60 + seconds


def _written(seconds: int, system: str) -> str:
    """Return a time limit as every batch system reads it: LSF has no seconds, and only SLURM has days."""
    if system == "lsf":
        return f"{seconds // 3600}:{seconds % 3600 // 60:02}"
    return f"{seconds // 3600:02}:{seconds % 3600 // 60:02}:{seconds % 60:02}"
