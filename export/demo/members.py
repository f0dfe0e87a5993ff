"""The demo's members: a small separable-conv net, two boosted ensembles of trees and a linear model."""

from collections.abc import Callable, Mapping
from typing import Any

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ...serving.contract.tensors import Array
from ..libraries import import_keras
from ..out_of_fold import Recipe

EPOCHS = 20
_BATCH_ROWS = 32
_LEARNING_RATE = 1e-2
_FILTERS = 32
N_CLASSES = 10
_TREE_THREADS = 1
"""With so few rows threads mostly wait for each other: on two busy cores XGBoost took 0.7 s on one, 19-45 s on two."""


def recipes() -> tuple[Recipe, ...]:
    """Return the members in the order in which the combiner takes their scores."""
    return (
        Recipe("deep", _fit_net, lambda net, inputs: net.predict(inputs["image"], batch_size=512, verbose=0)),
        _on_columns("xgboost", _xgboost),
        _on_columns("lightgbm", _lightgbm),
        _on_columns("linear", _linear),
    )


def input_of(name: str) -> str:
    """Return the one input that a member takes."""
    return "image" if name == "deep" else "tabular"


def separable_net() -> Any:
    """Return an untrained Keras net from `image` to `probabilities`.

    The first layer is a full convolution: over one channel a depthwise filter would be a single 3x3 filter.
    """
    keras = import_keras()
    layers = keras.layers

    def convolved(x: Any, layer: Any) -> Any:
        return layers.Activation("relu")(layers.BatchNormalization()(layer(x)))

    image = keras.Input((8, 8, 1), name="image")
    stem = convolved(image, layers.Conv2D(_FILTERS, 3, padding="same", use_bias=False))
    x = convolved(stem, layers.SeparableConv2D(_FILTERS, 3, padding="same", use_bias=False))
    x = layers.MaxPooling2D()(layers.Add()([stem, x]))
    x = convolved(x, layers.SeparableConv2D(2 * _FILTERS, 3, padding="same", use_bias=False))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(N_CLASSES, activation="softmax", name="probabilities")(x))


def _fit_net(inputs: Mapping[str, Array], labels: Array, seed: int) -> Any:
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    net = separable_net()
    steps = EPOCHS * -(-len(labels) // _BATCH_ROWS)
    schedule = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)
    # Compiling the step with XLA takes longer than it saves here: measured 8.5 s against 3.5 s on 2 cores.
    net.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", jit_compile=False)
    net.fit(inputs["image"], labels, epochs=EPOCHS, batch_size=_BATCH_ROWS, verbose=0)
    return net


def _xgboost(seed: int) -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(
        n_estimators=100,
        max_depth=3,
        learning_rate=0.3,
        subsample=0.7,
        colsample_bytree=0.3,
        random_state=seed,
        n_jobs=_TREE_THREADS,
    )


def _lightgbm(seed: int) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(
        n_estimators=150,
        num_leaves=7,
        learning_rate=0.1,
        subsample=0.7,
        subsample_freq=1,
        colsample_bytree=0.3,
        random_state=seed,
        n_jobs=_TREE_THREADS,
        verbose=-1,
    )


def _linear(seed: int) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=1000, random_state=seed))


def _on_columns(name: str, make: Callable[[int], Any]) -> Recipe:
    return Recipe(
        name,
        lambda inputs, labels, seed: make(seed).fit(inputs["tabular"], labels),
        lambda model, inputs: model.predict_proba(inputs["tabular"]),
    )
