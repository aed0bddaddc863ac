import io
import textwrap

import numpy as np
import pytest

from phylocli.core.errors import BadInputError
from phylocli.formats import read_families, write_families
from phylocli.formats.family import Family
from phylocli.formats.stockholm import parse, split_accession, write_family

RECORD = """\
# STOCKHOLM 1.0
#=GF ID   Toy
#=GF AC   PF99999.7
#=GF DE   A toy
#=GF GA   20.50 20.50;
#=GF CL   CL0001
#=GF CC   written by hand
#=GF CC   phylocli tree engine=bme
#=GF NH   ((a/1-3:1,b:2):0.5,
#=GF NH   c:1);
#=GF SQ   3
#=GS a/1-3 AC Q1.2
a/1-3   AC-D
#=GR a/1-3 SS HH.E
b       A.cD
c       ACCD
#=GC RF xx.x
//
"""


def records(text):
    return list(parse(enumerate(textwrap.dedent(text).split("\n"), 1), "toy.sto"))


def text_of(family):
    out = io.StringIO()
    write_family(family, out)
    return out.getvalue()


def test_everything_in_a_record_is_read():
    (family,) = records(RECORD)
    assert (family.accession, family.version, family.name, family.clan) == ("PF99999", "7", "Toy", "CL0001")
    assert family.ids == ["a/1-3", "b", "c"]
    assert family.rows == ["AC-D", "A.cD", "ACCD"]
    assert family.tree.to_newick() == "((a/1-3:1,b:2):0.5,c:1);"
    assert family.notes == ["tree engine=bme"]
    assert family.features == [("GA", "20.50 20.50;"), ("CC", "written by hand")]
    assert family.sequence_features == {"a/1-3": [("AC", "Q1.2")]}
    assert family.residue_features == {"a/1-3": {"SS": "HH.E"}}
    assert family.declared_size == 3
    assert family.match_columns().tolist() == [True, True, False, True]
    assert family.require_tree().tip_names() == ["a/1-3", "b", "c"]


def test_written_files_are_read_back_unchanged():
    (family,) = records(RECORD)
    (again,) = records(text_of(family))
    again.where = family.where
    assert again == family
    assert text_of(again) == text_of(family)


def test_interleaved_blocks_are_joined():
    (family,) = records("# STOCKHOLM 1.0\n\na AC\nb AD\n#=GC RF xx\n\na EE\nb FF\n#=GC RF .x\n//\n")
    assert family.rows == ["ACEE", "ADFF"]
    assert family.column_features == {"RF": "xx.x"}


def test_several_records_and_blank_lines_between():
    families = records("\n" + RECORD + "\n\n" + RECORD.replace("PF99999", "PF99998"))
    assert [f.accession for f in families] == ["PF99999", "PF99998"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# STOCKHOLM 1.0\na AC\n", "no '//'"),
        ("# STOCKHOLM 1.0\na AC\n# STOCKHOLM 1.0\nb AC\n//\n", "line 3"),
        ("a AC\n//\n", "starts with '# STOCKHOLM"),
        ("# STOCKHOLM 1.0\na AC\nb ACD\n//\n", "line 3.*3 columns"),
        ("# STOCKHOLM 1.0\na AC\na AC\n//\n", "'a' occurs twice"),
        ("# STOCKHOLM 1.0\na A C\n//\n", "line 2"),
        ("# STOCKHOLM 1.0\n//\n", "no sequences"),
        ("# STOCKHOLM 1.0\n#=GF SQ many\na AC\n//\n", "SQ"),
        ("# STOCKHOLM 1.0\n#=GX what\na AC\n//\n", "line 2"),
    ],
)
def test_broken_records_are_refused_with_the_place(text, said):
    with pytest.raises(BadInputError, match=said):
        records(text)


def test_a_duplicate_row_can_be_kept_or_renamed():
    text = "# STOCKHOLM 1.0\na AC\na AD\n//\n"
    lines = list(enumerate(text.split("\n"), 1))
    assert next(parse(lines, "x", on_duplicate="keep-first")).rows == ["AC"]
    assert next(parse(lines, "x", on_duplicate="rename")).ids == ["a", "a.2"]


def test_a_row_that_has_the_name_of_a_renamed_duplicate_is_renamed_too():
    text = "# STOCKHOLM 1.0\na AC\na AD\na.2 AE\nb AF\n//\n"
    (family,) = parse(enumerate(text.splitlines(), 1), "x", on_duplicate="rename")
    assert dict(zip(family.ids, family.rows, strict=True)) == {"a": "AC", "a.2": "AD", "a.2.2": "AE", "b": "AF"}


