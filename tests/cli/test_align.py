"""The command `align`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from click.testing import Result

from phylocli.formats import read_families
from phylocli.formats.family import Family
from phylocli.hmmer import build_hmm
from phylocli.store import Store


def families(data: bytes, folder: Path) -> list:
    path = folder / "out.sto"
    path.write_bytes(data)
    return list(read_families(path))


def test_families_are_aligned_to_profiles_of_themselves(phylocli: Callable, examples: Path, tmp_path: Path) -> None:
    result = phylocli("align", examples / "families.sto", "--trim", "match", "-t", "1")
    assert result.returncode == 0, result.stderr
    found = families(result.stdout, tmp_path)
    given = list(read_families(examples / "families.sto"))
    assert [f.accession for f in found] == [f.accession for f in given]
    assert [f.ids for f in found] == [f.ids for f in given]
    assert all(set(f.column_features["RF"]) == {"x"} for f in found)


def test_unaligned_sequences_need_a_profile_and_the_error_says_where_to_get_one(phylocli: Callable, examples: Path) -> None:
    result = phylocli("align", examples / "globins.fasta", "--engine", "profile")
    assert result.returncode == 65
    assert result.stdout == b""
    for way in (b"--hmm", b"--seed-alignment", b"--engine famsa"):
        assert way in result.stderr


def test_unaligned_sequences_are_aligned_de_novo_and_others_to_their_profile(cli: Callable, examples: Path) -> None:
    de_novo = cli("align", examples / "globins.fasta")
    assert de_novo.exit_code == 0, de_novo.stderr
    assert "phylocli align FAMSA" in de_novo.stdout
    again = cli("align", "-", input=de_novo.stdout.encode())
    assert "phylocli align hmmalign" in again.stdout


def test_sequences_from_a_pipe_align_to_a_profile_file(phylocli: Callable, examples: Path, tmp_path: Path) -> None:
    [globin] = [f for f in read_families(examples / "families.sto") if f.accession == "PF00042"]
    with (tmp_path / "globin.hmm").open("wb") as stream:
        build_hmm(globin).write(stream)
    fasta = (examples / "globins.fasta").read_bytes()
    result = phylocli("align", "--hmm", "globin.hmm", "-o", "globins.sto.gz", "-v", input=fasta)
    assert result.returncode == 0, result.stderr
    [done] = read_families(tmp_path / "globins.sto.gz")
    assert len(done) == 45
    assert [s.residues for s in done.sequences()] == [s.residues for s in globin.sequences()]
    assert (tmp_path / "globins.sto.gz.provenance.json").is_file()


@pytest.mark.parametrize("change", ["nothing", "an option", "the file of an option", "the profile in the store"])
def test_interrupted_command_continues_unless_what_an_alignment_depends_on_has_changed(
    cli: Callable[..., Result], examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    first = next(read_families(examples / "families.sto"))
    profiles = {"own": first, "shorter": first.subset(first.ids[:20])}
    for name, family in profiles.items():
        with (tmp_path / f"{name}.hmm").open("wb") as stream:
            build_hmm(family).write(stream)
    in_store = Store(tmp_path / "store").profile_path(first.accession)
    used = tmp_path / "used.hmm" if change == "the file of an option" else in_store
    used.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(tmp_path / "own.hmm", used)
    command = ["align", examples / "families.sto", "-o", tmp_path / "out.sto", "--threads", 1]
    command += ["--hmm", used] if change == "the file of an option" else []

    def interrupted(families: Iterable[Family], target: Path) -> None:
        next(iter(families))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("phylocli.formats.write_families", interrupted)
        assert cli(*command).exit_code == 130
    assert (tmp_path / "out.sto.partial").exists() and not (tmp_path / "out.sto").exists()
    if change == "an option":
        command += ["--trim", "match"]
    elif change != "nothing":
        shutil.copy(tmp_path / "shorter.hmm", used)
    result = cli(*command)
    assert result.exit_code == 0, result.output
    assert ("1 of 1 results of an interrupted run were used" in result.stderr) == (change == "nothing")
    there = (tmp_path / "out.sto").read_bytes()
    assert cli(*command[:3], tmp_path / "again.sto", *command[4:]).exit_code == 0
    assert there == (tmp_path / "again.sto").read_bytes()


def test_famsa_aligns_de_novo(phylocli: Callable, examples: Path, tmp_path: Path) -> None:
    result = phylocli("align", examples / "globins.fasta", "--engine", "famsa", "--min-coverage", "0.5")
    assert result.returncode == 0, result.stderr
    [done] = families(result.stdout, tmp_path)
    assert len(done) == 45
    assert 130 < sum(done.match_columns()) < 180


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--engine", "clustal"], 2, b"unknown aligner 'clustal'"),
        (["--trim", "gappy=7"], 2, b"unknown trimming"),
        (["--min-coverage", "9"], 2, b"--min-coverage"),
        (["--hmm", "/nowhere.hmm"], 65, b"no such file"),
        (["--on-duplicate", "ignore"], 2, b"--on-duplicate must be error, keep-first or rename"),
    ],
)
def test_invalid_options_have_their_exit_codes(
    cli: Callable, examples: Path, arguments: list[str], code: int, said: bytes
) -> None:
    result = cli("align", examples / "families.sto", *arguments)
    assert result.exit_code == code
    assert said.decode() in result.stderr


def test_duplicates_are_an_error_or_renamed(cli: Callable) -> None:
    fasta = b">a\nMKVLAAGIVGLC\n>a\nMKVLAAGIVGLC\n"
    assert cli("align", "--engine", "none", input=fasta).exit_code == 65
    result = cli("align", "--engine", "none", "--on-duplicate", "rename", input=fasta)
    assert result.exit_code == 0
    assert "\na.2" in result.stdout


def test_align_and_tree_take_rows_of_one_length_for_an_alignment_and_say_so(cli: Callable, tmp_path: Path) -> None:
    rows = ["MKVLAGIVAGDE", "MKVLAGIVSGDE", "MRVLSGIVSGDD", "MRVLSGLVSGDD"]
    (tmp_path / "x.fa").write_text("".join(f">s{i}\n{row}\n" for i, row in enumerate(rows)))
    for command in (["align", "--engine", "profile"], ["align", "--engine", "none"], ["tree"]):
        done = cli(*command, tmp_path / "x.fa", "-o", tmp_path / "out.sto")
        assert done.exit_code == 0, done.stderr
        assert "treating rows of equal length without gaps as aligned" in done.stderr
        (family,) = read_families(tmp_path / "out.sto")
        assert [row.upper() for row in family.rows] == rows
