"""New ops are built next to the few that they inspect, and equal those that TensorFlow builds on the whole graph."""

from typing import Any

import pytest

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.splicing import Site
from ckpttool.runtime.build import with_training
from ckpttool.runtime.building import building_at, version_1
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.training_op import put_training_op

RECIPE = Recipe("adam", l2="0.01", clip_norm=1.0)


@pytest.fixture(scope="module")
def network() -> bytes:
    """A dense layer, one in a conditional, one in a loop, an embedding, and a loss."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with version_1(), tf1.Graph().as_default() as graph:
        rows = tf1.placeholder("float32", [None, 4], name="X")
        words = tf1.placeholder("int32", [None], name="words")
        low, inside, around, table = (
            tf1.get_variable(f"{name}/kernel", [4, 4]) for name in ("low", "inside", "around", "table")
        )
        below, other = tf1.split(tf1.nn.relu(tf1.matmul(rows, low)), 2, axis=1)
        below = tf1.concat([other, below], 1)
        training = tf1.placeholder_with_default(False, [], name="training")
        below = tf1.cond(training, lambda: tf1.matmul(below, inside) + 1.0, lambda: tf1.matmul(below, inside))
        turns = (lambda number, _: number < 3), (lambda number, value: (number + 1, tf1.matmul(value, around)))
        _, below = tf1.while_loop(*turns, [0, below])
        below = below + tf1.nn.embedding_lookup(table, words)
        tf1.reduce_mean(tf1.square(below), axis=tf1.range(tf1.rank(below)), name="loss")
        return bytes(tf1.train.export_meta_graph(graph=graph, clear_extraneous_savers=True).SerializeToString())


def on_the_whole(network: bytes, trained: list[str]) -> Any:
    """Add a training op to the graph as a TensorFlow 1 program would."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with version_1(), tf1.Graph().as_default() as graph:
        tf1.train.import_meta_graph(tf1.MetaGraphDef.FromString(network))
        held = {variable.op.name: variable for variable in tf1.global_variables()}
        put_training_op(RECIPE, graph.get_tensor_by_name("loss:0"), [held[name] for name in trained], [*held])
        return MetaGraphDef.FromString(tf1.train.export_meta_graph(graph=graph).SerializeToString())


def ops(meta: MetaGraphDef) -> dict[str, tuple[str, list[str], str]]:
    nodes = [node for node in meta.graph_def.node if not node.name.startswith("save")]
    return {node.name: (node.op, [text.removesuffix(":0") for text in node.input], attributes(node)) for node in nodes}


def attributes(node: NodeDef) -> str:
    return "\n".join(f"{key}: {node.attr[key]}" for key in sorted(node.attr))


@pytest.mark.parametrize(
    "trained", [["low"], ["inside"], ["around"], ["table"], ["low", "inside", "around", "table"]], ids="-".join
)
def test_training_ops_are_those_of_the_whole_graph(network: bytes, trained: list[str]) -> None:
    names = [f"{name}/kernel" for name in trained]
    expected = on_the_whole(network, names)
    made = with_training(Graph(MetaGraphDef.FromString(network)), "loss:0", names, RECIPE, 0).meta
    assert ops(made) == ops(expected)
    for key in ("trainable_variables", "variables", "train_op", "global_step", "ckpttool/loss"):
        assert made.collection_def[key] == expected.collection_def[key]
    assert made.saver_def.restore_op_name == "save/restore_all"


def test_what_no_gradient_goes_through_is_not_built(network: bytes) -> None:
    graph = Graph(MetaGraphDef.FromString(network))
    site = Site.of(graph, graph.descendants(["table/kernel"]) & graph.ancestors("loss"), ["loss"], ["table/kernel"])
    assert {"low/kernel", "MatMul", "cond/Merge", "while/Exit_1"}.isdisjoint(site.ops)
    assert "while/Exit_1" in site.outside


@pytest.mark.parametrize("key", ["cond_context", "while_context"])
def test_a_damaged_context_of_control_is_told_as_an_error_of_the_graph(network: bytes, key: str) -> None:
    meta = MetaGraphDef.FromString(network)
    meta.collection_def[key].bytes_list.value.append(b"\x0a\x01\xff\xfe")
    graph = Graph(meta, "model.meta")
    site = Site.of(graph, graph.descendants(["low/kernel"]) & graph.ancestors("loss"), ["loss"], ["low/kernel"])
    with pytest.raises(GraphError, match=r"model\.meta: TensorFlow refuses it"), building_at(site, 42):
        pass
