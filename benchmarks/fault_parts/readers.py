"""Fuzzing of readers, coverage-guided: only typed errors, in bounded time and memory.

Each reader runs in a process of its own under atheris (libFuzzer), from a corpus of files that are right. A case that ends
in anything but a result or a `PhylocliError`, takes more than two seconds, or lets the process grow by more than 200 MB
stops that reader and is reported.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fault_parts.results import Cells, Results

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = ROOT / "examples"
SECONDS = 2
"""Of processor time, for one case."""
HANGS = 120
"""Seconds after which a case is taken to hang, on a machine however busy."""
MEGABYTES = 200
LONGEST = 16_384


@dataclass(frozen=True)
class Reader:
    """A reader of one kind of file.

    Attributes:
        suffix: of the file.
        read: reads a file as the product does.
        seeds: writes right files of the kind into a folder.
        pack: makes a file of a case, where a checksum would hide what is in it.
    """

    suffix: str
    read: Callable[[Path], object]
    seeds: Callable[[Path], None]
    pack: Callable[[bytes], bytes] = bytes


def _sequences(path: Path) -> object:
    from phylocli.formats import read_sequences

    return list(read_sequences(path))


def _families(path: Path) -> object:
    from phylocli.formats import read_families

    return [
        (family.match_columns() if family.aligned else None, family.has_tree and family.require_tree())
        for family in read_families(path)
    ]


def _newick(path: Path) -> object:
    from phylocli.formats.newick import parse
    from phylocli.formats.streams import read_text

    return parse(read_text(path)).to_newick()


def _hmm(path: Path) -> object:
    from phylocli.formats.hmm import read_hmms

    return list(read_hmms(path))


def _recipe(path: Path) -> object:
    from phylocli.config.train import TrainConfig

    return TrainConfig.read(path)


def _run_config(path: Path) -> object:
    from phylocli.config.run import RunConfig, of_file

    return RunConfig.layered([of_file(path)])


def _table(path: Path) -> object:
    from phylocli.formats.tables import read_table

    return read_table(path)


def _labels(path: Path) -> object:
    from phylocli.probe.inputs.labels import read_labels

    return read_labels(path)


def _embeddings(path: Path) -> object:
    from phylocli.formats.embeddings import read_embeddings

    return read_embeddings(path).numpy()


def _split(path: Path) -> object:
    from phylocli.pairs import Split

    return Split.read(path)


_SOUND: list[Path] = []


def _sound_model() -> Path:
    if not _SOUND:
        from phylocli.models.model import Model

        _SOUND.append(Path(tempfile.mkdtemp(prefix="faults-model-")) / "model")
        Model.create("convolutional", preset="tiny", parameters={"width": 8, "depth": 1}, seed=1).save(_SOUND[0])
    return _SOUND[0]


def _model_file(name: str) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        from phylocli.models.model import Model

        shutil.copy(path, _sound_model() / name)
        return Model.load(_sound_model()).fingerprint

    return read


def _model_seeds(name: str) -> Callable[[Path], None]:
    return lambda folder: shutil.copy(_sound_model() / name, folder / "seed") and None


def _text_seeds(*texts: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for number, text in enumerate(texts):
            (folder / f"seed-{number}").write_text(text)

    return write


def _record(folder: Path) -> None:
    from phylocli.formats import read_families, write_families

    family = next(iter(read_families(EXAMPLES / "families.sto")))
    write_families([family.subset(family.ids[:4])], folder / "seed.sto")
    (folder / "small.sto").write_text(STOCKHOLM)


def _profile(folder: Path) -> None:
    import pyhmmer

    alphabet = pyhmmer.easel.Alphabet.amino()
    rows = [pyhmmer.easel.TextSequence(name=str(k), sequence=row) for k, row in enumerate(("MKVLAAGIVG", "MKILSAG-VG"))]
    alignment = pyhmmer.easel.TextMSA(name="family", sequences=rows).digitize(alphabet)
    hmm, _, _ = pyhmmer.plan7.Builder(alphabet).build_msa(alignment, pyhmmer.plan7.Background(alphabet))
    with (folder / "seed.hmm").open("wb") as stream:
        hmm.write(stream)


def _frame_seeds(*suffixes: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        import polars as pl

        frame = pl.DataFrame({"id": ["a", "b"], "family": ["x", None], "value": [0.5, 1.5], "terms": [["u"], ["v", "w"]]})
        if "parquet" in suffixes:
            frame.write_parquet(folder / "seed.parquet")
        if "arrow" in suffixes:
            frame.write_ipc(folder / "seed.arrow")
        frame.drop("terms").write_csv(folder / "seed.tsv", separator="\t")
        (folder / "seed.csv").write_text('id;label;x\n"a";k1;0,5\nb;NA;1,5\n')

    return write


def _arrays(kind: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        import numpy as np

        vectors = np.arange(8, dtype=np.float32)
        if kind == "npz":
            np.savez(folder / "seed.npz", a=vectors, b=vectors)
            np.savez_compressed(folder / "packed.npz", ids=np.array(["a", "b"]), embeddings=np.stack([vectors, vectors]))
        else:
            import h5py

            with h5py.File(folder / "seed.h5", "w") as file:
                file["a"], file["b/1-4"] = vectors, vectors

    return write


NPY = b"\x93NUMPY"


def _members(folder: Path) -> None:
    import numpy as np

    vectors = np.arange(8, dtype=np.float32)
    for number, arrays in enumerate([(np.array(["a", "b"]), np.stack([vectors, vectors])), (vectors, vectors)]):
        with (folder / f"seed-{number}").open("wb") as stream:
            stream.write(bytes([number]))
            for array in arrays:
                np.save(stream, array)


def _archive(data: bytes) -> bytes:
    """Return an NPZ archive with right checksums: `ids` and `embeddings`, or vectors by id, as the first byte says."""
    packed = io.BytesIO()
    names = itertools.count() if data[:1] == b"\x01" else iter(("ids", "embeddings"))
    with zipfile.ZipFile(packed, "w") as archive:
        for name, member in zip(names, data[1:].split(NPY)[1:], strict=False):
            archive.writestr(f"{name}.npy", NPY + member)
    return packed.getvalue()


STOCKHOLM = """# STOCKHOLM 1.0
#=GF ID Globin
#=GF AC PF00042.27
#=GF NH (a:0.1,b:0.2);
a ACD-E
b A.CDE
#=GC RF xxxxx
#=GR a SS HHHHH
//
"""
TOML = 'steps = 5\n[critic]\nname = "cosine"\n[encoder.parameters]\nwidth = 8\n'
FASTA = (">sp|P1|X one\nMKVLAAGIVG\nACDE*\n>b\nmkvx-\n", ">P1;B\ntitle, of 2\nMKVL*\n", "; old\n>a\nAC\r\n>c\rAC")
NEWICK = ("((a:0.1,b:1e-3)90:0.2,'it''s':3,c[&&NHX:S=x]);", "(a,b,(c,d));", "((a:1):2);", "a;")

READERS = {
    "FASTA": Reader(".fasta", _sequences, _text_seeds(*FASTA)),
    "Stockholm": Reader(".sto", _families, _record),
    "A3M": Reader(".a3m", _families, _text_seeds("#5\t1\n>q\nACD-E\n>b\nACdefD-E\n", *FASTA)),
    "Newick": Reader(".nwk", _newick, _text_seeds(*NEWICK)),
    "HMM": Reader(".hmm", _hmm, _profile),
    "recipe (TOML)": Reader(".toml", _recipe, _text_seeds(TOML)),
    "run (TOML)": Reader(".toml", _run_config, _text_seeds((EXAMPLES / "demo.toml").read_text())),
    "config.json": Reader(".json", _model_file("config.json"), _model_seeds("config.json")),
    "safetensors": Reader(".safetensors", _model_file("model.safetensors"), _model_seeds("model.safetensors")),
    "table (TSV, CSV)": Reader(".tsv", _table, _frame_seeds()),
    "labels (Parquet)": Reader(".parquet", _labels, _frame_seeds("parquet")),
    "split (Parquet)": Reader(".parquet", _split, _frame_seeds("parquet", "arrow")),
    "embeddings (NPZ)": Reader(".npz", _embeddings, _arrays("npz")),
    "embeddings (NPZ, arrays)": Reader(".npz", _embeddings, _members, _archive),
    "embeddings (HDF5)": Reader(".h5", _embeddings, _arrays("h5")),
}  # fmt: skip


def fuzz(name: str, cases: int, seed: int, folder: Path) -> None:
    """Fuzz one reader in this process; does not return."""
    import atheris

    reader = READERS[name]
    with atheris.instrument_imports(include=["phylocli"]):
        import phylocli.formats
        import phylocli.formats.tables  # noqa: F401
    from phylocli.core import console
    from phylocli.core.errors import PhylocliError

    console.show_messages(console.SILENT)
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    reader.seeds(corpus)
    for file in corpus.iterdir():
        with contextlib.suppress(PhylocliError):  # load libraries before memory is measured
            reader.read(_renamed(file, folder, reader))
    place = folder / f"case{reader.suffix}"

    def case(data: bytes) -> None:
        place.write_bytes(reader.pack(data))
        start = time.process_time()
        with contextlib.suppress(PhylocliError):
            reader.read(place)
        used = time.process_time() - start
        if used > SECONDS:
            raise TimeoutError(f"{used:.1f} CPU seconds")

    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20
    options = [
        f"-runs={cases}", f"-seed={seed + 1}", f"-max_len={LONGEST}", f"-timeout={HANGS}", "-print_final_stats=1",
        f"-rss_limit_mb={resident + MEGABYTES}", f"-artifact_prefix={folder}/", str(corpus),
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options], case)
    atheris.Fuzz()


def _renamed(file: Path, folder: Path, reader: Reader) -> Path:
    path = folder / f"right{reader.suffix}"
    path.write_bytes(reader.pack(file.read_bytes()))
    return path


def stopped(name: str, cases: int, seed: int, folder: Path) -> tuple[Cells, list[str]]:
    """Fuzz one reader in a separate process; return the number of cases and the reason for the end."""
    place = folder / re.sub(r"\W+", "-", name)
    shutil.rmtree(place, ignore_errors=True)
    command = [sys.executable, "-m", "fault_parts.readers", name, str(cases), str(seed), str(place)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=env, check=False)
    text = done.stdout + done.stderr
    ran = re.findall(r"stat::number_of_executed_units:\s*(\d+)", text) or re.findall(r"Done (\d+) runs", text) or ["0"]
    peak = re.findall(r"stat::peak_rss_mb:\s*(\d+)", text) or ["–"]
    why, details = "–", []
    if done.returncode != 0:
        found = re.findall(r"^(?:\w+\.)*\w+(?:Error|Exception|Panic)\w*:.*$|ERROR: libFuzzer: .*$|Uncaught.*$", text, re.M)
        why = (found[-1] if found else f"exit code {done.returncode}")[:120]
        details.append(f"{name}: {text[-1500:]}")
    else:
        shutil.rmtree(place, ignore_errors=True)
    return [f"{int(ran[-1]):,}", why, peak[-1]], details


def measure(folder: Path, cases: int, seed: int, only: str = "") -> Results:
    """Fuzz every reader."""
    header = ["reader", "cases", "stopped by", "peak memory, MB"]
    results = Results(folder / "results.jsonl", {"cases": cases, "seed": seed}, header, only)
    for name in READERS:
        results.add(name, partial(stopped, name, cases, seed, folder))
    return results


if __name__ == "__main__":
    fuzz(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
