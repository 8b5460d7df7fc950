"""The time of a catalogue's commands, as whole processes: 10,000 entries of 50 layers, and a model of 1.3 GB.

    python benchmarks/bench_zoo.py [--entries 10000] [--layers 50] [--gigabytes 1.3] [--folder DIR]

Entries have manifests made here, which share one file; the large model is a bundle of random numbers. Adding is
compared with `cp`, `sync` and `sha256sum` of the same files, the best of three each, alternately.
"""

import argparse
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool import checkpoint
from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import Manifest, StoredFile

FIRST_SEEN = 0.4
"""The goal for a command in seconds."""


def fill(root: Path, entries: int, layers: int) -> None:
    """Write a catalogue of entries that share one file."""
    catalogue = Catalogue.begun(root)
    content = b"weights"
    file = StoredFile("model.npz", hashlib.sha256(content).hexdigest(), len(content))
    blob = catalogue.blob(file.sha256)
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    for number in range(entries):
        folder = catalogue.folder(f"model-{number:05d}")
        folder.mkdir()
        manifest = made(folder.name, number, layers, file)
        catalogue.manifest_path(folder.name, 1).write_bytes(manifest.dumps())
        os.utime(folder, (1, 1))


def made(name: str, number: int, layers: int, file: StoredFile) -> Manifest:
    """Return the manifest of one entry: dense layers, each with a kernel and a bias that two other entries share."""
    width = 64 + number // 3 % 7
    rows: list[dict[str, Any]] = [
        {
            "name": f"hidden{each}",
            "kind": "dense",
            "variables": [f"hidden{each}/kernel", f"hidden{each}/bias"],
            "parameters": width * width + width,
            "output_shape": [None, width],
        }
        for each in range(layers)
    ]
    tensors = [
        {
            "name": f"hidden{each}/{part}",
            "shape": shape,
            "dtype": "float32",
            "sha256": hashlib.sha256(f"{number // 3} {each} {part}".encode()).hexdigest(),
            "kind": "weight",
        }
        for each in range(layers)
        for part, shape in (("kernel", [width, width]), ("bias", [width]))
    ]
    card: dict[str, Any] = {"license": "mit", "pipeline_tag": "image-classification", "tags": ["image"]}
    card["metrics"] = [{"name": "accuracy", "value": 0.9 + number % 100 / 1000}]
    parameters = sum(row["parameters"] for row in rows)
    inputs, outputs = ([{"name": name, "shape": [None, width], "dtype": "float32"}] for name in ("X", "logits"))
    about = (tensors, rows, inputs, outputs, parameters, "scale(1/255)", None, card)
    return Manifest(name, 1, "2026-11-29T21:00:00Z", "ckpt", "model.npz", (file,), *about)


def measured(*words: str, environment: dict[str, str]) -> tuple[float, float, float]:
    """Run a process; return its wall-clock seconds, processor seconds, and peak memory in megabytes."""
    begin = time.monotonic()
    process = subprocess.Popen([*words], stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(words)} ended with {status}")
    scale = 1024 if sys.platform == "linux" else 1024**2
    return time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / scale


def lists(root: Path, entries: int, layers: int, rounds: int = 5) -> None:
    """Print the time of the commands that only read."""
    fill(root, entries, layers)
    tool = (sys.executable, "-m", "ckpttool", "zoo")
    environment = {**os.environ, "CKPTTOOL_ZOO": str(root)}
    name = f"model-{entries // 2:05d}"
    commands = {
        "list (makes the index)": ("list",),
        "list": ("list",),
        "list, filtered and sorted": ("list", "model-0*", "--filter", "parameters>200K", "--sort", "accuracy:desc"),
        "show": ("show", name),
        "history": ("history", name),
        "suggest --input": ("suggest", "--input", str(64 + entries // 2 % 7)),
    }
    print(f"{entries} entries of {layers} layers\n{'command':28} seconds computing  MB")
    for title, words in commands.items():
        runs = [measured(*tool, *words, environment=environment) for _ in range(1 if "makes" in title else rounds)]
        wall, computing, memory = (min(each) for each in zip(*runs, strict=True))
        print(f"{title:28} {wall:7.2f} {computing:9.2f} {memory:4.0f}", flush=True)


def large(folder: Path, gigabytes: float, rounds: int = 3) -> None:
    """Print the time of adding a large model, and of `cp`, `sync` and `sha256sum` of its files."""
    rng, count = np.random.default_rng(0), max(1, int(gigabytes * 1e9 / 40e6))
    values = {f"layer{each}/kernel": rng.random((1000, 10_000), np.float32) for each in range(count)}
    checkpoint.save(values, folder / "large.ckpt")
    del values
    files = sorted(map(str, folder.glob("large.ckpt*")))
    copies, best = folder / "copies", dict[str, float]()
    by_hand = f"mkdir {copies} && cp {' '.join(files)} {copies} && sync -f {copies} && sha256sum {' '.join(files)}"
    for number in range(rounds):
        subprocess.run(["rm", "-rf", str(copies)], check=True)
        subprocess.run(["sync"], check=True)
        took = measured("sh", "-c", by_hand, environment=dict(os.environ))[0]
        best["by hand"] = min(best.get("by hand", took), took)
        subprocess.run(["sync"], check=True)
        root = folder / f"zoo{number}"
        words = (sys.executable, "-m", "ckpttool", "zoo", "add", str(folder / "large.ckpt"), "--name", "large")
        took = measured(*words, environment={**os.environ, "CKPTTOOL_ZOO": str(root)})[0]
        best["add"] = min(best.get("add", took), took)
        subprocess.run(["rm", "-rf", str(root)], check=True)
    ratio = best["add"] / best["by hand"]
    print(
        f"add of {gigabytes} GB: {best['add']:.2f} s; cp, sync, sha256sum: {best['by hand']:.2f} s; ratio {ratio:.2f}"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--layers", type=int, default=50)
    parser.add_argument("--gigabytes", type=float, default=1.3)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        if options.entries:
            lists(Path(name, "zoo"), options.entries, options.layers)
        if options.gigabytes:
            large(Path(name), options.gigabytes)


if __name__ == "__main__":
    main()
