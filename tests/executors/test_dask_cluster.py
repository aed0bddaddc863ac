"""Pieces on a Dask cluster: the results of one process, whatever happens to workers and scheduler."""

from __future__ import annotations

import functools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from phylocli.config.parallel import ClusterConfig
from phylocli.core.errors import BadInputError, PhylocliError, ServiceError
from phylocli.executors import Work, dask_cluster, dask_worker, run_pieces
from phylocli.executors.dask_cluster import _WORKER_SETTINGS, DaskCluster, _Bundle, _exports, _jobs, close_clusters
from phylocli.executors.work import Piece

logger = logging.getLogger("phylocli.tests")

CLUSTER = "local:2"


@pytest.fixture(scope="module", autouse=True)
def _closed_at_the_end() -> Iterator[None]:
    yield
    close_clusters()


def work_on(folder: str, number: int) -> int:
    """Square a number; some fail, end their worker once, or always."""
    if number == 3:
        raise BadInputError("3 is bad")
    if number == 5:
        logger.warning("5 is odd")
    starts = Path(folder) / f"{number}"
    with starts.open("a") as file:
        file.write("x")
    if number == 8 or (number == 20 and len(starts.read_text()) == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def test_killed_workers_are_replaced_and_only_the_piece_that_kills_them_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("phylocli"), "propagate", True)
    work = Work(functools.partial(work_on, str(tmp_path)))
    found = list(run_pieces(work, [(f"p{i}", i) for i in range(30)], cluster=CLUSTER))
    assert [label for label, _ in found] == [f"p{i}" for i in range(30)]
    failures = {label: result.what for label, result in found if isinstance(result, PhylocliError)}
    assert failures == {"p3": "3 is bad", "p8": "p8: 3 workers died on it"}
    expected = [i * i for i in range(30) if i not in (3, 8)]
    assert [result for _, result in found if not isinstance(result, PhylocliError)] == expected
    assert (tmp_path / "8").read_text() == "xxx"
    assert "5 is odd" in caplog.text  # logged in a worker


def test_a_cluster_stays_open_for_the_next_call_of_the_process() -> None:
    assert [result for _, result in run_pieces(Work(abs), [("a", -1), ("b", -2)], cluster=CLUSTER)] == [1, 2]
    dashboards = set()
    for _ in range(2):
        engine = DaskCluster(Work(abs), ClusterConfig.parse(CLUSTER))
        assert (engine.dashboard, engine.workers) == ("", 0)  # asked for by the progress display before it is entered
        with engine:
            dashboards.add(engine.dashboard)
    assert len(dashboards) == 1 and dashboards.pop().startswith("http://127.0.0.1:")


def test_calls_take_turns_on_one_cluster_so_that_stages_can_be_chained() -> None:
    first = run_pieces(Work(abs), ((f"p{i}", -i) for i in range(20)), cluster=CLUSTER)
    second = run_pieces(Work(float), first, cluster=CLUSTER)
    assert list(second) == [(f"p{i}", float(i)) for i in range(20)]


@pytest.mark.slow
def test_worker_that_dask_has_given_up_is_started_again() -> None:
    assert list(run_pieces(Work(abs), [("a", -1)], cluster=CLUSTER)) == [("a", 1)]
    (connection,) = dask_cluster._connections.values()
    given_up = list(connection.cluster.workers.values())
    for nanny in given_up:
        connection.cluster.sync(nanny.close)
    assert list(run_pieces(Work(abs), [("a", -1)], cluster=CLUSTER)) == [("a", 1)]
    assert not set(connection.cluster.workers.values()) & set(given_up)


