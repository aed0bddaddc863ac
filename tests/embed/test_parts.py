"""Tables in parts: same rows as a single table, resumption after SIGKILL, concurrent workers; progress and forecasts."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch

from phylocli.config.embed import EmbedConfig, Shard
from phylocli.core.errors import BadInputError, PhylocliError, UsageError
from phylocli.embed import Embedder, embed_file, parts
from phylocli.embed import disk_space as space
from phylocli.embed.inputs import Survey, expand, survey
from phylocli.embed.parts import cut, digest
from phylocli.embed.throughput import Meter
from phylocli.embed.to_table import Tabulator
from phylocli.formats import Sequence
from phylocli.formats.embeddings import read_embeddings
from phylocli.formats.tables.parts import is_part_beyond, part_files, part_path
from phylocli.models.device import choose_device
from phylocli.models.model import Model
from phylocli.search.database import open_table


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Model.create("convolutional", preset="tiny", seed=3).save(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def whole(model: Path, examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 45 globins in parts of ten, in one go."""
    folder = tmp_path_factory.mktemp("whole") / "parts"
    assert embed_file(examples / "globins.fasta", folder, model=model, shard_size=10) == 45
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.glob("part-*")}


def test_parts_hold_the_rows_of_one_table_in_order(whole: Path, model: Path, examples: Path, tmp_path: Path) -> None:
    embed_file(examples / "globins.fasta", tmp_path / "one.parquet", model=model)
    one = pl.read_parquet(tmp_path / "one.parquet")
    found = pl.concat([pl.read_parquet(p) for p in part_files(whole)])
    assert len(part_files(whole)) == 5 and found["id"].to_list() == one["id"].to_list()
    assert np.abs(found["embedding"].to_numpy() - one["embedding"].to_numpy()).max() < 1e-5
    assert read_embeddings(whole).ids == one["id"].to_list()  # so probe reads them too
    assert json.loads((whole / "provenance-1-of-1.json").read_text())["parameters"]["shard_size"] == 10


def test_shards_share_the_parts_and_make_the_same_bytes(whole: Path, model: Path, examples: Path, tmp_path: Path) -> None:
    source = examples / "globins.fasta"
    embed_file(source, tmp_path / "parts", model=model, shard="2/3", shard_size=10)
    assert sorted(files(tmp_path / "parts")) == ["part-000001.parquet", "part-000004.parquet"]
    with pytest.raises(BadInputError, match="3 of 5 parts are missing"):
        part_files(tmp_path / "parts")
    for shard in ("1/3", "3/3"):
        embed_file(source, tmp_path / "parts", model=model, shard=shard, shard_size=10)
    assert files(tmp_path / "parts") == files(whole)


def test_worker_takes_any_device_for_the_first_one_but_keeps_to_the_index_of_another(model: Path) -> None:
    maker = Tabulator(Model.load(model))
    for device in ("cpu", "cuda", "cuda:0", "mps"):  # what `auto` chose where the command runs, which a worker may lack
        parts._begin(maker, device, 1)
        assert maker.model.device.type == ("cpu" if device == "cpu" else choose_device("auto").type)
    with pytest.raises(UsageError, match="the device 'cuda:99' cannot be used"):
        parts._begin(maker, "cuda:99", 1)


def test_several_devices_share_a_folder(whole: Path, model: Path, examples: Path, tmp_path: Path) -> None:
    source = examples / "globins.fasta"
    assert embed_file(source, tmp_path / "p", model=model, shard_size=10, device="cpu,cpu", threads=2) == 45
    assert files(tmp_path / "p").keys() == files(whole).keys()
    found, one = (
        np.concatenate([pl.read_parquet(p)["embedding"].to_numpy() for p in part_files(f)]) for f in (tmp_path / "p", whole)
    )
    assert np.abs(found - one).max() < 1e-5
    with pytest.raises(UsageError, match="give -o FOLDER"):
        embed_file(source, tmp_path / "p.parquet", model=model, device="cpu,cpu")


def test_run_resumes_after_kill_9_with_the_same_bytes(
    whole: Path, model: Path, examples: Path, tmp_path: Path, phylocli_spawn: Callable[..., object]
) -> None:
    target = tmp_path / "parts"
    before = (
        "import time, phylocli.embed.to_table as t; plain = t.embed_sequences\n"
        "def slow(*a, **k):\n    for block in plain(*a, **k):\n        time.sleep(0.4)\n        yield block\n"
        "t.embed_sequences = slow"
    )
    args = ("embed", examples / "globins.fasta", "-m", model, "-o", f"{target}/", "--shard-size", 10)
    process = phylocli_spawn(*args, before=before)
    end = time.monotonic() + 120
    while len(files(target)) < 2:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    process.kill()
    process.wait()
    kept = {p.name: p.stat().st_mtime_ns for p in target.glob("part-*")}
    assert 2 <= len(kept) < 5
    embed_file(examples / "globins.fasta", target, model=model, shard_size=10)
    assert files(target) == files(whole)
    assert all((target / name).stat().st_mtime_ns == when for name, when in kept.items())  # done once
    assert not list(target.glob(".*"))  # nothing of the killed run is left


