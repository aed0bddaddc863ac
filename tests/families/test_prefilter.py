import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from Bio.Align import substitution_matrices

from phylocli.families.pool import Pool
from phylocli.families.prefilter import diagonals
from phylocli.families.prefilter import neighbours as prefilter
from phylocli.families.prefilter import spaced_seeds as words
from phylocli.formats.sequences.fasta import Sequence


@pytest.fixture
def executor():
    with ThreadPoolExecutor(1) as pool:
        yield pool


def random_protein(rng, length):
    return "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), size=length))


def mutated(rng, text, part):
    letters = list(text)
    for i in np.flatnonzero(rng.random(len(letters)) < part):
        letters[i] = rng.choice(list("ACDEFGHIKLMNPQRSTVWY"))
    return "".join(letters)


def pool_of(*texts):
    return Pool(Sequence(f"s{i}", text) for i, text in enumerate(texts))


def test_every_pattern_has_as_many_letters_as_its_weight():
    for weight, patterns in prefilter.PATTERNS.items():
        assert all(p.count("1") == weight and p[0] == p[-1] == "1" for p in patterns)
        assert len(set(patterns)) == len(patterns) == 4


def test_words_grow_with_the_input():
    weights = [prefilter.word_weight(10**k) for k in range(10)]
    assert weights == sorted(weights)
    assert weights[0] == min(prefilter.PATTERNS) and weights[9] == max(prefilter.PATTERNS)


