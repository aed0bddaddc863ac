"""`phylocli simulate` as a user runs it: pipes, files, true values, and errors."""

from __future__ import annotations

import io
import json

import polars as pl
import pytest

from phylocli.formats import stockholm
from phylocli.formats.sequences import fasta


def records(data: bytes):
    return list(stockholm.read_stream(io.BytesIO(data), "stdin"))


def test_simulate_tree_pairs_in_one_pipe(phylocli) -> None:
    made = phylocli("simulate", "--number", 2, "--tips", "10:12", "--length", 120, "--seed", 4)
    assert made.returncode == 0 and b"2 families" in made.stderr
    assert made.stdout == phylocli("simulate", "-n", 2, "--tips", "10:12", "--length", 120, "--seed", 4).stdout
    families = records(made.stdout)
    assert [f.accession for f in families] == ["SIM00001", "SIM00002"]
    # True trees are used as they are; inferred ones replace them.
    direct = phylocli("pairs", "--min-dist", 0.1, input=made.stdout)
    assert direct.returncode == 0
    inferred = phylocli("tree", input=made.stdout)
    assert inferred.returncode == 0
    again = records(inferred.stdout)
    assert again[0].tree.to_newick() != families[0].tree.to_newick()
    assert any(note.startswith("simulate") for note in again[0].notes)
    assert not any(note.startswith("tree true") for note in again[0].notes)
    assert phylocli("pairs", "--min-dist", 0.1, input=inferred.stdout).stdout.count(b"\n") > 20


def test_files_and_their_truth(cli, tmp_path) -> None:
    out, sites = tmp_path / "a.sto.gz", tmp_path / "sites.tsv"
    done = cli(
        "simulate", "--motifs", 2, "--invariant", 0.2, "--indels", 0.05, "--sites", sites, "-o", out, "--relaxed", 0.4
    )
    assert done.exit_code == 0, done.stderr
    family = next(stockholm.read(out))
    truth = pl.read_csv(sites, separator="\t")
    assert truth.columns == ["family", "column", "rate", "motif", "ancestral"]
    assert truth.height == family.columns
    assert (truth["motif"] > 0).sum() == 20
    assert "".join("0" if r == 0 else "." for r in truth["rate"]).count("0") == family.column_features["site_rate"].count(
        "0"
    )
    record = json.loads((tmp_path / "a.sto.gz.provenance.json").read_text())
    assert record["parameters"]["motifs"] == 2 and record["parameters"]["relaxed"] == 0.4


def test_other_formats_and_given_trees(cli, tmp_path) -> None:
    newick = tmp_path / "t.nwk"
    newick.write_text("((a:0.1,b:0.2):0.1,c:0.4);")
    done = cli("simulate", "--tree", newick, "--format", "fasta", "--length", 30)
    assert done.exit_code == 0
    found = list(fasta.read_stream(io.BytesIO(done.stdout.encode()), "x"))
    assert [s.id for s in found] == ["a", "b", "c"] and all(set(s.residues) <= set("ACDEFGHIKLMNPQRSTVWY") for s in found)
    assert cli("simulate", "--tree", newick, "--format", "newick").stdout == newick.read_text() + "\n"
    assert (
        cli("simulate", "--process", "coalescent", "--growth", 3, "--format", "newick", "--tips", 5).stdout.count("_") == 5
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--tips", "1"], 2, "2 or more"),
        (["--tips", "few"], 2, "range"),
        (["--extinction", "3"], 2, "extinction"),
        (["--height", "1", "--mean-distance", "1"], 2, "leave one out"),
        (["--motifs", "30"], 2, "do not fit"),
        (["--indel-lengths", "power"], 2, "power:EXPONENT"),
        (["--model", "gtr"], 2, "lg, wag"),
        (["--invariant", "1"], 2, "invariant"),
        (["--format", "phylip"], 2, "stockholm"),
        (["--families", "0"], 2, "families"),
        (["--seed", "-1"], 2, "seed"),
        (["--speciation", "inf"], 2, "speciation"),
        (["--insertions", "20", "--deletions", "0", "--height", "4"], 1, "grow exponentially"),
        (["--prefix", "my family"], 2, "spaces"),
        (["--tree", "not-there.nwk"], 65, "not-there.nwk"),
        (["--frequencies", "not-there.fasta"], 65, "not-there.fasta"),
    ],
)
def test_invalid_options_are_refused(cli, arguments, code, words) -> None:
    done = cli("simulate", *arguments)
    assert done.exit_code == code and words in done.stderr and done.stdout == ""
