"""Streaming: a part of a graph is run over rows, some at a time; what it gives comes back part by part, or as means."""

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
"""Bytes of rows per call: layers may give a hundred times the bytes that they are fed."""
LEAST_ROWS = 32
"""Rows per call, however large they are."""


@dataclass(frozen=True)
class Score:
    """What a model makes of some rows: means over the rows; `accuracy` is None in a graph that has none."""

    rows: int
    loss: float
    accuracy: float | None


class Stream:
    """Runs a part of a graph that changes no variable."""

    def __init__(
        self,
        function: GraphFunction,
        state: State,
        constants: Feeds,
        then: Callable[[list[Any]], list[Any]] | None = None,
    ) -> None:
        """Take the part, what is fed to it besides the rows, and what makes other tensors of the wanted ones."""
        self.function, self._call = function, runner(function, state, constants, then)

    def over(self, arrays: Mapping[str, Rows], rows: int) -> Iterator[tuple[slice, list[Array]]]:
        """Yield slices of the rows, in their order, and the wanted arrays for each."""
        for part in self.parts(arrays, rows):
            yield part, self.of(arrays, part)

    def parts(self, arrays: Mapping[str, Rows], rows: int) -> Iterator[slice]:
        """Yield slices of the rows, in their order, each of as many as are run at once."""
        per_row = sum(array.nbytes // rows for array in arrays.values())
        size = max(LEAST_ROWS, PART_BYTES // max(1, per_row))
        for start in range(0, rows, size):
            yield slice(start, min(rows, start + size))

    def of(self, arrays: Mapping[str, Rows], part: slice) -> list[Array]:
        """Return the wanted arrays for a slice of the rows."""
        return self._call({name: array[part] for name, array in arrays.items()})


class Means:
    """Means over all rows of what a part of a graph gives as means over some of them: a loss, an accuracy."""

    def __init__(self, function: GraphFunction, count: int) -> None:
        """Take the part, whose first `count` wanted tensors are such means."""
        self._function = function
        self._totals, self._rows = np.zeros(count), 0

    def add(self, part: slice, values: Sequence[Array]) -> None:
        """Take what was computed of a slice of the rows.

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
    """Scores rows with a graph in inference mode, on the variables of a state that may be training."""

    def __init__(self, function: GraphFunction, state: State, constants: Feeds) -> None:
        """Take a part whose wanted tensors are the loss and, where there is one, the accuracy."""
        self._stream = Stream(function, state, constants)

    def score(self, arrays: Mapping[str, Rows], rows: int, bounds: Sequence[int] | None = None) -> Score:
        """Return the mean loss and accuracy over all rows; over batches with these `bounds`, where it is of those."""
        means = Means(self._stream.function, len(self._stream.function.wanted))
        batches = map(slice, bounds, bounds[1:]) if bounds else self._stream.parts(arrays, rows)
        for part in batches:
            means.add(part, self._stream.of(arrays, part))
        loss, *accuracy = means.read()
        return Score(rows, loss, accuracy[0] if accuracy else None)


def require_number(function: GraphFunction, place: int, shape: Any) -> None:
    """Check that what is averaged over the rows is a single number, as far as its shape is known.

    Raises:
        GraphError: it is not.
    """
    if shape.ndims if hasattr(shape, "ndims") else shape:
        given = f"{function.wanted[place]} is {list(shape)}"
        raise GraphError(f"{function.source}: {given}, expected one number: a mean over rows")
