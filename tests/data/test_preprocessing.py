"""Preprocessing: steps as a text and as a value, compared with Keras and TensorFlow."""

import importlib
import pkgutil
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import DataError, PlanError, UnknownName
from ckpttool.data.architectures import MODES, preprocessing_of
from ckpttool.data.preprocessing import Preprocessing, applied, shape_after
from ckpttool.data.preprocessing_steps import Bgr, Mean, OneHot, Resize, Scale, Standardize

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 9, 7, 3)).astype(np.uint8)


def made(text: str, rows: Any) -> Any:
    """Return the result of a text for rows of the given shape."""
    steps = Preprocessing.parse(text).steps
    result = applied(steps, rows.astype(np.float32))
    assert shape_after(steps, rows.shape[1:]) == result.shape[1:]
    return result


@pytest.mark.parametrize(
    ("text", "value", "written"),
    [
        ("scale(1/127.5, -1)", Preprocessing((Scale(1 / 127.5, -1.0),)), None),
        (
            "mean(123.68, 116.779, 103.939); bgr",
            Preprocessing((Mean((123.68, 116.779, 103.939)), Bgr())),
            "mean(123.68, 116.779, 103.939); bgr()",
        ),
        ("standardize(mean=[0.5, 1], std=2)", Preprocessing((Standardize((0.5, 1.0), 2.0),)), None),
        ("standardize(std=2)", Preprocessing((Standardize(0.0, 2.0),)), None),
        ("resize(224)", Preprocessing((Resize(224),)), None),
        ("resize(8, 9, 'area', 'center', True)", None, "resize(8, 9, method=area, crop=center, antialias=True)"),
        ("keras('tf')", preprocessing_of("Xception"), "keras(tf)"),
        ("none", preprocessing_of("EfficientNetB0"), None),
        ("images/age: one_hot(3)", Preprocessing((), (("images/age", (OneHot(3),)),)), None),
        ("bgr()\na: scale(2); bgr()\n b : none", None, "bgr(); a: scale(2); bgr(); b: none"),
    ],
)
def test_text_and_value_are_one(text: str, value: Preprocessing | None, written: str | None) -> None:
    read = Preprocessing.parse(text)
    assert value in (None, read)
    assert str(read) == (written or text)
    assert Preprocessing.parse(str(read)) == read


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("scal(1)", UnknownName, "column 1, at 'scal.1.': no step scal; known: none, scale.*nearest: scale"),
        ("keras(tff)", UnknownName, "no mode tff; nearest: tf, caffe"),
        ("resize(8, method=linear)", UnknownName, "no method linear; nearest: bilinear"),
        ("a: none; b: scale(0)", PlanError, "`preprocess` b, line 1, column 19, at '0': .* other than 0, found 0"),
        ("scale(1/0)", PlanError, "expected a finite number"),
        ("scale(1/2/3)", PlanError, "expected a number"),
        ("scale(__import__('os').getpid())", PlanError, "expected a number"),
        ("scale(2**9**9)", PlanError, "expected a number"),
        ("mean()", PlanError, "mean needs values"),
        ("x = bgr()", PlanError, "an input's name is followed by a colon: x: scale"),
        ("a: none; a: none", PlanError, "an input is named twice"),
        ("", PlanError, "expected a step such as scale"),
        ("one_hot(0)", PlanError, "classes must be a number of classes above 0, found 0"),
    ],
)
def test_what_is_no_step_is_refused_in_a_line(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        Preprocessing.parse(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_the_modes_of_keras_are_equal_to_the_bit(mode: str, layout: str) -> None:
    from keras.src.applications.imagenet_utils import preprocess_input

    rows = IMAGES if layout == "channels_last" else IMAGES.transpose(0, 3, 1, 2)
    expected = preprocess_input(rows.astype(np.float32), data_format=layout, mode=mode)
    np.testing.assert_array_equal(made(f"keras({mode})", rows), expected)


def test_the_table_of_architectures_has_all_of_keras_with_what_each_module_does() -> None:
    import keras

    known: dict[str, Any] = {}
    for module in pkgutil.iter_modules(keras.applications.__path__):
        found = importlib.import_module(f"keras.applications.{module.name}")
        prepare = found.preprocess_input
        known |= {name: prepare for name in dir(found) if name[0].isupper()}
    known |= {f"MobileNetV3{size}": keras.applications.mobilenet_v3.preprocess_input for size in ("Small", "Large")}
    assert MODES.keys() == known.keys()
    for name, prepare in known.items():
        text = str(preprocessing_of(name))
        np.testing.assert_array_equal(made(text, IMAGES), prepare(IMAGES.astype(np.float32)), err_msg=name)


def test_order_counts_and_fractions_scale() -> None:
    rows = IMAGES.astype(np.float32)
    np.testing.assert_array_equal(made("mean(3, 2, 1); bgr()", IMAGES), (rows - np.float32([3, 2, 1]))[..., ::-1])
    np.testing.assert_array_equal(made("bgr(); mean(3, 2, 1)", IMAGES), rows[..., ::-1] - np.float32([3, 2, 1]))
    np.testing.assert_allclose(made("scale(1/127.5, -1)", IMAGES), made("keras(tf)", IMAGES), atol=1e-6)
    torch = "scale(1/255); standardize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])"
    np.testing.assert_allclose(made(torch, IMAGES), made("keras(torch)", IMAGES), atol=1e-5)


def test_channels_are_found_last_or_first_and_columns_of_a_table_are_such() -> None:
    first = IMAGES.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(made("mean(3, 2, 1)", first), made("mean(3, 2, 1)", IMAGES).transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(made("bgr()", first), first[:, ::-1])
    table = np.array([[1.0, 10.0], [3.0, 30.0]])
    assert made("standardize(mean=[2, 20], std=[1, 10])", table).tolist() == [[-1, -1], [1, 1]]
    with pytest.raises(PlanError, match=r"mean\(3, 2, 1\) needs 3 channels.*rows are \[9, 7\]; `rgb\(\)` before it"):
        made("mean(3, 2, 1)", IMAGES[..., 0])


def test_gray_and_colour_become_one_another_as_tensorflow_makes_them() -> None:
    import tensorflow as tf

    grey = tf.image.rgb_to_grayscale(tf.cast(IMAGES, tf.float32)).numpy()
    np.testing.assert_allclose(made("grayscale()", IMAGES), grey, rtol=1e-6)
    np.testing.assert_array_equal(made("rgb()", IMAGES[..., :1]), np.repeat(IMAGES[..., :1], 3, -1))
    np.testing.assert_array_equal(made("rgb()", IMAGES[..., 0]), np.repeat(IMAGES[..., :1], 3, -1))
    np.testing.assert_array_equal(made("rgb()", IMAGES), IMAGES)
    with pytest.raises(PlanError, match=r"rgb\(\) needs images, but rows are \[9\]"):
        made("rgb()", IMAGES[:, :, 0, 0])


@pytest.mark.parametrize("size", [(5, 4), (20, 13), (9, 7)])
@pytest.mark.parametrize("method", ["bilinear", "nearest", "bicubic", "area", "lanczos3"])
@pytest.mark.parametrize("antialias", [False, True])
def test_images_are_resized_as_tensorflow_does(size: tuple[int, int], method: str, antialias: bool) -> None:
    import tensorflow as tf

    text = f"resize({size[0]}, {size[1]}, method={method}, antialias={antialias})"
    expected = tf.image.resize(IMAGES, size, method=method, antialias=antialias).numpy()
    np.testing.assert_allclose(made(text, IMAGES), expected, atol=2e-3)
    np.testing.assert_allclose(made(text, IMAGES[..., 1]), expected[..., 1], atol=2e-3)
    np.testing.assert_allclose(made(text, IMAGES.transpose(0, 3, 1, 2)), expected.transpose(0, 3, 1, 2), atol=2e-3)


@pytest.mark.parametrize("size", [(4, 4), (6, 2), (30, 31)])
def test_the_middle_of_an_image_is_kept_as_keras_does(size: tuple[int, int]) -> None:
    import keras

    expected = keras.preprocessing.image.smart_resize(IMAGES.astype(np.float32), size)
    np.testing.assert_allclose(made(f"resize{size}".replace(")", ", crop=center)"), IMAGES), expected, atol=2e-3)


def test_numbers_become_places_and_others_are_refused() -> None:
    assert made("one_hot(3)", np.array([[2], [0]])).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert made("one_hot(2)", np.array([[0, 1]])).tolist() == [[[1, 0], [0, 1]]]
    with pytest.raises(DataError, match=r"one_hot\(3\) found 3, expected whole numbers from 0 to 2"):
        made("one_hot(3)", np.array([1, 3]))


def test_steps_go_to_the_inputs_that_are_meant() -> None:
    def chosen(text: str, inputs: dict[str, bool], labels: str | None = None) -> dict[str, str]:
        found = Preprocessing.parse(text).of_inputs(inputs, labels)
        return {name: "; ".join(map(str, steps)) for name, steps in found.items()}

    assert chosen("bgr()", {"X": False}) == {"X": "bgr()"}
    assert chosen("bgr()", {"left": True, "age": False}) == {"left": "bgr()"}
    assert chosen("bgr(); age: none", {"in/left": True, "in/right": True, "in/age": False}) == {
        "in/left": "bgr()",
        "in/right": "bgr()",
        "in/age": "none",
    }
    assert chosen("y: one_hot(3)", {"X": True}, "y") == {"y": "one_hot(3)"}
    with pytest.raises(PlanError, match=r"bgr\(\): specify the input, one of a, b: 'a: bgr\(\)'"):
        chosen("bgr()", {"a": False, "b": False})
    with pytest.raises(PlanError, match=r"no input lef; nearest: left; known: left"):
        chosen("lef: none", {"left": True})
