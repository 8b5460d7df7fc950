"""Rules with transforms: kernels are transposed if a rule, or the op that reads them, requires it; never silently."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ckpttool import checkpoint
from ckpttool.graph.files import load
from ckpttool.runtime.configure import tensorflow

SQUARE = np.arange(9, dtype=np.float32).reshape(3, 3)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Square kernels in a dense layer, a depthwise and a transposed convolution, a table, and an output layer."""
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default():
        images = tf1.placeholder(tf1.float32, (2, 4, 4, 3))
        x = tf1.nn.conv2d(images, tf1.get_variable("conv/kernel", (3, 3, 3, 3)), 1, "SAME")
        x = tf1.nn.depthwise_conv2d(x, tf1.get_variable("depth/kernel", (2, 2, 3, 1)), (1, 1, 1, 1), "SAME")
        x = tf1.nn.conv2d_transpose(x, tf1.get_variable("up/kernel", (2, 2, 5, 3)), (2, 8, 8, 5), 2)
        table = tf1.get_variable("embed/embeddings", (3, 3))
        rows = tf1.gather(table, tf1.placeholder(tf1.int32, (2,)))
        rows = tf1.matmul(rows, tf1.get_variable("fc/kernel", (3, 3))) + tf1.get_variable("fc/bias", (3,))
        tf1.matmul(rows, table, transpose_b=True)
        tf1.train.Saver()
        tf1.train.export_meta_graph(str(tmp_path / "graph.meta"))
    return tmp_path / "graph.meta"


def arrays() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    shapes = {"conv": (3, 3, 3, 3), "depth": (3, 1, 2, 2), "up": (3, 5, 2, 2)}
    found = {f"{name}.weight": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return found | {"embed.weight": SQUARE + 1, "fc.weight": SQUARE, "fc.bias": SQUARE[0]}


def saved(path: Path, values: dict[str, Any]) -> Path:
    torch.save({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in values.items()}, path)
    return path


def test_the_ready_set_of_pytorch_asks_the_ops(shell: Any, graph: Path, tmp_path: Path) -> None:
    weights, out = saved(tmp_path / "model.pt", arrays()), tmp_path / "out.ckpt"
    shell.run("import", weights, "--into", graph, "--rules", "pytorch", "-o", out)
    found = {name: tensor.read() for name, tensor in checkpoint.open(out).items()}
    source = arrays()
    expected = {
        "conv/kernel": source["conv.weight"].transpose(2, 3, 1, 0),
        "depth/kernel": source["depth.weight"].transpose(2, 3, 0, 1),
        "up/kernel": source["up.weight"].transpose(2, 3, 1, 0),
        "embed/embeddings": SQUARE + 1,
        "fc/kernel": SQUARE.T,
        "fc/bias": SQUARE[0],
    }
    assert {name: value.tolist() for name, value in found.items()} == {
        name: value.tolist() for name, value in expected.items()
    }


@pytest.mark.parametrize(("transform", "expected"), [("dense", SQUARE.T), ("keep", SQUARE), ("auto", SQUARE.T)])
def test_a_square_kernel_of_pytorch_needs_a_transform(
    shell: Any, tmp_path: Path, transform: str, expected: Any
) -> None:
    """Its shape fits either way, and the wrong one has other outputs."""
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default():
        tf1.matmul(tf1.placeholder(tf1.float32, (None, 3)), tf1.get_variable("fc/kernel", (3, 3)))
        tf1.train.export_meta_graph(str(tmp_path / "fc.meta"))
    weights, rules = saved(tmp_path / "fc.pt", {"fc.weight": SQUARE}), tmp_path / "rules.toml"
    table = "[[rule]]\nfrom = 'fc\\.weight'\nto = 'fc/kernel'\n"
    rules.write_text(table)
    how = ["import", weights, "--into", tmp_path / "fc.meta", "--rules", rules, "-o", tmp_path / "fc.ckpt"]
    line = shell.error(*how)
    assert line.startswith("fc.pt: fc.weight is [3, 3] either way, and fc/kernel in fc.meta is a kernel, which PyTorch")
    assert "transform = 'dense', or 'keep'" in line
    rules.write_text(f"{table}transform = '{transform}'\n")
    result = shell.run(*how)
    assert ("by dense" in result.stdout) == (transform != "keep")
    assert checkpoint.open(tmp_path / "fc.ckpt")["fc/kernel"].read().tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (
            "from = 'up\\.weight'\nto = 'up/kernel'\ntransform = 'dense'",
            "up.weight: dense: found [3, 5, 2, 2], expected [outputs, inputs]: transform = 'conv'",
        ),
        (
            "from = 'up\\.weight'\nto = 'conv/kernel'\ntransform = 'conv'",
            "up.weight is [3, 5, 2, 2], by conv [2, 2, 5, 3], conv/kernel in graph.meta is [3, 3, 3, 3] (and",
        ),
        (
            "from = ['up\\.weight', 'up\\.bias']\nto = 'up/kernel'",
            "up.weight up.bias: a rule with several tensors needs a transform",
        ),
        (
            "from = 'up\\.weight'\nto = ['up/kernel', 'fc/bias']\ntransform = 'conv'",
            "up.weight: conv makes 1 tensor, but the rule names 2",
        ),
    ],
)
def test_what_does_not_fit_under_a_layout(shell: Any, graph: Path, tmp_path: Path, rule: str, problem: str) -> None:
    values = {"up.weight": arrays()["up.weight"], "up.bias": np.zeros(5, np.float32)}
    weights, rules = saved(tmp_path / "model.pt", values), tmp_path / "rules.toml"
    rules.write_text(f"[[rule]]\n{rule}\n[[rule]]\nfrom = 'up\\..*'\ndrop = true\noptional = true\n")
    line = shell.error("import", weights, "--into", graph, "--rules", rules, "-o", tmp_path / "out.ckpt")
    assert line.startswith(f"model.pt: {problem}")


