"""Edited models: plain TensorFlow imports the graph, restores the checkpoint and continues training."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, ExistingOutput, FormatError, PlanError
from ckpttool.graph import files
from ckpttool.model.checkpoint_plan import format_to_write
from ckpttool.surgery.edits.steps import Step
from ckpttool.verbs.edit import EditPlan, plan_edit

CHAPTER = Path(__file__).parents[2] / "fixtures" / "my_model_final.ckpt"


@pytest.fixture(scope="module")
def adam(new_network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain TensorFlow network 4-8-3 with Adam's slots and a step counter, after one step."""
    network = new_network()
    with network.building():
        X, y, _ = network.inputs()
        network.classify(network.dense(network.dense(X, 8, "hidden1"), 3, "outputs", relu=False), y)
        loss, step = network.graph.get_tensor_by_name("loss/loss:0"), network.v1.train.get_or_create_global_step()
        network.v1.train.AdamOptimizer(0.1).minimize(loss, global_step=step, name="train")
    path: Path = network.save(tmp_path_factory.mktemp("adam") / "adam.ckpt")
    return path


def plan(path: Path, *steps: tuple[str, str], to: str = "bundle", **settings: Any) -> EditPlan:
    return plan_edit(checkpoint.open(path), [Step(*step) for step in steps], to=to, **settings)


def batch(path: Path) -> dict[str, Any]:
    draw, (width, classes) = np.random.default_rng(3), (784, 10) if path == CHAPTER else (4, 3)
    return {"X:0": draw.random((6, width), np.float32), "y:0": draw.integers(0, classes, 6)}


def step(session: Any, feed: dict[str, Any], train: str) -> dict[str, Any]:
    """Return the variables after one training step."""
    session.run(train, feed)
    values: dict[str, Any] = session.weights()
    return values


EDITS: dict[str, Sequence[tuple[str, str]]] = {
    "rename": [("rename", r"hidden(\d)=>layer\1/dense"), ("rename", "outputs=>head")],
    "prefix": [("add-prefix", "model")],
    "set": [("set", "outputs/bias=0")],
    "cast": [("cast", "bfloat16")],
    "shrunk": [("slice", "outputs=-1:0:2")],
}


@pytest.mark.parametrize(("source", "train"), [("chapter", "GradientDescent"), ("adam", "train")])
@pytest.mark.parametrize("edits", EDITS.values(), ids=EDITS)
def test_tensorflow_restores_the_pair_and_trains(
    new_session: Any, adam: Path, tmp_path: Path, source: str, train: str, edits: Sequence[tuple[str, str]]
) -> None:
    path, out = (CHAPTER if source == "chapter" else adam), tmp_path / "edited.ckpt"
    planned = plan(path, *edits)
    planned.write(out)
    session, edited, feed = new_session(out, out), checkpoint.open(out), batch(path)
    feed["y:0"] %= 2
    before = session.weights()
    assert set(before) == set(edited)
    for name, value in before.items():
        np.testing.assert_array_equal(value, edited[name].read().astype(value.dtype))
    after = step(session, feed, train)
    assert all((after[name] != before[name]).any() for name in after if name.endswith("kernel"))
    assert np.isfinite(session.run("loss/loss:0", feed))
    assert {n: (t.shape, t.dtype) for n, t in checkpoint.open(session.save(tmp_path / "again")).items()} == {
        n: (t.shape, t.dtype) for n, t in edited.items()
    }


@pytest.mark.parametrize(("source", "train"), [("chapter", "GradientDescent"), ("adam", "train")])
def test_a_renamed_model_takes_the_step_that_it_took_before(
    new_session: Any, adam: Path, tmp_path: Path, source: str, train: str
) -> None:
    path, out = (CHAPTER if source == "chapter" else adam), tmp_path / "renamed.ckpt"
    plan(path, *EDITS["rename"], ("add-prefix", "net")).write(out)
    expected, found = (step(new_session(each, each), batch(path), train) for each in (path, out))
    origins = {row.after.name: row.before.name for row in plan(path, *EDITS["rename"], ("add-prefix", "net")).rows}
    assert {origins[name] for name in found} == set(expected)
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[origins[name]])


