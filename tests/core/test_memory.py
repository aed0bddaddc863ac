"""Freed memory is kept between steps, and given back afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from phylocli.core import memory

SCRIPT = """
import contextlib, json, resource
import numpy as np
from phylocli.core.memory import freed_memory_kept

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() // 2**20

def step():
    arrays = [np.ones(2**18) for _ in range(32)]

with freed_memory_kept():
    step()
    before = faults()
    step()
    again, kept = faults() - before, resident()
print(json.dumps([again, kept - resident()]))
"""


def outcome(**environment: str) -> list[int]:
    """Return page faults of a second step of 64 MB, and the megabytes that are given back at the end."""
    clear = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env={**clear, **environment}, capture_output=True, check=True)
    return list(json.loads(done.stdout))


@pytest.mark.needs("linux")
@pytest.mark.skipif(memory._glibc() is None, reason="not glibc, or the environment sets it")
def test_a_step_reuses_the_memory_of_the_step_before_and_it_is_given_back_at_the_end() -> None:
    faults, returned = outcome()
    assert faults < 1000  # of 16,384 pages
    assert returned > 50


@pytest.mark.needs("linux")
def test_an_allocator_that_the_environment_sets_is_left_alone() -> None:
    faults, _ = outcome(MALLOC_MMAP_THRESHOLD_="131072")
    assert faults > 10_000


def test_other_systems_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with memory.freed_memory_kept():
        assert memory._glibc() is None
