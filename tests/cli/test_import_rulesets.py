"""PyTorch and Keras networks become TensorFlow 1 graphs with the included rules, and back: all outputs are equal."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RESNETS, BERTS, GRAPHS = (runpy.run_path(str(BENCHMARKS / f"{name}.py")) for name in ("resnets", "berts", "networks"))
exported, answer = GRAPHS["exported"], GRAPHS["answer"]
RESNET = ((2, 1, 2, 1), 8, 10)
BERT = (2, 24, 3, 50)


def assert_close(found: Any, expected: Any) -> None:
    """Within 1e-5 of the largest output."""
    assert np.abs(expected).max() > 0.1
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def zeroed(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A state with the same names and shapes, and zeros."""
    return {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}


class Nested(torch.nn.Module):
    """Names that the general rules distinguish: normalisations of two kinds, a table, kernels of three kinds."""

    def __init__(self) -> None:
        super().__init__()
        block = {"conv": torch.nn.Conv2d(3, 4, 3, bias=False), "bn": torch.nn.BatchNorm2d(4)}
        self.features = torch.nn.ModuleList([torch.nn.ModuleDict(block), torch.nn.Conv2d(4, 4, 3, groups=4)])
        self.embedding = torch.nn.Embedding(7, 6)
        self.head = torch.nn.ModuleDict({"norm": torch.nn.LayerNorm(6), "fc": torch.nn.Linear(64, 6)})
        for name, tensor in self.state_dict().items():
            if tensor.ndim == 1:
                torch.nn.init.uniform_(tensor, *((0.5, 1.5) if name.endswith(("weight", "var")) else (-1, 1)))

    def forward(self, images: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.features[0]["bn"](self.features[0]["conv"](images)))
        x = self.head["fc"](self.features[1](x).flatten(1))
        return self.head["norm"](x + self.embedding(ids))


def nested_graph(tf1: Any) -> None:
    """The same with tf.layers' names; kernels are read by the ops of tf.layers."""
    images = tf1.placeholder(tf1.float32, (None, 8, 8, 3), name="images")
    ids = tf1.placeholder(tf1.int32, (None,), name="ids")
    x = tf1.nn.conv2d(images, tf1.get_variable("features/0/conv/kernel", (3, 3, 3, 4)), 1, "VALID")
    norm = ("moving_mean", "moving_variance", "beta", "gamma")
    parts = [tf1.get_variable(f"features/0/bn/{name}", (4,)) for name in norm]
    x = tf1.nn.relu(tf1.nn.batch_normalization(x, *parts, 1e-5))
    kernel = tf1.get_variable("features/1/kernel", (3, 3, 4, 1))
    x = tf1.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "VALID") + tf1.get_variable("features/1/bias", (4,))
    x = tf1.matmul(tf1.reshape(x, (-1, 64)), tf1.get_variable("head/fc/kernel", (64, 6)))
    x += tf1.get_variable("head/fc/bias", (6,)) + tf1.gather(tf1.get_variable("embedding/embeddings", (7, 6)), ids)
    moments = tf1.nn.moments(x, -1, keepdims=True)
    beta, gamma = (tf1.get_variable(f"head/norm/{name}", (6,)) for name in ("beta", "gamma"))
    tf1.identity(tf1.nn.batch_normalization(x, *moments, beta, gamma, 1e-5), name="answer")


