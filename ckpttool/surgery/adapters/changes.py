"""Changes of a weight by an adapter, applied on reading: a product of low rank, a magnitude, a scale, new values."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from ckpttool.core.casting import cast_array
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor


class Change(ABC):
    """A change of a weight of one shape."""

    @abstractmethod
    def require_fits(self, tensor: Tensor) -> None:
        """Check that a weight has the required shape.

        Raises:
            PlanError: it has another one.
        """

    @abstractmethod
    def compute(self, weight: Array) -> Array:
        """Return the changed weight, in float32 or float64."""

    def on(self, tensor: Tensor) -> Tensor:
        """Return a tensor that is changed when it is read, in its own dtype.

        Raises:
            PlanError: it has another shape, or does not contain floats.
        """
        if tensor.dtype.numpy.kind not in "fV":
            raise PlanError(f"{tensor.name} has {tensor.dtype} elements, which an adapter does not change")
        self.require_fits(tensor)
        return Tensor(tensor.spec, lambda: cast_array(tensor.name, self.compute(widened(tensor)), tensor.dtype))


def widened(tensor: Tensor) -> Array:
    """Return an array as float32, or as float64 if it already is."""
    array = tensor.read()
    return array if array.dtype == np.float64 else array.astype(np.float32)


@dataclass(frozen=True)
class LowRank(Change):
    """LoRA: `up` @ `down` times `scale` is added (Hu et al. 2021, arXiv:2106.09685).

    With a `magnitude`, each output of the sum is scaled to that norm (DoRA, Liu et al. 2024, arXiv:2402.09353).
    `transposed` means that the weight has its inputs first.

    >>> up, down = Tensor.of("up", np.array([[1.0], [2.0]])), Tensor.of("down", np.array([[1.0, 10.0]]))
    >>> LowRank(up, down, 0.5).on(Tensor.of("w", np.zeros((2, 2)))).read().tolist()
    [[0.5, 5.0], [1.0, 10.0]]
    """

    up: Tensor
    down: Tensor
    scale: float
    magnitude: Tensor | None = None
    transposed: bool = False

    @property
    def rank(self) -> int:
        """The rank of the product."""
        return self.down.shape[0]

    def require_fits(self, tensor: Tensor) -> None:
        """Check the shape of the product."""
        product = (self.up.shape[0], *self.down.shape[1:])
        expected = tuple(product[axis] for axis in self._order(len(product)))
        flat = self.up.shape[1:2] == (self.rank,) and set(self.up.shape[2:]) <= {1}
        if not flat or tensor.shape != expected:
            factors = f"{self.up.name} {list(self.up.shape)} times {self.down.name} {list(self.down.shape)}"
            raise PlanError(f"{factors} does not fit {tensor.name}, which is {list(tensor.shape)}")

    def _order(self, rank: int) -> tuple[int, ...]:
        """Return the axes of the product, outputs first and the window last, in the order of the weight."""
        return (*range(2, rank), 1, 0) if self.transposed else tuple(range(rank))

    def compute(self, weight: Array) -> Array:
        """Return the sum."""
        up, down = widened(self.up).reshape(-1, self.rank), widened(self.down).reshape(self.rank, -1)
        product = (up @ down).reshape(self.up.shape[0], *self.down.shape[1:])
        product = product.transpose(self._order(product.ndim))
        changed: Array = weight + product * np.asarray(self.scale, weight.dtype)
        return changed if self.magnitude is None else self._of_magnitude(changed, widened(self.magnitude))

    def _of_magnitude(self, changed: Array, magnitude: Array) -> Array:
        outputs = changed.ndim - 1 if self.transposed else 0
        others = tuple(axis for axis in range(changed.ndim) if axis != outputs)
        norms = np.sqrt(np.square(changed).sum(axis=others, keepdims=True))
        shape = [-1 if axis == outputs else 1 for axis in range(changed.ndim)]
        brought: Array = changed * (magnitude.reshape(shape) / norms)
        return brought


@dataclass(frozen=True)
class Embedding(Change):
    """LoRA of an embedding: the transposed product of its factors, times `scale`, is added."""

    up: Tensor
    down: Tensor
    scale: float

    def require_fits(self, tensor: Tensor) -> None:
        """Check the shape of the product."""
        if tensor.shape != (self.down.shape[1], self.up.shape[0]):
            factors = f"{self.up.name} {list(self.up.shape)} times {self.down.name} {list(self.down.shape)}"
            raise PlanError(f"{factors}, transposed, does not fit {tensor.name}, which is {list(tensor.shape)}")

    def compute(self, weight: Array) -> Array:
        """Return the sum."""
        changed: Array = weight + (widened(self.up) @ widened(self.down)).T * np.asarray(self.scale, weight.dtype)
        return changed


@dataclass(frozen=True)
class Scaled(Change):
    """IA3: the inputs of a layer, or its outputs, are multiplied by a vector (Liu et al. 2022, arXiv:2205.05638)."""

    vector: Tensor
    of_inputs: bool
    scale: float = 1.0

    def require_fits(self, tensor: Tensor) -> None:
        """Check that the vector has an element for each input or output."""
        axis = self._axis(len(tensor.shape))
        if axis >= len(tensor.shape) or self.vector.spec.elements != tensor.shape[axis]:
            what = "inputs" if self.of_inputs else "outputs"
            vector = f"{self.vector.name} {list(self.vector.shape)}"
            raise PlanError(f"{vector} does not fit the {what} of {tensor.name}, which is {list(tensor.shape)}")

    def _axis(self, dimensions: int) -> int:
        return 1 if self.of_inputs and dimensions > 1 else 0

    def compute(self, weight: Array) -> Array:
        """Return the product; a `scale` other than 1 interpolates between the weight and it."""
        shape = [1] * weight.ndim
        shape[self._axis(weight.ndim)] = -1
        vector = widened(self.vector).reshape(shape)
        product: Array = weight * (1 + np.asarray(self.scale, weight.dtype) * (vector - 1))
        return product


@dataclass(frozen=True)
class Replaced(Change):
    """A weight that was trained as a whole replaces the model's."""

    tensor: Tensor

    def require_fits(self, tensor: Tensor) -> None:
        """Check its shape."""
        if self.tensor.shape != tensor.shape:
            raise PlanError(f"{self.tensor.name} is {list(self.tensor.shape)}, {tensor.name} {list(tensor.shape)}")

    def compute(self, weight: Array) -> Array:
        """Return the new values."""
        del weight
        return widened(self.tensor)
