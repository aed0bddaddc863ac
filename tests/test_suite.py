"""The rules of the suite itself, in tests/conftest.py: what may be skipped, and what property tests draw."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
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


def test_property_tests_draw_the_same_examples_each_time_and_others_when_fuzzing(
    suite: Callable[..., str], tmp_path: Path
) -> None:
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
