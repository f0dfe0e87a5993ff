"""SavedModels, written by Keras or by TensorFlow alone; a Keras model and its SavedModel give one graph."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_nets import trained
from widedeep.export.convert import convert
from widedeep.export.member import ConversionError

from .conftest import Data, Score


@pytest.fixture(scope="module")
def flowers(keras: Any, iris: Data) -> Any:
    """A trained classifier of iris with two inputs of one shape."""
    petal, sepal = keras.Input((2,), name="petal"), keras.Input((2,), name="sepal")
    x = keras.layers.Dense(8, activation="gelu")(keras.layers.Concatenate()([sepal, petal]))
    net = keras.Model([petal, sepal], keras.layers.Dense(3, activation="softmax")(x))
    return trained(keras, net, [iris[0][:, 2:], iris[0][:, :2]], iris[1])


def load(folder: Path) -> Any:
    import tensorflow as tf

    return tf.saved_model.load(str(folder))


def test_the_signature_that_keras_exports_is_converted_as_the_model_is(
    flowers: Any, iris: Data, score: Score, tmp_path: Path
) -> None:
    flowers.export(tmp_path / "flowers", verbose=False)
    rows = {"petal": iris[0][:, 2:].astype(np.float32), "sepal": iris[0][:, :2].astype(np.float32)}
    member = convert(load(tmp_path / "flowers"), rows)
    assert (member.source["framework"], member.source["class"]) == ("tensorflow", "SavedModel")
    assert (member.task, member.n_outputs) == ("classification", 3)
    assert member.graph == convert(flowers, rows).graph
    native = flowers.predict([rows["petal"], rows["sepal"]], verbose=0)
    np.testing.assert_allclose(score(member, rows), native, atol=1e-5)


def test_a_module_of_tensorflow_alone_is_converted_by_its_only_signature(
    keras: Any, diabetes: Data, score: Score, tmp_path: Path
) -> None:
    import tensorflow as tf

    weights, *_ = np.linalg.lstsq(diabetes[0], diabetes[1], rcond=None)
    module = tf.Module()
    module.weights = tf.Variable(weights.astype(np.float32)[:, np.newaxis])
    signature = tf.TensorSpec((None, 10), tf.float32, name="x")
    line = tf.function(lambda x: {"value": x @ module.weights}, input_signature=[signature])
    tf.saved_model.save(module, str(tmp_path), signatures={"line": line})
    member = convert(load(tmp_path), {"x": diabetes[0]})
    assert (member.task, member.inputs[0].name) == ("regression", "x")
    expected = (diabetes[0] @ weights)[:, np.newaxis]
    np.testing.assert_allclose(score(member, {"x": diabetes[0]}), expected, rtol=1e-4, atol=1e-3)  # FP32 against FP64


def test_one_without_a_signature_or_with_several_outputs_is_refused(keras: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(tmp_path / "none"))
    with pytest.raises(ConversionError, match="has no signatures"):
        convert(load(tmp_path / "none"), np.zeros((2, 3), np.float32))
    signature = tf.TensorSpec((None, 3), tf.float32, name="x")
    both = tf.function(lambda x: {"a": x + 1, "b": x * 2}, input_signature=[signature])
    tf.saved_model.save(tf.Module(), str(tmp_path / "two"), signatures=both)
    with pytest.raises(ConversionError, match=r"expected one output .*'a': \[None, 3\], 'b': \[None, 3\]"):
        convert(load(tmp_path / "two"), {"x": np.zeros((2, 3), np.float32)})
