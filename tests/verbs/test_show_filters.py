"""`show --filters`: the weights of a layer as pictures, according to the layout of the kernel."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.surgery.filters import Filters, convolution_filters, mosaic, shades
from ckpttool.training.callbacks.plot import Picture
from ckpttool.verbs.show_filters import Drawn, draw_filters

draw_numbers = np.random.default_rng(0)
WEIGHTS = {
    "hidden1/kernel": draw_numbers.normal(size=(16, 5)).astype(np.float32),
    "hidden1/kernel/Momentum": np.zeros((16, 5), np.float32),
    "hidden1/bias": np.zeros(5, np.float32),
    "norm/gamma": np.ones(5, np.float32),
}
"""A network of one dense layer on images of 4 x 4, with an optimizer's slot."""


@pytest.fixture
def drawn(tmp_path: Path) -> Callable[..., Drawn]:
    """Save weights and draw a layer of them."""

    def drawn(weights: dict[str, Any], name: str, suffix: str = ".ckpt", **more: Any) -> Drawn:
        path = tmp_path / f"model{suffix}"
        checkpoint.save(weights, path, overwrite=True)
        return draw_filters(path, name, Picture(tmp_path / "filters.png", overwrite=True), **more)

    return drawn


@pytest.mark.parametrize("name", ["hidden1", "hidden1/kernel"])
def test_each_unit_of_a_dense_layer_is_what_it_weighs_of_an_image(drawn: Callable[..., Drawn], name: str) -> None:
    done = drawn(WEIGHTS, name, most=3)
    assert done.path.read_bytes().startswith(b"\x89PNG")
    np.testing.assert_array_equal(done.filters.tiles[2, ..., 0], WEIGHTS["hidden1/kernel"][:, 2].reshape(4, 4))
    assert list(done.lines()) == [f"{done.path}: hidden1/kernel: 3 of 5 units, 4 x 4; 2 are not shown"]
    assert {name: done.row()[name] for name in ("units", "shown", "left_out", "tile")} == {
        "units": 5,
        "shown": 3,
        "left_out": 2,
        "tile": [4, 4, 1],
    }


def test_pytorch_has_outputs_and_channels_first(drawn: Callable[..., Drawn]) -> None:
    kernel = draw_numbers.normal(size=(2, 3, 5, 5)).astype(np.float32)
    dense = draw_numbers.normal(size=(2, 3 * 4 * 4)).astype(np.float32)
    found = drawn({"features.0.weight": kernel}, "features.0", ".safetensors").filters.tiles
    np.testing.assert_array_equal(found, kernel.transpose(0, 2, 3, 1))
    found = drawn({"fc.weight": dense}, "fc", ".safetensors", image_shape=(4, 4, 3)).filters.tiles
    np.testing.assert_array_equal(found[1], dense[1].reshape(3, 4, 4).transpose(1, 2, 0))


def test_filters_of_many_channels_are_their_mean_and_those_of_depthwise_ones_are_not() -> None:
    kernel = draw_numbers.normal(size=(3, 3, 8, 4))
    np.testing.assert_allclose(convolution_filters(kernel, False, 9).tiles[1, ..., 0], kernel[..., 1].mean(axis=2))
    each = convolution_filters(kernel, True, 9)
    assert (len(each.tiles), each.left_out) == (9, 23)
    np.testing.assert_array_equal(each.tiles[5, ..., 0], kernel[:, :, 1, 1])


def test_a_convolution_over_a_series_has_its_channels_as_rows(drawn: Callable[..., Drawn]) -> None:
    kernel = draw_numbers.normal(size=(7, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(drawn({"conv/kernel": kernel}, "conv").filters.tiles[2, ..., 0], kernel[..., 2].T)


def test_zero_is_the_same_grey_in_all_pictures_and_each_has_its_own_scale() -> None:
    colours = shades(np.array([[0.0, 1.0], [-100.0, 0.0]]).reshape(2, 1, 2, 1))
    assert colours[..., 0].tolist() == [[[128, 255]], [[0, 128]]]
    sheet = mosaic(colours, columns=1, gap=2)
    assert sheet[..., 0].tolist() == [[128, 255], [255, 255], [255, 255], [0, 128]]


def test_a_layer_of_zeros_is_grey() -> None:
    assert set(shades(Filters(np.zeros((2, 3, 3, 1)), 2, "units").tiles).ravel()) == {128}


def test_the_rows_of_a_model_say_what_is_an_image(tmp_path: Path) -> None:
    """As for a Keras file, whose network is not built for it."""
    import keras

    inputs = keras.Input((2, 8, 1))
    hidden = keras.layers.Dense(9, name="hidden1")(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, name="outputs")(hidden))
    model.save(tmp_path / "model.keras")
    picture = Picture(tmp_path / "filters.svg", overwrite=False)
    found = draw_filters(tmp_path / "model.keras", "hidden1", picture).filters.tiles
    kernel = model.get_layer("hidden1").kernel.numpy()
    np.testing.assert_array_equal(found[8, ..., 0], kernel[:, 8].reshape(2, 8))
    with pytest.raises(PlanError, match=r"outputs/kernel has 9 inputs, and rows of the model are \[2, 8, 1\]"):
        draw_filters(tmp_path / "model.keras", "outputs", picture)
    assert draw_filters(tmp_path / "model.keras", "outputs", picture, image_shape=(3, 3)).filters.units == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hidden1/bias", r"hidden1/bias has no kernel to draw: found hidden1/bias \[5\]"),
        ("norm", r"norm has no kernel to draw: found norm/gamma \[5\]"),
        ("flat", r"flat/kernel has 7 inputs, which are not a square image; `image_shape` HEIGHT,WIDTH,CHANNELS"),
        ("upper", r"upper/kernel has 25 inputs, which wide/kernel may give, and no image; `image_shape`"),
        ("one", r"one/kernel \[1, 1, 4, 4\] is not a picture"),
        ("lstm", r"lstm has 2 kernels, expected one: lstm/a, lstm/b"),
    ],
)
def test_what_is_no_picture_is_refused(drawn: Callable[..., Drawn], name: str, message: str) -> None:
    shapes = {"flat/kernel": (7, 5), "wide/kernel": (4, 25), "upper/kernel": (25, 2), "one/kernel": (1, 1, 4, 4)}
    shapes |= {"lstm/a": (2, 2), "lstm/b": (2, 2)}
    weights = {**WEIGHTS, **{name: np.zeros(shape, np.float32) for name, shape in shapes.items()}}
    with pytest.raises(PlanError, match=message):
        drawn(weights, name)


def test_names_and_shapes_that_are_wrong(drawn: Callable[..., Drawn]) -> None:
    with pytest.raises(UnknownName, match="no layer or tensor named hiden1; nearest: hidden1"):
        drawn(WEIGHTS, "hiden1")
    with pytest.raises(CkptError, match="hidden1/kernel has 16 inputs, `image_shape` 5,5 is of 25"):
        drawn(WEIGHTS, "hidden1", image_shape=(5, 5))
