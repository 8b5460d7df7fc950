"""Networks of PyTorch and Keras become TensorFlow 1 graphs by the ready sets, and go back: all give one answer."""

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
    """A state of the same names and shapes, without the values."""
    return {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}


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
    """The network of keras.applications, only narrower, in each kind of file that Keras 3 writes."""
    network = RESNETS["keras_resnet"](64, 8, 10)
    sizes = (RESNETS["RESNET50"], 8, 10, RESNETS["KERAS"])
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