def test_a_folder_keeps_to_one_input_and_one_setting(whole: Path, model: Path, examples: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="half is False there, and True now"):
        embed_file(examples / "globins.fasta", whole, model=model, shard_size=10, half=True)
    with pytest.raises(UsageError) as refused:
        embed_file(examples / "globins.fasta", whole, model=model, shard_size=10, precision="bf16")
    assert refused.value.why == "precision is 'fp32' there, and 'bf16' now"
    half = tmp_path / "half"
    embed_file(examples / "globins.fasta", half, model=model, shard_size=10, precision="bf16", shard="1/5")
    with pytest.raises(UsageError) as refused:
        embed_file(examples / "globins.fasta", half, model=model, shard_size=10)
    assert refused.value.why == "precision is 'bf16' there, and 'fp32' now"
    text = (examples / "globins.fasta").read_text()
    (tmp_path / "other.fasta").write_text(text[text.index(">", 1) :])
    with pytest.raises(BadInputError, match="belongs to another input"):
        embed_file(tmp_path / "other.fasta", whole, model=model, shard_size=10)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="something other than a table in parts"):
        embed_file(examples / "globins.fasta", tmp_path / "mine", model=model)


def test_a_folder_of_a_version_without_precisions_continues_in_float32(model: Path, examples: Path, tmp_path: Path) -> None:
    target = tmp_path / "parts"
    embed_file(examples / "globins.fasta", target, model=model, shard_size=10, shard="1/2")
    manifest = json.loads((target / "manifest.json").read_text())
    del manifest["settings"]["phylocli.precision"]
    (target / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="other settings"):
        embed_file(examples / "globins.fasta", target, model=model, shard_size=10, precision="bf16")
    embed_file(examples / "globins.fasta", target, model=model, shard_size=10)
    assert len(list(target.glob("part-*"))) == 5


def fasta(path: Path, sequences: dict[str, str]) -> Path:
    path.write_text("".join(f">{name}\n{text}\n" for name, text in sequences.items()))
    return path


LETTERS = {f"s{i}": "MKVLAAGIVGWWYRHEDCNQTSP"[i % 7 :] * 2 for i in range(20)}
OTHERS = {
    "shorter": dict(list(LETTERS.items())[:10]),
    "longer": {**LETTERS, "more": "MKV"},
    "changed at the end": {**LETTERS, "s19": "MKVW"},
    "changed at the start": {**LETTERS, "s0": "MKVW"},
    "another order": dict(reversed(LETTERS.items())),
    "other ids": {f"t{name}": text for name, text in LETTERS.items()},
}


@pytest.mark.parametrize("done", [None, "1/3"], ids=["complete", "one shard done"])
@pytest.mark.parametrize("by", ["file", "pipe"])
@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_a_folder_takes_no_part_of_another_input(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, str], by: str, done: str | None
) -> None:
    folder, one = tmp_path / "parts", fasta(tmp_path / "one.fasta", LETTERS)
    embed_file(one, folder, model=model, shard_size=5, shard=done)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    source: Path | str = fasta(tmp_path / "other.fasta", other)
    if by == "pipe":
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path(source).read_bytes())))
        source = "-"
    with pytest.raises(BadInputError, match="belongs to another input"):
        embed_file(source, folder, model=model, shard_size=5, shard=done and "2/3")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    embed_file(one, folder, model=model, shard_size=5)  # goes on with its own
    assert sorted(files(folder)) == [f"part-{i:06d}.parquet" for i in range(4)]


def test_part_that_a_worker_wrote_to_another_disk_is_an_error(
    model: Path, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "VISIBLE", 0.0)
    here = parts.listing
    monkeypatch.setattr(parts, "listing", lambda folder: here(folder).keys() - {"part-000002.parquet"})
    with pytest.raises(PhylocliError, match=r"computed 1 part, such as part-000002\.parquet, that are not there"):
        embed_file(examples / "globins.fasta", tmp_path / "parts", model=model, shard_size=10, jobs=2)


