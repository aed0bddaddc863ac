"""Benchmark scripts: their imports exist; construction of the corpus of the default model."""

from __future__ import annotations

import ast
import gzip
import importlib
import json
import re
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import polars as pl
import pytest

from phylocli.config.infomax import EXPERIMENTS
from phylocli.diffusion import DiffusionArchitecture, LatentDiffusion
from phylocli.formats import read_families, write_families
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.family import Family
from phylocli.models.config import DecoderArchitecture
from phylocli.models.model import Model
from phylocli.predict import predict_residues

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(path for folder in ("benchmarks", "examples", "docs") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_that_scripts_import_from_the_package_exist(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "phylocli":
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "phylocli":
                    importlib.import_module(alias.name)


def script(name: str) -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def corpus() -> ModuleType:
    return script("default_corpus")


def test_homologs_are_aligned_with_their_seed(corpus: ModuleType) -> None:
    # The first lacks CD and has pq between E and F; the second begins at D and has r before its end.
    hits = [
        {"target": "a", "tstart": 3, "tend": 10, "qstart": 1, "cigar": "2M2I1M2D3M", "evalue": 1e-9},
        {"target": "b", "tstart": 1, "tend": 4, "qstart": 4, "cigar": "2M1D1M", "evalue": 1e-3},
    ]
    chain = {"id": "seed", "sequence": "ACDEFGHI"}
    family = corpus.seed_family(chain, hits, ["ACFPQGHI", "EFRG"], {"b": "g"})
    assert family.ids == ["seed", "a/3-10", "b/1-4"] and family.accession == "SEED_seed"
    assert family.rows == ["ACDEF..GHI", "AC--FpqGHI", "---EFr.G--"]
    assert family.column_features == {"RF": "xxxxx..xxx"}
    assert family.group_codes() is not None and corpus.some_rows(family) == ["ACDEFGHI", "AC--FGHI", "---EFG--"]


def test_labels_are_inherited_through_the_alignment(corpus: ModuleType) -> None:
    chain = {"id": "c", "three_di": "abcdefgh".upper(), "dssp": "HHHHEEEE"}
    hit = {"target": "p", "tstart": 5, "tend": 10, "qstart": 2, "qend": 8, "qlen": 8, "fident": 0.5, "cigar": "2M1D2M1I1M"}
    best = {"p": "c", "q": "other"}
    (found,) = corpus.inheritance(chain, [hit, {**hit, "target": "q"}], ["KLMNOP", "KLMNOP"], best)
    assert found["id"] == "p/5-10" and found["sequence"] == "KLMNOP"
    assert found["three_di"] == "BC.DEG" and found["dssp"] == "HH.HEE"
    assert found["weight"] == pytest.approx(0.5 * 7 / 8)


@pytest.mark.parametrize(
    ("cath", "expected"),
    [
        ("", []),
        ("1.10.8.10:47-402", [("1.10.8.10", 0, 100)]),
        ("1.10.8.10:11-50 3.40.50.1:51-110", [("1.10.8.10", 0, 40), ("3.40.50.1", 40, 100)]),
        ("1.10.8.10:11-50;3.40.50.1:51-90;1.10.8.10:91-110", [("1.10.8.10", 0, 100), ("3.40.50.1", 40, 80)]),
        ("1.10.8.10:11-50 3.40.50.1:51-300", []),  # longer than the chain: the numbers cannot be placed
    ],
)
def test_domains_are_placed_in_their_chain(corpus: ModuleType, cath: str, expected: list[tuple[str, int, int]]) -> None:
    assert corpus.domains_of(100, cath) == expected


def test_clans_join_homologs_but_neither_topologies_nor_too_many(corpus: ModuleType) -> None:
    clans = corpus.Clans({"s1": ("CATH", "T1"), "s2": ("CATH", "T1"), "t1": ("CATH", "T2"), "p": ("Pfam", "CL1")}, most=4)
    clans.join("s1", "s2", always=True)
    clans.join("a", "s1")
    clans.join("a", "t1")  # would join two topologies
    clans.join("t1", "p")
    clans.join("c", "d")
    clans.join("c", "s2")  # would be five
    clans.find("alone")
    clan = {"s1": "T1", "s2": "T1", "a": "T1", "t1": "T2_CL1", "p": "T2_CL1", "c": "CLAN_c", "d": "CLAN_c"}
    assert clans.names() == clan
    assert clans.refused == 2


def test_families_with_regions_in_common_have_an_edge(corpus: ModuleType) -> None:
    regions = {
        "p": [("F1", 1, 100), ("F2", 20, 110), ("F3", 90, 200)],
        "q": [("F2", 1, 80), ("F1", 1, 90), ("F3", 5, 85)],
        "r": [("F1", 1, 50)],
    }
    assert corpus.shared_members(regions) == [(1e-5, "F1", "F2")]


def test_accessions_of_superfamilies_have_no_version(corpus: ModuleType, tmp_path: Path) -> None:
    families = [Family(["a"], ["MK"], accession=corpus.accession_of(f"3.20.20.{k}")) for k in (70, 80)]
    write_families(families, tmp_path / "f.sto")
    assert [f.accession for f in read_families(tmp_path / "f.sto")] == ["CATH_3_20_20_70", "CATH_3_20_20_80"]


def test_subsets_of_a_corpus_are_nested_and_have_the_same_fraction_of_each_input(tmp_path: Path) -> None:
    default = script("default_model")
    for count, name in zip((40, 20, 12, 8), default.INPUTS, strict=True):
        write_families(
            [Family(["a", "b"], ["MK", "ML"], accession=f"{name}{k}") for k in range(count)], tmp_path / f"{name}.sto.gz"
        )
    found = {
        number: [
            {f.accession for f in read_families(path)}
            for path in default.subset(tmp_path, tmp_path / str(number), number, 0)
        ]
        for number in (20, 40)
    }
    assert [len(part) for part in found[20]] == [10, 5, 3, 2] and [len(part) for part in found[40]] == [20, 10, 6, 4]
    assert all(small < large for small, large in zip(found[20], found[40], strict=True))


def test_intervals_over_chains_hold_the_ratio_of_sums() -> None:
    default = script("default_model")
    sums = np.array([[100.0, 60, 100], [10.0, 9, 10], [300.0, 90, 200]])
    found = default.with_intervals(sums, 0)
    assert found["loss"] == pytest.approx(410 / 310) and found["accuracy"] == pytest.approx(159 / 310)
    assert found["loss_low"] == pytest.approx(1.0) and found["loss_high"] == pytest.approx(1.5)  # one chain alone


def test_seconds_of_interrupted_attempts_are_added_and_complete_work_is_not_repeated(tmp_path: Path) -> None:
    timed, path, calls = script("distillation").timed, tmp_path / "seconds.json", []

    def work() -> None:
        calls.append(sum(range(1_000_000)))
        if len(calls) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        timed(path, work)
    first = json.loads(path.read_text())["seconds"]
    total = timed(path, work)
    assert 0 < first < total
    assert timed(path, work) == total and len(calls) == 2


def test_tables_of_a_benchmark_have_other_names_for_other_models_and_options() -> None:
    key_of = script("distillation").key_of
    facts = ({"batch.pairs": 64}, ["teacher"], "families")
    others = [({"batch.pairs": 32}, *facts[1:]), (facts[0], ["other"], facts[2]), (*facts[:2], "others")]
    assert len({key_of(*facts), *(key_of(*other) for other in others)}) == 4
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})


