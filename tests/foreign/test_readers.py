"""What an LSTM's graph adds to its forget gates is read from it, and a rule that says otherwise is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.foreign.pairing import pair_weights
from ckpttool.foreign.readers import forget_bias
from ckpttool.foreign.rules import Rule
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.graph.files import load
from ckpttool.runtime.configure import tensorflow

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:UserWarning")  # TensorFlow 1's own cells say so
KERNEL = "cell/kernel"


def graph(folder: Path, kind: str, **options: Any) -> Graph:
    """One step of TensorFlow 1's own cell, of five units with three inputs."""
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
    right = r"takes 1 off the forget gates, .* adds 0 to those of .*: transform = 'lstm\(.*, forget_bias=0\)'"
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
