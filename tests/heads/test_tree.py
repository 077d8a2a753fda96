"""Trees as data: every builder makes a valid tree of the shape it promises, and a tree that is none is refused."""

from __future__ import annotations

import heapq
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npsoftmax import options
from npsoftmax.errors import InputError
from npsoftmax.heads import ClassInfo, tree

counts = st.lists(st.integers(0, 50), min_size=2, max_size=60).map(np.array)


def built(kind, n, counts=None, coarse=None):
    return tree.build(kind, ClassInfo(n, counts, coarse))


def leaves_below(children, place):
    """The classes below a place, from left to right."""
    inner = len(children)
    if place >= inner:
        return [place - inner]
    left, right = children[place].tolist()
    return leaves_below(children, left) + leaves_below(children, right)


def assert_valid(children):
    """Each place but the root is a child once, parents before children, and each level is one run of node numbers."""
    n = len(children) + 1
    assert children.shape == (n - 1, 2)
    assert sorted(children.reshape(-1).tolist()) == list(range(1, 2 * n - 1))
    assert all(child > node for node, pair in enumerate(children.tolist()) for child in pair)
    assert sorted(leaves_below(children, 0)) == list(range(n))
    inner_children = children[children < n - 1]
    assert (np.diff(inner_children) == 1).all()


# ---------------------------------------------------------------- builders
@given(counts)
def test_every_builder_makes_a_valid_tree(counts):
    coarse = counts % 4
    for kind in tree.BUILDERS:
        assert_valid(built(kind, len(counts), counts, coarse))


@given(st.integers(2, 300))
def test_even_trees_have_depths_that_differ_by_one_at_most(n):
    for kind in ("balanced", "halving"):
        children = built(kind, n)
        assert set(tree.depths(children)) <= {math.floor(math.log2(n)), math.ceil(math.log2(n))}
        assert tree.levels(children) == tree.even_levels(n)


