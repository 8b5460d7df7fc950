"""TensorFlow's private parts that are used, each compared with its purpose."""

from typing import Any

import numpy as np
import pytest

from ckpttool.runtime.optimizers import Optimizer
from ckpttool.runtime.private import (
    is_registered,
    leave_unordered,
    outputs_at_import,
    register_functions,
    with_rate_per_variable,
)


@pytest.fixture
def tf() -> Any:
    import tensorflow

    return tensorflow


def test_types_of_ops_are_known_or_not() -> None:
    assert (is_registered("Relu"), is_registered("HorovodAllreduce")) == (True, False)


def test_functions_of_an_imported_graph_are_found_inside_of_a_loop(tf: Any) -> None:
    """A loop in a `tf.function` is its own function, which looks up others in the table of the process."""
    message = tf.compat.v1.GraphDef()
    signature = message.library.function.add().signature
    signature.name = "twice_for_a_test_of_private_parts"
    signature.input_arg.add(name="x", type=1)
    signature.output_arg.add(name="y", type=1)
    body = message.library.function[0]
    body.node_def.add(name="sum", op="AddV2", input=["x", "x"]).attr["T"].type = 1
    body.ret["y"] = "sum:z:0"
    message.node.add(name="x", op="Placeholder").attr["dtype"].type = 1
    message.node.add(name="y", op=signature.name, input=["x"])
    register_functions(message.library)

    @tf.function(autograph=False)
    def eight_times(x: Any) -> Any:
        def step(number: Any, value: Any) -> tuple[Any, Any]:
            (doubled,) = tf.graph_util.import_graph_def(message, {"x": value}, ["y:0"])
            return number + 1, doubled

        return tf.while_loop(lambda number, _: number < 3, step, [0, x])[1]

    assert float(eight_times(tf.constant(2.0))) == 16


def test_an_import_tells_what_comes_out_of_ops(tf: Any) -> None:
    with tf.Graph().as_default() as graph:
        tf.split(tf.compat.v1.placeholder(tf.float64, [None, 4]), 2, axis=1, name="halves")
    (both,) = outputs_at_import(graph.as_graph_def().SerializeToString(), ["halves"]).values()
    assert [(each.dtype, each.shape.as_list()) for each in both] == [(tf.float64, [None, 2])] * 2


@pytest.mark.parametrize("left_alone", [False, True])
def test_ops_that_are_left_unordered_get_no_control_inputs(tf: Any, left_alone: bool) -> None:
    @tf.function(autograph=False)
    def effects() -> Any:
        first, second = tf.raw_ops.Timestamp(), tf.raw_ops.Timestamp()
        total = first + second
        leave_unordered([first.op, second.op] if left_alone else [])
        return total

    graph = effects.get_concrete_function().graph
    inputs = [op.control_inputs for op in graph.get_operations() if op.type == "Timestamp"]
    assert [len(each) for each in inputs] == ([0, 0] if left_alone else [0, 1])


STEP = [0.1, -0.2]


def trained(tf: Any, name: str, rates: dict[str, float], resource: bool, decay: float = 0.0) -> dict[str, Any]:
    """Apply one step with the gradient STEP to variables of two elements, each with its own rate."""
    tf1, kind = tf.compat.v1, Optimizer.known()[name]()
    with tf1.Graph().as_default(), tf1.Session() as session:
        variables = {
            variable: tf1.get_variable(variable, initializer=tf1.constant([[1.0, 2.0]]), use_resource=resource)
            for variable in rates
        }
        tensors = {variable: tf1.constant(rate) for variable, rate in rates.items()}
        after = tf1.get_variable("after", initializer=tf1.constant(0.0), use_resource=resource)
        arguments = {key: value for key, value in kind.arguments().items() if key != "weight_decay"}
        base = getattr(tf1.train, kind.base)
        made = with_rate_per_variable(base, tensors, decay, lambda: [after.assign_add(1.0).op])
        optimizer = made(next(iter(tensors.values())), **arguments)
        step = optimizer.apply_gradients([(tf1.constant([STEP]), variable) for variable in variables.values()])
        session.run(tf1.global_variables_initializer())
        session.run(step)
        assert session.run(after) == 1
        return {variable: session.run(tensor) for variable, tensor in variables.items()}


@pytest.mark.parametrize("name", Optimizer.known())
@pytest.mark.parametrize("resource", [False, True], ids=["reference variables", "resource variables"])
def test_each_variable_is_updated_by_its_own_rate(tf: Any, name: str, resource: bool) -> None:
    together = trained(tf, name, {"low": 0.01, "high": 0.5}, resource)
    for variable, rate in (("low", 0.01), ("high", 0.5)):
        np.testing.assert_allclose(together[variable], trained(tf, name, {variable: rate}, resource)[variable])
    assert np.abs(together["low"] - together["high"]).min() > 1e-3


def test_decay_takes_its_share_of_the_weights_before_the_update(tf: Any) -> None:
    weights = trained(tf, "sgd", {"kernel": 0.5}, resource=False, decay=0.2)["kernel"]
    np.testing.assert_allclose(weights, [[1 - 0.05 - 0.1, 2 + 0.1 - 0.2]], rtol=1e-6)
