"""URLs: outputs are tried before the work and kept if the upload fails; folders, web servers and secrets."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from phylocli.core.errors import BadInputError, MissingDependencyError, UsageError
from phylocli.embed.inputs import expand
from phylocli.formats.provenance import provenance
from phylocli.formats.streams import atomic_directory, atomic_path, display_name, locks, open_input


def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(BadInputError), atomic_path(f"file://{tmp_path}/none/out.txt"):
        pytest.fail("the work has begun")
    with pytest.raises(UsageError, match="web servers are for reading"), atomic_path("https://127.0.0.1:9/out.txt"):
        pytest.fail("the work has begun")


def test_the_probe_of_an_output_leaves_nothing_and_the_output_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("before")
    with pytest.raises(ZeroDivisionError), atomic_path(f"file://{tmp_path}/out.txt"):
        _ = 1 / 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    assert (tmp_path / "out.txt").read_text() == "before"


def test_a_result_whose_upload_fails_is_kept_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    there = tmp_path / "there"
    there.mkdir()
    with pytest.raises(BadInputError) as caught, atomic_path(f"file://{there}/out.txt") as part:
        part.write_text("hours of work")
        shutil.rmtree(there)
    assert part.name == "out.txt" and part.read_text() == "hours of work"
    assert f"the result is in {part}" in str(caught.value)


@pytest.mark.parametrize("url", ["s3://bucket/model", Path("s3://bucket/model")])
def test_a_folder_is_not_claimed_at_a_url_nor_in_a_local_folder_of_its_name(
    url: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="written to disks only"), atomic_directory(url):
        pass
    with pytest.raises(UsageError, match="written to disks only"), locks.exclusive(url):
        pass
    assert not os.listdir(tmp_path)


def test_a_pattern_of_urls_without_a_match_is_an_error_also_among_others(tmp_path: Path) -> None:
    (tmp_path / "a.fasta").write_text(">a\nMK\n")
    for sources in ([f"file://{tmp_path}/*.none"], [str(tmp_path / "a.fasta"), f"file://{tmp_path}/*.none"]):
        with pytest.raises(BadInputError, match="no file matches"):
            expand(sources)
    assert expand([f"file://{tmp_path}/*.fasta"]) == [f"file://{tmp_path}/a.fasta"]


@pytest.mark.parametrize(
    "url",
    [
        "https://user:p@ss@127.0.0.1:9/a%20b.fasta?X-Amz-Signature=p@ss#p@ss",
        "https://127.0.0.1:9/a b.fasta?X-Amz-Signature=p@ss",
        "ftq://user:p@ss@127.0.0.1:9/a.fasta",
    ],
)
def test_secrets_of_urls_are_neither_in_names_nor_in_messages_nor_in_provenance(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "p@ss" not in display_name(url) and "user" not in display_name(url)
    assert display_name(url).startswith(url.split("://", maxsplit=1)[0] + "://127.0.0.1:9/a")
    with pytest.raises(Exception, match=r"127\.0\.0\.1:9") as caught, open_input(url):
        pass
    assert "p@ss" not in str(caught.value)
    monkeypatch.setattr(sys, "argv", ["phylocli", "embed", url, f"--reference={url}", "--motif=a?b#c"])
    parameters = {"reference": url, "sources": (url, Path("a")), "by_name": {"one": [url]}, "number": 3}
    record = provenance("embed", parameters)
    assert record["parameters"]["number"] == 3 and record["parameters"]["sources"][1] == "a"
    recorded = json.dumps(record)
    assert "p@ss" not in recorded and "--motif=a?b#c" in recorded


def test_the_advice_for_google_storage_is_its_own_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingDependencyError) as caught, open_input("gs://bucket/a.fasta"):
        pass
    assert caught.value.fix == "pip install gcsfs"
