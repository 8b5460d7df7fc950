"""Foreign models are run: evaluated, fine-tuned, reused; also those that TensorFlow refuses to import."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import DataError
from ckpttool.core.tensors import Tensor
from ckpttool.data.batches import batch_bounds, epoch_order
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.graph.files import load
from ckpttool.model.model import Model, write_model
from ckpttool.runtime.function import GraphFunction, runner
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.state import State, fresh_tensors
from ckpttool.training.bound import Bound
from ckpttool.training.options import Options
from ckpttool.verbs.evaluate import evaluate
from ckpttool.verbs.finetune import finetune
from ckpttool.verbs.import_weights import plan_import
from ckpttool.verbs.new import new
from ckpttool.verbs.reuse import plan_reuse

CORPUS = Path(os.environ.get("CKPTTOOL_CORPUS", "/nowhere"))
pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="CKPTTOOL_CORPUS names no folder of real files")

CROWDS = CORPUS / "crowd_counting_3frameworks"
SERVING = CORPUS / "serving_testdata"
FIRST_BRANCH = r"[wb]_conv\d_1"
OPTIONS = Options(epochs=2, batch_size=3, recipe=Recipe(lr="1e-3"), keep="last", seed=4, valid="first:3")


def values(path: Path) -> dict[str, np.ndarray]:
    return {name: tensor.read() for name, tensor in checkpoint.open(path).items()}


def moved(before: Path, after: Path) -> set[str]:
    old, new = values(before), values(after)
    return {name for name in old if name in new and old[name].tobytes() != new[name].tobytes()}


def run(graph: Graph, values: Mapping[str, Tensor], wanted: str, feeds: Mapping[str, Any]) -> np.ndarray:
    function = GraphFunction(graph, [wanted], list(feeds))
    return runner(function, State(function.variables, values), {})(feeds)[0]


@pytest.fixture(scope="module")
def crowds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images and density maps a quarter as large, as for the counting networks: labels that are not classes."""
    draw = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("crowds") / "crowds.npz"
    images, maps = draw.normal(size=(16, 32, 32, 1)), draw.random((16, 8, 8, 1))
    np.savez(
        path,
        x_train=images[:12].astype(np.float32),
        y_train=maps[:12].astype(np.float32),
        x_test=images[12:].astype(np.float32),
        y_test=maps[12:].astype(np.float32),
    )
    return path


@pytest.fixture(params=[pytest.param("modelA", marks=pytest.mark.slow), "modelB"])
def counter(request: pytest.FixtureRequest) -> Path:
    """A network of three branches that counts people; TensorFlow 1.10 and 1.4, with Adam's slots."""
    return CROWDS / request.param / "model.ckpt"


def test_density_maps_are_evaluated_as_a_session_does(
    counter: Path, crowds: Path, new_session: Callable[..., Any]
) -> None:
    score = evaluate(Model.open(counter), crowds)
    arrays = np.load(crowds, allow_pickle=False)
    feed = {"Placeholder:0": arrays["x_test"], "Placeholder_1:0": arrays["y_test"]}
    assert (score.rows, score.accuracy) == (4, None)
    assert score.loss == pytest.approx(new_session(counter, counter).run("Sqrt:0", feed), abs=1e-6)


def test_a_counter_goes_on_with_its_own_adam_as_in_a_session(
    counter: Path, crowds: Path, tmp_path: Path, new_session: Callable[..., Any]
) -> None:
    options = replace(OPTIONS, recipe=None, roles={"training_op": "Adam"})
    finetune(Model.open(counter), crowds, options, tmp_path / "tuned.ckpt")
    arrays, session = np.load(crowds, allow_pickle=False), new_session(counter, counter)
    x, y = arrays["x_train"][3:], arrays["y_train"][3:]
    for epoch in (1, 2):
        for rows in np.split(epoch_order(9, 4, epoch), batch_bounds(9, 3)[1:-1]):
            session.run("Adam", {"Placeholder:0": x[rows], "Placeholder_1:0": y[rows]})
    expected, found = session.weights(), values(tmp_path / "tuned.ckpt")
    assert expected.keys() == found.keys() and len(found) == 80
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("training_op", [None, pytest.param("Adam", marks=pytest.mark.slow)])
def test_a_frozen_branch_stays_cached_and_uncached(
    counter: Path, crowds: Path, tmp_path: Path, training_op: str | None
) -> None:
    options = replace(OPTIONS, freeze=FIRST_BRANCH, cache_dir=tmp_path / "cache")
    if training_op:
        options = replace(options, recipe=None, roles={"training_op": training_op})
    live = finetune(Model.open(counter), crowds, options, tmp_path / "live.ckpt")
    cached = finetune(Model.open(counter), crowds, replace(options, cache=True), tmp_path / "cached.ckpt")
    frozen = {f"{kind}_conv{number}_1" for kind in "wb" for number in range(1, 5)}
    assert set(live.unchanged) == set(cached.unchanged) == frozen
    assert {"w_conv1_2", "w_conv1_3", "w_conv5"} <= moved(counter, tmp_path / "live.ckpt")
    assert [epoch.loss for epoch in cached.history] == pytest.approx([epoch.loss for epoch in live.history], abs=1e-5)


