"""Graphs updated after surgery: plain TensorFlow imports them, restores the edited checkpoint and trains on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.formats.wire.protos.meta_graph_pb2 import VariableDef
from ckpttool.graph import files
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.sync.sync import Synced, sync_graph

CHAPTER = Path(__file__).parents[3] / "fixtures" / "my_model_final.ckpt"


@pytest.fixture
def opened(new_session: Any, tmp_path: Path) -> Callable[[Synced, Checkpoint], Any]:
    """Write an edited checkpoint with its graph, and open both in a plain TensorFlow program."""

    def open_both(followed: Synced, edited: Checkpoint) -> Any:
        out = tmp_path / "edited.ckpt"
        checkpoint.save(edited, out, overwrite=True)
        files.save(followed.graph, f"{out}.meta", overwrite=True)
        return new_session(out, out)

    return open_both


@pytest.fixture(scope="module")
def trained(new_network: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Networks 4-8-6-3 by plain TensorFlow, with Adam's slots and a step counter."""
    made: dict[tuple[bool, str], Path] = {}

    def make(resource: bool = False, penalty: str = "") -> Path:
        key = (resource, penalty)
        if key not in made:
            made[key] = _written(new_network(resource), penalty, tmp_path_factory.mktemp("trained"))
        return made[key]

    return make


def _written(network: Any, penalty: str, folder: Path) -> Path:
    v1, tf = network.v1, network.tf
    with network.building():
        layer, labels, _ = network.inputs()
        for number, units in enumerate((8, 6), start=1):
            layer = network.dense(layer, units, f"hidden{number}")
        logits = network.dense(layer, 3, "outputs", relu=False)
        network.classify(logits, labels)
        loss = network.graph.get_tensor_by_name("loss/loss:0")
        if penalty:
            (kernel,) = v1.trainable_variables("outputs/kernel")
            loss = tf.add(loss, getattr(tf, penalty)(kernel * kernel), name="total_loss")
        step = v1.train.get_or_create_global_step()
        v1.train.AdamOptimizer(0.1).minimize(loss, global_step=step, name="train")
    path: Path = network.save(folder / "trained.ckpt")
    return path


def open_model(path: Path) -> tuple[Any, Checkpoint]:
    return files.load(path), checkpoint.open(path)


def stepped(session: Any, feed: dict[str, Any], train: str = "train") -> dict[str, Any]:
    """Return the variables after one training step."""
    session.run(train, feed)
    values: dict[str, Any] = session.weights()
    return values


@pytest.fixture
def digits() -> dict[str, Any]:
    draw = np.random.default_rng(3)
    return {"X:0": draw.random((6, 784), np.float32), "y:0": draw.integers(0, 10, 6)}


@pytest.mark.parametrize(
    "rules",
    [{r"hidden(\d)": r"fc/layer\1"}, {"(.*)": r"model/\1"}, {"hidden3": "hidden4", "hidden4": "hidden3"}],
    ids=["layers", "prefix", "swap"],
)
def test_the_chapters_model_is_renamed(
    opened: Any, new_session: Any, digits: dict[str, Any], tmp_path: Path, rules: dict[str, str]
) -> None:
    graph, ckpt = open_model(CHAPTER)
    edited = ckpt.rename(rules)
    expected = stepped(new_session(CHAPTER, CHAPTER), digits, "GradientDescent")
    session = opened(sync_graph(graph, edited), edited)
    found = stepped(session, digits, "GradientDescent")
    assert set(found) == set(edited)
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[edited.origins.get(name, name)])
    assert set(checkpoint.open(session.save(tmp_path / "again.ckpt"))) == set(edited)
    session.run("init")


def test_a_prefix_that_is_stripped_again_leaves_the_graph_as_it_was(tmp_path: Path) -> None:
    graph, ckpt = open_model(CHAPTER)
    longer = ckpt.rename({"(.*)": r"model/\1"})
    followed = sync_graph(graph, longer)
    checkpoint.save(longer, tmp_path / "longer.ckpt")
    back = sync_graph(followed.graph, checkpoint.open(tmp_path / "longer.ckpt").rename({"model/(.*)": r"\1"}))
    assert back.graph.meta == graph.meta
    assert followed.notes == back.notes == ()


