"""`phylocli fetch` as a user runs it, against the stand-in server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from standin import Standin, html, status

from phylocli.formats import read_families

Run = Callable[..., Any]


def test_records_go_to_a_pipe_and_stay_in_the_store(phylocli: Run, standin: Standin, tmp_path: Path) -> None:
    result = phylocli("fetch", "PF00042.27", "PF00076")
    assert result.returncode == 0, result.stderr
    text = result.stdout.decode()
    assert text.count("# STOCKHOLM 1.0\n") == text.count("\n//\n") == 2
    assert "#=GF AC   PF00042.27\n" in text
    assert (tmp_path / "store" / "families" / "PF00042.sto.gz").is_file()
    sidecar = json.loads((tmp_path / "store" / "families" / "PF00042.sto.gz.provenance.json").read_text())
    assert sidecar["source"]["release"] == "107.0"
    offline = phylocli("fetch", "PF00042", "PF00076", "--offline")
    assert offline.stdout == result.stdout


def test_a_file_is_written_whole_with_its_provenance(cli: Run, standin: Standin, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# mine\nPF00134 cyclins\n\nPF00278.1\n")
    options = [
        "--from-file",
        tmp_path / "list.txt",
        "--clan",
        "CL0090",
        "-o",
        tmp_path / "out.sto.gz",
        "--base-url",
        standin.interpro,
    ]
    result = cli("fetch", *options, "--base-url", standin.interpro, env={"PHYLOCLI_FETCH_PATIENCE": "0.001"})
    assert result.exit_code == 0, result.stderr_bytes
    assert result.stdout_bytes == b""
    assert b"requested PF00278.1, received PF00278.15" in result.stderr_bytes
    assert [f.accession for f in read_families(tmp_path / "out.sto.gz")] == ["PF00134", "PF00278", "PF00042"]
    assert json.loads((tmp_path / "out.sto.gz.provenance.json").read_text())["stage"] == "fetch"


def test_one_failure_loses_nothing_else_and_ends_with_69(cli: Run, standin: Standin, tmp_path: Path) -> None:
    standin.always("/PF00076/", html)
    result = cli("fetch", "PF00042", "PF00076", "PF99999", "-o", tmp_path / "out.sto")
    assert result.exit_code == 69
    assert b"2 of 3 could not be fetched" in result.stderr_bytes
    assert b"HTML page" in result.stderr_bytes
    assert [f.accession for f in read_families(tmp_path / "out.sto")] == ["PF00042"]


def test_a_family_that_does_not_exist_ends_with_65(cli: Run, standin: Standin, tmp_path: Path) -> None:
    result = cli("fetch", "PF99999", "-o", tmp_path / "out.sto")
    assert result.exit_code == 65
    assert b"no family PF99999" in result.stderr_bytes
    assert not (tmp_path / "out.sto").exists()


def test_a_name_and_accessions_of_other_databases_bring_their_families(cli: Run, standin: Standin) -> None:
    result = cli("fetch", "globin", "SM00360", "CL0065")
    assert result.exit_code == 0, result.stderr
    found = re.findall("^#=GF AC   (.*)$", result.stdout, re.MULTILINE)
    assert found == ["PF00042.27", "PF00076.13", "PF00134.25"]
    assert "globin: PF00042 (Globin)" in result.stderr
    assert "SM00360 (SMART, IPR000504): PF00076 (RNA recognition motif)" in result.stderr


def test_a_name_of_no_family_lists_those_that_have_it_in_theirs(cli: Run, standin: Standin) -> None:
    result = cli("fetch", "cyclin")
    assert result.exit_code == 65
    assert result.stdout == ""
    assert "no family of Pfam is called 'cyclin'; one contains it:\n  PF00134  Cyclin_N  Cyclin" in result.stderr
    assert "phylocli fetch PF00134" in result.stderr


def test_fetch_on_a_terminal_prints_the_path_and_the_next_command(
    on_terminal: Run, standin: Standin, tmp_path: Path
) -> None:
    result = on_terminal("fetch", "PF00042")
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert f"in the store: {tmp_path / 'store' / 'families' / 'PF00042.sto.gz'}\n" in result.stderr
    assert "next: phylocli tree --family PF00042 -o trees.sto" in result.stderr
    assert "      phylocli store export PF00042 -o families.sto" in result.stderr


def test_a_service_that_is_down_ends_with_69_and_offline_needs_none(cli: Run, standin: Standin) -> None:
    standin.always("/", status(503))
    assert cli("fetch", "PF00042").exit_code == 69
    assert cli("fetch", "PF00042", "--offline").exit_code == 69


def test_the_whole_of_pfam_goes_to_the_store_and_a_second_run_fetches_nothing(
    phylocli: Run, standin: Standin, tmp_path: Path
) -> None:
    result = phylocli("fetch", "--all")
    assert result.returncode == 0, result.stderr
    assert result.stdout == b""
    assert b"14 alignments written" in result.stderr
    before = len(standin.requests)
    again = phylocli("fetch", "--all", "--release", "38.2", "--offline", "-o", "all.sto.gz")
    assert again.returncode == 0, again.stderr
    assert b"14 already in the store" in again.stderr
    assert len(standin.requests) == before
    assert len(list(read_families(tmp_path / "all.sto.gz"))) == 14


def test_proteins_of_uniprot_with_labels(cli: Run, standin: Standin, tmp_path: Path) -> None:
    options = ["--uniprot", "xref:pfam-PF00042", "--annotations", tmp_path / "labels.parquet"]
    result = cli("fetch", *options)
    assert result.exit_code == 0, result.stderr_bytes
    assert result.stdout_bytes.count(b">") == 45
    assert (tmp_path / "labels.parquet.provenance.json").is_file()
    (tmp_path / "list.txt").write_text("P01000\nP99998\n")
    listed = cli("fetch", "--accessions", tmp_path / "list.txt", "-o", tmp_path / "two.fasta")
    assert listed.exit_code == 65
    assert b"P99998" in listed.stderr_bytes
    assert (tmp_path / "two.fasta").read_bytes().startswith(b">sp|P01000|")


def test_mutually_exclusive_options_are_refused(cli: Run, standin: Standin) -> None:
    assert cli("fetch", "PF00042", "--all").exit_code == 2
    assert cli("fetch", "PF00042", "--uniprot", "x").exit_code == 2
    assert cli("fetch", "PF00042", "--annotations", "x.tsv").exit_code == 2
    assert cli("fetch", "--clan", "CL0090", "--members").exit_code == 2
    assert cli("fetch", "--uniprot", "x", "--offline").exit_code == 2
    assert cli("fetch", "PF00042", "--members", "--offline").exit_code == 2
    assert not standin.requests


def test_members_of_a_family_are_fasta(cli: Run, standin: Standin) -> None:
    result = cli("fetch", "PF00042", "--members")
    assert result.exit_code == 0, result.stderr_bytes
    assert result.stdout_bytes.count(b">") == 45


def test_a_family_runs_through_the_chain(phylocli: Run, standin: Standin) -> None:
    stages = [("fetch", "PF02460", "PF01073"), ("align",), ("tree", "--engine", "nj"), ("pairs", "--min-dist", "0.5")]
    data = b""
    for stage in stages:
        result = phylocli(*stage, input=data)
        assert result.returncode == 0, result.stderr
        data = result.stdout
    header, *rows = data.decode().splitlines()
    assert header.split("\t") == ["family", "clan", "id_a", "id_b", "distance", "relation", "seq_a", "seq_b"]
    assert {row.split("\t")[0] for row in rows} == {"PF01073", "PF02460"}
    assert all(float(row.split("\t")[4]) >= 0.5 for row in rows)
