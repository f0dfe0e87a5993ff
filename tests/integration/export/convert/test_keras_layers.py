"""Every kind of layer that people commonly use, in a net really trained, judged by rows that the gate did not see."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from keras_nets import trained
from widedeep.export.convert import convert

from .conftest import Data, Score

Layers = Callable[[Any], list[Any]]

pytestmark = pytest.mark.slow

_ACTIVATIONS = [
    "celu",
    "elu",
    "exponential",
    "gelu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "squareplus",
    "tanh",
    "tanh_shrink",
]

_OF_IMAGES: dict[str, Layers] = {
    "BatchNormalization": lambda of: [of.Conv2D(4, 3), of.BatchNormalization(momentum=0.5)],
    "CenterCrop": lambda of: [of.CenterCrop(6, 6)],
    "Conv2D with strides": lambda of: [of.Conv2D(4, 3, padding="same", strides=2)],
    "Conv2D with dilation": lambda of: [of.Conv2D(4, 3, dilation_rate=2)],
    "Conv2D in groups": lambda of: [of.Conv2D(4, 3), of.Conv2D(4, 3, groups=2)],
    "Conv2DTranspose": lambda of: [of.Conv2DTranspose(4, 3, strides=2, padding="same")],
    "Conv3D": lambda of: [of.Reshape((4, 4, 4, 1)), of.Conv3D(3, 2), of.MaxPooling3D(2)],
    "ConvLSTM1D": lambda of: [of.ConvLSTM1D(3, 3)],
    "DepthwiseConv2D": lambda of: [of.Conv2D(4, 3), of.DepthwiseConv2D(3, depth_multiplier=2, strides=2)],
    "GroupNormalization": lambda of: [of.Conv2D(4, 3), of.GroupNormalization(2)],
    "LayerNormalization": lambda of: [of.Conv2D(4, 3), of.LayerNormalization()],
    "PReLU, LeakyReLU, ELU, ReLU": lambda of: [of.PReLU(), of.LeakyReLU(), of.ELU(), of.ReLU(0.9, 0.1, 0.2)],
    "RMSNormalization": lambda of: [of.Conv2D(4, 3), of.RMSNormalization()],
    "SeparableConv2D": lambda of: [of.SeparableConv2D(4, 3, padding="same", strides=2)],
    "SpectralNormalization": lambda of: [of.SpectralNormalization(of.Conv2D(4, 3))],
    "UnitNormalization": lambda of: [of.Conv2D(4, 3), of.UnitNormalization()],
    "UpSampling2D": lambda of: [of.UpSampling2D(2), of.UpSampling2D(2, interpolation="bilinear")],
    "ZeroPadding2D and Cropping2D": lambda of: [of.ZeroPadding2D(2), of.Cropping2D(1)],
    "average poolings": lambda of: [
        of.Conv2D(4, 3),
        of.AveragePooling2D(3, 2, padding="same"),
        of.GlobalAveragePooling2D(),
    ],
    "max poolings": lambda of: [of.Conv2D(4, 3), of.MaxPooling2D(3, 2, padding="same"), of.GlobalMaxPooling2D()],
    "noise": lambda of: [
        of.GaussianNoise(0.1),
        of.GaussianDropout(0.1),
        of.SpatialDropout2D(0.1),
        of.AlphaDropout(0.1),
    ],
    "random changes of images": lambda of: [
        of.RandomFlip(),
        of.RandomRotation(0.1),
        of.RandomZoom(0.1),
        of.RandomTranslation(0.1, 0.1),
        of.RandomContrast(0.1),
        of.RandomBrightness(0.1, value_range=(0, 1)),
    ],
}

_OF_SEQUENCES: dict[str, Layers] = {
    "Bidirectional GRU": lambda of: [of.Bidirectional(of.GRU(5, return_sequences=True), merge_mode="sum")],
    "Bidirectional LSTM": lambda of: [of.Bidirectional(of.LSTM(5))],
    "Conv1D": lambda of: [of.Conv1D(4, 3, padding="causal", dilation_rate=2), of.MaxPooling1D(2)],
    "Conv1DTranspose": lambda of: [of.Conv1DTranspose(4, 3, padding="same"), of.AveragePooling1D(2)],
    "Discretization": lambda of: [of.Discretization([0.2, 0.5, 0.8]), of.Embedding(4, 3)],
    "GRU": lambda of: [of.GRU(6), of.Dropout(0.2)],
    "LSTM": lambda of: [of.LSTM(6, return_sequences=True), of.LSTM(4, go_backwards=True)],
    "LSTM behind a mask": lambda of: [of.Masking(0.0), of.LSTM(5)],
    "LSTM unrolled": lambda of: [of.LSTM(5, unroll=True)],
    "RNN of cells": lambda of: [of.RNN([of.LSTMCell(5), of.GRUCell(4, reset_after=False)])],
    "SeparableConv1D": lambda of: [of.SeparableConv1D(4, 3), of.DepthwiseConv1D(3), of.GlobalMaxPooling1D()],
    "SimpleRNN": lambda of: [of.SimpleRNN(6)],
    "TimeDistributed": lambda of: [of.TimeDistributed(of.Dense(3)), of.GlobalAveragePooling1D()],
}


def check(keras: Any, score: Score, images: Data, *layers: Any, shape: tuple[int, ...]) -> None:
    """Train these layers in front of a last one on half of the digits; the graph must answer the other half alike."""
    rows = (images[0][:300] / np.float32(16)).reshape(-1, *shape)
    last = [keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    net = trained(keras, keras.Sequential([keras.Input(shape), *layers, *last]), rows[::2], images[1][:300:2], epochs=8)
    member = convert(net, rows[::2])
    native = net.predict(rows[1::2], verbose=0)
    assert np.ptp(native, axis=0).max() > 0.01
    np.testing.assert_allclose(score(member, {"tabular": rows[1::2]}), native, atol=1e-5)


@pytest.mark.parametrize("first", range(0, len(_ACTIVATIONS), 9))
def test_activations_are_converted(keras: Any, score: Score, images: Data, first: int) -> None:
    rows = images[0][:300].reshape(300, 64) / np.float32(16)
    x = keras.Input((64,), name="x")
    branches = [keras.layers.Dense(3, activation=name)(x) for name in _ACTIVATIONS[first : first + 9]]
    y = keras.layers.Dense(10, activation="softmax")(keras.layers.Concatenate()(branches))
    net = trained(keras, keras.Model(x, y), rows[::2], images[1][:300:2])
    member = convert(net, rows[::2])
    np.testing.assert_allclose(score(member, {"x": rows[1::2]}), net.predict(rows[1::2], verbose=0), atol=1e-5)


@pytest.mark.parametrize("what", _OF_IMAGES)
def test_layers_of_images_are_converted(keras: Any, score: Score, images: Data, what: str) -> None:
    check(keras, score, images, *_OF_IMAGES[what](keras.layers), shape=(8, 8, 1))


@pytest.mark.parametrize("what", _OF_SEQUENCES)
def test_layers_of_sequences_are_converted(keras: Any, score: Score, images: Data, what: str) -> None:
    check(keras, score, images, *_OF_SEQUENCES[what](keras.layers), shape=(8, 8))


@pytest.mark.parametrize("what", ["MultiHeadAttention", "GroupQueryAttention", "Attention", "AdditiveAttention"])
def test_attention_is_converted(keras: Any, score: Score, images: Data, what: str) -> None:
    layers = keras.layers
    rows = images[0][:300, ..., 0] / np.float32(16)
    x = keras.Input((8, 8), name="x")
    attend: dict[str, Callable[[], Any]] = {
        "MultiHeadAttention": lambda: layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True),
        "GroupQueryAttention": lambda: layers.GroupQueryAttention(4, 4, 2)(x, x),
        "Attention": lambda: layers.Attention(use_scale=True)([x, x]),
        "AdditiveAttention": lambda: layers.AdditiveAttention()([x, x]),
    }
    y = layers.LayerNormalization()(layers.Add()([x, attend[what]()]))
    y = layers.Concatenate()([layers.GlobalAveragePooling1D()(y), layers.GlobalMaxPooling1D()(y)])
    net = trained(keras, keras.Model(x, layers.Dense(10, activation="softmax")(y)), rows[::2], images[1][:300:2])
    member = convert(net, rows[::2])
    np.testing.assert_allclose(score(member, {"x": rows[1::2]}), net.predict(rows[1::2], verbose=0), atol=1e-5)


@pytest.mark.parametrize("after", ["Flatten", "GlobalAveragePooling1D", "LSTM"])
def test_words_as_numbers_are_embedded_and_masked(keras: Any, score: Score, images: Data, after: str) -> None:
    layers = keras.layers
    words = images[0][:200, 2:4].reshape(200, 16).astype(np.int32)
    body = {
        "Flatten": layers.Flatten,
        "GlobalAveragePooling1D": layers.GlobalAveragePooling1D,
        "LSTM": lambda: layers.LSTM(4),
    }
    net = keras.Sequential(
        [keras.Input((16,), dtype="int32", name="words"), layers.Embedding(17, 4, mask_zero=after != "Flatten")]
    )
    net.add(body[after]())
    net.add(layers.Dense(10, activation="softmax"))
    trained(keras, net, words, images[1][:200])
    member = convert(net, words)
    assert member.inputs[0].datatype == "INT32"
    np.testing.assert_allclose(score(member, {"words": words}), net.predict(words, verbose=0), atol=1e-5)
