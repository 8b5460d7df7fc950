"""A classifier of words with look-up tables: a vocabulary at its input, and its class names at its output."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Run = Callable[..., str]
WORDS = [f"w{number}" for number in range(12)]
CLASSES = ["red", "green", "blue"]


def make(folder: Path) -> None:
    import tensorflow as tf
    from tensorflow.python.ops import lookup_ops

    v1 = tf.compat.v1
    (folder / "words.txt").write_text("\n".join(WORDS) + "\n")
    rows = np.array(WORDS)[np.arange(20)[:, None] % [5, 7, 11]]
    for kind in ("file", "memory"):
        with tf.Graph().as_default(), v1.Session() as session:
            v1.set_random_seed(3)
            words, labels = v1.placeholder(tf.string, [None, 3], "words"), v1.placeholder(tf.int32, [None], "y")
            table = (
                lookup_ops.index_table_from_file(str(folder / "words.txt"), num_oov_buckets=1)
                if kind == "file"
                else lookup_ops.index_table_from_tensor(tf.constant(WORDS), num_oov_buckets=1)
            )
            embedding = v1.get_variable("embed/table", [len(WORDS) + 1, 4])
            hidden = tf.reshape(tf.nn.embedding_lookup(embedding, table.lookup(words)), [-1, 12])
            logits = tf.matmul(hidden, v1.get_variable("outputs/kernel", [12, 3]), name="logits")
            names = lookup_ops.index_to_string_table_from_tensor(tf.constant(CLASSES))
            names.lookup(tf.argmax(logits, 1), name="class_name")
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
            v1.train.GradientDescentOptimizer(0.3).minimize(tf.reduce_mean(losses, name="loss"))
            session.run([v1.global_variables_initializer(), v1.tables_initializer()])
            v1.train.Saver().save(session, str(folder / kind), write_state=False)
            found = session.run("class_name/LookupTableFindV2:0", {words: rows})
            np.savez(folder / f"{kind}_expected.npz", words=rows, classes=found.astype(str))


@pytest.mark.parametrize("kind", ["file", "memory"])
@pytest.mark.parametrize("name", ["class_name", "class_name:0", "class_name/LookupTableFindV2", "named=class_name"])
def test_the_name_that_the_program_gave_is_taken(folder: Path, run: Run, kind: str, name: str) -> None:
    import tensorflow as tf

    assert "=class_name/LookupTableFindV2:0, as specified" in run(f"ckpttool strip {kind} --outputs {name} -o one")
    run(f"ckpttool export-saved-model {kind} --outputs {name} -o served")
    served = tf.saved_model.load(str(folder / "served")).signatures["serving_default"]
    with np.load(folder / f"{kind}_expected.npz") as expected:
        (found,) = served(words=tf.constant(expected["words"])).values()
        assert found.numpy().astype(str).tolist() == expected["classes"].tolist()


def test_a_scope_with_several_results_is_asked_about(folder: Path, run: Run) -> None:
    refusal = run("ckpttool strip file --outputs clas_name -o one", exit_code=2)
    assert "--outputs clas_name: no such op or tensor; nearest: class_name/LookupTableFindV2" in refusal