@pytest.mark.parametrize(("order", "expected"), [((0, 1), SQUARE.T), ((1, 0), SQUARE)])
def test_a_matrix_that_the_graph_transposes(shell: Any, tmp_path: Path, order: Any, expected: Any) -> None:
    """Old versions of tensordot transpose a kernel to their own order; another transpose gives PyTorch's layout."""
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default():
        kernel = tf1.transpose(tf1.get_variable("fc/kernel", (3, 3)), order)
        tf1.matmul(tf1.placeholder(tf1.float32, (None, 3)), tf1.reshape(kernel, (3, 3)))
        tf1.train.export_meta_graph(str(tmp_path / "fc.meta"))
    weights, out = saved(tmp_path / "fc.pt", {"fc.weight": SQUARE}), tmp_path / "fc.ckpt"
    shell.run("import", weights, "--into", tmp_path / "fc.meta", "--rules", "pytorch", "-o", out)
    assert checkpoint.open(out)["fc/kernel"].read().tolist() == expected.tolist()


def test_a_dense_layer_that_reads_a_flattened_image(shell: Any, tmp_path: Path) -> None:
    """The outputs of PyTorch's network, whose flattened image has its channels first."""
    torch.manual_seed(1)
    layers = [
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(36, 5),
    ]
    network = torch.nn.Sequential(*layers)
    torch.save(network.state_dict(), tmp_path / "net.pt")
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default():
        images = tf1.placeholder(tf1.float32, (None, 8, 8, 3), name="images")
        x = tf1.nn.conv2d(images, tf1.get_variable("0/kernel", (3, 3, 3, 4)), 1, "VALID")
        x = tf1.nn.max_pool2d(tf1.nn.relu(x + tf1.get_variable("0/bias", (4,))), 2, 2, "VALID")
        x = tf1.matmul(tf1.reshape(x, (-1, 36)), tf1.get_variable("4/kernel", (36, 5)))
        tf1.add(x, tf1.get_variable("4/bias", (5,)), name="answer")
        tf1.train.Saver()
        tf1.train.export_meta_graph(str(tmp_path / "net.meta"))
    out = tmp_path / "net.ckpt"
    how = ["--into", tmp_path / "net.meta", "--rules", "pytorch", "-o", out]
    assert "4.weight by flatten(channels=4)" in shell.run("import", tmp_path / "net.pt", *how).stdout
    rows = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.train.import_meta_graph(f"{out}.meta").restore(session, str(out))
        found = session.run("answer:0", {"images:0": rows.transpose(0, 2, 3, 1)})
    assert np.abs(found - network(torch.from_numpy(rows)).detach().numpy()).max() < 1e-5


