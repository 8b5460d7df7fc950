"""`finetune`: its output, files and proofs; every wrong use is one line, and leaves no files."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.cli.show.progress import ProgressPrinter
from ckpttool.runtime.optimizers import Optimizer

EPOCH = ["--epochs", "1"]


def values(path: Path) -> dict[str, Any]:
    return {name: tensor.read() for name, tensor in checkpoint.open(path).items()}


def moved(before: Path, after: Path) -> set[str]:
    old, new = values(before), values(after)
    return {name for name in old.keys() & new.keys() if not np.array_equal(old[name], new[name])}


def test_a_run_prints_its_plan_a_line_per_epoch_and_what_it_proved(
    shell: Any, small: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tuned.ckpt"
    result = shell.run("finetune", small, "--data", data, "--freeze", "hidden1", "--epochs", "2", "-o", out)
    lines = result.stdout.splitlines()
    assert lines[0] == "hidden1\thidden1/kernel\t[4, 8]\trestored from hidden1/kernel\tfrozen"
    assert lines[5] == "outputs\toutputs/bias\t[3]\trestored from outputs/bias\ttrained"
    assert [line[:9] for line in lines[6:8]] == ["epoch   1", "epoch   2"]
    assert lines[8].startswith(f"{out}: epoch ")
    assert lines[8].endswith("; 2 frozen tensors are byte-equal")
    assert "data: y_train: int64 cast to int32 for y" in result.stderr
    written = ("data-00000-of-00001", "history.csv", "index", "lineage.json", "meta", "run.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"tuned.ckpt.{name}" for name in written]


def test_what_was_done_to_the_rows_is_said_once_for_all_stages(shell: Any, small: Path, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 255, (60, 4), np.uint8)
    np.savez(tmp_path / "bytes.npz", x_train=rows, y_train=rows[:, 0] % 3)
    run = ["finetune", small, "--data", tmp_path / "bytes.npz", "--stages", "outputs=1, .*=1"]
    said = shell.run(*run, "-o", tmp_path / "out.ckpt").stderr.splitlines()
    assert [line for line in said if "divided by 255" in line] == [
        "data: x_train: uint8 divided by 255 for the float input X; --preprocess specifies other steps"
    ]


def test_json_is_one_document(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned.ckpt"
    run = shell.json("finetune", small, "--data", data, "--train", "outputs", *EPOCH, "-o", out)
    assert run.keys() == {"plan", "history", "best_epoch", "kept_epoch", "cache", "unchanged"}
    assert run["plan"][0] == {
        "layer": "hidden1",
        "target": "hidden1/kernel",
        "shape": [4, 8],
        "source": "hidden1/kernel",
        "train": False,
    }
    figures = {"epoch", "loss", "valid_loss", "valid_accuracy", "seconds", "step", "learning_rate"}
    assert run["history"][0].keys() == figures
    assert (run["best_epoch"], run["cache"]) == (1, None)
    report = json.loads(Path(f"{out}.run.json").read_text())
    assert {"plan", "options", "data", "versions", "best_epoch", "history"} <= report.keys()
    assert report["history"] == run["history"]
    assert {"path", "fingerprint", "preprocessing"} <= report["data"].keys()


def test_a_plan_writes_nothing_and_needs_no_output(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    arguments = ["finetune", small, "--data", data, "--freeze", "hidden[12]", "--cache", "--cache-dir", tmp_path / "c"]
    assert [row["train"] for row in shell.json(*arguments, "--plan")] == [False] * 4 + [True] * 2
    assert len(shell.lines(*arguments, "--plan", "-o", tmp_path / "out")) == 6
    assert not list(tmp_path.iterdir())
    assert shell.error(*arguments) == "Missing option '-o' / '--output' (see main finetune --help)"


def test_the_chapters_network_goes_on_with_its_own_training_op(
    shell: Any, model: Path, tmp_path: Path, new_session: Any
) -> None:
    random = np.random.default_rng(3)
    x, y = random.random((40, 784)).astype(np.float32), random.integers(0, 10, 40)
    np.savez(tmp_path / "rows.npz", x_train=x, y_train=y, x_valid=x[:5], y_valid=y[:5])
    out = tmp_path / "tuned.ckpt"
    options = ["--train-op", "GradientDescent", "--batch-size", "40", "--keep", "last"]
    shell.run("finetune", model, "--data", tmp_path / "rows.npz", *options, *EPOCH, "-o", out)
    session = new_session(model, model)
    session.run("GradientDescent", {"X:0": x, "y:0": y})
    expected, found = session.weights(), values(out)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6)
    assert moved(model, out) == set(found)


def test_a_second_run_goes_on_with_the_slots(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    """Two runs of an epoch each equal one run of two: the momentum is kept between them."""
    options = ["--data", data, "--optimizer", "momentum", "--batch-size", "270", "--keep", "last"]
    first, second, whole = (tmp_path / name for name in ("first.ckpt", "second.ckpt", "whole.ckpt"))
    shell.run("finetune", small, *options, *EPOCH, "-o", first)
    shell.run("finetune", first, *options, *EPOCH, "-o", second)
    shell.run("finetune", small, *options, "--epochs", "2", "-o", whole)
    expected, found = values(whole), values(second)
    assert expected.keys() == found.keys()
    assert any(name.endswith("/Momentum") for name in found)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5)


def test_a_batch_larger_than_the_rows_is_all_of_them(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one.ckpt", tmp_path / "other.ckpt"
    for size, out in (("270", one), ("100000", other)):
        shell.run("finetune", small, "--data", data, "--batch-size", size, *EPOCH, "-o", out)
    assert not moved(one, other)


def test_two_rows_are_enough_and_one_is_with_a_row_to_validate(shell: Any, small: Path, tmp_path: Path) -> None:
    x, y = np.eye(2, 4, dtype=np.float32), np.array([0, 2])
    np.savez(tmp_path / "two.npz", x_train=x, y_train=y)
    np.savez(tmp_path / "one.npz", x_train=x[:1], y_train=y[:1], x_valid=x[1:], y_valid=y[1:])
    for name in ("two", "one"):
        shell.run("finetune", small, "--data", tmp_path / f"{name}.npz", *EPOCH, "-o", tmp_path / name)
        assert "outputs/kernel" in moved(small, tmp_path / name)


def test_the_first_rows_validate_as_the_chapter_has_it(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    shell.run("finetune", small, "--data", data, "--valid", "100", *EPOCH, "-o", tmp_path / "out")
    report = json.loads((tmp_path / "out.run.json").read_text())
    assert report["data"]["rows"] == {"train": 200, "valid": 100}


def test_one_hot_labels_train_a_graph_that_takes_them(shell: Any, new_network: Any, data: Path, tmp_path: Path) -> None:
    with new_network().building() as net:
        X = net.v1.placeholder("float32", [None, 4], name="X")
        y = net.v1.placeholder("float32", [None, 3], name="y")
        logits = net.dense(net.dense(X, 5, "hidden1"), 3, "outputs", relu=False)
        loss = net.tf.nn.softmax_cross_entropy_with_logits(labels=y, logits=logits)
        net.v1.train.GradientDescentOptimizer(0.1).minimize(net.tf.reduce_mean(loss, name="loss"))
    source, rows = net.save(tmp_path / "hot.ckpt"), np.load(data, allow_pickle=False)
    np.savez(tmp_path / "hot.npz", x_train=rows["x_train"], y_train=np.eye(3)[rows["y_train"]])
    np.savez(tmp_path / "four.npz", x_train=rows["x_train"], y_train=np.eye(4)[rows["y_train"]])
    shell.run("finetune", source, "--data", tmp_path / "hot.npz", *EPOCH, "-o", tmp_path / "out")
    assert "hidden1/kernel" in moved(source, tmp_path / "out")
    for name, found in (("four", "[4]"),):
        message = shell.error("finetune", source, "--data", tmp_path / f"{name}.npz", "-o", tmp_path / "none")
        assert message == f"{tmp_path}/four.npz: y_train has rows of {found}, expected rows of [3] for y"
    result = shell.run("finetune", source, "--data", data, *EPOCH, "-o", tmp_path / "numbers")
    assert "data: y_train: class numbers as rows of 3, one of them 1, for y" in result.stderr


ROWS = {"x_train": np.ones((20, 4), np.float32), "y_train": np.arange(20) % 3}


@pytest.mark.parametrize("command", ["finetune", "evaluate", "cache"])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x_train": np.ones((20, 5), np.float32)}, "x_train has rows of [5], expected rows of [4] for X"),
        ({"x_train": np.full((20, 4), np.nan)}, "x_train row 0 has nan, expected finite numbers"),
        ({"x_train": np.full((20, 4), "1.0")}, "x_train is text, expected float32 for X"),
        ({"x_train": np.full((20, 4), 1e300)}, "x_train row 0 has 1e+300, expected a value in the range of float32"),
        ({"y_train": np.full(20, "1")}, "y_train is text, expected int32 for y"),
        ({"y_train": np.full(20, 0.5)}, "y_train row 0 has 0.5, expected a value in the range of int32"),
        ({"y_train": np.eye(3)[np.arange(20) % 3] / 2}, "y_train has rows of [3], expected rows of [] for y"),
        ({"y_train": np.arange(19) % 3}, "x_train has 20 rows, y_train has 19 rows; expected as many of each"),
    ],
)
def test_data_that_do_not_fit_are_refused(
    shell: Any, small: Path, tmp_path: Path, command: str, changed: dict[str, Any], message: str
) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, **(ROWS | changed))
    more = {"finetune": ["-o", tmp_path / "o"], "cache": ["--freeze", "hidden1", "--cache-dir", tmp_path / "c"]}
    found = shell.error(command, small, "--data", path, *more.get(command, []))
    assert re.sub(r"row \d+ has", "row 0 has", found) == f"{path}: {message}"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("command", ["finetune", "evaluate", "cache"])
def test_files_that_are_no_data_are_refused(shell: Any, small: Path, data: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "half.npz").write_bytes(data.read_bytes()[:2000])
    np.savez(tmp_path / "no_labels.npz", x_train=ROWS["x_train"])
    np.savez(tmp_path / "nothing.npz")
    before = sorted(tmp_path.iterdir())
    refusals = {
        "none.npz": ": no such file; data are .npz, .npy, IDX, HDF5, .csv, .parquet, .tfrecord, "
        "folders of these or of images by class, keras:NAME",
        "text.npz": " is not a .npz file of data, expected one as numpy.savez writes it",
        "half.npz": ": the zip file is damaged or truncated: File is not a zip file",
        "nothing.npz": ": no array for X: expected X_train or x_train or X or x, found nothing",
        "no_labels.npz": ": no array for y: expected y_train or Y_train, found x_train [20, 4] float32",
    }
    more = {"finetune": ["-o", tmp_path / "o"], "cache": ["--freeze", "hidden1", "--cache-dir", tmp_path / "c"]}
    for name, refusal in refusals.items():
        path = tmp_path / name
        assert shell.error(command, small, "--data", path, *more.get(command, [])) == f"{path}{refusal}"
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--freeze", "hidn1"], "pattern 'hidn1' matches nothing; nearest: hidden1, hidden2, hidden1/bias"),
        (["--train", "hidn1"], "pattern 'hidn1' matches nothing; nearest: hidden1, hidden2, hidden1/bias"),
        (["--freeze", ".*"], "{small}.meta: no layer is left to train: all 6 weights are frozen"),
        (["--train", "outputs", "--freeze", "outputs"],
         "{small}.meta: no layer is left to train: all 6 weights are frozen"),
        (["--cache"], "--cache needs frozen layers: name them with --freeze, or the trained ones with --train"),
        (["--loss", "los"], "{small}.meta: --loss los: no such op or tensor"),
        (["--loss", "X"], "{small}.meta: the loss X:0 is computed without any weight; name another with --loss"),
        (["--inputs", "dnn/hidden1/Relu"], "{data}: x_train has rows of [4], expected rows of [8] for dnn/hidden1/R"),
        (["--labels", "loss/loss"], "{small}.meta: the loss loss/loss:0 is computed without any weight"),
        (["--training", "X"], "{small}.meta: --training X is a Placeholder, expected a boolean placeholder"),
        (["--train-op", "Adam"], "{small}.meta: --train-op Adam: no such op; the graph has "),
        (["--train-op", "loss/loss"], "{small}.meta: --train-op loss/loss trains no variable; it has "),
        (["--optimizer", "adm"], f"no optimizer adm; known: {', '.join(Optimizer.known())}; nearest: adam, adamw"),
        (["--lr", "nan"], "--lr must be a number above 0, found nan"),
        (["--batch-size", "0"],
         "Invalid value for '--batch-size': 0 is not in the range x>=1 (see main finetune --help)"),
        (["--valid", "300"], "{data}: 300 of 300 rows for validation, expected 1 to 299"),
    ],
)  # fmt: skip
def test_wrong_uses_are_refused(
    shell: Any, small: Path, data: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    found = shell.error("finetune", small, "--data", data, *options, "-o", tmp_path / "o")
    assert found.startswith(message.format(small=small, data=data))
    assert not list(tmp_path.iterdir())


def test_tensors_that_cannot_be_what_they_are_said_to_be(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    """Errors found only by running the graph are one line too, with the graph and the tensor."""

    def refusal(*options: str) -> str:
        result = shell.run("finetune", small, "--data", data, *options, "-o", tmp_path / "o", exit_code=2)
        assert not list(tmp_path.iterdir())
        return str(result.stderr.splitlines()[-1])

    assert f"{small}.meta: loss/loss:5: loss/loss is a Mean, which has 1 output" in refusal("--loss", "loss/loss:5")
    assert "nothing feeds X: no role of --inputs" in refusal("--inputs", "y")
    assert "dnn/outputs/BiasAdd:0 is [30, 3], expected one number" in refusal("--accuracy", "dnn/outputs/BiasAdd")


@pytest.mark.parametrize("rate", ["1e30", "1e38"])
def test_weights_that_are_no_numbers_are_never_written(
    shell: Any, small: Path, data: Path, tmp_path: Path, rate: str
) -> None:
    """One batch per epoch: the loss before the step is fine, so only the validation detects it."""
    options = ["--data", data, "--lr", rate, "--batch-size", "270", *EPOCH]
    result = shell.run("finetune", small, *options, "-o", tmp_path / "o", exit_code=2)
    assert "loss became" in result.stderr and "epoch 1" in result.stderr
    assert "try a lower --lr, or --clip-norm. The last good weights are" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_stopped_says_how_to_go_on(
    shell: Any, small: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProgressPrinter, "on_progress", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    out, saved = tmp_path / "out.ckpt", tmp_path / "out.ckpt.saves" / "step-00000001.ckpt"
    command = ["finetune", small, "--data", data, "--epochs", "3", "--batch-size", "200", "-o", out]
    result = shell.run(*command, exit_code=128 + signal.SIGTERM)
    stopped = f"Error: stopped after epoch 1, saved as {saved}; the same command with --resume resumes\n"
    assert result.stderr.endswith(stopped)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.ckpt.history.csv", "out.ckpt.saves"]
    monkeypatch.undo()
    message = f"{saved.parent} has saves of a run: resume with --resume, or --overwrite them"
    assert shell.error(*command) == message
    assert "batch_size was 200, now 50" in shell.error(*command, "--batch-size", "50", "--resume")
    lines = shell.run(*command, "--resume").stdout.splitlines()
    assert [line[:9] for line in lines if line.startswith("epoch")] == ["epoch   2", "epoch   3"]
    written = ("data-00000-of-00001", "history.csv", "index", "lineage.json", "meta", "run.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"out.ckpt.{name}" for name in written]


def test_the_line_of_a_job_that_may_be_stopped_is_the_same_at_every_start(
    shell: Any, small: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.ckpt"
    command = ["finetune", small, "--data", data, "--epochs", "2", "--batch-size", "200", "-o", out, "--resume"]
    monkeypatch.setattr(ProgressPrinter, "on_progress", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    first = shell.run(*command, exit_code=128 + signal.SIGTERM)
    assert f"{out}.saves: nothing was saved yet: the run starts from the beginning\n" in first.stderr
    monkeypatch.undo()
    second = shell.run(*command)
    assert "nothing was saved yet" not in second.stderr
    assert [line[:9] for line in second.stdout.splitlines() if line.startswith("epoch")] == ["epoch   2"]


def test_the_model_itself_is_never_the_output(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.ckpt"
    shell.run("reuse", small, "--layers", ".*", "-o", own)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for name in (own, f"{own}.index", f"{own}.meta"):
        message = shell.error("finetune", name, "--data", data, "-o", own, "--overwrite")
        assert message == f"{own} is the model itself, which the result is compared with: write it elsewhere"
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_existing_report_is_not_overwritten(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "out.run.json").write_text("mine")
    message = shell.error("finetune", small, "--data", data, "-o", tmp_path / "out")
    assert message == f"{tmp_path}/out.run.json exists already; --overwrite replaces it"
    shell.run("finetune", small, "--data", data, *EPOCH, "-o", tmp_path / "out", "--overwrite")
    assert json.loads((tmp_path / "out.run.json").read_text())["best_epoch"] == 1


@pytest.mark.parametrize("resource", [False, True], ids=["reference", "resource"])
def test_partitioned_variables_are_trained_frozen_and_reused(
    shell: Any, new_network: Any, data: Path, tmp_path: Path, new_session: Any, resource: bool
) -> None:
    net = new_network(resource)
    with net.building():
        X, y, _ = net.inputs()
        with net.v1.variable_scope("", partitioner=net.v1.fixed_size_partitioner(2), use_resource=resource):
            layer = X
            for name, units in (("hidden1", 6), ("outputs", 3)):
                with net.v1.variable_scope(name):
                    kernel = net.v1.get_variable("kernel", [layer.shape[1], units])
                    bias = net.v1.get_variable("bias", [units])
                    layer = net.tf.matmul(layer, net.tf.convert_to_tensor(kernel)) + net.tf.convert_to_tensor(bias)
                    layer = net.tf.nn.relu(layer, name="Relu") if name == "hidden1" else layer
        net.classify(layer, y, net.v1.train.MomentumOptimizer(0.1, 0.9))
    source = net.save(tmp_path / "parts.ckpt")
    tuned, headed = tmp_path / "tuned.ckpt", tmp_path / "headed.ckpt"
    rows = shell.json("finetune", source, "--data", data, "--freeze", "hidden1", *EPOCH, "-o", tuned)["plan"]
    assert [(row["target"], row["shape"], row["train"]) for row in rows] == [
        ("hidden1/kernel", [4, 6], False),
        ("hidden1/bias", [6], False),
        ("outputs/kernel", [6, 3], True),
        ("outputs/bias", [3], True),
    ]
    assert {name for name in moved(source, tuned) if "Momentum" not in name} == {"outputs/kernel", "outputs/bias"}
    options = ["--layers", "hidden1", "--head", "new = dense(3)", "--freeze", "hidden1", "-o", headed]
    assert [row["train"] for row in shell.json("reuse", tuned, *options)] == [False, False, True, True]
    session = new_session(headed, headed)
    before = session.weights()
    session.run("GradientDescent", {"X:0": np.ones((2, 4), np.float32), "y:0": [0, 1]})
    after = session.weights()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"new/kernel", "new/bias", "global_step"}
    same = tmp_path / "same.ckpt"
    shell.run("reuse", tuned, "--layers", "hidden1", "-o", same)
    np.testing.assert_array_equal(values(same)["hidden1/kernel"], values(source)["hidden1/kernel"])
