"""Write the bundle that the wheel is tested with: two scikit-learn models of the iris data, exported and weighed.

Run where the extra `export` is installed: `python make_bundle.py PATH`.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from widedeep import export

FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")


def main(path: Path) -> None:
    """Train, export and combine the members into a bundle at `path`."""
    data = load_iris()
    rows = np.asarray(data.data, np.float32)
    species = data.target_names[data.target]
    models = {"linear": make_pipeline(StandardScaler(), LogisticRegression()), "bayes": GaussianNB()}
    scores = {
        name: cross_val_predict(model, rows, species, cv=5, method="predict_proba") for name, model in models.items()
    }
    members = {
        name: export.convert(model.fit(rows, species), rows, feature_names=FEATURES) for name, model in models.items()
    }
    export.build(path, name="iris", members=members, scores=scores, target=species, rows={"tabular": rows})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
