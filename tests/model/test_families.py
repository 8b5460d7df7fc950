"""Families: a model is written in its own family, unless the output or `to` selects another; TensorFlow loads it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import CkptError, ExistingOutput, PlanError
from ckpttool.model.families import family_of
from ckpttool.model.model import Model
from ckpttool.training.options import Options
from ckpttool.verbs.evaluate import evaluate
from ckpttool.verbs.finetune import finetune
from ckpttool.verbs.freeze import plan_freeze
from ckpttool.verbs.reuse import plan_reuse

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)


def called(folder: Path, **inputs: Any) -> dict[str, Any]:
    """The signature's outputs in TensorFlow 2 programs, and in TensorFlow 1 programs."""
    import tensorflow as tf

    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    found = {key: value.numpy() for key, value in signature(**inputs).items()}
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        known = v1.saved_model.load(session, ["serve"], str(folder)).signature_def["serving_default"]
        fed = {known.inputs[key].name: value for key, value in inputs.items()}
        for key, value in session.run({key: info.name for key, info in known.outputs.items()}, fed).items():
            np.testing.assert_array_equal(found[key], value)
    return found


@pytest.mark.parametrize(
    ("source", "output", "to", "family"),
    [
        ("m.meta", "new", None, "ckpt"),
        ("m.meta", "new/", None, "saved-model"),
        ("m.meta", "new.ckpt", "saved-model", "saved-model"),
        ("m/saved_model.pb", "new", None, "saved-model"),
        ("m/saved_model.pbtxt", "model.v2", None, "saved-model"),
        ("m/saved_model.pb", "model.ckpt-1000", None, "ckpt"),
        ("m/saved_model.pb", "new.meta", None, "ckpt"),
        ("m/saved_model.pb", "new/", "ckpt", "ckpt"),
        ("frozen.pb", "new", None, "ckpt"),
    ],
)
def test_the_output_and_what_went_in_say_the_family(source: str, output: str, to: str | None, family: str) -> None:
    assert family_of(source, output, to) == family


def test_a_family_that_is_none_is_named_with_those_that_are() -> None:
    with pytest.raises(PlanError, match=r"`to` saved_model: there are ckpt, .*saved-model"):
        family_of("m.meta", "new", "saved_model")


@pytest.mark.parametrize(
    ("output", "nearest"), [("new.npz", ""), ("new.pb", ""), ("new.kears", r" \(nearest: .keras\)")]
)
def test_a_model_is_not_written_under_the_name_of_a_file_of_another_kind(output: str, nearest: str) -> None:
    """Its files would be `new.npz.index` and others, and `new.npz` would not be there."""
    suffix = Path(output).suffix
    problem = rf"{output}: no model with a graph is written as a {suffix} file{nearest}; name it new.ckpt, or new/ for"
    for source in ("m.meta", "m/saved_model.pb"):
        with pytest.raises(PlanError, match=problem):
            family_of(source, output)
    assert family_of("m.meta", output, "ckpt") == "ckpt"


def test_a_saved_model_goes_through_all_of_it_and_stays_one(
    small: Path, rows: Path, tmp_path: Path, new_session: Any
) -> None:
    """Cut and with a new head, trained, frozen; further training equals that of a TensorFlow 1 model."""
    plan_reuse(Model.open(small), "hidden1", head="new = dense(5, relu); out = dense(3)").write(tmp_path / "head.ckpt")
    head = tmp_path / "head"
    plan_freeze(Model.open(tmp_path / "head.ckpt"), "hidden1", to="saved-model").write(head)
    session = new_session(tmp_path / "head.ckpt", tmp_path / "head.ckpt")
    np.testing.assert_allclose(called(head, X=X)["logits"], session.run("dnn/out/BiasAdd:0", {"X:0": X}), rtol=1e-6)

    again = plan_reuse(Model.open(head), "hidden1", head="other = dense(2)")
    assert "removed with the old outputs: the signatures serving_default" in again.notes
    again.write(tmp_path / "other")
    assert called(tmp_path / "other", X=X)["logits"].shape == (60, 2)

    options = Options(epochs=2, batch_size=20, freeze="hidden1", cache=True, cache_dir=tmp_path / "cache")
    runs = {out: finetune(Model.open(head), rows, options, tmp_path / out) for out in ("tuned", "tuned.ckpt")}
    assert runs["tuned"].unchanged == ("hidden1/kernel", "hidden1/bias")
    assert [epoch.loss for epoch in runs["tuned"].history] == [epoch.loss for epoch in runs["tuned.ckpt"].history]
    session = new_session(tmp_path / "tuned.ckpt", tmp_path / "tuned.ckpt")
    logits = session.run("dnn/out/BiasAdd:0", {"X:0": X})
    np.testing.assert_allclose(called(tmp_path / "tuned", X=X)["logits"], logits, rtol=1e-6)
    tuned = [evaluate(Model.open(tmp_path / out), rows).as_json() for out in ("tuned", "tuned.ckpt")]
    assert tuned[0] == tuned[1]
    assert tuned[0]["rows"] == 6, "those that the run has held out, by its report beside the folder"


