"""Which rows are images, and their shape; their random numbers; conflicting options."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import PlanError
from ckpttool.data.columns import Column
from ckpttool.data.files import InputSpec
from ckpttool.data.fitting import fit
from ckpttool.data.preprocessing import Preprocessing, applied
from ckpttool.data.splits import Split
from ckpttool.runtime.augmenter import Augmenter
from ckpttool.training.augment import Augmentation, augmentation_of, check_augment, image_shape_of, input_of_images


def split(stored: Mapping[str, tuple[int, ...]] | None = None, **fed: tuple[int, ...]) -> Split:
    """Five rows of each input, with these shapes."""
    inputs: dict[str, Any] = {name: np.zeros((5, *shape), np.float32) for name, shape in fed.items()}
    columns = {name: Column(Path("d.npz"), name, np.zeros((5, *shape))) for name, shape in (stored or {}).items()}
    return Split("train", inputs, None, 5, (), columns)


@pytest.mark.parametrize(
    ("rows", "said", "expected"),
    [
        (split({"X": (28, 28)}, X=(784,)), None, (28, 28, 1)),
        (split({"X": (32, 32, 3)}, X=(3072,)), None, (32, 32, 3)),
        (split({"X": (768,)}, X=(16, 16, 3)), None, (16, 16, 3)),
        (split(X=(784,)), None, (28, 28, 1)),
        (split(X=(784,)), (14, 14, 4), (14, 14, 4)),
        (split({"X": (28, 28)}, X=(784,)), (14, 56), (14, 56, 1)),
        (split({"X": (4, 4, 8)}, X=(128,)), (4, 4, 8), (4, 4, 8)),
    ],
)
def test_the_shape_is_as_said_as_stored_as_fed_or_a_square(
    rows: Split, said: tuple[int, ...] | None, expected: tuple[int, int, int]
) -> None:
    assert image_shape_of(rows, "X", said) == expected


@pytest.mark.parametrize(
    ("rows", "said", "message"),
    [
        (split(X=(10,)), None, "`augment`: rows of X are [10], no images that are known: `image_shape` HEIGHT,WIDTH,"),
        (split(X=(784,)), (28, 27), "`image_shape` 28,27: rows of X have 784 values, expected HEIGHT,WIDTH,CHANNELS"),
        (split(X=(784,)), (784,), "`image_shape` 784: rows of X have 784 values"),
        (split(X=(3, 32, 32)), None, "rows of X are [3, 32, 32], expected height, width and at most 4 channels"),
        (split(X=()), None, "no images that are known"),
        (split(X=(2, 2, 2, 2)), None, "no images that are known"),
    ],
)
def test_what_are_no_images_is_refused(rows: Split, said: tuple[int, ...] | None, message: str) -> None:
    with pytest.raises(PlanError) as refusal:
        image_shape_of(rows, "X", said)
    assert message in str(refusal.value)


def test_of_several_inputs_the_first_with_images_is_meant() -> None:
    assert input_of_images(split(X=(7,))) == "X"
    assert input_of_images(split(age=(1,), photo=(8, 8, 3), scan=(8, 8))) == "photo"
    assert input_of_images(split({"b": (4, 4)}, a=(16,), b=(16,))) == "b"
    with pytest.raises(PlanError, match="rows of a, b are flat: which are images is not known; leave it out"):
        input_of_images(split(a=(16,), b=(16,)))


def test_nothing_is_done_unless_asked_for() -> None:
    assert augmentation_of(None, split(X=(16,)), None, 1) is None
    with pytest.raises(PlanError, match="`image_shape` is for `augment`"):
        augmentation_of(None, split(X=(16,)), (4, 4), 1)
    found = augmentation_of("flip()", split(X=(16,)), None, 1)
    assert found is not None
    assert (found.input, found.augmenter.shape, found.seed, found.variants) == ("X", (4, 4, 1), 1, None)


@pytest.mark.parametrize(
    ("augment", "cache", "variants", "message"),
    [
        ("flip()", True, None, "`augment` with `cache`: specify `cache_augment`, how many variants"),
        ("flip()", False, 3, "`cache_augment` 3 needs `cache`"),
        (None, True, 3, "`cache_augment` 3 needs `augment`"),
        (None, False, 3, "`cache_augment` 3 needs `augment` and `cache`"),
        ("flip()", True, 0, "`cache_augment` must be 1 or more, found 0"),
    ],
)
def test_options_that_do_not_go_together(augment: str | None, cache: bool, variants: int | None, message: str) -> None:
    with pytest.raises(PlanError) as refusal:
        check_augment(augment, cache, variants)
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize(
    "good", [(None, False, None), (None, True, None), ("flip()", False, None), ("flip()", True, 2)]
)
def test_options_that_go_together(good: tuple[str | None, bool, int | None]) -> None:
    check_augment(*good)


def made(text: str = "shift(0.1); rotate(15); flip(); brightness(0.2)", seed: int = 5) -> Augmentation:
    found = augmentation_of(text, split(X=(16,)), None, seed, 2)
    assert found is not None
    return found


def test_a_row_draws_the_same_numbers_in_any_company() -> None:
    whole = made().draws(1, np.arange(50))
    assert whole.shape == (50, 6)
    assert 0 <= whole.min() <= whole.max() <= 1
    for numbers in ([49], [3, 4, 5], [0, 2, 3, 10, 48]):
        np.testing.assert_array_equal(made().draws(1, np.array(numbers)), whole[numbers])


def test_rows_variants_and_seeds_draw_others() -> None:
    numbers = np.arange(1000)
    first, second, other = made().draws(0, numbers), made().draws(1, numbers), made(seed=6).draws(0, numbers)
    every = np.concatenate([first, second, other])
    assert len(np.unique(every)) > 0.99 * every.size
    np.testing.assert_allclose(every.mean(0), 0.5, atol=0.03)


def test_a_batch_of_a_step_is_the_same_each_time_and_other_inputs_stay() -> None:
    import tensorflow as tf

    batch = {"X:0": tf.random.stateless_uniform([8, 16], [1, 2]), "y:0": tf.range(8)}
    step = tf.function(made().prepare, autograph=False)
    found, again, later = (step(dict(batch), tf.constant(number, tf.int64)) for number in (3, 3, 4))
    np.testing.assert_array_equal(found["X:0"], again["X:0"])
    assert not np.allclose(found["X:0"], later["X:0"])
    np.testing.assert_array_equal(found["y:0"], batch["y:0"])


@pytest.mark.parametrize("steps", ["keras(caffe)", "keras(torch)", "scale(1/127.5, -1)", "bgr(); mean(9)", "none"])
@pytest.mark.parametrize("stored", ["uint8", "float32"])
def test_colours_are_changed_before_the_numbers_are_made_of_them(steps: str, stored: str) -> None:
    """The model is fed the preprocessed images, whose colours are changed with the same random numbers."""
    rows = np.random.default_rng(0).integers(20, 230, (4, 5, 6, 3))
    column = Column(Path("d.npz"), "x", rows.astype(stored))
    fitted = fit(column, InputSpec("X", (None, 5, 6, 3), BY_NAME["float32"], Preprocessing.parse(steps).steps), True)
    text = "rotate(20); brightness(0.2); contrast(0.5, 2); saturation(0.5, 2); hue(0.2)"
    data = Split("train", {"X": fitted.array}, None, 4, (), {"X": column}, steps={"X": fitted.steps or ()})
    augmentation = augmentation_of(text, data, None, 5, 1)
    plain = Augmentation("X", Augmenter.parse(text, (5, 6, 3)), 5, 1)
    assert augmentation is not None
    found = augmentation.variant(np.asarray(fitted.array[:]), 0, np.arange(4))
    colours = plain.variant(rows.astype(np.float32) / 255, 0, np.arange(4))
    expected = applied(Preprocessing.parse(steps).steps, colours.astype(np.float64) * 255)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_images_have_the_shape_that_their_preprocessing_gives_them() -> None:
    large = split({"X": (9, 8, 3)}, X=(36,))
    steps = {"X": Preprocessing.parse("resize(6); grayscale()").steps}
    assert image_shape_of(replace(large, steps=steps), "X", None) == (6, 6, 1)
