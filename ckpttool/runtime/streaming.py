"""Streaming: running a part of a graph on rows, some at a time, with results for each slice, or as means."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckpttool.core.errors import GraphError
from ckpttool.core.tensors import Array
from ckpttool.data.rows import Rows
from ckpttool.runtime.function import Feeds, GraphFunction, runner
from ckpttool.runtime.state import State

PART_BYTES = 4 << 20
"""Bytes of rows per call: the outputs of layers may be a hundred times as large as their inputs."""
LEAST_ROWS = 32
"""The minimal number of rows per call, of any size."""


@dataclass(frozen=True)
class Score:
    """The mean loss and accuracy of a model on some rows; `accuracy` is None if the graph has none."""

    rows: int
    loss: float
    accuracy: float | None


class Stream:
    """Runs a part of a graph that updates no variable."""

    def __init__(
        self,
        function: GraphFunction,
        state: State,
        constants: Feeds,
        then: Callable[[list[Any]], list[Any]] | None = None,
    ) -> None:
        """Store the part and its constant feeds; `then` maps the wanted tensors to those that are returned."""
        self.function, self._call = function, runner(function, state, constants, then)

    def over(self, arrays: Mapping[str, Rows], rows: int) -> Iterator[tuple[slice, list[Array]]]:
        """Yield slices of the rows, in order, with the wanted arrays for each."""
        for part in self.parts(arrays, rows):
            yield part, self.of(arrays, part)

    def parts(self, arrays: Mapping[str, Rows], rows: int) -> Iterator[slice]:
        """Yield slices of the rows, in order, of the size that is run at once."""
        per_row = sum(array.nbytes // rows for array in arrays.values())
        size = max(LEAST_ROWS, PART_BYTES // max(1, per_row))
        for start in range(0, rows, size):
            yield slice(start, min(rows, start + size))

    def of(self, arrays: Mapping[str, Rows], part: slice) -> list[Array]:
        """Return the wanted arrays for a slice of the rows."""
        return self._call({name: array[part] for name, array in arrays.items()})


class Means:
    """Means over all rows, computed from a graph's means over slices of rows: a loss, an accuracy."""

    def __init__(self, function: GraphFunction, count: int) -> None:
        """Start the means; the first `count` wanted tensors of the part are means over rows."""
        self._function = function
        self._totals, self._rows = np.zeros(count), 0

    def add(self, part: slice, values: Sequence[Array]) -> None:
        """Add the values computed for a slice of the rows.

        Raises:
            GraphError: one of the means is not a single number.
        """
        means, rows = values[: len(self._totals)], part.stop - part.start
        for place, value in enumerate(means):
            require_number(self._function, place, value.shape)
        self._totals += np.array([float(value) for value in means]) * rows
        self._rows += rows

    def read(self) -> list[float]:
        """Return the means."""
        means: list[float] = (self._totals / self._rows).tolist()
        return means


class Evaluator:
    """Evaluates rows with a graph in inference mode, on the variables of a state that may be in training."""

    def __init__(self, function: GraphFunction, state: State, constants: Feeds) -> None:
        """Store a part whose wanted tensors are the loss and, if there is one, the accuracy."""
        self._stream = Stream(function, state, constants)

    def score(self, arrays: Mapping[str, Rows], rows: int, bounds: Sequence[int] | None = None) -> Score:
        """Return the mean loss and accuracy over all rows, computed in batches with these `bounds`, if given."""
        means = Means(self._stream.function, len(self._stream.function.wanted))
        batches = map(slice, bounds, bounds[1:]) if bounds else self._stream.parts(arrays, rows)
        for part in batches:
            means.add(part, self._stream.of(arrays, part))
        loss, *accuracy = means.read()
        return Score(rows, loss, accuracy[0] if accuracy else None)


def require_number(function: GraphFunction, place: int, shape: Any) -> None:
    """Check that a tensor to average over rows is a single number, as far as its shape is known.

    Raises:
        GraphError: it is not a single number.
    """
    if shape.ndims if hasattr(shape, "ndims") else shape:
        given = f"{function.wanted[place]} is {list(shape)}"
        raise GraphError(f"{function.source}: {given}, expected one number: a mean over rows")
