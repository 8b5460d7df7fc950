"""Recurrent cells gate by gate, and the forms that LSTM and GRU share: PyTorch's and Keras's."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.layouts.forms import Form
from ckpttool.layouts.layout import Shape


class CellSizes(NamedTuple):
    """The width of the inputs, the number of units, and whether there are biases."""

    inputs: int
    units: int
    biased: bool


@dataclass(frozen=True)
class Gate:
    """A gate: kernels `[inputs, units]` and `[units, units]`; none, one or two biases; a constant added to them."""

    kernel: Array
    recurrent: Array
    biases: tuple[Array, ...]
    added: float = 0.0

    def bias(self, added: float = 0.0) -> Array:
        """Return the sum of the biases and the constant, minus the target's constant, computed in float64."""
        rest, summed = self.added - added, [bias for bias in self.biases if bias.any()] or [*self.biases[:1]]
        if len(summed) == 1 and not rest:
            return summed[0]  # bit by bit: a sum with zeros would make another NaN of a signalling one
        with np.errstate(invalid="ignore"):
            total = sum((bias.astype(np.float64) for bias in summed), np.float64(rest))
        return np.asarray(total).astype(self.biases[0].dtype)

    def two_biases(self) -> tuple[Array, Array]:
        """Return the input's and the recurrent bias; a single one is the input's, and the other is zero."""
        if len(self.biases) == 2 and not self.added:
            return self.biases[0], self.biases[1]
        return self.bias(), np.zeros_like(self.biases[0])


Cell = dict[str, Gate]
"""A cell's gates, by a letter: LSTM i(nput), f(orget), g (what goes in), o(utput); GRU r(eset), z (update), n(ew)."""


@dataclass(frozen=True)
class CellForm(Form[CellSizes, Cell]):
    """The form of a cell's weights; `gates` is the order in which they are concatenated."""

    may_lack_biases: ClassVar[bool] = True
    gates: str

    @abstractmethod
    def inputs_and_units(self, first: Shape) -> tuple[int, int]:
        """Return the two sizes that the first array's shape says."""

    def sizes(self, shapes: Sequence[Shape]) -> CellSizes | None:
        """Return the sizes under which this form has these shapes."""
        if not shapes or len(shapes[0]) != 2:
            return None
        inputs, units = self.inputs_and_units(shapes[0])
        tried = [CellSizes(inputs, units, biased) for biased in ((True, False) if self.may_lack_biases else (True,))]
        return next((sizes for sizes in tried if inputs > 0 and self.shapes(sizes) == list(shapes)), None)

    def require_biases(self, sizes: CellSizes) -> None:
        """Refuse a cell without biases.

        Raises:
            PlanError: it has none.
        """
        if not sizes.biased:
            raise PlanError(
                f"a cell of {sizes.units} units without biases is none of TensorFlow 1, whose cells have them"
            )

    def side_by_side(self, cell: Cell, part: Callable[[Gate], Array]) -> Array:
        """Return a part of each gate, in this form's order, along the last axis."""
        return np.concatenate([part(cell[gate]) for gate in self.gates], -1)

    def split(self, array: Array) -> list[Array]:
        """Return the gates' parts of an array that has them side by side along its last axis."""
        return np.split(array, len(self.gates), -1)


@dataclass(frozen=True)
class TorchCell(CellForm):
    """PyTorch's LSTM and GRU: `weight_ih_l0`, `weight_hh_l0`, and both biases or none."""

    words: ClassVar[str] = (
        "weight_ih [gates * units, inputs], weight_hh [gates * units, units], and bias_ih, bias_hh [gates * units]"
    )

    def inputs_and_units(self, first: Shape) -> tuple[int, int]:
        """Read weight_ih's shape."""
        return first[1], first[0] // len(self.gates)

    def shapes(self, sizes: CellSizes) -> list[Shape]:
        """Return two matrices, and two vectors if there are biases."""
        width = len(self.gates) * sizes.units
        return [(width, sizes.inputs), (width, sizes.units), *[(width,)] * (2 * sizes.biased)]

    def read(self, arrays: Sequence[Array]) -> Cell:
        """Return each gate."""
        kernels, recurrent, *biases = [self.split(array.T) for array in arrays]
        pairs = list(zip(*biases, strict=True)) or [()] * len(self.gates)
        return {gate: Gate(kernels[at], recurrent[at], pairs[at]) for at, gate in enumerate(self.gates)}

    def write(self, cell: Cell) -> list[Array]:
        """Return the matrices and the biases."""
        matrices = [self.side_by_side(cell, lambda gate: gate.kernel).T]
        matrices.append(self.side_by_side(cell, lambda gate: gate.recurrent).T)
        return [*matrices, *two_biases(self, cell)]


