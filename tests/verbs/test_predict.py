"""`predict` from Python: the file has a plain session's outputs, processed as by NumPy, or does not exist."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import CkptError, DataError, ExistingOutput, GraphError, PlanError, UnknownName
from ckpttool.data import rows as rows_module
from ckpttool.model.model import Model
from ckpttool.runtime import streaming
from ckpttool.runtime.losses import Loss
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.verbs.new import new
from ckpttool.verbs.predict import predict

LOGITS = "dnn/outputs/BiasAdd:0"


@pytest.fixture
def x(tmp_path: Path) -> Any:
    """Rows without labels, also in `rows.npz`."""
    found = np.random.default_rng(4).normal(size=(50, 4)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", X=found)
    return found


@pytest.fixture
def logits(small: Path, x: Any, new_session: Any) -> Any:
    """A plain session's outputs for the rows."""
    return new_session(small, small, optimised=True).run(LOGITS, {"X:0": x})


def softmax(logits: Any) -> Any:
    import tensorflow as tf

    return tf.nn.softmax(logits).numpy()


def arrays_of(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as found:
        return dict(found)


def table_of(path: Path) -> dict[str, list[str]]:
    """The columns of a .csv."""
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    return {name: [line[name] for line in lines] for name in lines[0]}


def test_classes_and_probabilities(model: Model, x: Any, logits: Any, tmp_path: Path) -> None:
    found = predict(model, tmp_path / "rows.npz", tmp_path / "out.npz")
    assert (found.rows, found.tensor, found.why) == (50, LOGITS, "the logits")
    arrays = arrays_of(tmp_path / "out.npz")
    assert {name: array.shape for name, array in arrays.items()} == found.arrays
    assert list(arrays) == ["rows", "classes", "probabilities", "logits"]
    np.testing.assert_array_equal(arrays["rows"], np.arange(50))
    np.testing.assert_array_equal(arrays["classes"], logits.argmax(1))
    np.testing.assert_allclose(arrays["probabilities"], softmax(logits), rtol=1e-5)
    np.testing.assert_allclose(arrays["logits"], logits, rtol=1e-5)


def test_a_csv_says_the_same(model: Model, x: Any, tmp_path: Path) -> None:
    for name in ("out.npz", "out.csv"):
        predict(model, tmp_path / "rows.npz", tmp_path / name)
    arrays, table = arrays_of(tmp_path / "out.npz"), table_of(tmp_path / "out.csv")
    assert list(table) == ["row", "class", "probability_0", "probability_1", "probability_2"]
    assert list(map(int, table["row"])) == arrays["rows"].tolist()
    assert list(map(int, table["class"])) == arrays["classes"].tolist()
    for number in range(3):
        read = np.array(table[f"probability_{number}"], np.float32)
        np.testing.assert_array_equal(read, arrays["probabilities"][:, number])


@pytest.mark.parametrize("kind", Loss.known())
def test_what_is_said_follows_from_the_objective(kind: str, x: Any, tmp_path: Path, new_session: Any) -> None:
    path = tmp_path / "new.ckpt"
    new([4], "outputs = dense(3)", path, recipe=Recipe(), objective=Objective(kind))
    logits = new_session(path, path).run(LOGITS, {"X:0": x})
    predict(Model.open(path), tmp_path / "rows.npz", tmp_path / "out.npz")
    expected = {
        "softmax": {"classes": logits.argmax(1), "probabilities": softmax(logits), "logits": logits},
        "sigmoid": {"labels": logits > 0, "probabilities": 1 / (1 + np.exp(-logits)), "logits": logits},
        "hinge": {"classes": logits.argmax(1), "outputs": logits},
        **{each: {"outputs": logits} for each in ("mse", "mae", "mape", "huber", "log_cosh")},
    }[kind.removesuffix("_dense")]
    found = arrays_of(tmp_path / "out.npz")
    assert list(found) == ["rows", *expected]
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_rows_on_disk_are_predicted_some_at_a_time(
    model: Model, x: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    np.save(tmp_path / "x.npy", x.astype(np.float64))
    whole, parted = tmp_path / f"whole{suffix}", tmp_path / f"parted{suffix}"
    predict(model, tmp_path / "rows.npz", whole)
    monkeypatch.setattr(rows_module, "IN_MEMORY", 1)
    monkeypatch.setattr(streaming, "PART_BYTES", 1)
    monkeypatch.setattr(streaming, "LEAST_ROWS", 7)
    predict(model, tmp_path / "x.npy", parted)
    read = arrays_of if suffix == ".npz" else table_of
    expected, found = read(whole), read(parted)
    assert list(found) == list(expected)
    for name in found:
        np.testing.assert_allclose(
            np.array(found[name], np.float32), np.array(expected[name], np.float32), rtol=1e-5, atol=1e-7
        )


def test_rows_are_numbered_as_in_the_file(model: Model, data: Path, tmp_path: Path) -> None:
    predict(model, data, tmp_path / "out.csv", split="train", valid="first:290")
    assert table_of(tmp_path / "out.csv")["row"] == [str(number) for number in range(290, 300)]


@pytest.mark.parametrize("kind", ["batch_norm", "dropout"])
def test_layers_run_in_inference_mode(
    foreign: Callable[..., Path], x: Any, new_session: Any, tmp_path: Path, kind: str
) -> None:
    source = foreign(kind)
    predict(Model.open(source), tmp_path / "rows.npz", tmp_path / "out.npz")
    logits = new_session(source, source).run("outputs/BiasAdd:0", {"X:0": x})
    np.testing.assert_allclose(arrays_of(tmp_path / "out.npz")["logits"], logits, rtol=1e-5, atol=1e-6)


def test_any_tensor_of_rows_may_be_asked_for(
    model: Model, small: Path, x: Any, new_session: Any, tmp_path: Path
) -> None:
    found = predict(model, tmp_path / "rows.npz", tmp_path / "out.npz", tensor="dnn/hidden1/Relu")
    assert (found.tensor, found.why) == ("dnn/hidden1/Relu:0", "as asked for")
    arrays = arrays_of(tmp_path / "out.npz")
    assert list(arrays) == ["rows", "outputs"], "the loss compares another tensor with the labels"
    expected = new_session(small, small).run("dnn/hidden1/Relu:0", {"X:0": x})
    np.testing.assert_allclose(arrays["outputs"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("tensor", "error", "message"),
    [
        ("dnn/outputs/BiasAd", UnknownName, r"dnn/outputs/BiasAd: no such op or tensor; nearest: dnn/outputs/BiasAdd"),
        ("dnn/outputs/BiasAdd:3", CkptError, "Invalid return output 3 of node 'dnn/outputs/BiasAdd'"),
        ("outputs/kernel", GraphError, "outputs/kernel:0 depends on none of the inputs X:0; specify `tensor`"),
        ("loss/loss", GraphError, "nothing feeds y"),
    ],
)
def test_what_is_no_tensor_of_rows_is_refused(
    model: Model, x: Any, tmp_path: Path, tensor: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        predict(model, tmp_path / "rows.npz", tmp_path / "out.npz", tensor=tensor)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.npz"]


def test_a_tensor_without_a_row_for_each_is_refused(new_network: Any, x: Any, tmp_path: Path) -> None:
    with new_network().building() as net:
        X, _, _ = net.inputs()
        net.tf.reduce_mean(net.dense(X, 3, "outputs", relu=False), 0, name="mean")
        net.tf.strings.as_string(X, name="text")
    model = Model.open(net.save(tmp_path / "mean.ckpt"))
    for tensor, message in (("mean", r"mean:0 is \[3\] for 50 rows, expected a row for each"), ("text", "is text")):
        with pytest.raises(GraphError, match=message):
            predict(model, tmp_path / "rows.npz", tmp_path / "out.npz", tensor=tensor)
    assert not (tmp_path / "out.npz").exists()


def frozen(network: Any, path: Path) -> Any:
    """A bare graph with constants for variables, ending in a softmax; returns a function that runs it."""
    tf, v1 = network.tf, network.v1
    with network.building():
        X = v1.placeholder(tf.float32, [None, 4], name="X")
        tf.nn.softmax(network.dense(X, 3, "outputs", relu=False), name="said")
        session = v1.Session()
        session.run(v1.global_variables_initializer())
        definition = v1.graph_util.convert_variables_to_constants(session, network.graph.as_graph_def(), ["said"])
        path.write_bytes(definition.SerializeToString())
    return lambda x: session.run("said:0", {"X:0": x})


@pytest.mark.filterwarnings("ignore")
def test_a_bare_graph_is_run_for_what_nothing_reads(new_network: Any, x: Any, tmp_path: Path) -> None:
    run = frozen(new_network(), tmp_path / "frozen.pb")
    found = predict(Model.open(tmp_path / "frozen.pb"), tmp_path / "rows.npz", tmp_path / "out.npz")
    assert (found.tensor, found.why) == ("said:0", "which no other op reads")
    arrays = arrays_of(tmp_path / "out.npz")
    assert list(arrays) == ["rows", "classes", "probabilities"]
    np.testing.assert_allclose(arrays["probabilities"], run(x), rtol=1e-5)
    np.testing.assert_array_equal(arrays["classes"], run(x).argmax(1))


def saved(network: Any, folder: Path, outputs: dict[str, str]) -> Path:
    """A SavedModel without a loss, whose input is not the placeholder but its parsed content."""
    tf, v1 = network.tf, network.v1
    with network.building():
        texts = v1.placeholder(tf.string, [None], name="texts")
        parsed = tf.reshape(tf.io.decode_raw(texts, tf.float32), [-1, 4], name="parsed")
        logits = network.dense(parsed, 3, "outputs", relu=False)
        tf.nn.softmax(logits, name="said")
        tf.strings.as_string(tf.argmax(logits, 1), name="named")
    with network.graph.as_default(), v1.Session() as session:
        session.run(v1.global_variables_initializer())
        tensors = {key: network.graph.get_tensor_by_name(name) for key, name in outputs.items()}
        v1.saved_model.simple_save(session, str(folder), {"pixels": parsed}, tensors)
    return folder


@pytest.mark.parametrize(
    ("outputs", "key", "arrays"),
    [
        ({"y": "outputs/BiasAdd:0"}, "y", ["rows", "outputs"]),
        ({"y": "outputs/BiasAdd:0", "classes": "named:0"}, "y", ["rows", "outputs"]),
        ({"a": "outputs/BiasAdd:0", "probabilities": "said:0"}, "probabilities", ["rows", "classes", "probabilities"]),
    ],
)
def test_a_signature_says_what_is_fed_and_given(
    new_network: Any, x: Any, tmp_path: Path, outputs: dict[str, str], key: str, arrays: list[str]
) -> None:
    folder = saved(new_network(), tmp_path / "saved", outputs)
    np.savez(tmp_path / "parsed.npz", parsed=x)
    found = predict(Model.open(folder), tmp_path / "parsed.npz", tmp_path / "out.npz")
    assert (found.tensor, found.why) == (outputs[key], f"the output {key} of the signature serving_default")
    assert list(arrays_of(tmp_path / "out.npz")) == arrays


def test_several_outputs_are_listed(new_network: Any, x: Any, tmp_path: Path) -> None:
    folder = saved(new_network(), tmp_path / "saved", {"a": "outputs/BiasAdd:0", "b": "said:0"})
    with pytest.raises(GraphError, match=r"match: a \(outputs/BiasAdd:0\), b \(said:0\); specify `tensor`"):
        predict(Model.open(folder), tmp_path / "rows.npz", tmp_path / "out.npz")


def test_labels_of_the_file_are_neither_needed_nor_taken_for_inputs(
    new_network: Any, x: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with new_network().building() as net:
        X = net.v1.placeholder(net.tf.float32, [None, 4], name="X")
        kind = net.v1.placeholder(net.tf.int64, [None], name="kind")
        net.classify(net.dense(X, 3, "outputs", relu=False), kind)
    model = Model.open(net.save(tmp_path / "kinds.ckpt"))
    lines = [",".join(map(str, row)) for row in x.tolist()]
    (tmp_path / "bare.csv").write_text("\n".join(["a,b,c,d", *lines]))
    (tmp_path / "kinds.csv").write_text("\n".join(["a,b,c,d,kind", *(f"{line}," for line in lines)]))
    for name in ("bare", "kinds"):
        predict(model, tmp_path / f"{name}.csv", tmp_path / f"{name}.npz")
    bare, kinds = (arrays_of(tmp_path / f"{name}.npz") for name in ("bare", "kinds"))
    assert list(bare) == ["rows", "classes", "probabilities", "logits"]
    np.testing.assert_array_equal(bare["classes"], kinds["classes"])


def test_outputs_are_refused_before_anything_is_computed(model: Model, x: Any, tmp_path: Path) -> None:
    (tmp_path / "out.npz").write_bytes(b"mine")
    with pytest.raises(ExistingOutput, match="`overwrite` replaces it"):
        predict(model, tmp_path / "rows.npz", tmp_path / "out.npz")
    assert (tmp_path / "out.npz").read_bytes() == b"mine"
    predict(model, tmp_path / "rows.npz", tmp_path / "out.npz", overwrite=True)
    assert len(arrays_of(tmp_path / "out.npz")["rows"]) == 50
    with pytest.raises(PlanError, match=r"out.txt: expected a name that ends in .npz or .csv"):
        predict(model, tmp_path / "rows.npz", tmp_path / "out.txt")
    with pytest.raises(DataError, match="no array for X"):
        np.savez(tmp_path / "other.npz", z=x)
        predict(model, tmp_path / "other.npz", tmp_path / "new.npz")
