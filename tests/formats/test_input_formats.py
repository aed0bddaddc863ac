"""Detection of formats by content, PIR, A2M and A3M; typed errors for malicious input."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phylocli.core.errors import BadInputError, PhylocliError
from phylocli.formats import Family, newick, read_families, read_sequences
from phylocli.formats.embeddings import read_embeddings
from phylocli.formats.input_formats import FORMATS, InputFormat, format_of, sniff_file
from phylocli.formats.sequences import a2m
from phylocli.formats.tables import read_table
from phylocli.formats.tree_files import read_trees
from phylocli.search import search

STARTS: dict[str, list[bytes]] = {
    "empty": [b"", b" \n\n"],
    "FASTA": [b">a\nAC\n", b"\n >a\nAC\n", b"#158\t1\n>a\nAC\n", b"; a comment\n# another\n\n>a\nAC\n", b">P1 x\nAC\n"],
    "PIR": [b">P1;CRAB\nA chain\nACDE*\n", b"#x\n>F1;x\n"],
    "Stockholm": [b"# STOCKHOLM 1.0\n", b"\n# STOCKHOLM 1.0\n>a\n"],
    "GAF": [b"!gaf-version: 2.2\n", b"UniProtKB\tP1\tHBB\tenables\tGO:0005344\tPMID:1\tIDA\n"],
    "FASTQ": [b"@r1\nAC\n+\nII\n"],
    "GenBank": [b"LOCUS       X\n"],
    "Newick": [b"(a,b);", b"[&R] (a,b);"],
    "Clustal": [b"CLUSTAL W (1.8)\n"],
    "NEXUS": [b"#NEXUS\nbegin data;\n"],
    "PHYLIP": [b" 5 42\nTurkey    AAGC\n"],
    "EMBL": [b"ID   X56734; SV 1; linear; mRNA; STD; PLN; 1859 BP.\n"],
    "UniProt": [b"ID   HBA_HUMAN               Reviewed;         142 AA.\n"],
    "HMMER": [b"HMMER3/f [3.1b2]\n"],
    "PDB": [b"HEADER    OXYGEN\n", b"ATOM      1  N\n"],
    "mmCIF": [b"data_1ABC\n"],
    "JSON": [b'{"a": 1}', b"[1]"],
    "XML": [b"<!doctype html>"],
    "Parquet": [b"PAR1...."],
    "Arrow IPC": [b"ARROW1\0\0"],
    "Arrow IPC stream": [b"\xff\xff\xff\xff\x10\0\0\0"],
    "HDF5": [b"\x89HDF\r\n\x1a\n"],
    "NPY": [b"\x93NUMPY\x01"],
    "NPZ": [b"PK\x03\x04"],
    "TSV, CSV": [b"id\tclass\n", b"id,class\n"],
    "TOML": [b"steps = 5\n", b"# a recipe\n[critic]\n", b"[[rows]]\nx = 1\n"],
    "text": [b"hello\n"],
}
BY_NAME: dict[str, InputFormat] = {known.name: known for known in FORMATS}


def test_a_line_of_text_is_not_a_table_without_rows(tmp_path):
    (tmp_path / "x.txt").write_text("hello world\n")
    for read in (read_table, read_embeddings):
        with pytest.raises(BadInputError, match=r"x.txt is a text file of one line, not a table"):
            read(tmp_path / "x.txt")


@pytest.mark.parametrize(("kind", "head"), [(kind, head) for kind, heads in STARTS.items() for head in heads])
def test_formats_are_known_by_content_however_saved(tmp_path, kind, head):
    binary = bool(BY_NAME[kind].magic)
    ways = [head] if binary else [head, b"\xef\xbb\xbf" + head, head.replace(b"\n", b"\r\n"), head.decode().encode("utf-16")]
    for data in ways:
        assert format_of(data).name == kind
        (tmp_path / "in.gz").write_bytes(gzip.compress(data))
        assert sniff_file(tmp_path / "in.gz").name == kind


def test_every_format_that_is_known_by_content_has_an_example():
    assert len(BY_NAME) == len(FORMATS)
    assert {f.name for f in FORMATS if not f.suffixes or f.start} == set(STARTS)


@pytest.mark.parametrize("name", [f.name for f in FORMATS if f.read is None and f.name not in ("empty", "text")])
@pytest.mark.parametrize("read", [read_families, read_sequences])
def test_files_of_another_format_are_refused_by_its_name(tmp_path, name, read):
    (tmp_path / "in").write_bytes(STARTS[name][0])
    with pytest.raises(BadInputError, match=BY_NAME[name].phrase.split(" (")[0]):
        list(read(tmp_path / "in"))


@pytest.mark.parametrize("read", [read_families, read_sequences])
@pytest.mark.parametrize(
    ("data", "said"),
    [(b"\x89PNG\r\n", "a PNG picture"), (b"x" * 257 + b"ustar", "a tar archive"), (b"hello\n>a\n", "starts with 'hello'")],
)
def test_the_message_for_an_input_of_no_known_format_lists_all_that_are_read(tmp_path, data, said, read):
    path = tmp_path / "x.fasta"
    path.write_bytes(data)
    with pytest.raises(BadInputError, match=said) as caught:
        list(read(path))
    for known in FORMATS:
        if known.holds == "sequences":
            assert known.name in (caught.value.fix or "")


@pytest.mark.parametrize(
    "name", [f.name for f in FORMATS if f.unmistakable and f.holds != "table" and f.name != "empty" and f.start]
)
def test_unmistakable_formats_are_refused_as_tables_by_name(tmp_path, name):
    (tmp_path / "in").write_bytes(STARTS[name][0])
    with pytest.raises(BadInputError, match=f"{BY_NAME[name].phrase}, not a table"):
        read_table(tmp_path / "in")


@pytest.mark.parametrize("text", ["(a:1,(b:2,c:3):1);\n", "(a:1,\n(b:2,c:3):1)\n;\n\n", "[&R] (a;b,c);", "(a,b);\n(b,a);\n"])
def test_trees_are_refused_as_tables_by_name(tmp_path, text):
    (tmp_path / "tree.nwk").write_text(text)
    for read in (read_table, read_embeddings):
        with pytest.raises(BadInputError, match=r"tree\.nwk is a Newick tree, not a table"):
            read(tmp_path / "tree.nwk")
    (tmp_path / "x.csv").write_text("(id),f1\na,1\n")
    assert read_table(tmp_path / "x.csv").columns == ["(id)", "f1"]


@pytest.mark.parametrize("name", ["FASTA", "Stockholm", "GenBank"])
def test_sequences_in_place_of_embeddings_name_the_command_that_embeds_them(tmp_path, name):
    (tmp_path / "my proteins.fa").write_bytes(STARTS[name][0])
    with pytest.raises(BadInputError, match=f"{BY_NAME[name].phrase}, not a table") as caught:
        read_embeddings(tmp_path / "my proteins.fa")
    assert caught.value.fix == f"embed the sequences first: phylocli embed '{tmp_path}/my proteins.fa' -o emb.parquet"


@pytest.mark.parametrize(
    ("data", "said"), [(b"\x89PNG\r\n", "a PNG picture"), (b"[1]", "a JSON file"), (b"(a,b);", "a Newick")]
)
def test_a_query_of_no_known_format_may_be_sequences_or_embeddings(tmp_path, examples, data, said):
    (tmp_path / "q").write_bytes(data)
    for inputs in ((tmp_path / "q", examples / "globins.fasta"), (examples / "globins.fasta", tmp_path / "q")):
        with pytest.raises(BadInputError, match=said) as caught:
            search(*inputs)
        assert re.match(r"give sequences \(FASTA, .*\), or a table of embeddings \(.*Parquet.*HDF5", caught.value.fix or "")


@pytest.mark.parametrize("name", [f.name for f in FORMATS if not f.unmistakable and f.start])
def test_a_table_may_have_a_header_that_starts_like_another_format(tmp_path, name):
    start = STARTS[name][0].decode().split("\n")[0].replace(",", "").strip()
    (tmp_path / "in.tsv").write_text(f"{start}\tb\n1\t2\n")
    assert read_table(tmp_path / "in.tsv").width == 2


# ---- PIR ----

PIR = """\
>P1;CRAB_ANAPL
ALPHA CRYSTALLIN B CHAIN (ALPHA(B)-CRYSTALLIN).
  MDITIHNPLI RRPLFSWLAP
  SRIFDQ-F*
