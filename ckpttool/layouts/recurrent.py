"""Recurrent cells: LSTM and GRU, and their forms in TensorFlow 1.

LSTMs differ only in the gates' order, the biases and the forget gate's constant. There are two kinds of GRU that cannot
be converted to each other: the reset gate acts before or after the recurrent product.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.layouts.forms import Between
from ckpttool.layouts.gates import Cell, CellForm, CellSizes, Gate, KerasCell, OnnxCell, TorchCell
from ckpttool.layouts.layout import Shape


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


LSTM_FORMS: dict[str, CellForm] = {
    "torch": TorchCell("ifgo"),
    "keras": KerasCell("ifgo"),
    "tf1": Tf1Lstm(),
    "onnx": OnnxCell("iofg"),
}


@dataclass(frozen=True)
class Lstm(Between):
    """An LSTM cell, from one form to another; each layer and each direction is a cell of its own.

    - `torch`: weight_ih, weight_hh, bias_ih, bias_hh, or no biases; gates i, f, g, o
    - `keras`: kernel, recurrent_kernel, bias, or no bias; the same gates
    - `onnx`: W, R, B, or no B, of one direction; gates i, o, f, g
    - `tf1`: kernel, bias of a BasicLSTMCell, LSTMCell or LSTMBlockCell without peepholes and projection; gates
      i, g, f, o. It adds `forget_bias` to the forget gate when it runs, so that is taken off here: say what the
      graph's cell was made with (1.0 by default)

    Two biases become their sum; the way back gives the sum as bias_ih and zeros as bias_hh, which is the same layer.
    Sums are made in float64 and rounded once; the forget gate's may so differ in the last bits on the way back.

    >>> Lstm("torch", "tf1").shapes([(20, 3), (20, 5), (20,), (20,)])
    [(8, 20), (20,)]
    """

    name: ClassVar[str] = "lstm"
    forms: ClassVar[tuple[str, ...]] = tuple(LSTM_FORMS)
    forget_bias: float = 1.0

    def form(self, name: str) -> CellForm:
        """Return a form; TensorFlow 1's with the constant that its cell adds."""
        return Tf1Lstm(forget_bias=self.forget_bias) if name == "tf1" else LSTM_FORMS[name]


@dataclass(frozen=True)
class Tf1Gru(CellForm):
    """The common part of TensorFlow 1's GRU cells: the gates r and z in one kernel, the candidate n separate."""

    may_lack_biases: ClassVar[bool] = False
    gates: str = "rz"

    def inputs_and_units(self, first: Shape) -> tuple[int, int]:
        """Read the shape of the gates' kernel."""
        units = first[1] // 2
        return first[0] - units, units

    def shapes(self, sizes: CellSizes) -> list[Shape]:
        """Return the shapes of the gates, then of the candidate."""
        self.require_biases(sizes)
        inputs, units, _ = sizes
        return [(inputs + units, 2 * units), (2 * units,), *self.candidate_shapes(inputs, units)]

    def read(self, arrays: Sequence[Array]) -> Cell:
        """Return each gate."""
        units = len(arrays[1]) // 2
        parts = zip(self.gates, self.split(arrays[0]), self.split(arrays[1]), strict=True)
        cell = {gate: Gate(kernel[:-units], kernel[-units:], (bias,)) for gate, kernel, bias in parts}
        return cell | {"n": self.read_candidate(arrays[2:], units)}

    def write(self, cell: Cell) -> list[Array]:
        """Return the gates, then the candidate."""
        kernels = [self.side_by_side(cell, lambda gate: gate.kernel)]
        kernels.append(self.side_by_side(cell, lambda gate: gate.recurrent))
        return [np.concatenate(kernels), self.side_by_side(cell, Gate.bias), *self.write_candidate(cell["n"])]

    @abstractmethod
    def candidate_shapes(self, inputs: int, units: int) -> list[Shape]:
        """Return the shapes of the candidate's arrays."""

    @abstractmethod
    def read_candidate(self, arrays: Sequence[Array], units: int) -> Gate:
        """Return the candidate."""

    @abstractmethod
    def write_candidate(self, gate: Gate) -> list[Array]:
        """Return the candidate's arrays."""


