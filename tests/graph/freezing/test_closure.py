"""The frozen closure and its cut, on graphs that TensorFlow made."""

import pytest

from ckpttool.core.errors import GraphError, UnknownName
from ckpttool.graph.freezing.closure import frozen_part

TARGETS = ["loss/loss", "eval/accuracy"]


def weights(*layers):
    return [f"{layer}/{part}" for layer in layers for part in ("kernel", "bias")]


def averages(layer):
    return [f"{layer}/{part}" for part in ("gamma", "beta", "moving_mean", "moving_variance")]


def test_the_cut_of_a_chain_is_the_activation_of_the_last_frozen_layer(new_network):
    with new_network().building() as net:
        X, y, _ = net.inputs()
        h = net.dense(net.dense(X, 5, "h1"), 4, "h2")
        net.classify(net.dense(h, 3, "out", relu=False), y, net.v1.train.AdamOptimizer(0.1))
    part = frozen_part(net.export(), weights("h1", "h2"), TARGETS)
    assert part.variables == tuple(weights("h1", "h2"))
    assert part.features == ("h2/Relu:0",)
    assert part.direct == ("y:0",)
    assert part.cut == ("h2/Relu:0", "y:0")
    assert (part.above, part.constants, part.random_ops, part.batch_ops) == ((), (), (), ())
    assert "h2/Relu" in part.ops
    assert not any(name.startswith(("train/", "gradients", "save/", "X", "out/")) for name in part.ops)


def test_what_goes_around_the_cut_is_part_of_it(new_network):
    with new_network().building() as net:
        X, y, _ = net.inputs()
        scaled = net.tf.multiply(X, 0.5, name="scaled")
        low = net.dense(scaled, 5, "h1")
        high = net.dense(low, 4, "h2")
        joined = net.tf.concat([X, scaled, low, high], 1)
        net.classify(net.dense(joined, 3, "out", relu=False), y)
    part = frozen_part(net.export(), weights("h1", "h2"), TARGETS)
    assert part.features == ("scaled:0", "h1/Relu:0", "h2/Relu:0")
    assert part.direct == ("X:0", "y:0")


def test_a_frozen_layer_above_a_trained_one_has_no_cut(new_network):
    with new_network().building() as net:
        X, y, _ = net.inputs()
        h = net.dense(net.dense(net.dense(X, 5, "h1"), 4, "h2"), 4, "h3")
        net.classify(net.dense(h, 3, "out", relu=False), y)
    graph = net.export()
    part = frozen_part(graph, weights("h1", "h3"), TARGETS)
    assert (part.variables, part.above) == (tuple(weights("h1")), tuple(weights("h3")))
    assert part.features == ("h1/Relu:0",)
    alone = frozen_part(graph, weights("h3"), TARGETS)
    assert (alone.variables, alone.features, alone.ops) == ((), (), frozenset())
    assert alone.direct == ("X:0", "y:0")


def test_freezing_everything_cuts_below_the_labels(new_network):
    with new_network().building() as net:
        X, y, _ = net.inputs()
        net.classify(net.dense(X, 3, "out", relu=False), y)
    part = frozen_part(net.export(), weights("out"), TARGETS)
    assert "out/BiasAdd:0" in part.features
    assert part.direct == ("y:0",)


@pytest.mark.parametrize("functional", [False, True])
def test_dropout_after_the_frozen_layers_stays_live(new_network, functional):
    with new_network().building(functional) as net:
        X, y, training = net.inputs()
        h = net.dropout(net.dense(X, 5, "h1"), training, "dropout")
        net.classify(net.dense(h, 3, "out", relu=False), y)
    part = frozen_part(net.export(), weights("h1"), TARGETS)
    assert part.features == ("h1/Relu:0",)
    assert part.random_ops == ()
    assert not any(name.startswith("dropout") for name in part.ops | part.pinned)


@pytest.mark.parametrize("functional", [False, True])
def test_dropout_below_a_frozen_layer_is_pinned_and_draws_nothing(new_network, functional):
    with new_network(resource=True).building(functional) as net:
        X, y, training = net.inputs()
        h = net.dense(net.dropout(net.dense(X, 5, "h1"), training, "dropout"), 4, "h2")
        net.classify(net.dense(h, 3, "out", relu=False), y)
    part = frozen_part(net.export(), weights("h1", "h2"), TARGETS)
    assert part.features == ("h2/Relu:0",)
    assert part.training == ("training",)
    assert part.random_ops == ()
    assert any(name.startswith("dropout/") for name in part.pinned)


