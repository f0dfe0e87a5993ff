"""The operator against a walk through the same trees in plain Python."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from widedeep.export.convert.graph import Graph
from widedeep.export.convert.trees import Tree, Trees, members_of, numbered
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec
from widedeep.serving.engine.runtime import ort

N_FEATURES = 3
CATEGORICAL = 2
"""The feature whose splits are categorical."""

LEAF = -1


def stump(
    threshold: float, *, missing_left: bool = False, categories: dict[int, tuple[int, ...]] | None = None
) -> Tree:
    return Tree(
        feature=np.array([1]),
        threshold=np.array([threshold]),
        left=np.array([LEAF]),
        right=np.array([LEAF - 1]),
        missing_left=np.array([missing_left]),
        leaf=np.array([10.0, 20.0]),
        categories=categories or {},
    )


def run(trees: Trees, features: Array) -> Array:
    graph = Graph()
    spec = TensorSpec("x", DataType.of(np.zeros(1, trees.dtype)), (-1, N_FEATURES))
    finished = graph.finish(trees.append(graph, graph.input(spec)), trees.n_targets)
    answer: Array = ort.InferenceSession(finished.data).run(None, {"x": features.astype(trees.dtype)})[0]
    return answer


def walk(trees: Trees, row: Array) -> Array:
    """Return the sums of the leaves that a row reaches."""
    sums = np.zeros(trees.n_targets)
    for tree in trees.trees:
        node = 0 if len(tree.feature) else LEAF
        while node >= 0:
            value = row[tree.feature[node]]
            if np.isnan(value):
                passes = bool(tree.missing_left[node])
            elif node in tree.categories:
                passes = value in tree.categories[node]
            else:
                passes = value < tree.threshold[node] if trees.mode == "<" else value <= tree.threshold[node]
            node = (tree.left if passes else tree.right)[node]
        sums[tree.target] += tree.leaf[LEAF - node]
    return sums


@st.composite
def grown(draw: st.DrawFn, target: int) -> Tree:
    """Draw a tree by splitting leaves; leaf values are whole numbers, so that any order of summing gives the same."""
    n_splits = draw(st.integers(0, 6))
    left, right, open_ends = [], [], []
    for split in range(n_splits):
        if open_ends:
            side, parent = open_ends.pop(draw(st.integers(0, len(open_ends) - 1)))
            side[parent] = split
        left.append(LEAF)
        right.append(LEAF)
        open_ends += [(left, split), (right, split)]
    n_leaves = 0
    for side in (left, right):
        for split, child in enumerate(side):
            if child == LEAF:
                side[split] = LEAF - n_leaves
                n_leaves += 1
    values = st.sampled_from([-1.5, 0.0, 0.1, 2.0, 7.0])
    feature = [draw(st.integers(0, N_FEATURES - 1)) for _ in range(n_splits)]
    categorical = {split for split in range(n_splits) if feature[split] == CATEGORICAL}
    members = st.lists(st.sampled_from([0, 1, 2, 7, 31, 32, 33, 70]), min_size=1, unique=True)
    return Tree(
        feature=np.array(feature, np.int64),
        threshold=np.array([draw(values) for _ in range(n_splits)]),
        left=np.array(left, np.int64),
        right=np.array(right, np.int64),
        missing_left=np.array(
            [split not in categorical and draw(st.booleans()) for split in range(n_splits)], np.bool_
        ),
        leaf=np.arange(1.0, max(1, n_leaves) + 1) * draw(st.integers(1, 9)),
        target=target,
        categories={split: tuple(draw(members)) for split in categorical},
    )


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(["<", "<="]), st.sampled_from([np.float32, np.float64]))
def test_the_operator_sends_every_row_where_a_walk_does(data: st.DataObject, mode: str, dtype: type) -> None:
    drawn = [data.draw(grown(target)) for target in (0, 1, 0, 1)]
    trees = Trees(
        [
            Tree(t.feature, t.threshold.astype(dtype), t.left, t.right, t.missing_left, t.leaf, t.target, t.categories)
            for t in drawn
        ],
        2,
        "<" if mode == "<" else "<=",
        dtype,
    )
    near = [np.nextafter(dtype(0.1), dtype(side)) for side in (-1, 1)]
    values = np.array([-1.5, 0, 0.1, *near, 2, 7, 31, 32, 70, 5, -3, np.nan], dtype)
    rng = np.random.default_rng(0)
    rows = rng.choice(values, (64, N_FEATURES))
    rows[:, CATEGORICAL] = rng.choice(np.array([-3, -1, 0, 1, 2, 5, 7, 31, 32, 33, 64, 70, 10**6]), 64)
    np.testing.assert_array_equal(run(trees, rows), [walk(trees, row) for row in rows])


@pytest.mark.parametrize(("mode", "at_the_threshold"), [("<", 20.0), ("<=", 10.0)])
def test_a_row_at_the_threshold_passes_as_the_mode_says(mode: str, at_the_threshold: float) -> None:
    trees = Trees([stump(0.1)], 1, "<" if mode == "<" else "<=", np.float64)
    below, above = np.nextafter(0.1, 0), np.nextafter(0.1, 1)
    rows = np.array([[0, below, 0], [0, 0.1, 0], [0, above, 0]])
    np.testing.assert_array_equal(run(trees, rows), [[10.0], [at_the_threshold], [20.0]])


def test_float64_thresholds_are_kept_to_the_last_bit() -> None:
    time_stamp = 1_700_000_000.123456
    trees = Trees([stump(time_stamp)], 1, "<=", np.float64)
    rows = np.array([[0, time_stamp, 0], [0, np.nextafter(time_stamp, np.inf), 0]])
    np.testing.assert_array_equal(run(trees, rows), [[10.0], [20.0]])


def test_missing_values_go_where_the_split_says() -> None:
    rows = np.array([[0, np.nan, 0]])
    np.testing.assert_array_equal(run(Trees([stump(0.1, missing_left=True)], 1, "<", np.float32), rows), [[10.0]])
    np.testing.assert_array_equal(run(Trees([stump(0.1)], 1, "<", np.float32), rows), [[20.0]])


def test_a_tree_without_splits_adds_its_leaf() -> None:
    empty = np.zeros(0, np.int64)
    bare = Tree(empty, np.zeros(0), empty, empty, np.zeros(0, np.bool_), np.array([3.0]))
    rows = np.array([[0, 0, 0], [0, 1, 0], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(run(Trees([bare], 1, "<", np.float32), rows), [[3.0]] * 3)
    np.testing.assert_array_equal(run(Trees([bare, stump(0.5)], 1, "<", np.float32), rows), [[13.0], [23.0], [23.0]])


@pytest.mark.parametrize(("mode", "dtype"), [("<", np.float32), ("<=", np.float64)])
def test_a_split_by_no_category_sends_all_numbers_right(mode: str, dtype: type) -> None:
    """onnxruntime refuses to load an empty set."""
    of_none = stump(0.0, categories={0: ()}, missing_left=True)
    trees = Trees([of_none, stump(0, categories={0: (3,)})], 1, "<" if mode == "<" else "<=", dtype)
    rows = np.array([[0, 0, 0], [0, 3, 0], [0, -1, 0], [0, np.nan, 0]])
    np.testing.assert_array_equal(run(trees, rows), [[40.0], [30.0], [40.0], [30.0]])


def test_a_set_of_thousands_of_categories_is_kept() -> None:
    members = tuple(range(0, 10_000, 2))
    trees = Trees([stump(0, categories={0: members})], 1, "<=", np.float64)
    codes = np.arange(10_010)
    rows = np.column_stack([codes, codes, codes])
    np.testing.assert_array_equal(run(trees, rows)[:, 0], np.where(np.isin(codes, members), 10.0, 20.0))


def test_categories_are_listed_by_feature() -> None:
    trees = Trees([stump(0.5), stump(0, categories={0: (7, 1)}), stump(0, categories={0: (1, 2)})], 1, "<", np.float32)
    assert [values.tolist() for values in trees.categories(N_FEATURES)] == [[], [1, 2, 7], []]


def test_sets_are_read_from_the_bits_of_words() -> None:
    assert members_of(np.array([0b1001, 0, 1 << 31], np.uint32)) == (0, 3, 95)


def test_thresholds_are_listed_by_feature_without_those_of_categorical_splits() -> None:
    trees = Trees([stump(0.5), stump(0.1), stump(0.5), stump(0, categories={0: (1, 2)})], 1, "<=", np.float64)
    assert [values.tolist() for values in trees.thresholds(N_FEATURES)] == [[], [0.1, 0.5], []]


def test_nodes_of_one_list_are_numbered_as_splits_and_leaves() -> None:
    assert numbered(np.array([False, True, False, True, True])).tolist() == [0, -1, 1, -2, -3]


def test_the_graph_imports_the_operator_set_that_has_the_operator() -> None:
    graph = Graph()
    spec = TensorSpec("x", DataType.FP32, (-1, N_FEATURES))
    finished = graph.finish(Trees([stump(0.1)], 1, "<", np.float32).append(graph, graph.input(spec)), 1)
    assert finished.opset == {"": 17, "ai.onnx.ml": 5}
    assert [n.op_type for n in onnx.load_from_string(finished.data).graph.node] == ["TreeEnsemble", "Cast"]
