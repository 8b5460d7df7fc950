"""LSTM: the same equations everywhere; the gates' order, the biases and the forget gate's constant differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.tensors import Array
from ckpttool.foreign.layouts.forms import Between
from ckpttool.foreign.layouts.layout import Shape
from ckpttool.foreign.layouts.recurrent import Cell, CellForm, CellSizes, Gate, KerasCell, TorchCell


@dataclass(frozen=True)
class Tf1Lstm(CellForm):
    """TensorFlow 1's BasicLSTMCell, LSTMCell and LSTMBlockCell, which add `forget_bias` when they run.

    See `call` of BasicLSTMCell in tensorflow/python/keras/layers/legacy_rnn/rnn_cell_impl.py.
    """

    words: ClassVar[str] = "kernel [inputs + units, 4 * units], bias [4 * units]"
    may_lack_biases: ClassVar[bool] = False
    gates: str = "igfo"
    forget_bias: float = 1.0

    def inputs_and_units(self, first: Shape) -> tuple[int, int]:
        """Read the kernel's shape."""
        units = first[1] // len(self.gates)
        return first[0] - units, units

    def shapes(self, sizes: CellSizes) -> list[Shape]:
        """Return a matrix and a vector."""
        self.require_biases(sizes)
        width = len(self.gates) * sizes.units
        return [(sizes.inputs + sizes.units, width), (width,)]

    def read(self, arrays: Sequence[Array]) -> Cell:
        """Return each gate."""
        units = len(arrays[1]) // len(self.gates)
        parts = zip(self.gates, self.split(arrays[0]), self.split(arrays[1]), strict=True)
        return {
            gate: Gate(kernel[:-units], kernel[-units:], (bias,), self._added(gate)) for gate, kernel, bias in parts
        }

    def write(self, cell: Cell) -> list[Array]:
        """Return the joined matrix and the bias."""
        kernel = np.concatenate(
            [
                self.side_by_side(cell, lambda gate: gate.kernel),
                self.side_by_side(cell, lambda gate: gate.recurrent),
            ]
        )
        return [kernel, np.concatenate([cell[gate].bias(self._added(gate)) for gate in self.gates])]

    def _added(self, gate: str) -> float:
        return self.forget_bias if gate == "f" else 0.0


FORMS: dict[str, CellForm] = {"torch": TorchCell("ifgo"), "keras": KerasCell("ifgo"), "tf1": Tf1Lstm()}


@dataclass(frozen=True)
class Lstm(Between):
    """An LSTM cell, from one form to another; each layer and each direction is a cell of its own.

    - `torch`: weight_ih, weight_hh, bias_ih, bias_hh, or no biases; gates i, f, g, o
    - `keras`: kernel, recurrent_kernel, bias, or no bias; the same gates
    - `tf1`: kernel, bias of a BasicLSTMCell, LSTMCell or LSTMBlockCell without peepholes and projection; gates
      i, g, f, o. It adds `forget_bias` to the forget gate when it runs, so that is taken off here: say what the
      graph's cell was made with (1.0 unless it was told)

    Two biases become their sum; the way back gives the sum as bias_ih and zeros as bias_hh, which is the same layer.
    Sums are made in float64 and rounded once; the forget gate's may so differ in the last bits on the way back.

    >>> Lstm("torch", "tf1").shapes([(20, 3), (20, 5), (20,), (20,)])
    [(8, 20), (20,)]
    """

    name: ClassVar[str] = "lstm"
    forms: ClassVar[tuple[str, ...]] = tuple(FORMS)
    forget_bias: float = 1.0

    def form(self, name: str) -> CellForm:
        """Return a form; TensorFlow 1's with the constant that its cell adds."""
        return Tf1Lstm(forget_bias=self.forget_bias) if name == "tf1" else FORMS[name]