@pytest.mark.usefixtures("one_thread")
def test_generated_sequences_of_other_options_are_not_taken_for_these(tmp_path: Path) -> None:
    decoder = DecoderArchitecture("convolutional", {"width": 8, "depth": 1, "grid": 4, "max_length": 30})
    model = Model.create("convolutional", preset="tiny", seed=0, decoder=decoder)
    at = model.save(tmp_path / "x-diffusion" / "model")
    LatentDiffusion(DiffusionArchitecture(64, ("PF1", "PF2"), width=8, depth=1)).save(at, model.fingerprint)
    for name, labels in (("one", ["PF1"]), ("two", ["PF1", "PF2"])):
        write_families([Family(["a", "b"], ["MKV", "MKI"], accession=label) for label in labels], tmp_path / f"{name}.sto")
    generated, counts = script("hybrid").generated, []
    for name, number in (("one", 1), ("one", 2), ("two", 2), ("one", 1)):
        sources = generated(tmp_path, tmp_path / f"{name}.sto", number)
        assert [made.name for made in sources] == ["x-T0", "x-T1"]
        counts.append([Path(made.source).read_text().count(">") for made in sources])
    assert counts == [[1, 1], [2, 2], [4, 4], [1, 1]]


def test_families_that_hybrid_models_did_not_see_share_no_clan_with_those_they_did(tmp_path: Path) -> None:
    hybrid = script("hybrid")
    (tmp_path / "families").mkdir()
    for part, rows in {
        "train": [
            "PF1\tCL1\t90\t60", "PF2\tCL1\t80\t70", "PF3\t\t80\t70", "PF4\tCL1\t80\t30", "PF5\tCL2\t80\t70",
            "PF6\t\t500\t70",
        ],
        "dev": ["PF7\tCL3\t80\t20", "PF8\tCL3\t300\t20"],
    }.items():  # fmt: skip
        table = "\n".join(["accession\tclan\tmodel_length\tn_seqs", *rows])
        (tmp_path / "families" / f"{part}.tsv").write_text(table)
    assert hybrid.chosen_families(tmp_path, 3) == ["PF1", "PF2", "PF3"]
    assert hybrid.unseen_families(tmp_path, 3) == {"dev": ["PF7"], "train": ["PF5"]}