@pytest.mark.parametrize("resource", [False, True], ids=["reference", "resource"])
def test_slots_are_renamed_with_their_own_names(
    opened: Any, new_session: Any, feed: dict[str, Any], trained: Any, resource: bool
) -> None:
    path = trained(resource)
    graph, ckpt = open_model(path)
    edited = ckpt.rename({r"hidden(\d)/kernel/Adam": r"memory/h\1", r"hidden(\d)": r"layer\1"})
    session = opened(sync_graph(graph, edited), edited)
    expected, found = stepped(new_session(path, path), feed), stepped(session, feed)
    assert {"layer1/kernel", "memory/h1", "layer1/kernel/Adam_1", "layer1/bias/Adam"} <= set(found)
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[edited.origins.get(name, name)])


def test_names_that_two_ops_would_have_are_refused() -> None:
    graph, ckpt = open_model(CHAPTER)
    with pytest.raises(PlanError, match="the ops hidden1/kernel and dnn/hidden1/MatMul would both be named dnn/hid"):
        sync_graph(graph, ckpt.rename({"hidden1/kernel": "dnn/hidden1/MatMul"}))
    with pytest.raises(
        PlanError, match=r"cannot be named 'first layer/bias.*': TensorFlow does not accept it as the name"
    ):
        sync_graph(graph, ckpt.rename({"hidden1/bias": "first layer/bias"}))


def test_one_tensor_cannot_become_two_variables() -> None:
    graph, ckpt = open_model(CHAPTER)
    both = Checkpoint(dict(ckpt) | {"copy": ckpt["hidden1/bias"].renamed("copy")}, origins={"copy": "hidden1/bias"})
    with pytest.raises(PlanError, match="hidden1/bias and copy are both hidden1/bias"):
        sync_graph(graph, both)


