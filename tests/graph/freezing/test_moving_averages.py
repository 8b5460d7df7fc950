"""Variables that a frozen set covers in addition to the named weights."""

import pytest

from ckpttool.core.errors import UnknownName
from ckpttool.graph.freezing.moving_averages import changed_variables, with_moving_averages
from ckpttool.graph.freezing.updates import drop_updates, untrainable


@pytest.fixture
def graph(new_network):
    with new_network().building() as net:
        h, y, training = net.inputs()
        with net.v1.variable_scope("net"):
            h = net.batch_norm(net.dense(h, 4, "h1"), training, "bn1")
            h = net.dense(h, 3, "out", relu=False)
        net.variable("table", [2], trainable=False, value=1.0)
        net.variable("counter", [], trainable=False, value=0.0).assign_add(1.0)
        net.classify(h, y, net.v1.train.GradientDescentOptimizer(0.1))
    return net.export()


def test_moving_averages_follow_their_layer_and_constants_are_always_frozen(graph):
    averages = ["net/bn1/moving_mean", "net/bn1/moving_variance"]
    assert with_moving_averages(graph, ["net/out/bias"]) == ["net/out/bias", "table"]
    both = ["net/bn1/gamma", "net/bn1/beta"]
    assert with_moving_averages(graph, both) == [*both, *averages, "table"]
    assert with_moving_averages(graph, both[:1]) == [*both[:1], "table"]


def test_what_was_frozen_before_stays_frozen(graph):
    names = ["net/h1/kernel", "net/h1/bias"]
    again = untrainable(drop_updates(graph, names), names)
    assert with_moving_averages(again, ["net/out/bias"]) == [*names, "net/out/bias", "table"]


def test_only_training_changes_a_variable(graph):
    assert "counter" in changed_variables(graph)
    assert "net/bn1/moving_mean" in changed_variables(graph)
    assert "table" not in changed_variables(graph)


def test_a_name_that_is_none_is_refused(graph):
    with pytest.raises(UnknownName, match="network: no variable net/h2/kernel; nearest: net/h1/kernel"):
        with_moving_averages(graph, ["net/h2/kernel"])
