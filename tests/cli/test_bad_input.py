"""Bad input: a clear message, its own exit code, and nothing half-written, whatever the command."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from phylocli.formats import read_families

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0"
SEED = b"# STOCKHOLM 1.0\n#=GF ID toy\na ACDEFGHIKL\nb ACDEFGHIKV\nc ACDEYGHIRV\nd MCDEYGHIRV\n//\n"

# Everything that reads families or sequences from a stream, with what it needs besides.
READERS = {
    "align": ["align"],
    "tree": ["tree"],
    "pairs": ["pairs"],
    "embed": ["embed", "--model", "MODEL"],
}


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    from phylocli.models.model import Model

    folder = tmp_path_factory.mktemp("model") / "model"
    Model.create("convolutional", preset="tiny", seed=0).save(folder)
    return folder


@pytest.fixture(params=READERS)
def reader(request, model):
    return [str(model) if word == "MODEL" else word for word in READERS[request.param]]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b">a\n", "no residues"),
        (PNG, "PNG"),
        (b"hello\nworld\n", "FASTA"),
        (b">a\nAC\n>a\nAD\n", "'a'"),
        (b"# STOCKHOLM 1.0\na ACDEF\n", "no '//'"),
        (b">a\nAC1DEF\n>b\nACDEF\n", "position 3"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "compressed"),
    ],
    ids=["empty", "header-only", "png", "prose", "duplicate", "no-end", "digit", "cut-gzip"],
)
def test_bad_data_end_with_65_and_leave_nothing(cli, reader, tmp_path, data, said):
    if said == "position 3":
        said = {"pairs": "has no tree"}.get(reader[0], said)  # reported first by these commands
    source = tmp_path / "bad.input"
    source.write_bytes(data)
    before = sorted(os.listdir(tmp_path))
    done = cli(*reader, source, "-o", tmp_path / "out")
    assert done.exit_code == 65, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(os.listdir(tmp_path)) == before


def test_a_folder_for_a_file(cli, tmp_path):
    done = cli("align", tmp_path)
    assert done.exit_code == 65
    assert "is a folder, not a file" in done.stderr and "fix: name a file in it" in done.stderr


def test_a_missing_file(cli, reader, tmp_path):
    done = cli(*reader, tmp_path / "nope.fasta", "-o", tmp_path / "out")
    assert done.exit_code == 65
    assert "no such file" in done.stderr


def test_an_output_that_cannot_be_written(cli, tmp_path):
    (tmp_path / "file").write_text("")
    done = cli("tree", "-", "-o", tmp_path / "file" / "out", input=SEED)
    assert done.exit_code == 1
    assert "cannot be written" in done.stderr


@pytest.mark.needs("dev-full")
@pytest.mark.parametrize("target", ["-o", "stdout"])
def test_a_full_disk(tmp_path, target):
    command = [sys.executable, "-m", "phylocli", "tree", "-"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*command, "-o", "/dev/full"] if target == "-o" else command,
            input=SEED,
            stdout=full if target == "stdout" else subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert b"o space left" in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_windows_line_ends_are_read(cli):
    unix = cli("tree", "-", "--format", "newick", input=SEED)
    windows = cli("tree", "-", "--format", "newick", input=SEED.replace(b"\n", b"\r\n"))
    assert unix.exit_code == windows.exit_code == 0
    assert unix.stdout == windows.stdout


HOSTILE = ["a/1-3", "b:c", "d(e)", "'f'", '"g"', "ünï", "h" * 10_000, "i,j;k", "[l]"]


def test_hostile_names_are_preserved_by_the_pipeline(cli, tmp_path):
    rows = ["ACDEFGHIKLMNPQRSTVWY" * 2] * len(HOSTILE)
    rows = [row[:i] + "W" * 4 + row[i + 4 :] for i, row in enumerate(rows)]
    record = "# STOCKHOLM 1.0\n" + "".join(f"{n} {r}\n" for n, r in zip(HOSTILE, rows, strict=True)) + "//\n"
    aligned = cli("align", "-", input=record.encode())
    assert aligned.exit_code == 0, aligned.stderr
    tree = cli("tree", "-", input=aligned.stdout.encode())
    assert tree.exit_code == 0, tree.stderr
    pairs = cli("pairs", "-", "-n", 100, input=tree.stdout.encode())
    assert pairs.exit_code == 0, pairs.stderr
    lines = [line.split("\t") for line in pairs.stdout.splitlines()[1:]]
    assert {name for line in lines for name in line[2:4]} == set(HOSTILE)
    assert len(lines) == len(HOSTILE) * (len(HOSTILE) - 1) // 2


def test_two_identical_sequences(cli, model):
    data = b"# STOCKHOLM 1.0\na ACDEFG\nb ACDEFG\n//\n"
    tree = cli("tree", "-", input=data)
    assert tree.exit_code == 0, tree.stderr
    pairs = cli("pairs", "-", input=tree.stdout.encode())
    assert pairs.exit_code == 0, pairs.stderr
    assert float(pairs.stdout.splitlines()[1].split("\t")[4]) == 0
    embedded = cli("embed", "-", "--model", model, input=b">a\nACDEFG\n>b\nACDEFG\n")
    first, second = (line.split("\t")[1:] for line in embedded.stdout.splitlines()[1:])
    assert first == second


def test_a_family_of_one_has_no_pairs(cli):
    tree = cli("tree", "-", input=b"# STOCKHOLM 1.0\na ACDEFG\n//\n")
    assert tree.exit_code == 0, tree.stderr
    assert "#=GF NH" in tree.stdout
    pairs = cli("pairs", "-", input=tree.stdout.encode())
    assert pairs.exit_code == 65
    assert "pair" in pairs.stderr


def test_tips_that_do_not_match_the_alignment(cli):
    done = cli("pairs", "-", input=SEED.replace(b"#=GF ID toy\n", b"#=GF ID toy\n#=GF NH ((a:1,b:1):1,(c:1,x:1):1);\n"))
    assert done.exit_code == 65
    assert "d" in done.stderr
    assert "x" in done.stderr


def test_a_very_long_sequence_and_one_of_unknowns_are_embedded(cli, model):
    done = cli("embed", "-", "--model", model, input=b">long\n" + b"ACDEFGHIKL" * 4_000 + b"\n>x\n" + b"X" * 50 + b"\n")
    assert done.exit_code == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()[1:]]
    assert [(row[0], row[1]) for row in rows] == [("long", "40000"), ("x", "50")]


def test_head_ends_the_pipe_quietly():
    code = (
        "import typer; from phylocli.cli._process import guarded\n"
        "def command():\n"
        "    for _ in range(100_000): print('x' * 80)\n"
        "app = typer.Typer(); app.command()(guarded(command)); app()\n"
    )
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$0" -c "$1" | head -n 1', sys.executable, code], capture_output=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == b""


def unread(pipe: int) -> int:
    """Return the number of unread bytes in a pipe."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_an_interrupt_ends_with_130_and_leaves_nothing(reader, tmp_path):
    source, sink = os.pipe()
    command = [sys.executable, "-m", "phylocli", *reader, "-", "-o", tmp_path / "out"]
    process = subprocess.Popen(command, stdin=source, stderr=subprocess.PIPE)
    os.write(sink, SEED.removesuffix(b"//\n"))  # the command waits for the record's end
    while unread(source) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    os.close(source)
    os.close(sink)
    assert process.returncode == 130, stderr
    assert b"interrupted" in stderr
    assert b"Traceback" not in stderr
    assert os.listdir(tmp_path) == []


