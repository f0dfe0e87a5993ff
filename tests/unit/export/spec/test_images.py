"""Image files, written and read with Pillow."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from widedeep.export.spec.images import Images, class_folders, files_by_class, files_by_name
from widedeep.export.spec.problems import Problem


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def ramp(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3), (4, 6, 4)])
def test_pixels_come_back_as_they_were(tmp_path: Path, shape: tuple[int, ...]) -> None:
    files = [write(tmp_path / f"{i}.png", ramp(*shape) + i) for i in range(3)]
    images = Images(files)
    assert (len(images), images.row_shape) == (3, (4, 6, *(shape[2:] or (1,))))
    np.testing.assert_array_equal(images[np.array([2, 0])].reshape(2, *shape), [ramp(*shape) + 2, ramp(*shape)])


def test_images_of_another_size_are_resized_only_if_a_size_is_given(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.png", ramp(4, 6)), write(tmp_path / "b.png", ramp(8, 12))]
    with pytest.raises(Problem, match=r"b\.png is of size \[8, 12\], a\.png of \[4, 6\]; say size = "):
        Images(files)[np.array([1])]
    assert Images(files, size=(5, 7))[np.arange(2)].shape == (2, 5, 7, 1)


def test_images_of_other_channels_are_converted_only_if_channels_are_given(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.png", ramp(4, 6)), write(tmp_path / "b.png", ramp(4, 6, 3))]
    with pytest.raises(Problem, match=r"b\.png has 3 channels, a\.png has 1; say channels = 1, 3 or 4"):
        Images(files)[np.array([1])]
    np.testing.assert_array_equal(Images(files, channels=3)[np.arange(2)][0], np.stack([ramp(4, 6)] * 3, axis=-1))


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(Problem, match=r"a\.png is no image"):
        Images([tmp_path / "a.png"])


def test_pixels_of_sixteen_bits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"a\.png has pixels of mode I;16; expected 8 bits a channel"):
        Images([write(tmp_path / "a.png", ramp(4, 6).astype(np.uint16))])


def test_folders_are_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("dog/2.png", "dog/1.png", "cat/3.png"):
        write(tmp_path / name, ramp(2, 2))
    (tmp_path / "empty").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    classes = class_folders(tmp_path)
    assert classes == ("cat", "dog")
    files, labels = files_by_class(tmp_path, classes)
    assert [str(file.relative_to(tmp_path)) for file in files] == ["cat/3.png", "dog/1.png", "dog/2.png"]
    assert labels == ["cat", "dog", "dog"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.png", r"row 1: .*none\.png does not exist"),
        ("../a.png", r"row 1 names the file '\.\./a\.png'; expected a path inside"),
        ("/etc/a.png", r"row 1 names the file '/etc/a\.png'; expected a path inside"),
        (3, r"row 1 names the file 3; expected a path inside"),
    ],
)
def test_a_named_file_must_be_inside_the_folder(tmp_path: Path, name: object, said: str) -> None:
    write(tmp_path / "a.png", ramp(2, 2))
    with pytest.raises(Problem, match=said):
        files_by_name(tmp_path, ["a.png", name])
