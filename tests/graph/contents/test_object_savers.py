"""The checkpoint names of a TensorFlow 2 graph's variables: savers in functions contain their keys."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.graph.contents.savers import restored_keys
from ckpttool.graph.contents.stored import named_as_saved
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph
from ckpttool.graph.files import load


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two variables of one name, which the graph numbers and the checkpoint distinguishes by their paths."""
    import tensorflow as tf

    model = tf.Module()
    model.left, model.right = (tf.Variable([value], name="w") for value in (1.0, 2.0))
    call = tf.function(lambda: {"y": model.left - model.right}).get_concrete_function()
    folder: Path = tmp_path_factory.mktemp("twins") / "saved"
    tf.saved_model.save(model, str(folder), signatures=call)
    return folder


def test_each_variable_has_the_key_that_it_is_restored_from(twins: Path) -> None:
    found = restored_keys(load(twins))
    assert {key.partition("/")[0] for key in found.values()} == {"left", "right"}
    assert set(found) == {"w", "w_1"}


def test_variables_are_named_as_the_checkpoint_names_them(twins: Path) -> None:
    saved = checkpoint.open(twins)
    graph, named = load(twins), named_as_saved(load(twins), saved)
    keys = restored_keys(graph)
    assert set(variables(graph)) == {"w", "w_1"}
    assert {variable.op: name for name, variable in variables(named).items()} == {
        op: key.partition("/")[0] for op, key in keys.items()
    }
    assert {name: saved[name].read().tolist() for name in variables(named)} == {"left": [1.0], "right": [2.0]}


def test_a_graph_of_tensorflow_1_or_a_checkpoint_of_names_changes_nothing(
    graph: Callable[[str], Graph], twins: Path
) -> None:
    old = graph("resource")
    assert restored_keys(old) == {}
    assert named_as_saved(old, checkpoint.open(twins)) is old
    saved = load(twins)
    assert named_as_saved(saved, checkpoint.Checkpoint.of({"w": np.ones(1)})) is saved
