"""Arrays as PNG images inside a page.

Source: Portable Network Graphics Specification, W3C; every line is stored without a filter.
"""

import base64
import struct
import zlib

import numpy as np

from ...serving.contract.tensors import Array

_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}


def data_uri(image: Array) -> str:
    """Return a `data:` address of an image.

    Args:
        image: uint8 `(height, width, channels)` of 1, 3 or 4 channels.
    """
    height, width, n_channels = image.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[n_channels], 0, 0, 0)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, -1)], axis=1).tobytes()
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")
    data = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in parts)
    return "data:image/png;base64," + base64.b64encode(data).decode()


def shown(image: Array, pixel_scale: float | None) -> Array:
    """Return an input's row as pixels.

    Args:
        image: `(height, width)` or `(height, width, channels)` of 1, 3 or 4 channels.
        pixel_scale: what pixels were divided by; where it is not known, the image's own range is spread.

    Returns:
        uint8 `(height, width, channels)`.
    """
    values = np.nan_to_num(image.astype(np.float64).reshape(*image.shape[:2], -1), posinf=0.0, neginf=0.0)
    if pixel_scale is not None:
        values = values * pixel_scale
    else:
        least, most = values.min(), values.max()
        values = (values - least) / (most - least or 1.0) * 255
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def is_image(shape: tuple[int, ...]) -> bool:
    """Return whether a row of this shape can be shown as an image."""
    return (len(shape) == 3 and shape[2] in _COLOUR_TYPES) or (len(shape) == 2 and min(shape) >= 8)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
