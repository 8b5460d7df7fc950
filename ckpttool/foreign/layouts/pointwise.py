"""Dense layers that a graph computes as convolutions with a window of one, as slim's classifiers and GPT-2 do."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from ckpttool.call_syntax import nearest
from ckpttool.errors import PlanError
from ckpttool.foreign.layouts.layout import OneToOne, Shape
from ckpttool.tensors import Array

FORMS = ("torch", "keras")
DIMENSIONS = (1, 2, 3)


@dataclass(frozen=True)
class Pointwise(OneToOne):
    """The kernel of a dense layer, `[outputs, inputs]` of PyTorch or `[inputs, outputs]` of Keras, as a convolution's.

    Its window has two `dimensions`, as an image has, unless it is said.

    >>> Pointwise().shapes([(1000, 2048)]), Pointwise("keras", dimensions=1).shapes([(768, 2304)])
    ([(1, 1, 2048, 1000)], [(1, 768, 2304)])
    """

    name: ClassVar[str] = "pointwise"
    source: ClassVar[str] = "a matrix"
    target: ClassVar[str] = "[a 1 for each dimension, inputs, outputs]"
    form: str = "torch"
    dimensions: int = 2

    def __post_init__(self) -> None:
        """Refuse a form that is not known, and dimensions that no window has."""
        if self.form not in FORMS:
            raise PlanError(f"{self}: no form {self.form}{nearest(self.form, FORMS)}")
        if self.dimensions not in DIMENSIONS:
            raise PlanError(f"{self}: expected 1, 2 or 3 dimensions")

    def shape(self, shape: Shape) -> Shape | None:
        """Return the shape with a window."""
        return (*self._window, *self._turned(shape)) if len(shape) == 2 else None

    def source_shape(self, shape: Shape) -> Shape | None:
        """Return the shape without the window."""
        window, matrix = shape[: self.dimensions], shape[self.dimensions :]
        return self._turned(matrix) if window == self._window and len(matrix) == 2 else None

    def turn(self, array: Array) -> Array:
        """Return a view."""
        matrix = array.T if self.form == "torch" else array
        return matrix.reshape(*self._window, *matrix.shape)

    def turn_back(self, array: Array) -> Array:
        """Return a view."""
        matrix = array.reshape(array.shape[self.dimensions :])
        return matrix.T if self.form == "torch" else matrix

    @property
    def _window(self) -> Shape:
        return (1,) * self.dimensions

    def _turned(self, shape: Shape) -> Shape:
        return shape[::-1] if self.form == "torch" else shape


def pointwise(source: Shape, target: Shape) -> Iterator[Pointwise]:
    """Yield the ways in which a matrix becomes a kernel with a window of one, PyTorch's first.

    >>> [str(layout) for layout in pointwise((8, 8), (1, 1, 8, 8))]
    ['pointwise', 'pointwise(form=keras)']
    """
    dimensions = len(target) - 2
    made = (Pointwise(form, dimensions) for form in FORMS if len(source) == 2 and dimensions in DIMENSIONS)
    return (layout for layout in made if layout.shape(source) == target)