def test_workers_that_die_again_and_again_are_started_after_longer_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, scaled = [100.0], list[float]()
    nanny = SimpleNamespace(status=SimpleNamespace(name="failed"))

    def scale(count: int) -> None:
        scaled.append(clock[0])
        cluster.workers[0] = nanny

    cluster = SimpleNamespace(workers={0: nanny}, worker_spec={0: {}}, scale=scale)
    monkeypatch.setattr(dask_cluster, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    connection = dask_cluster._Connection(None, cluster, own=True)  # type: ignore[arg-type]
    for _ in range(200):
        connection.restore(1)
        clock[0] += 1
    assert scaled == [100, 102, 106, 114, 130, 162, 222, 282]
    nanny.status.name = "running"
    clock[0] += 100
    connection.restore(1)
    assert len(scaled) == 8
    connection.restore(2)  # one that Dask has forgotten
    assert len(scaled) == 9
    cluster.workers.clear()  # the nanny as well, but not that there should be one
    clock[0] += 100
    connection.restore(1)
    assert len(scaled) == 10


def test_check_of_workers_that_did_not_reach_the_scheduler_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import Client

    register, errors = Client.register_plugin, [OSError("timed out")]

    def register_plugin(*args: object, **options: object) -> object:
        if errors:
            raise errors.pop()
        return register(*args, **options)

    monkeypatch.setattr(Client, "register_plugin", register_plugin)
    assert list(run_pieces(Work(abs), [("a", -1)], cluster=CLUSTER)) == [("a", 1)]
    assert not errors


def greedy(number: int) -> int:
    """Use more memory than a worker has, until the worker is ended; others use little."""
    if number == 3:
        held = bytearray(1 << 30)
        held[:: 1 << 12] = bytes(len(held) >> 12)  # so that every page is there
        time.sleep(100)
    return number


@pytest.mark.slow
def test_piece_that_needs_more_memory_than_a_worker_has_fails_and_the_others_complete(tmp_path: Path) -> None:
    cluster = tmp_path / "cluster.toml"
    cluster.write_text('type = "local"\nworkers = 2\nmemory = "700 MB"\n')
    found = dict(run_pieces(Work(greedy, fix="buy memory"), [(f"p{i}", i) for i in range(8)], cluster=str(cluster)))
    failure = found.pop("p3")
    assert isinstance(failure, PhylocliError)
    assert (failure.what, failure.fix) == ("p3: 3 workers died on it", "buy memory")
    assert list(found.values()) == [0, 1, 2, 4, 5, 6, 7]


class Stopped:
    """A client of which the test needs only that nothing is asked of it."""

    status = "running"

    def cancel(self, futures: list[object]) -> None: ...


def test_bundle_whose_worker_has_left_is_submitted_again_if_others_are_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = DaskCluster(Work(abs), ClusterConfig.parse(CLUSTER))
    engine._client = Stopped()  # type: ignore[assignment]
    future = SimpleNamespace(key="k")
    for ticket, worker in enumerate(("left", "present", "")):
        engine._bundles[ticket] = _Bundle([b"%d" % ticket], 0.0, future, starts=bool(worker), worker=worker)
    submitted: list[int] = []
    monkeypatch.setattr(engine, "_submit", lambda ticket, arguments: submitted.append(ticket))
    engine._accepted = {"present"}
    engine._submit_stranded()
    assert submitted == []  # its only worker is busy
    engine._accepted = {"present", "idle"}
    engine._submit_stranded()
    assert submitted == []  # the scheduler has been giving out work: it may be slow
    engine._last_start = 0.0
    engine._submit_stranded()
    assert submitted == [0]  # as many as workers are idle
    engine._accepted = {"present", "idle", "other"}
    engine._submit_stranded()
    assert submitted == [0, 0, 2]


def test_workers_that_are_accepted_count_without_asking_for_the_list_of_all() -> None:
    engine = DaskCluster(Work(abs), ClusterConfig.parse(CLUSTER))
    engine._looked = time.monotonic()
    for number in range(1000):
        engine.note({"name": engine._name, "accepted": f"tcp://{number}"})
    assert (engine.workers, engine.capacity) == (1000, 2000)  # a look would need the client, which is not there


def test_worker_that_is_accepted_while_the_list_is_fetched_counts() -> None:
    engine = DaskCluster(Work(abs), ClusterConfig.parse(CLUSTER))
    listed = {"tcp://old": {"resources": {engine._name: 1}}, "tcp://late": {"resources": {}}}

    def scheduler_info(n_workers: int) -> dict[str, Any]:
        engine.note({"name": engine._name, "accepted": "tcp://late"})
        return {"workers": listed}

    engine._client = SimpleNamespace(scheduler_info=scheduler_info, loop=object())  # type: ignore[assignment]
    engine._connection = SimpleNamespace(pause=0)  # type: ignore[assignment]
    engine.note({"name": engine._name, "accepted": "tcp://gone"})
    engine._look()
    assert engine._accepted == {"tcp://old", "tcp://late"}


def test_start_of_a_bundle_counts_even_if_it_comes_before_the_client_returns() -> None:
    engine = DaskCluster(Work(abs), ClusterConfig.parse(CLUSTER))

    def submit(function: object, name: str, ticket: int, arguments: object, **options: Any) -> SimpleNamespace:
        engine.note({"name": name, "started": ticket, "worker": "tcp://quick"})
        return SimpleNamespace(key=options["key"])

    engine._client = SimpleNamespace(submit=submit)  # type: ignore[assignment]
    engine._completed = SimpleNamespace(add=lambda future: None)
    engine.start(1, [Piece(0, "p", b"")])
    assert (engine._bundles[1].starts, engine._bundles[1].worker) == (1, "tcp://quick")


def test_messages_of_a_bundle_are_not_those_of_another_in_the_same_worker() -> None:
    recorder = dask_worker._Recorder()

    def log(text: str) -> None:
        recorder.handle(logging.LogRecord("phylocli", logging.INFO, "", 0, text, None, None))

    def other_bundle() -> None:
        dask_worker._busy.add(threading.get_ident())
        log("other")
        dask_worker._busy.clear()

    log("own")
    for function in (other_bundle, functools.partial(log, "a thread of its own")):
        thread = threading.Thread(target=function)
        thread.start()
        thread.join()
    assert [text for _, _, text in recorder.messages] == ["own", "a thread of its own"]


def test_worker_that_joins_does_not_wait_until_a_piece_has_ended() -> None:
    engine = DaskCluster(Work(abs), ClusterConfig.parse(CLUSTER))

    class Condition:
        def __enter__(self) -> None: ...

        def __exit__(self, *error: object) -> None: ...

        def wait(self, seconds: float) -> None:
            engine.note({"name": engine._name, "accepted": "tcp://late"})

    engine._client = Stopped()  # type: ignore[assignment]
    engine._looked = time.monotonic()
    engine._completed = SimpleNamespace(next_batch=lambda block: [], has_ready=lambda: False, thread_condition=Condition())
    assert engine.finished() == []  # although nothing has ended
    assert engine.capacity == 2


def test_scheduler_compares_a_limited_number_of_workers_for_each_bundle() -> None:
    engine = DaskCluster(Work(abs), ClusterConfig.parse(CLUSTER))
    given: list[dict[str, Any]] = []

    def submit(*_: object, **options: Any) -> SimpleNamespace:
        given.append(options)
        return SimpleNamespace(key=options["key"])

    engine._client = SimpleNamespace(submit=submit)  # type: ignore[assignment]
    engine._completed = SimpleNamespace(add=lambda future: None)
    for count in (dask_cluster.COMPARED, 1000):
        engine._accepted = {f"tcp://{k}" for k in range(count)}
        engine.start(count, [Piece(0, "p", b"")])
    few, many = given
    assert "workers" not in few  # any, also those that join
    assert len(set(many["workers"])) == dask_cluster.COMPARED and set(many["workers"]) < engine._accepted


def test_scheduler_of_a_machine_that_is_too_busy_is_an_error_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed

    class Late:
        def __init__(self, cluster: distributed.LocalCluster, **options: object) -> None:
            assert not cluster.workers  # they start when the client has its connection
            clusters.append(cluster)
            raise OSError("Timed out trying to connect to tcp://127.0.0.1:1 after 300 s")

    clusters: list[distributed.LocalCluster] = []
    monkeypatch.setattr(distributed, "Client", Late)
    with pytest.raises(ServiceError, match="did not answer") as caught:
        dask_cluster._connected(ClusterConfig.parse("local:3"))
    assert caught.value.why is not None and caught.value.why.startswith("Timed out")
    assert clusters[0].status.name == "closed"


def test_workers_end_with_their_cluster_even_if_it_has_given_them_up() -> None:
    # Python waits at its end for all processes that it has started: one left over would be a command that never ends.
    from distributed import LocalCluster

    close_clusters()
    connection = dask_cluster._connected(ClusterConfig.parse("local:1"))
    connection.client.wait_for_workers(1, timeout=60)
    address = connection.cluster.scheduler_address
    connection.cluster.workers.clear()
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as other:  # of the calling program
        nannies = dask_cluster._nannies(address)
        assert [bool(nanny.pid) for nanny in nannies] == [True]
        close_clusters()
        time.sleep(1)  # within which a nanny would start a killed worker again
        assert [bool(nanny.pid) for nanny in nannies] == [False]
        assert other.workers[0].process.is_alive()


def test_cluster_that_has_lost_all_workers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "WITHOUT_WORKERS", 0.0)
    engine = DaskCluster(Work(abs), ClusterConfig.parse(CLUSTER))
    with pytest.raises(ServiceError, match="all workers of the cluster were lost"):
        engine._expect_workers()