def test_pipe_fills_a_folder_and_resumes_with_the_same_input(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = fasta(tmp_path / "one.fasta", LETTERS)
    for shard in ("2/2", "1/2"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(one.read_bytes())))
        embed_file("-", tmp_path / "piped", model=model, shard_size=5, shard=shard)
    embed_file(one, tmp_path / "whole", model=model, shard_size=5)
    assert files(tmp_path / "piped") == files(tmp_path / "whole")
    assert (tmp_path / "piped/manifest.json").read_text() == (tmp_path / "whole/manifest.json").read_text()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    **{f"cut to {n} bytes": lambda data, n=n: data[:n] for n in (0, 3, 8, 1000)},  # type: ignore[misc]
    "without its last byte": lambda data: data[:-1],
    "zeros": lambda data: bytes(len(data)),
    "text": lambda data: b"not parquet",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_part_that_is_damaged_is_computed_again(
    whole: Path,
    model: Path,
    examples: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[bytes], bytes],
) -> None:
    folder = tmp_path / "parts"
    shutil.copytree(whole, folder)
    part = folder / "part-000002.parquet"
    part.write_bytes(damage(part.read_bytes()))
    for read in (read_embeddings, lambda path: list(open_table(path).blocks())):
        with pytest.raises(BadInputError, match=r"damaged|cannot be read"):
            read(folder)
    embed_file(examples / "globins.fasta", folder, model=model, shard_size=10)
    assert "part-000002.parquet is damaged and will be recomputed" in " ".join(capsys.readouterr().err.split())
    assert files(folder) == files(whole)


def test_a_byte_that_changes_among_the_values_of_a_part_is_noticed_by_its_readers(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    shutil.copytree(whole, folder)
    part = folder / "part-000001.parquet"
    data = part.read_bytes()
    column = pq.ParquetFile(part).metadata.row_group(0).column(2)
    start = column.dictionary_page_offset or column.data_page_offset
    for offset in np.linspace(start + 60, start + column.total_compressed_size - 1, 12).astype(int):
        part.write_bytes(data[:offset] + bytes([data[offset] ^ 0x10]) + data[offset + 1 :])
        for read in (read_embeddings, open_table):
            with pytest.raises(BadInputError, match="damaged"):
                list(read(folder).blocks())


def test_residues_go_into_parts_too(model: Path, examples: Path, tmp_path: Path) -> None:
    embed_file(examples / "globins.fasta", tmp_path / "r", model=model, per_residue=True, half=True, shard_size=20)
    frames = [pl.read_parquet(p) for p in part_files(tmp_path / "r")]
    assert len(frames) == 3 and frames[0]["id"].n_unique() == 20
    assert frames[0].schema["embedding"].inner == pl.Float16 and frames[0]["position"].min() == 1


def test_shards_and_parts_are_cut_as_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert EmbedConfig(shard="2/8").shard == Shard(1, 8) and str(Shard(1, 8)) == "2/8"
    for bad in ("0/2", "3/2", "2", "a/b"):
        with pytest.raises(UsageError):
            EmbedConfig(shard=bad)
    pieces = Shard(1, 3).split(2)
    assert [p for p in range(40) if any(p in s for s in pieces)] == [p for p in range(40) if p % 3 == 1]
    assert not {p for p in range(40) if p in pieces[0]} & {p for p in range(40) if p in pieces[1]}
    monkeypatch.setattr("phylocli.embed.parts.MAX_PART_RESIDUES", 25)
    parts = list(cut([Sequence(str(i), "M" * 10) for i in range(8)], 5))
    assert [len(p) for p in parts] == [3, 3, 2]  # however few, where they are long
    assert part_path(Path("x"), 3).name == "part-000003.parquet"


def test_output_that_does_not_fit_is_an_error_before_the_work(
    model: Path, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "free_bytes", lambda path: 10_000)
    monkeypatch.setattr(Embedder, "pooled", lambda *a: pytest.fail("work began"))
    for output in (tmp_path / "e.parquet", tmp_path / "folder/"):
        with pytest.raises(PhylocliError, match=r"about 18 kB, but only 10 kB are free"):
            embed_file(examples / "globins.fasta", f"{output}/" if output.name == "folder" else output, model=model)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["e.parquet", "e.tsv", "e.arrow"])
@pytest.mark.parametrize("per_residue", [False, True])
def test_size_estimate_is_slightly_above_the_written_size(
    model: Path, examples: Path, tmp_path: Path, name: str, per_residue: bool
) -> None:
    embed_file(examples / "globins.fasta", tmp_path / name, model=model, per_residue=per_residue)
    known = survey([examples / "globins.fasta"])
    assert known is not None and known.sequences == 45
    guess = space.forecast(known, 64, half=False, per_residue=per_residue, format=name.split(".")[1])  # type: ignore[arg-type]
    written = (tmp_path / name).stat().st_size
    assert 0.8 * written < guess < 1.5 * written
    assert space.free_bytes(tmp_path / "not" / "there") > 0