def test_a_nested_network_of_pytorch(shell: Any, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = Nested().eval()
    torch.save(network.state_dict(), tmp_path / "nested.pt")
    graph, out = exported(tmp_path / "graph.meta", nested_graph), tmp_path / "imported.ckpt"
    shell.run("import", tmp_path / "nested.pt", "--into", graph, "--rules", "pytorch", "-o", out)
    images, ids = torch.randn(2, 3, 8, 8), torch.tensor([5, 2])
    with torch.no_grad():
        expected = network(images, ids).numpy()
    feed = {"images:0": images.numpy().transpose(0, 2, 3, 1), "ids:0": ids.numpy()}
    assert_close(answer(out, feed), expected)

    torch.save(zeroed(network), tmp_path / "zeros.pt")
    how = ["--like", tmp_path / "zeros.pt", "-o", tmp_path / "back.safetensors"]
    shell.run("export", out, "--rules", "pytorch", *how)
    network.load_state_dict(load_file(tmp_path / "back.safetensors"))
    with torch.no_grad():
        assert network(images, ids).numpy().tobytes() == expected.tobytes()


def test_a_resnet_of_torchvision(shell: Any, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = RESNETS["ResNet"](*RESNET).eval()
    torch.save(network.state_dict(), tmp_path / "resnet.pth")
    graph = exported(tmp_path / "graph.meta", RESNETS["resnet_graph"], *RESNET)
    out, rules = tmp_path / "imported.ckpt", ["--rules", "resnet50-pytorch-tf1"]
    result = shell.run("import", tmp_path / "resnet.pth", "--into", graph, *rules, "-o", out)
    assert "restored from fc.weight by pointwise" in result.stdout
    assert "num_batches_tracked" in result.stderr
    images = np.random.default_rng(2).normal(size=(2, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    assert_close(answer(out, {"images:0": images.transpose(0, 2, 3, 1)}), expected)

    torch.save(zeroed(network), tmp_path / "zeros.pth")
    shell.run("export", out, *rules, "--like", tmp_path / "zeros.pth", "-o", tmp_path / "back.safetensors")
    network.load_state_dict(load_file(tmp_path / "back.safetensors"))
    with torch.no_grad():
        assert network(torch.from_numpy(images)).numpy().tobytes() == expected.tobytes()


def test_resnet50_of_keras(shell: Any, tmp_path: Path) -> None:
    """The keras.applications network, narrower and with fewer blocks, in each kind of file that Keras 3 writes."""
    network = RESNETS["keras_resnet"](64, 8, 10, RESNET[0])
    sizes = (*RESNET, RESNETS["KERAS"])
    graph, rules = (
        exported(tmp_path / "graph.meta", RESNETS["resnet_graph"], *sizes),
        ["--rules", "resnet50-keras-tf1"],
    )
    saved = {"weights.h5": network.save_weights, "keras": network.save, "h5": network.save}
    for suffix, save in saved.items():
        save(tmp_path / f"net.{suffix}")
        shell.run("import", tmp_path / f"net.{suffix}", "--into", graph, *rules, "-o", tmp_path / f"{suffix}.ckpt")
    images = np.random.default_rng(2).normal(size=(2, 64, 64, 3)).astype(np.float32)
    expected = network(images, training=False).numpy()
    assert_close(answer(tmp_path / "keras.ckpt", {"images:0": images}), expected)
    values = {suffix: (tmp_path / f"{suffix}.ckpt.data-00000-of-00001").read_bytes() for suffix in saved}
    assert values["weights.h5"] == values["keras"] == values["h5"]

    network.set_weights([np.zeros(weight.shape, np.float32) for weight in network.weights])
    network.save_weights(tmp_path / "zeros.weights.h5")
    how = ["--like", tmp_path / "zeros.weights.h5", "-o", tmp_path / "back.weights.h5"]
    shell.run("export", tmp_path / "keras.ckpt", *rules, *how)
    network.load_weights(tmp_path / "back.weights.h5")
    assert network(images, training=False).numpy().tobytes() == expected.tobytes()


def test_a_bert_of_hugging_face(shell: Any, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = BERTS["Bert"](*BERT).eval()
    torch.save({f"bert.{name}": tensor for name, tensor in network.state_dict().items()}, tmp_path / "bert.bin")
    graph = exported(tmp_path / "graph.meta", BERTS["bert_graph"], *BERT)
    out, rules = tmp_path / "imported.ckpt", ["--rules", "bert-pytorch-tf1"]
    shell.run("import", tmp_path / "bert.bin", "--into", graph, *rules, "-o", out)
    rng = np.random.default_rng(3)
    ids, types = rng.integers(0, 50, (2, 7)), rng.integers(0, 2, (2, 7))
    with torch.no_grad():
        expected = network(torch.from_numpy(ids), torch.from_numpy(types)).numpy()
    assert_close(answer(out, {"ids:0": ids, "types:0": types}), expected)

    torch.save(zeroed(network), tmp_path / "zeros.bin")
    shell.run("export", out, *rules, "--like", tmp_path / "zeros.bin", "-o", tmp_path / "back.safetensors")
    network.load_state_dict(load_file(tmp_path / "back.safetensors"))
    with torch.no_grad():
        assert network(torch.from_numpy(ids), torch.from_numpy(types)).numpy().tobytes() == expected.tobytes()
