"""The store: round trip, detection of damage, removal."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standin import Standin, example_families

from phylocli.core.errors import BadInputError, UsageError
from phylocli.fetch import Policy, fetch_release, import_families
from phylocli.formats import Family, read_families, read_sequences
from phylocli.formats.newick import NewickTree
from phylocli.formats.sequences.a2m import fill_inserts
from phylocli.store import (
    Store,
    describe,
    export_families,
    is_safe,
    remove_families,
    report_findings,
    verify_store,
    write_inventory,
)
from phylocli.store.inventory import read_entry


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def full(store: Store, examples: Path) -> Store:
    """A store with the examples' families."""
    import_families([examples / "families.sto"], store)
    return store


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)


# ---- in and out ----


def test_stockholm_of_many_records_is_imported_and_exported_unchanged(full: Store, examples: Path, tmp_path: Path) -> None:
    assert export_families(full, tmp_path / "out.sto") == 14
    originals = {f.accession: f for f in read_families(examples / "families.sto")}
    copies = {f.accession: f for f in read_families(tmp_path / "out.sto")}
    assert copies.keys() == originals.keys()
    for accession, family in originals.items():
        copy = copies[accession]
        assert (copy.ids, copy.rows, copy.version, copy.clan) == (family.ids, family.rows, family.version, family.clan)


def test_export_as_fasta_is_without_gaps(full: Store, tmp_path: Path) -> None:
    export_families(full, tmp_path / "out.fasta", accessions=["PF01073"], format="fasta")
    found = list(read_sequences(tmp_path / "out.fasta"))
    assert [s.residues for s in found] == [s.residues for s in full.read("PF01073").sequences()]


def test_existing_families_are_kept_unless_replaced(full: Store, examples: Path) -> None:
    before = full.family_path("PF00042").stat().st_mtime_ns
    assert import_families([examples / "families.sto"], full) == 0
    assert full.family_path("PF00042").stat().st_mtime_ns == before
    assert import_families([examples / "families.sto"], full, replace_existing=True) == 14
    assert full.family_path("PF00042").stat().st_mtime_ns > before


def test_a_folder_holds_one_family_a_file(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "aligned.fasta").write_text(">a\nAC-DE\n>b\nACWDE\n")
    (folder / "loop.a2m").write_text(">a\nACklDE\n>b\nAC-E\n>c\nACmDEw\n")
    (folder / "packed.a3m.gz").write_bytes(gzip.compress(b">a\nACDE\n>b\nAgC-E\n"))
    (folder / "single.fa").write_text(">alone\nACDEFGH\n")
    (folder / "notes.txt").write_text("not a family")
    (folder / ".hidden.fasta").write_text("nor this")
    assert import_families([folder], store) == 4
    assert store.accessions() == ["aligned", "loop", "packed", "single"]
    assert store.read("aligned").rows == ["AC-DE", "ACWDE"]
    assert store.read("loop").rows == ["ACklDE.", "AC..-E.", "ACm.DEw"]
    assert store.read("packed").rows == ["A.CDE", "AgC-E"]
    assert len(store.read("single")) == 1
    assert report_findings(verify_store(store)) is None


def fasta_family(letters: str) -> str:
    return f">x\nMK-{letters}\n>y\nMKWA\n"


def record(head: str, letter: str) -> str:
    return f"# STOCKHOLM 1.0\n{head}x   MK{letter}\ny   MKW\n//\n"


