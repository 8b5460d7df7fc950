"""State: variables with a checkpoint's values, whole or a slice of them; what does not fit is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.graph import files
from ckpttool.graph.contents.variables import variables
from ckpttool.model.model import Model
from ckpttool.runtime.state import State, initial_value


def test_the_values_are_those_of_the_checkpoint_by_op(small: Path) -> None:
    model = Model.open(small)
    found = State(variables(model.graph).values(), model.checkpoint).read()
    assert found.keys() == set(model.checkpoint)
    for name, value in found.items():
        np.testing.assert_array_equal(value, model.checkpoint[name].read())


@pytest.fixture
def parts(new_network: Any, tmp_path: Path) -> Path:
    """A graph with one variable of 5 rows in slices of 3 and 2, and a counter."""
    with new_network().building() as net:
        partitioner = net.v1.fixed_size_partitioner(2)
        net.v1.get_variable("table", [5, 2], partitioner=partitioner, initializer=net.v1.zeros_initializer())
        net.v1.train.get_or_create_global_step()
    return Path(net.save(tmp_path / "parts.ckpt"))


def test_a_slice_gets_its_rows(parts: Path) -> None:
    table = np.arange(10, dtype=np.float32).reshape(5, 2)
    values = {"table": Tensor.of("table", table), "global_step": Tensor.of("global_step", np.int64(7))}
    found = State(variables(files.load(parts)).values(), values).read()
    np.testing.assert_array_equal(found["table/part_0"], table[:3])
    np.testing.assert_array_equal(found["table/part_1"], table[3:])
    assert (found["global_step"], found["global_step"].dtype) == (7, np.int64)


def test_what_has_no_value_or_another_shape_is_named(small: Path) -> None:
    kernel = variables(files.load(small))["hidden1/kernel"]
    with pytest.raises(PlanError, match="no value for the variable hidden1/kernel: the checkpoint does not have it"):
        initial_value(kernel, {})
    other = {"hidden1/kernel": Tensor.of("hidden1/kernel", np.zeros((4, 9), np.float32))}
    with pytest.raises(PlanError, match=r"hidden1/kernel is \[4, 9\] in the checkpoint, \[4, 8\] in the graph"):
        State([kernel], other)
