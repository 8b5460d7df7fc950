"""The training loop: an epoch is one call into TensorFlow, with no Python per step.

A step runs the graph's own training op, whatever optimizer made it; the loop only deals out the rows.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckpttool.errors import GraphError
from ckpttool.runtime.function import Feeds, GraphFunction, runner
from ckpttool.runtime.state import State
from ckpttool.runtime.tensorflow import running, tensorflow
from ckpttool.tensors import Array

IN_MEMORY = 1 << 30
"""Bytes of rows that TensorFlow is given at once; a larger data set passes in chunks of whole batches."""
EVALUATED = 64 << 20
"""Bytes of rows per call when a model is evaluated."""


@dataclass(frozen=True)
class Score:
    """What a model makes of some rows: means over the rows; `accuracy` is None in a graph that has none."""

    rows: int
    loss: float
    accuracy: float | None


class Trainer:
    """Runs epochs of a graph's training op on variables that it owns."""

    def __init__(self, function: GraphFunction, state: State, constants: Feeds) -> None:
        """Take a step whose wanted tensors are the loss, then the ops that update the variables."""
        self._function, self._state, self._constants = function, state, dict(constants)
        self._run = tensorflow().function(self._batches, autograph=False, reduce_retracing=True)
        self._resident: dict[str, Any] | None = None

    def epoch(self, arrays: Mapping[str, Array], order: Array, bounds: Array) -> tuple[float, float]:
        """Take one step per batch of rows `order[bounds[i]:bounds[i + 1]]`; return the mean loss and the seconds."""
        start, total = time.perf_counter(), 0.0
        for rows, size in even_runs(order.astype(np.int32), bounds):
            for chunk, numbers in self._chunks(arrays, rows, size):
                with running(self._function.source):
                    total += float(self._run(chunk, numbers, size))
        return total / (len(bounds) - 1), time.perf_counter() - start

    def _batches(self, arrays: dict[str, Any], numbers: Any, size: int) -> Any:
        """Take a step for each `size` rows; their count is known when this is traced, which makes the graph simpler."""
        tf = tensorflow()
        steps = tf.shape(numbers)[0] // size

        def step(number: Any, total: Any) -> tuple[Any, Any]:
            rows = tf.slice(numbers, [number * size], [size])
            feeds = {name: tf.gather(array, rows) for name, array in arrays.items()}
            loss, *updates = self._function(self._state, {**self._constants, **feeds})
            _require_number(self._function, 0, loss.shape)
            with tf.control_dependencies(updates):
                tf.timestamp()  # an op with effects: what the step returns waits for it, and the next step for that
                return number + 1, total + tf.cast(loss, tf.float32)

        return tf.while_loop(lambda number, _: number < steps, step, [tf.constant(0), tf.constant(0.0)])[1]

    def _chunks(self, arrays: Mapping[str, Array], rows: Array, size: int) -> Iterator[tuple[dict[str, Any], Any]]:
        """Yield rows in parts that fit in memory: all of them, copied once, or some batches' rows at a time."""
        tf = tensorflow()
        if sum(array.nbytes for array in arrays.values()) <= IN_MEMORY:
            self._resident = self._resident or {name: tf.constant(array) for name, array in arrays.items()}
            yield self._resident, tf.constant(rows)
            return
        per_chunk = size * max(1, IN_MEMORY // (size * sum(array.nbytes // len(array) for array in arrays.values())))
        for start in range(0, len(rows), per_chunk):
            part = rows[start : start + per_chunk]
            yield {name: tf.constant(array[part]) for name, array in arrays.items()}, tf.range(len(part))


def even_runs(order: Array, bounds: Array) -> Iterator[tuple[Array, int]]:
    """Yield the rows of batches that follow one another and are of one size, with that size.

    >>> [(rows.tolist(), size) for rows, size in even_runs(np.array([4, 0, 3, 1, 2]), np.array([0, 2, 4, 5]))]
    [([4, 0, 3, 1], 2), ([2], 1)]
    """
    sizes = np.diff(bounds)
    ends = [*np.flatnonzero(np.diff(sizes)) + 1, len(sizes)]
    for first, last in zip([0, *ends], ends, strict=False):
        yield order[bounds[first] : bounds[last]], int(sizes[first])


class Evaluator:
    """Scores rows with a graph in inference mode, on the variables of a state that may be training."""

    def __init__(self, function: GraphFunction, state: State, constants: Feeds) -> None:
        """Take a part whose wanted tensors are the loss and, where there is one, the accuracy."""
        self._function, self._call = function, runner(function, state, constants)

    def score(self, arrays: Mapping[str, Array], rows: int) -> Score:
        """Return the mean loss and accuracy over all rows."""
        size = max(1, EVALUATED // max(1, sum(array.nbytes // rows for array in arrays.values())))
        totals = np.zeros(2)
        for start in range(0, rows, size):
            feeds = {name: array[start : start + size] for name, array in arrays.items()}
            values = self._call(feeds)
            for place, value in enumerate(values):
                _require_number(self._function, place, value.shape)
            found = np.array([float(value) for value in values])
            totals[: len(found)] += found * min(size, rows - start)
        loss, accuracy = (totals / rows).tolist()
        return Score(rows, loss, accuracy if len(found) > 1 else None)


def _require_number(function: GraphFunction, place: int, shape: Any) -> None:
    """Check that what is averaged over the rows is a single number, as far as its shape is known."""
    if shape.ndims if hasattr(shape, "ndims") else shape:
        name, found = function.wanted[place], list(shape)
        raise GraphError(f"{function.source}: {name} is {found}, expected one number: a mean over rows")
