"""Outputs: links, pipes, long names, folders that vanish, full and read-only places, and two runs at once."""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from phylocli.core.errors import PhylocliError, UsageError
from phylocli.formats import provenance, streams
from phylocli.formats.tables import format_of


def write(path, text="new"):
    with streams.open_text_output(path) as handle:
        handle.write(text)
    provenance.write_sidecar(path, "test", {})


@pytest.mark.parametrize("there", [True, False])
def test_symbolic_link_is_kept_and_its_target_is_written(tmp_path, there):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "x", tmp_path / "link"
    if there:
        target.write_text("old")
    link.symlink_to("real/x")
    write(link)
    assert link.is_symlink() and target.read_text() == "new"
    assert os.listdir(tmp_path / "real") == ["x"]


def test_a_link_to_itself_is_explained(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(PhylocliError, match="points to itself"):
        write(tmp_path / "loop")


def write_by_path(path, text):
    with streams.atomic_path(path) as part:
        part.write_text(text)


@pytest.mark.parametrize("how", [write, write_by_path])
def test_a_named_pipe_is_written_to_and_stays(tmp_path, how):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()), daemon=True)
    reader.start()
    how(pipe, "through")
    reader.join(timeout=60)
    assert found == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode) and os.listdir(tmp_path) == ["pipe"]


