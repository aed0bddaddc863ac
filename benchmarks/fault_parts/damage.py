"""Truncated files and flipped bits: readers must raise a typed error, or return the same result.

Each file is read by the function that reads it in the product. A trial is noticed where a typed error names the file or its
folder, sound where the result is that of the whole file: what was damaged is not used, or was made again.
"""

from __future__ import annotations

import hashlib
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fault_parts.results import Cells, Results
from fault_parts.trials import Outcome, preload, trial

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = ROOT / "examples"


@dataclass(frozen=True)
class Written:
    """A kind of file.

    Attributes:
        name: in the table.
        make: writes the file and what belongs to it into a folder; returns the files to damage.
        read: reads it as the product does, and returns what was read as text.
    """

    name: str
    make: Callable[[Path], list[Path]]
    read: Callable[[Path], str]


def _digest(*values: Any) -> str:
    import numpy as np

    found = hashlib.sha256()
    for value in values:
        array = isinstance(value, np.ndarray)
        found.update(np.ascontiguousarray(value).tobytes() if array else repr(value).encode())
    return found.hexdigest()


def _some_families() -> list[Any]:
    from phylocli.formats import read_families

    return [family for k, family in enumerate(read_families(EXAMPLES / "families.sto")) if k in (1, 3, 5)]


def _make_record(folder: Path) -> list[Path]:
    from phylocli.store import Store

    store = Store(folder / "store")
    return [store.write(_some_families()[0], "fetch", {})]


def _read_record(folder: Path) -> str:
    from phylocli.store import Store

    store = Store(folder / "store")
    family = store.read(store.accessions()[0])
    return _digest(family.ids, family.rows, family.clan, family.tree.to_newick())


def _make_corpus(folder: Path) -> list[Path]:
    from phylocli.formats import write_families
    from phylocli.train.data.compiled import open_compiled
    from phylocli.tree import infer_trees

    write_families(infer_trees(iter(_some_families())), folder / "trees.sto")
    compiled = open_compiled([folder / "trees.sto"], cache=folder / "cache")
    return [p for p in compiled.folder.iterdir() if p.is_file() and p.stat().st_size > 0]


def _read_corpus(folder: Path) -> str:
    from phylocli.train.data.compiled import open_compiled

    compiled = open_compiled([folder / "trees.sto"], cache=folder / "cache")
    found = []
    for index in range(compiled.families):
        family = compiled.family(index)
        found += [family.ids, *family.tokens, family.require_tree().tip_names(), family.require_tree().length]
    return _digest(*found)


def _run(folder: Path, **options: Any) -> Path:
    from phylocli.train import train_model

    settings = {"encoder.preset": "tiny", "batch.pairs": 8, "log.mfu": False, "checkpoints.every": 2, "validation.every": 2}
    train_model([folder / "trees.sto"], folder / "run", steps=4, device="cpu", settings=settings, cache=False, **options)
    return folder / "run"


def _make_checkpoint(folder: Path) -> list[Path]:
    from phylocli.formats import write_families
    from phylocli.tree import infer_trees

    write_families(infer_trees(iter(_some_families())), folder / "trees.sto")
    run = _run(folder)
    shutil.rmtree(run / "model")
    for older in sorted((run / "checkpoints").glob("step-*.pt"))[:-1]:
        older.unlink()
    return sorted((run / "checkpoints").glob("step-*.pt"))


def _read_checkpoint(folder: Path) -> str:
    from phylocli.models.model import Model

    return Model.load(_run(folder, resume=True) / "model").fingerprint


def _make_model(folder: Path) -> list[Path]:
    from phylocli.models.model import Model

    model = Model.create("convolutional", preset="tiny", seed=3)
    model.save(folder / "model")
    return [folder / "model" / "model.safetensors", folder / "model" / "config.json"]


def _read_model(folder: Path) -> str:
    from phylocli.models.model import Model

    model = Model.load(folder / "model")
    weights = {name: value.numpy() for name, value in sorted(model.state_dict().items())}
    return _digest(*(x for pair in weights.items() for x in pair), sorted(model.config.to_json().items(), key=str))


def _embed(folder: Path, target: str, **options: Any) -> None:
    from phylocli.embed import embed_file

    embed_file(EXAMPLES / "globins.fasta", folder / target, **options)


def _read_table(path: Path) -> str:
    import numpy as np

    from phylocli.search.database import open_table

    table = open_table(path)
    return _digest(table.ids, np.concatenate([block for _, block in table.blocks()]))


def _make_part(folder: Path) -> list[Path]:
    _embed(folder, "parts/", shard_size=10)
    return [*sorted((folder / "parts").glob("part-*.parquet"))[:1], folder / "parts" / "manifest.json"]


def _make_table(folder: Path) -> list[Path]:
    _embed(folder, "table.parquet")
    return [folder / "table.parquet"]