def test_intervals_of_seeds_and_of_differences() -> None:
    summary, n = script("hybrid").summary, 200
    families = np.random.default_rng(0).normal(size=n).tolist()
    alike = [[0.5, *(0.5 + np.array(families))], [0.7, *(0.7 + np.array(families))]]
    value, low, high = summary(alike)
    assert value == pytest.approx(0.6)
    assert low < -0.5 < 1.5 < high
    # the variation among families cancels, that among seeds stays
    assert summary(alike, [[0.0, *families]]) == pytest.approx((0.6, 0.5, 0.7))


def test_one_script_makes_every_figure_of_the_page_on_infomax(
    simulated_file: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "ceilings.EVALUATIONS": 2, "ceilings.LEVELS": (1.0, 4.0), "channel.EVALUATIONS": 2, "channel.EVALUATED": 32,
        "equal_information.ENCODERS": ("linear",), "uniformity.SCALES": (2.0,), "uniformity.WEIGHTS": (0.1, 1.0),
        "uniformity.TEMPERATURES": (0.1, 1.0), "uniformity.REPLICATES": 3, "boundary.DEPTH": 1, "invertible.CHECKS": 1,
        "nce.NEGATIVES": (1, 2), "nce.BATCHES": 2, "simulated_views.DISTANCES": (1.0,), "views.MOST": 60,
        "simulated_views.MOST": 60, "invertible.POINTS": 2, "invertible.RUNS": {"realnvp": "flow"},
        "critics.CRITICS": ("bilinear",),
    }.items():  # fmt: skip
        monkeypatch.setattr(f"phylocli.infomax.experiments.{name}", value)
    (tmp_path / "families").mkdir()
    (tmp_path / "figures").mkdir()
    every = list(read_families(simulated_file(13, members=14)))
    for name, part in (("train", every[:8]), ("dev", every[8:])):
        write_families(part, tmp_path / "families" / f"{name}.sto.gz")
    infomax = script("infomax")
    infomax.main([str(tmp_path), "-o", str(tmp_path / "out"), "--figures", str(tmp_path / "figures"), "--demo"])
    out = capsys.readouterr().out
    assert out.count("\n## ") == len(EXPERIMENTS) + 4 and "| perceptrons | nwj |" in out and "N = 1,024: " in out
    drawn = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert drawn == sorted(f"infomax-{name}.svg" for name in EXPERIMENTS)
    page = (ROOT / "docs" / "infomax_results.md").read_text(encoding="utf-8")
    named = set(re.findall(r"images/(infomax-[\w-]+\.svg)", page))
    assert named and named <= set(drawn) and all((ROOT / "docs" / "images" / name).is_file() for name in named)


