"""Every command and every format: a file in another format than is wanted is named for what it is; nothing is written."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from phylocli.embed import embed_file
from phylocli.formats import Sequence, read_families, write_families
from phylocli.models.config import DecoderArchitecture
from phylocli.models.model import Model
from phylocli.models.multimodal import Calibration, MultimodalModel, tower
from phylocli.predict.profiles import hmm_bytes
from phylocli.tree import infer_trees

Run = Callable[..., Result]

FILES = {
    "x.fasta": "FASTA file",
    "x.sto": "Stockholm file",
    "x.nwk": "Newick tree",
    "x.parquet": "Parquet file",
    "x.tsv": "table",
    "x.hmm": "profile HMM",
    "x.toml": "TOML file",
    "x.png": "PNG picture",
    "x.json": "JSON file",
    "x.html": "XML",
    "x.gaf": "file of GO annotations",
    "x.npz": "ZIP archive",
    "empty": "empty|has no HMM|contains no",
    "folder": "folder",
}
"""Each format, and the words by which it is named."""

SEQUENCES = {"x.fasta", "x.sto"}
TABLES = {"x.parquet", "x.tsv"}
VECTORS = {*TABLES, "x.npz"}
LABELS = {*TABLES, *SEQUENCES, "x.gaf"}
COMMANDS: dict[str, set[str]] = {
    "align X -o out.sto": SEQUENCES,
    "align x.fasta --hmm X -o out.sto": {"x.hmm"},
    "align x.fasta --seed-alignment X -o out.sto": SEQUENCES,
    "tree X -o out.sto": SEQUENCES,
    "tree x.sto --tree X -o out.sto": {"x.nwk"},
    "pairs X -o out.tsv": SEQUENCES,
    "pairs trees.sto --relation orthologs --species X -o out.tsv": TABLES,
    "train X -o out": {*SEQUENCES, *TABLES},
    "train trees.sto --config X -o out": {"x.toml", "empty"},
    "train trees.sto --set validation.split=X -o out": TABLES,
    "train trees.sto --recipe evolution-structure --set residues.labels=X -o out": TABLES,
    "train X --recipe dgi --features x.parquet -o out": SEQUENCES,
    "train trees.sto --recipe dgi --features X -o out": VECTORS,
    "train trees.sto --recipe infograph --set graphs.labels=X -o out": TABLES,
    "train trees.sto --recipe distil --teacher X -o out": VECTORS,
    "sweep X --recipes simclr -o out": {*SEQUENCES, *TABLES},
    "sweep trees.sto --recipes X -o out": {"x.toml", "empty"},
    "infomin X -o out": SEQUENCES,
    "families X -o out.sto": SEQUENCES,
    "embed X -m model -o out.parquet": SEQUENCES,
    "embed X -m joint --modality text -o out.parquet": set(),
    "classify X --labels classes.tsv -m joint -o out.tsv": SEQUENCES,
    "classify x.fasta --labels X -m joint -o out.tsv": TABLES,
    "search --text kinase X -m joint -o out.tsv": VECTORS,
    "search X joint.parquet -m joint --modality text -o out.tsv": set(),
    "train X --recipe clip --modalities sequence,text -o out": {"x.sto"},
    "search X x.parquet -m model -o out.tsv": {*SEQUENCES, *VECTORS},
    "search x.fasta X -m model -o out.tsv": {*SEQUENCES, *VECTORS},
    "search x.fasta x.parquet -m model --align --sequences X -o out.tsv": SEQUENCES,
    "predict X -m model -o out.fasta": SEQUENCES,
    "reconstruct X -m decoder -o out.fasta": SEQUENCES,
    "interpolate X one.fasta -m decoder -o out.fasta": SEQUENCES,
    "interpolate one.fasta X -m decoder -o out.fasta": SEQUENCES,
    "interpolate a b --sequences X -m decoder -o out.fasta": SEQUENCES,
    "labels X -o out.tsv": LABELS,
    "labels x.tsv --ids X -o out.tsv": {*SEQUENCES, *VECTORS},
    "probe X --labels x.tsv -o out": VECTORS,
    "probe x.parquet --labels X -o out": LABELS,
    "probe x.parquet --labels x.tsv --trees X -o out": SEQUENCES,
    "probe x.parquet --labels x.tsv --sequences X -o out": SEQUENCES,
    "map X -o out.html": VECTORS,
    "map x.parquet --labels X -o out.html": LABELS,
    "network X -m model -k 2 -o out.tsv": {*SEQUENCES, *VECTORS},
    "network x.fasta -m model --align --sequences X -o out.tsv": SEQUENCES,
    "network x.parquet -m model -k 2 --labels X -o out.graphml": LABELS,
    "serve X --no-open": VECTORS,
    "serve x.parquet --no-open --labels X": LABELS,
    "serve x.parquet --no-open --sequences X": SEQUENCES,
    "run X --model model -o out": {*SEQUENCES, "x.toml"},
    "compare trees X x.nwk": {"x.nwk", "x.sto"},
    "cluster X -o out.tsv": VECTORS,
    "distances X -o out.tsv": {*SEQUENCES, *VECTORS, "x.nwk"},
    "store import X": {*SEQUENCES, "folder"},
    "views phylogenetic X": SEQUENCES,
    "simulate --tree X -o out.sto": {"x.nwk"},
    "simulate --frequencies X -o out.sto": SEQUENCES,
    "mi estimate X x.parquet": VECTORS,
    "mi estimate x.parquet --labels X --column kind": LABELS,
    "mi usable X --labels x.tsv --column kind": VECTORS,
    "mi usable x.parquet --labels X --column kind": LABELS,
    "mi usable x.parquet --given X --labels x.tsv --column kind": VECTORS,
    "fetch --offline --from-file X": {"x.tsv"},
    "recipes show X": {"x.toml", "empty"},
}
"""Each input of each command (X), and the files that it reads: not tried here."""
UNCOMPRESSED = {command for command, read in COMMANDS.items() if "x.toml" in read and "x.sto" not in read}
"""TOML is not read compressed."""
FOLDERS = ["embed x.fasta -m X -o out.parquet", "models show X", "generate X -o out.fasta"]
"""Inputs that are a folder, of a model."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, examples: Path) -> Path:
    """A folder with a file of each format, each also compressed, families with trees and a model."""
    folder = tmp_path_factory.mktemp("formats")
    families = [family.subset(family.ids[:5]) for family in list(read_families(examples / "families.sto"))[:2]]
    members = [sequence for family in families for sequence in family.sequences()]
    write_families(families, folder / "x.sto")
    write_families(infer_trees(families), folder / "trees.sto")
    Model.create("convolutional", preset="tiny", parameters={"width": 8, "depth": 1}, seed=0).save(folder / "model")
    towers = {name: tower(name, preset="tiny", seed=0) for name in ("sequence", "text")}
    joint = MultimodalModel(towers, 8)
    joint.calibration["text"] = Calibration(10.0, 0.5, 1.0)
    joint.save(folder / "joint")
    decoder = DecoderArchitecture("convolutional", {"width": 8, "depth": 1, "grid": 4, "max_length": 200}, y=0.25)
    Model.create("convolutional", preset="tiny", seed=0, decoder=decoder).save(folder / "decoder")
    (folder / "one.fasta").write_text(">a\nMKVLAAGIVG\n")
    (folder / "x.fasta").write_text("".join(f">{s.id}\n{s.residues}\n" for s in members))
    embed_file(folder / "x.fasta", folder / "x.parquet", model=folder / "model")
    embed_file(folder / "x.fasta", folder / "joint.parquet", model=folder / "joint")
    (folder / "classes.tsv").write_text("label\tdescription\nglobin\toxygen\nkinase\tphosphate\n")
    (folder / "x.nwk").write_text("((a:0.1,b:0.2):0.1,(c:0.1,d:0.3):0.2);\n")
    (folder / "x.tsv").write_text("id\tkind\n" + "".join(f"{s.id}\t{'ab'[k % 2]}\n" for k, s in enumerate(members)))
    profile = np.full((10, 20), 0.05, dtype=np.float32)
    (folder / "x.hmm").write_bytes(hmm_bytes(Sequence("family", "MKVLAAGIVG"), profile))
    (folder / "x.toml").write_text('steps = 5\n[critic]\nname = "cosine"\n')
    (folder / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0")
    (folder / "x.json").write_text('{"a": [1]}\n')
    (folder / "x.html").write_text("<!doctype html><html></html>\n")
    (folder / "x.gaf").write_text("!gaf-version: 2.2\nUniProtKB\tP1\tX\tenables\tGO:0005515\tPMID:1\tIPI\t\tF\n")
    np.savez(folder / "x.npz", a=np.ones(8, np.float32), b=np.zeros(8, np.float32))
    (folder / "empty").touch()
    for name in FILES.keys() - {"folder"}:
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes(), 1))
    (folder / "folder").mkdir()
    (folder / "folder" / "notes.txt").write_text("x")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_in_another_format_is_named_for_what_it_is(
    cli: Run, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("PHYLOCLI_CACHE", str(tmp_path / "cache"))
    before = sorted(os.listdir(place))
    for name, kind in FILES.items():
        if name in COMMANDS[command]:
            continue
        for given in [name] if name == "folder" or command in UNCOMPRESSED else [name, f"{name}.gz"]:
            done = cli(*(word.replace("X", given) for word in command.split()))
            error = next((line for line in done.stderr.splitlines() if line.startswith("error: ")), "")
            said = (given, done.stderr)
            assert done.exit_code == 65, said
            assert re.search(rf"\b{re.escape(given)}\b.*\b({kind})\b", error) or _lacks(name, given, error), said
            assert re.search(r"^fix: ", done.stderr, re.MULTILINE), said
            assert sorted(os.listdir(place)) == before, given


def _lacks(name: str, given: str, error: str) -> bool:
    """Return whether the error of a table names the columns or rows that it lacks."""
    return name in TABLES and bool(re.search(rf"{re.escape(given)}.* (has no|lacks the|has fewer than two of the) ", error))


@pytest.mark.parametrize("command", FOLDERS)
def test_a_file_or_another_folder_in_place_of_a_model_is_named(
    cli: Run, place: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(place)
    for given in ("x.fasta", "x.png", "empty", "folder"):
        done = cli(*(word.replace("X", given) for word in command.split()))
        assert done.exit_code == 65, done.stderr
        assert re.search(rf"error: {given} is (a file, )?not a model folder", done.stderr), done.stderr
        assert "fix: name the 'model' folder of a training run" in done.stderr
