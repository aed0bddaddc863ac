import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phylocli.core.errors import BadInputError
from phylocli.formats.family import Family
from phylocli.formats.newick import NewickTree, parse, parse_trees
from phylocli.formats.tree import Tree


def random_tree(n, rng):
    """Text of a random binary tree with tips t0…, built by joining."""
    nodes = [f"t{i}" for i in range(n)]
    while len(nodes) > 1:
        i, j = sorted(rng.choice(len(nodes), 2, replace=False))
        b, a = nodes.pop(j), nodes.pop(i)
        nodes.append(f"({a}:{rng.random():.6f},{b}:{rng.random():.6f})")
    return nodes[0] + ";"


def distance(tree, a, b):
    """Path length between two tips, by a naive walk to the root."""
    up = {}
    node, total = tree.names.index(a), 0.0
    while node >= 0:
        up[node] = total
        total += tree.length[node] if node else 0.0
        node = tree.parent[node]
    node, total = tree.names.index(b), 0.0
    while node not in up:
        total += tree.length[node]
        node = tree.parent[node]
    return total + up[node]


def test_distances_agree_with_ete3():
    tree = parse(random_tree(30, np.random.default_rng(0)))
    ete = tree.to_ete()
    for a, b in [("t0", "t29"), ("t3", "t4"), ("t7", "t21")]:
        assert distance(tree, a, b) == pytest.approx(ete.get_distance(a, b), abs=1e-9)


def test_ete3_round_trip_keeps_everything():
    tree = parse("((a:1,'b c':2)0.9:0.5,d:3)root;")
    again = Tree.from_ete(tree.to_ete())
    assert again.names == tree.names
    assert again.parent.tolist() == tree.parent.tolist()
    assert again.length.tolist() == tree.length.tolist()


def test_pruning_keeps_the_distances_between_those_that_stay():
    rng = np.random.default_rng(1)
    tree = parse(random_tree(40, rng))
    keep = [f"t{i}" for i in rng.choice(40, 12, replace=False)]
    pruned = tree.prune(keep)
    assert sorted(pruned.tip_names()) == sorted(keep)
    assert len(pruned) == 2 * len(keep) - 1
    for a in keep[:4]:
        for b in keep[4:]:
            assert distance(pruned, a, b) == pytest.approx(distance(tree, a, b), abs=1e-12)


def test_pruning_to_one_tip():
    assert parse("((a:1,b:2):3,c:4);").prune(["b"]).to_newick() == "b;"


@given(st.lists(st.text(min_size=1, max_size=20).filter(lambda s: s.strip() == s), min_size=2, max_size=6, unique=True))
def test_any_name_survives_a_round_trip(names):
    tree = Tree(np.array([-1] + [0] * len(names)), np.arange(len(names) + 1.0), ["", *names])
    assert parse(tree.to_newick()).tip_names() == names


def test_a_missing_length_is_known_as_missing():
    tree = parse("(a,b:0);")
    assert np.isnan(tree.length[1])
    assert tree.length[2] == 0
    assert parse(tree.to_newick()).to_newick() == "(a,b:0);"


def test_comments_are_skipped():
    assert parse("(a[&&NHX:S=x]:1,b:2[c])[d];").to_newick() == "(a:1,b:2);"


@pytest.mark.parametrize(
    "text",
    ["", ";", "(a,b", "a,b;", "(a,b));", "(a:x,b);", "(a:,b);", "(a,b:);", "(a b,c);", "(a,b);c", "(a(b,c));", "('a,b);"],
)
def test_broken_text_is_refused(text):
    with pytest.raises(BadInputError):
        parse(text)


def test_a_deep_tree_needs_no_recursion():
    depth = 20_000
    tree = parse("(" * depth + "x:1" + "".join(f",t{i}:1):1" for i in range(depth)) + ";")
    assert len(tree.tips()) == depth + 1
    assert parse(tree.to_newick()).to_newick() == tree.to_newick()
    assert len(tree.prune(["x", "t5", "t19999"])) == 5
    assert Tree.from_ete(tree.to_ete()).names == tree.names


def test_numbers_as_labels_of_inner_nodes_are_support():
    tree = parse("((a:1,b:1)97.2/0.99:1,(c:1,(7:1,d:1)1e-3:1)Clade:1,((e:1,f:1)100:1,g:1)0.:1)5x;")
    support = {tree.names[i]: value for i, value in enumerate(tree.support()) if not np.isnan(value)}
    assert support == {"97.2/0.99": 97.2, "1e-3": 0.001, "100": 100.0, "0.": 0.0}
    assert {n.name: n.support for n in tree.to_ete().traverse() if n.name == "100"} == {"100": 100.0}
    again = parse(tree.to_newick())
    assert again.names == tree.names
    assert Tree.from_ete(tree.to_ete()).names == tree.names


