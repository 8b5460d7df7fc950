"""Augmentations of images, which move pixels or change colours, by random numbers for each image."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from ckpttool.core.calls import Call, written_value

Shape = tuple[int, int, int]
"""Height, width, channels."""


@dataclass(frozen=True)
class Bounds:
    """The range of values: 0 to `top`, which is 1 for floats and 255 for integers.

    `low` and `high`, [n, 1, 1], are wider for images with values outside of it.
    """

    top: float
    low: Any
    high: Any


@dataclass(frozen=True)
class Operation(Call):
    """An augmentation by `draws` random numbers per image; one of colours may require a number of `channels`."""

    noun, example = "operation", "shift(0.1); rotate(15); flip()"
    draws: ClassVar[int] = 1
    channels: ClassVar[int | None] = None

    @classmethod
    def problem_of_name(cls, name: str) -> str | None:
        """Return the reason why no name may precede it."""
        return "an operation has no name of its own"

    def problem_with(self, shape: Shape) -> str | None:
        """Return the reason why it cannot be applied to images of a shape, or None."""
        if self.channels in (None, shape[2]):
            return None
        given = "1 channel" if shape[2] == 1 else f"{shape[2]} channels"
        return f"{self.name} needs images of {self.channels} channels, red, green and blue; these have {given}"

    def __str__(self) -> str:
        """Return the call with all its parameters."""
        values = [f"{field.name}={written_value(getattr(self, field.name))}" for field in fields(self)]
        return f"{self.name}({', '.join(values)})"


class Move(Operation):
    """An augmentation that moves pixels."""

    def matrix(self, draws: Any, shape: Shape) -> Any:
        """Return a matrix [n, 3, 3] for draws [n, ...]."""
        raise NotImplementedError


class Colour(Operation):
    """An augmentation that changes colours."""

    def recolour(self, images: Any, draws: Any, bounds: Bounds) -> Any:
        """Return new values of images [n, channels, pixels] for draws [n, ...]."""
        raise NotImplementedError


def between(draws: Any, low: float, high: float) -> Any:
    """Return draws (0 to 1) scaled to a range."""
    return low + draws * (high - low)
