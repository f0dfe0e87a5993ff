import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batch_rows import Ensemble, Sink


def ensemble(folder, **combiner):
    described = {
        "inputs": [
            {"name": "image", "shape": [-1, 1, 2], "datatype": "FP32"},
            {"name": "tabular", "shape": [-1, 2], "datatype": "FP32", "feature_names": ["a", "b"]},
        ],
        "classes": ["no", "yes"],
        "combiner": {"kind": "linear_pool", "weights": [0.25, 0.75], "temperatures": None, **combiner},
        "members": [
            {"name": "deep", "file": "members/deep.onnx", "inputs": ["image"]},
            {"name": "wide", "file": "members/wide.onnx", "inputs": ["tabular"]},
        ],
    }
    (folder / "bundle.json").write_text(json.dumps(described))
    return Ensemble(folder)


BATCH = pa.record_batch(
    {
        "id": pa.array([7, 8]),
        "image": pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 3, 4], pa.float32()), 2),
        "a": pa.array([5, 6], pa.float32()),
        "b": pa.array([7, 8], pa.float32()),
    }
)


def test_lists_and_columns_become_the_inputs_from_arrow_and_from_pandas_alike(tmp_path):
    loop = ensemble(tmp_path)
    assert loop.columns == ["id", "image", "a", "b"]
    for arrays in (loop.arrays(BATCH), loop.arrays_of_frame(BATCH.to_pandas())):
        np.testing.assert_array_equal(arrays["image"], [[[1, 2]], [[3, 4]]])
        np.testing.assert_array_equal(arrays["tabular"], [[5, 7], [6, 8]])


def test_scores_are_combined_by_the_weights_and_written_with_the_label(tmp_path):
    loop = ensemble(tmp_path)
    combined = loop.combined([np.array([[1, 0], [0, 1]], np.float32), np.array([[0, 1], [1, 0]], np.float32)])
    with Sink(tmp_path / "out.parquet") as sink:
        sink.write(loop.answer(BATCH.column("id"), combined))
    assert pq.read_table(tmp_path / "out.parquet").to_pydict() == {
        "id": [7, 8],
        "probabilities": [[0.25, 0.75], [0.75, 0.25]],
        "label": ["yes", "no"],
    }


@pytest.mark.parametrize("other", [{"kind": "log_pool"}, {"temperatures": [1.0, 2.0]}, {"weights": [[0.5, 0.5]]}])
def test_bundles_that_combine_otherwise_are_refused(tmp_path, other):
    with pytest.raises(SystemExit, match="one weight a member"):
        ensemble(tmp_path, **other)