@pytest.mark.filterwarnings("ignore:Detected call of")  # a run of few steps
def test_residue_predictor_is_fitted_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictor = script("residue_predictor")
    heads = {"3di": {"hidden": 8, "kernel": 3}}
    folder = Model.create(preset="tiny", heads=heads).save(tmp_path / "model")
    rng = np.random.default_rng(0)
    rows, families = ["chain\tsplit\tfirst_residue\tsequence\tthree_di\tdssp\tcath"], []
    for number, (split, length) in enumerate([("train", 300), ("train", 40), ("valid", 50), ("valid", 60)]):
        letters = "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), length))
        # 3Di letters are those of the residues.
        rows.append(f"c{number}\t{split}\t1\t{letters}\t{letters}\t{'H' * length}\t")
        if number != 1:
            families.append(Family([f"c{number}", *"abcdefg"], [letters] * 8, accession=f"c{number}"))
    (tmp_path / "structures").mkdir()
    with gzip.open(tmp_path / "structures" / "chains.tsv.gz", "wt") as stream:
        stream.write("\n".join(rows) + "\n")
    write_families(iter(families), tmp_path / "h.sto")
    assert predictor.thinned(families[0], 4).ids == ["c0", "a", "c", "e", "g"]
    columns, model = tmp_path / "columns", str(folder)
    predictor.features(Namespace(data=tmp_path, homologs=tmp_path / "h.sto", output=columns, model=model))
    other = Family(["c0", "a"], ["MKV", "MKV"], accession="c0")
    write_families([other], tmp_path / "other.sto")
    with pytest.raises(SystemExit, match="the first member of c0 is not the chain"):
        predictor.features(Namespace(data=tmp_path, homologs=tmp_path / "other.sto", output=tmp_path / "x", model=model))
    chains = predictor.Chains(columns)
    assert chains.table["homologs"].to_list() == [7, 0, 7, 7]
    pieces = [piece for batch in chains.pieces(rng) for piece in batch]
    assert all(b - a <= predictor.LONGEST for a, b in pieces) and len(pieces) in (3, 4)
    residues = [k for a, b in pieces for k in range(a, b)]
    assert len(residues) == len(set(residues)) and max(residues) < 340 and len(residues) > 340 - 16
    for seed in range(2):
        predictor.train(Namespace(folder=columns, model=model, epochs=60, seed=seed, threads=1))
    predictor.combine(Namespace(folder=columns, model=model))
    predictor.speed(Namespace(folder=columns, model=model))
    printed = capsys.readouterr().out
    assert printed.count("| heads |") == printed.count("| networks |") == 3
    found = [float(loss) for loss in re.findall(r"\| all networks \| \d+ homologs \| 3di \| ([\d.]+)", printed)]
    assert len(found) == 3 and max(found) < 1  # 3Di letters are those of the residues here; without learning, log 20 = 3.0
    (prediction,) = predict_residues(["MKVLAG"], Model.load(folder), "3di")
    assert len(prediction.states) == 6


def test_residue_predictor_of_a_model_is_not_replaced_by_one_without_networks(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="has no networks"):
        script("residue_predictor").combine(Namespace(folder=tmp_path, model="default"))


@pytest.mark.parametrize(("longest", "searched"), [(2000, 1), (1000, 2)])
def test_parts_of_an_interrupted_search_are_kept_unless_it_was_of_other_sequences(
    corpus: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longest: int, searched: int
) -> None:
    (tmp_path / "stages").mkdir()
    for stage in ("proteins", "chains"):
        (tmp_path / "stages" / f"{stage}.json").write_text(json.dumps({"files": {stage: "checksum"}}))
    frame = pl.DataFrame({"id": ["a", "b"], "sequence": ["MK", "MV"], "part": ["train", "train"]})
    frame.write_parquet(tmp_path / "chains.parquet")
    (tmp_path / "proteins.fasta").write_text(">p\nMK\n")
    done: list[str] = []

    def mmseqs(self: object, folder: Path, *words: str) -> None:
        if words[0] == "convertalis":
            if len(done) == 1 and not killed:
                raise KeyboardInterrupt
            (folder / "found.tsv").write_text("\t".join("a" if c == "query" else "1" for c in corpus.HIT_COLUMNS.split(",")))
            done.append((folder / "seeds.fasta").read_text())

    monkeypatch.setattr(corpus, "CHUNK", 1)
    monkeypatch.setattr(corpus.Corpus, "mmseqs", mmseqs)
    killed = False
    options = Namespace(proteins=0, chains=0, longest=2000, threads=1)
    with pytest.raises(KeyboardInterrupt):
        corpus.remote(corpus.Corpus(tmp_path, tmp_path, tmp_path, options))
    killed = True
    corpus.remote(corpus.Corpus(tmp_path, tmp_path, tmp_path, Namespace(**{**vars(options), "longest": longest})))
    assert len(done) == 1 + searched and pl.read_parquet(tmp_path / "hits.parquet").height == 2
    assert not (tmp_path / "remote").exists()


