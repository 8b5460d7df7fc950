"""Strings that a graph looks up in tables, which are filled before it runs, separately for each graph."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import DataError, GraphError
from ckpttool.core.tensors import Array
from ckpttool.formats.wire.protos.meta_graph_pb2 import SavedModel
from ckpttool.graph import files
from ckpttool.graph.rewrite.draft import Draft
from ckpttool.model.model import Model
from ckpttool.runtime.objectives import Objective
from ckpttool.scanning.walk import scan
from ckpttool.training.options import Options
from ckpttool.verbs.evaluate import evaluate
from ckpttool.verbs.finetune import finetune
from ckpttool.verbs.predict import predict

WORDS = ["ant", "bee", "çat", "dog"]
ROWS = np.array(WORDS)[np.random.default_rng(0).integers(0, 4, (20, 2))]
CLASSES = np.arange(20) % 3


def saved(folder: Path, words: list[str], kind: str = "memory") -> tuple[Model, Array]:
    """Save a network that looks up words, and its outputs for the rows; the table's name is always the same."""
    import tensorflow as tf
    from tensorflow.python.ops import lookup_ops

    v1 = tf.compat.v1
    (folder / "words.txt").write_text("\n".join(words))
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        inputs = v1.placeholder(tf.string, [None, 2], "words")
        values = tf.constant(np.arange(len(words)))
        if kind == "file":
            table: Any = lookup_ops.index_table_from_file(str(folder / "words.txt"), num_oov_buckets=1)
        elif kind == "memory":
            filled = lookup_ops.KeyValueTensorInitializer(tf.constant(words), values)
            table = lookup_ops.StaticHashTable(filled, 4, name="shared")
        else:
            table = lookup_ops.MutableHashTable(tf.string, tf.int64, 4)
        embedded = tf.nn.embedding_lookup(v1.get_variable("embed/table", [5, 4]), table.lookup(inputs))
        scores = tf.matmul(tf.reshape(embedded, [-1, 8]), v1.get_variable("scores/kernel", [8, 3]))
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder = v1.saved_model.Builder(str(folder / "served"))
        signature = v1.saved_model.predict_signature_def({"words": inputs}, {"scores": scores})
        assets = v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS)
        main = v1.tables_initializer()
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, assets, main_op=main)
        builder.save()
        expected = session.run(scores, {inputs: ROWS})
    np.savez(folder / "rows.npz", words=ROWS, y=CLASSES)
    return Model.open(folder / "served"), expected


def predicted(model: Model, data: Path) -> Array:
    predict(model, data, data.with_name("out.npz"), overwrite=True)
    with np.load(data.with_name("out.npz")) as arrays:
        return arrays["outputs"]


def test_two_models_whose_tables_have_one_name_look_up_their_own_words(tmp_path: Path) -> None:
    for name, words in (("first", WORDS), ("second", WORDS[::-1])):
        (tmp_path / name).mkdir()
        model, expected = saved(tmp_path / name, words)
        np.testing.assert_allclose(predicted(model, tmp_path / name / "rows.npz"), expected, rtol=1e-5)


def test_a_saved_model_reads_its_own_files_where_it_lies_now(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    _, expected = saved(tmp_path / "before", WORDS, "file")
    moved = (tmp_path / "before").rename(tmp_path / "now")
    words, asset = moved / "words.txt", moved / "served" / "assets" / "words.txt"
    words.unlink()
    model = Model.open(moved / "served")
    np.testing.assert_allclose(predicted(model, moved / "rows.npz"), expected, rtol=1e-5)
    words.write_bytes(asset.read_bytes())
    asset.unlink()
    with pytest.raises(GraphError, match=r"fills a table from .*assets/words.txt, which is missing"):
        predicted(model, moved / "rows.npz")
    asset.symlink_to(words)
    with pytest.raises(GraphError, match="which is a link to outside of the model"):
        predicted(model, moved / "rows.npz")


def test_a_file_that_is_no_asset_is_read_when_its_op_is_allowed_alone(tmp_path: Path) -> None:
    _, expected = saved(tmp_path, WORDS, "file")
    graph = files.load(tmp_path / "served")
    assert scan([tmp_path / "served"]).found == []
    draft = Draft(graph)
    del draft.header.asset_file_def[:], draft.header.collection_def["saved_model_assets"].any_list.value[:]
    name = next(name for name, node in graph.nodes.items() if node.op == "InitializeTableFromTextFileV2")
    draft.op(graph.inputs(name)[1].op).attr["value"].tensor.string_val[:] = [str(tmp_path / "words.txt").encode()]
    (tmp_path / "served" / "saved_model.pb").write_bytes(
        SavedModel(saved_model_schema_version=1, meta_graphs=[draft.sealed().meta]).SerializeToString()
    )
    assert {each.what for each in scan([tmp_path / "served"]).found} == {"InitializeTableFromTextFileV2"}
    with pytest.raises(GraphError, match="`allow_op` InitializeTableFromTextFileV2 allows it"):
        predicted(Model.open(tmp_path / "served"), tmp_path / "rows.npz")
    model = Model.open(tmp_path / "served", ["InitializeTableFromTextFileV2"])
    np.testing.assert_allclose(predicted(model, tmp_path / "rows.npz"), expected, rtol=1e-5)


def test_a_model_of_texts_is_evaluated_and_trained(tmp_path: Path) -> None:
    model, scores = saved(tmp_path, WORDS)
    powers = np.exp(scores)
    expected = -np.log(powers[np.arange(20), CLASSES] / powers.sum(1)).mean()
    assert evaluate(model, tmp_path / "rows.npz", objective=Objective()).loss == pytest.approx(expected, rel=1e-5)
    options = Options(objective=Objective(), freeze="embed", cache=True, cache_dir=tmp_path / "cache", epochs=5)
    run = finetune(model, tmp_path / "rows.npz", options, tmp_path / "tuned")
    assert run.history[-1].loss < run.history[0].loss
    tuned = Model.open(tmp_path / "tuned")
    found = evaluate(tuned, tmp_path / "rows.npz", split="valid")
    assert found.loss == pytest.approx(run.kept.valid_loss, rel=1e-5)


def test_a_table_that_nothing_fills_is_refused(tmp_path: Path) -> None:
    model, _ = saved(tmp_path, WORDS, "mutable")
    with pytest.raises(
        GraphError, match=r"the look-up table MutableHashTable is filled from a checkpoint, .*: it would be"
    ):
        predicted(model, tmp_path / "rows.npz")


def test_numbers_are_no_texts(tmp_path: Path) -> None:
    model, _ = saved(tmp_path, WORDS)
    np.savez(tmp_path / "rows.npz", words=np.zeros((4, 2)))
    with pytest.raises(DataError, match="words is float64, expected text for words"):
        predicted(model, tmp_path / "rows.npz")