@pytest.mark.parametrize(
    ("files", "names", "lost"),
    [
        ({f"cluster.{i}.fa": fasta_family("ACDE"[i]) for i in range(4)}, [f"cluster.{i}" for i in range(4)], 0),
        ({f"{s}.GRCh38.fa.gz": fasta_family(s) for s in "AC"}, ["A.GRCh38", "C.GRCh38"], 0),
        ({"x.fa": fasta_family("A"), "x.fasta": fasta_family("C")}, ["x"], 1),
        ({"a b.fa": fasta_family("A"), "a_b.fa": fasta_family("C")}, ["a_b"], 1),
        ({"n.fa": fasta_family("A"), "Ünï.fa": fasta_family("C")}, ["n"], 1),
        ({"x.fa": fasta_family("A"), "x.fasta": fasta_family("A")}, ["x"], 0),  # the same family twice
        ({"many.sto": "".join(record("", c) for c in "ACD")}, ["many.1", "many.2", "many.3"], 0),
        ({"one.sto": record("", "A")}, ["one"], 0),
        ({"many.sto": "".join(record("#=GF AC PF1.2\n", c) for c in "ACD")}, ["PF1"], 2),
        ({"many.sto": "".join(record("#=GF ID Toy\n", c) for c in "AC")}, ["Toy"], 1),
        ({"a.sto": record("#=GF ID Toy\n", "A"), "b.sto": record("#=GF ID Toy\n", "C")}, ["Toy"], 1),
    ],
)
@pytest.mark.parametrize("replace", [False, True])
def test_no_family_of_an_import_takes_the_place_of_another(
    store: Store, tmp_path: Path, files: dict[str, str], names: list[str], lost: int, replace: bool
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, text in files.items():
        data = text.encode()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    if lost:
        with pytest.raises(BadInputError) as caught:
            import_families([folder], store, replace_existing=replace)
        assert f"{lost} of {len(names) + lost} families were not imported" in str(caught.value)
    else:
        assert import_families([folder], store, replace_existing=replace) == len(names)
    assert store.accessions() == names
    first = "MKA" if any(name.endswith(".sto") for name in files) else "MK-A"
    assert store.read(names[0]).rows[0] == first  # the first family keeps the name


def test_another_family_of_a_name_that_is_there_is_not_called_the_same(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.fa").write_text(fasta_family("A"))
    assert import_families([tmp_path / "x.fa"], store) == 1
    assert import_families([tmp_path / "x.fa"], store) == 0
    assert "x is already in the store" in capsys.readouterr().err
    (tmp_path / "x.fa").write_text(fasta_family("C"))
    assert import_families([tmp_path / "x.fa"], store) == 0
    assert "x was not imported: the store has another family with this name" in " ".join(capsys.readouterr().err.split())
    assert store.read("x").rows[0] == "MK-A"


def test_invalid_record_does_not_stop_an_import(store: Store, tmp_path: Path) -> None:
    bad = ["x MKA\nx MKC\n", "x MKA\ny MK\n", "x MKA b\n", "x MKA\n#=GC RF xx\n"]
    text = "".join(
        record(f"#=GF ID good{i}\n", "A") + f"# STOCKHOLM 1.0\n#=GF ID bad{i}\n{rows}//\n" for i, rows in enumerate(bad)
    )
    (tmp_path / "many.sto").write_text(text + record("#=GF ID last\n", "A"))
    with pytest.raises(BadInputError, match="4 of 9 families were not imported; 5 written"):
        import_families([tmp_path / "many.sto"], store)
    assert store.accessions() == ["good0", "good1", "good2", "good3", "last"]


def test_sequences_that_are_not_aligned_are_aligned_or_refused(store: Store, examples: Path) -> None:
    with pytest.raises(BadInputError, match="globins is not aligned"):
        import_families([examples / "globins.fasta"], store)
    assert store.accessions() == []

    def align(family: Family) -> Family:
        width = max(map(len, family.rows))
        family.rows = [row.ljust(width, "-") for row in family.rows]
        family.aligned = True
        return family

    assert import_families([examples / "globins.fasta"], store, align=align) == 1
    assert len(store.read("globins")) == 45


def test_hostile_names_stay_within_the_store(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "x.sto"
    record = "# STOCKHOLM 1.0\n#=GF ID   {}\na AC-DE\nb ACWDE\n//\n"
    names = ["../../escape", "/etc/passwd", "a b/c", "..", "é" * 10, "x" * 300]
    path.write_text("".join(record.format(name) for name in names))
    import_families([path], store, replace_existing=True)
    inside = set(tmp_path.rglob("*.sto.gz"))
    assert inside
    assert all(p.parent == store.root / "families" for p in inside)
    assert all(is_safe(name) for name in store.accessions())
    assert all(store.read(name).name == name for name in store.accessions())


def test_a_record_that_is_cut_short_is_refused_and_those_before_it_stay(
    store: Store, examples: Path, tmp_path: Path
) -> None:
    text = (examples / "families.sto").read_text()
    (tmp_path / "cut.sto").write_text(text[: len(text) // 2])
    with pytest.raises(BadInputError, match="no '//' at its end"):
        import_families([tmp_path / "cut.sto"], store)
    assert 0 < len(store.accessions()) < 14
    report_findings(verify_store(store))


def test_release_on_disk_is_imported_as_if_fetched(standin: Standin, store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "Pfam38.2"
    folder.mkdir()
    for name, data in standin.files().items():
        (folder / name).write_bytes(data)
    assert import_families([folder], store) == 14
    fetched = Store(tmp_path / "fetched")
    fetch_release(store=fetched, policy=Policy().scaled(0.001))
    for accession in fetched.accessions():
        assert store.family_path(accession).read_bytes() == fetched.family_path(accession).read_bytes()
        assert store.profile_path(accession).read_bytes() == fetched.profile_path(accession).read_bytes()
    assert store.origin("PF00042")["source"]["release"] == "38.2"
    assert import_families([folder], store) == 0
    damage(folder / "Pfam-A.seed.gz")
    with pytest.raises(BadInputError, match="md5_checksums"):
        import_families([folder], Store(tmp_path / "third"))


def test_decompressed_release_on_disk_is_imported(standin: Standin, store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "Pfam38.2"
    folder.mkdir()
    (folder / "Pfam-A.seed").write_bytes(gzip.decompress(standin.files()["Pfam-A.seed.gz"]))
    assert import_families([folder], store) == 14
    assert store.origin("PF00042")["source"]["release"] == "38.2"


# ---- looking ----


def test_inventory_matches_the_records(full: Store, tmp_path: Path) -> None:
    family = full.read("PF01073")
    family.tree = NewickTree("(" + ",".join(f"'{name}':1" for name in family.ids) + ");")
    full.write(family, "tree", {})
    assert write_inventory(full, tmp_path / "ls.tsv") == 14
    rows = {row["accession"]: row for row in pl.read_csv(tmp_path / "ls.tsv", separator="\t").to_dicts()}
    for accession, original in example_families().items():
        row = rows[accession]
        assert (row["sequences"], row["columns"]) == (len(original), original.columns)
        assert (row["name"], row["clan"] or "") == (original.name, original.clan)
        assert row["tree"] == (accession == "PF01073")
        assert row["bytes"] == full.family_path(accession).stat().st_size
    write_inventory(full, tmp_path / "ls2.tsv", clans=["CL0090"])
    assert pl.read_csv(tmp_path / "ls2.tsv", separator="\t")["accession"].to_list() == ["PF00042"]
    with pytest.raises(BadInputError, match="PF99999"):
        write_inventory(full, tmp_path / "ls3.tsv", accessions=["PF99999"])


def test_families_of_a_clan_are_found(full: Store) -> None:
    assert full.clan("CL0090") == ["PF00042"]
    assert full.clan("CL9999") == []


def test_the_summary_counts(full: Store) -> None:
    lines = dict(line.split(": ", 1) for line in describe(full))
    assert lines["families"] == "14"
    assert lines["sequences"] == str(sum(map(len, example_families().values())))
    assert dict(line.split(": ", 1) for line in describe(full, ["PF00042"]))["clan"] == "CL0090"


def test_a_tree_keeps_where_the_family_came_from(store: Store) -> None:
    family = example_families()["PF00042"]
    store.write(family, "fetch", {}, source={"service": "InterPro", "release": "107.0"})
    store.write(family, "tree", {"engine": "bme"})
    assert store.origin("PF00042")["stage"] == "tree"
    assert store.origin("PF00042")["source"]["release"] == "107.0"


# ---- verifying ----


def test_a_store_that_is_well_has_no_finding(full: Store) -> None:
    assert verify_store(full) == []


def corrupt(store: Store, how: str) -> Path:
    path = store.family_path("PF00042")
    family = store.read("PF00042")
    if how == "a flipped bit":
        damage(path)
    elif how == "cut short":
        path.write_bytes(path.read_bytes()[:-20])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "another family":
        path.write_bytes(store.family_path("PF00076").read_bytes())
    elif how == "a member too few":
        text = gzip.decompress(path.read_bytes())
        first = family.ids[0].encode()
        text = b"\n".join(line for line in text.split(b"\n") if not line.startswith(first + b" "))
        path.write_bytes(gzip.compress(text))
    elif how == "a tree of others":
        family.tree = NewickTree("(x:1,y:1);")
        store.write(family, "tree", {})
    return path


@pytest.mark.parametrize(
    "how", ["a flipped bit", "cut short", "empty", "another family", "a member too few", "a tree of others"]
)
def test_damaged_files_are_found_and_can_be_removed(full: Store, how: str) -> None:
    path = corrupt(full, how)
    found = verify_store(full)
    assert found
    assert {finding.path for finding in found} == {path}
    with pytest.raises(BadInputError, match="damaged"):
        report_findings(found)
    assert verify_store(full, ["PF00076"]) == []
    verify_store(full, remove=True)
    assert "PF00042" not in full
    assert verify_store(full) == []


def test_profiles_and_release_files_are_verified_too(standin: Standin, store: Store) -> None:
    fetch_release(store=store, policy=Policy().scaled(0.001))
    assert verify_store(store) == []
    damage(store.profile_path("PF00042"))
    damage(store.release_path("38.2") / "Pfam-A.seed.gz")
    paths = {finding.path.name for finding in verify_store(store) if finding.harmful}
    assert paths == {"PF00042.hmm", "Pfam-A.seed.gz"}


def test_leftovers_of_a_killed_run_are_named_when_they_are_old(full: Store) -> None:
    part = full.root / "families" / ".PF00042.sto.gz.1.part"
    part.write_bytes(b"half")
    assert verify_store(full) == []
    assert len(full.accessions()) == 14
    os.utime(part, (time.time() - 7200,) * 2)
    (finding,) = verify_store(full, remove=True)
    assert not finding.harmful
    assert not part.exists()


# ---- removing ----


def test_removed_families_leave_no_files(standin: Standin, store: Store) -> None:
    fetch_release(store=store, policy=Policy().scaled(0.001))
    assert remove_families(store, accessions=["PF00076"], clans=["CL0090"]) == 2
    assert not [p for p in store.root.rglob("*") if p.name.startswith(("PF00076.", "PF00042."))]
    remove_families(store, release="38.2")
    assert not store.release_path("38.2").exists()
    assert len(store.accessions()) == 12
    assert remove_families(store, all_=True) == 12
    with pytest.raises(UsageError):
        remove_families(store)
    with pytest.raises(BadInputError):
        remove_families(store, accessions=["PF00042"])
    with pytest.raises(BadInputError):
        remove_families(store, release="37.0")


# ---- locks ----

HOLD = """
import sys, time
from phylocli.store import Store
with Store(sys.argv[1]).locked():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_ends_with_the_process_that_held_it(store: Store) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(store.root)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        process.kill()
    with store.locked():
        pass


def test_a_writer_waits_for_the_lock(store: Store, tmp_path: Path) -> None:
    over = tmp_path / "over"
    held = HOLD.replace("time.sleep(60)", "time.sleep(1); open(sys.argv[2], 'w').close()")
    with subprocess.Popen([sys.executable, "-c", held, str(store.root), str(over)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert not over.exists()
        store.write(example_families()["PF00042"], "fetch", {})
        assert over.exists()


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    from phylocli.core.errors import PhylocliError

    with pytest.raises(PhylocliError, match="cannot be written"):
        Store(tmp_path / "file").write(example_families()["PF00042"], "fetch", {})


# ---- A2M ----


def test_rows_of_different_match_columns_are_no_a2m() -> None:
    with pytest.raises(BadInputError, match="'b' has 3 match columns"):
        fill_inserts(["a", "b"], ["ACDE", "ACkD"], "x.a2m")
    with pytest.raises(BadInputError, match="not part of A2M"):
        fill_inserts(["a"], ["AC D"], "x.a2m")


segment = st.text("acdefg", max_size=3)


@given(
    st.integers(1, 6).flatmap(lambda width: st.lists(st.lists(segment, min_size=width + 1, max_size=width + 1), min_size=1))
)
def test_filled_rows_have_one_length_and_the_same_residues(inserts: list[list[str]]) -> None:
    rows = ["".join(part + "A" for part in row[:-1]) + row[-1] for row in inserts]
    filled, reference = fill_inserts([f"r{n}" for n in range(len(rows))], rows, "x")
    assert len({len(row) for row in filled}) == 1
    assert [row.replace(".", "") for row in filled] == rows
    # Column by column, match states stand under match states only.
    for mark, column in zip(reference, zip(*filled, strict=True), strict=True):
        assert all((letter == "A") == (mark == "x") for letter in column)
    assert fill_inserts([str(n) for n in range(len(rows))], filled, "x") == (filled, reference)


def test_entries_of_damaged_records_do_not_stop_the_inventory(full: Store, tmp_path: Path) -> None:
    full.family_path("PF00042").write_bytes(b"\x1f\x8bnonsense")
    with pytest.raises(BadInputError, match="cannot be read"):
        read_entry(full.root, "PF00042")
    assert write_inventory(full, tmp_path / "ls.tsv") == 14


def test_the_provenance_names_the_file_that_a_family_came_from(full: Store, examples: Path) -> None:
    record = json.loads((full.root / "families" / "PF00042.sto.gz.provenance.json").read_text())
    assert record["stage"] == "store import"
    assert record["source"]["file"] == str(examples / "families.sto")


def test_a_flipped_bit_of_a_record_is_noticed_when_it_is_read(store: Store, examples: Path) -> None:
    family = next(iter(read_families(examples / "families.sto")))
    path = store.write(family, "fetch", {})
    whole = path.read_bytes()
    for offset in range(20, len(whole), len(whole) // 40):  # behind the header, in which times and names are free
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 16]) + whole[offset + 1 :])
        with pytest.raises(BadInputError, match=path.name):
            store.read(family.accession)
    path.write_bytes(whole * 2)
    with pytest.raises(BadInputError, match="contains 2 records"):
        store.read(family.accession)
