from itertools import pairwise

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from widedeep.serving.batch.chunks import chunks
from widedeep.serving.batch.rows import Block, Place, Unread


def block(source: str, first: int, n: int) -> Block:
    batch = pa.record_batch({"row": list(range(first, first + n)), "source": [source] * n})
    return Block(batch, lambda row: Place(source, row=first + row))


@given(
    sizes=st.lists(st.one_of(st.integers(0, 9), st.just(-1)), max_size=12),
    rows=st.integers(1, 7),
)
def test_chunks_hold_all_rows_once_in_their_order_and_know_where_each_stands(sizes: list[int], rows: int) -> None:
    items: list[Block | Unread] = []
    expected: list[tuple[str, int]] = []
    for i, size in enumerate(sizes):
        source = f"file{i}"
        if size < 0:
            items.append(Unread(Place(source), "bad"))
        else:
            items.append(block(source, 10 * i, size))
            expected += [(source, 10 * i + row) for row in range(size)]
    made = list(chunks(items, rows))
    found: list[tuple[str, int]] = []
    for chunk in made:
        for row in range(0 if chunk.batch is None else chunk.batch.num_rows):
            values = chunk.batch.slice(row, 1).to_pylist()[0]
            assert chunk.place(row) == Place(values["source"], row=values["row"])
            found.append((values["source"], values["row"]))
    assert found == expected
    assert sum(len(chunk.unread) for chunk in made) == sizes.count(-1)
    assert sum(chunk.n_rows for chunk in made) == len(expected) + sizes.count(-1)


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 7))
def test_no_chunk_has_more_rows_than_asked_for_and_a_small_one_only_where_the_next_does_not_fit_in(
    sizes: list[int], rows: int
) -> None:
    made = [chunk.batch.num_rows for chunk in chunks((block("a", 0, size) for size in sizes), rows)]
    assert all(0 < n <= rows for n in made)
    assert all(2 * first >= rows or first + second > rows for first, second in pairwise(made))


def test_unread_rows_do_not_pile_up() -> None:
    made = list(chunks((Unread(Place("a", byte=i), "bad") for i in range(10)), 4))
    assert [len(chunk.unread) for chunk in made] == [4, 4, 2]


def test_a_block_that_is_cut_is_not_copied() -> None:
    one = block("a", 0, 8)
    first, second = chunks([one], 4)
    assert first.batch.column(0).buffers()[1].address == one.batch.column(0).buffers()[1].address
    assert second.batch.column(0).buffers()[1].address == one.batch.column(0).buffers()[1].address


def test_a_rest_is_not_put_together_with_what_would_be_a_chunk_alone() -> None:
    blocks = [block("a", 0, 170), block("a", 170, 3), block("b", 0, 84)]
    assert [chunk.batch.num_rows for chunk in chunks(blocks, 84)] == [56, 57, 57, 3, 84]


def test_many_small_blocks_become_few_chunks() -> None:
    assert [chunk.batch.num_rows for chunk in chunks((block("a", 0, 3) for _ in range(9)), 16)] == [9, 9, 9]


def test_dictionaries_of_several_blocks_become_one() -> None:
    blocks = [
        Block(pa.record_batch({"city": pa.array(values).dictionary_encode()}), lambda row: Place("a", row=row))
        for values in (["rome", "oslo"], ["bonn", None])
    ]
    (chunk,) = chunks(blocks, 10)
    assert chunk.batch.column("city").to_pylist() == ["rome", "oslo", "bonn", None]