def test_the_nearest_neighbour_is_the_homolog(executor):
    rng = np.random.default_rng(1)
    ancestors = [random_protein(rng, 200) for _ in range(20)]
    pool = pool_of(*(mutated(rng, a, 0.3) for a in ancestors for _ in range(2)))
    nearest = prefilter.neighbour_graph(pool, executor).toarray().argmax(axis=1)
    number = [int(ids[0][1:]) for ids in pool.ids]
    assert sum(number[i] // 2 == number[j] // 2 for i, j in enumerate(nearest)) >= 38


def words_by_brute_force(a, b, patterns):
    """Return the number of shared words in the best band of diagonals, one pair of positions at a time."""
    number = {letter: k for k, letters in enumerate(words.CLASSES) for letter in letters}
    bands: dict[int, int] = {}
    for pattern in patterns:
        places = [i for i, mark in enumerate(pattern) if mark == "1"]

        def words_of(text, places=places, span=len(pattern)):
            for i in range(len(text) - span + 1):
                word = tuple(number[text[i + p]] for p in places)
                if sum(x != y for x, y in itertools.pairwise(word)) >= 2:
                    yield i, word

        for (i, x), (j, y) in itertools.product(words_of(a), words_of(b)):
            if x == y:
                band = (i - j) // prefilter.BAND
                bands[band] = bands.get(band, 0) + 1
    return max(bands.values(), default=0)


def test_counts_are_those_of_all_positions_against_all(executor, monkeypatch):
    monkeypatch.setattr(prefilter, "MIN_SCORE", 0)
    rng = np.random.default_rng(2)
    ancestor = random_protein(rng, 70)
    pool = pool_of(*(mutated(rng, ancestor, 0.3) for _ in range(6)))
    graph = prefilter.neighbour_graph(pool, executor).toarray()
    patterns = prefilter.PATTERNS[prefilter.word_weight(int(pool.offsets[-1]))]
    for i, j in itertools.combinations(range(6), 2):
        # Bands of i against j and of j against i are cut at different places; the matrix has the larger count.
        pair = [words_by_brute_force(pool.residues[x], pool.residues[y], patterns) for x, y in ((i, j), (j, i))]
        expected = max((n for n in pair if n >= prefilter.MIN_WORDS), default=0)
        assert graph[i, j] == graph[j, i] == expected


def best_stretch_by_brute_force(a, b, diagonal):
    matrix = substitution_matrices.load("BLOSUM62")
    along = [matrix[x][b[i - diagonal]] for i, x in enumerate(a) if 0 <= i - diagonal < len(b)]
    return max([0, *(sum(along[i:j]) for i in range(len(along)) for j in range(i + 1, len(along) + 1))])


def test_pairs_on_a_diagonal_are_judged_as_one_by_one(monkeypatch):
    monkeypatch.setattr(diagonals, "_RESIDUES_AT_ONCE", 50)
    rng = np.random.default_rng(4)
    texts = [random_protein(rng, int(n)) for n in rng.integers(1, 40, size=12)]
    letters = diagonals.blosum_order(np.frombuffer("".join(texts).encode(), dtype=np.uint8))
    offsets = np.concatenate(([0], np.cumsum([len(t) for t in texts])))
    query, target = rng.integers(0, 12, size=(2, 60))
    diagonal = rng.integers(-40, 40, size=60)
    pairs = list(zip(query, target, diagonal, strict=True))
    found = diagonals.ungapped_scores(letters, offsets, query, target, diagonal)
    assert found.tolist() == [int(best_stretch_by_brute_force(texts[q], texts[t], d)) for q, t, d in pairs]
    assert max(found) > 0 and min(found) == 0
    same = diagonals.identities(letters, offsets, query, target, diagonal)
    expected = [sum(x == texts[t][i - d] for i, x in enumerate(texts[q]) if 0 <= i - d < len(texts[t])) for q, t, d in pairs]
    assert same.tolist() == expected
    assert max(expected) > 0


def test_only_the_chosen_are_compared_and_by_the_same_counts(executor):
    rng = np.random.default_rng(5)
    ancestor = random_protein(rng, 150)
    texts = [mutated(rng, ancestor, 0.2) for _ in range(12)]
    pool = pool_of(*texts)
    chosen = np.array([0, 2, 3, 7, 11])
    graph = prefilter.neighbour_graph(pool, executor, chosen).toarray()
    apart = prefilter.neighbour_graph(pool_of(*(pool.residues[i] for i in chosen)), executor).toarray()
    assert graph[np.ix_(chosen, chosen)].tolist() == apart.tolist()
    assert np.count_nonzero(graph) == np.count_nonzero(apart) > 0


@pytest.mark.parametrize("entries", [50, 5_000])
def test_result_does_not_depend_on_blocks_and_threads(monkeypatch, entries):
    rng = np.random.default_rng(6)
    ancestors = [random_protein(rng, 120) for _ in range(5)]
    pool = pool_of(*(mutated(rng, a, 0.25) for a in ancestors for _ in range(6)))
    with ThreadPoolExecutor(1) as one:
        expected = prefilter.neighbour_graph(pool, one)
    monkeypatch.setattr(prefilter, "_ENTRIES_AT_ONCE", entries)
    with ThreadPoolExecutor(3) as three:
        found = prefilter.neighbour_graph(pool, three)
    assert (found != expected).nnz == 0 and found.nnz > 0


def test_memory_of_the_index_is_nine_bytes_a_residue_and_pattern():
    rng = np.random.default_rng(8)
    text = np.frombuffer(random_protein(rng, 20_000).encode(), dtype=np.uint8)
    index = prefilter._index(words.reduced_letters(text), np.zeros(len(text), dtype=np.int32), "11011")
    assert index.positions.nbytes + index.start.nbytes + index.size.nbytes <= 9 * len(text)


def test_low_complexity_unknown_and_short_sequences_have_no_neighbours(executor):
    pool = pool_of("A" * 100, "A" * 99, "X" * 80, "X" * 81, "MK", "M", "SSSSSSTSSSSSSSSS", "SSSSSSTSSSSSSSSSS")
    assert prefilter.neighbour_graph(pool, executor).nnz == 0
    assert prefilter.neighbour_graph(pool_of("MKV"), executor).shape == (1, 1)
    assert prefilter.neighbour_graph(pool_of(), executor).shape == (0, 0)


def test_work_is_linear_in_the_size_of_a_family(executor, monkeypatch):
    monkeypatch.setattr(prefilter, "MAX_OCCURRENCES", 10)
    rng = np.random.default_rng(3)
    ancestor = random_protein(rng, 120)
    pool = pool_of(*{mutated(rng, ancestor, 0.02) for _ in range(100)})
    graph = prefilter.neighbour_graph(pool, executor)
    assert graph.nnz <= 2 * 10 * 4 * len(pool)
    assert (np.diff(graph.indptr) > 0).all()
