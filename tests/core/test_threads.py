"""Threads: as many as this process may use, and barriers at which they sleep."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from phylocli.core.threads import WAITING, available_cores, limit_threads, threads_each


@pytest.fixture
def one_core() -> Iterator[None]:
    before, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)
    torch.set_num_threads(threads)


@pytest.mark.needs("linux")
def test_no_more_cores_are_used_than_the_process_may_use(one_core: None) -> None:
    assert available_cores() == 1
    assert threads_each(1) == threads_each(3) == 1
    torch.set_num_threads(2)
    limit_threads()
    assert torch.get_num_threads() == 1
    limit_threads(3)
    assert torch.get_num_threads() == 3


def test_a_number_of_threads_that_the_calling_program_set_is_not_raised(one_thread: None) -> None:
    limit_threads()
    assert torch.get_num_threads() == 1


def test_threads_sleep_at_barriers_unless_the_user_sets_otherwise() -> None:
    script = f"import phylocli, os; print([os.environ.get(name) for name in {list(WAITING)}])"
    clear = {name: value for name, value in os.environ.items() if name not in WAITING}
    for environment, expected in (({}, WAITING), ({"OPENBLAS_NUM_THREADS": "7"}, {**WAITING, "OPENBLAS_NUM_THREADS": "7"})):
        done = subprocess.run([sys.executable, "-c", script], env={**clear, **environment}, capture_output=True, check=True)
        assert done.stdout.decode().strip() == str(list(expected.values()))