@pytest.mark.parametrize(
    ("system", "lines"),
    [
        ("slurm", ["-A mine", "-t 36:30:00", "-p from_configuration", "--mem=4G", "-n 1"]),
        ("pbs", ["-A mine", "walltime=36:30:00", "-q from_configuration"]),
        ("sge", ["-P mine", "h_rt=36:30:00", "-q from_configuration"]),
        ("lsf", ['-P "mine"', "-W 36:30", "-q from_configuration"]),
    ],
)
def test_job_script_has_the_settings_of_the_file_and_else_those_of_jobqueue(system: str, lines: list[str]) -> None:
    import dask

    handler = signal.getsignal(signal.SIGINT)
    dask_cluster._jobqueue()  # sets its defaults
    assert signal.getsignal(signal.SIGINT) == handler
    given = {"type": system, "account": "mine", "walltime": "1-12:30:00", "prologue": ["source venv/bin/activate"]}
    config = ClusterConfig.model_validate(given)
    with dask.config.set({f"jobqueue.{system}.queue": "from_configuration", "jobqueue.lsf.lsf-units": "mb"}):
        cluster = _jobs(config)
        try:
            script = cluster.job_script()
        finally:
            cluster.close()
    assert [line for line in lines if line not in script] == []
    assert f"{sys.executable} -m distributed.cli.dask_worker" in script and "--lifetime 118260s" in script
    # Workers read these: without the first, pieces could not start processes of their own.
    assert "export DASK_DISTRIBUTED__WORKER__DAEMON=False\n" in script
    assert script.index("DISTRIBUTED__ADMIN__TICK__INTERVAL=500ms") < script.index("source venv/bin/activate")


