"""Keras; "usual" is tf2onnx 1.17, by Keras's own export. TensorFlow is imported by the first case that runs."""

import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from widedeep.export.libraries import import_keras
from widedeep.serving.contract.tensors import Array

from .case import Made, case
from .data import cancer, digits, halves


@cache
def keras() -> Any:
    """Return the library, seeded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TensorFlow about its own dependencies
        library = import_keras()
    library.utils.set_random_seed(0)
    return library


def trained(net: Any, rows: Any, labels: Array, loss: str = "sparse_categorical_crossentropy", epochs: int = 2) -> Made:
    net.compile(keras().optimizers.Adam(0.01), loss, jit_compile=False)
    net.fit(rows, labels, epochs=epochs, verbose=0)
    if isinstance(rows, dict):
        real, held_out = ({name: halves(array)[i] for name, array in rows.items()} for i in (0, 1))
    else:
        real, held_out = halves(rows)
    return Made(net, real, held_out, lambda arrays: net.predict(arrays, verbose=0))


def of_images(*layers: Any, shape: tuple[int, ...] = (8, 8, 1)) -> Any:
    """Return a sequential net of ten classes with these layers between an image and the last one."""
    last = keras().layers.Dense(10, activation="softmax")
    return keras().Sequential([keras().Input(shape), *layers, keras().layers.Flatten(), last])


def _on_digits(what: str, layers: Any, *, as_sequence: bool = False, slow: bool = True) -> None:
    @case("Keras", what, slow=slow)
    def make() -> Made:
        images, labels = digits()
        shape = (8, 8) if as_sequence else (8, 8, 1)
        return trained(of_images(*layers(keras().layers), shape=shape), images.reshape(-1, *shape) / 16, labels)


_on_digits("Sequential", lambda layers: [layers.Conv2D(4, 3, activation="relu")], slow=False)
_on_digits("exact gelu", lambda layers: [layers.Conv2D(4, 3, activation="gelu")])
_on_digits("LSTM", lambda layers: [layers.LSTM(8)], as_sequence=True)
_on_digits("GRU", lambda layers: [layers.GRU(8)], as_sequence=True)
_on_digits(
    "Conv1D and SeparableConv1D",
    lambda layers: [layers.Conv1D(8, 3), layers.SeparableConv1D(8, 3)],
    as_sequence=True,
)
_on_digits(
    "random flips and rotations",
    lambda layers: [layers.RandomFlip("horizontal"), layers.RandomRotation(0.1), layers.Conv2D(4, 3)],
)


@case("Keras", "separable convolutions, batch normalisation, residual connections")
def separable() -> Made:
    layers, (images, labels) = keras().layers, digits()
    image = keras().Input((8, 8, 1), name="image")
    stem = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.Rescaling(1 / 16)(image))
    x = layers.BatchNormalization(momentum=0.5)(layers.SeparableConv2D(8, 3, padding="same", use_bias=False)(stem))
    x = layers.GlobalAveragePooling2D()(layers.Add()([stem, layers.Dropout(0.2)(x)]))
    return trained(keras().Model(image, layers.Dense(10, activation="softmax")(x)), images, labels)


@case("Keras", "images as uint8", slow=True)
def integers() -> Made:
    layers, (images, labels) = keras().layers, digits()
    return trained(of_images(layers.Rescaling(1 / 16), layers.Conv2D(4, 3)), images.astype(np.uint8), labels)


@case("Keras", "several inputs", slow=True)
def two_inputs() -> Made:
    layers, (images, labels) = keras().layers, digits()
    image, sums = keras().Input((8, 8, 1), name="image"), keras().Input((8,), name="sums")
    x = layers.Concatenate()([layers.Flatten()(layers.Conv2D(4, 3)(image)), layers.Dense(4)(sums)])
    net = keras().Model([image, sums], layers.Dense(10, activation="softmax")(x))
    return trained(net, {"image": images / 16, "sums": images.sum(axis=(1, 3)) / 128}, labels)


@case("Keras", "subclassed", slow=True)
def subclassed() -> Made:
    library, (images, labels) = keras(), digits()

    class Net(library.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.convolution = library.layers.Conv2D(4, 3, activation="relu")
            self.last = library.layers.Dense(10, activation="softmax")

        def call(self, image: Any) -> Any:
            return self.last(library.ops.reshape(self.convolution(image), (-1, 6 * 6 * 4)))

    return trained(Net(), images / 16, labels)


@case("Keras", "adapted Normalization", slow=True)
def normalized() -> Made:
    layers, (rows, labels) = keras().layers, cancer()
    normalization = layers.Normalization()
    normalization.adapt(rows)
    net = keras().Sequential([keras().Input((10,)), normalization, layers.Dense(8, "relu"), layers.Dense(1, "sigmoid")])
    return trained(net, rows, labels, "binary_crossentropy")


@case("Keras", "attention", slow=True)
def attention() -> Made:
    layers, (images, labels) = keras().layers, digits()
    rows = keras().Input((8, 8))
    x = layers.LayerNormalization()(layers.Add()([rows, layers.MultiHeadAttention(2, 4)(rows, rows)]))
    x = layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling1D()(x))
    return trained(keras().Model(rows, x), images[..., 0] / 16, labels)


@case("Keras", "reloaded from .keras", slow=True)
def reloaded() -> Made:
    images, labels = digits()
    made = trained(of_images(keras().layers.Conv2D(4, 3)), images / 16, labels)
    with tempfile.TemporaryDirectory() as folder:
        made.model.save(Path(folder) / "net.keras")
        net = keras().saving.load_model(Path(folder) / "net.keras")
    return Made(net, made.rows, made.held_out, made.expected)


@case("Keras", "Discretization")
def buckets() -> Made:
    layers, (images, labels) = keras().layers, digits()
    bins = layers.Discretization(bin_boundaries=[4.0, 8.0, 12.0], output_mode="int")
    embedding = layers.Embedding(4, 2)
    return trained(of_images(bins, layers.Flatten(), embedding), images, labels)


@case("Keras", "logits, without a softmax")
def logits() -> Made:
    images, labels = digits()
    net = keras().Sequential([keras().Input((8, 8, 1)), keras().layers.Flatten(), keras().layers.Dense(10)])
    return trained(net, images / 16, labels, keras().losses.SparseCategoricalCrossentropy(from_logits=True))


def _application(name: str, size: int, n_rows: int, epochs: int) -> None:
    @case("Keras", name, slow=True)
    def make() -> Made:
        (images, labels), layers, each = digits(), keras().layers, -(-size // 8)
        pixels = images[:n_rows].repeat(3, -1).repeat(each, 1).repeat(each, 2)[:, :size, :size] * np.float32(15)
        body = getattr(keras().applications, name)(
            include_top=False, weights=None, input_shape=(size, size, 3), pooling="avg"
        )
        for layer in body._flatten_layers():
            if type(layer).__name__ == "BatchNormalization":
                layer.momentum = 0.7  # few steps must be enough for its statistics
        image = keras().Input((size, size, 3), name="image")
        scaled = image if name == "EfficientNetB0" else layers.Rescaling(1 / 127.5, -1)(image)
        net = keras().Model(image, layers.Dense(10, activation="softmax")(body(scaled)))
        loss = keras().losses.CategoricalCrossentropy(label_smoothing=0.2)
        net.compile(keras().optimizers.Adam(1e-3), loss, jit_compile=False)
        net.fit(pixels, np.eye(10)[labels[:n_rows]], epochs=epochs, batch_size=16, verbose=0)
        return Made(net, *halves(pixels), lambda arrays: net.predict(arrays, verbose=0), tolerance=1e-4)


_application("MobileNetV2", 32, 96, 10)
_application("EfficientNetB0", 32, 64, 8)
