"""What the usual converters make of every case of docs/export.md: right, wrong, refused, or not loadable.

Each case's trained model goes through onnxmltools, skl2onnx or Keras's own export with plain arguments, and its graph
through onnxruntime with default options. It is right if it answers as the model does on the rows and probes that
widedeep's own gate would use, or on the held-out rows where widedeep refuses the model.

    python bench/usual_converters.py [framework or case ...]
"""

import json
import logging
import os
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from export_cases import CASES, Made
from export_cases.table import USUAL, key, usual
from widedeep.export import ConversionError
from widedeep.export.batches import joined
from widedeep.export.convert import _converter
from widedeep.export.convert.claims import claim_of
from widedeep.export.convert.rows import Rows, read_rows
from widedeep.export.convert.trained import Wish
from widedeep.export.parity import gather
from widedeep.serving.contract.tensors import Array
from widedeep.serving.engine.runtime import ort


def main() -> None:
    """Print a line a case and the counts, and note them for the table."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    found: Counter[str] = Counter()
    known = usual() if USUAL.exists() else {}
    for case in CASES:
        if len(sys.argv) > 1 and not {case.framework, case.what} & set(sys.argv[1:]):
            continue
        made = case.make()
        try:
            path = converted(case.framework, made)
        except Exception as error:  # whatever class a converter chose
            verdict, why = "refused", f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"
        else:
            verdict, why = judged(path, made)
        found[verdict] += 1
        known[key(case)] = verdict
        print(f"{key(case)}: {verdict} {why[:140]}", flush=True)
    USUAL.write_text(json.dumps({key(case): known[key(case)] for case in CASES if key(case) in known}, indent=1) + "\n")
    print(dict(found))


def converted(framework: str, made: Made) -> Path:
    """Return the file that the usual converter writes."""
    path = Path(tempfile.mkdtemp()) / "model.onnx"
    if framework == "Keras":
        first = {k: v[:1] for k, v in made.rows.items()} if isinstance(made.rows, dict) else made.rows[:1]
        made.model(first)
        made.model.export(str(path), format="onnx", opset_version=17, verbose=False)
        return path
    if framework == "scikit-learn":
        import lightgbm
        import skl2onnx
        import xgboost
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
        from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes as shapes

        options = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
        skl2onnx.update_registered_converter(
            xgboost.XGBClassifier, "XGBClassifier", shapes, convert_xgboost, options=options
        )
        skl2onnx.update_registered_converter(
            lightgbm.LGBMClassifier, "LGBMClassifier", shapes, convert_lightgbm, options=options
        )
        zipmap = {"zipmap": False} if hasattr(made.model, "predict_proba") else None
        types = [(name, kind) for name, kind in _types(made.rows, "skl2onnx")]
        model = skl2onnx.convert_sklearn(
            made.model,
            initial_types=types,
            options=zipmap and {id(made.model): zipmap},
            target_opset={"": 17, "ai.onnx.ml": 3},
        )
    else:
        import onnxmltools

        write = onnxmltools.convert_xgboost if framework == "XGBoost" else onnxmltools.convert_lightgbm
        plain = {"zipmap": False} if framework == "LightGBM" else {}
        model = write(made.model, initial_types=_types(made.rows, "onnxmltools"), target_opset=15, **plain)
    path.write_bytes(model.SerializeToString())
    return path


def judged(path: Path, made: Made) -> tuple[str, str]:
    """Compare the file with the model."""
    try:
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes
        return "does not load", str(error)
    tables = [(made.held_out, np.asarray(made.expected(made.held_out), np.float64))]
    if (probed := _probed(made)) is not None:
        tables.append(probed)
    worst = 0.0
    for rows, expected in tables:
        try:
            answers = session.run(None, _fed(session, rows))
        except Exception as error:  # onnxruntime's own classes
            return "wrong", f"fails: {error}"
        shaped = [np.asarray(answer, np.float64) for answer in answers if np.asarray(answer).dtype.kind == "f"]
        if not shaped:
            return "wrong", "no output of floats"
        scores, wanted = _columns(shaped[-1]), _columns(expected)
        if scores.shape[1] != wanted.shape[1]:
            return "wrong", f"answers {scores.shape}, the model {wanted.shape}"
        difference = np.abs(scores - wanted) / np.maximum(1, np.abs(wanted))
        worst = max(worst, np.inf if np.isnan(difference).any() else float(difference.max()))
    return ("right" if worst <= made.tolerance else "wrong"), f"{worst:.2g}"


def _probed(made: Made) -> tuple[Any, Array] | None:
    """Return the gate's rows and probes in the form of the model, with its answers."""
    try:
        rows: Rows = read_rows(made.rows, input_name="tabular")
        trained = _converter(made.model).read(made.model, rows, Wish(task=made.options.get("task")))
        batches = list(gather(claim_of(trained)))
    except ConversionError:
        return None
    asked, scores = joined([batch.rows for batch in batches]), np.concatenate([batch.scores for batch in batches])
    if isinstance(made.rows, dict):
        return asked, scores
    return trained.rows.table(asked) if trained.rows.columns else next(iter(asked.values())), scores


def _types(rows: Any, library: str) -> list[tuple[str, Any]]:
    if library == "skl2onnx":
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
    else:
        from onnxmltools.convert.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
    if not hasattr(rows, "columns"):
        number = DoubleTensorType if rows.dtype == np.float64 and library == "skl2onnx" else FloatTensorType
        return [("x", number([None, rows.shape[1]]))]
    if library == "onnxmltools":
        return [("x", FloatTensorType([None, rows.shape[1]]))]
    kinds = {name: FloatTensorType if rows[name].dtype.kind == "f" else StringTensorType for name in rows.columns}
    return [(name, kind([None, 1])) for name, kind in kinds.items()]


def _fed(session: Any, rows: Any) -> dict[str, Array]:
    inputs = session.get_inputs()
    if isinstance(rows, dict):
        return {value.name: rows[value.name] for value in inputs}
    if len(inputs) > 1:
        return {value.name: _typed(rows[[value.name]].to_numpy(), value.type) for value in inputs}
    if hasattr(rows, "columns"):
        rows = rows.apply(lambda column: column.cat.codes if column.dtype.kind not in "fiu" else column).to_numpy()
    return {inputs[0].name: _typed(np.asarray(rows), inputs[0].type)}


def _typed(array: Array, kind: str) -> Array:
    return array.astype(
        {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(uint8)": np.uint8}.get(kind, object)
    )


def _columns(scores: Array) -> Array:
    """Return scores with two axes; those of two classes as the second one's."""
    flat = scores.reshape(len(scores), -1)
    return flat[:, 1:] if flat.shape[1] == 2 and np.allclose(flat.sum(axis=1), 1, atol=1e-3) else flat


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
