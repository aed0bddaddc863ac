"""`phylocli run` from unaligned sequences to the report, and errors before the first stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from phylocli.families import find_families
from phylocli.formats import read_families, read_sequences, write_families
from phylocli.store import Store
from phylocli.workflow import run

Run = Callable[..., Any]
QUICK = ["--set", "probe.replicates=100", "--set", "map.projection=pca", "--set", "probe.projection=none"]
TRAINING = ["--set", "train.steps=2", "--set", "train.encoder.preset=tiny", "--set", "train.device=cpu"]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, examples: Path) -> Path:
    """The members of three small families, unaligned, in one file."""
    small = ("PF02790", "PF03773", "PF05893")
    families = [f for f in read_families(examples / "families.sto") if f.accession in small]
    path = tmp_path_factory.mktemp("mixed") / "my_proteins.fasta"
    path.write_text("".join(f">{s.id}\n{s.residues}\n" for family in families for s in family.sequences()))
    return path


def test_unaligned_sequences_of_one_family_are_embedded_by_the_default_model(
    cli: Run, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = (examples / "globins.fasta").read_text().split(">")
    (tmp_path / "mine.fasta").write_text("".join(f">{record}" for record in (*records[1:15], *records[30:40])))
    done = cli("run", tmp_path / "mine.fasta", "--model", "default", "-o", tmp_path / "out", *QUICK)
    assert done.exit_code == 0, done.stderr
    assert "two are needed" not in done.stderr  # a single family is not changed
    (family,) = read_families(tmp_path / "out" / "trees.sto.gz")
    assert len(family) == 24 and family.has_tree
    assert any("FAMSA" in note for note in family.notes)
    assert pl.read_parquet(tmp_path / "out" / "embeddings" / "default.parquet").height == 24
    assert (tmp_path / "out" / "map.html").stat().st_size > 10_000
    labels = pl.read_csv(tmp_path / "out" / "labels.tsv", separator="\t")
    assert labels.columns == ["id", "clade"] and labels["clade"].n_unique() == 5
    metrics = pl.read_parquet(tmp_path / "out" / "report" / "metrics.parquet")
    assert {"default", "untrained", "composition"} <= set(metrics["embedding"])
    assert not (tmp_path / "out" / "run").exists()
    assert "24 embeddings" in done.stderr and (tmp_path / "out" / "multiqc" / "phylocli_run_mqc.json").is_file()
    statistics = (tmp_path / "out" / "multiqc" / "phylocli_families_mqc.json").read_bytes()
    monkeypatch.setattr(run, "read_families", lambda *_: pytest.fail("trees are read although all stages are unchanged"))
    again = cli("run", tmp_path / "mine.fasta", "--model", "default", "-o", tmp_path / "out", *QUICK)
    assert again.stderr.count("unchanged, skipped") == 6
    assert (tmp_path / "out" / "multiqc" / "phylocli_families_mqc.json").read_bytes() == statistics
    assert again.stderr.count("1 family, 24 members") == 2  # aligned, and in the tree


def test_unlabelled_proteins_are_grouped_and_trained_on(cli: Run, mixed: Path, tmp_path: Path) -> None:
    done = cli("run", mixed, "--group", "-o", tmp_path / "out", *QUICK, *TRAINING)
    assert done.exit_code == 0, done.stderr
    out = tmp_path / "out"
    assert len(list(read_families(out / "families.sto.gz"))) >= 3
    assert pl.read_csv(out / "families.tsv", separator="\t", quote_char=None)["family"].drop_nulls().n_unique() >= 3
    for name in ("run/model/model.safetensors", "map.html", "report/report.html"):
        assert (out / name).is_file(), name


def test_dry_run_prints_the_plan_and_writes_nothing(cli: Run, mixed: Path, examples: Path, tmp_path: Path) -> None:
    done = cli("run", mixed, "--group", "-o", tmp_path / "out", "--dry-run")
    assert done.exit_code == 0, done.stderr
    lines = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert list(lines) == ["families", "align", "tree", "split", "train", "embed", "map", "probe"]
    assert lines["families"].startswith("group 35 sequences of 1 file into families, engine profile; the number of families")
    lines = dict(
        line.split(None, 1)
        for line in cli(
            "run", mixed, "--group", "--set", "grouping.min_size=40", "-o", tmp_path / "out", "--dry-run"
        ).stdout.splitlines()
    )
    assert lines["families"].endswith("fewer than [grouping] min_size = 40, so there may be none")
    model = cli("run", examples / "globins.fasta", "--model", "default", "-o", tmp_path / "out", "--dry-run")
    lines = dict(line.split(None, 1) for line in model.stdout.splitlines())
    assert lines["align"] == "1 family of 1 file, 45 members, engine auto; globins de novo by FAMSA"
    assert lines["embed"] == "all members, by default and with random weights"
    assert not (tmp_path / "out").exists()


def test_dry_run_names_every_source_and_a_file_named_like_a_clan_is_a_file(
    cli: Run, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    families = list(read_families(examples / "families.sto"))
    write_families(families[:3], "CLock.sto")
    store = Store(tmp_path / "store")
    store.write(families[3], "test", {})
    store.write_clan("CL0999", [families[3].accession])
    members = sum(map(len, families[:3]))
    planned = cli("run", "CLock.sto", families[3].accession, "PF99998", "CL0999", "--model", "default", "--dry-run")
    assert planned.exit_code == 0, planned.stderr
    said = (
        f"3 families of 1 file, {members:,} members; 1 family of the store; PF99998, to be fetched; all families of CL0999"
    )
    assert said in planned.stdout


def test_dry_run_after_a_run_reports_unchanged_stages(cli: Run, examples: Path, tmp_path: Path) -> None:
    text = (examples / "globins.fasta").read_text()
    (tmp_path / "mine.fasta").write_text(">" + ">".join(text.split(">")[1:13]))
    command = ["run", tmp_path / "mine.fasta", "--model", "default", "-o", tmp_path / "out", *QUICK]
    assert cli(*command).exit_code == 0
    said = dict(line.split(None, 1) for line in cli(*command, "--dry-run").stdout.splitlines())
    assert set(said.values()) == {"unchanged, skipped"}
    changed = cli(*command, "--dry-run", "--set", "map.projection=tsne")
    said = dict(line.split(None, 1) for line in changed.stdout.splitlines())
    assert said["embed"] == "unchanged, skipped" and said["map"] == "plot the embeddings, projection tsne"


CLAN = "# STOCKHOLM 1.0\n#=GF AC {0}\n#=GF CL CL1\n" + "".join(f"{{0}}_{n} MKV\n" for n in range(5)) + "//\n"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["one.fasta"], 65, "one family is too few to train on\nwhy: pairs of one family or clan are never contrasted"),
        (["one.fasta"], 65, "fix: use the default model (--model default), or add families, or --group"),
        (["clan.sto"], 65, "2 families of one clan are too few to train on"),
        (["two.sto"], 65, "no family has 4 members or more, so none can be held out"),
        (["one.fasta", "--model", "default"], 65, "one family of 5 members is too small to evaluate embeddings"),
        (["one.fasta", "--model", "nope"], 2, "there is no model or folder 'nope'"),
        (
            ["one.fasta", "two.sto", "--set", "align.engine=profile"],
            2,
            "one is not aligned, and the engine 'profile' has no",
        ),
        (["two.sto", "again.sto"], 65, "the family A occurs twice"),
        (["two.sto", "shared.sto"], 65, "'A_1' is a member of both A and C"),
        (["two.sto", "--set", "probe.tasks=['nope']"], 2, "nope"),
        (["two.sto", "--set", "tree.support=nope"], 2, "support"),
        (["two.sto", "--set", "train.encoder.preset=nope"], 2, "has no preset 'nope'"),
        (["PF00042", "--group"], 2, "--group applies to sequence files, but PF00042 is a family"),
        (["two.sto", "CL0001", "--group"], 2, "--group applies to sequence files, but clans are families"),
        (["nothing.fasta"], 65, "no such file, and not a Pfam accession"),
        (["folder", "--group"], 65, "folder is a folder, not a file\nfix: name the files in it, for example folder/*.fasta"),
        (["PF00042", "PF00076", "--offline"], 69, ": PF00042, PF00076\nfix: fetch them once without --offline, or import"),
    ],
)
@pytest.mark.parametrize("dry", [True, False], ids=["dry", "real"])
def test_what_would_fail_at_a_later_stage_is_refused_before_the_first(
    options: list[str], code: int, said: str, dry: bool, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one.fasta").write_text("".join(f">s{n}\n{'MKVLAAGIVGLW'[: -n or None]}\n" for n in range(5)))
    Path("folder").mkdir()
    Path("clan.sto").write_text(CLAN.format("A") + CLAN.format("B"))
    small = "# STOCKHOLM 1.0\n#=GF AC {0}\n{1}_1 MKV\n{1}_2 MRV\n//\n"
    Path("two.sto").write_text(small.format("A", "A") + small.format("B", "B"))
    Path("again.sto").write_text(small.format("A", "C"))
    Path("shared.sto").write_text(small.format("C", "A"))
    done = cli("run", *options, "-o", "out", *(["--dry-run"] if dry else []))
    assert done.exit_code == code, done.stderr
    assert said in done.stderr
    assert not Path("out").exists()


def test_a_plan_needs_no_folder_but_a_run_does(cli: Run, examples: Path, tmp_path: Path) -> None:
    command = ["run", examples / "globins.fasta", "--model", "default"]
    plan = cli(*command, "--dry-run")
    assert plan.exit_code == 0, plan.stderr
    assert plan.stdout == cli(*command, "--dry-run", "-o", tmp_path / "out").stdout
    assert [line.split()[0] for line in plan.stdout.splitlines()] == ["align", "tree", "members", "embed", "map", "probe"]
    done = cli(*command)
    assert done.exit_code == 2 and "fix: name one with -o" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_one_family_is_enough_for_an_objective_without_negatives(cli: Run, examples: Path, tmp_path: Path) -> None:
    options = ["--set", "train.objective.name=barber-agakov", "--set", "train.critic.name=gaussian", "--dry-run"]
    done = cli("run", examples / "globins.fasta", "-o", tmp_path / "out", *options)
    assert done.exit_code == 0, done.stderr


def test_sequences_that_are_nearly_identical_are_foreseen_to_be_one_family(cli: Run, examples: Path, tmp_path: Path) -> None:
    whole = next(read_sequences(examples / "globins.fasta")).residues
    rng = np.random.default_rng(0)
    variants = [list(whole) for _ in range(12)]
    for variant in variants[1:]:
        for place in rng.choice(len(whole), 4, replace=False):
            variant[place] = rng.choice(list("ACDEFGHIKLMNPQRSTVWY"))
    (tmp_path / "alike.fasta").write_text("".join(f">v{n}\n{''.join(letters)}\n" for n, letters in enumerate(variants)))
    assert len(list(find_families(read_sequences(tmp_path / "alike.fasta")))) == 1  # it is so
    refused = cli("run", tmp_path / "alike.fasta", "--group", "-o", tmp_path / "out", "--dry-run")
    assert refused.exit_code == 65 and "one family is too few to train on" in refused.stderr
    planned = cli("run", tmp_path / "alike.fasta", "--group", "--model", "default", "-o", tmp_path / "out", "--dry-run")
    assert "; one family, because all are nearly identical" in planned.stdout, planned.stderr
    assert not (tmp_path / "out").exists()