def test_the_balanced_tree_is_a_heap():
    children = built("balanced", 100)
    up = tree.uplinks(children)
    places = np.arange(1, 199)
    np.testing.assert_array_equal(up[places] // 2, (places - 1) // 2)  # leaf y is place y + 99
    assert up[0] == -1
    assert set(tree.depths(children)) == {6, 7}


def test_leaves_stand_in_the_order_of_the_superclasses():
    coarse = np.array([2, 0, 1, 0, 2, 1, 0, 1])
    np.testing.assert_array_equal(leaves_below(built("halving", 8, coarse=coarse), 0), [1, 3, 6, 2, 5, 7, 0, 4])
    np.testing.assert_array_equal(leaves_below(built("balanced", 8, coarse=coarse), 0), [1, 3, 6, 2, 5, 7, 0, 4])
    equal = np.ones(8, dtype=int)  # Huffman joins neighbours where all are equally frequent
    assert leaves_below(built("huffman", 8, equal, coarse), 0) == [1, 3, 6, 2, 5, 7, 0, 4]


def code_lengths(counts):
    """Huffman's algorithm with a heap; of equal counts, what was there first is joined first."""
    order = sorted(range(len(counts)), key=lambda c: (counts[c], c))
    queue = [(counts[c], rank, [c]) for rank, c in enumerate(order)]
    heapq.heapify(queue)
    length, serial = [0] * len(counts), len(counts)
    while len(queue) > 1:
        (a, _, left), (b, _, right) = heapq.heappop(queue), heapq.heappop(queue)
        for c in left + right:
            length[c] += 1
        heapq.heappush(queue, (a + b, serial, left + right))
        serial += 1
    return length


@given(counts)
def test_huffman_code_lengths(counts):
    lengths = tree.depths(built("huffman", len(counts), counts))
    assert lengths.tolist() == code_lengths(counts.tolist())
    assert sum(2.0**-length for length in lengths.tolist()) == 1


def test_huffman_on_counts_with_a_known_answer():
    lengths = tree.depths(built("huffman", 6, np.array([45, 13, 12, 16, 9, 5])))
    assert lengths.tolist() == [1, 3, 3, 3, 4, 4]


def test_huffman_of_powers_of_two_is_a_chain():
    lengths = tree.depths(built("huffman", 40, 2 ** np.arange(40)))
    assert lengths.tolist() == [39, *range(39, 0, -1)]


def test_the_same_counts_give_the_same_tree():
    counts = np.random.default_rng(0).integers(0, 5, 200)
    np.testing.assert_array_equal(built("huffman", 200, counts), built("huffman", 200, counts.copy()))


@pytest.mark.parametrize("kind", ["balanced", "halving"])
def test_a_tree_of_a_million_classes(kind):
    depths = tree.depths(built(kind, 1_000_000))
    assert depths.min() == 19
    assert depths.max() == 20
    assert 2.0 ** -depths.astype(float) @ np.ones(1_000_000) == 1


# ---------------------------------------------------------------- given by the user
@st.composite
def nested_trees(draw):
    nodes = [int(c) for c in draw(st.permutations(range(draw(st.integers(2, 20)))))]
    n = len(nodes)
    while len(nodes) > 1:
        i = draw(st.integers(0, len(nodes) - 2))
        nodes[i : i + 2] = [nodes[i : i + 2]]
    return n, nodes[0]


def nested(children, place=0):
    inner = len(children)
    return place - inner if place >= inner else [nested(children, c) for c in children[place].tolist()]


@given(nested_trees())
def test_a_nested_tree_and_back(case):
    n, given_tree = case
    children = tree.build(given_tree, ClassInfo(n))
    assert_valid(children)
    assert nested(children) == given_tree


def test_a_tree_from_a_json_file(tmp_path):
    path = tmp_path / "tree.json"
    path.write_text(json.dumps([[0, [3, 1]], 2]))
    assert nested(built(str(path), 4)) == [[0, [3, 1]], 2]


@given(counts, st.data())
def test_a_tree_is_cut_in_parts_whose_classes_stand_together(counts, data):
    children = built("huffman", len(counts), counts)
    number = data.draw(st.integers(1, len(counts)))
    group = tree.parts(children, number)
    together = group[leaves_below(children, 0)]
    assert together.tolist() == sorted(together.tolist())
    assert sorted(set(group.tolist())) == list(range(number))


def test_the_largest_part_is_cut_first():
    assert tree.parts(tree.build([[[0, 1], [2, 3]], [4, 5]], ClassInfo(6)), 3).tolist() == [0, 0, 1, 1, 2, 2]
    even = tree.parts(built("halving", 100), 32)
    assert set(np.bincount(even)) == {3, 4}


def test_a_list_of_groups_is_two_levels_and_a_tree_of_pairs_is_not():
    assert tree.groups_of([[0, 4], [2, 1, 3]], 5).tolist() == [0, 1, 1, 1, 0]
    assert tree.groups_of(((0,), (1, 2)), 3).tolist() == [0, 1, 1]
    for pairs in ([[0, 1], [2, 3]], [[0, 1], 2], [[0, [1, 2]], [3, 4]], "balanced", [0, 1], [[0, 1, 2]], {"a": 1}):
        assert tree.groups_of(pairs, 5) is None
    group = np.array([1, 0, 1, 2])
    np.testing.assert_array_equal(tree.groups_of(json.loads(tree.groups_to_json(group)), 4), group)
    with pytest.raises(InputError, match="class 1 2 times"):
        tree.groups_of([[0, 1, 1], [2, 3]], 4)
    with pytest.raises(InputError, match="the class 'cat'"):
        tree.groups_of([[0, "cat", 1], [2, 3]], 4)


def test_a_chain_deeper_than_the_interpreter_recurses(tmp_path):
    chain = 0
    for c in range(1, 5000):
        chain = (chain, c)
    children = built(chain, 5000)
    assert tree.depths(children).max() == 4999
    assert len(tree.to_text(children).splitlines()) == 9999


def test_a_run_keeps_what_is_in_a_file_and_of_a_large_one_where_it_is(tmp_path, monkeypatch):
    (tmp_path / "tree.json").write_text("[[0,\n 1], 2]")
    monkeypatch.chdir(tmp_path)
    assert options.written_out("tree.json") == "[[0, 1], 2]"
    np.testing.assert_array_equal(built("[[0, 1], 2]", 3), built([[0, 1], 2], 3))
    for other in ("balanced", "none.json", ((0, 1), 2), None):
        assert options.written_out(other) == other
    monkeypatch.setattr(options, "MOST_TEXT", 5)
    assert options.written_out("tree.json") == str(tmp_path / "tree.json")
    with pytest.raises(InputError, match="its text cannot be read as JSON"):
        built("[[0, 1], ", 3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([[0, 1], [2, 2]], "class 2 2 times"),
        ([[0, 1], 2], "class 3 0 times"),
        ([[0, 1, 3], 2], r"\[0, 1, 3\].*two children"),
        ([[0, 1], [2], 3], "two children"),
        ([[0, 1], [2, 4]], "class 4.*0 to 3"),
        ([[0, 1], [2, -1]], "class -1"),
        ([[0, 1], [2, "cat"]], "class 'cat'"),
        ([[0, 1], [2, 3.0]], "class 3.0"),
        ([[0, 1], [2, True]], "class True"),
        ((), r"node \(\)"),
    ],
)
def test_a_nested_tree_that_is_none(wrong, message):
    with pytest.raises(InputError, match=f"option tree.*{message}"):
        built(wrong, 4)


def test_names_and_files_that_are_no_trees(tmp_path):
    with pytest.raises(InputError, match=r"'hufman'.*'huffman'.*superclass"):
        built("hufman", 4)
    with pytest.raises(InputError, match=r"none\.json cannot be read"):
        built(str(tmp_path / "none.json"), 4)
    broken = tmp_path / "broken.json"
    broken.write_text("[[0, 1], ")
    with pytest.raises(InputError, match=r"broken\.json cannot be read as JSON"):
        built(str(broken), 4)
    with pytest.raises(InputError, match=r"huffman.*counts"):
        built("huffman", 4)


# ---------------------------------------------------------------- text
def test_a_tree_as_text():
    text = tree.to_text(tree.build([[0, 1], 2], ClassInfo(3)), ["cat", "dog", "ship"])
    assert text == "0\n├─ 1\n│  ├─ cat\n│  └─ dog\n└─ ship"
    assert tree.to_text(tree.build([1, 0], ClassInfo(2))) == "0\n├─ class 1\n└─ class 0"


def test_groups_as_text():
    text = tree.groups_to_text(np.array([1, 0, 1]), ["cat", "ship", "dog"], ["vehicles", "animals"])
    assert text == "vehicles\n└─ ship\nanimals\n├─ cat\n└─ dog"
