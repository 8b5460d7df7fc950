"""`evaluate`: loss and accuracy as computed by NumPy, of which rows, from prefixes and SavedModel folders."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.cli.show.cells import cell


def outputs(path: Path, x: Any) -> Any:
    """The logits of the small network 4-8-6-3."""
    found = {name: tensor.read() for name, tensor in checkpoint.open(path).items()}
    layer = np.maximum(x @ found["hidden1/kernel"] + found["hidden1/bias"], 0)
    layer = layer @ found["hidden2/kernel"] + found["hidden2/bias"]
    layer = np.where(layer > 0, layer, np.expm1(layer))
    return layer @ found["outputs/kernel"] + found["outputs/bias"]


def scores(path: Path, x: Any, y: Any) -> tuple[float, float]:
    """Its loss and accuracy."""
    logits = outputs(path, x)
    chosen = logits[np.arange(len(y)), y]
    return float(np.mean(np.log(np.exp(logits).sum(1)) - chosen)), float(np.mean(logits.argmax(1) == y))


@pytest.mark.parametrize(
    ("options", "name", "rows"),
    [
        ([], "test", slice(None)),
        (["--split", "test"], "test", slice(None)),
        (["--split", "train"], "train", slice(None)),
        (["--split", "valid", "--valid", "first:40"], "train", slice(0, 40)),
        (["--split", "train", "--valid", "first:40"], "train", slice(40, None)),
    ],
)
def test_the_rows_that_are_asked_for(
    shell: Any, small: Path, data: Path, options: list[str], name: str, rows: slice
) -> None:
    arrays = np.load(data, allow_pickle=False)
    x, y = arrays[f"x_{name}"][rows], arrays[f"y_{name}"][rows]
    loss, accuracy = scores(small, x, y)
    found = shell.json("evaluate", small, "--data", data, *options)
    assert (found["rows"], found["loss"], found["accuracy"]) == (
        len(y),
        pytest.approx(loss, rel=1e-5),
        pytest.approx(accuracy),
    )
    line = f"{len(y)} rows: loss {found['loss']:.4f}, accuracy {found['accuracy']:.4f}"
    assert shell.lines("evaluate", small, "--data", data, *options)[0] == line


def counted(small: Path, data: Path) -> tuple[Any, list[dict[str, Any]]]:
    """The confusion matrix of the test rows, and the metrics of each class, computed with NumPy."""
    arrays = np.load(data, allow_pickle=False)
    y, said = arrays["y_test"], outputs(small, arrays["x_test"]).argmax(1)
    table = np.array([[int(((y == true) & (said == other)).sum()) for other in range(3)] for true in range(3)])
    wrong = table * (1 - np.eye(3, dtype=int))
    classes = [
        {
            "class": number,
            "rows": int((y == number).sum()),
            "accuracy": pytest.approx((said[y == number] == number).mean()),
            "precision": pytest.approx((y[said == number] == number).mean()) if (said == number).any() else None,
            "taken_for": int(wrong[number].argmax()) if wrong[number].any() else None,
        }
        for number in range(3)
    ]
    return table, classes


def test_each_class_has_its_figures(shell: Any, small: Path, data: Path) -> None:
    found = shell.json("evaluate", small, "--data", data)
    table, classes = counted(small, data)
    assert (found["confusion"], found["classes"]) == (table.tolist(), classes)
    assert list(found) == ["rows", "loss", "accuracy", "classes", "confusion"]


def test_a_pipe_gets_a_line_for_each_class(shell: Any, small: Path, data: Path) -> None:
    found = [line.split("\t") for line in shell.lines("evaluate", small, "--data", data)[1:]]
    classes = shell.json("evaluate", small, "--data", data)["classes"]
    assert found == [[cell(value) for value in row.values()] for row in classes]


def test_a_terminal_gets_the_confusion_table(
    shell: Any, small: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CKPTTOOL_TABLE", "1")
    lines = shell.lines("evaluate", small, "--data", data)
    assert lines[1].split() == ["class", "rows", "recall", "precision", "confused_with"]
    blank = lines.index("")
    assert [line.split() for line in lines[blank + 1 :]] == [
        ["class", "0", "1", "2"],
        *([str(number), *map(str, row)] for number, row in enumerate(counted(small, data)[0].tolist())),
    ]


def test_labels_and_numbers_have_figures_of_their_own(shell: Any, tmp_path: Path) -> None:
    for objective, figures in (("sigmoid", 5), ("mse", 2)):
        out = tmp_path / f"{objective}.ckpt"
        shell.run("new", "--input", "4", "--layers", "outputs = dense(2)", "--objective", objective, "-o", out)
        np.savez(tmp_path / "rows.npz", X=np.ones((3, 4), np.float32), y=np.eye(3, 2))
        lines = shell.lines("evaluate", out, "--data", tmp_path / "rows.npz")
        assert [len(line.split("\t")) for line in lines] == [1, figures, figures]


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
        (["--inputs", "loss/loss"], "{data}: x_test has rows of [4], expected a single value for loss/loss"),
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
    """As written by TensorFlow 1's `simple_save`: evaluated, reused and trained as its checkpoint would be."""
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


def test_a_plot_has_a_title_and_axes(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    plot = tmp_path / "confusion.svg"
    shell.run("evaluate", small, "--data", data, "--plot", plot)
    assert {"predicted class", "true class", "share of rows"} <= set(re.findall("<!-- (.*?) -->", plot.read_text()))
    assert f"{small.name}: " in plot.read_text()
    assert "exists already" in shell.error("evaluate", small, "--data", data, "--plot", plot)
    assert "expected a name that ends with" in shell.error(
        "evaluate", small, "--data", data, "--plot", tmp_path / "a.b"
    )
