"""Real models, modernized, stripped, exported and folded, have their former outputs in TensorFlow."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.model.model import Model
from ckpttool.verbs.export_saved_model import plan_saved_model
from ckpttool.verbs.fold import plan_fold
from ckpttool.verbs.modernize import plan_modernize
from ckpttool.verbs.strip import plan_strip

CORPUS = Path(os.environ.get("CKPTTOOL_CORPUS", "/nowhere"))
pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="CKPTTOOL_CORPUS names no folder of real files")

CROWD = CORPUS / "crowd_counting_3frameworks/modelB/model.ckpt"
IMAGE = np.random.default_rng(1).normal(size=(1, 32, 32, 1)).astype(np.float32)
FEED = {"Placeholder:0": IMAGE, "Placeholder_1:0": np.ones((1, 8, 8, 1), np.float32)}


def signed(folder: Path, feed: Any, key: str) -> Any:
    """Run an output of the default signature of a SavedModel in a session."""
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loader = tf.compat.v1.saved_model.loader
        signature = loader.load(session, ["serve"], str(folder)).signature_def["serving_default"]
        (given,) = signature.inputs.values()
        return session.run(signature.outputs[key].name, {given.name: feed})


def frozen(path: Path, tensor: str, feed: dict[str, Any]) -> Any:
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.graph_util.import_graph_def(definition, name="")
        return session.run(tensor, feed)


def test_a_model_with_seven_savers_and_adam_is_modernized_and_trains_on(new_session: Any, tmp_path: Path) -> None:
    plan_modernize(Model.open(CROWD)).write(tmp_path / "modern.ckpt")
    old, new = new_session(CROWD, CROWD), new_session(tmp_path / "modern.ckpt", tmp_path / "modern.ckpt")
    for session in (old, new):
        session.run("Adam", FEED)
    before, after = old.weights(), new.weights()
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=1e-5, atol=1e-7, err_msg=name)


def test_its_forward_part_is_stripped_exported_and_folded(new_session: Any, tmp_path: Path) -> None:
    model = Model.open(CROWD)
    expected = new_session(CROWD, CROWD).run("add_12:0", FEED)
    plan_strip(model).write(tmp_path / "small.ckpt")
    feed = {"Placeholder:0": IMAGE}
    stripped = new_session(tmp_path / "small.ckpt", tmp_path / "small.ckpt")
    assert stripped.run("add_12:0", feed).tobytes() == expected.tobytes()
    plan_saved_model(model).write(tmp_path / "exported")
    assert signed(tmp_path / "exported", IMAGE, "logits").tobytes() == expected.tobytes()
    plan_fold(model).write(tmp_path / "frozen.pb")
    np.testing.assert_allclose(frozen(tmp_path / "frozen.pb", "add_12:0", feed), expected, rtol=1e-4, atol=1e-6)


def test_a_regression_whose_answer_is_known(tmp_path: Path) -> None:
    import tensorflow as tf

    model = Model.open(CORPUS / "tf2onnx_regression_trio/regression/checkpoint/model")
    x = np.arange(5, dtype=np.float32)
    plan_saved_model(model).write(tmp_path / "exported")
    called = tf.saved_model.load(str(tmp_path / "exported")).signatures["serving_default"](X=tf.constant(x))
    plan_fold(model).write(tmp_path / "frozen.pb")
    for found in (called["logits"].numpy(), frozen(tmp_path / "frozen.pb", "Add:0", {"X:0": x})):
        np.testing.assert_allclose(found, 0.21396178 * x + 1.0495254, rtol=1e-6)


SAVED = (
    "scisharp_keras_savedmodels/test/TensorFlowNET.Keras.UnitTest/Assets/lstm_from_sequential",
    "serving_testdata/servables/tensorflow/testdata/saved_model_half_plus_two_tf2_cpu/00000123",
    "serving_testdata/servables/tensorflow/testdata/saved_model_half_plus_two_mkl/00000123",
    "tf_java_savedmodels/saved_model",
)


@pytest.mark.parametrize("path", SAVED)
def test_saved_models_of_both_versions_are_exported_and_folded(path: str, tmp_path: Path) -> None:
    import tensorflow as tf

    call = tf.saved_model.load(str(CORPUS / path)).signatures["serving_default"]
    ((given, spec),) = call.structured_input_signature[1].items()
    x = np.random.default_rng(0).normal(size=[size or 2 for size in spec.shape]).astype(np.float32)
    expected = {key: value.numpy() for key, value in call(**{given: tf.constant(x)}).items()}
    plan_saved_model(Model.open(CORPUS / path)).write(tmp_path / "exported")
    exported = tf.saved_model.load(str(tmp_path / "exported")).signatures["serving_default"]
    for key, value in exported(**{given: tf.constant(x)}).items():
        np.testing.assert_array_equal(value, expected[key])
    plan = plan_fold(Model.open(CORPUS / path))
    plan.write(tmp_path / "frozen.pb")
    assert plan.served is not None
    for key, tensor in plan.served.outputs.items():
        found = frozen(tmp_path / "frozen.pb", tensor, {plan.served.inputs[given]: x})
        np.testing.assert_allclose(found, expected[key], rtol=1e-4, atol=1e-6)
