"""Nucleotides: IUPAC codes, the other strand and flanks against Biopython, and a model from training to embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from Bio.Seq import Seq
from Bio.SeqFeature import SimpleLocation
from hypothesis import given
from hypothesis import strategies as st

from phylocli import views
from phylocli.core.alphabet import (
    MASK,
    NUCLEOTIDE_CODES,
    UNKNOWN,
    check_residues,
    decode_tokens,
    encode_tokens,
    looks_like_nucleotides,
)
from phylocli.core.errors import BadInputError, UsageError
from phylocli.embed import embed_sequences
from phylocli.formats import Family, Sequence, read_families, read_sequences
from phylocli.formats.nucleotides import detection
from phylocli.formats.tables import read_table
from phylocli.models.model import Model
from phylocli.train import train_model
from phylocli.views import flank
from phylocli.views.base.preview import draw_views
from phylocli.views.reverse_complement import reverse_complement

IUPAC = NUCLEOTIDE_CODES + "N"


@pytest.fixture(scope="module")
def genome() -> str:
    """A bacterial gene cluster of the MIBiG collection, which pyhmmer brings for its own tests."""
    import pyhmmer
    from Bio import SeqIO

    path = Path(pyhmmer.__file__).parent / "tests" / "data" / "seqs" / "BGC0001090.gbk"
    return str(SeqIO.read(path, "genbank").seq).upper()


@given(st.text(IUPAC, min_size=1, max_size=60))
def test_the_other_strand_is_biopythons_and_its_own_inverse(text: str) -> None:
    tokens = encode_tokens(text, "dna")
    other = reverse_complement(tokens)
    assert decode_tokens(other, "dna") == str(Seq(text).reverse_complement())
    assert reverse_complement(other).tolist() == tokens.tolist()


def test_letters_are_those_of_iupac() -> None:
    tokens = encode_tokens(IUPAC, "dna")
    assert len(set(tokens.tolist())) == 15 and tokens[-1] == UNKNOWN
    assert decode_tokens(tokens, "dna") == IUPAC
    assert encode_tokens("acgu", "dna").tolist() == encode_tokens("ACGT", "dna").tolist()
    masked = np.array([MASK, UNKNOWN], dtype=np.uint8)
    assert reverse_complement(masked).tolist() == [UNKNOWN, MASK]
    check_residues("ACGT-.NRYacgu", "x", alphabet="dna")
    for wrong in ("ACGE", "ACG*", "ACGX"):
        with pytest.raises(BadInputError, match="nucleotide"):
            check_residues(wrong, "x", alphabet="dna")


GENE = "ATGACCGATTCAGGA"  # 15 letters


@pytest.mark.parametrize(
    "rows",
    [
        [GENE],
        [GENE.lower()],
        [GENE.replace("T", "U")],
        [GENE[:8], GENE[8:]],
        ["ATG-ACC..GATTC", "AGGA-"],
        [GENE + "NNNNNNNNNN"],
        [GENE + "R" + GENE + "y"],  # IUPAC's ambiguity codes
        [GENE, "NNNN", "XXXX"],
    ],
)
def test_nucleotides_are_noticed_from_fifteen_letters_on(rows: list[str]) -> None:
    assert looks_like_nucleotides(rows)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        ["---"],
        [GENE[:14]],  # too short to say
        ["GAGAGSGAGAGSGAGAGS"],  # silk
        ["TAATAAAAATAATAAAA"],  # two letters only
        ["NNNNNNNNNNNNNNNNNNN"],
        [GENE * 5 + "MKVLE"],
        ["ACGT", "ACGTMKV" * 40],
    ],
)
def test_proteins_are_not_taken_for_nucleotides(rows: list[str]) -> None:
    assert not looks_like_nucleotides(rows)


def test_nucleotides_beyond_the_first_hundred_sequences_are_named_and_the_first_are_examined_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    proteins = [Sequence(f"p{k}", "MKVLE" * 20) for k in range(250)]
    looked: list[int] = []
    monkeypatch.setattr(detection, "looks_like_nucleotides", lambda rows: looked.append(len(rows)) or False)
    assert list(detection.NucleotideCheck().sequences(proteins)) == proteins
    assert looked == [100] and not caplog.text
    list(detection.NucleotideCheck().sequences([*proteins, Sequence("gene", GENE * 10), *proteins]))
    assert "gene in the input looks like nucleotides" in caplog.text and looked == [100, 100]


def test_no_example_family_is_taken_for_nucleotides(examples: Path) -> None:
    assert not any(family.looks_like_nucleotides() for family in read_families(examples / "families.sto"))


READERS = {
    "tree": ["tree", "-", "--columns", "all"],
    "tree of a given tree": ["tree", "-", "--tree", "TREE"],
    "align": ["align", "-", "--engine", "none"],
    "families": ["families", "-"],
    "store import": ["store", "import", "-"],
    "embed": ["embed", "-", "--model", "MODEL"],
    "views": ["views", "crop", "-", "-n", "1"],
    "simulate": ["simulate", "--frequencies", "FILE", "--tips", "3", "--length", "5"],
}


@pytest.mark.parametrize("words", READERS.values(), ids=READERS)
@pytest.mark.parametrize("stockholm", [False, True])
def test_every_command_that_reads_sequences_notices_nucleotides(
    words: list[str], stockholm: bool, tmp_path: Path, cli
) -> None:
    other = GENE.replace("GACC", "GTCC")
    text = f">a\n{GENE}-\n>b\n{other}T\n"
    if stockholm:
        text = f"# STOCKHOLM 1.0\n#=GF ID gene\na {GENE}-\nb {other}T\n//\n"
    (tmp_path / "in.fa").write_text(text)
    (tmp_path / "in.nwk").write_text("(a:1,b:1);")
    if "MODEL" in words:
        Model.create("convolutional", preset="tiny", seed=0).save(tmp_path / "model")
    places = {"FILE": tmp_path / "in.fa", "TREE": tmp_path / "in.nwk", "MODEL": tmp_path / "model"}
    done = cli(*(places.get(word, word) for word in words), input=text.encode())
    assert done.stderr.count("looks like nucleotides") == 1, done.stderr


def test_flanks_are_at_the_positions_found_by_biopython(genome: str) -> None:
    rng = np.random.default_rng(0)
    context, start, end = 30, 4000, 4100
    view = flank.make(context=context)
    window = encode_tokens(genome[start - context : end + context], "dna")
    expected = {
        str(SimpleLocation(start - left, end + right).extract(genome)): (left, right)
        for left in range(context + 1)
        for right in range(context + 1)
    }
    seen = [expected[decode_tokens(view(window, rng), "dna")] for _ in range(3000)]
    for side in zip(*seen, strict=True):
        counts = np.bincount(side, minlength=context + 1)
        assert len(counts) == context + 1 and counts.min() > 50
    # The site alone, from the other strand, is the feature on the minus strand.
    site = flank.make(context=context, max_flank=0)(window, rng)
    minus = str(SimpleLocation(start, end, strand=-1).extract(Seq(genome)))
    assert decode_tokens(reverse_complement(site), "dna") == minus


def test_flanks_may_cut_into_the_site_but_never_all_of_it() -> None:
    rng = np.random.default_rng(1)
    text = "A" * 5 + "CGTC" + "T" * 5
    found = {decode_tokens(flank.make(5, -10, 0)(encode_tokens(text, "dna"), rng), "dna") for _ in range(500)}
    assert {"CGTC", "GT", "C", "G", "T"} <= found <= {"CGTC"[i:j] for i in range(4) for j in range(i + 1, 5)}
    with pytest.raises(BadInputError, match="no site"):
        flank.make(5)(encode_tokens("ACGTACGTAC", "dna"), rng)
    for wrong in ({"context": -1}, {"context": 5, "max_flank": 6}, {"context": 5, "min_flank": 4, "max_flank": 3}):
        with pytest.raises(UsageError):
            flank.make(**wrong)


def test_strands_are_sampled_independently_for_each_view() -> None:
    family = Family(["a"], ["AACCGGGT"], aligned=False)
    prepared = views.build("reverse-complement", alphabet="dna").prepare(family)
    a, b, distance = prepared.draw(2000, np.random.default_rng(2))
    same = np.mean([x.tolist() == y.tolist() for x, y in zip(a, b, strict=True)])
    assert same == pytest.approx(0.5, abs=0.05) and (distance == 0).all()


def test_views_know_their_alphabet(capsys) -> None:
    with pytest.raises(UsageError, match="dna"):
        views.build("reverse-complement")
    for name in ("substitution", "simulated", "ancestor", "hmm-emission", "pssm"):
        with pytest.raises(UsageError, match="protein"):
            views.build(name, alphabet="dna")
    with pytest.raises(UsageError, match="rna"):
        views.build("crop", alphabet="rna")
    family = Family(["a", "b"], ["ACGT" * 40, "ACGA" * 40])
    views.build("crop").prepare(family)
    assert "nucleotides" in capsys.readouterr().err
    frame = next(draw_views([family], views.build("reverse-complement+crop", alphabet="dna"), 4, 0))
    assert set("".join(frame["view_a"])) <= set("ACGT")
    with pytest.raises(BadInputError, match="nucleotide"):
        views.build("crop", alphabet="dna").prepare(Family(["a"], ["MKVLE"], aligned=False))


DNA = {
    "alphabet": "dna",
    "view.name": "reverse-complement+crop",
    "view.crop": {"min_fraction": 0.8},
    "encoder.preset": "tiny",
    "batch.pairs": 24,
    "precision": "fp32",
}


def regions(genome: str, folder: Path) -> list[Path]:
    """Twelve regions of real DNA, each a file of overlapping windows."""
    paths = [folder / f"region{k}.fasta" for k in range(12)]
    for k, path in enumerate(paths):
        starts = 1500 * k + np.arange(0, 600, 40)
        path.write_text("".join(f">r{k}_{s}\n{genome[s : s + 200]}\n" for s in starts.tolist()))
    return paths


def vectors(texts: list[str], model: Model) -> np.ndarray:
    blocks = embed_sequences([Sequence(str(k), text) for k, text in enumerate(texts)], model)
    return np.concatenate([block for _, _, block in blocks])


def test_a_model_of_nucleotides_from_training_to_embeddings(genome: str, tmp_path: Path, cli) -> None:
    inputs = regions(genome, tmp_path)
    folder = train_model(inputs, tmp_path / "run", steps=2, settings=DNA)
    model = Model.load(folder)
    assert model.alphabet == "dna" and "alphabet" not in Model.create(preset="tiny").config.to_json()
    out = tmp_path / "emb.parquet"
    done = cli("embed", inputs[0], "--model", folder, "-o", out)
    assert done.exit_code == 0, done.stderr
    texts = [sequence.residues for sequence in read_sequences(inputs[0])]
    np.testing.assert_allclose(np.stack(read_table(out)["embedding"].to_list()), vectors(texts, model), atol=1e-5)
    # Read as the model was trained: U is T, and what is no nucleotide is refused.
    np.testing.assert_array_equal(vectors(["ACGTTT"], model), vectors(["ACGUUU"], model))
    with pytest.raises(BadInputError, match="nucleotide"):
        vectors(["MKVLE"], model)


@pytest.mark.slow
def test_training_makes_the_two_strands_similar(genome: str, tmp_path: Path) -> None:
    folder = train_model(regions(genome, tmp_path), tmp_path / "run", steps=250, settings=DNA)
    region = np.repeat(np.arange(12), 15)
    windows = [genome[s : s + 200] for k in range(12) for s in range(1500 * k + 20, 1500 * k + 620, 40)]
    others = [str(Seq(text).reverse_complement()) for text in windows]

    def found(model: Model) -> float:
        both = vectors(windows + others, model)
        both -= both.mean(axis=0)
        both /= np.linalg.norm(both, axis=1, keepdims=True)
        return float((region[(both[180:] @ both[:180].T).argmax(axis=1)] == region).mean())

    assert found(Model.load(folder)) > found(Model.create(preset="tiny", seed=0, alphabet="dna")) + 0.15


def test_a_pairs_table_of_nucleotides_can_be_trained_on(tmp_path: Path) -> None:
    table = tmp_path / "pairs.tsv"
    rows = [f"F{k % 3}\ta{k}\tb{k}\t{'ACGTRN' * 5}\t{'ACGTTN' * 5}" for k in range(12)]
    table.write_text("family\tid_a\tid_b\tseq_a\tseq_b\n" + "\n".join(rows) + "\n")
    settings = {"alphabet": "dna", "view.name": "phylogenetic+reverse-complement", "encoder.preset": "tiny"}
    folder = train_model([table], tmp_path / "run", steps=1, settings={**settings, "batch.pairs": 6})
    assert Model.load(folder).alphabet == "dna"
    table.write_text(table.read_text().replace("ACGTRN", "ACGTEN"))
    with pytest.raises(BadInputError):
        train_model([table], tmp_path / "other", steps=1, settings=settings)
