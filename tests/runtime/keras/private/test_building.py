"""Models are built without values, and the reason for a failure is one line."""

import numpy as np
import pytest

from ckpttool.runtime.keras.private.building import initializer_of, reason_of, variables_without_values
from tests.runtime.keras.networks import keras, layers


def test_a_model_is_built_without_values_and_leaves_nothing_to_initialise() -> None:
    with variables_without_values():
        model = keras.Sequential([layers.Input((3,)), layers.Dense(2, kernel_initializer="ones")])
    kernel, _ = model.variables

    assert kernel._value is None
    np.testing.assert_array_equal(initializer_of(kernel)((3, 2), dtype="float32"), np.ones((3, 2)))
    assert layers.Dense(1)(np.ones((1, 2))).shape == (1, 1)  # later models have values at once


def test_the_reason_of_an_error_is_a_line() -> None:
    with pytest.raises(ValueError, match="incompatible") as raised:
        layers.Dense(2)(np.ones(3))

    assert reason_of(raised.value).startswith("Input 0")
    assert "\n" not in reason_of(raised.value)
