"""Shared fixtures: real families, the command line, and the shared data if available."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import is_hypothesis_test, settings

if TYPE_CHECKING:
    from phylocli.formats.family import Family
from fork_server import ForkServer
from standin import Standin
from typer.testing import CliRunner, Result

# Compiled once for all processes that tests start, and for the next run: without, each start takes a quarter longer.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Property tests draw the same examples everywhere, unless HYPOTHESIS_PROFILE=fuzz (`make fuzz`) asks for random ones.
# No deadline: the time of an example depends on the load of the machine.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("fuzz", derandomize=False, deadline=None, print_blob=True)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "fixed")
FUZZ_ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "10"))  # number of runs of each property test in `make fuzz`
settings.load_profile(PROFILE)

# A shell's background jobs ignore ^C and ^\\, and so would every command that tests start and interrupt.
if threading.current_thread() is threading.main_thread():
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
SHARED_DATA = ROOT.parent / "shared" / "data"


def _on_path(*programs: str) -> bool:
    return any(map(shutil.which, programs))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


# What a machine may lack, with the reason given for the skip. A test declares its need: @pytest.mark.needs("mmseqs").
# These are the only skips: any other one fails, so that no test goes unnoticed without ever running. Python packages are
# no reason, since `make` installs all extras; except those without a wheel for every platform.
NEEDS: dict[str, tuple[str, Callable[[], bool]]] = {
    "chromium": ("Chromium is not on PATH", lambda: _on_path("chromium")),
    "compiler": ("no C++ compiler on PATH", lambda: _on_path("g++", "clang++")),
    "cuda": ("no CUDA device", _has_cuda),
    "dev-full": ("no /dev/full on this system", Path("/dev/full").exists),
    "diamond": ("DIAMOND is not on PATH", lambda: _on_path("diamond")),
    "iqtree": ("IQ-TREE is not on PATH", lambda: _on_path("iqtree3", "iqtree2", "iqtree")),
    "linux": ("it looks at /proc, limits of memory or affinities, as Linux has them", lambda: sys.platform == "linux"),
    "mmseqs": ("MMseqs2 is not on PATH", lambda: _on_path("mmseqs")),
    "multiqc": ("MultiQC is not on PATH", lambda: _on_path("multiqc")),
    "openssl": ("OpenSSL is not on PATH", lambda: _on_path("openssl")),
    "piqtree": ("piqtree needs Python 3.12", lambda: sys.version_info >= (3, 12)),
    "shared-data": ("the shared training and evaluation data are not beside this checkout", SHARED_DATA.is_dir),
    "snakemake": ("Snakemake is not installed", lambda: _on_path("snakemake")),
    "slurm": ("SLURM (slurm-wlm, munge) is not installed", lambda: _on_path("slurmctld", "/usr/sbin/slurmctld")),
    "veryfasttree": (
        "VeryFastTree has no wheel for this platform",
        lambda: (sys.platform, os.uname().machine) == ("linux", "x86_64"),
    ),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose needs this machine does not meet."""
    for marker in item.iter_markers("needs"):
        for need in marker.args:
            reason, is_met = NEEDS[need]
            if not is_met():
                pytest.skip(reason)


def _fail_unlisted_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        unmet = {f"Skipped: {reason}" for reason, is_met in NEEDS.values() if not is_met()}
        if reason not in unmet:
            report.outcome = "failed"
            report.longrepr = f"{reason}\nThis reason is not in NEEDS of tests/conftest.py, which lists all allowed skips."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip that is not listed into a failure."""
    report = yield
    _fail_unlisted_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a module skipped as a whole into a failure."""
    report = yield
    _fail_unlisted_skip(report)
    return report


@pytest.fixture
def heeds_hangups() -> Iterator[None]:
    """Let commands that a test starts end at SIGHUP, even if nohup has the suite ignore it."""
    before = signal.getsignal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def _round() -> None:
    """Number of the round of a property test in `make fuzz`."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each property test FUZZ_ROUNDS times when fuzzing, each time with other examples."""
    if PROFILE == "fuzz" and is_hypothesis_test(metafunc.function):
        metafunc.fixturenames.append("_round")
        metafunc.parametrize("_round", range(FUZZ_ROUNDS))


