"""Embeddings depend only on the sequence and the model."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from phylocli.core.alphabet import encode_tokens
from phylocli.core.errors import BadInputError, PhylocliError, UsageError
from phylocli.embed import Embedder, embed_file, embed_residues, embed_sequences, untrained, with_pooling
from phylocli.encoders import pad_batch
from phylocli.formats import Sequence, read_sequences
from phylocli.formats.tables import read_parquet_metadata
from phylocli.models.model import Model

LETTERS = list("ACDEFGHIKLMNPQRSTVWY")


def random_sequence(length: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(LETTERS, length))


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.create("convolutional", preset="tiny", seed=3).eval()


@pytest.fixture(scope="module")
def folder(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model.save(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def letters() -> list[str]:
    rng = np.random.default_rng(0)
    return [random_sequence(int(n), i) for i, n in enumerate(rng.integers(1, 400, 120))]


def alone(model: Model, sequence: str) -> np.ndarray:
    """The definition: the model on this one sequence, whole."""
    with torch.inference_mode():
        return model(*pad_batch([encode_tokens(sequence)]))[0].numpy()


def test_every_embedding_is_that_of_its_sequence_alone(model: Model, letters: list[str]) -> None:
    found = Embedder(model).pooled(letters)
    assert np.abs(found - np.stack([alone(model, s) for s in letters])).max() < 1e-5


@pytest.mark.parametrize("max_tokens", [1, 401, 5000])
def test_result_does_not_depend_on_the_batch(model: Model, letters: list[str], max_tokens: int) -> None:
    whole = Embedder(model).pooled(letters)
    assert np.abs(Embedder(model, max_tokens=max_tokens).pooled(letters) - whole).max() < 1e-5


def test_blocks_come_in_input_order_with_ids_and_lengths(model: Model, letters: list[str]) -> None:
    sequences = [Sequence(f"s{i}", s) for i, s in enumerate(letters)]
    blocks = list(embed_sequences(iter(sequences), model, max_tokens=50))
    assert len(blocks) > 1
    assert [i for ids, _, _ in blocks for i in ids] == [s.id for s in sequences]
    assert [n for _, lengths, _ in blocks for n in lengths] == [len(s) for s in letters]
    assert np.abs(np.concatenate([v for _, _, v in blocks]) - Embedder(model).pooled(letters)).max() < 1e-5


def test_a_long_sequence_in_windows_is_embedded_as_if_whole(model: Model) -> None:
    # tiny sees 2·(1 + 2 + 4 + 8) = 30 residues to either side, so an overlap of 60 is enough.
    sequence = random_sequence(1000, 1)
    whole = Embedder(model).residues([sequence])[0]
    windowed = Embedder(model, window=150, overlap=60)
    assert np.abs(windowed.residues([sequence])[0] - whole).max() < 1e-5
    assert np.abs(windowed.pooled([sequence])[0] - alone(model, sequence)).max() < 1e-5


def test_too_little_overlap_changes_the_result(model: Model) -> None:
    sequence = random_sequence(1000, 1)
    whole = Embedder(model).residues([sequence])[0]
    assert np.abs(Embedder(model, window=150, overlap=10).residues([sequence])[0] - whole).max() > 1e-4


def test_forty_thousand_residues_work_and_none_is_left_out(model: Model) -> None:
    sequence = random_sequence(40_000, 2)
    found = Embedder(model).pooled([sequence])[0]
    changed = sequence[:-1] + ("A" if sequence[-1] != "A" else "C")
    assert np.isfinite(found).all()
    assert np.abs(found - Embedder(model).pooled([changed])[0]).max() > 0


def test_identical_sequences_are_computed_once(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = Model.forward

    def counting(self: Model, tokens: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(len(tokens))
        return original(self, tokens, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "forward", counting)
    embedder = Embedder(model)
    found = embedder.pooled(["MKV", "AAA", "MKV", "MKV"])
    embedder.pooled(["AAA"])
    assert sum(seen) == 2 and (found[0] == found[2]).all() and (found[0] != found[1]).any()


def test_residues_of_identical_sequences_are_computed_once(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = Model.residues

    def counting(self: Model, tokens: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(len(tokens))
        return original(self, tokens, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "residues", counting)
    found = Embedder(model).residues(["MKV", "AAAA", "MKV"])
    assert sum(seen) == 2 and found[0] is found[2] and [len(f) for f in found] == [3, 4, 3]


def test_the_memory_of_identical_sequences_is_bounded(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phylocli.embed.embedder.CACHE_BYTES", 10 * model.dimension * 4)
    embedder = Embedder(model)
    embedder.pooled([random_sequence(5, i) for i in range(40)])
    assert len(embedder._cache) == 10


def test_residues_pool_to_the_embedding(model: Model, letters: list[str]) -> None:
    sequences = [Sequence(f"s{i}", s) for i, s in enumerate(letters)]
    pooled = Embedder(model).pooled(letters)
    for row, (sequence, residues) in enumerate(embed_residues(sequences, model, max_tokens=500)):
        assert sequence is sequences[row] and residues.shape == (len(sequence.residues), model.dimension)
        assert np.abs(residues.mean(axis=0, dtype=np.float64) - pooled[row]).max() < 1e-5


def test_layers_differ_and_the_last_is_the_default(model: Model, letters: list[str]) -> None:
    last, same, first = (Embedder(model, layer=k).pooled(letters[:5]) for k in (None, model.depth, 1))
    assert (last == same).all() and np.abs(last - first).max() > 1e-3
    with pytest.raises(UsageError, match="no layer 99"):
        Embedder(model, layer=99)


def test_pooling_can_be_another_unless_it_is_learned(model: Model) -> None:
    highest = with_pooling(model, "max")
    residues = Embedder(model).residues(["MKVLA"])[0]
    assert Embedder(highest).pooled(["MKVLA"])[0] == pytest.approx(residues.max(axis=0), abs=1e-5)
    assert with_pooling(model, "mean") is model
    with pytest.raises(UsageError, match="no weights for the pooling 'attention'"):
        with_pooling(model, "attention")


def test_the_untrained_baseline_has_the_architecture_and_other_weights(model: Model) -> None:
    other = untrained(model, 5)
    assert other.config == model.config and other.fingerprint != model.fingerprint
    assert other.fingerprint == untrained(model, 5).fingerprint != untrained(model, 6).fingerprint


def test_unknown_residues_only_are_embedded_with_a_warning(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    ((_, lengths, values),) = embed_sequences([Sequence("blank", "XXXX"), Sequence("s", "MK")], model)
    assert lengths == [4, 2] and np.isfinite(values).all()
    assert "'blank'" in capsys.readouterr().err


def test_memory_does_not_grow_with_the_input(model: Model) -> None:
    def endless(count: int) -> Iterator[Sequence]:
        for i in range(count):
            yield Sequence(f"s{i}", random_sequence(30, i % 50))

    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in embed_sequences(endless(count), model, max_tokens=200):
            pass
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(500)
    assert peak(6000) < 1.5 * peak(1500)


def test_file_becomes_a_table_with_metadata(folder: Path, examples: Path, tmp_path: Path, model: Model) -> None:
    target = tmp_path / "e.parquet"
    count = embed_file(examples / "globins.fasta", target, model=folder, device="cpu")
    frame = pl.read_parquet(target)
    wanted = list(read_sequences(examples / "globins.fasta"))
    assert count == frame.height == len(wanted) == 45
    assert frame["id"].to_list() == [s.id for s in wanted] and frame["length"].to_list() == [len(s.residues) for s in wanted]
    assert frame["embedding"].to_numpy()[7] == pytest.approx(alone(model, wanted[7].residues), abs=1e-5)
    said = read_parquet_metadata(target)
    assert (
        said["phylocli.model"] == model.fingerprint and said["phylocli.pooling"] == "mean" and said["phylocli.layer"] == "4"
    )
    assert (tmp_path / "e.parquet.provenance.json").exists()


def test_the_same_input_gives_the_same_bytes(folder: Path, examples: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        embed_file(examples / "globins.fasta", tmp_path / f"{name}.parquet", model=folder, device="cpu")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_half_precision_is_half_precision(folder: Path, examples: Path, tmp_path: Path) -> None:
    embed_file(examples / "globins.fasta", tmp_path / "f.parquet", model=folder, device="cpu")
    embed_file(examples / "globins.fasta", tmp_path / "h.parquet", model=folder, device="cpu", half=True)
    full, half = (pl.read_parquet(tmp_path / f"{n}.parquet")["embedding"] for n in "fh")
    assert half.dtype == pl.Array(pl.Float16, 64)
    assert half.cast(pl.Array(pl.Float32, 64)).to_numpy() == pytest.approx(full.to_numpy(), rel=2**-10, abs=1e-6)


def test_residues_of_a_family_file_are_rows(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "f.sto"
    source.write_text("# STOCKHOLM 1.0\na   MK-v.\nb   M-KAw\n//\n")
    embed_file(source, tmp_path / "r.parquet", model=folder, per_residue=True, device="cpu")
    frame = pl.read_parquet(tmp_path / "r.parquet")
    assert frame.select("id", "position", "residue").rows() == [
        ("a", 1, "M"), ("a", 2, "K"), ("a", 3, "V"), ("b", 1, "M"), ("b", 2, "K"), ("b", 3, "A"), ("b", 4, "W"),
    ]  # fmt: skip


def test_nothing_half_written_is_left_when_the_input_is_bad(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "bad.fasta"
    source.write_text(">a\nMKV\n>b\nMK1\n")
    with pytest.raises(BadInputError, match="'1' at position 3"):
        embed_file(source, tmp_path / "out.parquet", model=folder)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.fasta"]


def test_a_device_that_is_not_there_is_a_usage_error(folder: Path, examples: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'abacus' cannot be used"):
        embed_file(examples / "globins.fasta", tmp_path / "e.parquet", model=folder, device="abacus")


def test_whitened_models_and_wide_poolings_embed_alike_in_windows_and_by_residue(tmp_path: Path) -> None:
    wide = Model.create("convolutional", preset="tiny", pooling="feature-mean", pooling_parameters={"features": 96}).eval()
    vectors = torch.from_numpy(Embedder(wide).pooled([random_sequence(50, i) for i in range(40)]))
    wide.whiten(vectors, torch.arange(40) // 4, 0.5, 1e-3)
    sequence = random_sequence(500, 1)
    for layer in (None, 2):
        whole, windowed = (Embedder(wide, layer, window=w, overlap=60).pooled([sequence]) for w in (8192, 150))
        assert whole.shape == (1, 96) and np.abs(windowed - whole).max() < 1e-4
    plain = with_pooling(wide, "mean")
    assert plain.whitening is None and Embedder(plain).pooled(["MKV"]).shape == (1, 64)
    source = tmp_path / "s.fasta"
    source.write_text(">a\nMKVLA\n")
    embed_file(source, tmp_path / "r.parquet", model=wide, per_residue=True)
    assert pl.read_parquet(tmp_path / "r.parquet")["embedding"].to_numpy().shape == (5, 64)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("full"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_a_batch_that_does_not_fit_into_memory_is_computed_in_halves(
    model: Model, letters: list[str], error: RuntimeError
) -> None:
    def limited(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if inputs[0].numel() > most:
            raise error

    whole, rows = Embedder(model).pooled(letters), Embedder(model).residues(letters[:20])
    embedder = Embedder(model)
    handle = model.encoder.register_forward_pre_hook(limited)
    try:
        most = 1000
        assert np.abs(embedder.pooled(letters) - whole).max() < 1e-5
        assert embedder.max_tokens <= 1000  # batches to come are smaller
        again = Embedder(model).residues(letters[:20])
        assert all(np.abs(a - b).max() < 1e-5 for a, b in zip(again, rows, strict=True))
        most = 100
        with pytest.raises(PhylocliError, match=r"not enough memory for \d+ residues"):
            Embedder(model).pooled(letters)
    finally:
        handle.remove()


def test_other_errors_of_a_model_are_not_taken_for_a_lack_of_memory(model: Model) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("shapes differ")

    handle = model.encoder.register_forward_pre_hook(broken)
    try:
        with pytest.raises(RuntimeError, match="shapes differ"):
            Embedder(model).pooled(["MKV", "MK"])
    finally:
        handle.remove()


def test_bf16_is_close_and_is_recorded(folder: Path, letters: list[str], tmp_path: Path) -> None:
    (tmp_path / "s.fasta").write_text("".join(f">s{i}\n{s}\n" for i, s in enumerate(letters[:30])))
    for precision in ("fp32", "bf16"):
        embed_file(tmp_path / "s.fasta", tmp_path / f"{precision}.parquet", model=folder, precision=precision)
    exact, rough = (
        np.stack(pl.read_parquet(tmp_path / f"{name}.parquet")["embedding"].to_list()) for name in ("fp32", "bf16")
    )
    error = np.linalg.norm(exact - rough) / np.linalg.norm(exact)
    assert 1e-5 < error < 0.05
    for precision in ("fp32", "bf16"):
        assert read_parquet_metadata(tmp_path / f"{precision}.parquet")["phylocli.precision"] == precision


@pytest.mark.slow
@pytest.mark.needs("compiler")
def test_a_compiled_encoder_gives_the_same_vectors(folder: Path, letters: list[str], tmp_path: Path) -> None:
    (tmp_path / "s.fasta").write_text("".join(f">s{i}\n{s}\n" for i, s in enumerate(letters[:10])))
    for compile in (False, True):
        embed_file(tmp_path / "s.fasta", tmp_path / f"{compile}.parquet", model=folder, compile=compile)
    a, b = (np.stack(pl.read_parquet(tmp_path / f"{name}.parquet")["embedding"].to_list()) for name in (False, True))
    assert np.abs(a - b).max() < 1e-4
