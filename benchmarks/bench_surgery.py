"""Renaming every tensor of a bundle and converting it to safetensors, against TensorFlow and against `cp`.

The bundle has BERT-large's shape: 1.3 GB, 385 tensors (bert_bundle.py). Whole processes are timed, imports and all; the
median of 3 turns, the contenders one after the other in each, their memory as the system counts it (ru_maxrss).

What ckpttool writes it reads back and syncs before it counts; TensorFlow and `cp` do neither. So there are two tables:
in memory (/dev/shm), where a sync is free and what is compared is the work; and on the disk of the temporary folder,
where the peer of equal durability is `cp` and then `sync FILE`, and each contender begins with nothing unwritten.

Run: .venv/bin/python benchmarks/bench_surgery.py [FOLDER ...]
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import bert_bundle

TURNS = 3
RENAME = """
import sys, ckpttool
tensors = ckpttool.open(sys.argv[1])
ckpttool.save(tensors.rename({"bert": "model"}), sys.argv[2])
"""
TENSORFLOW_RENAME = """
import sys, tensorflow as tf
reader = tf.train.load_checkpoint(sys.argv[1])
names = {name: name.replace("bert/", "model/", 1) for name in reader.get_variable_to_shape_map()}
variables = {new: tf.Variable(reader.get_tensor(old)) for old, new in names.items()}
tf.compat.v1.train.Saver(variables).save(None, sys.argv[2], write_meta_graph=False)
"""
TENSORFLOW_CONVERT = """
import sys, tensorflow as tf
from safetensors.numpy import save_file
reader = tf.train.load_checkpoint(sys.argv[1])
save_file({name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}, sys.argv[2])
"""


class Run(NamedTuple):
    """What a process took: seconds, and the megabytes that it had at most."""

    seconds: float
    peak: float


def run(command: Sequence[str]) -> Run:
    """Run a process to its end."""
    os.sync()
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    assert process.stderr
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command}: {said.decode()}")
    return Run(seconds, usage.ru_maxrss / 1024)


def contenders(prefix: Path, out: Path) -> dict[str, list[str]]:
    """Return the command of each contender; what they write is in one folder."""
    data, copy = f"{prefix}.data-00000-of-00001", str(out / "copy")
    python = [sys.executable, "-c"]
    return {
        "cp": ["cp", data, copy],
        "cp + sync": ["sh", "-c", 'cp "$0" "$1" && sync "$1"', data, copy],
        "rename": [*python, RENAME, str(prefix), str(out / "renamed.ckpt")],
        "tf rename": [*python, TENSORFLOW_RENAME, str(prefix), str(out / "renamed.ckpt")],
        "convert": [sys.executable, "-m", "ckpttool", "convert", str(prefix), "-o", str(out / "x.safetensors")],
        "tf convert": [*python, TENSORFLOW_CONVERT, str(prefix), str(out / "x.safetensors")],
    }


def measure(folder: Path) -> dict[str, Run]:
    """Return the median seconds and the largest memory of each contender."""
    prefix, out = folder / "bert_model.ckpt", folder / "out"
    size = bert_bundle.write(prefix)
    print(f"{folder.parent}: {size / 1e9:.2f} GB, {bert_bundle.COUNT} tensors")
    runs: dict[str, list[Run]] = {}
    for _ in range(TURNS):
        for name, command in contenders(prefix, out).items():
            out.mkdir()
            runs.setdefault(name, []).append(run(command))
            shutil.rmtree(out)
    return {
        name: Run(statistics.median(item.seconds for item in each), max(item.peak for item in each))
        for name, each in runs.items()
    }


def report(found: dict[str, Run]) -> None:
    for name, goals in {"rename": (8, 1.5, 200), "convert": (3, 2, 300)}.items():
        ours, theirs = found[name], found[f"tf {name}"]
        print(f"  {name}: {ours.seconds:.2f} s, peak {ours.peak:.0f} MB (goal: under {goals[2]})")
        times = theirs.seconds / ours.seconds
        print(f"    TensorFlow: {theirs.seconds:.2f} s, {times:.1f} times as long (goal: {goals[0]})")
        print(f"    TensorFlow's peak: {theirs.peak:.0f} MB")
        for peer in ("cp", "cp + sync"):
            ratio = ours.seconds / found[peer].seconds
            goal = f" (goal: under {goals[1]})" if peer == "cp + sync" else ""
            print(f"    {peer}: {found[peer].seconds:.2f} s, ours takes {ratio:.2f} times as long{goal}")


def main(folders: list[Path]) -> None:
    for parent in folders:
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            report(measure(Path(folder)))


if __name__ == "__main__":
    memory = [Path("/dev/shm")] if Path("/dev/shm").is_dir() else []
    main([*map(Path, sys.argv[1:])] or [*memory, Path(tempfile.gettempdir())])