def test_dropout_chosen_by_select_is_followed_in_its_taken_branch(new_network):
    with new_network().building() as net:
        X, y, training = net.inputs()
        h = net.dense(X, 5, "h1")
        h = net.tf.where(net.tf.logical_not(training), h, net.tf.nn.dropout(h, 0.5))
        net.classify(net.dense(net.dense(h, 4, "h2"), 3, "out", relu=False), y)
    part = frozen_part(net.export(), weights("h1", "h2"), TARGETS)
    assert (part.features, part.random_ops) == (("h2/Relu:0",), ())


def test_dropout_that_no_placeholder_turns_off_is_named(new_network):
    with new_network().building() as net:
        X, y, _ = net.inputs()
        h = net.tf.nn.dropout(net.dense(X, 5, "h1"), 0.5, name="always")
        net.classify(net.dense(net.dense(h, 4, "h2"), 3, "out", relu=False), y)
    part = frozen_part(net.export(), weights("h1", "h2"), TARGETS)
    assert part.features == ("h2/Relu:0",)
    assert part.random_ops == ("always/random_uniform/RandomUniform",)


def test_random_ops_inside_a_taken_branch_are_named_with_their_call(new_network):
    with new_network(resource=True).building(functional=True) as net:
        X, y, training = net.inputs()
        h = net.dense(X, 5, "h1")
        h = net.v1.cond(training, lambda: h, lambda: h + net.tf.random.uniform([5]), name="noise")
        net.classify(net.dense(net.dense(h, 4, "h2"), 3, "out", relu=False), y)
    (name,) = frozen_part(net.export(), weights("h1", "h2"), TARGETS).random_ops
    assert name.startswith("noise/")
    assert name.endswith("RandomUniform")


@pytest.mark.parametrize(("functional", "resource"), [(False, False), (False, True), (True, True)])
def test_a_frozen_batch_norm_is_pinned_with_its_moving_averages(new_network, functional, resource):
    with new_network(resource).building(functional) as net:
        X, y, training = net.inputs()
        shared = net.tf.identity(training, name="shared")
        h = net.tf.nn.elu(net.batch_norm(net.dense(X, 5, "h1", relu=False), shared, "bn1"), name="act")
        h = net.dropout(h, shared, "dropout")
        h = net.tf.nn.elu(net.batch_norm(net.dense(h, 4, "h2", relu=False), shared, "bn2"))
        net.classify(net.dense(h, 3, "out", relu=False), y, net.v1.train.GradientDescentOptimizer(0.1))
    frozen = [*weights("h1"), "bn1/gamma", "bn1/beta"]
    part = frozen_part(net.export(), frozen, TARGETS)
    assert set(part.variables) == {*weights("h1"), *averages("bn1")}
    assert part.features == ("act:0",)
    assert (part.random_ops, part.batch_ops, part.above) == ((), (), ())
    assert any(name.startswith("bn1/cond") for name in part.pinned)
    assert not any(name.startswith(("bn2/", "dropout/", "shared")) for name in part.ops | part.pinned)


@pytest.mark.parametrize("functional", [False, True])
def test_a_trained_batch_norm_stays_live_above_a_frozen_layer(new_network, functional):
    with new_network(resource=True).building(functional) as net:
        X, y, training = net.inputs()
        h = net.tf.nn.elu(net.batch_norm(net.dense(X, 5, "h1", relu=False), training, "bn1"))
        net.classify(net.dense(h, 3, "out", relu=False), y)
    part = frozen_part(net.export(), weights("h1"), TARGETS)
    assert part.features == ("h1/BiasAdd:0",)
    assert part.variables == tuple(weights("h1"))
    assert not any(name.startswith("bn1") for name in part.ops | part.pinned)


@pytest.mark.parametrize("functional", [False, True])
def test_a_frozen_batch_norm_above_a_trained_layer_is_pinned_too(new_network, functional):
    with new_network(resource=True).building(functional) as net:
        X, y, training = net.inputs()
        h = net.batch_norm(net.dense(X, 5, "h1"), training, "bn1")
        h = net.dropout(h, training, "dropout")
        net.classify(net.dense(h, 3, "out", relu=False), y)
    part = frozen_part(net.export(), ["bn1/gamma", "bn1/beta"], TARGETS)
    assert set(part.above) == set(averages("bn1"))
    assert part.features == ()
    assert any(name.startswith("bn1/cond") for name in part.pinned)
    assert not any(name.startswith("dropout/") for name in part.pinned)