def test_settings_of_a_job_script_are_read_by_dask() -> None:
    from dask.config import canonical_name, collect_env, get

    lines = [line.removeprefix("export ").split("=") for line in _exports(_WORKER_SETTINGS)]
    found = collect_env(dict(lines))
    assert {name: get(canonical_name(name, found), config=found) for name in _WORKER_SETTINGS} == _WORKER_SETTINGS


def test_prologue_of_jobqueues_own_configuration_is_kept() -> None:
    import dask

    dask_cluster._jobqueue()
    with dask.config.set({"jobqueue.slurm.job-script-prologue": ["module load python"]}):
        cluster = _jobs(ClusterConfig.model_validate({"type": "slurm"}))
        try:
            assert "TICK__INTERVAL=500ms\nmodule load python\n" in cluster.job_script()
        finally:
            cluster.close()


OLD_WORKER = "import phylocli; phylocli.__version__ = '0.0.1'; from distributed.cli.dask_worker import main; main()"
BARE_WORKER = (
    "import sys; sys.modules['phylocli'] = None; from distributed.cli.dask_worker import main; main()"  # cannot be imported
)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start Python with a script and arguments; ended after the test."""
    running: list[subprocess.Popen[bytes]] = []

    def start(script: str, *args: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", script, *args]
        running.append(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return running[-1]

    yield start
    close_clusters()
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def scheduler(tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]]) -> tuple[str, subprocess.Popen[bytes]]:
    """A scheduler of someone else: its address and process."""
    file = tmp_path / "scheduler.json"
    script = "from distributed.cli.dask_scheduler import main; main()"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    process = started(script, *options)
    import json

    for _ in range(1200):
        if file.exists() and file.read_text().endswith("}"):
            break
        time.sleep(0.1)
    return json.loads(file.read_text())["address"], process


def test_worker_with_another_version_or_without_phylocli_is_refused_with_the_reason(
    scheduler: tuple[str, subprocess.Popen[bytes]], started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    address, _ = scheduler
    options = ["--nthreads", "1", "--no-nanny", "--no-dashboard"]
    started(OLD_WORKER, address, *options)
    started(BARE_WORKER, address, *options)
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=120)
    with pytest.raises(ServiceError, match="no worker of the cluster can be used") as caught:
        list(run_pieces(Work(abs), [("a", -1)], cluster=address))
    from phylocli import __version__

    assert caught.value.why in (
        f"it has phylocli 0.0.1, and this is {__version__}; install the same version there",
        f"it has no phylocli; install version {__version__} there",
    )


def slow(number: int) -> int:
    time.sleep(0.2)
    return number


def test_lost_scheduler_is_an_error_that_says_how_to_go_on(
    scheduler: tuple[str, subprocess.Popen[bytes]], started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    address, process = scheduler
    script = "from distributed.cli.dask_worker import main; main()"
    started(script, address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
    results = run_pieces(Work(slow), [(f"p{i}", i) for i in range(500)], cluster=address)
    assert next(results) == ("p0", 0)
    process.kill()
    with pytest.raises(ServiceError, match="connection to the Dask scheduler was lost") as caught:
        list(results)
    assert caught.value.fix == "run the same command again; it continues with the results on disk"