@dataclass(frozen=True)
class GruCellTf1(Tf1Gru):
    """GRUCell, which resets before.

    See its `call` in tensorflow/python/keras/layers/legacy_rnn/rnn_cell_impl.py.
    """

    words: ClassVar[str] = (
        "gates kernel [inputs + units, 2 * units], bias [2 * units], candidate kernel [inputs + units, units], "
        "bias [units]"
    )

    def candidate_shapes(self, inputs: int, units: int) -> list[Shape]:
        """Return a matrix and a vector."""
        return [(inputs + units, units), (units,)]

    def read_candidate(self, arrays: Sequence[Array], units: int) -> Gate:
        """Split the kernel."""
        return Gate(arrays[0][:-units], arrays[0][-units:], (arrays[1],))

    def write_candidate(self, gate: Gate) -> list[Array]:
        """Join the kernels."""
        return [np.concatenate([gate.kernel, gate.recurrent]), gate.bias()]


@dataclass(frozen=True)
class Parted(Tf1Gru):
    """CudnnCompatibleGRUCell, which resets after; a CudnnGRU is saved in the same form.

    See tensorflow/contrib/cudnn_rnn/python/ops/cudnn_rnn_ops.py of TensorFlow 1.15.
    """

    words: ClassVar[str] = (
        "gates kernel [inputs + units, 2 * units], bias [2 * units], candidate's input_projection kernel "
        "[inputs, units], bias [units], hidden_projection kernel [units, units], bias [units]"
    )

    def candidate_shapes(self, inputs: int, units: int) -> list[Shape]:
        """Return two matrices, each with its vector."""
        return [(inputs, units), (units,), (units, units), (units,)]

    def read_candidate(self, arrays: Sequence[Array], units: int) -> Gate:
        """Join the two projections."""
        return Gate(arrays[0], arrays[2], (arrays[1], arrays[3]))

    def write_candidate(self, gate: Gate) -> list[Array]:
        """Return the two projections."""
        bias, recurrent_bias = gate.two_biases()
        return [gate.kernel, bias, gate.recurrent, recurrent_bias]


RESET_AFTER: dict[str, CellForm] = {
    "torch": TorchCell("rzn"),
    "keras": KerasCell("zrn", rows=2),
    "tf1_cudnn": Parted(),
    "onnx": OnnxCell("zrn"),
}
RESET_BEFORE: dict[str, CellForm] = {"keras_reset_before": KerasCell("zrn"), "tf1": GruCellTf1()}


@dataclass(frozen=True)
class Gru(Between):
    """A GRU cell, from one form to another; each layer and each direction is a cell of its own.

    The reset gate acts after the recurrent product in:

    - `torch`: weight_ih, weight_hh, bias_ih, bias_hh, or no biases; gates r, z, n
    - `keras`: kernel, recurrent_kernel, bias, or no bias, of a GRU with `reset_after=True`; gates z, r, n; both biases
    - `onnx`: W, R, B, or no B, of one direction, with `linear_before_reset=1` as PyTorch exports it; gates z, r, n
    - `tf1_cudnn`: gates/kernel, gates/bias, candidate/input_projection/kernel, its bias,
      candidate/hidden_projection/kernel, its bias

    and before it in:

    - `keras_reset_before`: the same arrays as `keras`, one bias
    - `tf1`: gates/kernel, gates/bias, candidate/kernel, candidate/bias of a GRUCell; gates r, z

    `tf1_cudnn` has one bias for r and z, the sum; the way back gives it as bias_ih, and zeros as bias_hh.

    >>> Gru("torch", "keras").shapes([(15, 3), (15, 5), (15,), (15,)])
    [(3, 15), (5, 15), (2, 15)]
    """

    name: ClassVar[str] = "gru"
    forms: ClassVar[tuple[str, ...]] = (*RESET_AFTER, *RESET_BEFORE)

    def __post_init__(self) -> None:
        """Check that both forms are of the same kind of GRU."""
        super().__post_init__()
        if (self.source in RESET_AFTER) != (self.target in RESET_AFTER):
            raise PlanError(
                f"no weights make {self.source} and {self.target} equal: the reset gate acts after the recurrent "
                f"product in {', '.join(RESET_AFTER)}, before it in {', '.join(RESET_BEFORE)}"
            )

    def form(self, name: str) -> CellForm:
        """Return a form."""
        return RESET_AFTER[name] if name in RESET_AFTER else RESET_BEFORE[name]
