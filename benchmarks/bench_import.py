"""Import of ResNet-50 from PyTorch and Keras and of BERT-base, from the shell: memory, time, equal answers.

Both write to new files, alternately. The time until the kernel has free memory for the output can differ by a second
between runs, so the best run is printed next to the median.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import berts
import networks
import numpy as np
import resnets
import torch

RUNS = 7
MORE_MEMORY = 300 * 1000**2
"""The limit for an import's memory in addition to the model's size."""
RESNET = (resnets.RESNET50, 64, 1000)
BERT = (12, 768, 12, 30_522)


IMPORT = """
import sys
from ckpttool.cli import main
try:
    main()
finally:
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
"""Runs a command and prints its peak memory in KiB, which a child process would inherit from this large one."""


def process(*command: str) -> tuple[float, str]:
    """Run a command, and return its seconds and output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    said = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ).stdout
    return time.perf_counter() - start, said


def measured(name: str, file: Path, graph: Path, rules: str) -> Path:
    """Import a file, print its time and memory, and return the prefix."""
    out, copy = file.with_suffix(".ckpt"), file.with_suffix(".copy")
    command = [sys.executable, "-c", IMPORT, "import"]
    arguments = map(str, (file, "--into", graph, "--rules", rules, "-o", out))
    contenders = {
        "start": [*command, "--help"],
        "import": [*command, *arguments],
        "copy": ["sh", "-c", f"cp {file} {copy} && sync {copy}"],
    }
    runs: dict[str, list[tuple[float, str]]] = {each: [] for each in contenders}
    for _ in range(RUNS):
        for path in (*out.parent.glob(f"{out.name}*"), copy):
            path.unlink(missing_ok=True)
        for each, contender in contenders.items():
            runs[each].append(process(*contender))
    peak, size = max(1024 * int(said.split()[-1]) for _, said in runs["import"]), file.stat().st_size
    print(f"{name}: {size / 1e6:.0f} MB")
    for kind, choose in (("best", min), ("median", statistics.median)):
        start, ours, copied = (choose(seconds for seconds, _ in each) for each in runs.values())
        print(f"  {kind}: {ours:.2f} s, {ours / copied:.1f} times cp and sync ({copied:.2f} s); {start:.2f} s to start")
    print(f"  peak memory {peak / 1e6:.0f} MB, goal under {(size + MORE_MEMORY) / 1e6:.0f} MB")
    return out


def compare(expected: Any, found: Any) -> None:
    print(f"  answers differ by {np.abs(found - expected).max() / np.abs(expected).max():.1e} of the largest")


def resnet(folder: Path) -> None:
    network = resnets.ResNet(*RESNET).eval()
    torch.save(network.state_dict(), folder / "resnet.pth")
    networks.exported(folder / "resnet.meta", resnets.resnet_graph, *RESNET)
    out = measured("ResNet-50", folder / "resnet.pth", folder / "resnet.meta", "resnet50-pytorch-tf1")
    images = np.random.default_rng(1).normal(size=(1, 3, 224, 224)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    compare(expected, networks.answer(out, {"images:0": images.transpose(0, 2, 3, 1)}))


def resnet_of_keras(folder: Path) -> None:
    network = resnets.keras_resnet(224, *RESNET[1:])
    network.save_weights(folder / "resnet.weights.h5")
    networks.exported(folder / "keras.meta", resnets.resnet_graph, *RESNET, resnets.KERAS)
    out = measured("ResNet-50 of Keras", folder / "resnet.weights.h5", folder / "keras.meta", "resnet50-keras-tf1")
    images = np.random.default_rng(1).normal(size=(1, 224, 224, 3)).astype(np.float32)
    compare(network(images, training=False).numpy(), networks.answer(out, {"images:0": images}))


def bert(folder: Path) -> None:
    network = berts.Bert(*BERT).eval()
    torch.save(network.state_dict(), folder / "bert.bin")
    networks.exported(folder / "bert.meta", berts.bert_graph, *BERT)
    out = measured("BERT-base", folder / "bert.bin", folder / "bert.meta", "bert-pytorch-tf1")
    rng = np.random.default_rng(2)
    ids, types = rng.integers(0, BERT[-1], (2, 32)), rng.integers(0, 2, (2, 32))
    with torch.no_grad():
        expected = network(torch.from_numpy(ids), torch.from_numpy(types)).numpy()
    compare(expected, networks.answer(out, {"ids:0": ids, "types:0": types}))


if __name__ == "__main__":
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as place:
        resnet(Path(place))
        resnet_of_keras(Path(place))
        bert(Path(place))
