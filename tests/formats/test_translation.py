"""Coding DNA as input: translation in frame, gaps, and rejection of non-coding sequences."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from Bio.Data.CodonTable import standard_dna_table
from Bio.Seq import Seq
from typer.testing import Result

from phylocli.config.run import RunConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import Sequence, read_families, read_sequences
from phylocli.formats.nucleotides import Translator, translate
from phylocli.formats.nucleotides.reading_frames import likelier_frame
from phylocli.workflow.preflight import check_run
from phylocli.workflow.run import Chain, plan_run
from phylocli.workflow.stages import Ledger


@pytest.mark.parametrize(
    ("letters", "protein", "code"),
    [
        ("ATGAAAGTTTAA", "MKV", 1),
        ("augaaaguu", "MKV", 1),
        ("ATGAAAGTTCC", "MKV", 1),  # two letters after the last codon
        ("ATGNNNGTR", "MXV", 1),  # GTR is valine whatever R is
        ("ATGTGAAAA", "MWK", 4),  # TGA is tryptophan in mycoplasmas
        ("ATG---GTTTAA", "M-V-", 1),
    ],
)
def test_codons_become_residues(letters: str, protein: str, code: int) -> None:
    assert translate(Sequence("a", letters), code).residues == protein


@pytest.mark.parametrize(
    ("letters", "said"),
    [
        ("ATGTAAAAA", "codon 2 is a stop codon"),
        ("MKVLAAGIVG", "holds 'L'|contains 'L'|'L' at position"),
        ("ATG-AAGTT", "cannot be translated"),
        ("AT", "has no codon"),
    ],
)
def test_what_does_not_code_is_an_error(letters: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        translate(Sequence("a", letters))


def test_an_unknown_code_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no genetic code 7"):
        translate(Sequence("a", "ATG"), 7)


def reverse_complement(letters: str) -> str:
    return letters[::-1].translate(str.maketrans("ACGT", "TGCA"))


@pytest.fixture(scope="module")
def genes(examples: Path) -> list[str]:
    """Proteins of the examples as coding DNA rich in G and C, in which wrong frames often have no stop codon."""
    rng = random.Random(0)
    codons: dict[str, list[str]] = {}
    for codon, residue in standard_dna_table.forward_table.items():
        codons.setdefault(residue, []).append(codon)
    proteins = [s.residues for f in read_families(examples / "families.sto") for s in f.sequences()]
    proteins = [letters for letters in proteins if set(letters) <= set(codons) and len(letters) >= 60]
    return [
        "".join(rng.choices(codons[a], [9 if c[2] in "GC" else 1 for c in codons[a]])[0] for a in letters)
        for letters in proteins[::4]
    ]


def test_fragments_of_genes_in_frame_are_hardly_ever_taken_for_shifted(genes: list[str]) -> None:
    fragments = [gene[3 * k % 30 :] for k, gene in enumerate(genes)]
    assert sum(likelier_frame(fragment) is not None for fragment in fragments) <= len(genes) / 100


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda gene: gene[1:], "frame 3"),
        (lambda gene: gene[2:], "frame 2"),
        (lambda gene: "A" + gene[:-1], "frame 2"),
        (reverse_complement, "frame 1 of the reverse strand"),
    ],
)
def test_the_frame_of_shifted_genes_without_stop_codons_is_found(
    genes: list[str], change: Callable[[str], str], expected: str
) -> None:
    found = []
    for gene in (change(gene[:210]) for gene in genes):
        try:
            translate(Sequence("a", gene))
        except BadInputError:
            continue  # it has a stop codon
        found.append(likelier_frame(gene))
    named = [frame for frame in found if frame]
    assert len(found) >= 10 and len(named) >= 0.4 * len(found) and named.count(expected) >= 0.9 * len(named), found


def test_a_whole_gene_is_in_frame_and_the_code_decides_on_stop_codons() -> None:
    assert likelier_frame("ATG" + "TGC" * 80 + "TAA") is None
    assert str(likelier_frame("TGC" * 80)).endswith("of the reverse strand")  # cysteine, or alanine, glutamine or serine
    shifted = "A" + "GATGAATGAATAACC" * 8 + "GC"
    assert likelier_frame(shifted, 4) == "frame 2" and likelier_frame(shifted) is None  # TGA codes for tryptophan


def test_incomplete_codons_and_wrong_frames_are_reported_with_ids_and_counts(genes: list[str]) -> None:
    translator = Translator()
    translator(Sequence("whole", genes[0]))
    assert translator.findings() == []
    for number in range(7):
        translator(Sequence(f"cut{number}", "ATGAAAG"))
    assert translator.findings() == [
        "7 of 8 coding sequences end in an incomplete codon, which is omitted: cut0, cut1, cut2, cut3, cut4 and 2 more; "
        "check that they begin with a codon"
    ]
    other = Translator()
    shifted = next(
        gene[2:-1] for gene in genes if "*" not in str(Seq(gene[2:-1]).translate()) and likelier_frame(gene[2:-1])
    )
    other(Sequence("s", shifted))
    assert other.findings() == [
        "the coding sequence looks like a protein in another reading frame: s (frame 2); give coding sequences from their "
        "first codon on"
    ]


def test_files_are_translated_where_they_hold_nucleotides(tmp_path: Path) -> None:
    (tmp_path / "x.fna").write_text(">a one\nATGAAAGTT\n>b\nATGAAAGTTTAA\n")
    assert [s.residues for s in read_sequences(tmp_path / "x.fna", genetic_code=1)] == ["MKV", "MKV"]
    (tmp_path / "codons.fna").write_text(">a\nATGAAAGTT\n>b\nATG---GTT\n")
    (family,) = read_families(tmp_path / "codons.fna", genetic_code=1)
    assert family.aligned and family.rows == ["MKV", "M-V"]


@pytest.mark.parametrize(
    ("text", "rows", "aligned"),
    [
        (">a\nATGAAAGTTTAA\n>b\nATG---GTTTAA\n>c\nATGAAA---TAA\n", ["MKV-", "M-V-", "MK--"], True),
        (">a\nATGAAAGTTTAA\n>b\nATG...GTT...\n", ["MKV-", "M-V-"], True),
        ("2 9\na  ATGAAATAA\nb  ATGAAAGTT\n", ["MK-", "MKV"], True),  # PHYLIP, without a gap
        (">a\nATGAAATAA\n>b\nATGAAAGTT\n", ["MK", "MKV"], False),
        (">a\nATGAAAGTTTAA\n>b\nATGAAATAA\n", ["MKV", "MK"], False),
    ],
)
def test_stop_codons_of_aligned_families_stay_as_columns(tmp_path: Path, text: str, rows: list[str], aligned: bool) -> None:
    (tmp_path / "x").write_text(text)
    (family,) = read_families(tmp_path / "x", genetic_code=1)
    assert (family.rows, family.aligned) == (rows, aligned)


def test_embed_and_families_translate_and_say_so_where_they_do_not(cli: Callable[..., Result], tmp_path: Path) -> None:
    gene = "ATGGCTCTGTGGATGCGTCTGCTGCCGCTGCTGGCGCTGCTGGCGCTGTGGGGTCCGGATCCGGCGGCGGCGTTTGTGAACCAGCATCTGTGC"
    (tmp_path / "x.fna").write_text(f">a\n{gene}\n")
    (tmp_path / "x.faa").write_text(f">a\n{translate(Sequence('a', gene)).residues}\n")
    plain = cli("embed", tmp_path / "x.fna", "-o", tmp_path / "dna.parquet")
    assert "looks like nucleotides" in plain.stderr and "--translate" in plain.stderr
    for name, more in (("x.fna", ["--translate"]), ("x.faa", [])):
        assert cli("embed", tmp_path / name, "-o", tmp_path / f"{name}.parquet", *more).exit_code == 0
    first, second = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("x.fna", "x.faa"))
    assert first.equals(second) and first["length"].to_list() == [len(gene) // 3]
    wrong = cli("embed", tmp_path / "x.faa", "--translate", "-o", tmp_path / "y.parquet")
    assert wrong.exit_code == 65 and not (tmp_path / "y.parquet").exists()


@pytest.fixture(scope="module")
def coding(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first globins of the example, as coding DNA in which every amino acid has one codon."""
    path = tmp_path_factory.mktemp("coding") / "globins.fna"
    codon = {residue: codon for codon, residue in standard_dna_table.forward_table.items()}
    globins = itertools.islice(read_sequences(examples / "globins.fasta"), 12)
    path.write_text("".join(f">{s.id}\n{''.join(map(codon.get, s.residues))}\n" for s in globins))
    return path