def test_interleaved_rows_are_joined_and_a_short_one_is_named_with_its_line():
    text = "# STOCKHOLM 1.0\na AC\nb AD\nc AE\n\na FG\nc HI\nb KL\n//\n"
    (family,) = parse(enumerate(text.splitlines(), 1), "x")
    assert dict(zip(family.ids, family.rows, strict=True)) == {"a": "ACFG", "b": "ADKL", "c": "AEHI"}
    with pytest.raises(BadInputError, match="line 4: the row of 'c' has 2 columns, that of 'a' has 4"):
        list(parse(enumerate(text.replace("c HI\n", "").splitlines(), 1), "x"))


def test_latin_1_and_windows_line_ends(tmp_path):
    path = tmp_path / "x.sto"
    path.write_bytes("# STOCKHOLM 1.0\r\n#=GF DE   Müller\r\na AC\r\n//\r\n".encode("latin-1"))
    (family,) = read_families(path)
    assert family.description == "Müller"
    assert family.rows == ["AC"]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst", ".bz2", ".xz"])
def test_compression_is_known_by_content(tmp_path, suffix, examples):
    (first, *_) = read_families(examples / "families.sto")
    path = tmp_path / f"out.sto{suffix}"
    write_families([first], path)
    hidden = tmp_path / "no_suffix"
    path.rename(hidden)
    (again,) = read_families(hidden)
    assert (again.ids, again.rows) == (first.ids, first.rows)


def test_the_same_records_give_the_same_bytes(tmp_path, examples):
    for name in ("a.sto.gz", "b.sto.gz"):
        write_families(read_families(examples / "families.sto"), tmp_path / name)
    assert (tmp_path / "a.sto.gz").read_bytes() == (tmp_path / "b.sto.gz").read_bytes()


def test_the_examples_are_what_their_readme_says(examples):
    families = {f.accession: f for f in read_families(examples / "families.sto")}
    assert len(families) == 14
    assert sum(map(len, families.values())) == 822
    assert families["PF00042"].clan == "CL0090"
    for family in families.values():
        assert family.declared_size == len(family)
        assert all(s.residues.isalpha() for s in family.sequences())


def test_match_columns_of_a_seed_with_dots_go_by_occupancy():
    family = Family(["a", "b", "c"], ["AC.D", "A..D", ".CED"])
    assert family.match_columns().tolist() == [True, True, False, True]


def test_match_columns_by_letter_case():
    family = Family(["a", "b"], ["AC.kD", "A-r.D"])
    assert family.match_columns().tolist() == [True, True, False, False, True]


def test_a_subset_keeps_the_tree_in_step():
    (family,) = records(RECORD)
    part = family.subset(["a/1-3", "c"])
    assert part.ids == ["a/1-3", "c"]
    assert part.tree.to_newick() == "(a/1-3:1.5,c:1);"
    assert part.require_tree().root_distances()[part.require_tree().tips()].tolist() == [1.5, 1.0]
    with pytest.raises(BadInputError, match="no member"):
        family.subset(["zzz"])


def test_tips_that_are_no_members_are_named():
    (family,) = records(RECORD.replace("c:1);", "d:1);"))
    with pytest.raises(BadInputError, match=r"c\).*d\)"):
        family.require_tree()


def test_an_unaligned_family_cannot_be_stockholm():
    with pytest.raises(BadInputError, match="not aligned"):
        text_of(Family(["a"], ["ACD"], aligned=False))


@pytest.mark.parametrize(
    ("text", "parts"), [("PF1.2", ("PF1", "2")), ("PF1", ("PF1", "")), ("3.30.160.60/FF/0", ("3.30.160.60/FF/0", ""))]
)
def test_accession_and_version(text, parts):
    assert split_accession(text) == parts


def test_states_of_an_alignment_round_trip(examples):
    from phylocli.core import alphabet

    (family, *_) = read_families(examples / "families.sto")
    states = alphabet.encode_states(family.rows)
    assert states.shape == (len(family), family.columns)
    letters = np.array([*alphabet.AMINO_ACIDS, "?"])[states]
    for row, seen in zip(family.rows, letters, strict=True):
        assert all(x == y for x, y in zip(row.upper(), seen, strict=True) if y != "?")