def test_pytorch_layouts_under_the_names_of_the_graph(shell: Any, tmp_path: Path) -> None:
    """No rule: two shapes show that kernels have their outputs first, so the square one between them has, too."""
    torch.manual_seed(2)
    sizes = {"hidden1": (7, 5), "hidden2": (5, 5), "outputs": (5, 3)}
    layers = {name: torch.nn.Linear(*size) for name, size in sizes.items()}
    values = {f"{name}/kernel": layer.weight.detach().numpy() for name, layer in layers.items()}
    values |= {f"{name}/bias": layer.bias.detach().numpy() for name, layer in layers.items()}
    np.savez(tmp_path / "net.npz", **values)
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default():
        x = tf1.placeholder(tf1.float32, (None, 7), name="x")
        for name, size in sizes.items():
            kernel, bias = tf1.get_variable(f"{name}/kernel", size), tf1.get_variable(f"{name}/bias", size[1:])
            x = tf1.nn.relu(tf1.matmul(x, kernel) + bias)
        tf1.identity(x, name="answer")
        tf1.train.Saver()
        tf1.train.export_meta_graph(str(tmp_path / "net.meta"))
    out = tmp_path / "out.ckpt"
    said = shell.run("import", tmp_path / "net.npz", "--into", tmp_path / "net.meta", "-o", out).stdout
    assert said.count("by dense") == 3
    rows = torch.randn(4, 7)
    expected = torch.nn.Sequential(*(step for layer in layers.values() for step in (layer, torch.nn.ReLU())))(rows)
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.train.import_meta_graph(f"{out}.meta").restore(session, str(out))
        found = session.run("answer:0", {"x:0": rows.numpy()})
    assert np.abs(found - expected.detach().numpy()).max() < 1e-6


def test_a_square_kernel_alone_under_its_name_is_the_same_variable(shell: Any, graph: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "fc.npz", **{"fc/kernel": SQUARE})
    how = ["--into", graph, "--lenient", "-o", tmp_path / "fc.ckpt"]
    shell.run("import", tmp_path / "fc.npz", *how)
    assert checkpoint.open(tmp_path / "fc.ckpt")["fc/kernel"].read().tolist() == SQUARE.tolist()


