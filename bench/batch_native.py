"""The models as they were trained over a Parquet file, with pandas, row batch by row batch.

python bench/batch_native.py BUNDLE MODELS INPUT OUTPUT

MODELS is a folder that `save` wrote: the same models on the same training rows as those of the bundle. Each library
uses the threads that it takes by itself.
"""

import argparse
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from batch_rows import Ensemble, Sink

ROWS = 1024

Predict = Callable[[np.ndarray], Any]


def save(models: Mapping[str, Any], folder: Path) -> None:
    """Write models to a folder, each in its library's own format."""
    import joblib

    folder.mkdir(parents=True)
    for name, model in models.items():
        kind = type(model).__module__.partition(".")[0]
        if kind == "keras":
            model.save(folder / f"{name}.keras")
        elif kind == "xgboost":
            model.save_model(folder / f"{name}.ubj")
        else:
            joblib.dump(model, folder / f"{name}.joblib")
    (folder / "complete.json").write_text(json.dumps(list(models)))


def load(folder: Path, name: str) -> Predict:
    """Return a model's function from rows to scores."""
    if (file := folder / f"{name}.keras").exists():
        import keras

        net = keras.saving.load_model(file)
        return net.predict_on_batch
    if (file := folder / f"{name}.ubj").exists():
        from xgboost import XGBClassifier

        trees = XGBClassifier()
        trees.load_model(file)
        trees.set_params(n_jobs=0)
        return trees.predict_proba
    import joblib

    model = joblib.load(folder / f"{name}.joblib")
    return model.predict_proba


def main() -> None:
    """Score a file."""
    import pyarrow.parquet as pq

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bundle", "models", "input", "output"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    ensemble = Ensemble(arguments.bundle)
    members = [(load(arguments.models, name), inputs) for name, (_, inputs) in ensemble.members.items()]
    arguments.output.mkdir()
    with pq.ParquetFile(arguments.input) as parquet, Sink(arguments.output / "part.parquet") as sink:
        for batch in parquet.iter_batches(ROWS, columns=ensemble.columns):
            frame = batch.to_pandas()
            arrays = ensemble.arrays_of_frame(frame)
            scores = [np.asarray(predict(arrays[inputs[0]]), np.float32) for predict, inputs in members]
            sink.write(ensemble.answer(batch.column("id"), ensemble.combined(scores)))


if __name__ == "__main__":
    main()