@pytest.mark.parametrize("more", [[], ["--align"]])
def test_search_translates_what_is_nucleotides_of_queries_and_targets(
    cli: Callable[..., Result], coding: Path, examples: Path, tmp_path: Path, more: list[str]
) -> None:
    proteins = tmp_path / "globins.fasta"
    proteins.write_text("".join(f">{s.id}\n{s.residues}\n" for s in read_sequences(coding, genetic_code=1)))
    expected = cli("search", proteins, proteins, *more)
    assert expected.exit_code == 0, expected.stderr
    for queries, targets in ((coding, proteins), (proteins, coding), (coding, coding)):
        found = cli("search", queries, targets, "--translate", *more)
        assert found.stdout == expected.stdout, found.stderr
        assert "looks like nucleotides" not in found.stderr
    assert f"phylocli embed {coding} --translate -o" in found.stderr


def test_search_of_nucleotides_names_the_option_and_the_option_needs_nucleotides(
    cli: Callable[..., Result], coding: Path, examples: Path
) -> None:
    for inputs in ((coding, examples / "globins.fasta"), (examples / "globins.fasta", coding)):
        assert "translate coding sequences with --translate" in cli("search", *inputs).stderr
    done = cli("search", examples / "globins.fasta", examples / "globins.fasta", "--translate")
    assert done.exit_code == 2 and "no nucleotides to translate" in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["embed", "-o", "x.parquet", "--translate"],
        ["embed", "-o", "parts/", "--translate"],
        ["search", "--translate"],
        ["search", "--translate", "--align"],
        ["families", "--translate", "--min-size", "2"],
        ["align", "--translate"],
        ["run", "--translate", "--model", "default", "--dry-run"],
        ["run", "--translate", "--model", "default", "--group", "--dry-run"],
    ],
    ids=" ".join,
)
def test_every_command_that_translates_warns_once_of_incomplete_codons(
    cli: Callable[..., Result],
    coding: Path,
    examples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    args: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cut.fna").write_text(coding.read_text().rstrip()[:-1] + "\n")
    last = Path("cut.fna").read_text().rsplit(">", 1)[1].split()[0]
    inputs = [examples / "globins.fasta", "cut.fna"] if args[0] == "search" else ["cut.fna"]
    done = cli(args[0], *inputs, *args[1:])
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("incomplete codon") == 1, done.stderr
    assert f"warning: 1 of 12 coding sequences ends in an incomplete codon, which is omitted: {last};" in done.stderr


def test_a_run_warns_of_incomplete_codons_once(coding: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cut = tmp_path / "cut.fna"
    cut.write_text(coding.read_text().rstrip()[:-1] + "\n")
    for group in (False, True):
        caplog.clear()
        chain = Chain(
            RunConfig.of(None, {"families": [str(cut)], "translate": True, "model": "default", "group": group}),
            (out := tmp_path / str(group)),
            None,
        )
        check_run(chain)
        Ledger(out).perform(next(chain.stages()))
        assert caplog.text.count("incomplete codon") == 1


@pytest.mark.parametrize("group", [False, True])
def test_run_translates_its_files_before_the_first_stage(coding: Path, tmp_path: Path, group: bool) -> None:
    config = RunConfig.of(None, {"families": [str(coding)], "translate": True, "model": "default", "group": group})
    assert config.align.translate and config.grouping.translate and not config.embed.translate
    chain = Chain(config, tmp_path, None)
    stage = next(chain.stages())
    Ledger(tmp_path).perform(stage)
    (family,) = read_families(chain.grouped if group else chain.aligned)
    proteins = {s.id: s.residues for s in read_sequences(coding, genetic_code=1)}
    found = {s.id.split("/")[0]: s.residues for s in family.sequences()}
    assert found.keys() == proteins.keys()
    assert all(letters in proteins[name] for name, letters in found.items())


@pytest.mark.parametrize("more", [[], ["--group"]])
def test_run_refuses_to_translate_proteins_as_search_does(
    cli: Callable[..., Result], examples: Path, tmp_path: Path, more: list[str]
) -> None:
    proteins = examples / "globins.fasta"
    done = cli("run", proteins, "--translate", "--model", "default", *more, "-o", tmp_path / "out", "--dry-run")
    assert done.exit_code == 2, done.stderr
    assert f"there are no nucleotides to translate in {proteins}\nfix: omit --translate\n" in done.stderr


def test_a_protein_among_coding_sequences_is_named_and_need_not_be_changed(
    cli: Callable[..., Result], coding: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed.fa"
    mixed.write_text(coding.read_text() + ">P1\nMKVLAAGIVG\n")
    done = cli("run", mixed, "--translate", "--model", "default", "-o", tmp_path / "out", "--dry-run")
    assert done.exit_code == 65 and "'P1' contains 'L' at position 4" in done.stderr
    assert "fix: if this is a protein, give it without --translate, apart from coding sequences" in done.stderr


def test_run_of_nucleotides_names_the_option(coding: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for group in (False, True):
        caplog.clear()
        plan_run(RunConfig.of(None, {"families": [str(coding)], "model": "default", "group": group}), tmp_path)
        assert "translate coding sequences with --translate" in caplog.text
    with pytest.raises(UsageError, match="translated sequences are proteins"):
        RunConfig.of(None, {"translate": True, "alphabet": "dna", "tree": {"model": "p"}})


def test_nucleotides_among_proteins_are_named_and_search_does_not_translate_a_mixture(
    cli: Callable[..., Result], coding: Path, examples: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed.fa"
    genes = coding.read_text().split(">")[1:3]
    protein = list(read_sequences(examples / "globins.fasta"))[-1]
    mixed.write_text(f">{protein.id}\n{protein.residues}\n" + "".join(f">{gene}" for gene in genes))
    done = cli("embed", mixed, "-o", tmp_path / "mixed.parquet")
    first = genes[0].split()[0]
    assert done.exit_code == 0 and re.search(rf"{first} \(and 1 more\) in \S+ looks like nucleotides", done.stderr)
    done = cli("search", mixed, tmp_path / "mixed.parquet", "--translate")
    assert done.exit_code == 65 and f"contains nucleotides ({first}) and proteins ({protein.id})" in done.stderr
