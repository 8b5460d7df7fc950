"""Building TensorFlow 1 graphs: a new network, a head on an old one, a training op on either.

Each function gives a Graph that `tf.compat.v1.train.import_meta_graph` takes as its own.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ckpttool.errors import GraphError
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.graph import Graph, TensorRef
from ckpttool.graph.spec import LayerSpec
from ckpttool.runtime.layers import stack
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.schedules import NO_SPAN, Span
from ckpttool.runtime.tensorflow import running, tensorflow
from ckpttool.runtime.training_op import put_training_op


def new_graph(input_shape: Sequence[int], layers: Sequence[LayerSpec], recipe: Recipe, seed: int) -> Graph:
    """Build a classifier: `X`, `y`, the layers below `dnn/`, `loss/loss`, `eval/accuracy` and a training op."""
    with _building(seed) as built:
        tf1 = tensorflow().compat.v1
        inputs = tf1.placeholder("float32", [None, *input_shape], name="X")
        _classify(layers, inputs, "dnn", "y", recipe)
        return _export(built, "new graph")


def with_head(graph: Graph, features: str, layers: Sequence[LayerSpec], scope: str, labels: str, seed: int) -> Graph:
    """Put layers, loss, accuracy and labels on a tensor of a graph that holds no others; the training op comes later.

    Raises:
        GraphError: a name of the head is taken by what is below it.
    """
    with _building(seed, graph) as built:
        _refuse_taken(built, [layer.name for layer in layers], graph.source)
        _classify(layers, built.get_tensor_by_name(features), scope, labels, None)
        return _export(built, graph.source)


def with_training(
    graph: Graph, loss: str, trainable: Sequence[str], recipe: Recipe, seed: int, span: Span = NO_SPAN
) -> Graph:
    """Put a training op on a graph that has none: gradients of `loss` for the variables whose ops are named."""
    with _building(seed, graph) as built:
        variables = {variable.op.name: variable for variable in tensorflow().compat.v1.global_variables()}
        needed = graph.ancestors(TensorRef.parse(loss).op)
        trained = [variables[name] for name in trainable if name in needed]
        put_training_op(recipe, built.get_tensor_by_name(loss), trained, span)
        return _export(built, graph.source)


@contextmanager
def _building(seed: int, graph: Graph | None = None) -> Iterator[Any]:
    """Open a TensorFlow 1 graph to build in, holding `graph` already where one is given."""
    tf1 = tensorflow().compat.v1
    built = tf1.Graph()
    with running(graph.source if graph else "new graph"), _version_1(), built.as_default():
        tf1.set_random_seed(seed)
        if graph is not None:
            tf1.train.import_meta_graph(tf1.MetaGraphDef.FromString(graph.meta.SerializeToString()))
        yield built


@contextmanager
def _version_1() -> Iterator[None]:
    """Build as TensorFlow 1 did: with reference variables, which the chapter's graphs and old programs have.

    Conditionals and loops are made of Switch and Merge; the gradients of such loops cannot be built otherwise.
    """
    tf1 = tensorflow().compat.v1
    resource_variables, functional = tf1.resource_variables_enabled(), tf1.control_flow_v2_enabled()
    tf1.disable_resource_variables()
    tf1.disable_control_flow_v2()
    try:
        yield
    finally:
        if resource_variables:
            tf1.enable_resource_variables()
        if functional:
            tf1.enable_control_flow_v2()


def _refuse_taken(built: Any, names: Sequence[str], source: str) -> None:
    taken = {variable.op.name.rpartition("/")[0] for variable in tensorflow().compat.v1.global_variables()}
    for name in names:
        if name in taken:
            raise GraphError(f"{source}: the head names a layer {name}, which is below the cut; name it otherwise")


def _classify(layers: Sequence[LayerSpec], inputs: Any, scope: str, labels_name: str, recipe: Recipe | None) -> None:
    """Put layers, softmax loss, accuracy and, with a recipe, a training op on a tensor."""
    tf = tensorflow()
    tf1 = tf.compat.v1
    labels = tf1.placeholder("int32", [None], name=labels_name)
    logits = stack(layers, inputs, scope)
    with tf1.name_scope("loss"):
        xentropy = tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        loss = tf.reduce_mean(xentropy, name="loss")
    with tf1.name_scope("eval"):
        correct = tf1.nn.in_top_k(logits, labels, 1)
        tf.reduce_mean(tf.cast(correct, "float32"), name="accuracy")
    if recipe is not None:
        put_training_op(recipe, loss, tf1.trainable_variables())


def _export(built: Any, source: str) -> Graph:
    """Give the graph a Saver of all its variables and return it as data."""
    tf1 = tensorflow().compat.v1
    saver = tf1.train.Saver(tf1.global_variables())
    meta = tf1.train.export_meta_graph(graph=built, saver_def=saver.saver_def)
    return Graph(MetaGraphDef.FromString(meta.SerializeToString()), source)
