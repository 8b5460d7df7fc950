"""Flattened graphs: calls are replaced by their functions' bodies, with TensorFlow's outputs."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import FunctionDef, GraphDef, NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.core import Graph
from ckpttool.graph.files import load
from ckpttool.graph.rewrite.flatten import flattened

ROWS = np.random.default_rng(3).normal(size=(5, 4)).astype(np.float32)


class Saved(NamedTuple):
    """A module's function of rows: its SavedModel, that graph flattened, and TensorFlow's outputs."""

    folder: Path
    raw: Graph
    flat: Graph
    expected: dict[str, np.ndarray]


def save(module: Any, folder: Path) -> Saved:
    import tensorflow as tf

    concrete = module.call.get_concrete_function(tf.TensorSpec([None, 4], tf.float32, name="x"))
    tf.saved_model.save(module, str(folder), signatures=concrete)
    expected = tf.saved_model.load(str(folder)).signatures["serving_default"](tf.constant(ROWS))
    raw = load(folder)
    return Saved(folder, raw, flattened(raw), {key: value.numpy() for key, value in expected.items()})


@pytest.fixture(scope="module")
def layered(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return save(function_module(), tmp_path_factory.mktemp("layered"))


def outputs(saved: Saved) -> dict[str, np.ndarray]:
    """Run the signature of a flattened graph in a TensorFlow 1 session, with the saved values."""
    import tensorflow as tf

    v1, graph, folder = tf.compat.v1, saved.flat, saved.folder
    keys = [name for name, _ in tf.train.list_variables(str(folder / "variables/variables"))]
    with tf.Graph().as_default(), v1.Session() as session:
        meta = v1.MetaGraphDef.FromString(graph.meta.SerializeToString())
        meta.ClearField("saver_def")
        v1.train.import_meta_graph(meta)
        reader = tf.train.load_checkpoint(str(folder / "variables/variables"))
        for op in session.graph.get_operations():
            if op.type == "VarHandleOp":
                own = op.get_attr("shared_name").decode()
                key = next(key for key in keys if key.split("/")[0] == own)
                value = reader.get_tensor(key)
                session.run(tf.raw_ops.AssignVariableOp(resource=op.outputs[0], value=value))
        signature = graph.header.signature_def["serving_default"]
        feed = {info.name: ROWS for info in signature.inputs.values()}
        return session.run({key: info.name for key, info in signature.outputs.items()}, feed)


def function_module() -> Any:
    import tensorflow as tf

    class Layered(tf.Module):
        """Nested functions, one of them called twice, with a conditional, a loop and outputs of several kinds."""

        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(tf.random.stateless_normal([4, 4], [1, 2]), name="kernel")
            self.bias = tf.Variable([0.1, 0.2, 0.3, 0.4], name="bias")

        @tf.function
        def dense(self, x: Any) -> Any:
            return tf.nn.relu(x @ self.kernel + self.bias)

        @tf.function(experimental_attributes={"_noinline": True})
        def best(self, x: Any) -> Any:
            return tf.math.top_k(x, 2)

        @tf.function
        def call(self, x: Any) -> Any:
            hidden = self.dense(self.dense(x))
            values, places = self.best(hidden)
            turned = tf.cond(tf.reduce_sum(values) > 0, lambda: self.dense(hidden), lambda: hidden)
            looped = tf.while_loop(lambda i, _: i < 3, lambda i, z: (i + 1, self.dense(z)), (0, turned))[1]
            first, second = tf.split(looped, 2, axis=1)
            return {"second": second, "first": first, "places": places, "same": x}

    return Layered()


def test_a_flattened_graph_computes_what_the_function_does(layered):
    raw, flat = layered.raw, layered.flat
    assert "StatefulPartitionedCall" in {node.op for node in raw.nodes.values()}

    kept = {name for name, node in flat.nodes.items() if "PartitionedCall" in node.op}
    assert len(kept) == 2  # the saver's own two
    assert sum(node.op == "MatMul" for node in flat.nodes.values()) == 2
    found = outputs(layered)
    for key, value in layered.expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def test_conditions_and_loops_stay_functions_with_what_they_call(layered):
    flat = layered.flat
    assert {"If", "While"} <= {node.op.removeprefix("Stateless") for node in flat.nodes.values()}
    library = {function.signature.name for function in flat.header.graph_def.library.function}
    assert any("dense" in name for name in library) and not any("best" in name for name in library)


def test_a_signature_names_what_is_computed(layered):
    raw, flat = layered.raw, layered.flat
    signature = flat.header.signature_def["serving_default"]
    assert signature.outputs["same"].name == signature.inputs["x"].name
    for info in signature.outputs.values():
        assert info.name.partition(":")[0] in flat.nodes
    assert raw.header.signature_def["serving_default"].outputs["same"].name.startswith("StatefulPartitionedCall")


def test_a_condition_that_a_constant_decides_is_its_branch(tmp_path):
    import tensorflow as tf

    module = tf.Module()
    module.mean = tf.Variable([1.0, 2.0, 3.0, 4.0], name="mean")

    @tf.function
    def normalised(x: Any, training: Any) -> Any:
        moved = tf.cond(training, lambda: tf.reduce_mean(x, 0), module.mean.read_value)
        return tf.switch_case(tf.constant(7), [lambda: x, lambda: x - moved])

    @tf.function
    def call(x: Any) -> Any:
        return {"y": normalised(x, tf.constant(False))}

    module.call = call
    made = save(module, tmp_path / "model")
    assert not {"If", "StatelessIf", "Case", "StatelessCase", "Mean"} & {node.op for node in made.flat.nodes.values()}
    np.testing.assert_array_equal(outputs(made)["y"], made.expected["y"])


def test_what_a_function_changes_is_changed_before_its_outputs_are_read(tmp_path):
    import tensorflow as tf

    module = tf.Module()
    module.count = tf.Variable(0.0, name="count")

    @tf.function
    def counted(x: Any) -> Any:
        module.count.assign_add(1.0)
        return x * 2.0

    @tf.function
    def call(x: Any) -> Any:
        return {"y": counted(counted(x)), "calls": module.count.read_value()}

    module.call = call
    made = save(module, tmp_path / "model")
    assert made.expected["calls"] == 2.0
    found = outputs(made)
    assert found["calls"] == 2.0
    np.testing.assert_array_equal(found["y"], made.expected["y"])


def library(*functions: FunctionDef, calls: list[NodeDef] | None = None) -> Graph:
    """Make a graph that passes a placeholder to functions."""
    graph_def = GraphDef(node=[NodeDef(name="x", op="Placeholder"), *(calls or [called("call", "f", "x")])])
    graph_def.library.function.extend(functions)
    return Graph(MetaGraphDef(graph_def=graph_def), "model")


def called(name: str, function: str, *inputs: str) -> NodeDef:
    node = NodeDef(name=name, op="PartitionedCall", input=inputs)
    node.attr["f"].func.name = function
    return node


def function(name: str, *nodes: NodeDef, returns: str = "x") -> FunctionDef:
    made = FunctionDef(node_def=nodes, ret={"y": returns})
    made.signature.name = name
    made.signature.input_arg.add(name="x", type=1)
    made.signature.output_arg.add(name="y", type=1)
    return made


HOSTILE = {
    "functions that call themselves endlessly: f, g": library(
        function("f", called("inner", "g", "x")), function("g", called("inner", "f", "x"))
    ),
    "call calls the function 'f', which is not in the graph": library(function("g")),
    "call passes 2 tensors to the function f, which has 1": library(
        function("f"), calls=[called("call", "f", "x", "x")]
    ),
    "the function f reads z:0, which is not in it": library(function("f", returns="z:0")),
    "the function f has two ops of the same name": library(
        function("f", NodeDef(name="a", op="Relu", input=["x"]), NodeDef(name="a", op="Relu"))
    ),
    "more than 10 ** 12 ops": library(
        *(function(f"f{i}", *(called(f"c{j}", f"f{i + 1}", "x") for j in range(9))) for i in range(60)),
        function("f60"),
        calls=[called("call", "f0", "x")],
    ),
    "conditions that constants decide are nested over 100 levels deep": None,
}


def test_thousands_of_functions_in_one_another_are_flattened_at_once():
    chain = [function(f"f{i}", called("inner", f"f{i + 1}", "x"), returns="inner:output:0") for i in range(5000)]
    last = function("f5000", NodeDef(name="relu", op="Relu", input=["x"]), returns="relu:activations:0")
    flat = flattened(
        library(*chain, last, calls=[called("call", "f0", "x"), NodeDef(name="end", op="Neg", input=["call"])])
    )
    assert [node.op for node in flat.nodes.values()] == ["Placeholder", "Relu", "Neg"]


@pytest.mark.parametrize("message", HOSTILE)
def test_what_cannot_be_flattened_is_refused_by_name(message):
    graph = HOSTILE[message]
    if graph is None:
        choice = NodeDef(name="choice", op="If", input=["true", "x"])
        choice.attr["then_branch"].func.name = choice.attr["else_branch"].func.name = "f"
        true = NodeDef(name="true", op="Const")
        true.attr["value"].tensor.dtype = 10
        true.attr["value"].tensor.bool_val.append(True)
        graph = library(function("f", true, choice, returns="choice:output:0"))
    with pytest.raises(GraphError, match=f"^model: .*{message.replace('**', '..')}"):
        flattened(graph)


def test_a_function_with_its_own_gradient_stays():
    graph = library(function("f", called("inner", "g", "x"), returns="inner:output:0"), function("g"), function("dg"))
    graph.header.graph_def.library.gradient.add(function_name="g", gradient_func="dg")
    flat = flattened(graph)
    assert [node.op for node in flat.nodes.values()] == ["Placeholder", "PartitionedCall"]
    assert {each.signature.name for each in flat.header.graph_def.library.function} == {"g", "dg"}


def test_types_and_numbers_of_a_function_are_those_of_its_call():
    made = FunctionDef(ret={"y": "sum:sum:0"})
    made.signature.name = "Total"
    made.signature.attr.add(name="T", type="type")
    made.signature.attr.add(name="N", type="int")
    made.signature.input_arg.add(name="xs", type_attr="T", number_attr="N")
    made.signature.output_arg.add(name="y", type_attr="T")
    body = made.node_def.add(name="sum", op="AddN", input=["xs"])
    body.attr["T"].placeholder, body.attr["N"].placeholder = "T", "N"
    call = NodeDef(name="total", op="Total", input=["x", "x", "x"])
    call.attr["T"].type, call.attr["N"].i = 1, 3

    flat = flattened(library(made, calls=[call]))
    node = flat.nodes["total/sum"]
    assert (node.op, list(node.input), node.attr["T"].type, node.attr["N"].i) == ("AddN", ["x", "x", "x"], 1, 3)


def test_names_that_are_taken_are_numbered_by_their_layer():
    dense = [
        NodeDef(name="dense/MatMul", op="Neg", input=["x"]),
        NodeDef(name="dense/Relu", op="Relu", input=["dense/MatMul:y:0"]),
    ]
    calls = [
        called("PartitionedCall", "f", "x"),
        called("PartitionedCall_1", "f", "PartitionedCall"),
        called("named", "f", "x"),
    ]
    flat = flattened(library(function("f", *dense, returns="dense/Relu:activations:0"), calls=calls))
    assert list(flat.nodes) == [
        *("x", "dense/MatMul", "dense/Relu", "dense_1/MatMul", "dense_1/Relu", "named/dense/MatMul", "named/dense/Relu")
    ]
    assert list(flat.nodes["dense_1/MatMul"].input) == ["dense/Relu"]
