"""Networks of PyTorch become TensorFlow 1 graphs by the ready sets: both give the same answers."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import torch

NETWORKS = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "networks.py"))
exported, answer = NETWORKS["exported"], NETWORKS["answer"]
RESNET = ((2, 1, 2, 1), 8, 10)
BERT = (2, 24, 3, 50)


def test_a_resnet_of_torchvision(shell: Any, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = NETWORKS["ResNet"](*RESNET).eval()
    torch.save(network.state_dict(), tmp_path / "resnet.pth")
    graph = exported(tmp_path / "graph.meta", NETWORKS["resnet_graph"], *RESNET)
    out = tmp_path / "imported.ckpt"
    result = shell.run("import", tmp_path / "resnet.pth", "--into", graph, "--rules", "resnet50-pytorch-tf1", "-o", out)
    assert "restored from fc.weight by pointwise" in result.stdout
    assert "num_batches_tracked" in result.stderr
    images = np.random.default_rng(2).normal(size=(2, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    found = answer(out, {"images:0": images.transpose(0, 2, 3, 1)})
    assert np.abs(expected).max() > 0.1
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_a_bert_of_hugging_face(shell: Any, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = NETWORKS["Bert"](*BERT).eval()
    torch.save({f"bert.{name}": tensor for name, tensor in network.state_dict().items()}, tmp_path / "bert.bin")
    graph = exported(tmp_path / "graph.meta", NETWORKS["bert_graph"], *BERT)
    out = tmp_path / "imported.ckpt"
    shell.run("import", tmp_path / "bert.bin", "--into", graph, "--rules", "bert-pytorch-tf1", "-o", out)
    rng = np.random.default_rng(3)
    ids, types = rng.integers(0, 50, (2, 7)), rng.integers(0, 2, (2, 7))
    with torch.no_grad():
        expected = network(torch.from_numpy(ids), torch.from_numpy(types)).numpy()
    assert np.abs(answer(out, {"ids:0": ids, "types:0": types}) - expected).max() < 1e-5
