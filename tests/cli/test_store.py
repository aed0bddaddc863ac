"""`phylocli store` as a user runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from phylocli.formats import read_families

Run = Callable[..., object]


def test_import_list_verify_export_remove(phylocli: Run, examples: Path, tmp_path: Path) -> None:
    result = phylocli("store", "import", examples / "families.sto")
    assert result.returncode == 0, result.stderr
    assert b"14 families imported" in result.stderr

    listed = phylocli("store", "ls", "--clan", "CL0090")
    header, row = listed.stdout.decode().splitlines()
    assert header.split("\t")[:4] == ["accession", "version", "name", "clan"]
    assert row.split("\t")[0] == "PF00042"

    assert b"families: 14" in phylocli("store", "info").stdout
    assert b"clan: CL0090" in phylocli("store", "info", "PF00042").stdout
    assert phylocli("store", "verify").returncode == 0

    exported = phylocli("store", "export", "PF00042", "PF00076")
    (tmp_path / "two.sto").write_bytes(exported.stdout)
    assert [f.accession for f in read_families(tmp_path / "two.sto")] == ["PF00042", "PF00076"]

    record = tmp_path / "store" / "families" / "PF00076.sto.gz"
    record.write_bytes(record.read_bytes()[:100])
    damaged = phylocli("store", "verify", "--remove")
    assert damaged.returncode == 65
    assert b"PF00076" in damaged.stderr
    assert not record.exists()

    assert phylocli("store", "rm", "PF00042").returncode == 0
    assert phylocli("store", "rm", "PF00042").returncode == 65
    assert phylocli("store", "rm").returncode == 2


def test_records_come_in_through_a_pipe_and_feed_the_chain(phylocli: Run, examples: Path) -> None:
    data = (examples / "families.sto").read_bytes()
    assert phylocli("store", "import", "-", input=data).returncode == 0
    fetched = phylocli("fetch", "PF00042", "--offline")
    assert fetched.returncode == 0, fetched.stderr
    assert fetched.stdout.startswith(b"# STOCKHOLM 1.0\n")


def test_unaligned_sequences_are_aligned_on_the_way_in(phylocli: Run, examples: Path) -> None:
    result = phylocli("store", "import", examples / "globins.fasta")
    assert result.returncode == 0, result.stderr
    listed = phylocli("store", "ls").stdout.decode().splitlines()
    assert listed[1].split("\t")[0] == "globins"
    assert listed[1].split("\t")[4] == "45"