def test_new_root_has_no_support_value():
    tree = parse("(((a:1,b:1)90:1,c:1)80:1,d:1);")
    assert tree.prune(["a", "b", "c"]).to_newick() == "((a:1,b:1)90:1,c:1);"
    assert tree.prune(["a", "b"]).to_newick() == "(a:1,b:1);"


@given(st.integers(3, 12), st.integers(0, 10_000))
def test_exact_text_gives_back_the_same_lengths_of_a_pruned_family(n, seed):
    rng = np.random.default_rng(seed)
    tree = parse(random_tree(n, rng))
    tree.length[1:] = rng.random(len(tree) - 1) * 10.0 ** rng.integers(-9, 3, len(tree) - 1)
    keep = [f"t{i}" for i in rng.choice(n, n - 1, replace=False)]
    pruned = tree.prune(keep)
    assert parse(pruned.to_newick()).length.tolist() == pruned.length.tolist()
    family = Family(tree.tip_names(), ["MKV"] * n, tree=NewickTree(tree.to_newick()))
    assert family.subset(keep).require_tree().length.tolist() == pruned.length.tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("[nothing]\n", []),
        ("(a,b);", ["(a,b);"]),
        ("(a,'x;y')[c;d];\n\n b;", ["(a,'x;y');", "b;"]),
        ("(a,b);(c,d)", ["(a,b);", "(c,d);"]),
        ("[one](a:1,b:1);[two]\n(c,'d''e');", ["(a:1,b:1);", "(c,'d''e');"]),
    ],
)
def test_the_trees_of_a_text_end_with_semicolons_outside_quotes_and_comments(text, expected):
    assert [tree.to_newick() for tree in parse_trees(text)] == expected


@given(st.lists(st.tuples(st.text(min_size=1, max_size=6), st.floats(0, 1e10)), min_size=1, max_size=5), st.data())
def test_any_trees_of_a_text_are_read_back(tips, data):
    trees = [Tree(np.array([-1, 0]), np.array([0.0, length]), ["", name]) for name, length in tips]
    gaps = [data.draw(st.sampled_from(["", " ", "\n", "\r\n", "[a;'comment]"])) for _ in trees]
    text = "".join(gap + tree.to_newick() for gap, tree in zip(gaps, trees, strict=True))
    found = list(parse_trees(text))
    assert [(tree.names[1], tree.length[1]) for tree in found] == tips


@pytest.mark.parametrize(
    "length", ["inf", "-inf", "Infinity", "1e999", "nan", "1e11", "-1e300", "1_0", "0x1", "١", "1e", "--1"]
)
def test_a_branch_length_is_a_finite_number_of_a_size_to_compute_with(length):
    with pytest.raises(BadInputError, match=r"is not a branch length above 'b'.* at character 8 "):
        parse(f"(a:1,b:{length},c:1);")


@pytest.mark.parametrize("length", ["0", "-0.5", "+1", ".5", "5.", "1e-300", "1E10", "2.5e+3"])
def test_numbers_are_branch_lengths(length):
    assert parse(f"(a:1,b:{length});").length[2] == float(length)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(O'A:1,b:1);", "an apostrophe within a name that is not quoted at character 3"),
        ("(5'a:1,3'b:1);", "an apostrophe within a name that is not quoted at character 3"),
        ("(a:1,'b:1);", "a quoted name without its closing apostrophe at character 6"),
        ("('O'A:1,b:1);", "an unexpected name 'A' at character 5"),
        ("(a[b:1,c:1);", "a comment without its ']' at character 3"),
        ("(a:1,b:1]);", "an unexpected ']' at character 9"),
        ("(a:1,b:1;", r"a '\)' is missing before the ';' at character 9"),
        ("(a:1:2,b:1);", "a second branch length at character 5"),
        ("(a:1,b:1);\n\n(c:1,d'e:1);", r"tree 2 .* at line 3, character 7"),
    ],
)
def test_errors_give_their_position(text, message):
    with pytest.raises(BadInputError, match=message):
        list(parse_trees(text))


@pytest.mark.parametrize(("text", "kind"), [("#NEXUS\nbegin trees;", "NEXUS"), ("\n#nexus", "NEXUS"), ("<?xml ?>", "XML")])
def test_other_formats_of_trees_are_named(text, kind):
    with pytest.raises(BadInputError, match=f"is {kind}.*, not Newick"):
        list(parse_trees(text))


@given(st.text(alphabet="(),:;'[]ab1. \n", max_size=30))
def test_any_text_is_read_or_refused(text):
    try:
        trees = list(parse_trees(text))
    except BadInputError:
        return
    assert [parse(tree.to_newick()).to_newick() for tree in trees] == [tree.to_newick() for tree in trees]
