"""Graphs converted to inference: dropout in the forms that TensorFlow has had, and undecidable cases."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.contents.batch_norms import batch_norms
from ckpttool.graph.contents.dropouts import dropouts
from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.core import Graph
from ckpttool.graph.freezing.randomness import disturbances
from ckpttool.graph.rewrite.inference import in_inference
from ckpttool.graph.rewrite.prune import subgraph

ROWS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
RATE = 0.3
Build = Callable[[Any, Any], Any]


@contextmanager
def old_control_flow() -> Iterator[None]:
    """Use TensorFlow 1's ops for conditionals and loops, and restore the setting afterwards."""
    import tensorflow as tf

    was = tf.compat.v1.control_flow_v2_enabled()
    tf.compat.v1.disable_control_flow_v2()
    try:
        yield
    finally:
        if was:
            tf.compat.v1.enable_control_flow_v2()


def built(build: Build) -> Graph:
    """Return a graph of `X` and `logits`, which is built on it."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, old_control_flow():
        tf.identity(build(tf, v1.placeholder(tf.float32, [None, 4], "X")), name="logits")
        meta = v1.train.export_meta_graph(graph=graph)
    return Graph(MetaGraphDef.FromString(meta.SerializeToString()))


def run(graph: Graph) -> Any:
    import tensorflow as tf

    v1 = tf.compat.v1
    part = subgraph(graph, ["logits:0"])
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(v1.GraphDef.FromString(part.meta.graph_def.SerializeToString()), name="")
        return session.run("logits:0", {"X:0": ROWS})


def uniform(tf: Any, x: Any) -> Any:
    return tf.random.uniform(tf.shape(x), dtype=x.dtype)


def alpha(tf: Any, x: Any) -> Any:
    """Alpha dropout, as in Keras (Klambauer et al. 2017)."""
    low, mask = -1.7580993, tf.cast(uniform(tf, x) >= RATE, tf.float32)
    scale = ((1 - RATE) * (1 + RATE * low**2)) ** -0.5
    return scale * (x * mask + low * (1 - mask)) - scale * low * RATE


def in_loop(tf: Any, x: Any) -> Any:
    """A mask that all iterations of a loop share, drawn outside of it."""
    mask = 1 - RATE + tf.random.uniform([4])

    def body(turn: Any, h: Any) -> Any:
        return turn + 1, tf.divide(h, 1 - RATE) * tf.floor(mask)

    return tf.compat.v1.while_loop(lambda turn, h: turn < 3, body, [tf.constant(0), x])[1]


DROPOUTS: dict[str, Build] = {
    "a select": lambda tf, x: tf.nn.dropout(x, RATE),
    "rows": lambda tf, x: tf.nn.dropout(x, RATE, noise_shape=[tf.shape(x)[0], 1]),
    "floor": lambda tf, x: tf.divide(x, 1 - RATE) * tf.floor(1 - RATE + uniform(tf, x)),
    "cast": lambda tf, x: x * (1 / (1 - RATE)) * tf.cast(uniform(tf, x) >= RATE, tf.float32),
    "scaled behind": lambda tf, x: x * tf.cast(uniform(tf, x) < 1 - RATE, tf.float32) / (1 - RATE),
    "a mask of ones": lambda tf, x: x * tf.nn.dropout(tf.ones_like(x), RATE),
    "stateless": lambda tf, x: tf.where(tf.random.stateless_uniform(tf.shape(x), [1, 2]) >= RATE, x / (1 - RATE), 0.0),
    "one behind the other": lambda tf, x: tf.nn.dropout(tf.nn.dropout(x, RATE), RATE),
    "a placeholder": lambda tf, x: tf.compat.v1.nn.dropout(x, tf.compat.v1.placeholder(tf.float32, [], "keep_prob")),
    "half": lambda tf, x: tf.cast(tf.nn.dropout(tf.cast(x, tf.float16), RATE), tf.float32),
    "alpha": alpha,
    "in a loop": in_loop,
}


@pytest.mark.parametrize("form", DROPOUTS)
def test_dropout_lets_all_pass(form: str) -> None:
    inference = in_inference(built(DROPOUTS[form]), ["logits:0"], ["X:0"])
    assert inference.dropouts
    np.testing.assert_allclose(run(inference.graph), ROWS, rtol=1e-3 if form == "half" else 1e-6)
    assert disturbances(inference.graph, Flow.of(inference.graph), ["logits:0"], []) == ([], [])


def test_dropout_whose_rate_is_fed_is_left_to_who_feeds_it() -> None:
    graph = built(DROPOUTS["a placeholder"])
    assert not in_inference(graph, ["logits:0"], ["X:0", "keep_prob:0"]).dropouts


def test_what_passes_a_dropout_that_scales_nothing_cannot_be_told() -> None:
    graph = built(lambda tf, x: tf.multiply(x, tf.cast(uniform(tf, x) < 0.5, tf.float32), name="masked"))
    with pytest.raises(GraphError, match="masked: it drops values without scaling up those that it keeps; build the"):
        in_inference(graph, ["logits:0"])
    assert in_inference(graph, ["logits:0"], ["masked:0"]).graph is graph, "what is fed in its place is not asked"


@pytest.mark.parametrize(
    "build",
    [
        lambda tf, x: tf.where(uniform(tf, x) < 0.5, x, -x),
        lambda tf, x: x * uniform(tf, x),
        lambda tf, x: tf.cast(uniform(tf, x) < tf.sigmoid(x), tf.float32) * x,
    ],
    ids=["a choice of two", "noise", "a mask that depends on the rows"],
)
def test_other_randomness_is_no_dropout(build: Build) -> None:
    graph = built(build)
    assert dropouts(graph) == []
    assert in_inference(graph, ["logits:0"]).notes == ["still random: random_uniform/RandomUniform"]


def test_what_a_function_does_as_in_training_is_said() -> None:
    def called(tf: Any, x: Any) -> Any:
        function = tf.function(lambda rows: tf.nn.dropout(rows, RATE), autograph=False)
        return function(x)

    (note,) = in_inference(built(called), ["logits:0"]).notes
    assert note.startswith("still random: ")
    assert note.endswith("Call/dropout/random_uniform/RandomUniform")


def fused(tf: Any, x: Any, scope: str, *averages: str) -> Any:
    """Normalise by the batch, next to variables that nothing updates."""
    v1 = tf.compat.v1
    with v1.variable_scope(scope):
        gamma, beta = (v1.get_variable(name, [4]) for name in ("gamma", "beta"))
        for name in averages:
            v1.get_variable(name, [4], trainable=False)
        return v1.nn.fused_batch_norm(tf.reshape(x, [-1, 1, 1, 4]), gamma, beta)[0]


def test_averages_that_nothing_updates_are_known_by_their_usual_names() -> None:
    graph = built(lambda tf, x: fused(tf, x, "bn", "moving_mean", "moving_variance"))
    (norm,) = batch_norms(graph)
    assert (norm.averages, norm.problem) == (("bn/moving_mean", "bn/moving_variance"), None)


def test_a_second_tower_has_the_averages_that_the_first_one_moves() -> None:
    def towers(tf: Any, x: Any) -> Any:
        v1 = tf.compat.v1
        gamma, beta, mean, variance = (v1.get_variable(name, [4]) for name in ("gamma", "beta", "pop_mean", "pop_var"))
        for average in (mean, variance):
            v1.get_default_graph().get_collection_ref("trainable_variables").remove(average)
        outputs = [v1.nn.fused_batch_norm(tf.reshape(x, [-1, 1, 1, 4]), gamma, beta) for _ in range(2)]
        for average, value in zip((mean, variance), outputs[0][1:], strict=True):
            v1.add_to_collection("update_ops", v1.assign_sub(average, (average - value) * 0.1))
        return outputs[0][0] + outputs[1][0]

    assert [norm.averages for norm in batch_norms(built(towers))] == [("pop_mean", "pop_var")] * 2


@pytest.mark.parametrize(
    ("averages", "reason"),
    [
        (["sums"], "and no op shows what bn/sums are averages of; build the graph for inference in its own program"),
        (["moving_mean", "moving_variance", "renorm_mean"], r"and it is a batch renormalisation \(bn/renorm_mean\)"),
    ],
)
def test_averages_that_cannot_be_told_are_refused_with_the_op_and_the_way_out(averages: list[str], reason: str) -> None:
    graph = built(lambda tf, x: fused(tf, x, "bn", *averages))
    with pytest.raises(GraphError, match=f"bn/FusedBatchNormV3 normalises by its batch, {reason}"):
        in_inference(graph, ["logits:0"])


def test_where_there_are_no_averages_at_all_that_is_said() -> None:
    inference = in_inference(built(lambda tf, x: fused(tf, x, "bn")), ["logits:0"])
    assert inference.notes == ["still normalised by the batch, as they have no moving averages: bn"]


def test_layer_normalisation_by_a_fused_op_is_of_each_row() -> None:
    def keras(tf: Any, x: Any) -> Any:
        image = tf.reshape(x, [1, -1, 4, 1])
        ones = tf.ones([tf.shape(x)[0]])
        return tf.compat.v1.nn.fused_batch_norm(image, ones, ones * 0, epsilon=1e-3, data_format="NCHW")[0]

    assert batch_norms(built(keras)) == []


def test_the_average_of_a_loss_or_of_anything_else_changes_nothing() -> None:
    def build(tf: Any, x: Any) -> Any:
        v1 = tf.compat.v1
        for name, value in (("loss_average", tf.reduce_mean(x)), ("centre", tf.reduce_mean(x, 0))):
            average = v1.get_variable(name, value.shape, trainable=False)
            v1.add_to_collection("update_ops", v1.assign_sub(average, (average - value) * 0.1))
        return x - tf.reduce_mean(x, 0)

    graph = built(build)
    assert in_inference(graph, ["logits:0"]).graph is graph


SWITCHES: dict[str, Callable[[Any], Any]] = {
    "a constant": lambda tf: tf.constant(True, name="is_training"),
    "a default": lambda tf: tf.compat.v1.placeholder_with_default(True, [], "is_training"),
    "a variable": lambda tf: tf.compat.v1.get_variable("is_training", initializer=True, trainable=False),
    "a reference": lambda tf: tf.compat.v1.get_variable("is_training", initializer=True, use_resource=False),
}


def switched(kind: str) -> Graph:
    return built(lambda tf, x: tf.compat.v1.cond(SWITCHES[kind](tf), lambda: tf.nn.dropout(x, RATE), lambda: x * 1.0))


@pytest.mark.parametrize("kind", SWITCHES)
def test_a_training_switch_that_the_graph_sets_is_off(kind: str) -> None:
    inference = in_inference(switched(kind), ["logits:0"])
    assert inference.notes == ["off, although the graph sets it: is_training"]
    np.testing.assert_array_equal(run(inference.graph), ROWS)


def test_a_switch_that_is_fed_is_left_to_who_feeds_it() -> None:
    graph = switched("a default")
    assert in_inference(graph, ["logits:0"], ["is_training:0"]).graph is graph
