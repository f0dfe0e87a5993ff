"""From an encoded image to the numbers that a net takes: training's side and batch jobs share these very steps.

    file or bytes -> open_image -> decoded: uint8 (height, width, channels) -> scaled

Decoding, conversion between grey, RGB and RGBA, and resizing (bilinear) are Pillow's, which is imported only here and
only when an image comes. An orientation in EXIF is not applied; of several frames the first is taken.
"""

from typing import Any

import numpy as np

from .errors import ConfigurationError, InvalidInput
from .tensors import Array

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
"""What is decoded, as Pillow names it; its other decoders are never run."""

MAX_PIXELS = 1 << 26
"""Of one image before it is resized: a few compressed bytes can claim any size, and 2**26 take 256 MiB as RGBA."""

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_CHANNELS = {"1": 1, "L": 1, "RGB": 3, "P": 3, "CMYK": 3, "YCbCr": 3, "RGBA": 4, "LA": 4}


def open_image(file: Any) -> Any:
    """Return a `PIL.Image.Image` whose header is read, to be closed by the caller.

    Args:
        file: a path or a binary file.

    Raises:
        ConfigurationError: Pillow is not installed.
        InvalidInput: it is no image, or claims more than `MAX_PIXELS`; says so as what follows a name.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "images need Pillow, which is not installed: pip install 'widedeep[images]'"
        ) from error
    too_large = f"has more than the {MAX_PIXELS} pixels that an image may have"
    try:
        image = Image.open(file, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidInput(too_large) from error
    except Exception as error:  # a decoder's own
        raise InvalidInput(f"is no image: {error}") from error
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise InvalidInput(f"{too_large}: {image.height} x {image.width}")
    return image


def channels_of(image: Any) -> int:
    """Return how many channels of 8 bits an opened image has.

    Raises:
        InvalidInput: its pixels have more bits.
    """
    if image.mode not in _CHANNELS:
        raise InvalidInput(f"has pixels of mode {image.mode}; expected 8 bits a channel, or the values as an array")
    return _CHANNELS[image.mode]


def decoded(image: Any, height: int, width: int, channels: int) -> Array:
    """Return an opened image as uint8 `(height, width, channels)`, converted and resized where it differs.

    Args:
        image: from `open_image`.
        height: of the array.
        width: of the array.
        channels: 1, 3 or 4.

    Raises:
        InvalidInput: its pixels have more than 8 bits a channel, or its data is damaged.
    """
    from PIL import Image

    channels_of(image)
    try:
        plain = image.convert(_MODES[channels])
        if plain.size != (width, height):
            plain = plain.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(plain, np.uint8).reshape(height, width, channels)
    except Exception as error:  # a decoder's own
        raise InvalidInput(f"cannot be decoded: {type(error).__name__}: {error}") from error


def scaled(values: Array, dtype: Any, scale: float | None) -> Array:
    """Return values in another type, divided by `scale`: in that type, or in float64 for an integer one."""
    if scale is None:
        return values.astype(dtype, copy=False)
    computed = dtype if np.dtype(dtype).kind == "f" else "float64"
    divided = values.astype(computed)
    divided /= np.asarray(scale, computed)
    return divided.astype(dtype, copy=False)