def test_what_training_computes_otherwise_is_served_beside_it(
    new_network: Any, rows: Path, tmp_path: Path, new_session: Any
) -> None:
    """A batch norm that always uses the batch's moments: the signature's own ops read the averages instead."""
    with new_network().building() as net:
        tf, v1 = net.tf, net.v1
        x, y, _ = net.inputs()
        hidden = net.dense(x, 5, "hidden", relu=False)
        with v1.variable_scope("norm"):
            mean, variance = (net.variable(f"moving_{name}", [5], False, 1.5) for name in ("mean", "variance"))
            gamma = net.variable("gamma", [5], value=1.0)
            now = tf.nn.moments(hidden, [0])
            for average, moment in zip((mean, variance), now, strict=True):
                v1.add_to_collection("update_ops", v1.assign_sub(average, (average - moment) * 0.1))
            normal = tf.nn.batch_normalization(hidden, *now, None, gamma, 1e-3)
        net.classify(net.dense(normal, 3, "out", relu=False), y, v1.train.GradientDescentOptimizer(0.1))
    model = Model.open(net.save(tmp_path / "model.ckpt"))
    plan_freeze(model, "out", to="saved-model").write(tmp_path / "whole")
    weights = new_session(model.path, model.path).weights()
    hidden = X @ weights["hidden/kernel"] + weights["hidden/bias"]
    expected = (hidden - 1.5) / np.sqrt(1.5 + 1e-3) @ weights["out/kernel"] + weights["out/bias"]
    np.testing.assert_allclose(called(tmp_path / "whole", X=X)["logits"], expected, rtol=1e-4, atol=1e-5)
    run = finetune(Model.open(tmp_path / "whole"), rows, Options(epochs=1, batch_size=20), tmp_path / "tuned")
    again = finetune(model, rows, Options(epochs=1, batch_size=20, freeze="out"), tmp_path / "tuned.ckpt")
    assert run.history[0].loss == pytest.approx(again.history[0].loss, rel=1e-6)
    tuned = new_session(tmp_path / "tuned.ckpt", tmp_path / "tuned.ckpt").weights()
    assert np.abs(tuned["norm/moving_mean"] - 1.5).max() > 0.01
    hidden = X @ tuned["hidden/kernel"] + tuned["hidden/bias"]
    normal = tuned["norm/gamma"] * (hidden - tuned["norm/moving_mean"]) / np.sqrt(tuned["norm/moving_variance"] + 1e-3)
    expected = normal @ tuned["out/kernel"] + tuned["out/bias"]
    np.testing.assert_allclose(called(tmp_path / "tuned", X=X)["logits"], expected, rtol=1e-4, atol=1e-5)


def test_signatures_stay_while_training_goes_on(small_saved_model: Path, rows: Path, tmp_path: Path) -> None:
    """A program that has called a model can call the trained one in the same way, also in another family."""
    source = small_saved_model
    before = called(source, rows=X)
    finetune(Model.open(source), rows, Options(epochs=1, batch_size=20), tmp_path / "tuned")
    after = called(tmp_path / "tuned", rows=X)
    assert after.keys() == before.keys() == {"probabilities"}
    assert np.abs(after["probabilities"] - before["probabilities"]).max() > 1e-4
    np.testing.assert_allclose(after["probabilities"].sum(1), 1, rtol=1e-5)
    finetune(Model.open(source), rows, Options(epochs=1, batch_size=20), tmp_path / "tuned.ckpt")
    assert list(Model.open(tmp_path / "tuned.ckpt").graph.header.signature_def) == ["serving_default"]


def test_an_output_that_is_there_is_not_replaced_unasked(small: Path, tmp_path: Path) -> None:
    planned = plan_freeze(Model.open(small), "hidden1", to="saved-model")
    planned.write(tmp_path / "out")
    with pytest.raises(ExistingOutput):
        planned.check(tmp_path / "out")
    planned.check(tmp_path / "out", overwrite=True)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").touch()
    with pytest.raises(CkptError, match="not a folder of this kind"):
        planned.check(tmp_path / "folder", overwrite=True)
    with pytest.raises(CkptError, match=r"is a folder; expected a prefix such as .*folder/model\.ckpt"):
        plan_freeze(Model.open(small), "hidden1").check(tmp_path / "folder")
    advice = "`to` saved-model and `overwrite` replace it, else expected a prefix such as"
    with pytest.raises(CkptError, match=advice):
        plan_freeze(Model.open(small), "hidden1").check(tmp_path / "out")


@pytest.fixture
def small_saved_model(new_network: Any, tmp_path: Path) -> Path:
    """A TensorFlow 1 SavedModel with a loss, whose signature returns probabilities."""
    with new_network(True).building() as net:
        x, y, _ = net.inputs()
        logits = net.dense(net.dense(x, 5, "hidden1"), 3, "out", relu=False)
        net.classify(logits, y)
        with net.v1.Session() as session:
            session.run(net.v1.global_variables_initializer())
            probabilities = net.tf.nn.softmax(logits)
            sides = {"rows": x}, {"probabilities": probabilities}
            net.v1.saved_model.simple_save(session, str(tmp_path / "served"), *sides)
    return tmp_path / "served"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.npz"
    np.savez(path, x_train=X, y_train=np.arange(60) % 3)
    return path
