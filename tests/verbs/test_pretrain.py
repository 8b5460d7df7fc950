"""Pretraining: layers are trained without labels, stage by stage, and written as an ordinary model's."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, ExistingOutput, GraphError, Interrupted, PlanError
from ckpttool.data.batches import by_twos, epoch_order
from ckpttool.model.model import Model
from ckpttool.runtime.pretraining.methods import PretrainingMethod
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.interrupt import Interrupt
from ckpttool.training.options import Options
from ckpttool.verbs.diagnose import diagnose
from ckpttool.verbs.pretrain import Pretrained, pretrain
from ckpttool.verbs.reuse import plan_reuse
from ckpttool.verbs.search_quick import search_quick

OPTIONS = Options(epochs=2, batch_size=20, recipe=Recipe("adam(0.01)"), seed=3)
LAYERS = "hidden1 = dense(5, tanh); hidden2 = dense(3, tanh)"


def method(text: str) -> PretrainingMethod:
    return PretrainingMethod.read(text, "`method`")


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 rows of 6 numbers which vary most along two directions."""
    draw = np.random.default_rng(4)
    rows = draw.normal(size=(200, 2)) @ draw.normal(size=(2, 6)) + draw.normal(size=(200, 6)) * 0.05
    path = tmp_path_factory.mktemp("unlabelled") / "rows.npz"
    np.savez(path, x_train=(rows - rows.mean(axis=0)).astype(np.float32))
    return path


@pytest.fixture
def run(unlabelled: Path, tmp_path: Path) -> Callable[..., Pretrained]:
    """Pretrain under `tmp_path`; arguments override the defaults."""

    def run(name: str = "out.ckpt", text: str = "autoencoder", layers: str = LAYERS, **more: Any) -> Pretrained:
        options = replace(OPTIONS, cache_dir=tmp_path / "cache", **more.pop("options", {}))
        return pretrain(more.pop("data", unlabelled), layers, method(text), tmp_path / name, options, **more)

    return run


def values(path: Path) -> dict[str, np.ndarray]:
    return {name: tensor.read() for name, tensor in checkpoint.open(path).items()}


def test_a_linear_autoencoder_spans_the_principal_components(
    run: Callable[..., Pretrained], unlabelled: Path, tmp_path: Path
) -> None:
    run("out.ckpt", "autoencoder(tied=True)", "code = dense(2)", options={"epochs": 40, "valid": "first:20"})
    kernel = values(tmp_path / "out.ckpt")["code/kernel"]
    _, _, components = np.linalg.svd(np.load(unlabelled)["x_train"][20:], full_matrices=False)
    (found, _), (known, _) = np.linalg.qr(kernel), np.linalg.qr(components[:2].T)
    assert np.linalg.svd(found.T @ known)[1] == pytest.approx([1, 1], abs=5e-3)  # the cosines between the two planes


def test_each_layer_is_trained_on_what_those_below_give(run: Callable[..., Pretrained], tmp_path: Path) -> None:
    done = run()
    assert [stage["layer"] for stage in done.stages] == ["hidden1", "hidden2"]
    trained = [[row["target"] for row in stage["plan"] if row["train"]] for stage in done.stages]
    assert trained == [
        ["hidden1/kernel", "hidden1/bias", "pretraining/decoder/kernel", "pretraining/decoder/bias"],
        ["hidden2/kernel", "hidden2/bias", "pretraining/decoder/kernel", "pretraining/decoder/bias"],
    ]
    assert done.stages[1]["unchanged"] == ["hidden1/kernel", "hidden1/bias"]
    assert all(stage["history"][-1]["loss"] < stage["history"][0]["loss"] for stage in done.stages)
    report = json.loads((tmp_path / "out.ckpt.run.json").read_text())
    assert report["method"] == "autoencoder" and report["stages"] == json.loads(json.dumps(done.stages))


def test_what_comes_out_is_the_layers_alone_and_is_reused(run: Callable[..., Pretrained], tmp_path: Path) -> None:
    run()
    model = Model.open(tmp_path / "out.ckpt")
    assert list(model.checkpoint) == ["hidden1/bias", "hidden1/kernel", "hidden2/bias", "hidden2/kernel"]
    assert not [name for name in model.graph.nodes if name.startswith("pretraining")]
    plan_reuse(model, "hidden.*", head="outputs = dense(4)").write(tmp_path / "reused.ckpt")
    reused, pretrained = values(tmp_path / "reused.ckpt"), values(tmp_path / "out.ckpt")
    for name in pretrained:
        np.testing.assert_array_equal(reused[name], pretrained[name])
    assert not list(tmp_path.glob("*.stages"))


