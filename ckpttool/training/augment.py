"""Augmentation of a data set: which input contains images, their shape, and which operations are applied, and when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt, prod
from typing import Any

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.data.preprocessing import applied, shape_after
from ckpttool.data.ranges import range_of
from ckpttool.data.splits import Split
from ckpttool.runtime.augmenter import Augmenter, Colours

COUNTED = 4
"""Number of 64-bit words that NumPy's Philox generates per counter value."""
MOST_CHANNELS = 4
ANY_SIZE = (1 << 30, 1 << 30, 3)
"""An image shape that every operation accepts; used to parse operations before the images are known."""


@dataclass(frozen=True, eq=False)
class Augmentation:
    """The augmentation of one input (an op name) in a run with a given random seed.

    Without a cache, the random draws of a row depend on the seed, the step and its position in the batch. With a cache,
    each row has `variants` versions, whose draws depend on the seed, the variant and the row's index in the data.
    """

    input: str
    augmenter: Augmenter
    seed: int
    variants: int | None = None

    def facts(self) -> str:
        """Return everything that variants depend on besides the rows, for the cache key."""
        return f"{self.input}: {self.augmenter} of {self.augmenter.shape}, seed {self.seed}, {self.variants} variants"

    def prepare(self, feeds: dict[str, Any], step: Any) -> dict[str, Any]:
        """Return a batch with augmented images, inside the training loop; `step` is an int64 scalar."""
        name = f"{self.input}:0"
        return {**feeds, name: self.augmenter(feeds[name], (self.seed, step))}

    def variant(self, rows: Array, variant: int, numbers: Array) -> Array:
        """Return a variant of the rows with these indices in the data, which are in ascending order."""
        return self.augmenter.compute(rows, self.draws(variant, numbers))

    def draws(self, variant: int, numbers: Array) -> Array:
        """Return the random draws of rows for a variant, [n, width] in [0, 1); each row has its own."""
        runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
        return np.concatenate([self._run(variant, int(run[0]), len(run)) for run in runs])

    def _run(self, variant: int, first: int, count: int) -> Array:
        """Draw for consecutive rows: each row uses counter values of the generator of its own."""
        counts = -(-self.augmenter.width // COUNTED)
        generator = np.random.Philox(key=[self.seed, variant]).advance(first * counts)
        draws = np.random.Generator(generator).random((count, counts * COUNTED))
        return draws[:, : self.augmenter.width].astype(np.float32)


def check_augment(augment: str | None, cache: bool, variants: int | None) -> None:
    """Check that `augment`, `cache` and `cache_augment` are consistent, and that `augment` can be parsed.

    Raises:
        CkptError: they are not, or it cannot be parsed; the message says what to specify.
    """
    if augment:
        Augmenter.parse(augment, ANY_SIZE)
    if augment and cache and variants is None:
        raise PlanError(
            "`augment` with `cache`: specify `cache_augment`, how many variants of each row to keep, or leave one out"
        )
    if variants is not None and not (augment and cache):
        missing = " and ".join(name for name, there in (("`augment`", augment), ("`cache`", cache)) if not there)
        raise PlanError(f"`cache_augment` {variants} needs {missing}")
    if variants is not None and variants < 1:
        raise PlanError(f"`cache_augment` must be 1 or more, found {variants}")


def augmentation_of(
    text: str | None, split: Split, shape: Sequence[int] | None, seed: int, variants: int | None = None
) -> Augmentation | None:
    """Return the augmentation specified by a text and an image shape, for a data set; None without a text.

    Raises:
        PlanError: the text cannot be parsed, or the rows are not images to which it can be applied.
    """
    if text is None:
        if shape is not None:
            raise PlanError("`image_shape` is for `augment`, which is not given")
        return None
    name = input_of_images(split)
    images = image_shape_of(split, name, shape)
    return Augmentation(name, Augmenter.parse(text, images, colours_of(split, name, images[2])), seed, variants)


def colours_of(split: Split, name: str, channels: int) -> Colours | None:
    """Return how an input's preprocessing maps colours to values; None if colours in [0, 1] are used unchanged.

    All value-changing steps are affine in the channels, so they are determined by the images of black and of each
    channel at full intensity.

    Raises:
        PlanError: a step requires another number of channels.
    """
    steps = [step for step in split.steps.get(name, ()) if not step.arranges]
    if not steps or split.inputs[name].dtype.kind in "iu" or name not in split.stored:
        return None
    top = range_of(split.stored[name])
    colours = np.concatenate([np.zeros((1, channels)), top * np.eye(channels)]).reshape(-1, 1, 1, channels)
    shape_after(steps, colours.shape[1:])
    black, *full = applied(steps, colours).reshape(-1, channels)
    matrix = np.stack(full, axis=1) - black[:, np.newaxis]
    if np.allclose(matrix, np.eye(channels)) and np.allclose(black, 0):
        return None
    return Colours(tuple(map(tuple, matrix.tolist())), tuple(black.tolist()))


def input_of_images(split: Split, asked: str = "`augment`") -> str:
    """Return the input that contains images: the only input, or the first whose rows have at least two dimensions.

    `asked` names the option that needs images, for messages.

    Raises:
        PlanError: there are several inputs, and none has rows of two dimensions or more.
    """
    names = list(split.inputs)
    images = names if len(names) == 1 else [name for name in names if any(len(row) > 1 for row in _shapes(split, name))]
    if not images:
        without = "; leave it out" if asked == "`augment`" else ""
        raise PlanError(f"{asked}: rows of {', '.join(names)} are flat: which are images is not known{without}")
    return images[0]


def image_shape_of(
    split: Split, name: str, given: Sequence[int] | None, asked: str = "`augment`"
) -> tuple[int, int, int]:
    """Return the height, width and channels of an input's images: as given, as stored, as fed, or a square if flat.

    `asked` names the option that needs images, for messages.

    Raises:
        PlanError: the shape is unknown, or the given shape does not match the rows.
    """
    shapes = _shapes(split, name)
    size = prod(shapes[-1])
    if given is not None:
        if len(given) not in (2, 3) or min(given) < 1 or prod(given) != size:
            text = ",".join(map(str, given))
            raise PlanError(
                f"`image_shape` {text}: rows of {name} have {size} values, expected HEIGHT,WIDTH,CHANNELS of those"
            )
        height, width, channels = (*given, 1)[:3]
        return height, width, channels
    shape = next((shape for shape in shapes if len(shape) in (2, 3)), None)
    if shape is None and len(shapes[-1]) == 1 and isqrt(size) ** 2 == size:
        shape = isqrt(size), isqrt(size)
    if shape is None or prod(shape) != size:
        how = "`image_shape` HEIGHT,WIDTH,CHANNELS tells how they are laid out"
        raise PlanError(f"{asked}: rows of {name} are {list(shapes[-1])}, no images that are known: {how}")
    height, width, channels = (*shape, 1)[:3]
    if channels > MOST_CHANNELS:
        expected = f"expected height, width and at most {MOST_CHANNELS} channels"
        raise PlanError(f"{asked}: rows of {name} are {list(shape)}, {expected}")
    return height, width, channels


def _shapes(split: Split, name: str) -> list[tuple[int, ...]]:
    """Return the shapes of an input's row: as stored and preprocessed, if known, then as fed."""
    stored: Mapping[str, Any] = split.stored
    steps = split.steps.get(name, ())
    known = [tuple(shape_after(steps, stored[name].array.shape[1:]))] if name in stored else []
    return [*known, tuple(split.inputs[name].shape[1:])]
