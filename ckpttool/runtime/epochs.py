"""The training loop: one call into TensorFlow runs many steps, without Python between them.

A step runs the graph's own training op, for any optimizer; the loop only selects the rows.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from ckpttool.core.tensors import Array
from ckpttool.data.rows import IN_MEMORY
from ckpttool.runtime.configure import running, tensorflow
from ckpttool.runtime.function import STEP_NUMBER, Feeds, GraphFunction, of_any_rows
from ckpttool.runtime.state import State
from ckpttool.runtime.streaming import require_number

CHUNK = 64 << 20
"""Bytes of rows in a chunk of a data set that does not fit in memory."""

Arrays = Mapping[str, Any]
"""Rows by the tensor that they are fed to: arrays, or objects that return arrays for slices and row numbers."""
Prepare = Callable[[dict[str, Any], Any], dict[str, Any]]
"""Transforms a batch inside the loop, given the step: augmentation."""


@dataclass(frozen=True)
class Steps:
    """The result of some steps: their number, the sum of losses so far, the seconds; the last loss may be NaN."""

    count: int
    total: float
    seconds: float

    @property
    def failed(self) -> bool:
        """Return whether the last step's loss was not finite; no step follows it."""
        return not isfinite(self.total)


class EpochRunner:
    """Runs steps of a graph's training op on variables that it owns."""

    def __init__(self, function: GraphFunction, state: State, constants: Feeds, prepare: Prepare | None = None) -> None:
        """Prepare a step: `function` returns the loss, and runs the ops that update the variables."""
        self._function, self._state, self._constants = function, state, dict(constants)
        self._prepare = prepare or (lambda feeds, _: feeds)
        self._traceable = tensorflow().function(self._batches, autograph=False, reduce_retracing=True)
        self._first_size: int | None = None
        self._resident: tuple[Arrays, dict[str, Any]] | None = None

    def steps(self, arrays: Arrays, order: Array, size: int, first: int, total: float = 0.0) -> Steps:
        """Run a step for each `size` rows of `order`, numbered from `first`; their losses are added to `total`.

        The sum does not depend on how an epoch's steps are split into calls. Stops at a loss that is not finite.
        """
        tf, start, count = tensorflow(), time.perf_counter(), 0
        for chunk, numbers in self._chunks(arrays, order.astype(np.int32), size):
            with running(self._function.source):
                where = tf.constant(first + count, tf.int64), tf.constant(total, tf.float64)
                taken, added = self._run(chunk, numbers, size, *where)
            count, total = count + int(taken), float(added)
            if not isfinite(total):
                break
        return Steps(count, total, time.perf_counter() - start)

    def _run(self, arrays: dict[str, Any], numbers: Any, size: int, first: Any, total: Any) -> tuple[Any, Any]:
        """Run steps, traced once for any number of steps and rows, and once more for any other batch size."""
        self._first_size = self._first_size or size
        known = size if size == self._first_size else tensorflow().constant(size)
        some = {name: of_any_rows(array) for name, array in arrays.items()}
        self._traceable.get_concrete_function(some, of_any_rows(numbers), known, first, total)
        taken: tuple[Any, Any] = self._traceable(arrays, numbers, known, first, total)
        return taken

    def _batches(self, arrays: dict[str, Any], numbers: Any, size: int, first: Any, total: Any) -> tuple[Any, Any]:
        """Run a step for each `size` rows; the graph is simpler if the size is known when it is traced."""
        tf = tensorflow()
        steps = tf.shape(numbers)[0] // size

        def step(number: Any, total: Any) -> tuple[Any, Any]:
            rows = tf.slice(numbers, [number * size], [size])
            position = first + tf.cast(number, tf.int64)
            feeds = self._prepare({name: tf.gather(array, rows) for name, array in arrays.items()}, position)
            loss, *updates = self._function(self._state, {**self._constants, **feeds, STEP_NUMBER: position})
            require_number(self._function, 0, loss.shape)
            with tf.control_dependencies(updates):
                tf.timestamp()  # has a side effect, so the step's result waits for it, and the next step for the result
                return number + 1, total + tf.cast(loss, tf.float64)

        going = lambda number, total: (number < steps) & tf.math.is_finite(total)  # noqa: E731
        count, total = tf.while_loop(going, step, [tf.constant(0), total])
        return count, total

    def _chunks(self, arrays: Arrays, order: Array, size: int) -> Iterator[tuple[dict[str, Any], Any]]:
        """Yield rows in parts that fit in memory: all of them, copied once, or those of some batches at a time."""
        tf = tensorflow()
        if sum(array.nbytes for array in arrays.values()) <= IN_MEMORY:
            yield self._all(arrays), tf.constant(order)
            return
        per_row = sum(array.nbytes // len(array) for array in arrays.values())
        per_chunk = size * max(1, min(CHUNK, IN_MEMORY) // (size * per_row))
        for start in range(0, len(order), per_chunk):
            part = order[start : start + per_chunk]
            yield {name: tf.constant(array[part]) for name, array in arrays.items()}, tf.range(len(part))

    def _all(self, arrays: Arrays) -> dict[str, Any]:
        """Return the rows as TensorFlow tensors; they are copied unless they are those of the previous call."""
        if self._resident is None or self._resident[0] is not arrays:
            copied = {name: tensorflow().constant(np.asarray(array[:])) for name, array in arrays.items()}
            self._resident = arrays, copied
        return self._resident[1]
