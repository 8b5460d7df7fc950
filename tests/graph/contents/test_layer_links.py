"""Links between layers: the ops between one and the next."""

from typing import Any

from ckpttool.graph.contents.layer_links import layer_links


def test_a_chain_of_layers(new_network: Any) -> None:
    with new_network().building() as net:
        X, y, _ = net.inputs()
        net.classify(net.dense(net.dense(X, 5, "h1"), 3, "out", relu=False), y, net.v1.train.AdamOptimizer(0.01))
    assert layer_links(net.export()) == {"h1": ("X",), "out": ("h1",)}


def test_branches_join_and_modes_are_no_inputs(new_network: Any) -> None:
    with new_network().building() as net:
        X, _, training = net.inputs()
        first = net.dense(X, 5, "first")
        left, right = net.dense(first, 4, "left"), net.dense(first, 4, "right")
        normal = net.batch_norm(right, training, "norm")
        net.dense(net.tf.concat([left, normal, X], 1), 3, "out", relu=False)
    assert layer_links(net.export()) == {
        "first": ("X",),
        "left": ("first",),
        "right": ("first",),
        "norm": ("right",),
        "out": ("left", "norm", "X"),
    }


def test_a_layer_that_is_added_to_what_it_takes_leads_on_with_it(new_network: Any) -> None:
    with new_network().building() as net:
        X, _, _ = net.inputs()
        below = net.dense(X, 4, "below")
        net.dense(below + net.dense(below, 4, "inside"), 3, "out", relu=False)
    assert layer_links(net.export())["out"] == ("below", "inside")
