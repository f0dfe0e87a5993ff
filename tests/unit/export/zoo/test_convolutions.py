import numpy as np
import pytest
from widedeep.export.zoo.convolutions import Scale, separable_net

SMALL = {"depth": 2, "width": 4, "kernel": 3, "dropout": 0.1}


def layers(net: object, kind: str) -> int:
    return sum(type(layer).__name__ == kind for layer in net.layers)  # type: ignore[attr-defined]  # a Keras model


def test_an_image_net_begins_with_a_full_convolution_and_goes_on_with_separable_ones() -> None:
    net = separable_net((12, 12, 1), 3, **SMALL)
    kinds = [type(layer).__name__ for layer in net.layers if "Conv" in type(layer).__name__]
    assert kinds[0] == "Conv2D"
    assert kinds.count("SeparableConv2D") == 4
    assert net.output_shape == (None, 3)


def test_a_signal_net_is_the_same_in_one_dimension() -> None:
    net = separable_net((40, 2), 3, **SMALL)
    assert layers(net, "SeparableConv1D") == 4
    assert net.output_shape == (None, 3)


def test_full_convolutions_take_more_weights() -> None:
    separable = separable_net((12, 12, 3), 3, **SMALL | {"width": 16})
    full = separable_net((12, 12, 3), 3, **SMALL | {"width": 16}, separable=False)
    assert layers(full, "SeparableConv2D") == 0
    assert full.count_params() > 4 * separable.count_params()


def test_normalization_and_residual_connections_can_be_left_out() -> None:
    net = separable_net((12, 12, 3), 3, **SMALL, normalized=False, residual=False)
    assert layers(net, "BatchNormalization") == layers(net, "Add") == 0
    whole = separable_net((12, 12, 3), 3, **SMALL)
    assert layers(whole, "Add") == 2
    assert layers(whole, "BatchNormalization") > 4


@pytest.mark.parametrize("shape", [(3, 3, 1), (5, 64, 3), (64, 64, 3), (4, 1), (500, 3)])
def test_a_net_of_any_depth_fits_any_size(shape: tuple[int, ...]) -> None:
    net = separable_net(shape, 2, depth=6, width=4, kernel=5, dropout=0.0)
    scores = np.asarray(net(np.zeros((2, *shape), np.float32)))
    assert scores.sum(axis=1) == pytest.approx(1)


def test_values_come_as_they_are_and_are_brought_to_standard_units() -> None:
    net = separable_net((3, 1), 1, **SMALL, is_classifier=False, scale=Scale((50.0,), (10.0,)))
    rescaled = net.layers[1](np.full((1, 3, 1), 70.0, np.float32))
    assert np.asarray(rescaled).ravel() == pytest.approx(2.0)


def test_a_regression_ends_in_a_value() -> None:
    net = separable_net((12, 12, 1), 1, **SMALL, is_classifier=False)
    assert net.layers[-1].activation.__name__ == "linear"
