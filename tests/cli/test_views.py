import pytest

from phylocli.formats.tables import read_table

RECORD = b"""# STOCKHOLM 1.0
#=GF AC   PF90001.3
#=GF NH   ((a:0.1,b:0.2):0.3,(c:0.1,d:0.4):0.2);
a MKVLAAGIVGLC
b MKVLSAGIV-LC
c MRVLSAGLVGYC
d MRILSPGLVGYW
//
"""


def test_without_a_name_all_views_are_listed(phylocli):
    done = phylocli("views")
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    kinds = {row[0]: row[1] for row in rows[1:]}
    assert kinds["phylogenetic"] == "source" and kinds["crop"] == "transform" and "hmm-emission" in kinds


def test_pairs_of_views_are_shown_with_their_distance_and_identity(phylocli, tmp_path):
    done = phylocli(
        "views", "phylogenetic+crop", "-", "-n", 4, "--set", "phylogenetic.min_dist=0.6", "--set", "crop.min_fraction=0.9",
        "-o", tmp_path / "v.parquet", input=RECORD,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    frame = read_table(tmp_path / "v.parquet")
    assert frame.columns == ["family", "view", "distance", "identity", "view_a", "view_b"]
    assert frame.height == 4 and frame["distance"].min() >= 0.6
    assert frame["view_a"].str.len_chars().min() >= 10


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["evolution", "-"], 2, b"phylogenetic"),
        (["crop", "-", "--set", "share=0.5"], 2, b"min_fraction"),
        (["phylogenetic", "-", "--set", "min_dist=9"], 65, b"PF90001"),
    ],
)
def test_invalid_previews_are_errors(phylocli, arguments, code, says):
    done = phylocli("views", *arguments, input=RECORD)
    assert done.returncode == code and says in done.stderr


def test_nucleotides_are_read_by_their_own_alphabet(phylocli):
    fasta = b">site1\nAAAAACCGRTTTTT\n>site2\nGGGGGCATTNNNNN\n"
    done = phylocli(
        "views", "reverse-complement+flank", "-", "--alphabet", "dna", "-n", 6, "--set", "flank.context=5", "--set",
        "reverse-complement.probability=1", input=fasta,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()[1:]]
    assert all(any(core in row[4] for core in ("YCGG", "AATG")) for row in rows) and len(rows) == 6
    refused = phylocli("views", "reverse-complement", "-", input=fasta)
    assert refused.returncode == 2 and b"dna" in refused.stderr
    refused = phylocli("views", "crop", "-", "--alphabet", "dna", input=b">p\nMKVLE\n")
    assert (refused.returncode == 65 and b"'E' at position 5" in refused.stderr) or b"nucleotide" in refused.stderr
