"""`fetch --all`, killed by SIGKILL at random times and repeated: the store equals that of an uninterrupted run."""

from __future__ import annotations

import gzip
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from standin import Standin, changed, checksums
from stores import contents

from phylocli.fetch import Policy, fetch_release
from phylocli.store import Store

Spawn = Callable[..., "subprocess.Popen[bytes]"]
COPIES = 4  # of each example family, so that the splitting too takes a while
# Small batches, so that a signal often arrives between two of them.
SMALL_BATCHES = "from phylocli.store import Bulk\nBulk._FILES = 16"


def enlarge(standin: Standin) -> None:
    """Make a release of many families, each with an accession of its own, and send it slowly."""
    files = standin.files()
    for name in ("Pfam-A.seed.gz", "Pfam-A.hmm.gz", "Pfam-A.clans.tsv.gz"):
        text = gzip.decompress(files[name])
        copies = []
        for number in range(COPIES):
            copy = text
            for place, accession in enumerate(sorted(standin.families)):
                copy = copy.replace(accession.encode(), f"PF{20000 + number * 100 + place:05d}".encode())
            copies.append(copy)
        files[name] = gzip.compress(b"".join(copies), compresslevel=1, mtime=0)
    files["md5_checksums"] = checksums(files)
    standin.always("Pfam-A", changed(slow=0.001))


def untouched(standin: Standin, spawn: Spawn, tmp_path: Path) -> tuple[dict[str, bytes], float]:
    """The contents of the store after an uninterrupted run, and the duration of the run in seconds."""
    enlarge(standin)
    store = Store(tmp_path / "untouched")
    start = time.monotonic()
    assert spawn("fetch", "--all", "--store", store.root).wait(120) == 0
    length = time.monotonic() - start
    wanted = contents(store.root)
    assert sum(name.startswith("families/") for name in wanted) == 2 * COPIES * len(standin.families)
    return wanted, length


def is_whole_so_far(there: dict[str, bytes], wanted: dict[str, bytes]) -> bool:
    """Return whether all files, except temporary ones, have their final content."""
    return all(
        data == wanted[name]
        for name, data in there.items()
        if name.startswith(("families/", "profiles/", "clans/")) and not Path(name).name.startswith(".")
    )


def check(standin: Standin, spawn: Spawn, tmp_path: Path, kills: int, seed: int) -> None:
    wanted, length = untouched(standin, spawn, tmp_path)
    rng = np.random.default_rng(seed)
    killed = Store(tmp_path / "killed")
    for _ in range(kills):
        process = spawn("fetch", "--all", "--store", killed.root, before=SMALL_BATCHES)
        # Most of the moments lie behind the start of Python, early and late ones among them.
        time.sleep(float(rng.uniform(0.3, 1.0)) * length)
        process.kill()
        process.wait()
        assert is_whole_so_far(contents(killed.root), wanted)
    assert spawn("fetch", "--all", "--store", killed.root, before=SMALL_BATCHES).wait(120) == 0
    assert contents(killed.root) == wanted


def test_killed_in_the_middle_of_the_splitting(standin: Standin, phylocli_spawn: Spawn, tmp_path: Path) -> None:
    wanted, _ = untouched(standin, phylocli_spawn, tmp_path)
    killed = Store(tmp_path / "killed")
    for kind in ("families", "profiles"):
        process = phylocli_spawn("fetch", "--all", "--store", killed.root, before=SMALL_BATCHES)
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:
            if any((killed.root / kind).glob("*.json")):
                break
        process.kill()
        process.wait()
        there = contents(killed.root)
        assert is_whole_so_far(there, wanted)
        assert 0 < sum(name.startswith(kind) for name in there) < 2 * COPIES * len(standin.families)
    assert phylocli_spawn("fetch", "--all", "--store", killed.root).wait(120) == 0
    assert contents(killed.root) == wanted


def test_killed_three_times(standin: Standin, phylocli_spawn: Spawn, tmp_path: Path) -> None:
    check(standin, phylocli_spawn, tmp_path, kills=3, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_killed_six_times_each_from_a_fresh_store(
    standin: Standin, phylocli_spawn: Spawn, tmp_path: Path, seed: int
) -> None:
    check(standin, phylocli_spawn, tmp_path, kills=6, seed=seed)


def test_a_killed_run_leaves_nothing_behind_that_the_next_one_keeps(
    standin: Standin, phylocli_spawn: Spawn, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    standin.always("Pfam-A.hmm.gz", changed(slow=1.0))
    process = phylocli_spawn("fetch", "--all", "--store", store.root)
    part = store.release_path("38.2") / "Pfam-A.hmm.gz.part"
    end = time.monotonic() + 30
    while not (part.is_file() and part.stat().st_size) and time.monotonic() < end:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert store.accessions() == []  # nothing is split before all files are verified
    size = part.stat().st_size
    standin._always.clear()
    (store.root / "staging" / "release-38.2").mkdir(parents=True)
    (store.root / "staging" / "release-38.2" / "0.part").write_bytes(b"left over")
    fetch_release("38.2", store=store, policy=Policy().scaled(0.001))
    resumed = [r.headers.get("range") for r in standin.requests if r.path.endswith("Pfam-A.hmm.gz")]
    assert resumed[-1] == f"bytes={size}-"
    assert not list(store.root.rglob("*.part*"))
