"""Tables of TensorFlow 2 SavedModels: plain TensorFlow 1 fills them from files, or with a program's entries."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.model.model import Model, write_model

WORDS = np.array([b"a", b"c", b"unknown"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module that looks up words in a file and in a table that it has filled, saved, and moved."""
    import tensorflow as tf

    work = tmp_path_factory.mktemp("tables")
    vocabulary = work / "words.txt"
    vocabulary.write_text("a\nb\nc\n")

    class Looking(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            of_file = tf.lookup.TextFileInitializer(
                str(vocabulary),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            )
            self.fixed = tf.lookup.StaticVocabularyTable(of_file, 2)
            self.grown = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
            self.grown.insert(tf.constant(["a", "c"]), tf.constant([3, 4], tf.int64))
            self.weights = tf.Variable([1.0, 2.0, 3.0, 4.0, 5.0], name="weights")

        @tf.function
        def call(self, x: Any) -> Any:
            return {"fixed": tf.gather(self.weights, self.fixed.lookup(x)), "grown": self.grown.lookup(x)}

    module = Looking()
    concrete = module.call.get_concrete_function(tf.TensorSpec([None], tf.string, name="x"))
    tf.saved_model.save(module, str(work / "first"), signatures=concrete)
    shutil.move(work / "first", work / "model")
    vocabulary.unlink()
    return work / "model"


def test_plain_tensorflow_1_looks_up_what_tensorflow_2_does(folder, tmp_path):
    import tensorflow as tf

    v1 = tf.compat.v1
    expected = tf.saved_model.load(str(folder)).signatures["serving_default"](tf.constant(WORDS))
    model = Model.open(folder)
    write_model(model.graph, model.checkpoint, tmp_path / "model.ckpt", False)
    signature = model.graph.header.signature_def["serving_default"]
    with tf.Graph().as_default(), v1.Session() as session:
        saver = v1.train.import_meta_graph(str(tmp_path / "model.ckpt.meta"))
        session.run(v1.tables_initializer())
        saver.restore(session, str(tmp_path / "model.ckpt"))
        found = session.run({key: info.name for key, info in signature.outputs.items()}, {"serving_default_x:0": WORDS})
    for key in ("fixed", "grown"):
        np.testing.assert_array_equal(found[key], expected[key].numpy())
    assert found["grown"].tolist() == [3, 4, -1]
    assert set(model.checkpoint) == {"weights"}
