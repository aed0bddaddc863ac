"""`phylocli families` as a user runs it: files, streams and exit codes."""

import gzip
import random

import polars as pl
import pytest

from phylocli.core.alphabet import degap
from phylocli.formats import read_families
from phylocli.formats.tables import read_table
from phylocli.store import Store


@pytest.fixture
def fasta(tmp_path, examples):
    """A shuffled file of members of three families."""
    lines = []
    for family in read_families(examples / "families.sto"):
        if family.name in ("Globin", "RRM_1", "Cyclin_N"):
            lines += [f">{s.id} some description\n{s.residues}\n" for s in family.sequences()[:10]]
    random.Random(1).shuffle(lines)
    path = tmp_path / "proteins.fasta"
    path.write_text("".join(lines))
    return path


def test_records_table_store_and_provenance(phylocli, fasta, tmp_path):
    done = phylocli(
        *(
            "families",
            fasta,
            "-o",
            "out.sto.gz",
            "--members",
            "members.parquet",
            "--store",
            "mine",
            "-t",
            1,
            "--prefix",
            "MY",
        )
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b""
    families = list(read_families(tmp_path / "out.sto.gz"))
    assert [f.accession for f in families[:3]] == ["MY00001", "MY00002", "MY00003"]
    assert families[0].notes[0].startswith("families profile search, pyhmmer")
    table = read_table(tmp_path / "members.parquet")
    assert table.columns == ["id", "from", "to", "family", "score", "evalue", "name", "group"]
    assert table["id"].n_unique() == 30
    assert sorted(table["name"].drop_nulls()) == sorted(name for f in families for name in f.ids)
    store = Store(tmp_path / "mine")
    assert store.accessions() == sorted(f.accession for f in families)
    assert store.read("MY00001").rows == families[0].rows
    for name in ("out.sto.gz", "members.parquet", "mine/families/MY00001.sto.gz"):
        assert (tmp_path / f"{name}.provenance.json").is_file()
    assert f"{len(families)} families" in done.stderr.decode()


def test_a_pipe_gives_the_bytes_of_a_file_whatever_the_order_and_threads(phylocli, fasta, tmp_path):
    first = phylocli("families", fasta, "-o", "one.sto", "-t", 2)
    assert first.returncode == 0, first.stderr.decode()
    records = fasta.read_text().split(">")[1:]
    random.Random(2).shuffle(records)
    text = gzip.compress(("".join(">" + r for r in records)).encode())
    second = phylocli("families", "-q", "-t", 1, input=text)
    assert second.returncode == 0
    assert second.stderr == b""
    assert second.stdout == (tmp_path / "one.sto").read_bytes()


def test_next_stage_reads_the_output(cli, fasta):
    text = cli("families", fasta, "-t", 1).stdout
    done = cli("align", "-", "--trim", "match", input=text.encode())
    assert done.exit_code == 0
    assert done.stdout.count("//") == text.count("\n//")


def test_singletons_are_listed_or_left_out(cli, fasta, tmp_path):
    lone = tmp_path / "lone.fasta"
    lone.write_text(fasta.read_text() + ">lonely\n" + "MKWYHCPDNE" * 8 + "\n")
    kept, dropped = tmp_path / "kept.tsv", tmp_path / "dropped.tsv"
    assert cli("families", lone, "-o", tmp_path / "o.sto", "--members", kept, "-t", 1).exit_code == 0
    assert (
        cli("families", lone, "-o", tmp_path / "o.sto", "--members", dropped, "--singletons", "drop", "-t", 1).exit_code == 0
    )
    frame = read_table(kept)
    assert "lonely" in frame.filter(pl.col("family").is_null())["id"].to_list()
    assert read_table(dropped).rows() == frame.filter(pl.col("family").is_not_null()).rows()


@pytest.mark.parametrize(
    ("content", "options", "code", "says"),
    [
        (b"", [], 65, "is empty"),
        (b">a\nMKV\n>a\nMKL\n", [], 65, "occurs twice"),
        (b">a\nMK1V\n", [], 65, "position 3"),
        (b"not a sequence\n", [], 65, "FASTA"),
        (b">a\n" + b"A" * 100_001, [], 65, "residues"),
        (b">a\nMKV\n", ["--coverage", "0.4"], 2, "--coverage must be above 0.5"),
        (b">a\nMKV\n", ["--evalue", "0"], 2, "--evalue must be above 0"),
        (b">a\nMKV\n", ["--engine", "mmseq"], 2, "mmseqs"),
        (b">a\nMKV\n", ["--singletons", "perhaps"], 2, "keep or drop"),
        (b">a\nMKV\n", ["--prefix", "../x"], 2, "prefix"),
    ],
)
def test_invalid_uses_are_errors_and_write_nothing(cli, tmp_path, content, options, code, says):
    done = cli("families", "-", "-o", tmp_path / "out.sto", *options, input=content)
    assert done.exit_code == code
    assert says in done.stderr
    assert not (tmp_path / "out.sto").exists()


def test_a_single_sequence_has_no_family_and_is_no_failure(cli):
    done = cli("families", "-", input=b">a\nMKVLAAGIVGLLLAQ\n")
    assert done.exit_code == 0
    assert done.stdout == ""
    assert "0 families" in done.stderr


def test_without_mmseqs_its_engine_says_how_to_get_it(cli, fasta):
    done = cli("families", fasta, "--engine", "mmseqs", env={"PATH": "/nowhere"})
    assert done.exit_code == 1
    assert "apt install mmseqs2" in done.stderr


@pytest.mark.slow
@pytest.mark.needs("mmseqs")
def test_mmseqs_gives_clusters_of_whole_sequences(cli, fasta, tmp_path):
    out, members = tmp_path / "out.sto", tmp_path / "members.tsv"
    done = cli("families", fasta, "--engine", "mmseqs", "-o", out, "--members", members, "-t", 1)
    assert done.exit_code == 0, done.stderr
    lengths = {s.id: len(s.residues) for f in read_families(fasta) for s in f.sequences()}
    families = list(read_families(out))
    assert families and all(i in lengths for f in families for i in f.ids)
    assert all(len(degap(row)) == lengths[i] for f in families for i, row in zip(f.ids, f.rows, strict=True))


@pytest.fixture
def two_domains(examples):
    """Sequences of two domains each, globin and RRM, and the lengths of the first domains."""
    families = {f.name: [s.residues for s in f.sequences()] for f in read_families(examples / "families.sto")}
    return [(a + b, len(a)) for a, b in zip(families["Globin"][:6], families["RRM_1"][:6], strict=True)]


@pytest.mark.parametrize("taken", [1, 2])
def test_a_part_gets_a_name_that_no_sequence_has(cli, two_domains, tmp_path, taken):
    plain = "".join(f">p{i}\n{text}\n" for i, (text, _) in enumerate(two_domains))
    parts = "".join(
        f">d{i}\n{text[:cut]}\n" for i, (text, cut) in enumerate(two_domains)
    )  # domains alone, so that parts are found
    first = cli("families", "-", "--members", tmp_path / "plain.tsv", input=(plain + parts).encode())
    assert first.exit_code == 0, first.stderr
    part = next(n for n in read_table(tmp_path / "plain.tsv")["name"].drop_nulls() if n.startswith("p0/"))
    others = [part, f"{part}.2"][:taken]
    more = "".join(f">{name}\n{two_domains[1 + i][0][: two_domains[1 + i][1]]}\n" for i, name in enumerate(others))
    done = cli("families", "-", "--members", tmp_path / "m.tsv", input=(plain + parts + more).encode())
    assert done.exit_code == 0, done.stderr
    (tmp_path / "out.sto").write_text(done.stdout)
    families = list(read_families(tmp_path / "out.sto"))  # an id twice would be an error
    names = [name for family in families for name in family.ids]
    assert len(set(names)) == len(names)
    assert {*others, f"{part}.{taken + 1}"} <= set(names)
    assert sorted(read_table(tmp_path / "m.tsv")["name"].drop_nulls()) == sorted(names)


def test_families_of_another_run_are_not_overwritten_in_a_store(cli, fasta, tmp_path):
    other = tmp_path / "other.fasta"
    other.write_text("".join(fasta.read_text().splitlines(keepends=True)[:-20]))
    store = tmp_path / "mine"
    options = ("--store", store, "-o", tmp_path / "out.sto")
    assert cli("families", fasta, *options).exit_code == 0
    accessions = Store(store).accessions()
    before = {name: Store(store).family_path(name).read_bytes() for name in accessions}
    assert cli("families", fasta, *options).exit_code == 0  # the same content again, as after an interruption
    for again in ((other,), (fasta, "--evalue", "1e-5")):
        refused = cli("families", *again, *options)
        assert refused.exit_code == 2
        assert "--prefix" in refused.stderr
        assert "--replace" in refused.stderr
    assert {name: Store(store).family_path(name).read_bytes() for name in accessions} == before
    assert cli("families", other, *options, "--prefix", "NEW").exit_code == 0
    assert set(before) < set(Store(store).accessions())
    assert cli("tree", "--all", "--store", store).exit_code == 0
    assert cli("families", fasta, *options).exit_code == 2  # its trees would be lost
    Store(store).write(Store(store).read("NEW00001"), "families", {})
    one = "".join(f">{i}\n{'MKVLAAGIVGLLLAQWDERTY' * 3}\n" for i in range(2)).encode()
    assert cli("families", "-", *options, "--replace", input=one).exit_code == 0
    assert [name for name in Store(store).accessions() if name.startswith("FAM")] == ["FAM00001"]
