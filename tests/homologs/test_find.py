"""Homologs in a database: found by HMMER and by MMseqs2, as families of which the sequence is the first member."""

import gzip

import numpy as np
import pytest
from Bio.Data import CodonTable
from typer.testing import CliRunner

from phylocli.cli import build
from phylocli.core.errors import BadInputError, MissingDependencyError, UsageError
from phylocli.embed import embed_file
from phylocli.formats import Sequence, read_families, read_sequences, write_families
from phylocli.formats.embeddings import read_embeddings
from phylocli.homologs import find_homologs

GLOBINS = "examples/globins.fasta"
ENGINES = ["phmmer", pytest.param("mmseqs", marks=pytest.mark.needs("mmseqs"))]


@pytest.fixture(scope="module")
def globins() -> list[Sequence]:
    return list(read_sequences(GLOBINS))


def unrelated(count: int) -> list[Sequence]:
    rng = np.random.default_rng(0)
    return [Sequence(f"u{i}", "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 150))) for i in range(count)]


@pytest.mark.parametrize("engine", ENGINES)
def test_homologs_are_those_of_the_family(engine, globins):
    query = globins[0]
    flanked = [Sequence(s.id, "MG" * 10 + s.residues + "GS" * 15) for s in globins[1:] if s.id.startswith("MYG")]
    families = list(find_homologs([query, *unrelated(1)], [*unrelated(5), *flanked], engine=engine, threads=1))
    assert [family.name for family in families] == [query.id, "u0"]
    assert families[1].ids == ["u0"], "a copy of itself is no homolog"
    found = families[0]
    assert {name.partition("/")[0] for name in found.ids[1:]} == {s.id for s in flanked}
    for name, sequence in zip(found.ids[1:], found.sequences()[1:], strict=True):
        source, _, region = name.partition("/")
        start, stop = map(int, region.split("-"))
        whole = next(s.residues for s in flanked if s.id == source)
        assert whole[start - 1 : stop] == sequence.residues
        assert 15 < start < 30 and stop <= len(whole) - 20, "the flanks are not homologous"
    identical = [np.mean([a == b for a, b in zip(found.rows[0], row, strict=True) if b.isupper()]) for row in found.rows]
    assert min(identical[1:]) > 0.2
    assert found.match_columns().sum() == len(query.residues)
    assert found.notes[0].startswith("homologs ") and found.notes[0].endswith(f"{len(flanked)} of {len(flanked)}")


def test_number_coverage_and_evalue_limit_what_is_kept(globins):
    query, database = globins[:1], globins[1:]
    (few,) = find_homologs(query, database, number=3)
    assert len(few) == 4
    fragments = [Sequence(s.id, s.residues[:60]) for s in database]
    (none,) = find_homologs(query, fragments, coverage=0.6)
    (some,) = find_homologs(query, fragments, coverage=0.2)
    assert len(none) == 1 < len(some)
    (strict,) = find_homologs(query, database, number=99, evalue=1e-30)
    (loose,) = find_homologs(query, database, number=99, evalue=1e-3)
    assert len(strict) < len(loose)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_second_round_finds_what_the_profile_finds(engine, globins):
    """Myoglobin finds fewer haemoglobins alone than with the profile of those that it finds."""
    query = [s for s in globins if s.id.startswith("MYG")][:1]
    database = [s for s in globins if not s.id.startswith("MYG")]
    options = {"engine": engine, "number": 99, "evalue": 1e-12, "threads": 1}
    (once,), (twice,) = (list(find_homologs(query, database, rounds=rounds, **options)) for rounds in (1, 2))
    assert 1 < len(once) < len(twice)


def test_results_do_not_depend_on_other_queries(globins):
    database = globins[20:]
    together = list(find_homologs(globins[:3], database))
    alone = [next(find_homologs([query], database)) for query in globins[:3]]
    assert [f.rows for f in together] == [f.rows for f in alone]
    assert [f.ids for f in together] == [f.ids for f in alone]


def test_letters_of_the_database_come_back(globins):
    """HMMER sees X for U."""
    letters = globins[1].residues
    changed = letters[:40] + "U" + letters[41:]
    (family,) = find_homologs(globins[:1], [Sequence("a", changed)])
    assert "U" in family.rows[1] and family.sequences()[1].residues in changed


def test_ids_with_a_version_stay_as_they_are(tmp_path, globins):
    query, path, table = [Sequence("NP_000549.1", globins[0].residues)], tmp_path / "h.sto", tmp_path / "h.parquet"
    write_families(find_homologs(query, globins[:3]), path)
    embed_file(path, table, per_family=True)
    assert read_embeddings(table).ids == ["NP_000549.1"]


@pytest.mark.parametrize("in_memory", [True, False])
def test_coding_dna_is_translated_and_the_database_is_not(tmp_path, globins, in_memory):
    codons = {letter: codon for codon, letter in CodonTable.standard_dna_table.forward_table.items()}
    gene = "".join(codons[letter] for letter in globins[0].residues)
    path = tmp_path / "gene.fasta"
    path.write_text(f">gene\n{gene}\n")
    (family,) = find_homologs([("gene", gene)] if in_memory else path, globins[1:3], translate=True)
    assert family.sequences()[0].residues == globins[0].residues and len(family) == 3


def test_sequences_in_memory_are_read_as_those_of_files(globins):
    lower = [Sequence(s.id, s.residues.lower()) for s in globins]
    (expected,), (found,) = (list(find_homologs(given[:1], given[1:5])) for given in (globins, lower))
    assert len(found) == 5 and found.rows == expected.rows
    (named,) = find_homologs([globins[0].residues], [s.residues for s in globins[1:3]])
    assert named.name == "seq1" and len(named) == 3
    for wrong, what in (
        ([("a", "MKV1")], "not a residue|cannot|'1'"),
        ([("a", "")], "no residues"),
        ([("a", "MKV"), ("a", "MKL")], "occurs twice"),
        ([("#a", "MKV")], "not possible in a Stockholm record"),
    ):
        with pytest.raises(BadInputError, match=what):
            list(find_homologs(wrong, globins[:2]))


def test_ids_of_the_database_are_checked_before_the_search(globins):
    with pytest.raises(BadInputError, match="not possible in a Stockholm record"):
        find_homologs(globins[:1], [Sequence("//x", globins[1].residues)])


def test_a_missing_program_is_an_error_before_the_database_is_read(globins, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingDependencyError, match="MMseqs2"):
        find_homologs(globins[:1], "not-there.fasta", engine="mmseqs")


def test_a_query_named_like_a_region(globins):
    database = [Sequence("a", globins[1].residues)]
    (family,) = find_homologs(globins[:1], database)
    (again,) = find_homologs([Sequence(family.ids[1], globins[0].residues)], database)
    assert len(set(again.ids)) == 2


@pytest.mark.parametrize(("sequences", "database", "what"), [([], True, "no sequences to"), (True, [], "database has no")])
def test_empty_inputs_are_errors(sequences, database, what, globins):
    given = [globins if of is True else of for of in (sequences, database)]
    with pytest.raises(BadInputError, match=what):
        next(find_homologs(*given))


def test_the_command_writes_families_that_embed_and_predict_read(tmp_path):
    runner, homologs = CliRunner(), tmp_path / "homologs.sto.gz"
    done = runner.invoke(build(), ["homologs", GLOBINS, "--database", GLOBINS, "-n", "3", "-o", str(homologs)])
    assert done.exit_code == 0, done.output
    assert len(gzip.decompress(homologs.read_bytes()).split(b"//")) == 46
    assert [family.name for family in read_families(homologs)] == [s.id for s in read_sequences(GLOBINS)]
    assert (tmp_path / "homologs.sto.gz.provenance.json").is_file()
    table = tmp_path / "emb.parquet"
    assert runner.invoke(build(), ["embed", str(homologs), "--per-family", "-o", str(table)]).exit_code == 0
    states = tmp_path / "ss.fasta"
    done = runner.invoke(build(), ["predict", str(homologs), "--per-family", "--what", "ss", "-o", str(states)])
    assert done.exit_code == 0 and len(list(read_sequences(states))) == 45
    assert runner.invoke(build(), ["homologs", GLOBINS]).exit_code == UsageError.exit_code
    fasta = ["homologs", GLOBINS, "--database", GLOBINS, "-o", str(tmp_path / "h.fasta")]
    assert runner.invoke(build(), fasta).exit_code == UsageError.exit_code


def test_targets_that_hmmer_cannot_search_are_left_out(globins, caplog):
    database = [Sequence("titin", globins[1].residues + "GS" * 50_000), *globins[1:3]]
    (found,) = find_homologs(globins[:1], database, threads=1)
    assert {name.partition("/")[0] for name in found.ids[1:]} == {s.id for s in globins[1:3]}
    assert "1 sequence of more than 100,000 residues" in caplog.text


def test_standard_input_is_one_of_the_two():
    with pytest.raises(UsageError, match="both the sequences and the database"):
        find_homologs("-", "-")
