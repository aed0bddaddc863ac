"""Pfam releases: resolution of `current`, resumed downloads, checksums, splitting."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from standin import Answer, Standin, body, changed, checksums, cut, example_families, hmm_text, html, reset, status
from stores import contents

from phylocli.config.parallel import ParallelConfig
from phylocli.core.errors import BadInputError, PhylocliError, ServiceError, UsageError
from phylocli.executors.dask_cluster import close_clusters
from phylocli.fetch import Policy, Release, fetch_families, fetch_release, split
from phylocli.fetch.families import IncompleteError
from phylocli.fetch.http import Client
from phylocli.fetch.output import write_fetched, write_release
from phylocli.fetch.services.pfam import PfamReleases, dead_families
from phylocli.fetch.split import read_clans, records
from phylocli.formats import read_families
from phylocli.formats.family import Family
from phylocli.formats.newick import NewickTree
from phylocli.store import Store

FAST = Policy().scaled(0.001)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def fetch(standin: Standin, store: Store, release: str = "current", policy: Policy = FAST, **options: object) -> Release:
    return fetch_release(release, store=store, policy=policy, **options)  # type: ignore[arg-type]


def test_release_is_fetched_completely(standin: Standin, store: Store) -> None:
    came = fetch(standin, store)
    served = example_families()
    assert came.release == "38.2"
    assert sorted(came.alignments.families) == store.accessions() == sorted(served)
    assert came.alignments.written == len(served)
    assert not came.alignments.skipped
    for accession, family in served.items():
        kept = store.read(accession)
        assert (kept.ids, kept.rows, kept.clan) == (family.ids, family.rows, family.clan)
        assert store.profile_path(accession).read_bytes() == hmm_text(accession)
    assert store.clan_members("CL0090") == ["PF00042"]
    source = store.origin("PF00042")["source"]
    assert source["release"] == "38.2"
    assert source["url"] == f"{standin.pfam}/releases/Pfam38.2/Pfam-A.seed.gz"
    assert source["file_md5"] == hashlib.md5(standin.files()["Pfam-A.seed.gz"]).hexdigest()
    assert not (store.root / "staging").exists() or not list((store.root / "staging").iterdir())


def test_the_files_come_from_the_pinned_folder_even_for_current(standin: Standin, store: Store) -> None:
    fetch(standin, store)
    assert standin.count("current_release/Pfam.version.gz") == 1
    assert standin.count("current_release/Pfam-A") == standin.count("current_release/md5") == 0


def test_latin_1_in_the_release_is_read(standin: Standin, store: Store) -> None:
    fetch(standin, store)
    first = next(iter(example_families()))
    assert ("RA", "Müller A, García B;") in store.read(first).features


def test_a_second_run_fetches_and_writes_nothing(standin: Standin, store: Store) -> None:
    fetch(standin, store)
    before = {p: p.stat().st_mtime_ns for p in store.root.rglob("*.sto.gz")}
    again = fetch(standin, store, "38.2")
    assert again.alignments.written == 0
    assert again.profiles is not None
    assert again.profiles.written == 0
    assert {p: p.stat().st_mtime_ns for p in store.root.rglob("*.sto.gz")} == before
    assert standin.count("Pfam-A.seed.gz") == 1


def test_family_lost_from_the_store_is_restored_from_the_release_file(standin: Standin, store: Store) -> None:
    fetch(standin, store)
    store.family_path("PF00042").unlink()
    assert fetch(standin, store, "38.2", offline=True).alignments.written == 1
    assert "PF00042" in store


def test_a_tree_in_the_store_is_not_overwritten_by_a_second_run(standin: Standin, store: Store) -> None:
    fetch(standin, store)
    family = store.read("PF01073")
    family.tree = NewickTree("(" + ",".join(f"'{name}':1" for name in family.ids) + ");")
    store.write(family, "tree", {})
    assert fetch(standin, store).alignments.written == 0
    assert store.read("PF01073").has_tree
    assert fetch(standin, store, refresh=True).alignments.written == len(example_families())
    assert store.read("PF01073").tree is None


# ---- resuming ----

HALF: dict[str, Callable[[Answer], Answer]] = {"cut": cut(0.5), "reset": reset, "503": status(503)}


@pytest.mark.parametrize("fault", HALF, ids=list(HALF))
def test_broken_transfer_is_resumed(standin: Standin, store: Store, fault: str) -> None:
    standin.script("Pfam-A.seed.gz", cut(0.3), HALF[fault], cut(0.9))
    fetch(standin, store)
    ranges = [r.headers.get("range") for r in standin.requests if r.path.endswith("Pfam-A.seed.gz")]
    assert ranges[0] is None
    assert all(ranges[1:])
    starts = [int(r.removeprefix("bytes=").removesuffix("-")) for r in ranges[1:] if r]
    assert starts == sorted(starts)
    assert starts[0] == int(len(standin.files()["Pfam-A.seed.gz"]) * 0.3)
    assert all(r.headers.get("if-range") for r in standin.requests if "range" in r.headers)
    assert store.accessions() == sorted(example_families())


def test_later_run_resumes_an_interrupted_download(standin: Standin, store: Store) -> None:
    standin.always("Pfam-A.hmm.gz", cut(0.4))
    with pytest.raises(ServiceError, match=r"Pfam-A\.hmm\.gz could not be fetched"):
        fetch(standin, store, policy=Policy(attempts=2).scaled(0.001))
    part = store.release_path("38.2") / "Pfam-A.hmm.gz.part"
    size = part.stat().st_size
    assert size > 0
    assert store.accessions() == []
    standin._always.clear()
    before = len(standin.requests)
    fetch(standin, store)
    (request,) = [r for r in standin.requests[before:] if r.path.endswith("Pfam-A.hmm.gz")]
    assert request.headers["range"] == f"bytes={size}-"
    assert not part.exists()


def test_a_server_without_ranges_starts_again(standin: Standin, store: Store) -> None:
    standin.ranges = False
    standin.script("Pfam-A.seed.gz", cut(0.5), cut(0.8))
    fetch(standin, store)
    assert store.accessions() == sorted(example_families())


def test_a_file_that_changed_meanwhile_starts_again(standin: Standin, store: Store) -> None:
    """Parts of two versions are never combined: with If-Range, the server sends the whole file."""
    files = standin.files()
    new = gzip.compress(gzip.decompress(files["Pfam-A.seed.gz"]), compresslevel=1, mtime=0)
    half = new[: len(new) // 2]
    folder = store.release_path("38.2")
    folder.mkdir(parents=True)
    (folder / "Pfam-A.seed.gz.part").write_bytes(half)
    about = {"url": f"{standin.pfam}/releases/Pfam38.2/Pfam-A.seed.gz", "size": len(new), "etag": '"old"'}
    (folder / "Pfam-A.seed.gz.part.json").write_text(json.dumps(about))
    fetch(standin, store)
    assert (folder / "Pfam-A.seed.gz").read_bytes() == files["Pfam-A.seed.gz"]


def test_a_part_that_is_complete_is_proved_and_taken(standin: Standin, store: Store) -> None:
    """Killed between the last byte and the rename: with the size known nothing is fetched, without it 416 tells."""
    data = standin.files()["Pfam-A.seed.gz"]
    for size in (len(data), None):
        fresh = Store(store.root / str(size))
        folder = fresh.release_path("38.2")
        folder.mkdir(parents=True)
        (folder / "Pfam-A.seed.gz.part").write_bytes(data)
        about = {"url": f"{standin.pfam}/releases/Pfam38.2/Pfam-A.seed.gz", "size": size}
        (folder / "Pfam-A.seed.gz.part.json").write_text(json.dumps(about))
        before = standin.count("Pfam-A.seed.gz")
        fetch(standin, fresh)
        assert standin.count("Pfam-A.seed.gz") - before == (0 if size else 1)
        assert fresh.accessions() == sorted(example_families())


def test_part_that_was_not_requested_is_not_appended(standin: Standin, store: Store) -> None:
    def shifted(right: Answer) -> Answer:
        right.headers["Content-Range"] = "bytes 0-9/100"
        return right

    standin.script("Pfam-A.seed.gz", cut(0.5), shifted)
    fetch(standin, store)
    assert store.accessions() == sorted(example_families())


# ---- wrong content ----


def test_a_checksum_that_does_not_match_once_is_fetched_again(standin: Standin, store: Store) -> None:
    data = bytearray(standin.files()["Pfam-A.seed.gz"])
    data[len(data) // 2] ^= 1
    standin.script("Pfam-A.seed.gz", changed(body=bytes(data)))
    fetch(standin, store)
    assert standin.count("Pfam-A.seed.gz") == 2
    assert store.accessions() == sorted(example_families())


@pytest.mark.parametrize("lie", [body(gzip.compress(b"# STOCKHOLM 1.0\n")), html], ids=["another file", "html"])
def test_a_checksum_that_never_matches_keeps_nothing(
    standin: Standin, store: Store, lie: Callable[[Answer], Answer]
) -> None:
    standin.always("Pfam-A.seed.gz", lie)
    with pytest.raises(ServiceError, match="does not match the published one, after two downloads"):
        fetch(standin, store)
    assert standin.count("Pfam-A.seed.gz") == 2
    assert store.accessions() == []
    assert not list(store.release_path("38.2").glob("Pfam-A.seed*"))


def test_a_release_that_is_cut_within_is_refused_although_its_checksum_fits(standin: Standin, store: Store) -> None:
    files = standin.files()
    files["Pfam-A.seed.gz"] = gzip.compress(gzip.decompress(files["Pfam-A.seed.gz"])[:-400], mtime=0)
    files["md5_checksums"] = checksums(files)
    with pytest.raises(BadInputError, match="ends in the middle of a record"):
        fetch(standin, store)


@pytest.mark.parametrize("parallel", [{}, {"jobs": 2}, {"cluster": "local:2"}], ids=["one", "processes", "dask"])
def test_a_record_that_is_not_whole_is_left_out_and_named_and_the_others_have_the_same_bytes_whatever_the_engine(
    standin: Standin,
    store: Store,
    parallel: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("phylocli"), "propagate", True)
    caplog.set_level(logging.INFO, "phylocli")
    fetch(standin, store)
    whole = records_of(store)
    for path in (store.root / "families").rglob("*.*"):
        path.unlink()
    files = standin.files()
    text = gzip.decompress(files["Pfam-A.seed.gz"]).replace(b"#=GF SQ   95\n", b"#=GF SQ   96\n")
    files["Pfam-A.seed.gz"] = gzip.compress(text, mtime=0)
    files["md5_checksums"] = checksums(files)
    came = fetch(standin, store, refresh=True, parallel=ParallelConfig(**parallel))
    close_clusters()
    table = {tuple(message.split()[3:5]) for message in caplog.messages if message.startswith("records of Pfam-A.seed.gz")}
    assert table == ({("13", "1")} if parallel else set())  # at the end
    assert list(came.alignments.skipped) == ["PF00134"]
    assert "95 sequences, but its SQ line has 96" in came.alignments.skipped["PF00134"]
    assert "PF00134" not in store
    left = records_of(store)
    assert left.items() < whole.items()
    assert [name for name in whole if name not in left] == [Path(store.family_path("PF00134")).name]


def dying_on_pf00134(family: Family, accession: str, name: str) -> None:
    if accession == "PF00134":
        raise PhylocliError(f"{accession}: 3 workers died on it", why="a library crashed", fix="use fewer --jobs")


def test_a_record_whose_worker_died_is_not_called_damaged_and_keeps_its_own_fix(
    standin: Standin, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split, "check_family", dying_on_pf00134)
    came = fetch(standin, store, profile=False)
    assert not came.alignments.skipped and list(came.alignments.failed) == ["PF00134"]
    with pytest.raises(PhylocliError) as caught:
        write_release(came, store, tmp_path / "all.sto", {})
    error = caught.value
    assert type(error) is PhylocliError and "damaged" not in error.what and "3 workers died on it" in error.what
    assert error.why == "a library crashed" and error.fix == "use fewer --jobs; all others are in the store"
    assert len(list(read_families(tmp_path / "all.sto"))) == len(example_families()) - 1

    wanted = ["PF00042", "PF00134"]
    families = fetch_families(wanted, release="38.2", profile=False, store=Store(tmp_path / "other"), policy=FAST)
    with pytest.raises(
        IncompleteError, match=r"(?s)^1 of 2 .*PF00134: 3 workers died on it \(a library crashed\); use fewer --jobs"
    ):
        write_fetched(families, tmp_path / "one.sto", {}, store)
    assert [family.accession for family in read_families(tmp_path / "one.sto")] == ["PF00042"]


def records_of(store: Store) -> dict[str, bytes]:
    """Return the content of records and profiles, by the names of their files; their provenance has the time."""
    found = [path for path in store.root.rglob("PF*") if path.is_file() and path.suffix != ".json"]
    return {path.name: path.read_bytes() for path in found}


def test_a_name_in_the_release_never_becomes_a_path(standin: Standin, store: Store) -> None:
    files = standin.files()
    text = gzip.decompress(files["Pfam-A.seed.gz"]).replace(b"AC   PF00134.25", b"AC   ../../PF00134")
    files["Pfam-A.seed.gz"] = gzip.compress(text, mtime=0)
    files["md5_checksums"] = checksums(files)
    came = fetch(standin, store)
    assert "../../PF00134" in came.alignments.skipped
    assert len(store.accessions()) == len(example_families()) - 1
    assert not list(store.root.parent.rglob("PF00134.sto.gz"))


def test_a_record_beyond_the_cap_is_refused(standin: Standin, store: Store) -> None:
    with pytest.raises(BadInputError, match="a record of more than 5,000 bytes"):
        fetch(standin, store, policy=Policy(max_unpacked=5000).scaled(0.001))


def test_a_release_file_beyond_the_cap_is_refused(standin: Standin, store: Store) -> None:
    with pytest.raises(ServiceError, match="more than 3,000 bytes"):
        fetch(standin, store, policy=Policy(max_release=3000).scaled(0.001))


def test_a_release_that_does_not_exist(standin: Standin, store: Store) -> None:
    with pytest.raises(ServiceError, match=r"Pfam release 12\.0 does not exist"):
        fetch(standin, store, "12.0")
    with pytest.raises(UsageError, match="not a Pfam release"):
        fetch(standin, store, "../etc")


# ---- some families of a release ----


def test_families_out_of_a_release(standin: Standin, store: Store) -> None:
    def take(*accessions: str, **options: object) -> list[str]:
        found = fetch_families(accessions, store=store, release="38.2", policy=FAST, **options)  # type: ignore[arg-type]
        return [family.accession for family in found]

    assert take("PF00076.13", "PF00042", clans=["CL0065"], profile=True) == ["PF00076", "PF00042", "PF00134"]
    assert store.accessions() == ["PF00042", "PF00076", "PF00134"]
    assert store.profile_path("PF00134").is_file()
    assert standin.count("/entry/") == 0
    before = len(standin.requests)
    assert take("PF05893", offline=True) == ["PF05893"]
    assert len(standin.requests) == before
    with pytest.raises(BadInputError, match=r"Pfam 38\.2 has no family PF99999"):
        take("PF99999")
    with pytest.raises(BadInputError, match=r"Pfam 38\.2 has no clan CL9999"):
        take("PF00042", clans=["CL9999"])


def test_a_family_from_interpro_is_not_taken_for_one_of_the_release(standin: Standin, store: Store) -> None:
    list(fetch_families(["PF00042"], store=store, policy=FAST))
    assert store.origin("PF00042")["source"]["service"] == "InterPro"
    list(fetch_families(["PF00042"], store=store, release="38.2", policy=FAST))
    assert store.origin("PF00042")["source"]["release"] == "38.2"


def test_offline_current_is_the_newest_release_on_disk(standin: Standin, store: Store) -> None:
    with pytest.raises(ServiceError, match="has no Pfam release"):
        fetch(standin, store, offline=True)
    for name in ("9.0", "38.2", "37.4"):
        store.release_path(name).mkdir(parents=True)
    with Client(FAST) as client:
        assert PfamReleases(client, standin.pfam, store, offline=True).resolve("current") == "38.2"
    assert not standin.requests


def test_a_dead_family_names_its_replacement(standin: Standin, store: Store) -> None:
    with pytest.raises(BadInputError, match="it was replaced by PF00042"):
        list(fetch_families(["PF00101"], store=store, policy=FAST))
    standin.always("Pfam-A.dead.gz", status(503))
    with pytest.raises(BadInputError, match="PF00101 has been removed from Pfam"):
        list(fetch_families(["PF00101"], store=store, policy=FAST))


# ---- the formats ----


def test_the_list_of_clans(tmp_path: Path) -> None:
    path = tmp_path / "clans.tsv"
    path.write_text(
        "PF00042\tCL0090\tGlobin\tGlobin\tGlobin\nPF00010\t\t\tHLH\tHelix-loop-helix\nPF00011\tCL0190\tx\ty\tz\n"
    )
    with path.open("rb") as stream:
        assert read_clans(stream, "x") == {"CL0090": ["PF00042"], "CL0190": ["PF00011"]}
    path.write_text("<html>\n")
    with path.open("rb") as stream, pytest.raises(BadInputError, match="line 1"):
        read_clans(stream, "x")


def test_the_list_of_the_dead() -> None:
    text = "# STOCKHOLM 1.0\n#=GF ID   A\n#=GF AC   PF00101\n#=GF FW   PF00042\n//\n#=GF AC   PF00102\n#=GF FW   \n//\n"
    assert dead_families(text) == {"PF00101": "PF00042", "PF00102": ""}


def test_records_end_with_their_line() -> None:
    import io

    text = b"a\n//\nb //\n//\n\n"
    assert list(records(io.BytesIO(text), 100, "x")) == [b"a\n//\n", b"b //\n//\n"]
    with pytest.raises(BadInputError, match="middle of a record"):
        list(records(io.BytesIO(b"a\n//\nb\n"), 100, "x"))


# ---- two at once ----


def test_two_processes_at_once_make_the_store_that_one_makes(
    standin: Standin, tmp_path: Path, phylocli_spawn: object
) -> None:
    alone, shared = Store(tmp_path / "alone"), Store(tmp_path / "shared")
    fetch(standin, alone)
    standin.always("Pfam-A", changed(slow=0.01))
    running = [phylocli_spawn("fetch", "--all", "--store", shared.root) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    assert contents(shared.root) == contents(alone.root)
    assert standin.count("Pfam-A.seed.gz") == 2  # one for each store: the second process waited for the first


def test_threads_that_write_one_family_leave_it_whole(standin: Standin, store: Store) -> None:
    family = example_families()["PF00042"]

    def write(number: int) -> None:
        for turn in range(10):
            store.write(family, "fetch", {"number": number, "turn": turn}, source={"time": "x"})

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 20
    while any(thread.is_alive() for thread in threads) and time.monotonic() < end:
        if "PF00042" in store:
            assert len(store.read("PF00042")) == 45
    record = store.origin("PF00042")
    assert record["output"]["sha256"] == hashlib.sha256(store.family_path("PF00042").read_bytes()).hexdigest()
    assert not list(store.root.rglob("*.part"))