def test_the_loss_is_that_of_the_formula(run: Callable[..., Pretrained], unlabelled: Path, tmp_path: Path) -> None:
    """For unchanged rows, though the training rows have noise."""
    done = run(
        text="autoencoder(noise=mask(0.5), tied=True, sparsity=0.1)",
        layers="hidden1 = dense(5, tanh)",
        options={"valid": "first:20", "keep": "last"},
    )
    weights, rows = values(tmp_path / "out.ckpt"), np.load(unlabelled)["x_train"][:20]
    hidden = np.tanh(rows @ weights["hidden1/kernel"] + weights["hidden1/bias"])
    decoded = hidden @ weights["hidden1/kernel"].T
    spread = np.mean((decoded - rows) ** 2) + 0.1 * np.mean(np.abs(hidden))
    # All but the decoder's bias, which is discarded, and small after two epochs.
    assert done.stages[0]["history"][-1]["valid_loss"] == pytest.approx(spread, rel=0.05)


def test_convolutions_decode_images(run: Callable[..., Pretrained], tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", x_train=np.random.default_rng(0).random((60, 6, 6)).astype(np.float32))
    layers = "conv1 = conv2d(3, 3, relu); norm = batch_norm(); pool = max_pool(); conv2 = conv2d(4, 2, strides=2)"
    done = run(data=tmp_path / "images.npz", layers=layers, shape=(6, 6, 1), name="out.keras")
    assert [stage["layer"] for stage in done.stages] == ["conv1", "conv2"]
    import keras

    network = keras.models.load_model(tmp_path / "out.keras")
    assert [layer.name for layer in network.layers] == ["conv1", "norm", "pool", "conv2"]
    assert network.output_shape == (None, 2, 2, 4)


class Stop(Callback):
    """Ends pretraining in the second stage."""

    def __init__(self) -> None:
        self.interrupt, self.epochs = Interrupt(), 0

    def on_epoch_end(self, epoch: Any) -> None:
        self.epochs += 1
        if self.epochs == 3:
            self.interrupt.request()


def test_a_run_that_was_stopped_goes_on_to_the_same_result(run: Callable[..., Pretrained], tmp_path: Path) -> None:
    run("whole.ckpt")
    stop = Stop()
    with pytest.raises(Interrupted):
        run("stopped.ckpt", callbacks=stop, interrupt=stop.interrupt)
    assert not (tmp_path / "stopped.ckpt.index").exists()
    with pytest.raises(ExistingOutput, match=r"stopped\.ckpt\.stages holds what a run has done: resume with `resume`"):
        run("stopped.ckpt")
    with pytest.raises(PlanError, match=r"`resume`: .* is of a run with other options: method was autoencoder"):
        run("stopped.ckpt", "autoencoder(tied=True)", resume=True)
    run("stopped.ckpt", resume=True)
    whole, stopped = values(tmp_path / "whole.ckpt"), values(tmp_path / "stopped.ckpt")
    for name in whole:
        np.testing.assert_array_equal(stopped[name], whole[name])
    assert not (tmp_path / "stopped.ckpt.stages").exists()


@pytest.mark.parametrize(
    ("layers", "text", "message"),
    [
        (
            "flatten()",
            "autoencoder",
            "autoencoder trains new layers with weights, one after the other: `layers` has none",
        ),
        (None, "rotate", "nothing to train: specify `layers`, or a `model` whose layers are trained"),
        ("conv = conv2d(3)", "autoencoder", r"conv2d needs inputs of \[rows, height, width, channels\]"),
        (LAYERS, "autoencoder(noise=mask(2))", "share must be at least 0 and below 1, found 2"),
        (LAYERS, "autoencode", "no method autoencode; known: autoencoder"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    run: Callable[..., Pretrained], layers: str | None, text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(CkptError, match=message):
        run(text=text, layers=layers)
    assert not list(tmp_path.iterdir())


def test_images_are_changed_below_frozen_layers_too(run: Callable[..., Pretrained], tmp_path: Path) -> None:
    """Their outputs differ in each epoch, so they are not cached."""
    np.savez(tmp_path / "images.npz", x_train=np.random.default_rng(0).random((60, 36)).astype(np.float32))
    done = run(data=tmp_path / "images.npz", options={"augment": "shift(0.1)"})
    assert done.stages[1]["unchanged"] == ["hidden1/kernel", "hidden1/bias"]
    assert not (tmp_path / "cache").exists()


def test_new_layers_are_put_on_a_models_and_those_stay(
    run: Callable[..., Pretrained], small: Path, data: Path, tmp_path: Path
) -> None:
    done = run(layers="top = dense(3, tanh)", data=data, model=Model.open(small), after="hidden1")
    before, after = values(small), values(tmp_path / "out.ckpt")
    assert set(after) == {"hidden1/kernel", "hidden1/bias", "top/kernel", "top/bias"}
    assert done.stages[0]["unchanged"] == ["hidden1/kernel", "hidden1/bias"]
    for name in ("hidden1/kernel", "hidden1/bias"):
        np.testing.assert_array_equal(after[name], before[name])


def test_a_models_own_layers_go_on_by_a_method_that_trains_all(
    run: Callable[..., Pretrained], small: Path, data: Path, tmp_path: Path
) -> None:
    run(text="corrupt", layers=None, data=data, model=Model.open(small), after="hidden2")
    before, after = values(small), values(tmp_path / "out.ckpt")
    assert set(after) == {"hidden1/kernel", "hidden1/bias", "hidden2/kernel", "hidden2/bias"}
    assert not any(np.array_equal(before[name], after[name]) for name in after)


def test_a_loss_that_compares_rows_is_judged_in_batches_as_it_is_trained(
    run: Callable[..., Pretrained], tmp_path: Path
) -> None:
    """Validation rows are batched like the training rows: 50 labels in order have their pairs."""
    draw, labels = np.random.default_rng(0), np.repeat(np.arange(50), 8)
    rows = (labels[:, np.newaxis] + draw.normal(size=(400, 4))).astype(np.float32) / 50
    np.savez(tmp_path / "rows.npz", x_train=rows, y_train=labels, x_valid=rows, y_valid=labels)
    done = run(text="pairs", data=tmp_path / "rows.npz", layers="hidden1 = dense(4)", options={"keep": "last"})
    weights = values(tmp_path / "out.ckpt")
    embedding = rows @ weights["hidden1/kernel"] + weights["hidden1/bias"]
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    losses = []
    for batch in np.split(by_twos(epoch_order(400, OPTIONS.seed, 0), labels), 20):
        distance = np.linalg.norm(embedding[batch][:, np.newaxis] - embedding[batch], axis=2)
        same = labels[batch][:, np.newaxis] == labels[batch]
        assert (same.sum(axis=1) > 1).sum() >= 18
        alike, apart = same & ~np.eye(20, dtype=bool), ~same
        losses.append(np.mean(distance[alike] ** 2) + np.mean(np.maximum(0, 1 - distance[apart]) ** 2))
    assert done.stages[0]["history"][-1]["valid_loss"] == pytest.approx(np.mean(losses), rel=1e-3)


@pytest.mark.parametrize("text", ["rotate", pytest.param("pairs", marks=pytest.mark.slow), "pairs(by=group, near=2)"])
def test_images_in_folders_of_classes_need_not_have_as_many_outputs(
    run: Callable[..., Pretrained], text: str, tmp_path: Path
) -> None:
    """Labels and groups define what belongs together, the task's outputs are independent: none is a class."""
    from PIL import Image

    draw = np.random.default_rng(0)
    for name in ("a", "b", "c", "d", "e"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(8):
            picture = draw.integers(0, 255, (6, 6)).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / "images" / name / f"{number}.png")
    group = {"group": "([^/]+)/"} if "group" in text else {}
    layers = "flat = flatten(); code = dense(3)"
    done = run(data=tmp_path / "images", text=text, layers=layers, shape=(6, 6, 1), options={"batch_size": 8, **group})
    assert [stage["layer"] for stage in done.stages] == ["code"]


def test_what_the_layers_are_worth_is_said_by_what_the_diagnosis_names(
    run: Callable[..., Pretrained], tmp_path: Path
) -> None:
    """Bare layers have no loss; a search by scores accepts them, the diagnosis needs a new head."""
    labels = np.arange(200) % 4
    centres = np.random.default_rng(0).normal(size=(4, 6))
    rows = centres[labels] + np.random.default_rng(1).normal(size=(200, 6)) / 4
    np.savez(tmp_path / "few.npz", x_train=rows.astype(np.float32), y_train=labels)
    run(data=tmp_path / "few.npz")
    bare = Model.open(tmp_path / "out.ckpt")
    with pytest.raises(GraphError, match=r"a new head with `reuse`; `search\(quick\)` says what each layer is worth"):
        diagnose(bare, tmp_path / "few.npz")
    scored = search_quick(bare, tmp_path / "few.npz").ranking.depths
    assert [depth.features.depth.layers for depth in scored] == [(), ("hidden1",), ("hidden2",)]
    plan_reuse(bare, "hidden.*", head="outputs = dense(4)").write(tmp_path / "headed.ckpt")
    found = diagnose(Model.open(tmp_path / "headed.ckpt"), tmp_path / "few.npz")
    assert [layer.layer for layer in found] == ["hidden1", "hidden2", "outputs"]
