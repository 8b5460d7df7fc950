"""State: variables with a checkpoint's values, whole or a slice of them, or those of their initialisers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import GraphError, PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.graph import files
from ckpttool.graph.contents.variables import variables
from ckpttool.model.model import Model
from ckpttool.runtime.state import State, fresh_tensors, initial_value


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


@pytest.fixture(params=[None, 7], ids=["without a seed", "with a seed of its own"])
def graph(request: pytest.FixtureRequest, new_network: Any, tmp_path: Path) -> Any:
    """Two variables with one initialiser, a constant, and the slices of a third; saved by plain TensorFlow."""
    net = new_network()
    with net.building():
        net.v1.set_random_seed(request.param)
        start = net.v1.truncated_normal_initializer(stddev=0.5, seed=request.param)
        for name in ("a", "b"):
            net.v1.get_variable(f"{name}/kernel", [40, 50], initializer=start)
        net.v1.get_variable("a/bias", [50], initializer=net.v1.constant_initializer(0.25))
        net.v1.get_variable("c/kernel", [5, 2], initializer=start, partitioner=net.v1.fixed_size_partitioner(2))
    return files.load(net.save(tmp_path / "model.ckpt"))


def fresh(graph: Any, seed: int) -> dict[str, Any]:
    names = ["a/kernel", "b/kernel", "a/bias", "c/kernel"]
    return {name: tensor.read() for name, tensor in fresh_tensors(graph, names, seed).items()}


def test_one_seed_one_value_another_seed_another(graph: Any) -> None:
    one, same, other = fresh(graph, 1), fresh(graph, 1), fresh(graph, 2)
    for name in one:
        np.testing.assert_array_equal(one[name], same[name])
    assert not np.array_equal(one["a/kernel"], other["a/kernel"])
    assert not np.array_equal(one["a/kernel"], one["b/kernel"])


def test_the_values_are_what_the_initialisers_give(graph: Any) -> None:
    found = fresh(graph, 1)
    np.testing.assert_array_equal(found["a/bias"], np.full(50, 0.25, np.float32))
    assert np.abs(found["a/kernel"]).max() <= 1.0  # two standard deviations
    assert found["a/kernel"].std() == pytest.approx(0.88 * 0.5, rel=0.1)
    assert found["c/kernel"].shape == (5, 2)
    assert len(np.unique(found["c/kernel"])) == 10


def test_no_names_no_values(graph: Any) -> None:
    assert fresh_tensors(graph, [], 1) == {}


def test_a_variable_without_an_initialiser_is_named(small: Path) -> None:
    graph = files.load(small)
    stripped = type(graph)(graph.meta, graph.source)
    for node in stripped.meta.graph_def.node:
        if node.name == "hidden1/kernel/Assign":
            node.op = "NoOp"
            del node.input[:]
    del stripped.meta.collection_def["variables"], stripped.meta.collection_def["trainable_variables"]
    with pytest.raises(GraphError, match="hidden1/kernel has no initialiser, so it cannot start fresh"):
        fresh_tensors(type(graph)(stripped.meta, "stripped.meta"), ["hidden1/kernel"], 1)
