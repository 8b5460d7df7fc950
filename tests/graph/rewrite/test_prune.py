"""Parts of graphs: the targets' dependencies are kept, and TensorFlow imports the result."""

import numpy as np
import pytest

from ckpttool.core.errors import UnknownName
from ckpttool.formats.wire.protos.meta_graph_pb2 import VariableDef
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.prune import subgraph, without_training


@pytest.fixture
def trained(new_network):
    """A network with batch norm, a moving average, a penalty and Adam, as exported."""
    with new_network().building() as net:
        X, y, training = net.inputs()
        h = net.tf.nn.elu(net.batch_norm(net.dense(X, 5, "h1"), training, "bn1"), name="act1")
        h = net.tf.nn.elu(net.batch_norm(net.dense(h, 5, "h2"), training, "bn2"), name="act2")
        for kernel in net.v1.trainable_variables("h./kernel"):
            net.v1.add_to_collection("regularization_losses", net.tf.nn.l2_loss(kernel, name=kernel.op.name[:2]))
        net.classify(net.dense(h, 3, "out", relu=False), y, net.v1.train.AdamOptimizer(0.1))
        net.v1.add_to_collection("my_important_ops", X)
        net.v1.add_to_collection("my_important_ops", h)
        net.v1.summary.scalar("loss", net.graph.get_tensor_by_name("loss/loss:0"))
    return net


def test_only_what_the_targets_need_is_kept(trained, new_session, feed):
    graph = trained.export()
    part = subgraph(graph, ["act1:0"], initializers=True)
    assert set(part.nodes) < set(graph.nodes)
    assert list(part.nodes) == [name for name in graph.nodes if name in part.nodes]
    assert not any(name.startswith(("gradients", "train/", "save", "h2", "out", "beta1_power")) for name in part.nodes)
    assert not part.meta.HasField("saver_def")
    assert part.collection("my_important_ops") == ["X:0"]
    entries = [VariableDef.FromString(raw) for raw in part.meta.collection_def["variables"].bytes_list.value]
    assert [entry.variable_name for entry in entries] == [
        f"{name}:0"
        for name in ("h1/kernel", "h1/bias", "bn1/gamma", "bn1/beta", "bn1/moving_mean", "bn1/moving_variance")
    ]
    assert "cond_context" in part.meta.collection_def
    whole, alone = new_session(graph, None), new_session(part, None)
    with alone.graph.as_default():
        assert len(alone.v1.global_variables()) == 6
        alone.session.run([v.assign(whole.weights()[v.op.name]) for v in alone.v1.global_variables()])
    rows = {"X:0": feed["X:0"]}
    np.testing.assert_array_equal(alone.run("act1:0", rows), whole.run("act1:0", rows))


def test_a_boundary_is_supplied_from_outside(trained, new_session, feed):
    import tensorflow as tf

    graph = trained.export()
    part = importable(subgraph(graph, ["out/BiasAdd:0"], boundary=["act2:0", "out/kernel:0", "out/bias:0"]))
    assert set(part.nodes) == {"out/kernel/read", "out/bias/read", "out/MatMul", "out/BiasAdd"}
    whole = new_session(graph, None)
    features, expected = whole.run(["act2:0", "out/BiasAdd:0"], feed)
    definition = tf.compat.v1.GraphDef.FromString(part.meta.graph_def.SerializeToString())
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        supplied = {"act2:0": features, "out/kernel:0": whole.weights()["out/kernel"]}
        supplied["out/bias:0"] = whole.weights()["out/bias"]
        tensors = {name: tf.constant(value) for name, value in supplied.items()}
        (result,) = tf.graph_util.import_graph_def(definition, tensors, ["out/BiasAdd:0"])
        np.testing.assert_array_equal(session.run(result), expected)


def test_only_one_output_of_an_op_may_be_the_boundary(new_network):
    with new_network().building() as net:
        X, _, _ = net.inputs()
        left, right = net.tf.split(X, 2, 1, name="halves")
        net.tf.add(left, right, name="sum")
    part = subgraph(net.export(), ["sum"], boundary=["halves:1"])
    assert {"halves", "sum", "X"} <= set(part.nodes)
    assert {"halves", "X"} & set(subgraph(net.export(), ["sum"], boundary=["halves:0", "halves:1"]).nodes) == set()


def test_functions_are_kept_with_those_that_they_call(new_network):
    with new_network(resource=True).building(functional=True) as net:
        X, _, training = net.inputs()
        inner = net.v1.cond(training, lambda: net.tf.sin(X), lambda: net.tf.cos(X), name="inner")
        net.v1.cond(training, lambda: net.dropout(inner, training, "deep"), lambda: inner, name="outer")
    graph = net.export()
    names = {function.signature.name for function in graph.meta.graph_def.library.function}
    kept = subgraph(graph, ["inner"]).meta.graph_def.library.function
    assert 0 < len(kept) < len(names)
    whole = subgraph(graph, ["outer"]).meta.graph_def.library.function
    assert {function.signature.name for function in whole} == names


def test_the_forward_part_keeps_its_side_collections(trained, new_session):
    part = without_training(trained.export(), ["loss/loss", "out/BiasAdd", "eval/accuracy", "X", "y"])
    assert not any("Adam" in name or name.startswith(("gradients", "save", "loss_1")) for name in part.nodes)
    assert [v.kind for v in variables(part).values()] == ["weight"] * 14
    assert len(part.collection("update_ops")) == 4
    assert part.collection("regularization_losses") == ["h1_1:0", "h2_1:0"]
    assert "summaries" not in part.meta.collection_def
    lower = without_training(trained.export(), ["act1"])
    assert len(lower.collection("update_ops")) == 2
    assert lower.collection("regularization_losses") == ["h1_1:0"]
    session = new_session(lower, None)
    with session.graph.as_default():
        assert len(session.v1.get_collection("update_ops")) == 2


def test_an_unknown_target_is_named(trained):
    with pytest.raises(UnknownName, match="no op named act9; nearest: act"):
        subgraph(trained.export(), ["act9:0"])


def test_tables_are_kept_with_their_initialisers(new_network, new_session):
    with new_network().building() as net:
        tf, v1 = net.tf, net.v1
        pairs = tf.lookup.KeyValueTensorInitializer(tf.constant(["a", "b"]), tf.constant([1, 2], tf.int64))
        table = tf.lookup.StaticHashTable(pairs, -1, name="table")
        words = v1.placeholder(tf.string, [None], name="words")
        tf.identity(table.lookup(words), name="ids")
    part = subgraph(net.export(), ["ids"], initializers=True)
    session = new_session(part, None)
    session.run(part.collection("table_initializer"))
    assert session.run("ids:0", {"words:0": ["b", "c"]}).tolist() == [2, -1]


def test_nested_conditionals_lose_only_what_is_gone(new_network, new_session):
    with new_network().building() as net:
        X, _, training = net.inputs()
        tf, v1 = net.tf, net.v1
        other = v1.placeholder_with_default(True, [], name="other")

        def inner():
            return v1.cond(other, lambda: (tf.sin(X), tf.tan(X)), lambda: (tf.cos(X), X), name="inner")

        v1.cond(training, inner, lambda: (X, X), name="outer")
    graph = net.export()
    one = graph.inputs("outer/Merge")[0].op
    part = subgraph(graph, ["outer/Merge"])
    assert one in part.nodes
    assert "outer/Merge_1" not in part.nodes
    x = np.ones((1, 4), np.float32)
    session = new_session(part, None)
    np.testing.assert_allclose(session.run("outer/Merge:0", {"X:0": x, "training:0": True}), np.sin(x), rtol=1e-6)
