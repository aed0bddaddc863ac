"""`phylocli fetch` as a user runs it, against the stand-in server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from standin import Standin, html, status

from phylocli.formats import read_families

Run = Callable[..., object]


def test_records_go_to_a_pipe_and_stay_in_the_store(phylocli: Run, standin: Standin, tmp_path: Path) -> None:
    result = phylocli("fetch", "PF00042.27", "PF00076", env=standin.environment)
    assert result.returncode == 0, result.stderr
    text = result.stdout.decode()
    assert text.count("# STOCKHOLM 1.0\n") == text.count("\n//\n") == 2
    assert "#=GF AC   PF00042.27\n" in text
    assert (tmp_path / "store" / "families" / "PF00042.sto.gz").is_file()
    sidecar = json.loads((tmp_path / "store" / "families" / "PF00042.sto.gz.provenance.json").read_text())
    assert sidecar["source"]["release"] == "107.0"
    offline = phylocli("fetch", "PF00042", "PF00076", "--offline")
    assert offline.stdout == result.stdout


def test_a_file_is_written_whole_with_its_provenance(phylocli: Run, standin: Standin, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# mine\nPF00134 cyclins\n\nPF00278.1\n")
    options = ["--from-file", "list.txt", "--clan", "CL0090", "-o", "out.sto.gz", "--base-url", standin.interpro]
    result = phylocli("fetch", *options, env={"PHYLOCLI_FETCH_PATIENCE": "0.001"})
    assert result.returncode == 0, result.stderr
    assert result.stdout == b""
    assert b"PF00278.1 was asked for; what came is PF00278.15" in result.stderr
    assert [f.accession for f in read_families(tmp_path / "out.sto.gz")] == ["PF00134", "PF00278", "PF00042"]
    assert json.loads((tmp_path / "out.sto.gz.provenance.json").read_text())["stage"] == "fetch"


def test_one_failure_loses_nothing_else_and_ends_with_69(phylocli: Run, standin: Standin, tmp_path: Path) -> None:
    standin.always("/PF00076/", html)
    result = phylocli("fetch", "PF00042", "PF00076", "PF99999", "-o", "out.sto", env=standin.environment)
    assert result.returncode == 69
    assert b"2 of 3 did not come" in result.stderr
    assert b"HTML page" in result.stderr
    assert [f.accession for f in read_families(tmp_path / "out.sto")] == ["PF00042"]


def test_a_family_that_does_not_exist_ends_with_65(phylocli: Run, standin: Standin, tmp_path: Path) -> None:
    result = phylocli("fetch", "PF99999", "-o", "out.sto", env=standin.environment)
    assert result.returncode == 65
    assert b"no family PF99999" in result.stderr
    assert not (tmp_path / "out.sto").exists()


def test_a_name_is_refused_as_usage(phylocli: Run, standin: Standin) -> None:
    result = phylocli("fetch", "Globin", env=standin.environment)
    assert result.returncode == 2
    assert b"PF00042" in result.stderr


def test_a_service_that_is_down_ends_with_69_and_offline_needs_none(phylocli: Run, standin: Standin) -> None:
    standin.always("/", status(503))
    assert phylocli("fetch", "PF00042", env=standin.environment).returncode == 69
    assert phylocli("fetch", "PF00042", "--offline").returncode == 69


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
    assert b"14 already there" in again.stderr
    assert len(standin.requests) == before
    assert len(list(read_families(tmp_path / "all.sto.gz"))) == 14


def test_proteins_of_uniprot_with_labels(phylocli: Run, standin: Standin, tmp_path: Path) -> None:
    options = ["--uniprot", "xref:pfam-PF00042", "--annotations", "labels.parquet"]
    result = phylocli("fetch", *options)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(b">") == 45
    assert (tmp_path / "labels.parquet.provenance.json").is_file()
    (tmp_path / "list.txt").write_text("P01000\nP99998\n")
    listed = phylocli("fetch", "--accessions", "list.txt", "-o", "two.fasta")
    assert listed.returncode == 65
    assert b"P99998" in listed.stderr
    assert (tmp_path / "two.fasta").read_bytes().startswith(b">sp|P01000|")


def test_what_excludes_each_other_is_refused(phylocli: Run, standin: Standin) -> None:
    assert phylocli("fetch", "PF00042", "--all").returncode == 2
    assert phylocli("fetch", "PF00042", "--uniprot", "x").returncode == 2
    assert not standin.requests


def test_a_family_runs_through_the_chain(phylocli: Run, standin: Standin) -> None:
    stages = [("fetch", "PF00042", "PF01073"), ("align",), ("tree", "--engine", "nj"), ("pairs", "--min-dist", "0.5")]
    data = b""
    for stage in stages:
        result = phylocli(*stage, input=data)
        assert result.returncode == 0, result.stderr
        data = result.stdout
    header, *rows = data.decode().splitlines()
    assert header.split("\t") == ["family", "clan", "id_a", "id_b", "distance", "seq_a", "seq_b"]
    assert {row.split("\t")[0] for row in rows} == {"PF00042", "PF01073"}
    assert all(float(row.split("\t")[4]) >= 0.5 for row in rows)
