"""Random changes of images and signals while a net learns; the net itself, and so its graph, has none of them.

All of it is one gather a batch in numpy: measured, Keras's own augmentation layers take longer than the step they feed.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...serving.contract.tensors import Array
from .training import Float32Array

Moves = Literal["none", "shift", "shift and flip"]
MOVES: tuple[Moves, ...] = ("none", "shift", "shift and flip")

_SHIFT = 0.08
_TURN = 0.12
_ZOOM = 0.08
_BRIGHTNESS = 0.1
_HOLE = 0.25


@dataclass(frozen=True, slots=True)
class ImageAugmentation:
    """Changes of images `(height, width, channels)`.

    Attributes:
        moves: "shift" moves by up to 8 % of the side, turns by up to 0.12 rad and zooms by up to 8 %, bilinearly, with
            the edge repeated; "shift and flip" also mirrors left and right, which turns digits and letters into none.
        cutout: whether half of the images lose a square of a quarter of their side.
        mixup: parameter of the distribution by which two images and their targets are mixed; 0 for none.

    Source: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017; Zhang et
    al., mixup: Beyond Empirical Risk Minimization, 2018.
    """

    moves: Moves = "shift"
    cutout: bool = False
    mixup: float = 0.0

    def __call__(
        self, inputs: list[Array], learned: Float32Array, rng: np.random.Generator
    ) -> tuple[list[Array], Float32Array]:
        """Return a changed batch; what came is left as it was."""
        (images,) = inputs
        if self.moves != "none":
            images = moved(images, rng, flip=self.moves == "shift and flip")
            gain = 1 + rng.uniform(-_BRIGHTNESS, _BRIGHTNESS, (len(images), 1, 1, 1)).astype(np.float32)
            images = images * gain
        if self.cutout:
            images = with_holes(images, rng)
        return _mixed(images, learned, self.mixup, rng)


@dataclass(frozen=True, slots=True)
class SignalAugmentation:
    """Changes of signals `(steps, channels)`.

    Attributes:
        moves: whether they begin up to 8 % of their steps earlier or later, with the end repeated, are up to 10 %
            stronger or weaker, and get noise of 5 % of each signal's deviation.
        mixup: as for images.
    """

    moves: bool = True
    mixup: float = 0.0

    def __call__(
        self, inputs: list[Array], learned: Float32Array, rng: np.random.Generator
    ) -> tuple[list[Array], Float32Array]:
        """Return a changed batch; what came is left as it was."""
        (signals,) = inputs
        if self.moves:
            n_rows, n_steps, _ = signals.shape
            most = round(_SHIFT * n_steps)
            begin = rng.integers(-most, most + 1, (n_rows, 1))
            steps = np.clip(np.arange(n_steps) + begin, 0, n_steps - 1)
            signals = signals[np.arange(n_rows)[:, np.newaxis], steps]
            gain = 1 + rng.uniform(-_BRIGHTNESS, _BRIGHTNESS, (n_rows, 1, 1)).astype(np.float32)
            noise = rng.standard_normal(signals.shape, np.float32) * signals.std(axis=1, keepdims=True)
            signals = signals * gain + np.float32(_BRIGHTNESS / 2) * noise
        return _mixed(signals, learned, self.mixup, rng)


def moved(images: Array, rng: np.random.Generator, *, flip: bool) -> Array:
    """Return images `(n_rows, height, width, channels)`, each shifted, turned and zoomed by an amount of its own."""
    n_rows, height, width, _ = images.shape
    shift = rng.uniform(-_SHIFT, _SHIFT, (n_rows, 2)) * (height, width)
    turn, zoom = rng.uniform(-_TURN, _TURN, n_rows), 1 + rng.uniform(-_ZOOM, _ZOOM, n_rows)
    sign = np.where(rng.random(n_rows) < 0.5, -1.0, 1.0) if flip else np.ones(n_rows)
    down, right = (np.arange(side) - (side - 1) / 2 for side in (height, width))
    cos, sin = (zoom * f(turn) for f in (np.cos, np.sin))
    each = (slice(None), np.newaxis, np.newaxis)
    y = cos[each] * down[:, np.newaxis] + sin[each] * right + shift[:, 0][each] + (height - 1) / 2
    x = sign[each] * (cos[each] * right - sin[each] * down[:, np.newaxis]) + shift[:, 1][each] + (width - 1) / 2
    return _sampled(images, np.clip(y, 0, height - 1), np.clip(x, 0, width - 1))


def with_holes(images: Array, rng: np.random.Generator) -> Array:
    """Return images of which half have a square of their own mean in place of what was there."""
    n_rows, height, width, _ = images.shape
    tall, broad = max(1, round(_HOLE * height)), max(1, round(_HOLE * width))
    top, left = (rng.integers(0, side - size + 1, n_rows) for side, size in ((height, tall), (width, broad)))
    has_hole = np.asarray(rng.random(n_rows) < 0.5)
    down, right = np.arange(height) - top[:, np.newaxis], np.arange(width) - left[:, np.newaxis]
    in_rows = (down >= 0) & (down < tall) & has_hole[:, np.newaxis]
    in_columns = (right >= 0) & (right < broad)
    is_hole = in_rows[:, :, np.newaxis] & in_columns[:, np.newaxis]
    return np.where(is_hole[..., np.newaxis], images.mean(axis=(1, 2), keepdims=True), images)


def _sampled(images: Array, y: Array, x: Array) -> Array:
    """Return the bilinear interpolation of images at places `(n_rows, height, width)` inside them."""
    rows = np.arange(len(images))[:, np.newaxis, np.newaxis]
    top, left = y.astype(np.int64), x.astype(np.int64)
    bottom, right = np.minimum(top + 1, images.shape[1] - 1), np.minimum(left + 1, images.shape[2] - 1)
    down, across = ((at - floor).astype(np.float32)[..., np.newaxis] for at, floor in ((y, top), (x, left)))
    upper = images[rows, top, left] * (1 - across) + images[rows, top, right] * across
    lower = images[rows, bottom, left] * (1 - across) + images[rows, bottom, right] * across
    return np.asarray(upper * (1 - down) + lower * down)


def _mixed(
    rows: Array, learned: Float32Array, mixup: float, rng: np.random.Generator
) -> tuple[list[Array], Float32Array]:
    """Return rows and targets, each mixed with those of another row of the batch."""
    if mixup <= 0:
        return [rows], learned
    share = rng.beta(mixup, mixup, len(rows)).astype(np.float32)
    share = np.maximum(share, 1 - share)  # the row's own part is the larger one, so that its weight is the right one
    other = rng.permutation(len(rows))
    of_rows = share.reshape(-1, *(1,) * (rows.ndim - 1))
    mixed = rows * of_rows + rows[other] * (1 - of_rows)
    return [mixed], learned * share[:, np.newaxis] + learned[other] * (1 - share[:, np.newaxis])
