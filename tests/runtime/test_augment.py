"""Augmentation: exact cases compared with NumPy and `tf.image`, random numbers, and rejected options."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import CkptError
from ckpttool.runtime.augmenter import Augmenter

GREY, COLOUR = (6, 8, 1), (6, 8, 3)
EVERYTHING = (
    "shift(0.1); rotate(15); scale(0.9, 1.1); flip(); crop(5, 6); "
    "brightness(0.2); contrast(0.8, 1.2); saturation(0.8, 1.2); hue(0.05)"
)


def images(shape: tuple[int, int, int], count: int = 4) -> Any:
    return np.random.default_rng(3).random((count, *shape), np.float32)


def applied(text: str, rows: Any, draws: Sequence[float], shape: tuple[int, int, int] = GREY) -> Any:
    """Rows with the same random numbers: 0 is the low end of a range, 1 the high one, 0.5 the middle."""
    import tensorflow as tf

    table = tf.constant([list(draws)] * len(rows), tf.float32)
    return Augmenter.parse(text, shape).apply(tf.constant(rows), table).numpy()


def augmented(text: str, rows: Any, seed: Sequence[int] = (7, 1), shape: tuple[int, int, int] = GREY) -> Any:
    import tensorflow as tf

    call = tf.function(Augmenter.parse(text, shape), autograph=False)
    return call(tf.constant(rows), tf.constant(seed)).numpy()


def test_a_shift_by_whole_pixels_repeats_the_edge() -> None:
    x = images(GREY)
    right_and_down = np.pad(x, ((0, 0), (3, 0), (2, 0), (0, 0)), "edge")[:, :6, :8]
    np.testing.assert_allclose(applied("shift(0.25, 0.5)", x, [1, 1]), right_and_down, atol=1e-6)
    left = np.pad(x, ((0, 0), (0, 0), (0, 2), (0, 0)), "edge")[:, :, 2:]
    np.testing.assert_allclose(applied("shift(0.25, 0)", x, [0, 0]), left, atol=1e-6)


@pytest.mark.parametrize(("draw", "turns"), [(1.0, 1), (0.0, -1)])
def test_a_quarter_turn_is_numpys(draw: float, turns: int) -> None:
    x = images((6, 6, 2))
    found = applied("rotate(90)", x, [draw], (6, 6, 2))
    np.testing.assert_allclose(found, np.rot90(x, turns, (1, 2)), atol=1e-5)


@pytest.mark.parametrize(
    ("draws", "axes"), [([0.2, 0.2], (1, 2)), ([0.2, 0.7], (2,)), ([0.7, 0.2], (1,)), ([0.7, 0.7], ())]
)
def test_flips_are_exact(draws: list[float], axes: tuple[int, ...]) -> None:
    x = images(COLOUR)
    np.testing.assert_array_equal(applied("flip(vertical=True)", x, draws, COLOUR), np.flip(x, axes))


def test_halves_of_rows_are_flipped() -> None:
    x = images(GREY, 1000)
    found = augmented("flip()", x)
    mirrored = np.array([np.array_equal(new, old[:, ::-1]) for new, old in zip(found, x, strict=True)])
    same = np.array([np.array_equal(new, old) for new, old in zip(found, x, strict=True)])
    assert np.all(mirrored ^ same)
    assert 400 < mirrored.sum() < 600


def test_twice_the_size_is_the_middle_resized() -> None:
    import tensorflow as tf

    x = images((8, 8, 1))
    expected = tf.image.resize(x, [16, 16])[:, 4:12, 4:12]
    np.testing.assert_allclose(applied("scale(1, 2)", x, [1], (8, 8, 1)), expected, atol=1e-6)


@pytest.mark.parametrize(("draws", "top", "left"), [([0, 0], 0, 0), ([0.4, 0.4], 1, 2), ([0.999, 0.999], 3, 4)])
def test_a_crop_is_resized_back(draws: list[float], top: int, left: int) -> None:
    import tensorflow as tf

    x = images(GREY)
    found = applied("crop(3, 4)", x, draws)
    expected = tf.image.resize(x[:, top : top + 3, left : left + 4], [6, 8])
    assert found.shape == x.shape
    np.testing.assert_allclose(found[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-6)  # a resize repeats its edge


def test_every_window_is_as_likely() -> None:
    ramp = np.tile(np.arange(8, dtype=np.float32)[None, None, :, None], (3000, 6, 1, 1))
    middles = augmented("crop(6, 4)", ramp).mean((1, 2, 3))
    _, counts = np.unique(np.round(2 * middles), return_counts=True)
    assert len(counts) == 5
    assert counts.min() > 500


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("brightness(0.3)", lambda tf, x: tf.clip_by_value(tf.image.adjust_brightness(x, 0.3), 0, 1)),
        ("contrast(0.5, 1.7)", lambda tf, x: tf.clip_by_value(tf.image.adjust_contrast(x, 1.7), 0, 1)),
        ("saturation(0.5, 3)", lambda tf, x: tf.image.adjust_saturation(x, 3)),
        ("saturation(0.5, 0.5)", lambda tf, x: tf.image.adjust_saturation(x, 0.5)),
        ("hue(0.2)", lambda tf, x: tf.image.adjust_hue(x, 0.2)),
        ("hue(0.5)", lambda tf, x: tf.image.adjust_hue(x, 0.5)),
    ],
)
def test_colours_are_those_of_tensorflow(text: str, reference: Any) -> None:
    import tensorflow as tf

    x = images(COLOUR)
    x[0] = 0.25  # grey: no hue
    x[1, 0] = 0.0  # black
    x[1, 1] = 1.0
    np.testing.assert_allclose(applied(text, x, [1], COLOUR), reference(tf, x), atol=2e-6)


def test_what_moves_comes_first_and_in_the_order_said() -> None:
    x = images((6, 6, 1))
    shifted_then_turned = np.rot90(np.pad(x, ((0, 0), (0, 0), (3, 0), (0, 0)), "edge")[:, :, :6], 1, (1, 2))
    found = applied("brightness(0.1); shift(0.5, 0); rotate(90)", x, [1, 1, 0.5, 1], (6, 6, 1))
    np.testing.assert_allclose(found, np.clip(shifted_then_turned + 0.1, 0, 1), atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 48), (4, 6, 8), (4, 6, 8, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "int32"])
def test_nothing_changes_at_strength_0_in_any_shape_and_dtype(shape: tuple[int, ...], dtype: str) -> None:
    x = (images(GREY) * (1 if dtype.startswith("float") else 255)).astype(dtype).reshape(shape)
    nothing = "shift(0); rotate(0); scale(1, 1); flip(False); crop(6, 8); brightness(0); contrast(1, 1)"
    found = augmented(nothing, x)
    assert (found.dtype, found.shape) == (x.dtype, x.shape)
    np.testing.assert_allclose(found, x, atol=1e-6)


def test_no_colour_changes_at_strength_0() -> None:
    x = images(COLOUR)
    np.testing.assert_allclose(augmented("saturation(1, 1); hue(0)", x, shape=COLOUR), x, atol=1e-6)


def test_whole_numbers_have_255_for_the_top_of_their_range() -> None:
    x = np.full((1, *GREY), 100, np.uint8)
    np.testing.assert_array_equal(applied("brightness(0.2)", x, [1]), np.full_like(x, 151))
    np.testing.assert_array_equal(applied("brightness(1)", x, [1]), np.full_like(x, 255))


def test_standardised_images_keep_their_range() -> None:
    x = images(GREY, 1) * 4 - 2
    found = applied("brightness(1)", x, [1])
    np.testing.assert_allclose(found, np.minimum(x + 1, x.max()), atol=1e-6)
    np.testing.assert_allclose(applied("contrast(1, 1)", x, [1]), x, atol=1e-6)


def test_the_seed_says_everything_and_each_row_draws_its_own() -> None:
    x = np.repeat(images(COLOUR, 1), 4, axis=0)
    found = augmented(EVERYTHING, x, shape=COLOUR)
    np.testing.assert_array_equal(found, augmented(EVERYTHING, x, shape=COLOUR))
    others = [*found[1:], *augmented(EVERYTHING, x, (7, 2), COLOUR), *augmented(EVERYTHING, x, (8, 1), COLOUR)]
    assert all(not np.allclose(found[0], other) for other in others)
    assert found.min() >= 0
    assert found.max() <= 1


def test_draws_are_spread_evenly_over_their_range() -> None:
    x = np.full((4000, *GREY), 0.5, np.float32)
    added = augmented("brightness(0.25)", x)[:, 0, 0, 0] - 0.5
    assert abs(added.mean()) < 0.01
    assert added.std() == pytest.approx(0.5 / 12**0.5, rel=0.05)
    assert (added.min(), added.max()) == (pytest.approx(-0.25, abs=0.01), pytest.approx(0.25, abs=0.01))


def test_the_text_is_complete_whatever_was_left_out() -> None:
    found = Augmenter.parse("  shift( .1 )\nflip(vertical=True);crop(5)", GREY)
    assert (
        str(found)
        == "shift(horizontal=0.1, vertical=0.1); flip(horizontal=True, vertical=True); crop(height=5, width=5)"
    )
    assert Augmenter.parse(str(found), GREY) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "`augment`: expected an operation such as shift(0.1); rotate(15); flip()"),
        (
            "shift(0.1); flp()",
            "line 1, column 13, at 'flp()': no operation flp; known: shift, rotate, scale, flip, crop, ",
        ),
        ("shift", "expected a call such as"),
        ("a = flip()", "an operation has no name of its own"),
        ("shift()", "shift needs horizontal"),
        ("scale(0.5)", "scale needs high"),
        ("shift(1.5)", "shift: horizontal must be a fraction from 0 to 1, found 1.5"),
        ("rotate(-5)", "rotate: degrees must be degrees from 0 to 180, found -5"),
        ("scale(0, 2)", "scale: low must be a factor above 0, found 0"),
        ("contrast(1.2, 0.8)", "contrast: low must be at most high, 0.8, found 1.2"),
        ("crop(7, 4)", "crop: a window of 7 x 4 pixels, the images have 6 x 8"),
        ("crop(2.5, 4)", "at '2.5': expected a whole number"),
        ("flip(0.5)", "expected True or False"),
        ("flip(diagonal=True)", "flip has no argument 'diagonal'; nearest: horizontal"),
        ("hue(0.1)", "hue needs images of 3 channels, red, green and blue; these have 1 channel"),
        ("saturation(1, 2)", "saturation needs images of 3 channels, red, green and blue; these have 1 channel"),
        ("brightness(__import__('os'))", "expected a number"),
    ],
)
def test_what_is_no_augmentation_is_refused(text: str, message: str) -> None:
    with pytest.raises(CkptError) as refusal:
        Augmenter.parse(text, GREY)
    assert message in str(refusal.value)
    assert str(refusal.value).startswith("`augment`")
