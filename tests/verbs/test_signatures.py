"""A SavedModel with several signatures, none of them the default: one must be selected, whose names the data has."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import GraphError, UnknownName
from ckpttool.core.tensors import Array
from ckpttool.graph.contents.signatures import choosing_signature, signatures
from ckpttool.graph.roles.served import served
from ckpttool.model.model import Model
from ckpttool.runtime.objectives import Objective
from ckpttool.training.bound import Bound
from ckpttool.training.options import Options
from ckpttool.verbs.evaluate import evaluate
from ckpttool.verbs.finetune import finetune
from ckpttool.verbs.freeze import plan_freeze
from ckpttool.verbs.predict import predict
from ckpttool.verbs.reuse import plan_reuse

RANDOM = np.random.default_rng(4)
LEFT, RIGHT = (RANDOM.normal(size=(30, width)).astype(np.float32) for width in (8, 5))
CLASSES = RANDOM.integers(0, 3, 30)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A network called by `joined`, with a row from the left and one from the right, or by `embedded`."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        left, right = v1.placeholder("float32", [None, 8]), v1.placeholder("float32", [None, 5])
        hidden = tf.tanh(tf.matmul(left, v1.get_variable("hidden/kernel", [8, 5])))
        embedded = tf.matmul(hidden, v1.get_variable("code/kernel", [5, 2]))
        sums = tf.matmul(hidden + right, v1.get_variable("scores/kernel", [5, 3]))
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(tmp_path / "served"))
        signatures = {
            "joined": ({"left": left, "right": right}, {"chances": tf.nn.softmax(sums)}),
            "embedded": ({"left": left}, {"code": embedded}),
        }
        signed = {name: v1.saved_model.predict_signature_def(*sides) for name, sides in signatures.items()}
        builder.add_meta_graph_and_variables(session, ["serve"], signed)
        builder.save()
    np.savez(tmp_path / "rows.npz", left_train=LEFT, right_train=RIGHT, y_train=CLASSES)
    return Model.open(tmp_path / "served")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "rows.npz"


def weights(model: Model) -> dict[str, Array]:
    return {name: tensor.read() for name, tensor in model.checkpoint.items()}


def chances(model: Model) -> Array:
    kernels = weights(model)
    powers = np.exp((np.tanh(LEFT @ kernels["hidden/kernel"]) + RIGHT) @ kernels["scores/kernel"])
    return powers / powers.sum(1, keepdims=True)


def predicted(model: Model, data: Path, **options: Any) -> dict[str, Array]:
    output = data.with_name("predicted.npz")
    predict(model, data, output, overwrite=True, **options)
    with np.load(output) as arrays:
        return dict(arrays)


def test_each_is_predicted_with(model: Model, data: Path) -> None:
    joined = predicted(model, data, roles={"signature": "joined"})
    np.testing.assert_allclose(joined["probabilities"], chances(model), rtol=1e-5)
    kernels = weights(model)
    code = np.tanh(LEFT @ kernels["hidden/kernel"]) @ kernels["code/kernel"]
    embedded = predicted(model, data, roles={"signature": "embedded"})
    np.testing.assert_allclose(embedded["outputs"], code, rtol=1e-5, atol=1e-6)


def test_one_that_is_not_there_is_refused(model: Model, data: Path) -> None:
    with pytest.raises(UnknownName, match="no signature joint: it has embedded, joined; nearest: joined"):
        evaluate(model, data, roles={"signature": "joint"})
    with pytest.raises(GraphError, match=r"several tensors match: .*; specify `logits`"):
        evaluate(model, data, objective=Objective())


def test_it_is_evaluated_and_trained_and_what_comes_out_is_called_alike(
    model: Model, data: Path, tmp_path: Path
) -> None:
    called = {"signature": "joined"}
    before = evaluate(model, data, roles=called, objective=Objective())
    expected = -np.log(chances(model)[np.arange(30), CLASSES]).mean()
    assert before.loss == pytest.approx(expected, rel=1e-5)
    options = Options(objective=Objective(), roles=called, epochs=3, batch_size=9)
    run = finetune(model, data, options, tmp_path / "tuned")
    assert run.history[-1].loss < run.history[0].loss < before.loss + 0.2
    tuned = Model.open(tmp_path / "tuned")
    assert evaluate(tuned, data, split="valid").loss == pytest.approx(run.kept.valid_loss, rel=1e-5)
    np.testing.assert_allclose(predicted(tuned, data)["probabilities"], chances(tuned), rtol=1e-5)
    assert predicted(tuned, data, roles={"signature": "embedded"})["outputs"].shape == (30, 2)


def test_the_names_that_a_signature_has_are_those_of_tensors(model: Model, data: Path) -> None:
    called = {"signature": "joined"}
    named = evaluate(model, data, roles={**called, "logits": "chances"}, objective=Objective())
    assert named.loss == evaluate(model, data, roles=called, objective=Objective()).loss
    assert list(served(choosing_signature(model.graph, "joined"), outputs=["chances"]).outputs) == ["chances"]
    (note,) = Bound.of(model, called, objective=Objective()).notes
    assert note.endswith("the output chances of the signature joined")
    inputs = ["left[?,8]", "right[?,5]"]
    assert evaluate(model, data, roles={**called, "inputs": inputs}, objective=Objective()).loss == named.loss
    with pytest.raises(UnknownName, match="`logits` chanses: no such op or tensor; nearest: chances"):
        evaluate(model, data, roles={**called, "logits": "chanses"}, objective=Objective())


def test_a_head_goes_on_the_layers_of_one(model: Model, data: Path, tmp_path: Path) -> None:
    plan_reuse(model, "hidden", head="out = dense(3)", signature="embedded", to="ckpt").write(tmp_path / "new.ckpt")
    new = Model.open(tmp_path / "new.ckpt")
    np.savez(tmp_path / "left.npz", left_train=LEFT, y_train=CLASSES)
    assert evaluate(new, tmp_path / "left.npz").rows == 30, "the signature's name of the input is still known"
    finetune(new, tmp_path / "left.npz", Options(epochs=1), tmp_path / "tuned", to="saved-model")
    assert list(signatures(Model.open(tmp_path / "tuned").graph)["serving_default"].inputs) == ["left"]


def test_frozen_layers_are_those_below_its_outputs(model: Model, data: Path, tmp_path: Path) -> None:
    called = {"signature": "joined"}
    plan_freeze(model, "hidden", "stop-gradient", called).write(tmp_path / "frozen")
    frozen = Model.open(tmp_path / "frozen")
    finetune(frozen, data, Options(objective=Objective(), roles=called, epochs=1), tmp_path / "tuned")
    before, after = weights(model), weights(Model.open(tmp_path / "tuned"))
    np.testing.assert_array_equal(before["hidden/kernel"], after["hidden/kernel"])
    assert (before["scores/kernel"] != after["scores/kernel"]).any()


@pytest.mark.parametrize("signature", ["train", "judge"])
def test_a_loss_that_one_gives_is_the_loss(tmp_path: Path, signature: str) -> None:
    import tensorflow as tf

    class Scorer(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(RANDOM.normal(size=(8, 3)).astype(np.float32), name="kernel")

        def losses(self, x: Any, y: Any) -> tuple[Any, Any]:
            sums = x @ self.kernel
            hits = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(sums, 1), y), tf.float32))
            return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=sums)), hits

        def train(self, x: Any, y: Any) -> dict[str, Any]:
            with tf.GradientTape() as tape:
                loss, _ = self.losses(x, y)
            self.kernel.assign_sub(0.1 * tape.gradient(loss, self.kernel))
            return {"loss": loss}

        def judge(self, x: Any, y: Any) -> dict[str, Any]:
            loss, hits = self.losses(x, y)
            return {"loss": loss, "accuracy": hits}

    scorer, fed = Scorer(), (tf.TensorSpec([None, 8], name="x"), tf.TensorSpec([None], tf.int64, name="y"))
    signed = {name: tf.function(getattr(scorer, name), fed) for name in ("train", "judge")}
    right = [float(each) for each in scorer.losses(LEFT, CLASSES)]
    tf.saved_model.save(scorer, str(tmp_path / "scorer"), {**signed})
    np.savez(tmp_path / "rows.npz", x=LEFT, y=CLASSES)
    found = evaluate(Model.open(tmp_path / "scorer"), tmp_path / "rows.npz", roles={"signature": signature})
    assert [found.loss, found.accuracy] == pytest.approx(right, rel=1e-5)