C;Species: duck

>F1;second and more
structureX:1abc: 1 :A: 9, B:::
MDITIHNPLI RRPLFSWLAPSRIFDQ-F *
"""


def test_pir_is_read_without_its_descriptions(tmp_path):
    (tmp_path / "x.pir").write_text(PIR)
    first, second = read_sequences(tmp_path / "x.pir")
    assert (first.id, first.residues) == ("CRAB_ANAPL", "MDITIHNPLIRRPLFSWLAPSRIFDQF")
    assert first.description.startswith("ALPHA CRYSTALLIN B CHAIN")
    assert (second.id, second.residues) == ("second", first.residues)
    (family,) = read_families(tmp_path / "x.pir")
    assert family.aligned and family.rows == ["MDITIHNPLIRRPLFSWLAPSRIFDQ-F"] * 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (">P1;a\n", "line 1.*'a' does not end with"),
        (">P1;a\ntext\nACD\n", "does not end with"),
        (">P1;a\ntext\nACD\n>P1;b\ntext\nAC*\n", "line 1.*'a' does not end with"),
        (">P1;a\ntext\n*\n", "no residues"),
        (">P1;\ntext\nAC*\n", "not a PIR header"),
        (">P1;a\ntext\nAC*\n>b\nAC\n", "line 4.*not a PIR header"),
        (">P1;a\ntext\nAC*\n>P1;a\ntext\nAC*\n", "'a' occurs twice"),
        (">P1;a\ntext\nA/C*\n", "'/' at position 2"),
    ],
)
def test_damaged_pir_is_refused_with_the_place(tmp_path, text, said):
    (tmp_path / "x.pir").write_text(text)
    with pytest.raises(BadInputError, match=said):
        list(read_sequences(tmp_path / "x.pir"))


# ---- A2M and A3M ----

FILLED = ["AC..DE", "ACkmDE", "A-k.DE"]


@pytest.mark.parametrize("name", ["x.a3m", "x.A3M.gz", "x.fasta", "x"])
@pytest.mark.parametrize("comment", ["", "#158\t1\n", "# a name\n; and more\n"])
def test_a3m_is_an_alignment_wherever_families_are_read(tmp_path, name, comment):
    text = comment + "".join(f">s{k}\n{row.replace('.', '')}\n" for k, row in enumerate(FILLED))
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    (family,) = read_families(tmp_path / name)
    assert family.aligned and family.rows == FILLED
    assert family.match_columns().tolist() == [True, True, False, False, True, True]
    assert [s.residues for s in read_sequences(tmp_path / name)] == ["ACDE", "ACKMDE", "AKDE"]


def test_inserts_that_would_blow_up_the_alignment_are_refused(monkeypatch):
    monkeypatch.setattr(a2m, "MOST_CELLS", 1000)
    rows = ["A" * k + "c" * 50 + "A" * (50 - k) for k in range(50)]
    with pytest.raises(BadInputError, match="50 rows of 2550 columns"):
        a2m.fill_inserts([str(k) for k in range(50)], rows, "x.a3m")
    assert len(a2m.fill_inserts(["a", "b"], rows[:2], "x.a3m")[0][0]) == 150


def test_an_alignment_in_lower_case_is_no_a2m_whatever_its_suffix(tmp_path):
    (tmp_path / "x.a2m").write_text(">a\nacd.\n>b\na.de\n")
    (family,) = read_families(tmp_path / "x.a2m")
    assert family.aligned and family.rows == ["acd.", "a.de"]


def test_plain_sequences_in_lower_case_are_no_a3m(tmp_path):
    (tmp_path / "x.fa").write_text(">a\nacdEFG\n>b\nEFGHacdefg\n>c\nacd\n")
    (family,) = read_families(tmp_path / "x.fa")
    assert not family.aligned and family.rows == ["acdEFG", "EFGHacdefg", "acd"]


rows_of_letters = st.integers(1, 12).flatmap(
    lambda width: st.lists(st.text("ACDEFG-", min_size=width, max_size=width), min_size=1, max_size=6)
)


@given(rows_of_letters, st.data())
def test_lower_case_and_dots_alone_do_not_change_the_columns_used(rows, data):
    """Soft masking of whole alignments or whole columns, and `.` for any gap, say nothing of match states."""
    family = Family([str(k) for k in range(len(rows))], rows)
    expected = family.match_columns()
    width = family.columns
    masked = data.draw(st.lists(st.booleans(), min_size=width, max_size=width))
    by_column = ["".join(c.lower() if m else c for c, m in zip(row, masked, strict=True)) for row in rows]
    everything = [row.lower() for row in rows]
    for changed in (
        by_column,
        everything,
        [row.replace("-", ".") for row in rows],
        [r.replace("-", ".") for r in everything],
    ):
        assert np.array_equal(Family(family.ids, changed).match_columns(), expected)


def test_a2m_is_known_by_inserts_with_dots_beside_match_columns():
    family = Family(["a", "b", "c", "d"], ["AC..DE", "ACkmDE", "A-k.DE", "-----E"[:2] + "..-E"])
    assert family.match_columns().tolist() == [True, True, False, False, True, True]


def test_a_reference_line_that_marks_nothing_is_not_used():
    family = Family(["a", "b"], ["ACD", "ACE"], column_features={"RF": "..."})
    assert family.match_columns().all()


# ---- hostile input ----

LINES = st.sampled_from(
    [
        *[">a", ">b x", ">", "> c", "ACDE", "ac-d.", "AC1", "-", "*", "", " ", "#x", "#158\t1", ";", ">P1;a", "A*"],
        *["# STOCKHOLM 1.0", "//", "a ACDE", "b AC-E", "a ACDE x", "#=GF ID x", "#=GF SQ x", "#=GC RF xxxx", "#=GR a SS HH"],
        *[
            "#=GS a OS x",
            "#=",
            "#=GC",
            "@r",
            "+",
            "IIII",
            "LOCUS       X 4 aa",
            "ORIGIN",
            "        1 acde",
            "(a,b);",
            "\0",
            "é",
        ],
        *[
            "LOCUS       X          4 bp    DNA     linear   UNK 01-JAN-1980",
            "FEATURES",
            "     CDS   1..9",
            "a\tb",
            "a,b",
            "\r",
        ],
    ]
)
HOSTILE = st.one_of(
    st.binary(max_size=300),
    st.lists(LINES, max_size=14).map(lambda lines: "\n".join(lines).encode()),
    st.lists(LINES, max_size=14).map(lambda lines: "\n".join(lines).encode("utf-16")),
    st.sampled_from(
        [b"\x1f\x8b\x08\0", b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"PAR1", b"@", b">", b"LOCUS  "]
    ).flatmap(lambda head: st.binary(max_size=80).map(lambda rest: head + rest)),
)


@given(data=HOSTILE, suffix=st.sampled_from(["", ".a3m", ".sto", ".fa"]))
@pytest.mark.parametrize("read", [read_families, read_sequences])
def test_any_input_is_read_or_refused_with_a_typed_error(tmp_path_factory, read, data, suffix):
    path = tmp_path_factory.getbasetemp() / f"hostile{suffix}"
    path.write_bytes(data)
    try:
        found = list(read(path))
    except PhylocliError as error:
        assert str(error)
    else:
        assert found


@given(st.text(st.sampled_from("(),;:'[]ab1.-eE \n\té"), max_size=60))
def test_any_newick_is_read_or_refused_with_a_typed_error(text):
    try:
        tree = newick.parse(text)
    except BadInputError:
        return
    assert newick.parse(tree.to_newick()).tip_names() == tree.tip_names()


BOMBS = """
import gzip, lzma, resource, sys
from phylocli.core.errors import PhylocliError
from phylocli.formats import read_families, read_sequences
from phylocli.formats.tree_files import read_trees
from phylocli.formats.streams.compression import zstd