@pytest.mark.parametrize("alpha", [None, 0.1 + 0.2, 1e-5, 1.0, float("inf")])
def test_the_alpha_of_a_tree_is_a_field_of_its_own(alpha):
    (family,) = records(RECORD)  # written before there was such a field
    assert family.tree_alpha is None
    made = family.with_tree(family.require_tree(), "tree of mine", alpha=alpha)
    text = text_of(made)
    assert ("#=GF ALPHA" in text) == (alpha is not None)
    (again,) = records(text)
    assert again.tree_alpha == alpha
    assert again.features == family.features
    assert again.subset(["a/1-3", "c"]).tree_alpha == alpha
    assert made.with_tree(None).tree_alpha is None


def test_an_alpha_belongs_to_a_tree():
    (family,) = records(RECORD)
    family.tree, family.tree_alpha = None, 1.0
    assert "ALPHA" not in text_of(family)


@pytest.mark.parametrize("text", ["much", "0", "-1", "nan", "1 2"])
def test_an_alpha_that_is_no_positive_number_is_an_error(text):
    with pytest.raises(BadInputError, match=r"ALPHA must be a positive number"):
        records(RECORD.replace("#=GF SQ   3", f"#=GF ALPHA   {text}"))


BAD = {
    "an id twice": "a ACD\na ACE\n",
    "rows of two lengths": "a ACD\nb AC\n",
    "no row": "",
    "a row of three words": "a AC D\n",
    "an annotation of another length": "a ACD\n#=GC RF xx\n",
    "an annotation that is none": "#=XX\na ACD\n",
    "no number": "#=GF SQ many\na ACD\n",
}


@pytest.mark.parametrize("rows", BAD.values(), ids=BAD.keys())
def test_invalid_record_is_reported_and_the_others_are_read(rows):
    text = "".join(f"# STOCKHOLM 1.0\n#=GF AC PF{i}.1\n{body}//\n" for i, body in enumerate(["a ACD\n", rows, "b ACD\n"]))
    failed = []
    found = list(
        parse(enumerate(text.split("\n"), 1), "toy.sto", on_failure=lambda name, error: failed.append((name, error)))
    )
    assert [family.accession for family in found] == ["PF0", "PF2"]
    assert [name for name, _ in failed] == ["PF1"]
    with pytest.raises(BadInputError) as caught:
        records(text)
    assert str(failed[0][1]) == str(caught.value)


def test_where_records_end_must_be_clear_whatever_is_done_about_failures():
    for text in (RECORD + RECORD[: -len("//\n")], RECORD[: -len("//\n")] + RECORD):
        with pytest.raises(BadInputError, match="//"):
            list(parse(enumerate(text.split("\n"), 1), "toy.sto", on_failure=lambda *_: None))


ANNOTATED = """# STOCKHOLM 1.0
#=GF ID toy
a  ACDE
#=GR a SS HHHH
b  AC-E
#=GC RF xxxx
#=GC cons ACDE

a  FG
#=GR a SS HH
b  FG
#=GC RF xx
#=GC cons FG
//
"""


def read_text(text):
    lines = text.splitlines()
    return list(parse(enumerate(lines, 1), "toy.sto"))


def test_annotations_of_the_alignments_length_are_kept_block_by_block():
    (family,) = read_text(ANNOTATED)
    assert family.column_features == {"RF": "xxxxxx", "cons": "ACDEFG"}
    assert family.residue_features == {"a": {"SS": "HHHHHH"}}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("#=GC RF xxxx", "#=GC RF xxx", "line 6: the annotation #=GC RF has 5 characters, the alignment has 6"),
        ("#=GC cons ACDE", "#=GC cons ACDEF", "line 7: the annotation #=GC cons has 7"),
        ("#=GC RF xx\n", "", "line 6: the annotation #=GC RF has 4"),
        ("#=GC RF xxxx", "#=GC RF xxxx\n#=GC RF xxxx", "#=GC RF has 10"),
        ("#=GR a SS HHHH", "#=GR a SS HHH", "line 4: the annotation #=GR a SS has 5"),
        ("#=GR a SS HH\n", "", "#=GR a SS has 4"),
    ],
)
def test_annotations_of_another_length_are_refused_with_their_line(old, new, said):
    with pytest.raises(BadInputError, match=said):
        read_text(ANNOTATED.replace(old, new, 1))


@pytest.mark.parametrize(
    ("policy", "expected"), [("keep-first", {"a": {"SS": "HH"}}), ("rename", {"a": {"SS": "HH"}, "a.2": {"SS": "EE"}})]
)
def test_the_annotation_of_a_duplicate_goes_where_its_row_goes(policy, expected):
    text = "# STOCKHOLM 1.0\na AC\n#=GR a SS HH\na AD\n#=GR a SS EE\n//\n"
    (family,) = parse(enumerate(text.splitlines(), 1), "x", on_duplicate=policy)
    assert family.residue_features == expected
