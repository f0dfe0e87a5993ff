"""Images come encoded, as files or as numbers; all become one array."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from widedeep.export.train.data_error import DataError
from widedeep.export.train.dataset import Dataset, read_dataset

N = 20
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 6, 5, 3), np.uint8)


def _png(pixels: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def _read(cells: Any, folder: Path, **options: Any) -> Dataset:
    pq.write_table(pa.table({"picture": cells, "y": ["a", "b"] * (N // 2)}), folder / "d.parquet")
    return read_dataset(folder / "d.parquet", target="y", image_column="picture", **options)


@pytest.mark.parametrize("form", ["bytes", "struct", "path"])
def test_encoded_images_become_numbers_from_0_to_1(tmp_path: Path, form: str) -> None:
    files = [_png(pixels) for pixels in PIXELS]
    cells: list[Any] = files if form == "bytes" else [{"bytes": file, "path": None} for file in files]
    if form == "path":
        (tmp_path / "images").mkdir()
        for i, file in enumerate(files):
            (tmp_path / "images" / f"{i}.png").write_bytes(file)
        cells = [f"images/{i}.png" for i in range(N)]
    data = _read(cells, tmp_path)
    assert dict(data.problem.arrays) == {"picture": (6, 5, 3)}
    assert data.rows.arrays["picture"].dtype == np.float32
    assert np.array_equal(data.rows.arrays["picture"], PIXELS.astype(np.float32) / np.float32(255))
    assert dict(data.pixel_scale) == {"picture": 255.0}


def test_images_of_several_sizes_need_one_to_be_resized_to(tmp_path: Path) -> None:
    files = [_png(PIXELS[0]), *[_png(pixels[:4]) for pixels in PIXELS[1:]]]
    with pytest.raises(DataError, match=r"2 sizes, from \[4, 5\] to \[6, 5\]"):
        _read(files, tmp_path)
    assert dict(_read(files, tmp_path, image_size=(8, 8)).problem.arrays) == {"picture": (8, 8, 3)}


def test_grey_images_get_the_channels_of_coloured_ones(tmp_path: Path) -> None:
    files = [_png(PIXELS[0][:, :, 0]), *[_png(pixels) for pixels in PIXELS[1:]]]
    assert dict(_read(files, tmp_path).problem.arrays) == {"picture": (6, 5, 3)}


def test_rows_without_an_image_are_left_out(tmp_path: Path) -> None:
    data = _read([None, None, *[_png(pixels) for pixels in PIXELS[2:]]], tmp_path)
    assert len(data.rows) == len(data.rows.arrays["picture"]) == N - 2
    assert "2 rows are left out" in data.notes[0]


@pytest.mark.parametrize(
    ("cell", "message"),
    [(b"no image at all", "row 3 is no image"), (_png(PIXELS[0])[:90], "row 3 cannot be decoded")],
)
def test_a_bad_image_is_named(tmp_path: Path, cell: bytes, message: str) -> None:
    files = [_png(pixels) for pixels in PIXELS]
    files[3] = cell
    with pytest.raises(DataError, match=message):
        _read(files, tmp_path)


@pytest.mark.parametrize("name", ["../x.png", "/etc/hosts", "none.png"])
def test_files_outside_or_not_there_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="row 0 names"):
        _read([name] * N, tmp_path)


def test_flat_pixels_take_a_square_or_the_size_that_is_said(tmp_path: Path) -> None:
    square = [pixels[:5].ravel().tolist() for pixels in PIXELS]
    data = _read(square, tmp_path)
    assert dict(data.problem.arrays) == {"picture": (5, 5, 3)}
    assert np.array_equal(data.rows.arrays["picture"], PIXELS[:, :5].astype(np.float32))
    oblong = [pixels.ravel().tolist() for pixels in PIXELS]
    assert dict(_read(oblong, tmp_path, image_size=(6, 5)).problem.arrays) == {"picture": (6, 5, 3)}
    with pytest.raises(DataError, match=r"shape \[90\]; expected \(height, width, channels\)"):
        _read(oblong, tmp_path)


def test_a_column_of_numbers_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds int64; expected images"):
        _read(list(range(N)), tmp_path)
