"""The purpose of a graph without a loss: a signature's output, or unread outputs."""

from typing import Any

import pytest

from ckpttool.core.errors import GraphError
from ckpttool.graph.roles.served import Result, result_of


def test_summaries_and_what_is_not_fed_do_not_count(new_network: Any) -> None:
    with new_network().building() as net:
        X, _, _ = net.inputs()
        net.tf.identity(net.dense(X, 3, "outputs"), name="said")
        net.v1.summary.histogram("seen", X)
        net.tf.constant(1.0, name="beside")
    assert result_of(net.export()) == Result("said:0", "which no other op reads")


def test_several_ends_are_listed(new_network: Any) -> None:
    with new_network().building() as net:
        X, _, _ = net.inputs()
        for name in ("first", "second"):
            net.dense(X, 3, name)
    with pytest.raises(GraphError, match=r"network: several tensors match: first/Relu:0, second/Relu:0; specify"):
        result_of(net.export())


def test_a_graph_that_is_fed_nothing_says_nothing(new_network: Any) -> None:
    with new_network().building() as net:
        net.variable("alone", [3])
    with pytest.raises(GraphError, match="network: no tensor needs to be fed; specify `tensor`"):
        result_of(net.export())


def test_a_signature_comes_before_what_nothing_reads(new_network: Any) -> None:
    with new_network().building() as net:
        X, _, _ = net.inputs()
        net.tf.identity(net.dense(X, 3, "outputs"), name="end")
    graph = net.export()
    signature = graph.meta.signature_def["only"]
    for side, key, name in ((signature.inputs, "x", "X:0"), (signature.inputs, "unused", "y:0"),
                            (signature.outputs, "said", "outputs/Relu:0")):  # fmt: skip
        side[key].name, side[key].dtype = name, 1
    assert result_of(graph) == Result("outputs/Relu:0", "the output said of the signature only", ("X:0",))
