"""Preprocessing is copied to another graph with the weights, under the names of its inputs there."""

from typing import Any

import pytest

from ckpttool.core.errors import PlanError
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.contents.preprocessing import preprocessing_text, with_preprocessing_text
from ckpttool.graph.core import Graph
from ckpttool.verbs.inputs import with_preprocessed_inputs


def two_inputs(prefix: str, keep: str | None = None) -> Graph:
    """A graph with inputs `photo` and `age`, with these names in its signature."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as built:
        photo: Any = v1.placeholder("float32", [None, 2, 2, 3], name=f"{prefix}photo")
        age: Any = v1.placeholder("float32", [None, 1], name=f"{prefix}age")
        out = tf.add(tf.reshape(photo, [-1, 12]), age, name="out")
        info = v1.saved_model.build_tensor_info
        inputs = {"photo": info(photo), "age": info(age)}
        signature = v1.saved_model.build_signature_def(inputs, {"out": info(out)}, "predict")
        meta = v1.train.export_meta_graph(graph=built)
    meta.signature_def["serving_default"].CopyFrom(signature)
    return with_preprocessing_text(Graph(MetaGraphDef.FromString(meta.SerializeToString()), "graph"), keep)


def test_inputs_are_found_by_what_callers_name_them() -> None:
    source = two_inputs("serving_default_", "serving_default_photo: keras(tf); serving_default_age: scale(2)")
    target, notes = with_preprocessed_inputs(two_inputs("", "photo: none"), None, source)
    assert preprocessing_text(target) == "photo: keras(tf); age: scale(2)"
    assert notes == ["the preprocessing was photo: none, now it is photo: keras(tf); age: scale(2)"]
    back, _ = with_preprocessed_inputs(two_inputs("serving_default_"), "age: scale(3)", target)
    assert preprocessing_text(back) == "serving_default_photo: keras(tf); serving_default_age: scale(3)"
    alone = with_preprocessing_text(Graph(MetaGraphDef(), "net.keras"), "age: scale(4)")
    told, _ = with_preprocessed_inputs(two_inputs("serving_default_"), None, alone)
    assert preprocessing_text(told) == "serving_default_age: scale(4)"


def test_what_is_not_known_stays() -> None:
    plain = two_inputs("")
    assert with_preprocessed_inputs(plain, None) == (plain, [])
    assert with_preprocessed_inputs(plain, None, two_inputs("a_"))[0] is plain
    broken = two_inputs("", "no step (")
    assert preprocessing_text(with_preprocessed_inputs(plain, None, broken)[0]) == "no step ("
    with pytest.raises(PlanError, match="no input heigth"):
        with_preprocessed_inputs(plain, "heigth: none")