@pytest.fixture(scope="session", autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests out of the user's own cache and configuration."""
    folder = tmp_path_factory.mktemp("places")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHYLOCLI_CACHE", str(folder / "cache"))
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        patch.setenv("HF_HOME", str(folder / "hub"))
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
        yield


@pytest.fixture(autouse=True)
def _state_of_the_process() -> Iterator[None]:
    """Put back what commands set for the whole process, so that no test depends on which ones ran before."""
    from phylocli.core import console

    torch: Any = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    if torch:
        torch.manual_seed(0)  # tests draw the same numbers in any order
    console.show_messages(console.NORMAL)
    yield
    console.show_messages(console.NORMAL)
    if threads is not None:
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def examples() -> Path:
    """The folder of real families that ships with the project."""
    return EXAMPLES


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The training and evaluation data beside the checkout, for tests that need "shared-data"."""
    return SHARED_DATA


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread: sums then come in one order, so that losses can be compared to the last digits.

    For all of a module, since its fixtures of that scope (a run that a test resumes) would otherwise be made before.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    """InterPro, the Pfam releases and UniProt on loopback, with the examples' real families.

    The environment names it as the public services' address, for this process and for `phylocli("fetch", "PF00042")`.
    """
    with Standin() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Tiny random checkpoints by kind (`checkpoints.ADDED`), with the vocabularies of the real ones; not to be changed."""
    import checkpoints

    @functools.cache
    def made(kind: str) -> Path:
        return checkpoints.make(kind, tmp_path_factory.mktemp("checkpoints") / kind)

    return made


@pytest.fixture(scope="session")
def esm_checkpoint(pretrained: Callable[[str], Path]) -> Path:
    """A tiny random ESM-2 with its language-model head, saved by transformers."""
    return pretrained("esm2")


def simulate_family(label: str, members: int, *, clan: str = "", seed: int = 0, length: int = 60) -> Family:
    """Return a family that evolved along a random tree: members mostly 0.5 to 2 substitutions apart."""
    import numpy as np

    from phylocli.core.alphabet import AMINO_ACIDS
    from phylocli.formats.family import Family
    from phylocli.formats.newick import NewickTree

    rng = np.random.default_rng([seed, *label.encode()])
    letters = np.array(list(AMINO_ACIDS))
    lineages = [(f"{label}/{i}", rng.uniform(0.02, 0.3)) for i in range(members)]
    order: list[tuple[str, str, float, float]] = []
    while len(lineages) > 1:  # join two lineages at a time, then evolve from the root down
        (a, la), (b, lb) = (lineages.pop(rng.integers(len(lineages))) for _ in range(2))
        order.append((a, b, la, lb))
        lineages.append((f"({a}:{la:.6f},{b}:{lb:.6f})", rng.uniform(0.02, 0.3)))
    sequences = {lineages[0][0]: letters[rng.integers(20, size=length)]}
    for a, b, la, lb in reversed(order):
        parent = sequences[f"({a}:{la:.6f},{b}:{lb:.6f})"]
        for child, time in ((a, la), (b, lb)):
            changed = rng.random(length) < 1 - np.exp(-time)
            sequences[child] = np.where(changed, letters[rng.integers(20, size=length)], parent)
    ids = [f"{label}/{i}" for i in range(members)]
    rows = ["".join(sequences[name]) for name in ids]
    return Family(ids, rows, accession=label, clan=clan, tree=NewickTree(lineages[0][0] + ";"))


@pytest.fixture(scope="session")
def simulate() -> Callable[..., Family]:
    """Simulated families with their trees: `simulate("PF00001", 12, clan="CL0001")`."""
    return simulate_family


@pytest.fixture(scope="session")
def simulated_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A new file of simulated families, of which the first `in_clan` are of one clan: `simulated_file(6, members=20)`."""

    def write(count: int, members: int, *, in_clan: int = 0, length: int = 60) -> Path:
        from phylocli.formats import write_families

        path = tmp_path_factory.mktemp("simulated") / "families.sto"
        labels = [(f"PF{i:05d}", "CL0001" if i < in_clan else "") for i in range(count)]
        write_families([simulate_family(label, members, clan=clan, length=length) for label, clan in labels], path)
        return path

    return write


Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Start commands in processes that have the large libraries imported."""
    with ForkServer() as server:
        yield server


@pytest.fixture
def phylocli(tmp_path: Path, fork_server: ForkServer) -> Run:
    """Run the real command in a process of its own: `phylocli("pairs", "-", input=b"...")`; streams as bytes."""

    def run(
        *args: object,
        input: bytes = b"",
        env: dict[str, str] | None = None,
        cwd: Path = tmp_path,
        timeout: float = 300,
        **options: Any,
    ) -> subprocess.CompletedProcess[bytes]:
        words = [str(arg) for arg in args]
        own = {"PHYLOCLI_STORE": str(tmp_path / "store"), "NO_COLOR": "1", "COLUMNS": "120", **(env or {})}
        environment = {**os.environ, **own}
        if not options and fork_server.accepts(environment):
            return fork_server.run(words, input=input, env=environment, cwd=cwd, timeout=timeout)
        command = [sys.executable, "-m", "phylocli", *words]
        options = {"input": input, "env": environment, "cwd": cwd, "timeout": timeout, **options}
        return subprocess.run(command, capture_output=True, check=False, **options)

    return run


@pytest.fixture
def on_terminal(tmp_path: Path) -> Run:
    """Run the real command with standard output on a terminal: `on_terminal("embed", path)`; streams as text."""
    import pty

    def run(*args: object) -> subprocess.CompletedProcess[str]:
        keyboard, screen = pty.openpty()
        environment = {**os.environ, "PHYLOCLI_STORE": str(tmp_path / "store"), "NO_COLOR": "1", "COLUMNS": "120"}
        command = [sys.executable, "-m", "phylocli", *map(str, args)]
        streams = {"stdin": screen, "stdout": screen, "stderr": subprocess.PIPE}
        shown = bytearray()

        def read() -> None:
            with contextlib.suppress(OSError):  # EIO is the end of a terminal
                while data := os.read(keyboard, 65536):
                    shown.extend(data)

        with subprocess.Popen(command, **streams, env=environment, cwd=tmp_path) as p:
            os.close(screen)
            reader = threading.Thread(target=read, daemon=True)  # meanwhile: a terminal holds some kilobytes only
            reader.start()
            try:
                _, errors = p.communicate(timeout=300)
            finally:
                p.kill()
        reader.join(timeout=60)
        assert not reader.is_alive()
        os.close(keyboard)
        return subprocess.CompletedProcess(command, p.returncode, shown.decode(), errors.decode())

    return run  # type: ignore[return-value]


@pytest.fixture
def cli(tmp_path: Path) -> Callable[..., Result]:
    """Run the command line in this process, which is quicker: `cli("tree", "-", input=b"…")`; streams as text."""
    from phylocli.cli import build

    def run(*args: object, input: bytes | None = None, env: dict[str, str] | None = None) -> Result:
        environment = {"PHYLOCLI_STORE": str(tmp_path / "store"), "NO_COLOR": "1", "COLUMNS": "120", **(env or {})}
        return CliRunner().invoke(build(), [str(a) for a in args], input=input or b"", env=environment)

    return run


@pytest.fixture
def phylocli_spawn(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start the real command and return its process, to be waited for or killed; none outlives the test.

    `before` is Python that runs in that process first.
    """
    running: list[subprocess.Popen[bytes]] = []

    def spawn(*args: object, before: str = "", **env: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", f"{before}\nfrom phylocli.cli import main\nmain()", *map(str, args)],
            env={**os.environ, "PHYLOCLI_STORE": str(tmp_path / "store"), "NO_COLOR": "1", **env},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        running.append(process)
        return process

    yield spawn
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture
def small_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, examples: Path) -> Path:
    """Let search measure E-values against 150 sequences, with an empty cache: the 2,560 that ship take some seconds."""
    import numpy as np

    from phylocli.formats import read_sequences
    from phylocli.search import background

    members = [s.residues for s in read_sequences(examples / "globins.fasta")]
    rng = np.random.default_rng(0)
    text = "".join(f">{number}\n{''.join(rng.permutation(list(members[number % 45])))}\n" for number in range(150))
    path = tmp_path / "background.fasta"
    path.write_text(text)
    monkeypatch.setattr(background, "SEQUENCES", path)
    monkeypatch.setenv("PHYLOCLI_CACHE", str(tmp_path / "cache"))
    return path