@pytest.mark.parametrize(("source", "train"), [("chapter", "GradientDescent"), ("adam", "train")])
def test_more_classes_are_trained(new_session: Any, adam: Path, tmp_path: Path, source: str, train: str) -> None:
    path, out = (CHAPTER if source == "chapter" else adam), tmp_path / "wider.ckpt"
    plan(path, ("resize", "outputs/kernel = to(12, axis=1, fill=normal)")).write(out)
    feed = batch(path) | {"y:0": np.full(6, 11)}
    session = new_session(out, out)
    before, after = session.weights(), step(session, feed, train)
    assert after["outputs/kernel"].shape[1:] == after["outputs/bias"].shape == (12,)
    assert (after["outputs/bias"] - before["outputs/bias"])[11] > 0


def test_without_slots_another_optimizer_goes_on(new_session: Any, adam: Path, tmp_path: Path) -> None:
    planned, out = plan(adam, ("drop-slots", "")), tmp_path / "weights.ckpt"
    assert planned.notes[1:] == (
        f"the graph follows: {adam}.meta",
        "the training op is removed, with its gradients: train",
    )
    planned.write(out)
    session, feed = new_session(out, out), batch(adam)
    weights = {"hidden1/kernel", "hidden1/bias", "outputs/kernel", "outputs/bias"}
    assert set(session.weights()) == weights | ({"global_step"} & set(checkpoint.open(adam)))
    with session.graph.as_default():
        loss = session.graph.get_tensor_by_name("loss/loss:0")
        train = session.v1.train.MomentumOptimizer(0.1, 0.9).minimize(loss, name="more")
        start = session.v1.variables_initializer(session.v1.global_variables("(.*Momentum)"))
    session.run(start)
    before = session.run(loss, feed)
    session.run(train, feed)
    assert session.run(loss, feed) < before


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("drop", "outputs"), r"outputs/kernel cannot be dropped: it is needed by dnn/outputs/BiasAdd:0, "
        "loss/loss:0, eval/acc"),
        (("keep", "hidden1"), r"hidden2/kernel cannot be dropped: it is needed by dnn/outputs/BiasAdd:0"),
        (("transpose", "hidden3/kernel=1,0"), "hidden3/kernel is used by the graph as it was before transpose"),
        (("reshape", "outputs/kernel=10,-1"), "outputs/kernel is used by the graph as it was before reshape"),
        (("quantise", "int8"), "hidden1/kernel is int8 with a scale, which the graph does not multiply it with"),
        (("pad", "outputs/bias=0:0,1"), "dnn/outputs/BiasAdd joins .* one would have 11 where the other has 10"),
        (("rename", "hidden1=>my layer"), "cannot be named 'my layer/.*': TensorFlow does not accept it as the name"),
    ],
)  # fmt: skip
def test_what_a_graph_cannot_follow_is_refused_before_anything_is_written(
    tmp_path: Path, edit: tuple[str, str], message: str
) -> None:
    with pytest.raises(
        PlanError, match=f"{CHAPTER}.meta: .*{message}.*; `with_graph=False` writes the checkpoint alone"
    ):
        plan(CHAPTER, edit)
    planned = plan(CHAPTER, edit, with_graph=False)
    assert planned.write(tmp_path / "alone.ckpt") == []
    assert planned.notes[-1] == f"the graph of {CHAPTER} is not written: the output is a checkpoint without a graph"
    assert not (tmp_path / "alone.ckpt.meta").exists()


def test_a_dtype_that_tensorflow_does_not_cast_is_refused() -> None:
    with pytest.raises(PlanError, match="outputs/bias is int4, which TensorFlow does not cast to float32"):
        plan(CHAPTER, ("cast", "outputs/bias=int4"))


def test_other_formats_hold_no_graph() -> None:
    planned = plan(CHAPTER, ("transpose", "outputs/kernel=1,0"), to="safetensors")
    assert planned.graph is None
    assert planned.notes[-1] == f"the graph of {CHAPTER} is not written: the output is a checkpoint without a graph"