def test_a_branch_of_one_counter_is_reused_in_the_other(crowds: Path, tmp_path: Path) -> None:
    source, target = CROWDS / "modelA" / "model.ckpt", CROWDS / "modelB" / "model.ckpt.meta"
    plan = plan_reuse(Model.open(source), FIRST_BRANCH, into=target, freeze=FIRST_BRANCH, require=5)
    plan.write(tmp_path / "reused.ckpt")
    reused, old = values(tmp_path / "reused.ckpt"), values(source)
    assert all(np.array_equal(reused[name], old[name]) for name in plan.sources) and len(plan.sources) == 8
    run = finetune(Model.open(tmp_path / "reused.ckpt"), crowds, OPTIONS, tmp_path / "tuned.ckpt")
    assert len(run.unchanged) == 8


@pytest.fixture(scope="module")
def characters(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A character network of 2018 that TensorFlow 2 refuses to import, with new values; and rows of characters."""
    folder = tmp_path_factory.mktemp("characters")
    graph, draw = load(CORPUS / "scisharp_metas" / "vd_cnn.meta"), np.random.default_rng(1)
    write_model(graph, fresh_tensors(graph, list(stored_tensors(graph)), 1), folder / "vd_cnn.ckpt", False)
    x, y = draw.integers(0, 70, size=(16, 1014)), draw.integers(0, 2, size=16)
    np.savez(folder / "rows.npz", x_train=x[:12], y_train=y[:12], x_test=x[12:], y_test=y[12:])
    return folder / "vd_cnn.ckpt", folder / "rows.npz"


def test_tensorflow_refuses_the_character_network(characters: tuple[Path, Path], new_session: Any) -> None:
    with pytest.raises(ValueError, match="_output_shapes"):
        new_session(characters[0], None)


@pytest.mark.parametrize("training_op", [pytest.param(None, marks=pytest.mark.slow), "loss/optimizer"])
def test_lower_layers_with_batch_norm_are_frozen_cached_and_uncached(
    characters: tuple[Path, Path], tmp_path: Path, training_op: str | None
) -> None:
    path, data = characters
    options = replace(OPTIONS, freeze="embeddings|conv-0|conv-block-1", cache_dir=tmp_path / "cache")
    if training_op:
        options = replace(options, recipe=None, roles={"training_op": training_op})
    live = finetune(Model.open(path), data, options, tmp_path / "live.ckpt")
    cached = finetune(Model.open(path), data, replace(options, cache=True), tmp_path / "cached.ckpt")
    changed = moved(path, tmp_path / "live.ckpt")
    assert not [name for name in changed if name.startswith(("embeddings", "conv-0/", "conv-block-1/"))]
    assert {f"conv-block-{number}/conv-1/batch_normalization/moving_mean" for number in (2, 3, 4)} <= changed
    assert "conv-block-1/conv-1/batch_normalization/moving_mean" in live.unchanged
    assert [epoch.loss for epoch in cached.history] == pytest.approx([epoch.loss for epoch in live.history], rel=1e-5)


def test_what_was_fine_tuned_is_what_tensorflow_imports(
    characters: tuple[Path, Path], tmp_path: Path, new_session: Callable[..., Any]
) -> None:
    path, data = characters
    finetune(Model.open(path), data, replace(OPTIONS, epochs=1, freeze="embeddings"), tmp_path / "tuned.ckpt")
    arrays = np.load(data, allow_pickle=False)
    session = new_session(tmp_path / "tuned.ckpt", tmp_path / "tuned.ckpt")
    loss = session.run("loss/value:0", {"x:0": arrays["x_test"], "y:0": arrays["y_test"], "is_training:0": False})
    assert evaluate(Model.open(tmp_path / "tuned.ckpt"), data).loss == pytest.approx(loss, rel=1e-5)


def test_a_regression_gives_its_known_answer_and_goes_on(tmp_path: Path) -> None:
    model = Model.open(CORPUS / "tf2onnx_regression_trio" / "regression" / "checkpoint" / "model")
    x = np.linspace(0, 3, 20).astype(np.float32)
    np.testing.assert_allclose(
        run(model.graph, model.checkpoint, "pred:0", {"X:0": x}), 0.21396178 * x + 1.0495254, rtol=1e-6
    )
    np.savez(tmp_path / "line.npz", x_train=x, y_train=2 * x + 1)
    tuned = finetune(model, tmp_path / "line.npz", replace(OPTIONS, epochs=5), tmp_path / "tuned.ckpt")
    assert tuned.history[-1].valid_loss < tuned.history[0].valid_loss


@pytest.mark.parametrize("folder", ["tf2onnx_regression_trio/regression/saved_model"])
def test_a_saved_regression_gives_its_known_answer(folder: str) -> None:
    model = Model.open(CORPUS / folder)
    assert run(model.graph, model.checkpoint, "pred:0", {"X:0": np.float32(2)}) == pytest.approx(1.4774489)


def test_a_regression_of_another_language_is_trained_by_its_own_op(tmp_path: Path) -> None:
    model = Model.open(CORPUS / "tf_rust_models" / "test_resources" / "regression-model")
    x = np.linspace(0, 1, 20).astype(np.float32)
    np.savez(tmp_path / "line.npz", x_train=x, y_train=0.1 * x + 0.3)
    options = replace(OPTIONS, epochs=5, recipe=None, roles={"training_op": "train"})
    tuned = finetune(model, tmp_path / "line.npz", options, tmp_path / "tuned.ckpt")
    assert tuned.history[-1].loss < tuned.history[0].loss


def test_a_regression_of_2017_without_a_graph_counts_as_many_digits_as_by_hand(tmp_path: Path) -> None:
    rows = Path(__file__).parent.parent.parent / "fixtures" / "mnist_small.npz"
    weights = checkpoint.open(CORPUS / "v1_sugyan_2015_2016" / "regression-v2.ckpt")
    checkpoint.save(
        weights.rename({"regression/W": "digits/kernel", "regression/b": "digits/bias"}), tmp_path / "w.npz"
    )
    new([784], "digits = dense(10)", tmp_path / "new.ckpt", recipe=Recipe())
    plan_import(tmp_path / "w.npz", tmp_path / "new.ckpt").write(tmp_path / "digits.ckpt")
    score = evaluate(Model.open(tmp_path / "digits.ckpt"), rows)
    small = np.load(rows, allow_pickle=False)
    logits = small["x_test"].reshape(-1, 784) / 255 @ weights["regression/W"].read() + weights["regression/b"].read()
    assert score.rows == 2000 and score.accuracy == pytest.approx(
        (logits.argmax(1) == small["y_test"]).mean(), abs=1e-3
    )


HALVES = sorted(
    path.parent for path in SERVING.rglob("saved_model.pb") if "half_plus_t" in str(path) and "tf2" not in str(path)
)
HALVES += [CORPUS / "tf_java_savedmodels" / "saved_model"]


@pytest.mark.parametrize("folder", HALVES, ids=lambda path: path.parent.name)
def test_a_served_model_gives_its_known_answer(folder: Path) -> None:
    graph = load(folder)
    signature = graph.meta.signature_def["serving_default"]
    (fed,), (wanted,) = signature.inputs.values(), signature.outputs.values()
    x = np.array([[1], [2], [3]], np.float32)
    weights = checkpoint.open(folder) if (folder / "variables").exists() else {}
    more = 3 if "three" in str(folder) else 2
    np.testing.assert_allclose(run(graph, weights, wanted.name, {fed.name: x}), 0.5 * x + more, rtol=1e-6)


def test_a_graph_of_a_version_that_is_none_runs() -> None:
    graph = load(SERVING / "session_bundle" / "testdata" / "half_plus_two" / "00000123" / "export.meta")
    assert graph.meta.meta_info_def.tensorflow_version == "0.12.head"
    weights = {name: Tensor.of(name, np.float32(value)) for name, value in {"a": 0.5, "b": 2}.items()}
    np.testing.assert_allclose(run(graph, weights, "y:0", {"x:0": np.float32([[4]])}), [[4]])


def test_rows_are_fed_where_a_queue_brought_them(tmp_path: Path) -> None:
    """In any number, though its batches of 40 are in the shapes of sparse columns."""
    model = Model.open(CORPUS / "tfx2019_tf1_estimator" / "serving_model_dir" / "model.ckpt-10000")
    np.savez(tmp_path / "rows.npz", x=np.ones((3, 2)), y=np.ones(3))
    with pytest.raises(DataError, match=r"no array for read_batch_features/fifo_queue_Dequeue: expected .*, found x"):
        evaluate(model, tmp_path / "rows.npz")
    wanted = Bound.of(model, needed=("inputs", "labels", "loss")).wanted()
    assert wanted.labels is not None
    columns = {spec.name: np.arange(6).astype(spec.dtype.numpy_name) % 2 for spec in (*wanted.inputs, wanted.labels)}
    np.savez(tmp_path / "rows.npz", **columns)
    assert evaluate(model, tmp_path / "rows.npz").rows == 6