@dataclass(frozen=True)
class OnnxCell(CellForm):
    """ONNX's LSTM and GRU of one direction: `W`, `R`, and `B` with both biases or none, each with a first size of 1.

    The rest of the form is PyTorch's, except for the order of the gates.
    """

    words: ClassVar[str] = (
        "W [1, gates * units, inputs], R [1, gates * units, units], and B [1, 2 * gates * units], of one direction"
    )

    def inputs_and_units(self, first: Shape) -> tuple[int, int]:
        """Read the shape of W without its first dimension."""
        return self._inside.inputs_and_units(first)

    def sizes(self, shapes: Sequence[Shape]) -> CellSizes | None:
        """Return the sizes under which this form has these shapes."""
        if len(shapes) not in (2, 3) or len(shapes[0]) != 3:
            return None
        sizes = CellSizes(*self.inputs_and_units(shapes[0][1:]), len(shapes) == 3)
        return sizes if sizes.inputs > 0 and self.shapes(sizes) == list(shapes) else None

    def shapes(self, sizes: CellSizes) -> list[Shape]:
        """Return two matrices, and one vector if there are biases."""
        matrix, recurrent, *biases = self._inside.shapes(sizes)
        return [(1, *matrix), (1, *recurrent), *[(1, 2 * matrix[0])] * bool(biases)]

    def read(self, arrays: Sequence[Array]) -> Cell:
        """Return each gate."""
        matrix, recurrent, *biases = (array[0] for array in arrays)
        return self._inside.read([matrix, recurrent, *(half for both in biases for half in np.split(both, 2))])

    def write(self, cell: Cell) -> list[Array]:
        """Return the matrices and the biases."""
        matrix, recurrent, *biases = self._inside.write(cell)
        return [matrix[None], recurrent[None], *([np.concatenate(biases)[None]] if biases else [])]

    @property
    def _inside(self) -> TorchCell:
        return TorchCell(self.gates)


def two_biases(form: CellForm, cell: Cell) -> list[Array]:
    """Return the input's and the recurrent biases, or nothing where the cell has none."""
    if not cell[form.gates[0]].biases:
        return []
    return [form.side_by_side(cell, lambda gate, at=at: gate.two_biases()[at]) for at in (0, 1)]  # type: ignore[misc]


@dataclass(frozen=True)
class KerasCell(CellForm):
    """Keras's LSTM and GRU: `kernel`, `recurrent_kernel`, and `bias` or none (two rows with `reset_after`).

    A Keras 1 file, in which the kernels of the gates are separate arrays, has another form.
    """

    words: ClassVar[str] = "kernel [inputs, gates * units], recurrent_kernel [units, gates * units], and bias"
    rows: int = 1

    def inputs_and_units(self, first: Shape) -> tuple[int, int]:
        """Read the kernel's shape."""
        return first[0], first[1] // len(self.gates)

    def shapes(self, sizes: CellSizes) -> list[Shape]:
        """Return two matrices, and the bias if there is one."""
        width = len(self.gates) * sizes.units
        bias = (width,) if self.rows == 1 else (self.rows, width)
        return [(sizes.inputs, width), (sizes.units, width), *[bias] * sizes.biased]

    def read(self, arrays: Sequence[Array]) -> Cell:
        """Return each gate."""
        kernels, recurrent = self.split(arrays[0]), self.split(arrays[1])
        rows = [self.split(row) for bias in arrays[2:] for row in bias.reshape(self.rows, -1)]
        biases = list(zip(*rows, strict=True)) or [()] * len(self.gates)
        return {gate: Gate(kernels[at], recurrent[at], biases[at]) for at, gate in enumerate(self.gates)}

    def write(self, cell: Cell) -> list[Array]:
        """Return the matrices and the bias."""
        matrices = [self.side_by_side(cell, lambda gate: gate.kernel)]
        matrices.append(self.side_by_side(cell, lambda gate: gate.recurrent))
        if not cell[self.gates[0]].biases:
            return matrices
        if self.rows == 2:
            return [*matrices, np.stack(two_biases(self, cell))]
        return [*matrices, self.side_by_side(cell, Gate.bias)]