def test_a_saved_model_keeps_the_graph_that_it_has(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.weight = tf.Variable([1.0, 2.0], name="weight")
    tf.saved_model.save(module, str(tmp_path / "model"))
    (name,) = (name for name, kind in checkpoint.open(tmp_path / "model").kinds().items() if kind == "weight")
    planned = plan(tmp_path / "model", ("set", f"{name}=7"), to="saved-model", like=tmp_path / "model")
    assert planned.notes == ()
    planned.write(tmp_path / "edited")
    assert tf.saved_model.load(str(tmp_path / "edited")).weight.numpy().tolist() == [7, 7]
    assert "is not written" in plan(tmp_path / "model", ("set", f"{name}=7")).notes[-1]


def served(folder: Path, rows: Any) -> Any:
    """Return TensorFlow's outputs for rows with the folder's signature."""
    import tensorflow as tf

    (found,) = tf.saved_model.load(str(folder)).signatures["serving_default"](tf.constant(rows)).values()
    return found.numpy()


@pytest.mark.parametrize("edits", [EDITS["rename"], EDITS["prefix"]], ids=["rename", "prefix"])
def test_a_saved_model_of_tensorflow_1_comes_out_as_one(tmp_path: Path, edits: Sequence[tuple[str, str]]) -> None:
    whole, edited, rows = tmp_path / "whole", tmp_path / "edited", batch(CHAPTER)["X:0"]
    plan(CHAPTER, ("set", "outputs/bias=0"), to="saved-model").write(whole)
    (whole / "assets.extra").mkdir()
    (whole / "assets.extra" / "warm_up").write_bytes(b"rows")
    source = checkpoint.open(whole)
    assert format_to_write(source, True, edited) == "saved-model"
    plan(whole, *edits, to="saved-model").write(edited)
    np.testing.assert_array_equal(served(edited, rows), served(whole, rows))
    assert set(checkpoint.open(edited)).isdisjoint(name for name in source if "kernel" in name)
    assert (edited / "assets.extra" / "warm_up").read_bytes() == b"rows"
    with pytest.raises(ExistingOutput):
        plan(whole, *edits, to="saved-model").check(edited)


def test_a_saved_model_becomes_a_prefix_where_that_is_asked_for(new_session: Any, tmp_path: Path) -> None:
    whole, out, feed = tmp_path / "whole", tmp_path / "out.ckpt", batch(CHAPTER)
    plan(CHAPTER, ("set", "outputs/bias=0"), to="saved-model").write(whole)
    assert format_to_write(checkpoint.open(whole), True, out) == "bundle"
    plan(whole, *EDITS["rename"]).write(out)
    assert np.isfinite(new_session(out, out).run("loss/loss:0", feed))
    assert "layer1/dense/kernel" in checkpoint.open(out)


@pytest.mark.parametrize(
    ("output", "to", "with_graph", "expected"),
    [
        ("out", None, True, "bundle"),
        ("out/", "saved-model", True, "saved-model"),
        ("out", "ckpt", True, "bundle"),
        ("out.npz", None, True, "npz"),
        ("out", "npz", True, "npz"),
    ],
)
def test_the_format_is_that_of_the_family_unless_another_is_asked_for(
    output: str, to: str | None, with_graph: bool, expected: str
) -> None:
    assert format_to_write(checkpoint.open(CHAPTER), with_graph, Path(output), to) == expected


def test_a_model_is_edited_in_its_place(new_session: Any, tmp_path: Path) -> None:
    for part in CHAPTER.parent.glob(f"{CHAPTER.name}.*"):
        shutil.copy(part, tmp_path)
    path = tmp_path / CHAPTER.name
    with pytest.raises(ExistingOutput, match="exists already; `overwrite` replaces it"):
        plan(path, ("add-prefix", "net")).write(path)
    plan(path, ("add-prefix", "net")).write(path, overwrite=True)
    assert set(new_session(path, path).weights()) == set(checkpoint.open(path)) != set(checkpoint.open(CHAPTER))
    said = plan(path, ("drop", "net/outputs"), with_graph=False).write(path, overwrite=True)
    assert said == [f"{path}.meta is still the graph that was there before"]


def test_a_graph_that_cannot_be_read_cannot_follow(tmp_path: Path) -> None:
    for part in CHAPTER.parent.glob(f"{CHAPTER.name}.*"):
        shutil.copy(part, tmp_path)
    path = tmp_path / CHAPTER.name
    Path(f"{path}.meta").write_bytes(b"no graph")
    with pytest.raises(FormatError, match=r"ckpt\.meta: .*; `with_graph=False` writes the checkpoint alone"):
        plan(path, ("add-prefix", "net"))
    plan(path, ("add-prefix", "net"), with_graph=False)


def test_slots_that_a_saver_does_not_save_follow_their_variables(
    new_network: Any, new_session: Any, tmp_path: Path
) -> None:
    network = new_network()
    with network.building():
        X, y, _ = network.inputs()
        network.classify(network.dense(X, 3, "outputs", relu=False), y, network.v1.train.MomentumOptimizer(0.1, 0.9))
        saver = network.v1.train.Saver(network.v1.trainable_variables())
        with network.v1.Session() as session:
            session.run(network.v1.global_variables_initializer())
            saver.save(session, str(tmp_path / "some.ckpt"), write_state=False)
    edits = [("rename", "outputs=>head"), ("resize", "head/kernel = to(5, axis=1, fill=zeros)")]
    plan(tmp_path / "some.ckpt", *edits).write(tmp_path / "out.ckpt")
    session = new_session(tmp_path / "out.ckpt", tmp_path / "out.ckpt")
    with session.graph.as_default():
        session.run(session.v1.variables_initializer(session.v1.global_variables(".*Momentum")))
    shapes = {name: value.shape for name, value in step(session, batch(tmp_path), "train").items()}
    weights = {"head/kernel": (4, 5), "head/bias": (5,)}
    assert shapes == weights | {f"{name}/Momentum": shape for name, shape in weights.items()}


def test_a_shard_of_a_dropped_counter_alone_goes_with_it(new_network: Any, new_session: Any, tmp_path: Path) -> None:
    network, path = new_network(), tmp_path / "sharded.ckpt"
    with network.building():
        weight = network.variable("weight", [3], value=1.0)
        with network.v1.device("/cpu:0"):
            network.v1.train.get_or_create_global_step()
        network.tf.identity(weight, name="logits")
        network.v1.train.Saver(sharded=True).export_meta_graph(f"{path}.meta")
    checkpoint.save({"weight": np.arange(3, dtype=np.float32), "global_step": np.array(7)}, path)
    plan(path, ("drop", "global_step")).write(tmp_path / "out.ckpt")
    assert new_session(tmp_path / "out.ckpt", tmp_path / "out.ckpt").weights()["weight"].tolist() == [0, 1, 2]


def test_nothing_is_there_when_a_value_does_not_fit(tmp_path: Path) -> None:
    planned = plan(CHAPTER, ("set", "outputs/bias=100000"), ("cast", "float16"))
    with pytest.raises(CkptError, match=r"outputs/bias: 100000\.0 does not fit into float16"):
        planned.write(tmp_path / "out.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_back_is_the_graph_that_was_planned(tmp_path: Path) -> None:
    planned = plan(CHAPTER, ("add-prefix", "net"))
    planned.write(tmp_path / "out.ckpt.index")
    assert planned.graph is not None
    assert files.load(tmp_path / "out.ckpt").meta == planned.graph.meta


def test_a_network_of_keras_needs_what_was_folded_into_others() -> None:
    ckpt = checkpoint.Checkpoint.of({"fc.weight_g": np.ones((2, 1)), "fc.weight_v": np.ones((2, 4))})
    with pytest.raises(PlanError, match=r"a network of Keras needs fc.weight_g, .*: write a file of weights, such as"):
        plan_edit(ckpt, [Step("fold-parametrisations")], to="keras")
    assert plan_edit(ckpt, [Step("fold-parametrisations")], to="npz").notes == (
        "now in others: fc.weight_g, fc.weight_v",
    )


def test_a_graph_does_not_follow_parts_and_layouts() -> None:
    with pytest.raises(
        PlanError, match=r"hidden1/kernel cannot be dropped: .*`with_graph=False` writes the checkpoint"
    ):
        plan(CHAPTER, ("split-parts", "hidden1=a,b, axis=-1"))
    with pytest.raises(PlanError, match="is used by the graph as it was before layout-back hidden1/kernel=dense"):
        plan(CHAPTER, ("layout-back", "hidden1/kernel=dense"))


def test_a_graph_follows_a_sum_of_its_inputs() -> None:
    reduced = plan(CHAPTER, ("reduce", "hidden1/kernel=sum, axis=0"))
    assert reduced.tensors["hidden1/kernel"].shape == (1, 300)
    assert "X:0 accepts [?,1] now" in reduced.notes
