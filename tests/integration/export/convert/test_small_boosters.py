"""Boosters of all libraries: repeatable bytes, and the answers of another converter where that is known to be right."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnxmltools
import pytest
import small_boosters
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from widedeep.export.convert import convert
from widedeep.serving.engine.runtime import ort

from .conftest import Data, Score


def test_the_bytes_do_not_depend_on_how_python_hashes_strings() -> None:
    script = Path(small_boosters.__file__)
    told = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "3"}
    done = subprocess.run([sys.executable, script], check=True, capture_output=True, env={**os.environ, **told})
    assert json.loads(done.stdout.splitlines()[-1]) == small_boosters.digests()


MODELS = {
    "xgboost binary": (xgboost.XGBClassifier, {}),
    "xgboost classes": (xgboost.XGBClassifier, {}),
    "xgboost counts": (xgboost.XGBRegressor, {"objective": "count:poisson"}),
    "lightgbm binary": (lightgbm.LGBMClassifier, {"verbose": -1}),
    "lightgbm classes": (lightgbm.LGBMClassifier, {"verbose": -1}),
    "lightgbm dart": (lightgbm.LGBMRegressor, {"verbose": -1, "boosting_type": "dart"}),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of names that onnx has renamed
@pytest.mark.parametrize("name", MODELS)
def test_onnxmltools_gives_the_same_on_ordinary_rows(iris: Data, score: Score, name: str) -> None:
    kind, options = MODELS[name]
    rows = iris[0].astype(np.float32)
    model: Any = kind(n_estimators=8, max_depth=3, n_jobs=1, **options)
    model.fit(rows, (iris[1] > 0).astype(int) if "binary" in name else iris[1])
    declared = [("x", FloatTensorType([None, 4]))]
    options = {"zipmap": False} if name.startswith("lightgbm") else {}
    write = onnxmltools.convert_xgboost if name.startswith("xgboost") else onnxmltools.convert_lightgbm
    other = write(model, initial_types=declared, target_opset=15, **options)
    expected = ort.InferenceSession(other.SerializeToString()).run(None, {"x": rows})[-1]
    scored = score(convert(model, rows), {"tabular": rows})
    np.testing.assert_allclose(scored, np.asarray(expected).reshape(scored.shape), rtol=1e-5, atol=1e-6)