@pytest.mark.parametrize("resource", [False, True], ids=["reference", "resource"])
def test_dropped_slots_take_the_training_with_them(
    opened: Any, new_session: Any, feed: dict[str, Any], trained: Any, tmp_path: Path, resource: bool
) -> None:
    path = trained(resource)
    graph, ckpt = open_model(path)
    edited = ckpt.drop("(.*/)?(Adam(_1)?|beta[12]_power)")
    followed = sync_graph(graph, edited)
    assert followed.notes == ("the training op is removed, with its gradients: train",)
    assert not [name for name in followed.graph.nodes if name.startswith(("gradients", "train/", "beta"))]
    session = opened(followed, edited)
    wanted = ["loss/loss:0", "eval/accuracy:0", "outputs/BiasAdd:0"]
    for found, expected in zip(session.run(wanted, feed), new_session(path, path).run(wanted, feed), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert set(checkpoint.open(session.save(tmp_path / "again.ckpt"))) == set(edited)
    assert "global_step" in edited


def test_a_counter_that_the_training_counts_with_takes_it_along(trained: Any) -> None:
    graph, ckpt = open_model(trained())
    followed = sync_graph(graph, ckpt.drop("global_step"))
    assert followed.notes == ("the training op is removed, with its gradients: train",)
    assert "global_step" not in stored_tensors(followed.graph)
    assert "outputs/bias/Adam" in stored_tensors(followed.graph)


def test_a_weight_that_the_outputs_need_is_not_dropped(trained: Any) -> None:
    graph, ckpt = open_model(trained())
    with pytest.raises(
        PlanError, match=r"hidden1/kernel cannot be dropped: it is needed by outputs/BiasAdd:0, loss/loss:0, eval/acc"
    ):
        sync_graph(graph, ckpt.drop("hidden1/kernel"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("resource", [False, True], ids=["reference", "resource"])
def test_a_cast_is_one_of_the_file_alone(
    opened: Any, feed: dict[str, Any], trained: Any, tmp_path: Path, resource: bool, dtype: str
) -> None:
    graph, ckpt = open_model(trained(resource))
    edited = ckpt.cast(dtype)
    session = opened(sync_graph(graph, edited), edited)
    for name, value in session.weights().items():
        assert value.dtype == ckpt[name].dtype.numpy
        np.testing.assert_array_equal(value, edited[name].read().astype(value.dtype))
    session.run("train", feed)
    again = checkpoint.open(session.save(tmp_path / "again.ckpt"))
    assert {name: tensor.dtype for name, tensor in again.items()} == {n: t.dtype for n, t in edited.items()}


def test_a_cast_can_be_taken_back(opened: Any, new_session: Any, digits: dict[str, Any]) -> None:
    graph, ckpt = open_model(CHAPTER)
    small = sync_graph(graph, ckpt.cast("float16"))
    session = opened(sync_graph(small.graph, ckpt), ckpt)
    expected = stepped(new_session(CHAPTER, CHAPTER), digits, "GradientDescent")
    for name, value in stepped(session, digits, "GradientDescent").items():
        np.testing.assert_array_equal(value, expected[name])


def test_a_cast_needs_a_saver(new_network: Any) -> None:
    with new_network().building() as network:
        X, y, _ = network.inputs()
        network.classify(network.dense(X, 3, "outputs", relu=False), y)
    edited = Checkpoint.of({"outputs/kernel": np.zeros((4, 3), np.float16), "outputs/bias": np.zeros(3, np.float32)})
    with pytest.raises(PlanError, match="outputs/kernel is float16, but float32 in the graph, which has no Saver"):
        sync_graph(network.export(), edited)


def wider(ckpt: Checkpoint, layer: str, classes: int) -> Checkpoint:
    """Return a checkpoint whose last layer has more classes, as do its slots."""
    values = {name: ckpt[name].read() for name in ckpt}
    for name in [name for name in values if name.startswith(f"{layer}/")]:
        value = values[name]
        more = np.full((*value.shape[:-1], classes - value.shape[-1]), 0.25, value.dtype)
        values[name] = np.concatenate([value, more], axis=-1)
    return Checkpoint.of(values)


@pytest.mark.parametrize("resource", [False, True], ids=["reference", "resource"])
def test_more_classes_are_trained(
    opened: Any, feed: dict[str, Any], trained: Any, resource: bool, tmp_path: Path
) -> None:
    graph, ckpt = open_model(trained(resource))
    edited = wider(ckpt, "outputs", 5)
    followed = sync_graph(graph, edited)
    assert followed.notes == ()
    session = opened(followed, edited)
    feed["y:0"] = np.arange(8) % 5
    before, loss = session.weights(), session.run("loss/loss:0", feed)
    for _ in range(20):
        session.run("train", feed)
    assert session.run("loss/loss:0", feed) < loss
    assert (session.weights()["outputs/kernel"][:, 3:] != before["outputs/kernel"][:, 3:]).any()
    assert checkpoint.open(session.save(tmp_path / "again.ckpt"))["outputs/kernel/Adam"].shape == (6, 5)
    with session.graph.as_default():
        session.run(session.v1.global_variables_initializer())
    assert session.weights()["outputs/bias"].tolist() == pytest.approx([0.1] * 5)


def test_a_kernel_without_its_bias_is_refused(trained: Any) -> None:
    graph, ckpt = open_model(trained())
    values = dict(wider(ckpt, "outputs", 5)) | {"outputs/bias": ckpt["outputs/bias"]}
    message = "outputs/BiasAdd joins outputs/MatMul:0 with outputs/bias/read:0: one would have 5 where the other has 3"
    with pytest.raises(PlanError, match=message):
        sync_graph(graph, Checkpoint.of(values))
    with pytest.raises(PlanError, match=r"hidden1/bias is \[8\]; it cannot become \[4, 2\]"):
        sync_graph(graph, Checkpoint.of(dict(ckpt) | {"hidden1/bias": np.zeros((4, 2), np.float32)}))


def test_a_layer_above_must_take_what_the_one_below_gives(trained: Any) -> None:
    graph, ckpt = open_model(trained())
    with pytest.raises(
        PlanError, match="hidden2/MatMul joins hidden1/Relu:0 with hidden2/kernel/read:0: one would have 9"
    ):
        sync_graph(graph, wider(ckpt, "hidden1", 9))


@pytest.mark.parametrize("penalty", ["reduce_sum", "reduce_mean"])
def test_sizes_folded_into_gradients_are_changed_or_take_the_training_along(
    opened: Any, feed: dict[str, Any], trained: Any, penalty: str
) -> None:
    graph, ckpt = open_model(trained(penalty=penalty))
    edited = wider(ckpt, "outputs", 5)
    followed = sync_graph(graph, edited)
    assert any(
        note.startswith("the old sizes are in constants of the gradients: gradients/") for note in followed.notes
    )
    assert followed.notes[-1] == "the training op is removed, with its gradients: train"
    assert np.isfinite(opened(followed, edited).run("total_loss:0", feed))


def test_added_biases_have_their_size_in_their_gradient(opened: Any, new_network: Any, tmp_path: Path) -> None:
    network = new_network()
    with network.building():
        X, y, _ = network.inputs()
        kernel, bias = network.variable("out/kernel", [4, 3]), network.variable("out/bias", [3], value=0.5)
        network.classify(X @ kernel + bias, y, network.v1.train.MomentumOptimizer(0.1, 0.9))
    graph, ckpt = open_model(network.save(tmp_path / "added.ckpt"))
    assert "gradients/add_grad/Shape_1" in graph.nodes
    edited = wider(ckpt, "out", 7)
    session = opened(sync_graph(graph, edited), edited)
    session.run("train", {"X:0": np.ones((2, 4), np.float32), "y:0": [6, 6]})
    assert session.weights()["out/bias"][6] > 0.25


def test_dense_labels_hold_the_number_of_classes(new_network: Any, tmp_path: Path) -> None:
    network = new_network()
    with network.building():
        X, _, _ = network.inputs()
        labels = network.v1.placeholder("float32", [None, 3], name="labels")
        logits = network.dense(X, 3, "outputs", relu=False)
        each = network.v1.nn.softmax_cross_entropy_with_logits_v2(labels=labels, logits=logits)
        network.tf.reduce_mean(each, name="loss")
    graph, ckpt = open_model(network.save(tmp_path / "dense.ckpt"))
    with pytest.raises(PlanError, match=r"the new shapes do not fit: .*one would have 5 where the other has 3"):
        sync_graph(graph, wider(ckpt, "outputs", 5))


def test_initial_values_that_are_data_become_zero(opened: Any, new_network: Any, tmp_path: Path) -> None:
    network = new_network()
    with network.building():
        table = network.v1.Variable(np.arange(12.0, dtype=np.float32).reshape(4, 3), name="table", use_resource=False)
        network.tf.nn.embedding_lookup(table, network.v1.placeholder("int32", [None], name="ids"), name="found")
        network.v1.add_to_collection("ckpttool/logits", network.graph.get_tensor_by_name("found/Identity:0"))
    graph, ckpt = open_model(network.save(tmp_path / "table.ckpt"))
    edited = Checkpoint.of({"table": np.vstack([ckpt["table"].read(), np.ones((2, 3), np.float32)])})
    followed = sync_graph(graph, edited)
    assert followed.notes == ("now initialised with 0, as the graph had a value of the old shape: table",)
    session = opened(followed, edited)
    assert session.run("found/Identity:0", {"ids:0": [1, 5]}).tolist() == [[3, 4, 5], [1, 1, 1]]
    with session.graph.as_default():
        session.run(session.v1.global_variables_initializer())
    assert not session.weights()["table"].any()


@pytest.mark.parametrize(("name", "dtype"), [("partitioned", "float64"), ("one_part", "float16")])
def test_slices_follow_their_tensor(graph: Any, opened: Any, name: str, dtype: str) -> None:
    known = graph(name)
    draw = np.random.default_rng(0)
    values = {n: draw.random(t.shape).astype(t.dtype.numpy) for n, t in stored_tensors(known).items()}
    ckpt = wider(Checkpoint.of(values), "outputs", 5).rename({"hidden(.)": r"layer\1", "outputs": "top"}).cast(dtype)
    followed = sync_graph(known, ckpt)
    assert {n: t.shape for n, t in stored_tensors(followed.graph).items()} == {n: t.shape for n, t in ckpt.items()}
    entries = followed.graph.meta.collection_def["variables"].bytes_list.value
    assert "top/kernel" in [VariableDef.FromString(raw).save_slice_info_def.full_name for raw in entries]
    session = opened(followed, ckpt)
    rows = {"X:0": draw.random((4, 8), np.float32), "y:0": [0, 1, 3, 4]}
    loss = session.run("loss/loss:0", rows)
    session.run("GradientDescent", rows)
    assert session.run("loss/loss:0", rows) < loss


def test_slices_are_not_cast_to_what_tensorflow_does_not_slice(graph: Any) -> None:
    known = graph("partitioned")
    values = {name: np.zeros(tensor.shape, np.float32) for name, tensor in stored_tensors(known).items()}
    with pytest.raises(
        PlanError, match="hidden1/kernel is read in slices, which TensorFlow does not support for float16"
    ):
        sync_graph(known, Checkpoint.of(values).cast("float16"))


def test_what_no_variable_of_the_graph_is_stays_in_the_checkpoint_alone() -> None:
    graph, ckpt = open_model(CHAPTER)
    followed = sync_graph(graph, Checkpoint.of(dict(ckpt) | {"extra": np.zeros(2, np.float32)}))
    assert followed.notes == ("only in the checkpoint, not variables of the graph: extra",)
    assert followed.graph.meta == graph.meta
