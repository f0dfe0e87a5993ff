import numpy as np
import pytest
from widedeep.export.zoo.augmentation import ImageAugmentation, SignalAugmentation, moved, with_holes


def smooth(n_rows: int = 8, height: int = 24, width: int = 20) -> np.ndarray:
    """Images that rise to the right in one channel and down in the other."""
    down, right = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.repeat(np.stack([right, down], axis=-1)[np.newaxis], n_rows, axis=0)


def one_hot(n_rows: int) -> np.ndarray:
    return np.eye(2, dtype=np.float32)[np.arange(n_rows) % 2]


def test_moved_images_are_near_what_they_were() -> None:
    images = smooth()
    changed = moved(images, np.random.default_rng(0), flip=False)
    assert changed.dtype == np.float32
    assert changed.shape == images.shape
    inner = np.abs(changed - images)[:, 4:-4, 4:-4]
    assert 0.1 < inner.mean() < 4
    assert changed.min() >= 0
    assert changed.max() <= 23.001


def test_moved_rows_move_each_by_itself() -> None:
    changed = moved(smooth(2), np.random.default_rng(0), flip=False)
    assert np.abs(changed[0] - changed[1]).max() > 0.1


def test_flips_mirror_about_half_of_the_images() -> None:
    changed = moved(smooth(200), np.random.default_rng(0), flip=True)
    rises = changed[:, 12, -1, 0] > changed[:, 12, 0, 0]
    assert 60 < rises.sum() < 140


def test_nothing_is_mirrored_unless_it_may_be() -> None:
    changed = moved(smooth(200), np.random.default_rng(0), flip=False)
    assert (changed[:, 12, -1, 0] > changed[:, 12, 0, 0]).all()


def test_holes_cover_a_sixteenth_of_half_of_the_images() -> None:
    images = np.random.default_rng(1).random((400, 16, 16, 1), np.float32)
    changed = with_holes(images, np.random.default_rng(0))
    share = (changed != images).mean(axis=(1, 2, 3))
    assert set(np.round(share, 6)) == {0.0, 0.0625}
    assert 150 < (share > 0).sum() < 250


def test_mixed_targets_still_sum_to_one_and_are_mostly_the_rows_own() -> None:
    images, learned = smooth(8), one_hot(8)
    (changed,), targets = ImageAugmentation("none", mixup=0.4)([images], learned, np.random.default_rng(0))
    assert changed.dtype == np.float32
    assert targets.sum(axis=1) == pytest.approx(1)
    assert (targets.argmax(axis=1) == learned.argmax(axis=1)).all()
    assert (targets.max(axis=1) < 1).any()


def test_without_moves_cutout_and_mixup_nothing_changes() -> None:
    images, learned = smooth(), one_hot(8)
    (changed,), targets = ImageAugmentation("none")([images], learned, np.random.default_rng(0))
    assert np.array_equal(changed, images)
    assert np.array_equal(targets, learned)


def test_what_came_is_left_as_it_was() -> None:
    images = smooth()
    before = images.copy()
    ImageAugmentation("shift and flip", True, 0.4)([images], one_hot(8), np.random.default_rng(0))
    assert np.array_equal(images, before)


def test_signals_begin_earlier_or_later() -> None:
    signals = np.tile(np.arange(100, dtype=np.float32)[:, np.newaxis], (50, 1, 1))
    (changed,), _ = SignalAugmentation()([signals], one_hot(50), np.random.default_rng(0))
    assert changed.shape == signals.shape
    assert changed.dtype == np.float32
    begins = changed[:, 50, 0]
    assert begins.std() > 1
    assert abs(begins.mean() - 50) < 5


def test_signals_may_be_left_as_they_are() -> None:
    signals = np.random.default_rng(0).random((4, 9, 2), np.float32)
    (changed,), _ = SignalAugmentation(moves=False)([signals], one_hot(4), np.random.default_rng(0))
    assert np.array_equal(changed, signals)
