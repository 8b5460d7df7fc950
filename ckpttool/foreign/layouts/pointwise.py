"""Dense layers that a graph computes as convolutions with a window of one pixel, as slim's classifiers are."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.call_syntax import nearest
from ckpttool.errors import PlanError
from ckpttool.foreign.layouts.layout import OneToOne, Shape
from ckpttool.tensors import Array

FORMS = ("torch", "keras")


@dataclass(frozen=True)
class Pointwise(OneToOne):
    """The kernel of a dense layer, `[outputs, inputs]` of PyTorch or `[inputs, outputs]` of Keras, as a convolution's.

    >>> Pointwise().shapes([(1000, 2048)]), Pointwise("keras").shapes([(2048, 1000)])
    ([(1, 1, 2048, 1000)], [(1, 1, 2048, 1000)])
    """

    name: ClassVar[str] = "pointwise"
    source: ClassVar[str] = "a matrix"
    target: ClassVar[str] = "[1, 1, inputs, outputs]"
    form: str = "torch"

    def __post_init__(self) -> None:
        """Refuse a form that is not known."""
        if self.form not in FORMS:
            raise PlanError(f"{self}: no form {self.form}{nearest(self.form, FORMS)}")

    def shape(self, shape: Shape) -> Shape | None:
        """Return the shape with a window."""
        return (1, 1, *self._turned(shape)) if len(shape) == 2 else None

    def source_shape(self, shape: Shape) -> Shape | None:
        """Return the shape without the window."""
        return self._turned(shape[2:]) if len(shape) == 4 and shape[:2] == (1, 1) else None

    def turn(self, array: Array) -> Array:
        """Return a view."""
        matrix = array.T if self.form == "torch" else array
        return np.expand_dims(matrix, (0, 1))

    def turn_back(self, array: Array) -> Array:
        """Return a view."""
        matrix = np.squeeze(array, (0, 1))
        return matrix.T if self.form == "torch" else matrix

    def _turned(self, shape: Shape) -> Shape:
        return shape[::-1] if self.form == "torch" else shape
