import pytest

from ckpttool.core.errors import GraphError, UnknownName
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.contents.collections import entries
from ckpttool.graph.core import Graph
from ckpttool.graph.files import load, save
from ckpttool.verbs.collections import add_to_collection


def test_entries_are_names_whatever_their_form(graph):
    important = graph("important")
    assert entries(important, "my_important_ops") == ["X:0", "y:0", "eval/accuracy:0", "GradientDescent"]
    assert entries(important, "trainable_variables")[:2] == ["hidden1/kernel:0", "hidden1/bias:0"]
    assert entries(graph("normalised"), "cond_context") == [
        "bn1/cond/cond_text",
        "bn1/cond/cond_text_1",
        "bn2/cond/cond_text",
        "bn2/cond/cond_text_1",
    ]
    assert entries(graph("recurrent"), "while_context") == ["rnn/while/while_context"]


def test_numbers_messages_and_other_bytes():
    meta = MetaGraphDef()
    meta.collection_def["numbers"].int64_list.value.extend([1, 2])
    meta.collection_def["halves"].float_list.value.append(0.5)
    meta.collection_def["any"].any_list.value.add(type_url="type.googleapis.com/tensorflow.AssetFileDef")
    meta.collection_def["queue_runners"].bytes_list.value.append(b"abc")
    meta.collection_def["cond_context"].bytes_list.value.append(b"\xff")
    meta.collection_def["empty"].SetInParent()
    graph = Graph(meta)

    assert {key: entries(graph, key) for key in meta.collection_def} == {
        "numbers": [1, 2],
        "halves": [0.5],
        "any": ["type.googleapis.com/tensorflow.AssetFileDef"],
        "queue_runners": ["3 bytes"],
        "cond_context": ["1 byte, damaged"],
        "empty": [],
    }


def test_a_collection_that_is_added_is_tensorflows_too(graph, tmp_path):
    import tensorflow as tf

    save(add_to_collection(graph("chapter"), "mine", ["X:0", "GradientDescent"]), tmp_path / "mine.meta")

    with tf.Graph().as_default():
        tf.compat.v1.train.import_meta_graph(str(tmp_path / "mine.meta"))
        x, training_op = tf.compat.v1.get_collection("mine")
    assert (x.name, training_op.name) == ("X:0", "GradientDescent")
    assert entries(load(tmp_path / "mine.meta"), "mine") == ["X:0", "GradientDescent"]


def test_what_cannot_be_added(graph):
    chapter = graph("chapter")
    with pytest.raises(UnknownName, match="no op named GradientDecent; nearest: GradientDescent"):
        add_to_collection(chapter, "mine", ["GradientDecent"])
    with pytest.raises(GraphError, match="collection variables holds"):
        add_to_collection(chapter, "variables", ["X:0"])
