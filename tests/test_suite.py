"""The rules of the suite itself, in tests/conftest.py: what may be skipped, and what property tests draw."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[0]


@pytest.fixture
def suite(tmp_path: Path) -> Callable[..., str]:
    """Run tests under this suite's conftest.py and return what pytest prints: `suite({"test_a.py": "…"})`."""

    def run(files: dict[str, str], **environment: str) -> str:
        shutil.copy(TESTS / "conftest.py", tmp_path)
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            TESTS.parent / "pyproject.toml",
            "-rA",
            "--continue-on-collection-errors",
            tmp_path,
        ]
        env = {**os.environ, **environment}
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env).stdout

    return run


def test_a_skip_fails_unless_it_is_listed_and_the_machine_lacks_what_it_names(
    suite: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "openssl").symlink_to(sys.executable)  # the only program of this machine
    found = suite(
        {
            "test_module.py": "import pytest\npytest.importorskip('no_such_package')\n",
            "test_each.py": (
                "import pytest\n"
                "@pytest.mark.needs('mmseqs')\ndef test_lacking(): raise AssertionError\n"
                "@pytest.mark.needs('openssl')\ndef test_there(): pass\n"
                "def test_listed_but_there(): pytest.skip('OpenSSL is not on PATH')\n"
                "def test_unlisted(): pytest.skip('too much work')\n"
                "@pytest.mark.skipif(True, reason='not today')\ndef test_unlisted_mark(): pass\n"
                "@pytest.fixture\ndef thing(): pytest.skip('nothing')\n"
                "def test_unlisted_in_a_fixture(thing): pass\n"
            ),
        },
        PATH=str(tmp_path / "bin"),
    )
    outcomes = {name: kind for kind, name in re.findall(r"^(PASSED|FAILED|ERROR) .*?test_each.py::(\w+)", found, re.M)}
    assert outcomes == {
        "test_there": "PASSED",
        "test_listed_but_there": "FAILED",
        "test_unlisted": "FAILED",
        "test_unlisted_mark": "ERROR",
        "test_unlisted_in_a_fixture": "ERROR",
    }
    assert re.search(r"^SKIPPED \[1\] .*: MMseqs2 is not on PATH$", found, re.M)
    assert re.search(r"^ERROR .*test_module.py", found, re.M)
    assert "not in NEEDS of tests/conftest.py" in found


def test_property_tests_are_reproducible_and_random_when_fuzzing(suite: Callable[..., str], tmp_path: Path) -> None:
    text = (
        "from hypothesis import given, settings, strategies as st\n"
        "@settings(max_examples=20)\n@given(st.integers())\n"
        "def test_any(n):\n    with open('drawn', 'a') as file: print(n, file=file)\n"
    )

    def drawn(**environment: str) -> list[str]:
        (tmp_path / "drawn").unlink(missing_ok=True)
        suite({"test_any.py": text}, **environment)
        return (tmp_path / "drawn").read_text().split()

    assert drawn(HYPOTHESIS_PROFILE="fixed") == drawn(HYPOTHESIS_PROFILE="fixed")
    fuzzed = drawn(HYPOTHESIS_PROFILE="fuzz", FUZZ_ROUNDS="3")
    assert len(fuzzed) == 60
    assert len({tuple(fuzzed[k : k + 20]) for k in (0, 20, 40)}) == 3


def test_the_balanced_design_has_each_value_five_times_and_each_pair_of_values() -> None:
    spec = importlib.util.spec_from_file_location("matrix", TESTS / "matrix.py")
    assert spec is not None and spec.loader is not None
    matrix = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(matrix)
    runs = [name.split("+") for name in matrix.balanced()]
    values = Counter(value for run in runs for value in run)
    assert values.pop("random") == 7
    assert values == dict.fromkeys(itertools.chain(*matrix.FACTORS), 5)
    for one, other in itertools.combinations(matrix.FACTORS, 2):
        assert all(any({a, b} <= set(run) for run in runs) for a, b in itertools.product(one, other))


def test_matrix_resumes_with_the_first_missing_run(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("import os\ndef test_one(): assert os.environ['OMP_NUM_THREADS'] == '2'\n")
    results = tmp_path / "results.jsonl"
    command = [sys.executable, TESTS / "matrix.py", "threads-2+random", "threads-4", "--results", results, "-n", "0"]
    options = ["-p", "no:cacheprovider", "-c", tmp_path / "none.ini", f"--rootdir={tmp_path}", tmp_path / "test_one.py"]
    (tmp_path / "none.ini").write_text("[pytest]\n")

    def matrix() -> list[str]:
        done = subprocess.run([*command, "--", *options], capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stdout + done.stderr
        return [line for line in done.stdout.splitlines() if line.startswith("=== ")]

    assert matrix() == ["=== threads-2+random", "=== threads-4"]
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    assert [(row["passed"], len(row["failed"])) for row in rows] == [(1, 0), (0, 1)]
    results.write_text(json.dumps(rows[1]) + "\n")
    assert matrix() == ["=== threads-2+random"]
