"""Unused gradients are not computed: fewer ops, the same weights, and nothing with an effect removed."""

from typing import Any

import numpy as np
import pytest

from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.prune import subgraph
from ckpttool.graph.rewrite.simplify import without_dead_gradients, without_zeros

WANTED, FED = ["train", "loss/loss:0"], ["X:0", "y:0", "training:0"]


def leaner(graph: Graph) -> Graph:
    """Its step, and what else the session needs, stay in one graph."""
    return without_dead_gradients(without_zeros(graph), WANTED, FED)


@pytest.mark.parametrize("resource", [False, True])
def test_training_leads_to_the_same_weights_with_fewer_ops(
    new_network: Any, new_session: Any, feed: dict[str, Any], tmp_path: Any, resource: bool
) -> None:
    with new_network(resource).building() as net:
        X, y, training = net.inputs()
        hidden = net.dropout(net.batch_norm(net.dense(X, 5, "h1"), training, "bn1"), training, "drop1")
        hidden = net.dropout(net.dense(hidden, 4, "h2"), training, "drop2")
        net.classify(net.dense(hidden, 3, "out", relu=False), y, net.v1.train.MomentumOptimizer(0.1, 0.9))
    model, graph = net.save(tmp_path / "model.ckpt"), net.export()
    before, after = (set(subgraph(each, WANTED, FED).nodes) for each in (graph, leaner(graph)))
    assert after < before
    assert any(name.endswith("MatMul_grad/MatMul") for name in before - after)  # the gradient of X
    assert {name for name in before if "Assign" in name or "Apply" in name} <= after
    old, new = new_session(graph, model), new_session(leaner(graph), model)
    for _ in range(3):
        for session in (old, new):
            session.run("train", {**feed, "training:0": True})
    found = new.weights()
    for key, value in old.weights().items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def test_the_gradient_of_what_is_fed_is_left_out_and_an_assertion_beside_it_is_not(new_network: Any) -> None:
    with new_network().building() as net:
        X, y, _ = net.inputs()
        net.classify(net.dense(X, 3, "out", relu=False), y)
        loss = net.graph.get_tensor_by_name("loss/loss:0")
        kernel = net.v1.trainable_variables()[0]
        with net.tf.control_dependencies([net.v1.assert_positive(X, name="checked")]):
            data_gradient = net.tf.identity(net.tf.gradients(loss, X)[0], name="data_gradient")
        with net.tf.control_dependencies([net.tf.group(data_gradient, name="group")]):
            net.tf.identity(net.tf.gradients(loss, kernel)[0], name="gradient")
    graph = net.export()
    found = subgraph(without_dead_gradients(graph, ["gradient:0"]), ["gradient:0"]).nodes
    assert "data_gradient" in found
    assert any(node.op == "Assert" for node in found.values())


def test_terms_of_zeros_are_left_out_of_sums(new_network: Any) -> None:
    with new_network().building() as net:
        X, *_ = net.inputs()
        zeros, ones = (net.tf.fill(net.tf.shape(X), value) for value in (0.0, 1.0))
        net.tf.add_n([zeros, X, ones], name="sum")
        net.tf.add_n([zeros, zeros], name="nothing")
    found = without_zeros(net.export())
    assert [ref.op for ref in found.inputs("sum")] == ["X", "Fill_1"]
    assert found.nodes["sum"].attr["N"].i == 2
    assert len(found.inputs("nothing")) == 2