n = 100_000
files = {
    "deep.nwk": b"(" * n + b"a" + b")" * n + b";",
    "open.nwk": b"(" * n,
    "wide.nwk": b"(" + b",".join(b"n%d:0.1" % i for i in range(n)) + b");",
    "quote.nwk": b"'" + b"a" * (40 * n),
    "comment.nwk": b"[a" * n,
    "line.fa": b">a\\n" + b"ACDEFGHIKL" * n + b"\\n",
    "lines.fa": b">a\\n" + b"A\\n" * n,
    "names.fa": b"".join(b">s%d\\nAC\\n" % i for i in range(n)),
    "features.sto": b"# STOCKHOLM 1.0\\n" + b"#=GF CC x\\n" * n + b"a AC\\n//\\n",
    "blocks.sto": b"# STOCKHOLM 1.0\\n" + b"a A\\n\\n" * n + b"//\\n",
    "inserts.a3m": b">a\\n" + b"Aa" * n + b"\\n>b\\n" + b"A" * n + b"\\n>c\\n" + b"A-" * (n // 2) + b"\\n",
    "bomb.fa.gz": gzip.compress(b">a\\n" + b"A" * (1 << 27), 9),
    "bomb.nwk.zst": zstd.compress(b"(" * (1 << 27)),
    "bomb.sto.xz": lzma.compress(b"# STOCKHOLM 1.0\\n" + b"#=GF CC x\\n" * (1 << 23), preset=0),
}
for name, data in files.items():
    with open(name, "wb") as handle:
        handle.write(data)
read_families, read_sequences, read_trees
del files, data
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (200 << 20),) * 2)
for name in sys.argv[1:]:
    for read in [read_trees] if ".nwk" in name else [read_families, read_sequences]:
        try:
            print(name, sum(1 for _ in read(name)))
        except PhylocliError as error:
            print(name, type(error).__name__)
