"""`new`: a new model from the shell, run by a plain TensorFlow program; bad layers, shapes and rates are rejected."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.runtime.optimizers import Optimizer
from ckpttool.runtime.schedules import Schedule
from ckpttool.runtime.spec import Layer

SPEC = "hidden1 = dense(5, leaky_relu(0.2), init=he); outputs = dense(3)"


def test_the_plan_is_printed_and_the_model_written(shell: Any, tmp_path: Path) -> None:
    out = tmp_path / "new.ckpt"
    assert shell.lines("new", "--input", "4", "--layers", SPEC, "-o", out) == [
        "hidden1\thidden1/kernel\t[4, 5]\tnewly initialised\ttrained",
        "hidden1\thidden1/bias\t[5]\tnewly initialised\ttrained",
        "outputs\toutputs/kernel\t[5, 3]\tnewly initialised\ttrained",
        "outputs\toutputs/bias\t[3]\tnewly initialised\ttrained",
    ]
    assert {name: tensor.shape for name, tensor in checkpoint.open(out).items()} == {
        "global_step": (),
        "hidden1/bias": (5,),
        "hidden1/kernel": (4, 5),
        "outputs/bias": (3,),
        "outputs/kernel": (5, 3),
    }


def test_a_plain_tensorflow_program_restores_runs_and_trains_it(shell: Any, tmp_path: Path, new_session: Any) -> None:
    out = tmp_path / "new.ckpt"
    shell.run("new", "--input", "4", "--layers", SPEC, "--optimizer", "momentum", "-o", out)
    session = new_session(out, out)
    weights = session.weights()
    x = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    hidden = x @ weights["hidden1/kernel"] + weights["hidden1/bias"]
    hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
    logits = hidden @ weights["outputs/kernel"] + weights["outputs/bias"]
    feed = {"X:0": x, "y:0": np.arange(6) % 3}
    np.testing.assert_allclose(session.run("dnn/outputs/BiasAdd:0", feed), logits, rtol=1e-5, atol=1e-6)
    shifted = logits - logits.max(axis=1, keepdims=True)
    loss = np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(6), np.arange(6) % 3])
    assert session.run("loss/loss:0", feed) == pytest.approx(loss, rel=1e-5)
    hits = np.mean(logits.argmax(axis=1) == np.arange(6) % 3)
    assert session.run("eval/accuracy:0", feed) == pytest.approx(hits)
    before = session.run("loss/loss:0", feed)
    session.run("Momentum", feed)
    assert session.run("loss/loss:0", feed) < before
    assert {"hidden1/kernel/Momentum", "outputs/bias/Momentum"} <= set(session.weights())


def test_one_seed_gives_one_model(shell: Any, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        shell.run("new", "--input", "4", "--layers", SPEC, "--seed", seed, "-o", tmp_path / name)
    a, b, c = (checkpoint.open(tmp_path / name)["hidden1/kernel"].read() for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_json(shell: Any, tmp_path: Path) -> None:
    rows = shell.json("new", "--input", "4", "--layers", "outputs = dense(3, bias=False)", "-o", tmp_path / "o")
    assert rows == [{"layer": "outputs", "target": "outputs/kernel", "shape": [4, 3], "source": None, "train": True}]


@pytest.mark.parametrize(
    "name", ["X", "y", "dnn", "loss", "eval", "save", "GradientDescent", "gradients", "logits", "learning_rate"]
)
def test_a_layer_may_bear_the_name_of_an_op(shell: Any, data: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "named.ckpt"
    shell.run("new", "--input", "4", "--layers", f"{name} = dense(3)", "-o", out)
    assert set(checkpoint.open(out)) == {f"{name}/kernel", f"{name}/bias", "global_step"}
    assert shell.json("evaluate", out, "--data", data)["rows"] == 60


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            ["--layers", "outputs = dens(3)"],
            "--layers, line 1, column 11, at 'dens(3)': no layer dens; "
            f"known: {', '.join(Layer.known())}; nearest: dense",
        ),
        (
            ["--layers", "outputs = dense(3"],
            "--layers, line 1, column 16, at 'outputs = dense(3': '(' was never closed",
        ),
        (["--layers", ""], "--layers: expected a layer such as hidden4 = dense(20, relu)"),
        (
            ["--input", "28,28,1"],
            "outputs: dense needs inputs of [rows, units], X:0 is (None, 28, 28, 1); "
            "put flatten() or global_avg_pool() before it",
        ),
        (
            ["--input", "0"],
            "Invalid value for '--input': '0' is not a shape such as 784 or 28x28x1 (see main new --help)",
        ),
        (["--optimizer", "momntum"], f"no optimizer momntum; known: {', '.join(Optimizer.known())}; nearest: momentum"),
        (["--lr", "nan"], "--lr must be a number above 0, found nan"),
        (["--lr", "inf"], "--lr must be a number above 0, found inf"),
        (["--lr", "-1"], "--lr must be a number above 0, found -1"),
        (
            ["--optimizer", "momentum(0.1, 1.5)"],
            "--optimizer momentum: momentum must be a number from 0 to 1, found 1.5",
        ),
        (
            ["--optimizer", "sgd(0.1, rate=2)"],
            "--optimizer, line 1, column 10, at 'rate=2': sgd has no argument 'rate'; there are learning_rate",
        ),
        (["--schedule", "cosin"], f"no schedule cosin; known: {', '.join(Schedule.known())}; nearest: cosine"),
        (
            ["--schedule", "cosine"],
            "--schedule cosine: the length of the run is not known here, specify it: cosine(steps=1000)",
        ),
        (
            ["--max-norm", "outputs/bias=1"],
            "--max-norm 'outputs/bias=1.0': expected a kernel, of rank 2 or more, found outputs/bias",
        ),
        (["--clip-value", "0"], "--clip-value must be a number above 0, found 0"),
        (["--seed", "-1"], "Invalid value for '--seed': -1 is not in the range 0<=x<=2147483647 (see main new --help)"),
    ],
)
def test_what_makes_no_model_is_refused(shell: Any, tmp_path: Path, changed: list[str], message: str) -> None:
    arguments = ["new", "--input", "4", "--layers", "outputs = dense(3)", "-o", tmp_path / "o"]
    assert shell.error(*arguments, *changed) == message
    assert not list(tmp_path.iterdir())


def test_an_existing_output_stays(shell: Any, tmp_path: Path) -> None:
    out = tmp_path / "new.ckpt"
    arguments = ["new", "--input", "4", "--layers", SPEC, "-o", out]
    shell.run(*arguments)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert shell.error(*arguments) == f"{out}.meta exists already; --overwrite replaces it"
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    shell.run(*arguments, "--overwrite", "--seed", "9")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} != before
