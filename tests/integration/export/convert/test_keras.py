"""One module, since TensorFlow takes seconds to import. Nets are small and trained for a few steps on real data."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from widedeep.export.convert import convert
from widedeep.export.member import ConversionError
from widedeep.serving.contract.tensors import Array

from .conftest import Data, Score


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TensorFlow about its own dependencies
        import keras
    keras.utils.set_random_seed(0)
    return keras


@pytest.fixture(scope="module")
def images() -> Data:
    """Digits as uint8 images `(600, 8, 8, 1)`."""
    data = load_digits()
    return data.images[:600, ..., np.newaxis].astype(np.uint8), data.target[:600]


def trained(keras: Any, net: Any, rows: Any, target: Array, loss: Any = "sparse_categorical_crossentropy") -> Any:
    net.compile(keras.optimizers.Adam(0.01), loss, jit_compile=False)
    net.fit(rows, target, epochs=2, verbose=0)
    return net


def dense(keras: Any, n_outputs: int, activation: str | None = "softmax", name: str | None = None) -> Any:
    """Return a net over the four columns of iris."""
    last = keras.layers.Dense(n_outputs, activation=activation)
    return keras.Sequential([keras.Input((4,), name=name), keras.layers.Dense(8, activation="relu"), last])


@pytest.fixture(scope="module")
def flowers(keras: Any, iris: Data) -> Any:
    """A trained classifier of iris with the input `flower`."""
    return trained(keras, dense(keras, 3, name="flower"), *iris)


@pytest.fixture(scope="module")
def convolutional(keras: Any, images: Data) -> Any:
    """The demo's shape in small: a convolution, a separable one, batch normalisation and a residual connection."""
    layers = keras.layers
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(layers.Rescaling(1 / 16)(image))
    stem = layers.Activation("relu")(layers.BatchNormalization()(x))
    x = layers.BatchNormalization()(layers.SeparableConv2D(8, 3, padding="same", use_bias=False)(stem))
    x = layers.MaxPooling2D()(layers.Add()([stem, layers.Dropout(0.2)(x)]))
    x = layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    return trained(keras, keras.Model(image, x), *images)


def test_a_convolutional_net_takes_images_in_their_own_type(convolutional: Any, images: Data, score: Score) -> None:
    member = convert(convolutional, {"image": images[0], "tabular": images[0].reshape(600, 64)})
    assert [(spec.name, spec.datatype, spec.shape) for spec in member.inputs] == [("image", "UINT8", (-1, 8, 8, 1))]
    assert (member.task, member.classes) == ("classification", tuple(range(10)))
    assert member.opset == {"": 17}
    expected = convolutional.predict(images[0], verbose=0)
    np.testing.assert_allclose(score(member, {"image": images[0]}), expected, atol=1e-5)


def test_exporting_twice_gives_the_same_bytes(convolutional: Any, images: Data) -> None:
    first, second = (convert(convolutional, {"image": images[0]}) for _ in range(2))
    assert first.graph == second.graph


def test_an_array_is_named_as_the_input_if_that_has_a_name_of_its_own(keras: Any, flowers: Any, iris: Data) -> None:
    assert convert(flowers, iris[0]).inputs[0].name == "flower"
    assert convert(trained(keras, dense(keras, 3), *iris), iris[0]).inputs[0].name == "tabular"


def test_float64_rows_are_cast_inside_the_graph(flowers: Any, iris: Data, score: Score) -> None:
    member = convert(flowers, iris[0], classes=["setosa", "versicolor", "virginica"])
    assert (member.inputs[0].datatype, member.classes[0]) == ("FP64", "setosa")
    np.testing.assert_allclose(score(member, {"flower": iris[0]}), flowers.predict(iris[0], verbose=0), atol=1e-5)


def test_missing_values_are_forbidden(flowers: Any, iris: Data) -> None:
    assert not convert(flowers, iris[0]).inputs[0].allow_nan


def test_a_single_sigmoid_becomes_two_columns_behind_an_adapted_normalization(
    keras: Any, cancer: Data, score: Score
) -> None:
    rows = cancer[0].astype(np.float32)
    scale = keras.layers.Normalization()
    scale.adapt(rows)
    cells = keras.Input((30,), name="cells")
    net = keras.Model(cells, keras.layers.Dense(1, activation="sigmoid")(scale(cells)))
    trained(keras, net, rows, cancer[1], "binary_crossentropy")
    mean = scale.mean
    member = convert(net, {"cells": rows}, classes=["bad", "good"])
    assert scale.mean is mean
    assert (member.n_outputs, member.classes) == (2, ("bad", "good"))
    positive = net.predict(rows, verbose=0)
    np.testing.assert_allclose(score(member, {"cells": rows}), np.hstack([1 - positive, positive]), atol=1e-5)


def test_a_regression_may_have_several_values(keras: Any, iris: Data, score: Score) -> None:
    net = trained(keras, dense(keras, 2, activation=None), iris[0], iris[0][:, :2], "mse")
    member = convert(net, iris[0])
    assert (member.task, member.n_outputs, member.classes) == ("regression", 2, ())
    expected = net.predict(iris[0], verbose=0)
    np.testing.assert_allclose(score(member, {"tabular": iris[0]}), expected, rtol=1e-5, atol=1e-5)


def test_the_only_output_may_have_a_name(keras: Any, iris: Data, score: Score) -> None:
    x = keras.Input((4,), name="flower")
    net = keras.Model(x, {"probabilities": keras.layers.Dense(3, activation="softmax")(x)})
    rows = iris[0].astype(np.float32)
    native = net.predict(rows, verbose=0)["probabilities"]
    np.testing.assert_allclose(score(convert(net, rows), {"flower": rows}), native, atol=1e-5)


