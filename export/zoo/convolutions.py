"""A convolutional net for images or signals, the same in two dimensions and in one.

    rows -> standard units -> stem (a full convolution) -> blocks of separable convolutions -> mean -> scores

A separable convolution filters each channel alone and then mixes channels, which takes about 1 / kernel^rank of the
multiplications. Over the one channel of a grey image there is nothing to mix, hence the full convolution first.

Source: Chollet, Xception: Deep Learning with Depthwise Separable Convolutions, 2017; He et al., Deep Residual Learning
for Image Recognition, 2016; Ioffe and Szegedy, Batch Normalization, 2015.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..libraries import import_keras

_LARGE = 48
"""Side of an image, or a sixteenth of the steps of a signal, from which the stem halves it."""

_LEAST_SIDE = 6
"""Size below which no block halves any further."""

_MOST_WIDENED = 4
_MOMENTUM = 0.9
"""Of the running means of batch normalization: short trainings need quicker ones than the usual 0.99."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Standard units of each channel: values are served as they come, the net makes (value - mean) / deviation of them.

    Attributes:
        mean: of each channel.
        deviation: of each channel, never 0.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


def separable_net(
    shape: Sequence[int],
    n_outputs: int,
    *,
    depth: int,
    width: int,
    kernel: int,
    dropout: float,
    separable: bool = True,
    normalized: bool = True,
    residual: bool = True,
    is_classifier: bool = True,
    name: str = "image",
    scale: Scale | None = None,
) -> Any:
    """Return a Keras net of rows `(height, width, channels)` or `(steps, channels)`, not trained.

    Args:
        shape: of a row.
        n_outputs: classes, or 1 for a regression.
        depth: number of blocks, each of two convolutions; as long as the image is large enough every block halves it
            and doubles the channels, up to four times `width`.
        width: channels of the stem.
        kernel: side of the filters.
        dropout: share of features that are left out before the last layer in training.
        separable: depthwise separable convolutions, else full ones.
        normalized: batch normalization behind every convolution, else biases.
        residual: blocks add to what they are given, else they replace it.
        is_classifier: end in probabilities, else in a value.
        name: of the input.
        scale: of its values; None if they are in standard units.
    """
    keras = import_keras()
    build = _Builder(keras.layers, len(shape) - 1, kernel, separable, normalized, residual)
    given = keras.Input(tuple(shape), name=name)
    x = given
    if scale is not None:
        factors = [1.0 / deviation for deviation in scale.deviation]
        offsets = [-mean * factor for mean, factor in zip(scale.mean, factors, strict=True)]
        x = keras.layers.Rescaling(factors, offset=offsets)(x)
    x = build.stem(x, width)
    for i in range(depth):
        halves = min(x.shape[1:-1]) >= 2 * _LEAST_SIDE and i > 0
        wide = min(2 * x.shape[-1], _MOST_WIDENED * width) if halves else x.shape[-1]
        x = build.block(x, wide, 2 if halves else 1)
    x = getattr(keras.layers, f"GlobalAveragePooling{build.rank}D")()(x)
    x = keras.layers.Dropout(dropout)(x)
    activation = "softmax" if is_classifier else None
    return keras.Model(given, keras.layers.Dense(n_outputs, activation=activation)(x))


@dataclass(frozen=True, slots=True)
class _Builder:
    layers: Any
    rank: int
    kernel: int
    separable: bool
    normalized: bool
    residual: bool

    def stem(self, x: Any, width: int) -> Any:
        side = min(x.shape[1:-1]) if self.rank == 2 else x.shape[1] // 16
        return self._relu(self._normal(self._full(x, width, self.kernel, 2 if side >= _LARGE else 1)))

    def block(self, x: Any, width: int, stride: int) -> Any:
        """Return what two convolutions make of features, added to these."""
        inner = self._relu(self._normal(self._convolution(x, width, stride)))
        inner = self._normal(self._convolution(inner, width, 1))
        if not self.residual:
            return self._relu(inner)
        if stride != 1 or x.shape[-1] != width:
            x = self._normal(self._full(x, width, 1, stride))
        return self._relu(self.layers.Add()([x, inner]))

    def _convolution(self, x: Any, width: int, stride: int) -> Any:
        if not self.separable:
            return self._full(x, width, self.kernel, stride)
        # Keras's own default spreads a depthwise filter as if it summed over all channels; it sums over its own only.
        narrow = import_keras().initializers.RandomNormal(stddev=float(self.kernel**self.rank) ** -0.5)
        return getattr(self.layers, f"SeparableConv{self.rank}D")(
            width,
            self.kernel,
            strides=stride,
            padding="same",
            use_bias=not self.normalized,
            depthwise_initializer=narrow,
            pointwise_initializer="he_normal",
        )(x)

    def _full(self, x: Any, width: int, kernel: int, stride: int) -> Any:
        return getattr(self.layers, f"Conv{self.rank}D")(
            width,
            kernel,
            strides=stride,
            padding="same",
            use_bias=not self.normalized,
            kernel_initializer="he_normal",
        )(x)

    def _normal(self, x: Any) -> Any:
        return self.layers.BatchNormalization(momentum=_MOMENTUM)(x) if self.normalized else x

    def _relu(self, x: Any) -> Any:
        return self.layers.Activation("relu")(x)
