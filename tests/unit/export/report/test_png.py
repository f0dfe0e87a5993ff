import base64
import io

import numpy as np
import pytest
from PIL import Image
from widedeep.export.report.png import data_uri, is_image, shown


@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_an_image_reads_back_as_it_was(n_channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, n_channels)).astype(np.uint8)

    kind, _, data = data_uri(image).partition(",")

    with Image.open(io.BytesIO(base64.b64decode(data))) as read:
        assert np.array_equal(np.asarray(read).reshape(image.shape), image)
    assert kind == "data:image/png;base64"


def test_pixels_are_scaled_as_the_input_says() -> None:
    image = np.array([[0.0, 0.5], [1.0, 2.0]], np.float32)

    assert shown(image, 255.0).ravel().tolist() == [0, 128, 255, 255]


def test_without_a_scale_the_own_range_is_spread() -> None:
    image = np.array([[-1.0, 0.0], [np.nan, 3.0]], np.float32)

    assert shown(image, None).ravel().tolist() == [0, 64, 64, 255]
    assert shown(np.zeros((2, 2), np.float32), None).max() == 0


def test_images_are_told_from_signals_and_columns() -> None:
    assert is_image((64, 64, 3))
    assert is_image((8, 8))
    assert not is_image((64, 64, 5))
    assert not is_image((100, 2))
    assert not is_image((30,))
