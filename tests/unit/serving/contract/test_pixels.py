"""Steps from a file to pixels, on images that Pillow writes here."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image
from widedeep.serving.contract.errors import ConfigurationError, InvalidInput
from widedeep.serving.contract.pixels import MAX_PIXELS, decoded, open_image, scaled


def png_of(width: int, height: int) -> bytes:
    """Return a grey PNG file that claims a size and has no pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(MAX_PIXELS, 2), (1 << 13, (1 << 13) + 1), (1 << 15, 1 << 15)])
def test_an_image_that_claims_too_many_pixels_is_refused_before_it_is_decoded(width: int, height: int) -> None:
    with pytest.raises(InvalidInput, match="has more than the 67108864 pixels that an image may have"):
        open_image(io.BytesIO(png_of(width, height)))


def test_formats_beyond_the_known_ones_are_never_decoded() -> None:
    file = io.BytesIO()
    Image.new("L", (4, 4)).save(file, "PPM")
    with pytest.raises(InvalidInput, match="is no image"):
        open_image(file)


def test_without_pillow_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigurationError, match=r"images need Pillow, .* pip install 'widedeep\[images\]'"):
        open_image(io.BytesIO(png_of(1, 1)))


def test_an_orientation_in_exif_is_not_applied() -> None:
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    with open_image(file) as opened:
        assert opened.getexif()[0x0112] == 6
        np.testing.assert_array_equal(decoded(opened, 2, 3, 1)[..., 0], np.asarray(image))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_pixels_are_divided_in_the_type_that_they_become(dtype: type) -> None:
    pixels = np.arange(256, dtype=np.uint8)
    divided = scaled(pixels, dtype, 255.0)
    assert divided.dtype == dtype
    np.testing.assert_array_equal(divided, pixels.astype(dtype) / dtype(255))


def test_integers_are_divided_in_float64_and_cut_off() -> None:
    np.testing.assert_array_equal(scaled(np.array([0, 7, 255], np.uint8), "uint8", 2), [0, 3, 127])