def _make_graph(folder: Path) -> list[Path]:
    from phylocli.search.database import open_table
    from phylocli.search.indices.approximate import SUFFIX, open_graph
    from phylocli.search.indices.files import index_path

    _embed(folder, "table.parquet")
    table = open_table(folder / "table.parquet")
    open_graph(table)
    return [index_path(table, SUFFIX), index_path(table, f"{SUFFIX}.json")]


def _read_graph(folder: Path) -> str:
    import numpy as np

    from phylocli.search.database import open_table
    from phylocli.search.indices.approximate import open_graph

    table = open_table(folder / "table.parquet")
    vectors = np.concatenate([block for _, block in table.blocks()])
    found = open_graph(table).nearest(vectors, 5)
    return _digest(found.rows, np.round(found.cosines, 4))


def _make_homology(folder: Path) -> list[Path]:
    from phylocli import models

    shutil.copytree(Path(models.__file__).parent / "default", folder / "default")
    return [folder / "default" / "homology.safetensors"]


def _read_homology(folder: Path) -> str:
    from phylocli.models.model import Model
    from phylocli.search.residue_plda import load_residue_plda

    found = load_residue_plda(Model.load(folder / "default"))
    return _digest(*vars(found).values()) if found is not None else "left alone"


WRITTEN = (
    Written("store record", _make_record, _read_record),
    Written("compiled families", _make_corpus, _read_corpus),
    Written("checkpoint", _make_checkpoint, _read_checkpoint),
    Written("model", _make_model, _read_model),
    Written("residue log odds of a model", _make_homology, _read_homology),
    Written("embeddings, a part", _make_part, lambda folder: _read_table(folder / "parts")),
    Written("embeddings, one table", _make_table, lambda folder: _read_table(folder / "table.parquet")),
    Written("usearch graph", _make_graph, _read_graph),
)


def damaged(data: bytes, offset: int, bit: int | None) -> bytes:
    """Return data cut at an offset, or with a bit there flipped."""
    if bit is None:
        return data[:offset]
    return data[:offset] + bytes([data[offset] ^ (1 << bit)]) + data[offset + 1 :]


def judge(outcome: Outcome, whole: str, names: set[str]) -> str:
    """Return `noticed`, `sound`, `silent`, `untyped`, or what else became of a trial."""
    if outcome.kind == "value":
        return "sound" if outcome.text == whole else "silent"
    if outcome.kind == "error":
        return "noticed" if any(name in outcome.text for name in names) else "unnamed"
    return outcome.kind


def _made(written: Written, place: Path) -> str:
    return "\n".join(map(str, written.make(place)))


KINDS = ("noticed", "sound", "silent", "unnamed", "untyped", "crash", "timeout")


def damage(written: Written, folder: Path, offsets: int, seed: int) -> tuple[Cells, list[str]]:
    """Damage each file of a kind and count the outcomes."""
    shutil.rmtree(folder, ignore_errors=True)
    place, original = folder / "place", folder / "original"
    place.mkdir(parents=True)
    counts: Counter[str] = Counter()
    # What is made is made in a process of its own: forks of one that has computed with threads may hang.
    made = trial(partial(_made, written, place), seconds=600)
    if made.kind != "value":
        raise RuntimeError(f"{written.name}: {made.text}")
    files = [Path(line).relative_to(place) for line in made.text.splitlines()]
    shutil.copytree(place, original)
    whole = trial(partial(written.read, place), seconds=600)
    if whole.kind != "value":
        raise RuntimeError(f"{written.name} cannot be read whole: {whole.text}")
    rng, details = random.Random(seed), []
    for name in files:
        data = (original / name).read_bytes()
        for number in range(offsets):
            for bit in (None, rng.randrange(8)):
                offset = 0 if number == 0 and bit is None else rng.randrange(len(data))
                shutil.rmtree(place, ignore_errors=True)
                shutil.copytree(original, place)
                (place / name).write_bytes(damaged(data, offset, bit))
                outcome = trial(partial(written.read, place), seconds=120)
                verdict = judge(outcome, whole.text, {name.name, name.parent.name, str(place)})
                counts[verdict] += 1
                if verdict not in ("noticed", "sound") and counts[verdict] <= 3:
                    how = f"cut at {offset}" if bit is None else f"bit {bit} of byte {offset} flipped"
                    details.append(f"{written.name}: {name}, {how} of {len(data)}: {verdict}: {outcome.text[:200]}")
    shutil.rmtree(folder)
    return [str(sum(counts.values())), *(str(counts[kind]) for kind in KINDS)], details


def measure(folder: Path, offsets: int, seed: int, only: str = "") -> Results:
    """Damage each kind of file."""
    preload()
    results = Results(folder / "results.jsonl", {"offsets": offsets, "seed": seed}, ["file", "trials", *KINDS], only)
    for written in WRITTEN:
        results.add(written.name, partial(damage, written, folder / "work", offsets, seed))
    return results