# Fast commands, for tests of start-up and exit.
READS = """
import typer
from phylocli import cli
from phylocli.cli._process import guarded
from phylocli.formats.streams import open_input, open_output
def command(target: str):
    with open_output(target) as out, open_input("-") as stream:
        out.write(b"read: " + stream.read())
app = typer.Typer()
app.command()(guarded(command))
cli.build = lambda: app
cli.main()
"""


def with_closed(redirection, target, tmp_path):
    return subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" "$2" {redirection}', sys.executable, READS, target],
        input=b"data",
        capture_output=True,
        check=False,
        cwd=tmp_path,
    )


@pytest.mark.parametrize(
    ("redirection", "target", "code", "said"),
    [
        ("<&-", "-", 65, b"standard input is closed"),
        (">&-", "-", 1, b"standard output is closed"),
        (">&- <&-", "-", 65, b"standard input is closed"),
        ("2>&- <&-", "-", 65, b""),
    ],
)
def test_a_standard_stream_that_is_closed_is_an_error_and_no_traceback(tmp_path, redirection, target, code, said):
    done = with_closed(redirection, target, tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr and b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_stream_that_is_not_needed_is_ignored(tmp_path, redirection):
    """Without a null device in its place, the output file would get its number, and with it all messages."""
    done = with_closed(redirection, "out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == b"read: data"


def test_text_that_a_terminal_cannot_show_is_no_traceback(tmp_path):
    code = "import sys; from phylocli import cli; cli.build = lambda: lambda: print('Zoë │ x'); cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"Zo\\xeb \\u2502 x\n"), done.stderr


@pytest.mark.usefixtures("heeds_hangups")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGXCPU", "SIGUSR1", "SIGUSR2"])
def test_a_signal_that_ends_the_process_leaves_nothing_half_written(tmp_path, name):
    (tmp_path / "out").write_text("old")
    process = subprocess.Popen(
        [sys.executable, "-c", READS, "out"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    )
    deadline = time.monotonic() + 60
    while ".out.part" not in os.listdir(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(getattr(signal, name))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + getattr(signal, name), stderr
    assert b"Traceback" not in stderr
    assert os.listdir(tmp_path) == ["out"] and (tmp_path / "out").read_text() == "old"


def test_a_signal_that_is_ignored_as_under_nohup_stays_so(tmp_path):
    process = subprocess.Popen(
        ["bash", "-c", 'trap "" HUP; exec "$0" "$@"', sys.executable, "-c", READS, "out"],
        stdin=subprocess.PIPE,
        cwd=tmp_path,
    )
    deadline = time.monotonic() + 60
    while ".out.part" not in os.listdir(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGHUP)
    process.communicate(b"data", timeout=60)
    assert process.returncode == 0 and (tmp_path / "out").read_bytes() == b"read: data"


@pytest.mark.parametrize(
    "command", ["align", "tree", "pairs", "families", "store import", "embed", "simulate --frequencies"]
)
def test_the_advice_on_a_duplicate_id_names_options_that_there_are(
    cli: Callable[..., Result], tmp_path: Path, command: str
) -> None:
    (tmp_path / "dup.fasta").write_text(">a\nMKV-LAAG\n>a\nMKVALAAG\n>b\nMKVALAAW\n")
    words = command.split()
    done = cli(*words, tmp_path / "dup.fasta")
    assert done.exit_code == 65, done.stderr
    assert "the id 'a' occurs twice" in done.stderr
    fix = done.stderr.split("fix: ", 1)[1]
    named = re.sub(r"'phylocli [^']*'", "", fix)  # quoted text is another command
    help_text = cli(*(word for word in words if not word.startswith("-")), "--help").stdout
    assert set(re.findall(r"--[a-z-]+", named)) <= {*re.findall(r"--[a-z-]+", help_text), "--engine"}


def test_the_command_that_the_advice_on_a_duplicate_id_names_works(cli: Callable[..., Result]) -> None:
    renamed = cli(
        "align", "--engine", "none", "--on-duplicate", "rename", input=b">a\nMKV-LAAG\n>a\nMKVALAAG\n>b\nMKVALAAW\n"
    )
    assert renamed.exit_code == 0
    assert cli("tree", input=renamed.stdout_bytes).exit_code == 0


@pytest.mark.parametrize("command", [["tree"], ["align", "--engine", "none"]])
@pytest.mark.parametrize("bad", ["a MKV\na MKA\n", "a MKV\nb MK\n", "a M1V\nb MKV\n"])
def test_invalid_record_does_not_affect_others(
    cli: Callable[..., Result], tmp_path: Path, command: list[str], bad: str
) -> None:
    rows = ["a MKVLAAGIAV\nb MKVLAAGIAW\n", bad, "c MKVLAAGIAV\nd MKWLAAGIAW\n"]
    text = "".join(f"# STOCKHOLM 1.0\n#=GF AC PF{i}\n{row}//\n" for i, row in enumerate(rows))
    done = cli(*command, "-o", tmp_path / "out.sto", input=text.encode())
    assert [family.accession for family in read_families(tmp_path / "out.sto")] == ["PF0", "PF2"]
    assert done.exit_code == 65
    assert "warning: PF1: " in done.stderr
    assert "1 of 3 families" in done.stderr
    (tmp_path / "out.sto").unlink()
    alone = cli(*command, "-o", tmp_path / "out.sto", input=f"# STOCKHOLM 1.0\n#=GF AC PF1\n{bad}//\n".encode())
    assert alone.exit_code == 65
    assert not (tmp_path / "out.sto").exists()