def test_a_turned_kernel_in_many_pieces(shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default():
        tf1.get_variable("fc/kernel", (70, 50))
        tf1.train.export_meta_graph(str(tmp_path / "fc.meta"))
    monkeypatch.setattr("ckpttool.layouts.layout.PIECE", 1000)
    kernel = np.random.default_rng(1).normal(size=(50, 70)).astype(np.float32)
    np.savez(tmp_path / "fc.npz", **{"fc.weight": kernel})
    rules, out = tmp_path / "rules.toml", tmp_path / "fc.ckpt"
    rules.write_text("[[rule]]\nfrom = 'fc\\.weight'\nto = 'fc/kernel'\ntransform = 'dense'\n")
    shell.run("import", tmp_path / "fc.npz", "--into", tmp_path / "fc.meta", "--rules", rules, "-o", out)
    assert tf1.train.load_checkpoint(str(out)).get_tensor("fc/kernel").tolist() == kernel.T.tolist()


def test_an_lstm_of_keras_in_a_graph_of_tensorflow_1(shell: Any, tmp_path: Path) -> None:
    tf1 = tensorflow().compat.v1
    import keras

    network = keras.Sequential([keras.Input((4, 3)), keras.layers.LSTM(5, name="lstm"), keras.layers.Dense(2)])
    network.layers[1].name = "dense"
    network.save_weights(tmp_path / "k.weights.h5")
    with tf1.Graph().as_default():
        x = tf1.placeholder(tf1.float32, (None, 4, 3), name="x")
        shapes = {"rnn/basic_lstm_cell/kernel": (8, 20), "rnn/basic_lstm_cell/bias": (20,)}
        kernel, bias = (tf1.get_variable(name, shape) for name, shape in shapes.items())
        cell = hidden = tf1.zeros((tf1.shape(x)[0], 5))
        for step in range(4):
            gates = tf1.matmul(tf1.concat([x[:, step], hidden], 1), kernel) + bias
            i, g, f, o = tf1.split(gates, 4, 1)
            cell = cell * tf1.sigmoid(f + 1.0) + tf1.sigmoid(i) * tf1.tanh(g)
            hidden = tf1.tanh(cell) * tf1.sigmoid(o)
        dense = tf1.get_variable("dense/kernel", (5, 2)), tf1.get_variable("dense/bias", (2,))
        tf1.add(tf1.matmul(hidden, dense[0]), dense[1], name="answer")
        tf1.train.Saver()
        tf1.train.export_meta_graph(str(tmp_path / "graph.meta"))
    out, rows = tmp_path / "out.ckpt", np.random.default_rng(1).normal(size=(2, 4, 3)).astype(np.float32)
    how = ["--into", tmp_path / "graph.meta", "--rules", "keras-sequential", "-o", out]
    shell.run("import", tmp_path / "k.weights.h5", *how)
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.train.import_meta_graph(f"{out}.meta").restore(session, str(out))
        found = session.run("answer:0", {"x:0": rows})
    expected = network(rows).numpy()
    assert np.abs(found - expected).max() < 1e-5

    network.set_weights([np.zeros(weight.shape, np.float32) for weight in network.weights])
    network.save_weights(tmp_path / "zeros.weights.h5")
    how = ["--rules", "keras-sequential", "--like", tmp_path / "zeros.weights.h5", "-o", tmp_path / "back.weights.h5"]
    shell.run("export", out, *how)
    network.load_weights(tmp_path / "back.weights.h5")
    assert np.abs(network(rows).numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("shape", [(1, 1, 3, 2), (1, 3, 2)])
def test_a_matrix_for_a_kernel_with_a_window_of_one(shell: Any, tmp_path: Path, shape: tuple[int, ...]) -> None:
    """An error names the layout, which `auto` accepts."""
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default():
        rows = tf1.placeholder(tf1.float32, (None, *[4] * (len(shape) - 2), 3))
        tf1.nn.convolution(rows, tf1.get_variable("fc/kernel", shape), "SAME")
        tf1.train.export_meta_graph(str(tmp_path / "fc.meta"))
    weights = saved(tmp_path / "fc.pt", {"fc.weight": SQUARE[:2]})
    how = ["import", weights, "--into", tmp_path / "fc.meta", "-o", tmp_path / "fc.ckpt"]
    layout = "pointwise" if len(shape) == 4 else "pointwise(dimensions=1)"
    line = shell.error(*how, "--rename", r"fc\.weight=>fc/kernel")
    assert f"transform = '{layout}' in a rule makes it fit" in line
    shell.run(*how, "--rules", "pytorch")
    assert checkpoint.open(tmp_path / "fc.ckpt")["fc/kernel"].read().tolist() == SQUARE[:2].T.reshape(shape).tolist()


def test_a_graph_that_was_asked_runs_and_is_written_as_it_was(shell: Any, tmp_path: Path) -> None:
    """A square convolution, resolved by a reference: its op gets no attributes."""
    tf1 = tensorflow().compat.v1
    kernel, rows = np.random.default_rng(2).normal(size=(3, 3, 3, 3)).astype(np.float32), np.ones((1, 4, 4, 3), "f4")
    with tf1.Graph().as_default():
        images = tf1.placeholder(tf1.float32, (None, 4, 4, 3), name="X")
        tf1.nn.conv2d(images, tf1.get_variable("conv/kernel", (3, 3, 3, 3)), 1, "SAME", name="answer")
        tf1.train.Saver()
        meta = tf1.train.export_meta_graph(str(tmp_path / "conv.meta"))
    answer = tensorflow().nn.conv2d(rows, kernel, 1, "SAME").numpy()
    np.savez(tmp_path / "sample.npz", X=rows, answer=answer)
    for name, values in {"kept": kernel, "turned": kernel.transpose(3, 2, 0, 1)}.items():
        np.savez(tmp_path / f"{name}.npz", **{"conv/kernel": values})
        how = ["--into", tmp_path / "conv.meta", "--check", tmp_path / "sample.npz"]
        result = shell.run("import", tmp_path / f"{name}.npz", *how, "-o", tmp_path / f"{name}.ckpt")
        assert f"conv/kernel: {'keep' if name == 'kept' else 'conv'}, as the reference tells" in result.stderr
        written = load(tmp_path / f"{name}.ckpt").meta.graph_def
        assert written.SerializeToString(deterministic=True) == meta.graph_def.SerializeToString(deterministic=True)
