"""The constant that an LSTM's graph adds to its forget gates is read from it; a rule with another is rejected."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.foreign.pairing import pair_weights
from ckpttool.foreign.readers import Reading, forget_bias, reading
from ckpttool.foreign.rules import Rule
from ckpttool.foreign.suggest import suggest
from ckpttool.formats.wire.protos.graph_pb2 import GraphDef, NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.graph.files import load
from ckpttool.layouts.dense import Dense
from ckpttool.runtime.configure import tensorflow

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:UserWarning")  # warnings of TensorFlow 1's own cells
KERNEL = "cell/kernel"


def graph(folder: Path, kind: str, **options: Any) -> Graph:
    """One step of TensorFlow 1's own cell, with five units and three inputs."""
    from tensorflow.python.keras.layers.legacy_rnn import rnn_cell_impl

    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default():
        x = tf1.placeholder(tf1.float32, (None, 3))
        with tf1.variable_scope("cell"):
            if kind == "dense":
                tf1.matmul(x, tf1.get_variable("kernel", (3, 5))) + 1.0
            else:
                cell = getattr(rnn_cell_impl, kind)(5, name="", **options)
                cell(x, cell.zero_state(2, tf1.float32))
        tf1.train.Saver()
        tf1.train.export_meta_graph(str(folder / "graph.meta"))
    return load(folder / "graph.meta")


@pytest.mark.parametrize("kind", ["BasicLSTMCell", "LSTMCell"])
@pytest.mark.parametrize("added", [1.0, 0.0, 2.5])
def test_the_number_that_a_cell_was_made_with(tmp_path: Path, kind: str, added: float) -> None:
    found = graph(tmp_path, kind, forget_bias=added)
    (kernel,) = (tensor for name, tensor in stored_tensors(found).items() if name.endswith("kernel"))
    assert forget_bias(found, kernel) == added


def test_a_dense_layer_has_no_gates(tmp_path: Path) -> None:
    found = graph(tmp_path, "dense")
    assert forget_bias(found, stored_tensors(found)[KERNEL]) is None


def test_a_rule_that_says_another_is_refused_with_the_right_one(tmp_path: Path) -> None:
    found = graph(tmp_path, "LSTMCell", forget_bias=0)
    shapes = {"kernel": (3, 20), "recurrent_kernel": (5, 20), "bias": (20,)}
    weights = Checkpoint.of({name: np.ones(shape, np.float32) for name, shape in shapes.items()})
    targets = tuple(sorted(stored_tensors(found), reverse=True))
    rule = Rule(tuple(shapes), targets, transform="lstm(keras, tf1)")
    right = (
        r"subtracts 1 from the forget gates, .* adds 0 to those of .*: specify transform = 'lstm\(.*, forget_bias=0\)'"
    )
    with pytest.raises(PlanError, match=right):
        pair_weights(weights, found, [rule])
    assert (
        len(
            pair_weights(
                weights, found, [Rule(tuple(shapes), targets, transform="lstm(keras, tf1, forget_bias=0)")]
            ).pairs
        )
        == 1
    )


def test_how_a_graph_reads_its_variables() -> None:
    """Products in each form, tables, elementwise ops, and ops without information."""
    tf = tensorflow()
    v1 = tf.compat.v1
    with v1.Graph().as_default() as graph_:
        x = v1.placeholder(tf.float32, (None, 4))
        made: dict[str, Any] = {}

        def variable(name: str) -> Any:
            made[name] = v1.get_variable(name, (4, 4))
            return made[name]

        tf.matmul(x, variable("plain"))
        tf.matmul(x, variable("transposed"), transpose_b=True)
        tf.matmul(x, tf.transpose(variable("turned")))
        tf.matmul(variable("left"), x, transpose_b=True)
        tf.einsum("bi,io->bo", x, variable("einsum"))
        tf.einsum("bi,oi->bo", x, variable("einsum_turned"))
        tf.matmul(v1.placeholder(tf.float32, (2, None, 4)), variable("batched"))
        tf.matmul(tf.one_hot(v1.placeholder(tf.int32, (None,)), 4), variable("looked_up"))
        tf.matmul(tf.gather(variable("tied"), [0, 1]), made["tied"], transpose_b=True)
        tf.matmul(x, variable("scaled") * 2.0)
        x + variable("added")[1:]
        tf.matmul(variable("embedded"), variable("projection"))
        tf.linalg.inv(variable("custom"))
        variable("unread")
        meta = v1.train.export_meta_graph(graph=graph_)
    found = Graph(MetaGraphDef.FromString(meta.SerializeToString()))
    read = {name: reading(found, tensor) for name, tensor in stored_tensors(found).items()}
    assert {name for name, each in read.items() if each == Reading(Dense())} == {
        *("plain", "einsum", "batched", "scaled", "projection")
    }
    assert {name for name, each in read.items() if each.outputs_first} == {
        *("transposed", "turned", "left", "einsum_turned")
    }
    assert {name for name, each in read.items() if not each.is_known} == {"embedded", "custom", "unread"}
    assert {name for name, each in read.items() if each == Reading()} == {"looked_up", "tied", "added"}


def test_a_square_matrix_that_no_op_tells_about_is_not_taken_for_a_table() -> None:
    node = NodeDef(name="w", op="VariableV2")
    node.attr["dtype"].type = 1
    for _ in range(2):
        node.attr["shape"].shape.dim.add().size = 4
    found, square = Graph(MetaGraphDef(graph_def=GraphDef(node=[node]))), np.ones((4, 4), np.float32)
    draft = suggest(Checkpoint.of({"w": square}), found)
    assert (
        draft.open[0] == "w: w fits as dense and as keep, and no op shows how the graph reads it; specify it in a rule"
    )
    with pytest.raises(PlanError, match="no op shows how w in graph is read: specify transform = 'dense'"):
        pair_weights(Checkpoint.of({"a.weight": square}), found, [Rule(r"a\.weight", "w")])
