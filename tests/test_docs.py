"""Consistency of documentation and code."""

import importlib
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_reference_pages_match_the_code():
    done = subprocess.run(
        [sys.executable, "docs/make_reference.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_links_between_pages_lead_somewhere():
    broken = []
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken


def test_python_blocks_of_pages_import_existing_names():
    missing = []
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for module, names in re.findall(r"^from (phylocli[\w.]*) import ([\w, ]+)", block, re.MULTILINE):
                for name in names.split(", "):
                    if not hasattr(importlib.import_module(module), name) and not find_spec(f"{module}.{name}"):
                        missing.append(f"{page.name}: from {module} import {name}")
    assert not missing


def test_tests_named_in_reliability_page_exist():
    there = {
        name
        for path in ROOT.glob("tests/**/*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")))
    assert len(named) > 5
    assert named <= there


def test_the_site_builds_without_warnings_and_loads_nothing_from_elsewhere(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "-f", ROOT / ".mkdocs.yml", "-d", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert r"cosine|phmmer" in (tmp_path / "search.html").read_text(encoding="utf-8")
    for page in tmp_path.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert r"\|" not in "".join(re.findall(r"<td>.*?</td>", text, re.DOTALL)), page
        loaded = re.findall(
            r"<(?:script|img|iframe)[^>]*\ssrc=\"?([^\s\">]+)|<link[^>]*stylesheet[^>]*href=\"?([^\s\">]+)", text
        )
        assert not [url for pair in loaded for url in pair if re.match(r"(https?:)?//", url)], page


def test_a_broken_link_or_anchor_fails_the_site(tmp_path):
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("README.md", "CHANGELOG.md", ".mkdocs.yml", "LICENSE", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path)
    page = tmp_path / "docs" / "glossary.md"
    page.write_text(page.read_text(encoding="utf-8") + "\n[x](nowhere.md) [y](tree.md#no-such-heading)\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", tmp_path / ".mkdocs.yml", "-d", tmp_path / "site"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "nowhere.md" in done.stderr and "no-such-heading" in done.stderr
