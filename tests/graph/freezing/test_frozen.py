"""Frozen variables, and the graph that freezes them: each step has its own tests; here they are combined."""

import pytest

from ckpttool.graph.contents.variables import variables
from ckpttool.graph.freezing.frozen import Frozen
from ckpttool.graph.freezing.updates import update_ops

LOWER = ["h1/kernel", "h1/bias", "bn1/gamma", "bn1/beta"]
AVERAGES = ["bn1/moving_mean", "bn1/moving_variance"]


@pytest.fixture
def graph(new_network):
    """Two layers, the lower with batch normalisation, and an unused constant."""
    with new_network().building() as net:
        h, y, training = net.inputs()
        h = net.batch_norm(net.dense(h, 4, "h1", relu=False), training, "bn1")
        net.variable("table", [2], trainable=False, value=1.0)
        net.classify(net.dense(h, 3, "out", relu=False), y, net.v1.train.GradientDescentOptimizer(0.1))
    return net.export()


def trainable(graph):
    return [name for name, variable in variables(graph).items() if variable.trainable]


def test_the_moving_averages_of_frozen_layers_stay_and_the_layers_run_in_inference_mode(graph):
    frozen = Frozen.of(graph, LOWER, ["loss/loss:0"])
    assert set(frozen.names) == {*LOWER, *AVERAGES, "table"}
    assert "training/frozen" in frozen.graph.nodes
    assert set(frozen.part.variables) == {*LOWER, *AVERAGES}


def test_updates_are_dropped_by_every_method_the_list_and_the_cut_are_for_other_optimizers(graph):
    frozen = Frozen.of(graph, LOWER, ["loss/loss:0"])
    kept = {method: frozen.applied(method) for method in ("updates", "var-list", "stop-gradient")}
    assert update_ops(graph, frozen.names)
    assert not any(update_ops(each, frozen.names) for each in kept.values())
    assert trainable(kept["updates"]) == trainable(kept["stop-gradient"]) == [*LOWER, "out/kernel", "out/bias"]
    assert trainable(kept["var-list"]) == ["out/kernel", "out/bias"]
    stops = {method: [name for name in each.nodes if name.endswith("/stop_gradient")] for method, each in kept.items()}
    assert [len(found) for found in stops.values()] == [0, 0, 1]


def test_averages_may_move_though_their_layer_is_frozen(graph):
    frozen = Frozen.of(graph, LOWER, ["loss/loss:0"], moving=AVERAGES)
    assert not set(AVERAGES) & set(frozen.names)
    assert update_ops(frozen.applied(), AVERAGES) == update_ops(graph, AVERAGES)


def test_the_forward_part_has_no_training_and_none_of_what_it_does_not_need(graph):
    forward = Frozen.of(graph, LOWER, ["loss/loss:0"]).applied(forward=["loss/loss:0"])
    assert not update_ops(forward)
    assert "table" not in variables(forward)
    assert trainable(forward) == ["out/kernel", "out/bias"]


def test_nothing_is_frozen_but_what_never_changes(graph):
    frozen = Frozen.of(graph, [], ["loss/loss:0"])
    assert (frozen.names, frozen.part, frozen.graph) == (("table",), None, graph)


def test_frozen_layers_run_in_inference_mode_though_a_constant_says_training(new_network):
    with new_network().building() as net:
        h, y, _ = net.inputs()
        h = net.batch_norm(net.dense(h, 4, "h1", relu=False), net.tf.constant(True, name="is_training"), "bn1")
        net.classify(net.dense(h, 3, "out", relu=False), y, net.v1.train.GradientDescentOptimizer(0.1))
    frozen = Frozen.of(net.export(), LOWER, ["loss/loss:0"])
    assert "is_training/frozen" in frozen.graph.nodes
    assert set(frozen.part.variables) == {*LOWER, *AVERAGES}


@pytest.mark.parametrize("functional", [False, True])
def test_dropouts_that_draw_nothing_below_frozen_layers_are_named_once(new_network, functional):
    with new_network().building(functional) as net:
        h, y, training = net.inputs()
        for number in (1, 2):
            h = net.dropout(net.dense(h, 4, f"hidden{number}"), training, f"drop{number}")
        net.classify(net.dense(h, 3, "outputs", relu=False), y)
    quiet = "in inference mode below frozen layers, so they are not random in training"
    hidden1, hidden2 = (["hidden1/kernel", "hidden1/bias"], ["hidden2/kernel", "hidden2/bias"])
    assert Frozen.of(net.export(), hidden1, ["loss/loss"]).notes == ()
    assert Frozen.of(net.export(), hidden1 + hidden2, ["loss/loss"]).notes == (f"{quiet}: drop1",)
