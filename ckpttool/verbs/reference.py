"""References: outputs computed by another framework, compared with those of a graph with imported weights.

A reference has arrays by name, such as an `.npz`: rows under the names of the graph's placeholders, and under the names
of its layers, ops or tensors the values that the other framework computed for these rows.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ckpttool.core.dtypes import STRING
from ckpttool.core.errors import DataError, UnknownName
from ckpttool.core.shapes import agrees, shown
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import TOLERANCE, Array, Tensor
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.contents.op_outputs import dtype_of_output, known_shape, shape_of_output
from ckpttool.graph.contents.stored import window
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import PLACEHOLDERS
from ckpttool.graph.rewrite.inference import in_inference
from ckpttool.graph.roles.resolve import certain_roles
from ckpttool.runtime.function import GraphFunction, runner
from ckpttool.runtime.state import State
from ckpttool.training.bound import mode


@dataclass(frozen=True)
class Difference:
    """The difference of a tensor from the reference: the maximum, absolute and relative to the largest value."""

    name: str
    tensor: str
    shape: tuple[int, ...]
    max_abs: float
    relative: float
    equal: bool

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "shape": list(self.shape)}


def compare(
    graph: Graph, values: Mapping[str, Tensor], reference: Mapping[str, Tensor], tolerance: float = TOLERANCE
) -> list[Difference]:
    """Run a graph on a reference's rows, and return the difference of each other array.

    The first unequal one is the place of the error.

    Raises:
        CkptError: see `feeds_and_outputs` and `Reference.differences`.
    """
    return Reference(graph, values, reference).differences(tolerance)


class Reference:
    """A graph with a reference's rows, which can be run repeatedly with other values."""

    def __init__(self, graph: Graph, values: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> None:
        """Initialise with the values of the graph's variables by checkpoint name, and the reference's arrays.

        Raises:
            CkptError: see `feeds_and_outputs`.
        """
        fed, self._tensors = feeds_and_outputs(graph, reference)
        self._reference = reference
        self._feeds = {f"{op}:0": reference[name].read() for name, op in fed.items()}
        modes = mode(certain_roles(graph), False)
        constants = {name: value for name, value in modes.items() if name not in self._feeds}
        wanted = list(self._tensors.values())
        given = [*self._feeds, *constants]
        self._function = GraphFunction(in_inference(graph, wanted, given).graph, wanted, given, modes=constants)
        self._state = State(self._function.variables, values)
        self._run = runner(self._function, self._state, constants)

    def set(self, name: str, value: Array) -> None:
        """Set the value of a variable, if the graph uses it."""
        self._state.write({v.op: value[window(v)] for v in self._function.variables if v.name == name})

    def differences(self, tolerance: float = TOLERANCE) -> list[Difference]:
        """Run the graph, and return the difference of each array, in graph order.

        An array with channels first is compared with a tensor with channels last.

        Raises:
            DataError: an array does not have the shape of its tensor.
        """
        outputs = zip(self._tensors.items(), self._run(self._feeds), strict=True)
        return [
            difference(self._reference[name].renamed(name), tensor, computed, tolerance)
            for (name, tensor), computed in outputs
        ]


def difference(array: Tensor, tensor: str, computed: Array, tolerance: float = TOLERANCE) -> Difference:
    """Return the difference between an array of a reference and a computed tensor of the graph.

    Raises:
        DataError: it has another shape; channels may be first.
    """
    expected = array.read()
    if expected.ndim == computed.ndim > 2 and expected.shape != computed.shape:
        expected = np.moveaxis(expected, 1, -1)
    if expected.shape != computed.shape:
        raise DataError(f"the reference's {array.name} is {list(array.shape)}, {tensor} is {list(computed.shape)}")
    apart = np.abs(computed.astype(np.float64) - expected.astype(np.float64))
    largest = float(apart.max(initial=0))
    relative = largest / (float(np.abs(expected).max(initial=0)) or 1.0)
    equal = bool(np.isfinite(apart).all()) and relative <= tolerance
    return Difference(array.name, tensor, computed.shape, largest, relative, equal)


def feeds_and_outputs(graph: Graph, reference: Mapping[str, Tensor]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the placeholders that a reference feeds, and the tensors to compare, by the reference's names.

    Raises:
        UnknownName: the name of an array does not exist in the graph.
        DataError: there is nothing to feed, or nothing to compare; an array is empty, or has no numbers to compare; a
            shape or a dtype is not that of its tensor, as far as the graph has it.
    """
    fed: dict[str, str] = {}
    compared: dict[str, TensorRef] = {}
    for name in reference:
        op = TensorRef.parse(name).op
        if op in graph.nodes and graph.nodes[op].op in PLACEHOLDERS:
            fed[name] = op
        else:
            compared[name] = _tensor(graph, name)
    if not fed or not compared:
        inputs = ", ".join(certain_roles(graph).inputs)
        raise DataError(
            f"the reference has {', '.join(reference) or 'nothing'}: expected rows under a placeholder's name "
            f"({inputs}) and what a layer or op computes of them under its name"
        )
    for name in reference:
        if 0 in reference[name].shape:
            raise DataError(f"the reference's {name} is {list(reference[name].shape)}: nothing to compare")
    places = {op: place for place, op in enumerate(graph.nodes)}
    compared = dict(sorted(compared.items(), key=lambda item: places[item[1].op]))
    needed = graph.ancestors(*(ref.op for ref in compared.values()))
    for name, op in ((name, op) for name, op in fed.items() if op in needed):
        _check_fed(graph, reference[name], TensorRef(op, 0))
    for name, ref in compared.items():
        _check_compared(graph, reference[name], ref)
    return fed, {name: str(ref) for name, ref in compared.items()}


def _tensor(graph: Graph, name: str) -> TensorRef:
    """Return the tensor of a name: of an op, one of its outputs, or a layer."""
    ref = TensorRef.parse(name)
    if ref.op in graph.nodes:
        return ref
    outputs = {layer.name: layer.output for layer in layers(graph) if layer.output}
    if name not in outputs:
        near = suggestion(name, [*outputs, *graph.nodes])
        raise UnknownName(f"{graph.source}: the reference's {name} is not a placeholder, layer or op{near}")
    return TensorRef.parse(outputs[name])


def _check_fed(graph: Graph, array: Tensor, ref: TensorRef) -> None:
    """Check that a placeholder accepts rows.

    Raises:
        DataError: the dtype or the shape differs.
    """
    dtype, shape = dtype_of_output(graph, ref), known_shape(shape_of_output(graph, ref))
    if array.dtype is not dtype or not agrees(array.shape, shape):
        takes = f"{dtype}" if shape is None else f"{dtype} {shown(shape)}"
        order = (0, *range(2, len(array.shape)), 1)
        first = array.dtype is dtype and len(array.shape) > 2 and agrees(_channels_last(array), shape)
        hint = f"; channels come last in TensorFlow: save {array.name}.transpose{order}" if first else ""
        raise DataError(f"the reference's {array.name} is {array.dtype} {list(array.shape)}, {ref} takes {takes}{hint}")


def _channels_last(array: Tensor) -> tuple[int, ...]:
    """Return the shape of an array with channels first, with its channels moved to the end."""
    return (*array.shape[:1], *array.shape[2:], *array.shape[1:2]) if len(array.shape) > 2 else array.shape


def _check_compared(graph: Graph, array: Tensor, ref: TensorRef) -> None:
    """Check that an array can be compared with a tensor; channels may be first.

    Raises:
        DataError: it has text, booleans or complex numbers and the tensor does not, or its shape differs.
    """
    shape = known_shape(shape_of_output(graph, ref))
    if array.dtype is STRING:
        raise DataError(f"the reference's {array.name} is text, expected numbers")
    if graph.meta.meta_info_def.stripped_op_list.op:  # else the dtype would be a guess
        dtype = dtype_of_output(graph, ref)
        if dtype is not array.dtype and not (dtype.is_number and array.dtype.is_number):
            raise DataError(f"the reference's {array.name} is {array.dtype}, {ref} is {dtype}")
    if not agrees(array.shape, shape) and not agrees(_channels_last(array), shape):
        raise DataError(f"the reference's {array.name} is {list(array.shape)}, {ref} is {shown(shape or ())}")
