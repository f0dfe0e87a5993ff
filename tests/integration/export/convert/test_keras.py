"""One module, since TensorFlow takes seconds to import. Nets are small and trained for a few steps on real data."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from keras_nets import subclassed, trained
from widedeep.export.convert import convert
from widedeep.export.convert.rows import read_rows
from widedeep.export.convert.trained import Wish
from widedeep.export.member import ConversionError
from widedeep.serving.contract.tensors import Array

from .conftest import Data, Score


def _lgamma(x: Any) -> Any:
    import tensorflow as tf

    return tf.math.lgamma(x + 2)


def _twice_in_python(x: Any) -> Any:
    import tensorflow as tf

    return tf.ensure_shape(tf.py_function(lambda value: 2 * value, [x], tf.float32), [None, 4])


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


def test_what_acts_in_training_only_leaves_nothing_behind_and_statistics_inside_are_kept(
    keras: Any, images: Data, score: Score
) -> None:
    layers = keras.layers
    scale = layers.Normalization()
    scale.adapt(images[0].astype(np.float32))
    inner = keras.Sequential([keras.Input((None, None, 1)), scale, layers.Conv2D(8, 3, activation="gelu")])
    random = [layers.RandomFlip(), layers.RandomRotation(0.1), layers.GaussianNoise(0.1), layers.SpatialDropout2D(0.1)]
    last = [layers.Conv2D(8, 3, groups=2), layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")]
    net = trained(keras, keras.Sequential([keras.Input((None, None, 1)), *random, inner, *last]), *images)
    member = convert(net, images[0])
    assert member.inputs[0].shape == (-1, 8, 8, 1)
    np.testing.assert_allclose(score(member, {"tabular": images[0]}), net.predict(images[0], verbose=0), atol=1e-5)


def test_the_layer_in_which_a_corrupted_graph_parts_from_the_model_is_named(convolutional: Any, images: Data) -> None:
    read = import_module("widedeep.export.convert.keras").read
    model = read(convolutional, read_rows({"image": images[0]}, input_name="image"), Wish())
    graph = onnx.load_from_string(model.drafts[0]().data)
    row = {"image": images[0][:1]}
    assert model.locate(row, graph.SerializeToString()) is None
    pointwise = next(tensor for tensor in graph.graph.initializer if list(tensor.dims) == [8, 8, 1, 1])
    values = onnx.numpy_helper.to_array(pointwise).copy()
    values[3, 2] += 0.5
    pointwise.CopyFrom(onnx.numpy_helper.from_array(values, pointwise.name))
    name = next(layer.name for layer in convolutional.layers if type(layer).__name__ == "SeparableConv2D")
    assert model.locate(row, graph.SerializeToString()) == f"layer {name!r} (SeparableConv2D)"


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


def test_an_operation_that_onnx_lacks_is_refused_with_the_layer_it_comes_from(keras: Any, iris: Data) -> None:
    odd = keras.layers.Lambda(_lgamma, name="odd")
    net = keras.Sequential([keras.Input((4,)), odd, keras.layers.Dense(3, activation="softmax")])
    with pytest.raises(ConversionError, match=r"layer 'odd' \(Lambda\) uses Lgamma, which ONNX does not have"):
        convert(trained(keras, net, *iris), iris[0])


def test_python_code_is_refused_before_anything_is_exported(keras: Any, iris: Data) -> None:
    own = keras.layers.Lambda(_twice_in_python, output_shape=(4,), name="own")
    net = keras.Sequential([keras.Input((4,)), own, keras.layers.Dense(3, activation="softmax")])
    with pytest.raises(ConversionError, match=r"layer 'own' \(Lambda\) calls Python code"):
        convert(net, iris[0])


def test_layers_that_look_up_are_refused_by_name(keras: Any) -> None:
    layers = keras.layers
    number = keras.Input((1,), dtype="int64", name="number")
    known = layers.IntegerLookup(vocabulary=[1, 2, 3], output_mode="one_hot", name="known")(number)
    with pytest.raises(ConversionError, match=r"layer 'known' \(IntegerLookup\) looks values up"):
        convert(keras.Model(number, layers.Dense(2, activation="softmax")(known)), np.array([[1], [2]]))


def test_half_precision_is_refused_and_its_way_out_works(keras: Any, iris: Data) -> None:
    layers = [keras.layers.Dense(8, "relu", dtype="mixed_float16"), keras.layers.Dense(3, "softmax", dtype="float32")]
    model = trained(keras, keras.Sequential([keras.Input((4,)), *layers]), *iris)
    with pytest.raises(
        ConversionError, match=r"layer '.*' \(Dense\) computes in float16.* convert the model in"
    ) as error:
        convert(model, iris[0])
    told = str(error.value).partition("in float32: ")[2].split("; ")
    names: dict[str, Any] = {"keras": keras, "model": model}
    exec("\n".join(told), names)  # noqa: S102 - the message's own words must work
    assert convert(names["net"], iris[0]).n_outputs == 3


def test_outputs_that_are_no_table_are_refused(keras: Any, iris: Data) -> None:
    flower = keras.Input((4,), name="flower")
    x = keras.layers.Dense(3, activation="softmax")(flower)
    with pytest.raises(ConversionError, match="expected one output"):
        convert(keras.Model(flower, [x, x]), iris[0])


def test_a_subclassed_model_declares_no_inputs_and_takes_the_rows_given(keras: Any, iris: Data, score: Score) -> None:
    own = trained(keras, subclassed(keras, lambda self, x: self.last(self.first(x))), *iris)
    member = convert(own, iris[0])
    assert (member.inputs[0].name, member.task, member.n_outputs) == ("tabular", "classification", 3)
    np.testing.assert_allclose(score(member, {"tabular": iris[0]}), own.predict(iris[0], verbose=0), atol=1e-5)


@pytest.mark.parametrize("as_dict", [False, True])
def test_a_subclassed_model_takes_several_inputs_as_it_was_called(
    keras: Any, iris: Data, score: Score, as_dict: bool
) -> None:
    def call(self: Any, x: Any) -> Any:
        sepal, petal = (x["sepal"], x["petal"]) if as_dict else x
        return self.last(keras.ops.concatenate([self.first(sepal), petal], -1))

    rows: dict[str, Array] = {"sepal": iris[0][:, :1], "petal": iris[0][:, 1:]}
    given = rows if as_dict else list(rows.values())
    own = trained(keras, subclassed(keras, call), given, iris[1])
    member = convert(own, rows | {"other": iris[0]}, inputs=["sepal", "petal"])
    np.testing.assert_allclose(score(member, rows), own.predict(given, verbose=0), atol=1e-5)
    with pytest.raises(ConversionError, match="the rows hold 'sepal'"):
        convert(own, {"sepal": rows["sepal"]})


def test_a_model_that_draws_at_random_when_it_predicts_is_refused_by_its_layer(keras: Any, images: Data) -> None:
    flip = keras.layers.RandomFlip(name="flip")
    own = subclassed(keras, lambda self, x: self.last(self.first(keras.ops.reshape(flip(x), (-1, 64)))), flip)
    rows = images[0].astype(np.float32)
    with pytest.raises(
        ConversionError,
        match=r"layer 'flip' \(RandomFlip\) draws at random or changes its state .* when the model predicts",
    ):
        convert(trained(keras, own, rows, images[1] % 3), rows)


def test_a_model_that_was_never_called_is_refused(keras: Any, iris: Data) -> None:
    with pytest.raises(ConversionError, match="Own was never called, so that it has no weights; train it first"):
        convert(subclassed(keras, lambda self, x: self.last(x)), iris[0])


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


def test_a_number_below_the_one_hot_codes_has_no_place(keras: Any, score: Score) -> None:
    codes = np.random.default_rng(0).integers(0, 10, (200, 1))
    code = keras.Input((1,), dtype="int64", name="code")
    x = keras.layers.CategoryEncoding(10, output_mode="one_hot")(code)
    net = trained(
        keras,
        keras.Model(code, keras.layers.Dense(1, activation="sigmoid")(x)),
        codes,
        codes[:, 0] % 2,
        "binary_crossentropy",
    )
    unknown = np.array([[-1], [-10], [10]])
    member = convert(net, codes)
    np.testing.assert_allclose(score(member, {"code": unknown})[:, 1:], net.predict(unknown, verbose=0), atol=1e-6)