"""
BOMBED = {
    **{"deep.nwk": "1", "open.nwk": "BadInputError", "wide.nwk": "1", "quote.nwk": "BadInputError"},
    **{"comment.nwk": "BadInputError", "line.fa": "1", "lines.fa": "1", "names.fa": "1", "features.sto": "1"},
    **{"blocks.sto": "1", "inserts.a3m": "1", "bomb.fa.gz": "BadInputError", "bomb.nwk.zst": "BadInputError"},
    **{"bomb.sto.xz": "BadInputError"},
}
SEQUENCES = {"names.fa": "100000", "inserts.a3m": "3"}


GROWTH = """
import resource, sys
from phylocli.formats import read_families
from phylocli.formats.tree_files import read_trees

n = 300_000
with open("rows.sto", "wb") as handle:
    handle.write(b"# STOCKHOLM 1.0\\n" + b"".join(b"s%d AC\\n" % i for i in range(n)) + b"//\\n")
with open("commas.nwk", "wb") as handle:
    handle.write(b"(" + b"," * (5 * n) + b");")
read_families, read_trees
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read = {"rows.sto": read_families, "commas.nwk": read_trees}[sys.argv[1]]
assert sum(1 for _ in read(sys.argv[1])) == 1
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


@pytest.mark.needs("linux")
@pytest.mark.parametrize(("name", "bytes_each"), [("rows.sto", 300 * 300_000), ("commas.nwk", 40 * 1_500_000)])
def test_many_short_rows_and_empty_tips_take_little_memory_each(name, bytes_each, tmp_path):
    """A million rows of two letters fit into ten times the input and 200 MB, and so do five million commas."""
    done = subprocess.run([sys.executable, "-c", GROWTH, name], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert int(done.stdout) < bytes_each, done.stderr


@pytest.mark.parametrize("read", [read_sequences, read_families, read_trees])
@pytest.mark.parametrize("end", ["\n", "\r"])
def test_a_line_of_hundreds_of_megabytes_is_refused(read, end, tmp_path, monkeypatch):
    monkeypatch.setattr("phylocli.formats.streams.text.LONGEST_LINE", 20_000)
    start = {read_sequences: f">a{end}", read_families: f"# STOCKHOLM 1.0{end}a ", read_trees: "(b,"}[read]
    path = tmp_path / "line.txt"
    path.write_text(start + "A" * 19_000 + end + {read_families: f"//{end}", read_trees: ");"}.get(read, ""))
    assert sum(1 for _ in read(path)) == 1
    path.write_text(start + "A" * 30_000)
    with pytest.raises(BadInputError, match=r"line\.txt has a line of more than"):
        list(read(path))


@pytest.mark.needs("linux")
def test_parser_bombs_are_read_or_refused_in_bounded_memory(tmp_path):
    done = subprocess.run([sys.executable, "-c", BOMBS, *BOMBED], cwd=tmp_path, capture_output=True, text=True, check=False)
    expected = []
    for name, result in BOMBED.items():
        expected += [f"{name} {result}"] if ".nwk" in name else [f"{name} {result}", f"{name} {SEQUENCES.get(name, result)}"]
    assert done.stdout.splitlines() == expected, done.stderr
