"""Mistakes: the rows that a model takes for another class, those first of which it is surest; images among them."""

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
"""Pixels of a thumbnail's side, at most: of a larger image every second or third pixel is taken."""
COLOURS = 3


@dataclass(frozen=True)
class Mistake:
    """A row that was taken for another class: `probability` is what the model gives that class.

    `row` is its number in the data, `file` the one that it was read from where it has its own. `image` is
    [height, width, 1 or 3], uint8, where the row is an image.
    """

    row: int
    label: str
    predicted: str
    probability: float
    file: str | None = None
    image: Array | None = None


class Mistakes(Tally):
    """Keeps the rows that a model is surest of, and wrong; `most` of them.

    >>> mistakes = Mistakes(1)
    >>> mistakes.add(np.array([[2.0, 1.0], [5.0, 1.0], [0.0, 1.0]]), np.array([1, 1, 1]))
    >>> [(row, label, predicted, round(sure, 2)) for sure, row, label, predicted in mistakes.worst]
    [(1, 1, 0, 0.98)]
    """

    def __init__(self, most: int) -> None:
        """Begin with no rows."""
        self._most, self._rows = most, 0
        self._worst: list[tuple[float, int, int, int]] = []

    @property
    def worst(self) -> list[tuple[float, int, int, int]]:
        """Probability, place among the rows, label and predicted class of each, the surest first."""
        return sorted(self._worst, reverse=True)

    def add(self, outputs: Array, labels: Array) -> None:
        """Look at rows; labels are as `Confusion` has them. Rows of several steps have no class of their own."""
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
        """Return the mistakes, with their images where the rows of the split are some; classes by their names."""
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
    """Return what keeps mistakes where classes are counted; None where nothing is right or wrong."""
    return Mistakes(most) if most and isinstance(tally, Confusion) else None


def thumbnail(split: Split, row: int) -> Array | None:
    """Return a row of a split as pixels; None where it is no image."""
    try:
        name = input_of_images(split, "a thumbnail")
        height, width, channels = image_shape_of(split, name, None, "a thumbnail")
    except CkptError:
        return None  # the rows are no images
    values = np.asarray(split.inputs[name][row : row + 1], np.float32).reshape(height, width, channels)
    step = -(-max(height, width) // LARGEST)
    values = values[::step, ::step, : COLOURS if channels >= COLOURS else 1]
    finite = values[np.isfinite(values)]
    low, high = float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf))
    scaled = (np.where(np.isfinite(values), values, low) - low) / (high - low) if high > low else np.zeros_like(values)
    pixels: Array = np.rint(255 * scaled).astype(np.uint8)
    return pixels


def _probabilities(outputs: Array) -> Array:
    """Return probabilities, which outputs may be already."""
    are = outputs.min() >= 0 and np.allclose(outputs.sum(axis=-1), 1, atol=1e-3)
    return outputs if are else softmax(outputs.astype(np.float64))


def _name(number: int, names: Sequence[str]) -> str:
    return names[number] if number < len(names) else str(number)
