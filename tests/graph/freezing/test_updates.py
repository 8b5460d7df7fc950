"""The rewrites that freezing consists of, each separately."""

import pytest

from ckpttool.core.errors import GraphError, UnknownName
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.contents.op_outputs import dtype_of_output
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.freezing.closure import frozen_part
from ckpttool.graph.freezing.training_switch import pin_training
from ckpttool.graph.freezing.updates import drop_updates, stop_gradient, untrainable, update_ops, updated_variables


def chain(*nodes):
    """Make a graph of `(name, type, inputs...)`."""
    definitions = [NodeDef(name=name, op=kind, input=inputs) for name, kind, *inputs in nodes]
    return Graph(MetaGraphDef(graph_def={"node": definitions}), "chain")


def wiring(graph):
    return {name: list(node.input) for name, node in graph.nodes.items()}


def test_a_gradient_is_stopped_for_the_readers_that_are_named():
    graph = chain(("x", "Placeholder"), ("a", "Relu", "x"), ("b", "Relu", "a"), ("g", "ReluGrad", "b", "a"))
    stopped = stop_gradient(graph, ["a:0"], readers={"b"})
    assert wiring(stopped) == {"x": [], "a": ["x"], "a/stop_gradient": ["a"], "b": ["a/stop_gradient"], "g": ["b", "a"]}
    assert wiring(stop_gradient(graph, ["a"]))["g"] == ["b", "a/stop_gradient"]
    assert wiring(graph)["b"] == ["a"]


def test_stopping_twice_gives_a_name_that_is_free():
    graph = chain(("x", "Placeholder"), ("s", "Split", "x"), ("b", "Add", "s", "s:1"))
    stopped = stop_gradient(graph, ["s:0", "s:1"])
    assert wiring(stopped)["b"] == ["s/stop_gradient", "s/stop_gradient_1"]
    assert wiring(stopped)["s/stop_gradient_1"] == ["s:1"]
    with pytest.raises(UnknownName, match="no op named t"):
        stop_gradient(graph, ["t"])


def test_a_stopped_tensor_keeps_its_dtype_where_the_op_reads_another(new_network):
    with new_network().building() as net:
        net.tf.argmax(net.v1.placeholder("float32", [None, 3]), axis=1, name="best")
    stopped = stop_gradient(net.export(), ["best"])
    assert dtype_of_output(stopped, TensorRef("best/stop_gradient", 0)).name == "int64"


@pytest.fixture
def trained(new_network):
    with new_network().building() as net:
        X, y, training = net.inputs()
        h = net.batch_norm(net.dense(X, 5, "h1", relu=False), training, "bn1")
        optimizer = net.v1.train.AdamOptimizer(0.1)
        net.classify(net.dense(h, 3, "out", relu=False), y, optimizer)
    return net.export()


def test_updates_leave_the_training_op_and_the_collections(trained):
    frozen = ["h1/kernel", "h1/bias", "bn1/gamma", "bn1/beta"]
    after = drop_updates(trained, frozen)
    gone = set(trained.nodes) - set(after.nodes)
    assert {trained.nodes[name].op for name in gone} == {"ApplyAdam", "AssignSub"}
    assert {f"train/update_{name}/ApplyAdam" for name in frozen} < gone
    assert len(gone) == 6
    assert after.collection("update_ops") == []
    assert updated_variables(after, "train") == {"out/kernel", "out/bias", "beta1_power", "beta2_power"}
    assert {"h1/kernel/Assign", "h1/kernel/Adam"} <= set(after.nodes)


def test_a_layer_that_is_frozen_in_part_keeps_its_moving_averages_going(trained):
    after = drop_updates(trained, ["bn1/gamma"])
    assert len(after.collection("update_ops")) == 2
    assert len(update_ops(trained, ["bn1/gamma"])) == 1


def test_what_read_an_update_that_is_dropped_reads_the_variable():
    meta = chain(
        ("v", "VariableV2"), ("d", "Const"), ("first", "AssignSub", "v", "d"), ("again", "AssignAdd", "first", "d"),
        ("use", "Identity", "again"), ("wait", "NoOp", "^again"),
    ).meta  # fmt: skip
    meta.graph_def.node[0].attr["dtype"].type = 1
    meta.collection_def["update_ops"].node_list.value.extend(["again:0", "wait"])
    after = drop_updates(Graph(meta, "chain"), ["v"])
    assert wiring(after) == {"v": [], "d": [], "use": ["v"], "wait": []}
    assert after.collection("update_ops") == ["wait"]


def test_frozen_variables_leave_the_trainable_ones(trained, new_session):
    after = untrainable(trained, ["h1/kernel"])
    session = new_session(after, None)
    names = [variable.op.name for variable in session.graph.get_collection("trainable_variables")]
    assert names == ["h1/bias", "bn1/gamma", "bn1/beta", "out/kernel", "out/bias"]
    (kernel,) = [v for v in session.graph.get_collection("variables") if v.op.name == "h1/kernel"]
    assert not kernel.trainable


def test_the_mode_is_pinned_where_it_is_shared_with_live_ops(new_network):
    with new_network().building() as net:
        X, y, training = net.inputs()
        shared = net.tf.identity(training, name="shared")
        h = net.batch_norm(net.dense(X, 5, "h1", relu=False), shared, "bn1")
        net.classify(net.dense(net.dropout(h, shared, "drop"), 3, "out", relu=False), y)
    graph = net.export()
    part = frozen_part(graph, ["h1/kernel", "h1/bias", "bn1/gamma", "bn1/beta"], ["loss/loss"])
    pinned = pin_training(graph, part)
    assert pinned.nodes["training/frozen"].op == "Const"
    assert wiring(pinned)["shared/frozen"] == ["training/frozen"]
    assert wiring(pinned)["bn1/cond/pred_id"] == ["shared/frozen"]
    assert wiring(pinned)["drop/cond/pred_id"] == ["shared"]
    assert wiring(pinned)["shared"] == ["training"]


def test_a_mode_that_has_no_false_is_refused(new_network):
    with new_network().building() as net:
        X, y, training = net.inputs()
        h = net.batch_norm(net.dense(X, 5, "h1", relu=False), training, "bn1")
        net.classify(net.dense(h, 3, "out", relu=False), y)
    meta = MetaGraphDef()
    meta.CopyFrom(net.export().meta)
    for node in meta.graph_def.node:
        if node.name == "training":
            node.attr["dtype"].type = 7
    graph = Graph(meta, "odd")
    part = frozen_part(graph, ["h1/kernel", "h1/bias", "bn1/gamma", "bn1/beta"], ["loss/loss"], "training")
    with pytest.raises(GraphError, match="odd: training/frozen: a mode of dtype number 7 has no False"):
        pin_training(graph, part)