def test_patterns_are_expanded_and_pipes_are_not_scanned(tmp_path: Path) -> None:
    for name in ("b.fasta", "a.fasta", "odd[1].fasta"):
        (tmp_path / name).write_text(f">{name}\nMK\n")
    assert expand([str(tmp_path / "?.fasta"), "-"]) == [str(tmp_path / "a.fasta"), str(tmp_path / "b.fasta"), "-"]
    assert expand(str(tmp_path / "odd[1].fasta")) == [str(tmp_path / "odd[1].fasta")]  # a name, not a pattern
    assert expand(None) == [None]
    with pytest.raises(BadInputError, match="no file matches"):
        expand(str(tmp_path / "*.faa"))
    assert survey(["-"]) is None
    assert survey(expand(str(tmp_path / "?.fasta"))) == Survey(
        2, 4, 14, digest([Sequence("a.fasta", "MK"), Sequence("b.fasta", "MK")])
    )


def test_progress_of_a_resumed_run_covers_the_remaining_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with Meter(Survey(400, 100_000, 0)) as meter:
        meter.skipped(100, 20_000)
        now[0] = 100.0
        meter.computed(15_000)
        meter.done(100, 20_000)
        assert str(meter._bar) == "embedding: 20,000 of 80,000 residues, 200/s, 5 min left"
        now[0] = 0.0


def test_result_does_not_depend_on_threads(model: Path) -> None:
    letters = ["MKTAYIAKQRQISFVKSHFSRQ" * n for n in range(1, 30)]
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(Embedder(Model.load(model)).pooled(letters))
    finally:
        torch.set_num_threads(before)
    assert np.abs(found[0] - found[1]).max() < 1e-5


@pytest.mark.parametrize("per_residue", [False, True], ids=["sequences", "residues"])
@pytest.mark.parametrize("output", ["e.parquet", "e.tsv", "parts/"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_embeddings_that_are_not_finite_are_an_error_and_nothing_is_written(
    tmp_path: Path, per_residue: bool, output: str, value: float
) -> None:
    broken = Model.create("convolutional", preset="tiny", seed=3)
    with torch.no_grad():
        broken.encoder.norm.weight.fill_(value)  # type: ignore[union-attr, operator]
        broken.encoder.norm.bias.fill_(value)  # type: ignore[union-attr, operator]
    source = fasta(tmp_path / "one.fasta", LETTERS)
    with pytest.raises(BadInputError, match="the embedding of 's0' has values that are not finite"):
        embed_file(source, f"{tmp_path}/{output}", model=broken, per_residue=per_residue)
    assert {p.name for p in tmp_path.rglob("*")} <= {"one.fasta", "parts", "manifest.json"}


@pytest.mark.parametrize(("largest", "fits"), [(60_000.0, True), (70_000.0, False), (1e30, False)])
def test_values_beyond_half_precision_are_an_error_only_where_it_is_asked_for(
    tmp_path: Path, largest: float, fits: bool
) -> None:
    large = Model.create("convolutional", preset="tiny", seed=3)
    with torch.no_grad():
        large.encoder.norm.weight.zero_()  # type: ignore[union-attr, operator]
        large.encoder.norm.bias.fill_(largest)  # type: ignore[union-attr, operator]
    source = fasta(tmp_path / "one.fasta", {"a": "MKV"})
    embed_file(source, tmp_path / "e.parquet", model=large)
    assert pl.read_parquet(tmp_path / "e.parquet")["embedding"].to_numpy() == pytest.approx(largest, rel=1e-3)
    if fits:
        embed_file(source, tmp_path / "half.parquet", model=large, half=True)
        assert pl.read_parquet(tmp_path / "half.parquet")["embedding"].to_numpy() == pytest.approx(largest, rel=1e-3)
        return
    with pytest.raises(BadInputError, match="does not fit half precision") as caught:
        embed_file(source, tmp_path / "half.parquet", model=large, half=True)
    assert caught.value.fix == "leave out --half"
    assert not (tmp_path / "half.parquet").exists()


def test_parts_are_compared_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "part-1000000.parquet").touch()
    assert is_part_beyond(tmp_path, 1_000_000) and not is_part_beyond(tmp_path, 1_000_001)
    assert is_part_beyond(tmp_path, 200_000)