def test_hits_of_a_killed_search_are_not_taken_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    homologs, programs = script("homologs"), list[str]()

    def run(command: list[str], cwd: Path, **_: object) -> None:
        programs.append(command[1])
        if command[1] == "convertalis":
            (cwd / command[5]).write_text("0\t1\t0.001\n")
            if programs.count("convertalis") == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(homologs.subprocess, "run", run)
    labels = pl.DataFrame({"sequence": ["MKV", "MKI"]})
    options = Namespace(rounds=3, number=20, threads=1, database=tmp_path / "x.fasta")
    with pytest.raises(KeyboardInterrupt):
        homologs.profile_search(tmp_path, labels, options)
    for rounds, searches in ((3, 2), (3, 2), (2, 3)):
        found = homologs.profile_search(tmp_path, labels, Namespace(**{**vars(options), "rounds": rounds}))
        assert found[0, 1] == found[1, 0] == pytest.approx(-np.log(0.001))
        assert programs.count("convertalis") == searches


def test_embeddings_of_another_default_model_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smoothing, path = script("smoothing"), tmp_path / "e.parquet"
    monkeypatch.setattr(smoothing, "default_fingerprint", lambda: "new")
    found = [smoothing.is_current(path)]
    for model in ("old", "new"):
        EmbeddingTable("e", ["a"], 1, {"phylocli.model": model}, vectors=np.ones((1, 1), np.float32)).write(path)
        found.append(smoothing.is_current(path))
    assert found == [False, False, True]


def test_sensitivity_leaves_the_similarities_as_they_are() -> None:
    similarity = np.ones((2, 2), dtype=np.float32)
    labels = pl.DataFrame({"family": ["a", "a"], "superfamily": ["a", "a"], "fold": ["a", "a"]})
    family, *_ = script("smoothing").sensitivity(similarity, labels)
    assert family.tolist() == [1, 1] and (similarity == 1).all()


def test_residues_of_unknown_state_do_not_count_for_the_unigram_loss() -> None:
    training, held_out = np.array([0, 1, -1, -1], dtype=np.int8), np.array([1, -1], dtype=np.int8)
    assert script("default_model").unigram_loss(training, held_out) == pytest.approx(np.log(2))


def test_overhead_of_one_job_is_said_to_be_that_of_this_process(capsys: pytest.CaptureFixture[str]) -> None:
    script("scale").overhead(Namespace(seconds="0.001", pieces=1, workers=1, engines="processes", budget=1))
    assert capsys.readouterr().out.splitlines()[1].startswith("this process\t0.001\t1\t")


def test_command_that_fails_without_a_kill_ends_the_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    scale, runs = script("scale"), list[list[str]]()

    def run(words: list[str], **_: object) -> None:
        Path(words[words.index("-o") + 1]).write_text("")

    def started(words: list[str], log: Path) -> SimpleNamespace:
        runs.append(words)
        log.write_text("no such option")
        return SimpleNamespace(is_alive=lambda: False, join=lambda: None, exitcode=2)

    monkeypatch.setattr(scale.subprocess, "run", run)
    monkeypatch.setattr(scale, "started", started)
    monkeypatch.setattr(scale, "FORKS", SimpleNamespace(set_forkserver_preload=lambda names: None))
    options = Namespace(seed=0, families=1, of="worker", engines="processes", kills=1, minutes=1, pause=0)
    with pytest.raises(SystemExit, match=r"(?s)failed undisturbed, with 2.*no such option"):
        scale.kills(options)
    assert len(runs) == 1
