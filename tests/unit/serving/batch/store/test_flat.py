"""Lists laid flat."""

import pyarrow as pa
from widedeep.serving.batch.store.flat import ELEMENTS, flat_batch, flat_schema


def flattened(field: pa.Field, values: pa.Array) -> dict[str, list[object]]:
    batch = pa.record_batch([values], pa.schema([field]))
    flat = flat_batch(batch, flat_schema(batch.schema))
    return dict(flat.to_pydict())


def test_elements_are_named_by_the_columns_metadata_or_counted() -> None:
    datatype = pa.list_(pa.int8(), 2)
    values = pa.array([[1, 2], None, [3, None]], datatype)
    columns = [[1, None, 3], [2, None, None]]
    named = pa.field("x", datatype, metadata={ELEMENTS: b'["a", "b"]'})
    assert flattened(pa.field("x", datatype), values) == dict(zip(["x.0", "x.1"], columns, strict=True))
    assert flattened(named, values) == dict(zip(["x.a", "x.b"], columns, strict=True))


def test_names_of_another_number_than_the_elements_are_not_used() -> None:
    datatype = pa.list_(pa.int8(), 2)
    field = pa.field("x", datatype, metadata={ELEMENTS: b'["a"]'})
    assert list(flattened(field, pa.array([[1, 2]], datatype))) == ["x.0", "x.1"]


def test_slices_are_flattened_as_such() -> None:
    datatype = pa.list_(pa.int8(), 2)
    values = pa.array([[1, 2], [3, 4], [5, 6]], datatype).slice(1, 1)
    assert flattened(pa.field("x", datatype), values) == {"x.0": [3], "x.1": [4]}


def test_tensors_and_dictionaries_become_plain_values() -> None:
    tensors = pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.int8(), [2]), pa.array([[1, 2]], pa.list_(pa.int8(), 2))
    )
    assert flattened(pa.field("x", tensors.type), tensors) == {"x.0": [1], "x.1": [2]}
    words = pa.array(["a", None, "a"]).dictionary_encode()
    assert flattened(pa.field("x", words.type), words) == {"x": ["a", None, "a"]}
