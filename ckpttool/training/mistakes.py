"""Misclassified rows, ordered by the probability of the wrong class, with thumbnails if the rows are images."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ckpttool.core.errors import CkptError
from ckpttool.core.tensors import Array
from ckpttool.data.splits import Split
from ckpttool.training.augment import image_shape_of, input_of_images
from ckpttool.training.outputs import softmax
from ckpttool.training.tallies import Confusion, Tally

LARGEST = 96
"""Maximum side of a thumbnail in pixels; larger images are subsampled."""
COLOURS = 3


@dataclass(frozen=True)
class Mistake:
    """A misclassified row: `probability` is that of the predicted class.

    `row` is its index in the data, `file` its file if it has one of its own. `image` is [height, width, 1 or 3], uint8,
    if the row is an image.
    """

    row: int
    label: str
    predicted: str
    probability: float
    file: str | None = None
    image: Array | None = None


class Mistakes(Tally):
    """Keeps the `most` misclassified rows with the highest probability.

    >>> mistakes = Mistakes(1)
    >>> mistakes.add(np.array([[2.0, 1.0], [5.0, 1.0], [0.0, 1.0]]), np.array([1, 1, 1]))
    >>> [(row, label, predicted, round(sure, 2)) for sure, row, label, predicted in mistakes.worst]
    [(1, 1, 0, 0.98)]
    """

    def __init__(self, most: int) -> None:
        """Initialise without rows."""
        self._most, self._rows = most, 0
        self._worst: list[tuple[float, int, int, int]] = []

    @property
    def worst(self) -> list[tuple[float, int, int, int]]:
        """Probability, row index, label and predicted class of each, the highest probability first."""
        return sorted(self._worst, reverse=True)

    def add(self, outputs: Array, labels: Array) -> None:
        """Add rows; labels are those of `Confusion`. Rows of several time steps are ignored."""
        meant = labels.argmax(axis=-1) if labels.shape == outputs.shape else labels
        start, self._rows = self._rows, self._rows + len(outputs)
        if outputs.ndim != 2 or meant.size != len(outputs):
            return
        meant, predicted = meant.reshape(-1).astype(np.int64), outputs.argmax(axis=-1)
        sure = _probabilities(outputs).max(axis=-1)
        for place in np.flatnonzero(predicted != meant):
            each = (float(sure[place]), start + int(place), int(meant[place]), int(predicted[place]))
            if len(self._worst) < self._most:
                heapq.heappush(self._worst, each)
            else:
                heapq.heappushpop(self._worst, each)

    def read(self, split: Split, names: Sequence[str]) -> tuple[Mistake, ...]:
        """Return the mistakes with class names, and with thumbnails if the rows of the split are images."""
        files, numbers = split.file_names, split.numbers
        said = [
            Mistake(
                int(numbers[row]), _name(label, names), _name(predicted, names), sure, files[row] if files else None
            )
            for sure, row, label, predicted in self.worst
        ]
        rows = [row for _, row, _, _ in self.worst]
        return tuple(replace(each, image=thumbnail(split, row)) for each, row in zip(said, rows, strict=True))


def mistakes_of(tally: Tally, most: int) -> Mistakes | None:
    """Return a collector of mistakes if the outputs are classes; None otherwise."""
    return Mistakes(most) if most and isinstance(tally, Confusion) else None


def thumbnail(split: Split, row: int) -> Array | None:
    """Return a row of a split as pixels; None if it is not an image."""
    try:
        name = input_of_images(split, "a thumbnail")
        height, width, channels = image_shape_of(split, name, None, "a thumbnail")
    except CkptError:
        return None  # the rows are not images
    values = np.asarray(split.inputs[name][row : row + 1], np.float32).reshape(height, width, channels)
    step = -(-max(height, width) // LARGEST)
    values = values[::step, ::step, : COLOURS if channels >= COLOURS else 1]
    finite = values[np.isfinite(values)]
    low, high = float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf))
    scaled = (np.where(np.isfinite(values), values, low) - low) / (high - low) if high > low else np.zeros_like(values)
    pixels: Array = np.rint(255 * scaled).astype(np.uint8)
    return pixels


def _probabilities(outputs: Array) -> Array:
    """Return the outputs as probabilities; they may be probabilities already."""
    are = outputs.min() >= 0 and np.allclose(outputs.sum(axis=-1), 1, atol=1e-3)
    return outputs if are else softmax(outputs.astype(np.float64))


def _name(number: int, names: Sequence[str]) -> str:
    return names[number] if number < len(names) else str(number)