@pytest.mark.parametrize("as_dict", [False, True])
def test_several_inputs_are_taken_by_name(keras: Any, iris: Data, score: Score, as_dict: bool) -> None:
    sepal, petal = keras.Input((2,), name="sepal"), keras.Input((2,), name="petal")
    joined = keras.layers.Concatenate()([keras.layers.Dense(5)(sepal), petal])
    taken = {"sepal": sepal, "petal": petal} if as_dict else [sepal, petal]
    net = keras.Model(taken, keras.layers.Dense(3, activation="softmax")(joined))
    rows: dict[str, Array] = {"petal": iris[0][:, 2:], "sepal": iris[0][:, :2]}
    given = rows if as_dict else [rows["sepal"], rows["petal"]]
    trained(keras, net, given, iris[1])
    member = convert(net, rows | {"other": iris[0]})
    assert {spec.name for spec in member.inputs} == {"sepal", "petal"}
    np.testing.assert_allclose(score(member, rows), net.predict(given, verbose=0), atol=1e-5)


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")  # Keras loading
def test_a_loaded_net_that_was_never_called_is_converted(keras: Any, flowers: Any, iris: Data, tmp_path: Path) -> None:
    flowers.save(tmp_path / "flowers.keras")
    loaded = keras.models.load_model(tmp_path / "flowers.keras")
    assert convert(loaded, iris[0]).graph == convert(flowers, iris[0]).graph


def test_logits_are_refused_with_the_way_out(keras: Any, iris: Data) -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net = trained(keras, dense(keras, 3, activation=None), *iris, loss)
    with pytest.raises(ConversionError, match=r"no probabilities.* end the model with a softmax"):
        convert(net, iris[0])
    ended = keras.Sequential([net, keras.layers.Softmax()])
    assert convert(ended, iris[0]).task == "classification"


def test_a_net_that_ignores_its_rows_is_refused(keras: Any, iris: Data) -> None:
    flower = keras.Input((4,), name="flower")
    net = keras.Model(flower, keras.layers.Dense(3, activation="softmax", kernel_initializer="zeros")(flower))
    with pytest.raises(ConversionError, match=r"vary by only 0 .* train the model first"):
        convert(net, iris[0])


def test_a_layer_that_onnx_cannot_express_is_named(keras: Any, iris: Data) -> None:
    layers = keras.layers
    net = keras.Sequential(
        [keras.Input((4,)), layers.Dense(8, activation="gelu"), layers.Dense(3, activation="softmax")]
    )
    with pytest.raises(ConversionError, match="ONNX has no Erfc; replace the layer"):
        convert(trained(keras, net, *iris), iris[0])


def test_layers_that_look_up_or_draw_at_random_are_refused_by_name(keras: Any, images: Data) -> None:
    layers = keras.layers
    number = keras.Input((1,), dtype="int64", name="number")
    known = layers.IntegerLookup(vocabulary=[1, 2, 3], output_mode="one_hot", name="known")(number)
    with pytest.raises(ConversionError, match="layer 'known' looks values up"):
        convert(keras.Model(number, layers.Dense(2, activation="softmax")(known)), np.array([[1], [2]]))
    flip = [
        keras.Input((8, 8, 1)),
        layers.RandomFlip(name="flip"),
        layers.Flatten(),
        layers.Dense(2, activation="softmax"),
    ]
    with pytest.raises(ConversionError, match="layer 'flip' draws at random"):
        convert(keras.Sequential(flip), images[0])


def test_outputs_that_are_no_table_are_refused(keras: Any, iris: Data) -> None:
    flower = keras.Input((4,), name="flower")
    x = keras.layers.Dense(3, activation="softmax")(flower)
    with pytest.raises(ConversionError, match="expected one output"):
        convert(keras.Model(flower, [x, x]), iris[0])


def test_a_model_without_declared_inputs_is_refused_and_can_be_wrapped(keras: Any, iris: Data) -> None:
    class Own(keras.Model):  # type: ignore[misc, name-defined]  # Keras publishes no types
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(3, activation="softmax")

        def call(self, x: Any) -> Any:
            return self.dense(x)

    own = trained(keras, Own(), *iris)
    with pytest.raises(ConversionError, match=r"Own declares no inputs; wrap it"):
        convert(own, iris[0])
    flower = keras.Input((4,), name="flower")
    member = convert(keras.Model(flower, own(flower)), iris[0])
    assert (member.task, member.n_outputs) == ("classification", 3)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"leaf": np.zeros((5, 4))}, "input is called 'flower', the rows hold 'leaf'"),
        ({"leaf": np.zeros((5, 4)), "root": np.zeros((5, 4))}, "takes an input 'flower', the rows hold 'leaf', 'root'"),
        (np.zeros((5, 3)), r"input 'flower' has shape \[None, 4\] in the model, \[-1, 3\] in rows"),
    ],
)
def test_rows_that_do_not_fit_are_refused(flowers: Any, rows: Any, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        convert(flowers, rows)


@pytest.mark.slow
def test_a_recurrent_net_is_converted(keras: Any, iris: Data) -> None:
    layers = keras.layers
    net = keras.Sequential([keras.Input((4, 1), name="s"), layers.GRU(4), layers.Dense(3, activation="softmax")])
    rows = iris[0][..., np.newaxis]
    assert convert(trained(keras, net, rows, iris[1]), rows).n_outputs == 3
