"""Nets that another process writes; those of export_cases that are large go this way too."""

import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from keras_nets import trained
from widedeep.export.convert import convert
from widedeep.export.member import ConversionError

from .conftest import Data

tensorflow_graph = import_module("widedeep.export.convert.tensorflow_graph")

_CONVERT = """
import hashlib, sys
import numpy as np
from widedeep.export.convert import convert
from widedeep.export.libraries import import_keras
net = import_keras().saving.load_model(sys.argv[1])
print(hashlib.sha256(convert(net, np.load(sys.argv[2])).graph).hexdigest())
"""


def refuse(*_: object) -> NoReturn:
    raise AssertionError("written in the caller's process")


@pytest.fixture(scope="module")
def mixed(keras: Any, images: Data) -> tuple[Any, Any]:
    """A small net of several kinds of layers with its rows: a convolution, attention, a recurrent layer."""
    layers = keras.layers
    rows = images[0][:100, ..., 0] / np.float32(16)
    x = keras.Input((8, 8), name="x")
    y = layers.Conv1D(6, 3, padding="same", activation="gelu")(x)
    y = layers.LSTM(4)(layers.Add()([y, layers.MultiHeadAttention(2, 3)(y, y)]))
    net = keras.Model(x, layers.Dense(10, activation="softmax")(y))
    return trained(keras, net, rows, images[1][:100]), rows


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(mixed: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    net, rows = mixed
    here = convert(net, rows).graph
    monkeypatch.setattr(tensorflow_graph, "IN_PROCESS_VALUES", 0)
    monkeypatch.setattr(tensorflow_graph.writer, "write", refuse)
    assert convert(net, rows).graph == here


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_processes_with_other_hash_seeds_write_the_same_bytes(mixed: tuple[Any, Any], tmp_path: Path) -> None:
    net, rows = mixed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numpy about Keras
        net.save(tmp_path / "net.keras")
    np.save(tmp_path / "rows.npy", rows)
    command = [sys.executable, "-c", _CONVERT, str(tmp_path / "net.keras"), str(tmp_path / "rows.npy")]
    digests = {
        subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_a_process_that_fails_is_a_conversion_error(keras: Any, iris: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    trained(keras, net, *iris)
    monkeypatch.setattr(tensorflow_graph, "IN_PROCESS_VALUES", 0)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ConversionError, match="its ONNX export failed: exit status 1"):
        convert(net, iris[0])
