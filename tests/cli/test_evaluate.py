"""`evaluate`: loss and accuracy as NumPy works them out, of which rows, from prefixes and SavedModel folders."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint


def scores(path: Path, x: Any, y: Any) -> tuple[float, float]:
    """What the small network 4-8-6-3 makes of some rows."""
    found = {name: tensor.read() for name, tensor in checkpoint.open(path).items()}
    layer = np.maximum(x @ found["hidden1/kernel"] + found["hidden1/bias"], 0)
    layer = layer @ found["hidden2/kernel"] + found["hidden2/bias"]
    layer = np.where(layer > 0, layer, np.expm1(layer))
    logits = layer @ found["outputs/kernel"] + found["outputs/bias"]
    chosen = logits[np.arange(len(y)), y]
    return float(np.mean(np.log(np.exp(logits).sum(1)) - chosen)), float(np.mean(logits.argmax(1) == y))


@pytest.mark.parametrize(
    ("options", "name", "rows"),
    [
        ([], "test", slice(None)),
        (["--split", "test"], "test", slice(None)),
        (["--split", "train"], "train", slice(None)),
        (["--split", "valid", "--valid", "40"], "train", slice(0, 40)),
        (["--split", "train", "--valid", "40"], "train", slice(40, None)),
    ],
)
def test_the_rows_that_are_asked_for(
    shell: Any, small: Path, data: Path, options: list[str], name: str, rows: slice
) -> None:
    arrays = np.load(data, allow_pickle=False)
    x, y = arrays[f"x_{name}"][rows], arrays[f"y_{name}"][rows]
    loss, accuracy = scores(small, x, y)
    found = shell.json("evaluate", small, "--data", data, *options)
    assert found == {"rows": len(y), "loss": pytest.approx(loss, rel=1e-5), "accuracy": pytest.approx(accuracy)}
    line = f"{len(y)} rows: loss {found['loss']:.4f}, accuracy {found['accuracy']:.4f}"
    assert shell.lines("evaluate", small, "--data", data, *options) == [line]


@pytest.mark.parametrize("suffix", [".index", ".meta", ".data-00000-of-00001"])
def test_any_of_the_files_names_the_model(shell: Any, small: Path, data: Path, suffix: str) -> None:
    whole = shell.json("evaluate", small, "--data", data)
    assert shell.json("evaluate", f"{small}{suffix}", "--data", data) == whole


def test_one_row(shell: Any, small: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", X=np.ones((1, 4), np.float32), y=np.array([2]))
    assert shell.json("evaluate", small, "--data", tmp_path / "one.npz")["rows"] == 1


def test_bytes_are_scaled_and_it_says_so(shell: Any, small: Path, tmp_path: Path) -> None:
    x, y = np.arange(40, dtype=np.uint8).reshape(10, 4), np.arange(10) % 3
    np.savez(tmp_path / "bytes.npz", x_test=x, y_test=y)
    result = shell.run("evaluate", small, "--data", tmp_path / "bytes.npz", "--json")
    assert "x_test: uint8 divided by 255 for the float input X" in result.stderr
    assert f'"loss": {scores(small, x / 255, y)[0]:.4f}' in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "valid"], "{data}: no array for X: expected X_valid or x_valid, found x_train"),
        (["--accuracy", "dnn/outputs/BiasAdd"],
         "{small}.meta: dnn/outputs/BiasAdd:0 is [60, 3], expected one number: a mean over rows"),
        (["--loss", "nothing"], "{small}.meta: --loss nothing: no such op or tensor"),
        (["--inputs", "loss/loss"], "{small}.meta: loss/loss is a Mean, expected a placeholder"),
    ],
)  # fmt: skip
def test_wrong_uses_are_refused(shell: Any, small: Path, data: Path, options: list[str], message: str) -> None:
    found = shell.error("evaluate", small, "--data", data, *options)
    assert found.startswith(message.format(small=small, data=data))


def test_a_label_without_an_output_is_named(shell: Any, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, x_test=np.ones((3, 4), np.float32), y_test=np.array([0, 1, 3]))
    message = f"{path}: y_test row 2 is 3, expected 0 to 2: the model has 3 outputs"
    assert shell.error("evaluate", small, "--data", path) == message


def test_a_saved_model_folder_is_a_model(shell: Any, new_network: Any, data: Path, tmp_path: Path) -> None:
    """As TensorFlow 1's `simple_save` writes it: evaluated, reused and trained as its checkpoint would be."""
    net = new_network()
    with net.building():
        X, y, _ = net.inputs()
        logits = net.dense(net.dense(X, 5, "hidden1"), 3, "outputs", relu=False)
        net.classify(logits, y, net.v1.train.GradientDescentOptimizer(0.1))
    folder = tmp_path / "saved"
    with net.graph.as_default(), net.v1.Session() as session:
        session.run(net.v1.global_variables_initializer())
        net.v1.saved_model.simple_save(session, str(folder), {"X": X}, {"logits": logits})
        rows = np.load(data, allow_pickle=False)
        loss = session.run("loss/loss:0", {"X:0": rows["x_test"], "y:0": rows["y_test"]})
    assert shell.json("evaluate", folder, "--data", data)["loss"] == pytest.approx(float(loss), rel=1e-5)
    options = ["--layers", "hidden1", "--head", "new = dense(3)", "-o", tmp_path / "reused.ckpt"]
    assert [row["source"] for row in shell.json("reuse", folder, *options)][1:3] == ["hidden1/bias", None]
    shell.run("finetune", folder, "--data", data, "--epochs", "1", "-o", tmp_path / "tuned.ckpt")
    assert shell.json("evaluate", tmp_path / "tuned.ckpt", "--data", data)["loss"] < loss
