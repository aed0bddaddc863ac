"""`phylocli store` as a user runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from phylocli.formats import read_families

Run = Callable[..., Result]


def test_import_list_verify_export_remove(cli: Run, examples: Path, tmp_path: Path) -> None:
    result = cli("store", "import", examples / "families.sto")
    assert result.exit_code == 0, result.stderr_bytes
    assert b"14 families imported" in result.stderr_bytes

    listed = cli("store", "ls", "--clan", "CL0090")
    header, row = listed.stdout.splitlines()
    assert header.split("\t")[:4] == ["accession", "version", "name", "clan"]
    assert row.split("\t")[0] == "PF00042"

    assert b"families: 14" in cli("store", "info").stdout_bytes
    assert b"clan: CL0090" in cli("store", "info", "PF00042").stdout_bytes
    assert cli("store", "verify").exit_code == 0

    exported = cli("store", "export", "PF00042", "PF00076")
    (tmp_path / "two.sto").write_bytes(exported.stdout_bytes)
    assert [f.accession for f in read_families(tmp_path / "two.sto")] == ["PF00042", "PF00076"]

    record = tmp_path / "store" / "families" / "PF00076.sto.gz"
    record.write_bytes(record.read_bytes()[:100])
    damaged = cli("store", "verify", "--remove")
    assert damaged.exit_code == 65
    assert b"PF00076" in damaged.stderr_bytes
    assert not record.exists()

    assert cli("store", "rm", "PF00042").exit_code == 0
    assert cli("store", "rm", "PF00042").exit_code == 65
    assert cli("store", "rm").exit_code == 2


def test_records_are_imported_from_a_pipe_and_used_by_the_next_stages(cli: Run, examples: Path) -> None:
    data = (examples / "families.sto").read_bytes()
    assert cli("store", "import", "-", input=data).exit_code == 0
    fetched = cli("fetch", "PF00042", "--offline")
    assert fetched.exit_code == 0, fetched.stderr_bytes
    assert fetched.stdout_bytes.startswith(b"# STOCKHOLM 1.0\n")


def test_unaligned_sequences_are_aligned_on_the_way_in(cli: Run, examples: Path) -> None:
    result = cli("store", "import", examples / "globins.fasta")
    assert result.exit_code == 0, result.stderr_bytes
    listed = cli("store", "ls").stdout.splitlines()
    assert listed[1].split("\t")[0] == "globins"
    assert listed[1].split("\t")[4] == "45"


@pytest.mark.parametrize("command", [["verify"], ["ls"], ["info"], ["export"], ["rm", "--all"]])
def test_a_store_that_does_not_exist_is_not_an_empty_one(cli: Run, tmp_path: Path, command: list[str]) -> None:
    result = cli("store", *command, "--store", tmp_path / "typo")
    assert result.exit_code == 2
    assert b"does not exist" in result.stderr_bytes
    assert not (tmp_path / "typo").exists()


def test_imported_families_that_would_have_one_name_are_named_in_the_end(cli: Run, tmp_path: Path) -> None:
    for name, letter in (("a b", "A"), ("a_b", "C"), ("other", "D")):
        (tmp_path / f"{name}.fa").write_text(f">x\nMK{letter}\n>y\nMKV\n")
    result = cli("store", "import", tmp_path)
    assert result.exit_code == 65
    assert b"1 of 3 families were not imported" in result.stderr_bytes
    assert b"a b.fa" in result.stderr_bytes
    assert b"a_b.fa" in result.stderr_bytes
    assert [line.split("\t")[0] for line in cli("store", "ls").stdout.splitlines()[1:]] == ["a_b", "other"]
