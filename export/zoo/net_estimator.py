"""Trained nets over one matrix of numbers as the last step of a scikit-learn pipeline."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from ...serving.contract.tensors import Array
from .training import predicted


class NetClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn publishes no types
    """A trained net whose answers are probabilities of the classes 0, 1, ...; `export.convert` takes it.

    Attributes:
        model_: the Keras model, of one float32 matrix `(n_rows, n_features)`.
        classes_: indices of the classes.
        n_features_in_: columns of the matrix.
    """

    def __init__(self, net: Any = None) -> None:
        self.net = net
        self.model_ = net
        self.classes_ = np.arange(int(net.output_shape[-1]) if net is not None else 0)
        self.n_features_in_ = int(net.input_shape[-1]) if net is not None else 0

    def fit(self, matrix: Array, target: Array) -> Any:
        """Refuse: the net comes trained."""
        raise NotImplementedError(f"{type(self).__name__} holds a net that is trained already; fit a Kind of the zoo")

    def __sklearn_is_fitted__(self) -> bool:
        return self.model_ is not None

    def predict_proba(self, matrix: Array) -> Array:
        """Return probabilities `(n_rows, n_classes)` float32."""
        return predicted(self.model_, [np.asarray(matrix, np.float32)])

    def predict(self, matrix: Array) -> Array:
        """Return the indices of the most probable classes `(n_rows,)`."""
        return np.asarray(self.classes_[self.predict_proba(matrix).argmax(axis=1)])


class NetRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn publishes no types
    """A trained net whose answers are values; `export.convert` takes it.

    Attributes:
        model_: the Keras model, of one float32 matrix `(n_rows, n_features)`.
        n_features_in_: columns of the matrix.
    """

    def __init__(self, net: Any = None) -> None:
        self.net = net
        self.model_ = net
        self.n_features_in_ = int(net.input_shape[-1]) if net is not None else 0

    def fit(self, matrix: Array, target: Array) -> Any:
        """Refuse: the net comes trained."""
        raise NotImplementedError(f"{type(self).__name__} holds a net that is trained already; fit a Kind of the zoo")

    def __sklearn_is_fitted__(self) -> bool:
        return self.model_ is not None

    def predict(self, matrix: Array) -> Array:
        """Return values `(n_rows,)` float32."""
        return predicted(self.model_, [np.asarray(matrix, np.float32)])[:, 0]
