"""Reference variables converted to resource ones: both graphs have equal results in TensorFlow."""

import numpy as np
import pytest

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef, OpDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.resource import to_resource

OPTIMIZERS = {
    "GradientDescentOptimizer": {},
    "MomentumOptimizer": {"momentum": 0.9, "use_nesterov": True},
    "AdamOptimizer": {},
    "AdagradOptimizer": {},
    "RMSPropOptimizer": {"centered": True},
    "FtrlOptimizer": {},
    "AdadeltaOptimizer": {},
    "ProximalAdagradOptimizer": {},
}


def types(graph):
    return {node.op for node in graph.nodes.values()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_leads_to_the_same_weights(new_network, new_session, feed, tmp_path, name):
    with new_network().building() as net:
        X, y, training = net.inputs()
        h = net.tf.nn.elu(net.batch_norm(net.dense(X, 5, "h1"), training, "bn1"))
        optimizer = getattr(net.v1.train, name)(0.1, **OPTIMIZERS[name])
        net.classify(net.dense(h, 3, "out", relu=False), y, optimizer)
    model, graph = net.save(tmp_path / "model.ckpt"), net.export()
    rewritten = to_resource(graph)
    assert {"VariableV2", "Assign", "AssignSub"} <= types(graph)
    assert not any(
        kind.startswith(("Variable", "Assign", "Apply")) and "VariableOp" not in kind for kind in types(rewritten)
    )
    assert list(variables(rewritten)) == list(variables(graph))
    old, new = new_session(model, model), new_session(rewritten, model)
    assert old.run("loss/loss:0", feed) == new.run("loss/loss:0", feed)
    for session in (old, new):
        for _ in range(3):
            session.run("train", {**feed, "training:0": True})
    after = new.weights()
    for key, value in old.weights().items():
        np.testing.assert_allclose(after[key], value, rtol=1e-6, err_msg=key)
    again = new_session(model, new.save(tmp_path / "again.ckpt"))
    assert again.weights().keys() == after.keys()


def test_sparse_updates_and_steps_are_rewritten(new_network, new_session, tmp_path):
    with new_network().building() as net:
        tf, v1 = net.tf, net.v1
        table = net.variable("table", [6, 2])
        rows = tf.nn.embedding_lookup(table, [1, 4])
        step = v1.train.get_or_create_global_step()
        v1.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(rows**2), step, name="sgd")
        v1.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(rows**2), name="adagrad")
        v1.scatter_update(table, [0], [[5.0, 6.0]], name="put")
    model = net.save(tmp_path / "model.ckpt")
    old, new = new_session(model, model), new_session(to_resource(net.export()), model)
    for session in (old, new):
        session.run(["sgd"])
        session.run(["adagrad"])
        session.run("put" if session is new else "put:0")
    for key, value in old.weights().items():
        np.testing.assert_allclose(new.weights()[key], value, rtol=1e-6)
    assert new.weights()["global_step"] == 1
    assert new.weights()["table"][0].tolist() == [5.0, 6.0]


def test_what_an_update_returned_is_read_after_it(new_network, new_session):
    with new_network().building() as net:
        counter = net.variable("counter", [], value=1.0)
        added = net.v1.assign_add(counter, 2.0, name="added")
        doubled = net.v1.assign(added, added * 2.0, name="doubled")
        net.tf.identity(doubled + 0.5, name="result")
        net.v1.add_to_collection("goals", added)
    graph = to_resource(net.export())
    session = new_session(graph, None)
    assert session.run("result:0") == 6.5
    (goal,) = graph.collection("goals")
    assert session.run(goal) == 8.0


def test_initialisation_is_asked_and_done(new_network, new_session):
    with new_network().building() as net:
        first = net.variable("first", [2], value=3.0)
        net.tf.identity(net.v1.is_variable_initialized(first), name="is_ready")
        net.v1.global_variables_initializer()
    graph = to_resource(net.export())
    assert "VarIsInitializedOp" in types(graph)
    session = new_session(graph, None)
    assert session.run("is_ready:0")
    assert session.run("first/read:0").tolist() == [3.0, 3.0]


def test_an_update_inside_of_a_conditional_goes_through_the_handle(new_network, new_session):
    with new_network().building() as net:
        v1 = net.v1
        go = v1.placeholder_with_default(True, [], name="go")
        total = net.variable("total", [], value=1.0)
        v1.cond(go, lambda: v1.assign_add(total, 1.0), lambda: net.tf.identity(total), name="step")
    graph = to_resource(net.export())
    assert "RefSwitch" in types(net.export())
    assert "RefSwitch" not in types(graph)
    session = new_session(graph, None)
    assert session.run("step/Merge:0") == 2.0
    assert session.run("step/Merge:0", {"go:0": False}) == 2.0


def test_a_graph_of_resource_variables_is_left_alone(new_network):
    with new_network(resource=True).building() as net:
        net.dense(net.inputs()[0], 2, "h1")
    graph = net.export()
    assert to_resource(graph) is graph


def test_an_op_that_must_have_a_reference_is_refused_by_name():
    meta = MetaGraphDef()
    variable = meta.graph_def.node.add(name="W", op="VariableV2")
    variable.attr["dtype"].type = 1
    meta.graph_def.node.append(NodeDef(name="strange", op="TwistInPlace", input=["W"]))
    operator = OpDef(name="TwistInPlace", input_arg=[OpDef.ArgDef(name="ref", is_ref=True)])
    meta.meta_info_def.stripped_op_list.op.append(operator)
    with pytest.raises(GraphError, match=r"old\.meta: strange \(TwistInPlace\) needs a reference variable"):
        to_resource(Graph(meta, "old.meta"))
