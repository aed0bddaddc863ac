import json

import pytest

from phylocli.formats.tables import read_table

RECORD = b"""# STOCKHOLM 1.0
#=GF ID   Toy
#=GF AC   PF90001.3
#=GF CL   CL9001
#=GF NH   ((a/1-4:0.1,b/1-4:0.2):0.3,(c/1-4:0.1,d/1-4:0.4):0.2);
a/1-4 MKVL
b/1-4 MK-L
c/1-4 MRIL
d/1-4 .rIV
//
"""
OTHER = RECORD.replace(b"PF90001.3", b"PF90002.1").replace(b"CL9001", b"CL9002").replace(b"0.1", b"0.9")


@pytest.fixture
def families(tmp_path):
    path = tmp_path / "families.sto"
    path.write_bytes(RECORD + OTHER)
    return path


def test_a_pipe_gives_the_pairs_of_the_band_as_tsv(phylocli):
    done = phylocli("pairs", "--min-dist", 0.3, "--max-dist", 0.8, input=RECORD)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert lines[0].split("\t") == ["family", "clan", "id_a", "id_b", "distance", "relation", "seq_a", "seq_b"]
    rows = sorted(line.split("\t") for line in lines[1:])
    assert [(r[2], r[3], round(float(r[4]), 9)) for r in rows] == [
        ("a/1-4", "b/1-4", 0.3),
        ("a/1-4", "c/1-4", 0.7),
        ("b/1-4", "c/1-4", 0.8),
        ("c/1-4", "d/1-4", 0.5),
    ]
    assert rows[3][:2] == ["PF90001", "CL9001"] and rows[3][5:] == ["unknown", "MRIL", "RIV"]
    assert b"Found 4 pairs with distance 0.3 to 0.8" in done.stderr


@pytest.mark.parametrize("kind", ["parquet", "arrow", "tsv.gz"])
def test_every_format_holds_the_same_pairs(phylocli, families, tmp_path, kind):
    done = phylocli("pairs", families, "-n", 5, "--seed", 3, "-o", tmp_path / f"p.{kind}")
    assert done.returncode == 0 and done.stdout == b""
    plain = phylocli("pairs", families, "-n", 5, "--seed", 3).stdout
    frame = read_table(tmp_path / f"p.{kind}")
    assert [f"{r[2]}\t{r[3]}" for r in frame.iter_rows()] == [
        "\t".join(x.split("\t")[2:4]) for x in plain.decode().splitlines()[1:]
    ]
    record = json.loads((tmp_path / f"p.{kind}.provenance.json").read_text())
    assert (record["stage"], record["seed"], record["parameters"]["number"]) == ("pairs", 3, 5)
    assert record["inputs"][0]["name"] == str(families)


def test_the_same_seed_gives_the_same_bytes(phylocli, families):
    first, again, other = (phylocli("pairs", families, "-n", 6, "--seed", s).stdout for s in (1, 1, 2))
    assert first == again != other


def test_stats_describe_each_family_in_json_and_bars(phylocli, families):
    done = phylocli("pairs", families, "--stats", "--min-dist", 0.6)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [f["family"] for f in found] == ["PF90001", "PF90002"]
    assert found[0]["pairs"] == sum(found[0]["counts"]) == 6
    assert found[0]["in_band"] == 4
    assert "█".encode() in done.stderr and b"PF90001: 4 members, 6 pairs" in done.stderr


def test_a_split_by_families_keeps_each_on_one_side(phylocli, families, tmp_path):
    done = phylocli("pairs", families, "--holdout", "families", "--fractions", "0.5,0.25,0.25", "-o", tmp_path / "s.tsv")
    assert done.returncode == 0, done.stderr
    listing = read_table(tmp_path / "s.split.tsv")
    assert listing.select("family", "part").unique().height == 2
    tables = [read_table(tmp_path / f"s.{part}.tsv") for part in ("train", "validation", "test")]
    assert sum(t.height for t in tables) == 12


def test_bins_schemes_and_filters_are_understood_together(phylocli, families):
    done = phylocli(
        "pairs", families, "--bins", "0.5:1,1:3", "--scheme", "per-family", "-n", 4, "--max-per-sequence", 2,
        "--min-coverage", 0.5, "--min-identity", 0.2, "--unit", "substitutions",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5


@pytest.mark.parametrize(
    ("arguments", "data", "code", "says"),
    [
        (["--min-dist", 9], RECORD, 65, b"PF90001: no pairs with distance 9 substitutions per site or more"),
        (["--min-dist", 2, "--max-dist", 1], RECORD, 2, b"no band from 2 to 1"),
        (["--holdout", "clades"], RECORD, 2, b"name an output with -o"),
        (["--scheme", "fair", "-n", 3], RECORD, 2, b"per-sequence"),
        ([], RECORD.replace(b"#=GF NH", b"#=GF XX"), 65, b"phylocli tree"),
        ([], RECORD.replace(b"a/1-4:", b"z:"), 65, b"do not match"),
        ([], b"", 65, b"empty"),
    ],
)
def test_invalid_uses_have_their_exit_codes(phylocli, arguments, data, code, says):
    done = phylocli("pairs", *arguments, input=data)
    assert done.returncode == code, done.stderr
    assert says in done.stderr and b"Traceback" not in done.stderr


def test_hard_negatives_are_listed_by_profile_and_by_group(phylocli, examples, tmp_path):
    few = b"".join(
        record + b"//\n"
        for record in (examples / "families.sto").read_bytes().split(b"//\n")
        if any(name in record for name in (b"PF00042", b"PF00134", b"PF02790"))
    )
    done = phylocli("pairs", "--hard-negatives", "profile", "--negatives", 1, input=few)
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert rows[0] == ["family", "clan", "negative", "negative_clan", "rank", "score", "by"] and len(rows) == 4
    assert all(row[1] != row[3] or row[1] == "" for row in rows[1:])
    groups = tmp_path / "groups.tsv"
    groups.write_text("family\tgroup\nPF00042\talpha\nPF00134\talpha\n")
    done = phylocli("pairs", "--hard-negatives", groups, "-o", tmp_path / "n.tsv", input=few)
    assert done.returncode == 0 and b"by group" in done.stderr
    assert (tmp_path / "n.tsv.provenance.json").is_file()
    assert {line.split("\t")[2] for line in (tmp_path / "n.tsv").read_text().splitlines()[1:]} == {"PF00042", "PF00134"}
    wrong = phylocli("pairs", "--hard-negatives", "nearest", input=few)
    assert wrong.returncode == 2 and b"profile" in wrong.stderr