@pytest.mark.parametrize("letter", ["x", "é", "日"])
def test_the_longest_names_that_there_are_have_a_provenance(tmp_path, letter):
    """Names of 255 bytes; their sidecars differ where the names do."""
    size = len(letter.encode())
    paths = [tmp_path / (letter * (254 // size) + end).ljust(1) for end in ("a", "b")]
    for path in paths:
        write(path)
    assert len({provenance.sidecar_path(path) for path in paths}) == 2
    assert all(provenance.sidecar_path(path).is_file() for path in paths)
    assert len(os.listdir(tmp_path)) == 4


@pytest.mark.parametrize("name", [".", "..", "new/", "there", "there/", "/"])
def test_a_folder_where_a_file_is_wanted_is_a_usage_error(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        write(name)
    assert os.listdir(tmp_path) == ["there"]


def test_an_empty_name_is_a_usage_error():
    with pytest.raises(UsageError, match="no name"):
        write("")


def test_a_file_where_a_folder_is_wanted_is_kept(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is a file"), streams.atomic_directory(tmp_path / "notes.txt"):
        pass
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "magic"), [("X.TSV.GZ", b"\x1f\x8b"), ("x.Zst", b"\x28\xb5"), ("x.BZ2", b"BZh"), ("x.XZ", b"\xfd7z")]
)
def test_suffixes_in_capitals_count(tmp_path, name, magic):
    write(tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(magic)
    assert streams.read_text(tmp_path / name) == "new"
    assert format_of("X.CSV.GZ", "tsv") == "csv"


def test_the_mode_of_a_file_that_is_replaced_stays(tmp_path):
    path = tmp_path / "private"
    path.write_text("old")
    path.chmod(0o600)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.read_text() == "new"


# ---- what fails ----


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "quota"),
        (errno.EIO, "failed while writing"),
        (errno.EFBIG, "larger than allowed"),
        (errno.EROFS, "cannot be written"),
    ],
)
@pytest.mark.parametrize("folder", [False, True])
def test_what_was_there_before_is_there_after_a_failure(tmp_path, number, said, folder):
    """Raised where the disk would raise it: while the new content is written."""
    target = tmp_path / "out"
    if folder:
        target.mkdir()
    kept = target / "x" if folder else target
    kept.write_text("old")
    with pytest.raises(PhylocliError, match=said) as caught:
        if folder:
            with streams.atomic_directory(target) as part:
                (part / "x").write_text("half")
                raise OSError(number, os.strerror(number))
        else:
            with streams.atomic_path(target) as part:
                part.write_text("half")
                raise OSError(number, os.strerror(number))
    assert caught.value.exit_code == 1
    assert kept.read_text() == "old" and os.listdir(tmp_path) == ["out"]


def test_a_limit_of_file_size_is_explained_and_the_old_file_stays(tmp_path):
    import resource

    path = tmp_path / "out"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(PhylocliError, match="larger than allowed"):
            write(path, "x" * 1_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["out"]


def test_a_folder_that_vanishes_is_explained(tmp_path):
    place = tmp_path / "gone"
    with pytest.raises(PhylocliError, match="its folder does not exist"), streams.open_text_output(place / "x") as handle:
        handle.write("text")
        handle.flush()
        import shutil

        shutil.rmtree(place)


@pytest.fixture
def ordinary_user(tmp_path):
    """Run as a user without privileges, to whom permissions apply."""
    if os.geteuid() != 0:
        yield
        return
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o001:  # pytest's own are closed to others
            folder.chmod(0o755)
    os.chown(tmp_path, pwd.getpwnam("nobody").pw_uid, -1)
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


def test_read_only_folders_are_explained_and_contents_unchanged(tmp_path, ordinary_user):
    folder, path = tmp_path / "sealed", tmp_path / "sealed" / "x"
    folder.mkdir()
    path.write_text("old")
    folder.chmod(0o555)
    for refused in (path, folder / "y", folder / "deep" / "y"):
        with pytest.raises(PhylocliError, match="cannot be written"):
            write(refused)
        with pytest.raises(PhylocliError, match="cannot be written"), streams.atomic_directory(folder / "z"):
            pass
    folder.chmod(0o755)
    path.chmod(0o444)
    with pytest.raises(PhylocliError, match="write-protected"):
        write(path)
    assert path.read_text() == "old" and os.listdir(folder) == ["x"]


# ---- two runs at once, and runs that were killed ----


def test_a_second_run_into_an_output_that_is_being_written_is_refused(tmp_path):
    path = tmp_path / "out"
    with streams.open_text_output(path) as first:
        first.write("first")
        with pytest.raises(PhylocliError, match="another run is writing"):
            write(path, "second")
    assert path.read_text() == "first"
    write(path, "third")
    place = tmp_path / "folder"
    refused = pytest.raises(PhylocliError, match="another run is writing")
    with streams.atomic_directory(place), refused, streams.atomic_directory(place):
        pass
    assert sorted(os.listdir(tmp_path)) == ["folder", "out", "out.provenance.json"]


def test_small_files_that_many_threads_write_are_each_whole(tmp_path):
    path = tmp_path / "index"
    threads = [threading.Thread(target=streams.write_text, args=(path, letter * 5000)) for letter in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert path.read_text() in [letter * 5000 for letter in "abcdefgh"]
    assert os.listdir(tmp_path) == ["index"]


KILLED = """
import os, signal, sys
from phylocli.formats import streams
folder = sys.argv[2] == "folder"
with (streams.atomic_directory if folder else streams.atomic_path)(sys.argv[1]) as part:
    (part / "half" if folder else part).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_leftovers_of_a_killed_run_are_reused(tmp_path, kind):
    path = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path), kind], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == [".out.part"]
    if kind == "file":
        streams.write_text(path, "whole")
    else:
        with streams.atomic_directory(path) as part:
            assert os.listdir(part) == []
    assert os.listdir(tmp_path) == ["out"]


def test_folder_moved_by_a_killed_run_is_restored(tmp_path):
    """Killed between the two renames that put the new folder into the place of the old one."""
    (tmp_path / ".model.old").mkdir()
    (tmp_path / ".model.old" / "weights").write_text("old")
    with pytest.raises(RuntimeError), streams.atomic_directory(tmp_path / "model"):
        raise RuntimeError
    assert (tmp_path / "model" / "weights").read_text() == "old"
    assert os.listdir(tmp_path) == ["model"]


def test_the_temporary_name_is_no_way_to_another_file(tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".out.part").symlink_to("victim")
    with pytest.raises(PhylocliError, match="cannot be written"):
        write(tmp_path / "out")
    assert (tmp_path / "victim").read_text() == "mine"


def test_names_of_files_that_are_no_utf8_go_through(tmp_path):
    from phylocli.formats import read_families, write_families

    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.fa"))
    path.write_text(">a\nAC-\n>b\nACD\n")
    (family,) = read_families(path)
    assert family.name == "café"
    write_families([family], tmp_path / "out.sto")
    assert next(read_families(tmp_path / "out.sto")).name == "café"


def test_a_signal_just_after_the_temporary_file_was_made_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(handle, how):
        monkeypatch.undo()
        raise KeyboardInterrupt

    (tmp_path / "out").write_text("old")
    monkeypatch.setattr(fcntl, "flock", interrupted)
    with pytest.raises(KeyboardInterrupt), streams.atomic_path(tmp_path / "out"):
        pass
    assert os.listdir(tmp_path) == ["out"]


def test_a_signal_between_the_making_of_the_temporary_file_and_its_number_leaves_nothing(tmp_path, monkeypatch):
    make = os.open

    def interrupted(path, flags, mode):
        monkeypatch.undo()
        os.close(make(path, flags, mode))
        raise KeyboardInterrupt

    (tmp_path / "out").write_text("old")
    monkeypatch.setattr(os, "open", interrupted)
    with pytest.raises(KeyboardInterrupt), streams.atomic_path(tmp_path / "out"):
        pass
    assert os.listdir(tmp_path) == ["out"]


def test_the_temporary_file_of_the_next_run_is_left_alone(tmp_path):
    with pytest.raises(KeyboardInterrupt), streams.atomic_path(tmp_path / "out") as part:
        part.unlink()
        part.write_text("of the next run")  # under the same name, and another file
        raise KeyboardInterrupt
    assert part.read_text() == "of the next run"
