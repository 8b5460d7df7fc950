"""Methods applied to a layer, without a verb."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ckpttool.runtime.pretraining.method import Method, Place

Computed = Callable[..., tuple[float, float | None]]


@pytest.fixture
def judged() -> Computed:
    """A method's loss and metric for embeddings; its discarded layers have the given values."""

    def judged(method: Method, outputs: Any, seen: Any, kernel: Any, bias: Any, given: Any) -> tuple[float, float]:
        import tensorflow as tf

        tf1 = tf.compat.v1
        with tf.Graph().as_default(), tf1.Session() as session:
            place = Place(tf.constant(given), tf.constant(outputs), lambda: tf.constant(False))
            result = method.judged(place, tf.constant(seen))
            for variable in tf1.global_variables():
                session.run(variable.assign(kernel if variable.shape.rank == 2 else bias))
            loss, figure = session.run([result.loss, result.figure])
        return float(loss), float(figure)

    return judged


@pytest.fixture
def place() -> Callable[..., Place]:
    """A source of rows, which are used at once."""

    def place(given: Any, images: tuple[int, int, int] | None = None, **more: Any) -> Place:
        import tensorflow as tf

        rows = tf.constant(np.asarray(given, np.float32))
        return Place(rows, more.pop("outputs", rows), lambda: tf.constant(False), images=images, **more)

    return place
