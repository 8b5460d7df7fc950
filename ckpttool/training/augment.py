"""Augmentation of a data set: which input's rows are images, of what shape, and what each is changed by, and when."""

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
"""How many 64-bit numbers NumPy's Philox makes at each count."""
MOST_CHANNELS = 4
ANY_SIZE = (1 << 30, 1 << 30, 3)
"""A shape of images that every operation suits, to read operations before the images are."""


@dataclass(frozen=True, eq=False)
class Augmentation:
    """What is done to the rows of one input, by op name, of a run with a seed.

    Without a cache a row is changed by draws that follow from the seed, the step and its place in the batch. With one,
    each row has as many `variants`, whose draws follow from the seed, the variant and the row's number in the data.
    """

    input: str
    augmenter: Augmenter
    seed: int
    variants: int | None = None

    def facts(self) -> str:
        """Return all that variants depend on, besides the rows."""
        return f"{self.input}: {self.augmenter} of {self.augmenter.shape}, seed {self.seed}, {self.variants} variants"

    def prepare(self, feeds: dict[str, Any], step: Any) -> dict[str, Any]:
        """Return a batch with its images changed, inside of the training loop; `step` is an int64 scalar."""
        name = f"{self.input}:0"
        return {**feeds, name: self.augmenter(feeds[name], (self.seed, step))}

    def variant(self, rows: Array, variant: int, numbers: Array) -> Array:
        """Return a variant of the rows that have these numbers in the data, in ascending order."""
        return self.augmenter.compute(rows, self.draws(variant, numbers))

    def draws(self, variant: int, numbers: Array) -> Array:
        """Return what rows have drawn for a variant: [n, width] numbers from 0 to 1, the same in any company."""
        runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
        return np.concatenate([self._run(variant, int(run[0]), len(run)) for run in runs])

    def _run(self, variant: int, first: int, count: int) -> Array:
        """Draw for rows that follow one another: each row has whole counts of the generator for itself."""
        counts = -(-self.augmenter.width // COUNTED)
        generator = np.random.Philox(key=[self.seed, variant]).advance(first * counts)
        draws = np.random.Generator(generator).random((count, counts * COUNTED))
        return draws[:, : self.augmenter.width].astype(np.float32)


def check_augment(augment: str | None, cache: bool, variants: int | None) -> None:
    """Check that `augment`, `cache` and `cache_augment` go together, and that the first can be read.

    Raises:
        CkptError: they do not, or it cannot; the message says what to give.
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
    """Return the augmentation that a text and a shape of images ask for, fitted to a data set; None without a text.

    Raises:
        PlanError: the text is no augmentation, or the rows are no images that it can be done to.
    """
    if text is None:
        if shape is not None:
            raise PlanError("`image_shape` is for `augment`, which is not given")
        return None
    name = input_of_images(split)
    images = image_shape_of(split, name, shape)
    return Augmentation(name, Augmenter.parse(text, images, colours_of(split, name, images[2])), seed, variants)


def colours_of(split: Split, name: str, channels: int) -> Colours | None:
    """Return how an input's preprocessing makes its numbers of colours; None where these are from 0 to 1 themselves.

    All of its steps that change numbers give sums of the channels: they are told by what becomes of black, and of
    black with all of one channel.

    Raises:
        PlanError: a step is for images with other channels.
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
    """Return the input whose rows are images: the only one, or the first of which a row has two dimensions or more.

    `asked` is what needs images, for messages.

    Raises:
        PlanError: there are several, and none of them has.
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

    `asked` is what needs images, for messages.

    Raises:
        PlanError: they are not known, or what was given does not fit.
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
    """Return the shape of a row of an input: as stored and preprocessed, where that is known, then as fed."""
    stored: Mapping[str, Any] = split.stored
    steps = split.steps.get(name, ())
    known = [tuple(shape_after(steps, stored[name].array.shape[1:]))] if name in stored else []
    return [*known, tuple(split.inputs[name].shape[1:])]
