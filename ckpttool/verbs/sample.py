"""Samples: what a network computed elsewhere, held against what a graph computes with imported weights.

A sample is arrays by name, an `.npz` say: rows under the names of the graph's placeholders, and under the names of its
layers, ops or tensors what the other framework computed there of these rows.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ckpttool.core.errors import DataError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.graph.contents.stored import window
from ckpttool.graph.core import Graph
from ckpttool.graph.roles.roles import certain_roles
from ckpttool.runtime.function import GraphFunction, runner
from ckpttool.runtime.state import State
from ckpttool.training.bound import mode
from ckpttool.verbs.sides import sides

TOLERANCE = 1e-4
"""How far numbers may be apart, relative to the largest: float32 rounds on the way through many layers."""


@dataclass(frozen=True)
class Difference:
    """How far a tensor of the graph is from the sample's: the largest difference, and that by the largest number."""

    name: str
    tensor: str
    shape: tuple[int, ...]
    max_abs: float
    relative: float
    equal: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(self), "shape": list(self.shape)}


class Sample:
    """A graph on a sample's rows, ready to be run again with other values."""

    def __init__(self, graph: Graph, values: Mapping[str, Tensor], sample: Mapping[str, Tensor]) -> None:
        """Take the values of the graph's variables by checkpoint name, and the sample's arrays.

        Raises:
            CkptError: `sides` says what.
        """
        fed, self._tensors = sides(graph, sample)
        self._sample = sample
        self._feeds = {f"{op}:0": sample[name].read() for name, op in fed.items()}
        modes = mode(certain_roles(graph), False)
        constants = {name: value for name, value in modes.items() if name not in self._feeds}
        wanted = list(self._tensors.values())
        self._function = GraphFunction(graph, wanted, [*self._feeds, *constants], modes=constants)
        self._state = State(self._function.variables, values)
        self._run = runner(self._function, self._state, constants)

    def set(self, name: str, value: Array) -> None:
        """Give a variable another value, where the graph computes with it."""
        self._state.write({v.op: value[window(v)] for v in self._function.variables if v.name == name})

    def differences(self, tolerance: float = TOLERANCE) -> list[Difference]:
        """Run the graph, and return how far each array is from what is computed there, in the order of the graph.

        An array with its channels first is compared with one that has them last.

        Raises:
            DataError: an array does not have the shape of its tensor.
        """
        computed = zip(self._tensors.items(), self._run(self._feeds), strict=True)
        return [
            _difference(name, self._sample[name].read(), tensor, found, tolerance) for (name, tensor), found in computed
        ]


def compare(
    graph: Graph, values: Mapping[str, Tensor], sample: Mapping[str, Tensor], tolerance: float = TOLERANCE
) -> list[Difference]:
    """Run a graph on a sample's rows, and say how far each of its other arrays is from what is computed there.

    The first that is not equal is where it goes wrong. What is raised, `Sample` and its `differences` say.
    """
    return Sample(graph, values, sample).differences(tolerance)


def _difference(name: str, stored: Array, tensor: str, found: Array, tolerance: float) -> Difference:
    expected = _matching(name, stored, tensor, found)
    apart = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    largest = float(apart.max(initial=0))
    relative = largest / (float(np.abs(expected).max(initial=0)) or 1.0)
    equal = bool(np.isfinite(apart).all()) and relative <= tolerance
    return Difference(name, tensor, found.shape, largest, relative, equal)


def _matching(name: str, expected: Array, tensor: str, found: Array) -> Array:
    """Return the sample's array in the shape of the graph's.

    Raises:
        DataError: it has another.
    """
    if expected.shape == found.shape:
        return expected
    if expected.ndim == found.ndim > 2 and np.moveaxis(expected, 1, -1).shape == found.shape:
        return np.moveaxis(expected, 1, -1)
    raise DataError(f"the sample's {name} is {list(expected.shape)}, {tensor} is {list(found.shape)}")
