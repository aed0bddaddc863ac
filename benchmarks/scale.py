"""What a cluster costs: overhead of each engine, the limits of the scheduler, memory, and random kills.

    python benchmarks/scale.py overhead [--workers 2] [--seconds 0.001,0.01,0.1,1,10] [--pieces 25000]
    python benchmarks/scale.py workers [--counts 10,100,1000] [--seconds 1,0.1,0.01]
    python benchmarks/scale.py transitions [--counts 10,100,1000]
    python benchmarks/scale.py memory [--pieces 25000]
    python benchmarks/scale.py search [--rows 100000,1000000] [--graphs-up-to 100000] [--dimension 256]
    python benchmarks/scale.py pieces [--rows 100000,1000000] [--queries 4096]
    python benchmarks/scale.py kills [--kills 50] [--families 2000] [--of worker,scheduler,client] [--engines processes,dask]

Values are the defaults (`overhead` chooses the number of pieces by `--budget`). Pieces sleep, so that the figures are those
of the engines and not of a busy machine; the load is printed beside them. `workers` runs the scheduler in a process of its
own, and workers as threads of others. With `--cluster slurm`, scheduler and client are one process with one core: the CPU
time of both for a piece is the inverse of the highest rate, whatever the load.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import contextlib
import dataclasses
import functools
import hashlib
import importlib
import json
import multiprocessing
import multiprocessing.process
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cpu_time import cpu_seconds_with_children

from phylocli.executors import Work, run_pieces


def nap(seconds: float, index: int) -> int:
    """One piece."""
    time.sleep(seconds)
    return index


def nap_together(folder: str, workers: int, first: int, seconds: float, index: int) -> int:
    """One piece; the first ones wait until each worker has had a piece.

    Not until each worker has one of the first: Dask may put one of these behind another, on a worker that waits.
    """
    (Path(folder) / str(os.getpid())).touch()
    while index < first and len(list(Path(folder).iterdir())) < workers:
        time.sleep(0.02)
    return nap(seconds, index)


def resident() -> float:
    """Return the memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@dataclasses.dataclass
class Timing:
    """CPU and wall seconds of the results in the middle of others, and the memory of this process before and after them.

    Attributes:
        others: CPU seconds of other processes meanwhile, of each group.
    """

    cpu: float
    wall: float
    memory: tuple[float, float]
    others: list[float]


def timed_together(seconds: float, count: int, workers: int, **engine: object) -> Timing:
    """Measure so many pieces, after all workers have started and bundles have their size."""
    with tempfile.TemporaryDirectory() as folder:
        before = workers + (4 * workers if seconds >= 0.1 else 500)
        work = Work(functools.partial(nap_together, folder, workers, before, seconds))
        return measured(work, count, before, 8 * workers, **engine)


def measured(
    work: Work[int, int], count: int, before: int, after: int, *, others: Sequence[list[int]] = (), **engine: object
) -> Timing:
    """Measure so many results, in the middle of more; others are groups of processes."""
    numbered = ((f"p{i}", i) for i in range(before + count + after))
    with contextlib.closing(run_pieces(work, numbered, **engine)) as results:  # type: ignore[arg-type]
        for _ in range(before):
            next(results)
        memory, spent = resident(), [cpu_seconds(*group) for group in others]
        cpu, start = time.process_time(), time.perf_counter()
        for _ in range(count):
            next(results)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - start
        spent = [cpu_seconds(*group) - begun for group, begun in zip(others, spent, strict=True)]
        return Timing(cpu, wall, (memory, resident()), spent)


def overhead(options: argparse.Namespace) -> None:
    """Pieces a second, and the cost of Dask over the process pool."""
    print("engine\tseconds a piece\tpieces\tideal s\twall s\tover ideal\tCPU ms/piece, this process\tmemory MB\tload")
    for seconds in map(float, options.seconds.split(",")):
        count = options.pieces or max(2 * options.workers, min(2000, int(options.budget * options.workers / seconds)))
        ideal, walls = seconds * count / options.workers, list[float]()
        for name in options.engines.split(","):
            where = {"jobs": options.workers} if name == "processes" else {"cluster": f"local:{options.workers}"}
            found = timed_together(seconds, count, options.workers, **where)
            walls.append(found.wall)
            memory = f"{found.memory[0]:.0f} to {found.memory[1]:.0f}"
            row = f"{ideal:.2f}\t{found.wall:.2f}\t{found.wall / ideal - 1:+.1%}\t{1000 * found.cpu / count:.2f}\t{memory}"
            title = "this process" if where == {"jobs": 1} else name  # one job needs no other process
            print(f"{title}\t{seconds:g}\t{count}\t{row}\t{os.getloadavg()[2]:.1f}", flush=True)
        if len(walls) == 2:
            print(f"the second over the first: {walls[1] / walls[0] - 1:+.1%}", flush=True)


QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.terminate": False,
    "distributed.admin.system-monitor.interval": "1h",
    "distributed.admin.system-monitor.disk": False,
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.admin.tick.interval": "1h",
    "distributed.diagnostics.nvml": False,
    "distributed.scheduler.worker-ttl": None,
    "logging": {"distributed": "critical"},
}
"""Settings without the work of workers that would each have a machine of its own."""


def scheduler(options: argparse.Namespace) -> None:
    """Be a scheduler, until standard input ends."""
    import dask
    from distributed import Scheduler

    async def run() -> None:
        async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as started:
            print(started.address, flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
            os._exit(0)

    dask.config.set({**QUIET, "distributed.scheduler.allowed-failures": 0, "distributed.comm.timeouts.connect": "600s"})
    asyncio.run(run())


def fleet(options: argparse.Namespace) -> None:
    """Be workers of a scheduler, as threads of this process, until standard input ends."""
    import dask
    import psutil
    from distributed import Worker

    # Each worker would count the open files of its process, of which there are thousands if all share one.
    psutil.Process.num_fds = lambda self: 0

    async def silent(worker: Worker) -> None:
        """Send no heartbeat: those of all workers of one process would take all of its time."""

    if options.silent:
        Worker.heartbeat = silent

    async def run(folder: str) -> None:
        # Each has a folder of its own: it would look through those of all others, as if they were left by dead workers.
        settings = {"nthreads": 1, "memory_limit": 0, "dashboard": False}
        started: list[Any] = []
        for start in range(0, options.count, 20):
            numbers = range(options.first + start, options.first + min(start + 20, options.count))
            new = [Worker(options.address, name=str(k), local_directory=f"{folder}/{k}", **settings) for k in numbers]
            started += await asyncio.gather(*new)
        print("started", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        os._exit(0)  # closing them one after another would take minutes

    dask.config.set({**QUIET, "distributed.comm.timeouts.connect": "600s"})
    asyncio.run(run(options.folder))


def cpu_seconds(*processes: int) -> float:
    """Return the CPU time that other processes have taken."""
    fields = [Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split() for process in processes]
    return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")


def helper(*words: str) -> tuple[subprocess.Popen[str], str]:
    """Start this script with these arguments; return its process and the first line that it prints."""
    command = [sys.executable, __file__, *words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


FLEET = 250
"""Number of workers of one process."""


def workers(options: argparse.Namespace) -> None:
    """The same call on more and more workers, which are in other processes, as is the scheduler."""
    import dask

    from phylocli.executors.dask_cluster import close_clusters

    dask.config.set({**QUIET, "distributed.comm.timeouts.connect": "600s"})
    print(
        "workers\tseconds a piece\tpieces\tstart s\twall s\tpieces/s\tideal pieces/s\tscheduler, CPU ms/piece"
        "\tclient, CPU ms/piece\tpieces per CPU s of both\tworkers, CPU ms/piece\tmemory of scheduler, MB\tload"
    )
    for count in map(int, options.counts.split(",")):
        stack = contextlib.ExitStack()
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        begun = time.perf_counter()
        server, address = helper("scheduler")
        silent = ["--silent"] * options.silent
        fleets = [
            helper("fleet", address, str(min(FLEET, count - first)), folder, "--first", str(first), *silent)[0]
            for first in range(0, count, FLEET)  # one after another
        ]
        begun = time.perf_counter() - begun
        print(f"{count} workers after {begun:.0f} s", file=sys.stderr, flush=True)
        for seconds in map(float, options.seconds.split(",")):
            pieces = max(count, min(count * options.rounds, int(count * options.budget / seconds), options.most))
            work = Work(functools.partial(nap, seconds))
            pids = [server.pid], [fleet.pid for fleet in fleets]
            found = measured(work, pieces, 2 * count, count, others=pids, cluster=address)
            central, own, others = (1000 * cpu / pieces for cpu in (found.others[0], found.cpu, found.others[1]))
            pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
            row = f"{begun:.0f}\t{found.wall:.1f}\t{pieces / found.wall:,.0f}\t{count / seconds:,.0f}\t{central:.2f}"
            row += f"\t{own:.2f}\t{1000 / (central + own):,.0f}\t{others:.2f}"
            row += f"\t{pages * os.sysconf('SC_PAGE_SIZE') / 1e6:,.0f}\t{os.getloadavg()[0]:.1f}"
            print(f"{count}\t{seconds:g}\t{pieces}\t{row}", flush=True)
        close_clusters()
        for process in (*fleets, server):
            process.kill()
            process.wait()
        stack.close()


def transitions(options: argparse.Namespace) -> None:
    """CPU time of the scheduler's transitions for a piece, with workers that do not exist: without messages."""
    from types import SimpleNamespace

    from distributed.collections import HeapSet
    from distributed.core import Status
    from distributed.scheduler import SchedulerState, WorkerState
    from sortedcontainers import SortedDict

    from phylocli.executors.dask_cluster import COMPARED

    class Simulated(SchedulerState):
        """Without slots, as the real one."""

    def simulated(count: int) -> Simulated:
        state = Simulated(
            **{name: {} for name in ("aliases", "clients", "host_info", "tasks", "unrunnable")},
            workers=SortedDict(),
            resources={"accepted": {}},
            queued=HeapSet(key=lambda task: task.priority),
            validate=False,
        )
        for number in range(count):
            address = f"tcp://host:{number}"
            settings = {
                "pid": number,
                "name": number,
                "nthreads": 1,
                "memory_limit": 0,
                "local_directory": "",
                "nanny": None,
            }
            worker = WorkerState(address=address, status=Status.running, server_id=address, scheduler=state, **settings)
            worker.resources, worker.used_resources = {"accepted": 1.0}, {"accepted": 0.0}
            state.workers[address] = state.idle[address] = worker
            state.running.add(worker)
            state.idle_task_count.add(worker)
            state.total_nthreads += 1
            state.resources["accepted"][address] = 1.0
            state.check_idle_saturated(worker)
        return state

    def measure(count: int, kind: str) -> float:
        """Return the CPU milliseconds of a piece."""
        state, rng, keys = simulated(count), random.Random(0), iter(range(10**9))
        done = {
            "nbytes": 100,
            "typename": "t",
            "type": b"",
            "startstops": [{"action": "compute", "start": 0.0, "stop": 1.0}],
        }

        def submit() -> str:
            key = f"piece-{next(keys)}"
            task = state.new_task(key, None, "released")
            task.run_spec, task.priority = SimpleNamespace(data_producer=False), (0, 1, 1)
            if kind != "any worker":
                task.resource_restrictions = {"accepted": 1}
            if kind == "as now" and count > COMPARED:
                task.worker_restrictions = set(rng.sample(tuple(state.workers), COMPARED))
            state._transitions({key: "waiting"}, {}, {}, "")
            return key

        running = [submit() for _ in range(2 * count)]
        start = time.process_time()
        for at in range(options.pieces):
            worker = state.tasks[running[at]].processing_on
            wanted, _, _ = state._transition(running[at], "memory", "", worker=worker.address, **done)
            state._transitions(wanted, {}, {}, "")
            state._transitions({running[at]: "forgotten"}, {}, {}, "")
            running.append(submit())
        return 1000 * (time.process_time() - start) / options.pieces

    print("workers\tany worker, ms/piece\taccepted workers\tas now")
    for count in map(int, options.counts.split(",")):
        row = [f"{measure(count, kind):.3f}" for kind in ("any worker", "accepted workers", "as now")]
        print("\t".join([str(count), *row]), flush=True)


def memory(options: argparse.Namespace) -> None:
    """Memory of client and scheduler, which are one process, over many pieces."""
    print("pieces done\tmemory MB")
    work = Work(functools.partial(nap, 0.0))
    results = run_pieces(work, ((f"p{i}", i) for i in range(options.pieces)), cluster="local:1")
    for done, _ in enumerate(results, 1):
        if done in (1, options.pieces) or done % max(1, options.pieces // 5) == 0:
            print(f"{done}\t{resident():.0f}", flush=True)


# --- search ---


DRAWN = 100_000
"""Number of vectors that are drawn at a time."""


def clustered(rows: int, dimension: int, seed: int, clusters: int) -> Iterator[Any]:
    """Yield unit vectors, (rows, dimension) in parts, in clusters of different widths, on a few common axes.

    The clusters do not depend on the seed: queries are of those of the table.
    """
    import numpy as np

    from phylocli.formats.embeddings import unit

    common, rng = np.random.default_rng(0), np.random.default_rng(seed)
    axes = common.standard_normal((dimension // 4, dimension), np.float32) / np.sqrt(np.float32(dimension / 4))
    centres = common.standard_normal((clusters, dimension // 4), np.float32) @ axes
    for start in range(0, rows, DRAWN):
        count = min(DRAWN, rows - start)
        width = rng.uniform(0.2, 0.6, size=(count, 1)).astype(np.float32)
        noise = rng.standard_normal((count, dimension), np.float32)
        yield unit(centres[rng.integers(clusters, size=count)] + width * noise)


def write_clustered(path: Path, rows: int, dimension: int, clusters: int) -> None:
    """Write a table of such vectors, in half precision."""
    import polars as pl

    from phylocli.formats.tables import TableWriter, embeddings_schema

    at = 0
    with TableWriter(path, embeddings_schema(dimension, half=True)) as writer:
        for part in clustered(rows, dimension, 1, clusters):
            ids = [f"r{at + i}" for i in range(len(part))]
            column = pl.Series(part, dtype=pl.Array(pl.Float32, dimension))
            writer.write(pl.DataFrame({"id": ids, "length": [1] * len(part), "embedding": column}))
            at += len(part)


class Peer:
    """An index of faiss."""

    def __init__(self, description: str) -> None:
        self.description = description

    def build(self, vectors: Any) -> int:
        """Build the index; return its size in bytes."""
        import faiss
        import numpy as np

        from phylocli.search.indices.approximate import CONNECTIVITY, EFFORT

        dimension = vectors.shape[1]
        if self.description == "Binary":
            self.mean = vectors.mean(0)
            self.index: Any = faiss.IndexBinaryFlat(dimension)
            self.index.add(np.packbits(vectors > self.mean, axis=1))
            return int(self.index.ntotal * dimension // 8)
        graph = self.description.startswith("HNSW")
        name = f"HNSW{CONNECTIVITY}" if graph else self.description
        self.index = faiss.index_factory(dimension, name, faiss.METRIC_INNER_PRODUCT)
        if graph:
            self.index.hnsw.efConstruction = self.index.hnsw.efSearch = EFFORT
        self.index.train(vectors[:100_000])
        self.index.add(vectors)
        return int(faiss.serialize_index(self.index).nbytes if graph else self.index.sa_code_size() * self.index.ntotal)

    def __call__(self, queries: Any, k: int) -> Any:
        """Return row numbers (n, k)."""
        import numpy as np

        if self.description == "Binary":
            return self.index.search(np.packbits(queries > self.mean, axis=1), k)[1]
        return self.index.search(queries, k)[1]


def rows_of(find: Callable[..., Any], queries: Any, k: int, **options: Any) -> Any:
    """Return the row numbers that a search of phylocli finds, (n, k)."""
    return find(queries, k=k, **options).rows


def search(options: argparse.Namespace) -> None:
    """Recall, speed and size of the searches of phylocli and of faiss, on the same vectors, with one thread."""
    import faiss
    import torch

    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    print("rows\tsearch\tprepare CPU s\tbytes/row\trecall@20\tqueries per CPU s\tpeak memory so far, MB")
    for rows in map(int, options.rows.split(",")):
        with tempfile.TemporaryDirectory() as name:
            search_table(Path(name) / "db.parquet", rows, options)


def search_table(path: Path, rows: int, options: argparse.Namespace) -> None:
    """Measure the searches of one table, which is written first."""
    import numpy as np

    from phylocli.search import nearest, open_table
    from phylocli.search.indices.approximate import SUFFIX, open_graph
    from phylocli.search.indices.files import index_path
    from phylocli.search.indices.quantised import CANDIDATES, open_codes

    clusters = max(1, rows // 100)
    (queries,) = clustered(options.queries, options.dimension, 2, clusters)
    write_clustered(path, rows, options.dimension, clusters)
    table = open_table(path)
    true: Any = None

    def report(label: str, prepare: float, size: float, find: Callable[[Any, int], Any]) -> None:
        """Measure a search in CPU time, and print its row of the table; the first is the exact one."""
        nonlocal true
        start = time.process_time()
        found = find(queries, 20)
        rate = len(queries) / (time.process_time() - start)
        true = found if true is None else true
        recall = np.mean([len(set(a) & set(b)) / 20 for a, b in zip(true.tolist(), found.tolist(), strict=True)])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{rows}\t{label}\t{prepare:.1f}\t{size / rows:,.0f}\t{recall:.4f}\t{rate:,.1f}\t{peak:,.0f}", flush=True)

    report("exact", 0, path.stat().st_size, functools.partial(rows_of, nearest, table=table))
    for kind in CANDIDATES:
        start = time.process_time()
        codes = open_codes(table, kind)
        prepare, size = time.process_time() - start, index_path(table, kind).stat().st_size
        report(f"--quantise {kind}", prepare, size, functools.partial(rows_of, codes.nearest))
        index_path(table, kind).unlink()
    with_graphs = rows <= options.graphs_up_to
    if with_graphs:
        start = time.process_time()
        graph = open_graph(table)
        prepare, size = time.process_time() - start, index_path(table, SUFFIX).stat().st_size
        report("--approximate", prepare, size, functools.partial(rows_of, graph.nearest, threads=1))
        del graph
    if options.no_peers:
        return
    vectors = table.numpy()  # as they are on disk, in half precision
    for description in ("Flat", "SQfp16", "SQ8", "Binary", *(["HNSW"] if with_graphs else [])):
        peer, start = Peer(description), time.process_time()
        size = peer.build(vectors)
        report(f"faiss {description}", time.process_time() - start, size, peer)
        del peer


def pieces(options: argparse.Namespace) -> None:
    """A search in this process, in one and in two processes, and by Dask's workers, each with one thread."""
    import numpy as np
    import torch

    from phylocli.config.parallel import ParallelConfig
    from phylocli.executors.dask_cluster import close_clusters
    from phylocli.search import nearest, open_table
    from phylocli.search.indices.quantised import open_codes
    from phylocli.search.sharded import nearest_codes_in_pieces, nearest_in_pieces

    torch.set_num_threads(1)
    engines = {"this process": {}, "--jobs 2": {"jobs": 2}, "--cluster local:2": {"cluster": "local:2"}}
    print("rows\tsearch\twhere\twall s\tCPU s, all processes\tqueries per s\tqueries per CPU s\tsame\tload")
    for rows in map(int, options.rows.split(",")):
        with tempfile.TemporaryDirectory() as name:
            clusters = max(1, rows // 100)
            (queries,) = clustered(options.queries, options.dimension, 2, clusters)
            write_clustered(Path(name) / "db.parquet", rows, options.dimension, clusters)
            table = open_table(Path(name) / "db.parquet")
            for kind in ("exact", "int8"):
                codes = open_codes(table, kind) if kind != "exact" else None
                true: Any = None
                for title, where in engines.items():
                    parallel = ParallelConfig(**where)
                    cpu, start = cpu_seconds_with_children(), time.perf_counter()
                    if codes is None:
                        found = (
                            nearest_in_pieces(queries, table, 20, parallel, threads=1)
                            if where
                            else nearest(queries, table, 20)
                        )
                    else:
                        found = (
                            nearest_codes_in_pieces(queries, codes, 20, parallel, threads=1)
                            if where
                            else codes.nearest(queries, 20)
                        )
                    wall = time.perf_counter() - start
                    close_clusters()  # whose CPU time counts when they have ended
                    cpu = cpu_seconds_with_children() - cpu
                    true = found if true is None else true
                    same = np.array_equal(found.rows, true.rows) and np.array_equal(found.cosines, true.cosines)
                    row = f"{wall:.1f}\t{cpu:.1f}\t{len(queries) / wall:,.0f}\t{len(queries) / cpu:,.0f}\t{same}"
                    print(f"{rows}\t{kind}\t{title}\t{row}\t{os.getloadavg()[0]:.0f}", flush=True)


# --- random kills ---

PHYLOCLI = [sys.executable, "-m", "phylocli"]


def children(process: int) -> list[int]:
    """Return all descendants of a process."""
    found: list[int] = []
    try:
        threads = list(Path(f"/proc/{process}/task").iterdir())  # each has its own
    except OSError:  # it has ended
        return found
    for thread in threads:
        try:
            direct = [int(word) for word in (thread / "children").read_text().split()]
        except OSError:
            continue
        for child in direct:
            found += [child, *children(child)]
    return found


def is_worker(process: int) -> bool:
    """Return whether a process computes families."""
    try:
        command = Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
    return b"spawn_main" in command or b"dask_worker" in command


def alive(process: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


FORKS = multiprocessing.get_context("forkserver")
"""Starts commands, schedulers and workers as forks of a process that has imported what they need, without the seconds of CPU
time that each start takes."""

LOADED = ["__main__", "phylocli.cli", "phylocli.cli.tree", "phylocli.tree", "distributed.cli.dask_worker"]


def program(words: list[str], log: str) -> None:
    """Be a command of phylocli, or `dask scheduler` or `dask worker`."""
    with Path(log).open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    sys.argv = words
    if words[0] == "phylocli":
        from phylocli.cli import main as run
    else:
        run = importlib.import_module(f"distributed.cli.dask_{words[0]}").main
    try:
        run()
    finally:
        atexit._run_exitfuncs()  # which a process of multiprocessing leaves out: it would wait for Dask's workers


def started(words: list[str], log: Path) -> multiprocessing.process.BaseProcess:
    """Start a program."""
    process = FORKS.Process(target=program, args=(words, str(log)))
    process.start()
    return process


def ended(process: multiprocessing.process.BaseProcess) -> int | None:
    """Wait for the end of a process; return its exit code."""
    process.join()
    return process.exitcode


class Scheduler:
    """A scheduler with workers, all of which can be killed and started again."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count, self.processes = folder, count, list[multiprocessing.process.BaseProcess]()
        self.start()

    def start(self) -> None:
        """Start a new one."""
        for process in self.processes:
            process.kill()
            process.join()
        file, log = self.folder / "scheduler.json", self.folder / "scheduler.log"
        file.unlink(missing_ok=True)
        command = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
        self.processes = [started(command, log)]
        while not (file.exists() and file.read_text().endswith("}")):
            time.sleep(0.02)
        self.address = json.loads(file.read_text())["address"]
        worker = ["worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        worker += ["--local-directory", str(self.folder)]
        self.processes += [started(worker, log) for _ in range(self.count)]

    def close(self) -> None:
        """End all."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join()


def kills(options: argparse.Namespace) -> None:
    """Random SIGKILLs while trees are inferred; the output must be that of an undisturbed run, and no process may remain."""
    rng = random.Random(options.seed)
    FORKS.set_forkserver_preload(LOADED)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        families, log = folder / "families.sto", folder / "log"
        simulate = ["simulate", "-n", str(options.families), "--tips", "4:8", "--length", "100", "-o", str(families), "-q"]
        subprocess.run([*PHYLOCLI, *simulate], check=True)
        tree = ["tree", str(families), "--engine", "nj", "--no-refine"]
        subprocess.run([*PHYLOCLI, *tree, "-o", str(folder / "whole.sto")], check=True)
        wanted = hashlib.sha256((folder / "whole.sto").read_bytes()).hexdigest()
        print("killed\tengine\tkills\truns\tseconds\tfamilies\tsame bytes\tprocesses left")
        for kind in options.of.split(","):
            for engine in options.engines.split(",") if kind != "scheduler" else ("dask",):
                output, start, count, runs = folder / f"{kind}-{engine}.sto", time.monotonic(), 0, 0
                scheduler = Scheduler(folder, 2) if kind == "scheduler" else None
                seen: set[int] = set()
                while True:
                    where = ["--jobs", "2"] if engine == "processes" else ["--cluster", "local:2"]
                    if scheduler is not None:
                        where = ["--cluster", scheduler.address]
                    process = started(["phylocli", *tree, *where, "-o", str(output)], log)
                    runs, killed = runs + 1, count
                    # A kill must let some families complete, or a run never ends: after the first has been written down.
                    journal = Path(f"{output}.partial")
                    size = journal.stat().st_size if journal.exists() else 0
                    while process.is_alive() and count < options.kills and time.monotonic() < start + 60 * options.minutes:
                        for parent in [process, *(scheduler.processes if scheduler is not None else [])]:
                            seen |= set(children(parent.pid or 0))
                        if not journal.exists() or journal.stat().st_size <= size:
                            time.sleep(0.02)
                            continue
                        time.sleep(rng.uniform(0, options.pause))
                        size = journal.stat().st_size if journal.exists() else 0
                        victims = {
                            "client": [process.pid or 0],
                            "worker": [child for child in children(process.pid or 0) if is_worker(child)],
                            "scheduler": [] if scheduler is None else [scheduler.processes[0].pid or 0],
                        }[kind]
                        if not victims or not process.is_alive():
                            continue
                        os.kill(rng.choice(victims), signal.SIGKILL)
                        if kind == "client" and ended(process) != -signal.SIGKILL:
                            continue  # it had just ended
                        count += 1
                        print(f"kill {count}", file=sys.stderr, flush=True)
                        if kind == "scheduler":
                            process.join()
                            assert scheduler is not None
                            scheduler.start()
                            break
                    code = ended(process)
                    if code == 0:
                        break
                    if count == killed:  # it would fail again and again
                        raise SystemExit(f"the command failed undisturbed, with {code}:\n{log.read_text()[-3000:]}")
                if scheduler is not None:
                    scheduler.close()
                time.sleep(2)
                same = hashlib.sha256(output.read_bytes()).hexdigest() == wanted
                left = sum(alive(child) for child in seen)
                row = f"{count}\t{runs}\t{time.monotonic() - start:.0f}\t{output.read_text().count('//' + chr(10))}"
                print(f"{kind}\t{engine}\t{row}\t{same}\t{left}", flush=True)
                if not same or left:
                    print(log.read_text()[-3000:], file=sys.stderr)


def main() -> None:
    """Run one of the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    part = parts.add_parser("overhead")
    part.add_argument("--workers", type=int, default=2)
    part.add_argument("--seconds", default="0.001,0.01,0.1,1,10")
    part.add_argument("--budget", type=float, default=20, help="seconds of ideal time for a row")
    part.add_argument("--pieces", type=int, help="of a row, instead")
    part.add_argument("--engines", default="processes,dask")
    part.set_defaults(function=overhead)
    part = parts.add_parser("workers")
    part.add_argument("--counts", default="10,100,1000")
    part.add_argument("--seconds", default="1,0.1,0.01")
    part.add_argument("--rounds", type=int, default=20, help="pieces for each worker, at most")
    part.add_argument("--budget", type=float, default=20, help="seconds of ideal time for a row")
    part.add_argument("--silent", action="store_true", help="without heartbeats of workers")
    part.add_argument("--most", type=int, default=20_000, help="pieces of a row")
    part.set_defaults(function=workers)
    part = parts.add_parser("fleet")
    part.add_argument("address")
    part.add_argument("count", type=int)
    part.add_argument("folder")
    part.add_argument("--first", type=int, default=0)
    part.add_argument("--silent", action="store_true")
    part.set_defaults(function=fleet)
    part = parts.add_parser("scheduler")
    part.set_defaults(function=scheduler)
    part = parts.add_parser("transitions")
    part.add_argument("--counts", default="10,100,1000")
    part.add_argument("--pieces", type=int, default=500)
    part.set_defaults(function=transitions)
    part = parts.add_parser("memory")
    part.add_argument("--pieces", type=int, default=25_000)
    part.set_defaults(function=memory)
    part = parts.add_parser("search")
    part.add_argument("--rows", default="100000,1000000")
    part.add_argument("--dimension", type=int, default=256)
    part.add_argument("--queries", type=int, default=100)
    part.add_argument(
        "--graphs-up-to", type=int, default=100_000, help="rows of the largest table for which graphs are built"
    )
    part.add_argument("--no-peers", action="store_true", help="do not measure faiss")
    part.set_defaults(function=search)
    part = parts.add_parser("pieces")
    part.add_argument("--rows", default="100000,1000000")
    part.add_argument("--dimension", type=int, default=256)
    part.add_argument("--queries", type=int, default=4096)
    part.set_defaults(function=pieces)
    part = parts.add_parser("kills")
    part.add_argument("--kills", type=int, default=50)
    part.add_argument("--families", type=int, default=2000)
    part.add_argument("--of", default="worker,scheduler,client")
    part.add_argument("--minutes", type=float, default=1e6, help="no more kills of a row after that time")
    part.add_argument("--engines", default="processes,dask")
    part.add_argument("--pause", type=float, default=1.0, help="longest time between two kills, after some progress")
    part.add_argument("--seed", type=int, default=0)
    part.set_defaults(function=kills)
    options = parser.parse_args()
    if options.function not in (fleet, scheduler):
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    options.function(options)


if __name__ == "__main__":
    main()
