"""Initial values of variables: built once for equal initialisers, and drawn separately for each variable."""

from pathlib import Path

import numpy as np

from ckpttool.model.model import Model
from ckpttool.runtime.state import fresh_tensors
from tests.runtime.keras.networks import keras, layers


def test_variables_that_start_alike_are_drawn_each_for_itself_and_arrays_are_not_mixed_up(tmp_path: Path) -> None:
    values = [np.full((3, 3), number, "float32") for number in (1.0, 2.0)]
    dense = [layers.Dense(3, kernel_initializer="he_normal", name=name) for name in ("one", "two")]
    dense += [layers.Dense(3, kernel_initializer=keras.initializers.Constant(value)) for value in values]
    keras.Sequential([layers.Input((3,)), *dense]).save(tmp_path / "net.keras")
    opened = Model.open(tmp_path / "net.keras")

    drawn = [each.read() for each in fresh_tensors(opened.graph, [*opened.checkpoint], seed=3).values()]

    one, two, first, second = drawn[::2]
    assert not np.array_equal(one, two)
    np.testing.assert_array_equal([first, second], values)