def test_batch_norm_that_is_built_for_training_mixes_rows(new_network):
    with new_network().building() as net:
        X, y, _ = net.inputs()
        h = net.tf.reshape(net.dense(X, 4, "h1", relu=False), [-1, 1, 1, 4])
        with net.v1.variable_scope("bn1"):
            gamma, beta = net.variable("gamma", [4], value=1.0), net.variable("beta", [4], value=0.0)
            h, _, _ = net.v1.nn.fused_batch_norm(h, gamma, beta, is_training=True, name="norm")
        net.classify(net.dense(net.tf.reshape(h, [-1, 4]), 3, "out", relu=False), y)
    part = frozen_part(net.export(), [*weights("h1"), "bn1/gamma", "bn1/beta"], TARGETS)
    assert part.batch_ops == ("bn1/norm",)


def test_a_penalty_on_a_frozen_kernel_is_computed_again(new_network):
    with new_network().building() as net:
        X, y, _ = net.inputs()
        h = net.dense(X, 5, "h1")
        net.classify(net.dense(h, 3, "out", relu=False), y)
        kernel = net.v1.trainable_variables("h1/kernel")[0]
        net.tf.add(net.graph.get_tensor_by_name("loss/loss:0"), net.tf.nn.l2_loss(kernel), name="total")
    part = frozen_part(net.export(), weights("h1"), ["total"])
    assert part.features == ("h1/Relu:0",)
    assert part.constants == ("h1/kernel/read:0",)


def test_the_number_of_rows_is_taken_from_the_features_again(new_network):
    with new_network().building() as net:
        X, _, _ = net.inputs()
        h = net.dense(X, 6, "h1")
        count = net.tf.shape(h)[0]
        h = net.tf.reshape(net.tf.reshape(h, [count, 2, 3]), [count, 6], name="flat")
        tail = net.tf.zeros(net.tf.stack([count, 1])) + net.tf.cast(net.tf.shape(X)[0], net.tf.float32)
        joined = net.tf.reduce_sum(net.dense(h, 3, "out", relu=False)) + net.tf.reduce_sum(tail)
        net.tf.identity(joined, name="goal")
    part = frozen_part(net.export(), weights("h1"), ["goal"])
    assert part.features == ("h1/Relu:0", "flat:0")
    assert part.direct == ("X:0",)


def test_a_loop_is_frozen_as_a_whole_or_not_at_all(new_network):
    with new_network().building() as net:
        X, y, _ = net.inputs()
        h = net.dense(X, 4, "h1")
        with net.v1.variable_scope("cell"):
            kernel = net.variable("kernel", [4, 4])
        loop = net.v1.while_loop(lambda i, _: i < 3, lambda i, s: (i + 1, net.tf.matmul(s, kernel)), [0, h])
        net.classify(net.dense(loop[1], 3, "out", relu=False), y)
    graph = net.export()
    assert frozen_part(graph, [*weights("h1"), "cell/kernel"], TARGETS).features == ("while/Exit_1:0",)
    assert frozen_part(graph, weights("h1"), TARGETS).features == ("h1/Relu:0",)


def test_a_given_placeholder_alone_is_the_mode(new_network):
    with new_network().building() as net:
        X, y, _ = net.inputs()
        extra = net.v1.placeholder_with_default(True, [], name="extra")
        h = net.v1.cond(extra, lambda: net.tf.sin(X), lambda: X)
        net.classify(net.dense(net.dense(h, 5, "h1"), 3, "out", relu=False), y)
    part = frozen_part(net.export(), weights("h1"), TARGETS, training="training:0")
    assert part.training == ("training",)
    assert part.direct == ("y:0",)


def test_what_cannot_be_frozen_is_named(new_network):
    with new_network().building() as net:
        X, y, _ = net.inputs()
        net.dense(X, 2, "aside")
        net.classify(net.dense(net.dense(X, 5, "hidden1"), 3, "out", relu=False), y)
    graph = net.export()
    with pytest.raises(UnknownName, match=r"no variable hiden1/kernel; nearest: hidden1/kernel"):
        frozen_part(graph, ["hiden1/kernel"], TARGETS)
    with pytest.raises(UnknownName, match=r"no op named loss/los; nearest: loss/loss"):
        frozen_part(graph, ["hidden1/kernel"], ["loss/los"])
    with pytest.raises(GraphError, match=r"loss/loss do not depend on the frozen variables aside/kernel"):
        frozen_part(graph, ["aside/kernel"], ["loss/loss"])
