"""Edits, conversions, differences and averages of large checkpoints, each compared with peers in the same run.

The bundles have BERT-large's shape: 1.3 GB, 385 tensors (bert_bundle.py). Whole processes are timed, imports included;
medians of 3 turns, in each of which the contenders run one after the other, with memory as the kernel counts it
(ru_maxrss).

ckpttool reads back and syncs what it writes; TensorFlow and `cp` do neither. So there are two tables: in memory
(/dev/shm), where a sync is free and the work is compared; and on the disk of the temporary folder, where the peer of
equal durability is `cp` and then `sync FILE`, and each contender starts with no unwritten data.

A rate counts the bytes that are read: of both files, of all three. It never fails; goals are printed with the figures.

Run: .venv/bin/python benchmarks/bench_surgery.py [--part N] [FOLDER ...]   (N: 1/N of the rows of each tensor)
"""

import argparse
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
import numpy as np

from ckpttool import checkpoint

TURNS = 3
SOURCES = ("a", "b", "c")
TENSORFLOW_EDIT = """
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
TENSORFLOW_DIFF = """
import sys, numpy as np, tensorflow as tf
a, b = map(tf.train.load_checkpoint, sys.argv[1:3])
for name in a.get_variable_to_shape_map():
    one, other = a.get_tensor(name), b.get_tensor(name)
    print(name, np.abs(one - other).max(), np.linalg.norm(one - other) / np.linalg.norm(one))
"""
TENSORFLOW_AVERAGE = """
import sys, tensorflow as tf
*sources, output = sys.argv[1:]
readers = [tf.train.load_checkpoint(path) for path in sources]
names = readers[0].get_variable_to_shape_map()
variables = {name: tf.Variable(sum(reader.get_tensor(name) for reader in readers) / len(readers)) for name in names}
tf.compat.v1.train.Saver(variables).save(None, output, write_meta_graph=False)
"""


class Run(NamedTuple):
    """A process's time in seconds and peak memory in megabytes."""

    seconds: float
    peak: float


class Goal(NamedTuple):
    """Goals: how many times as long TensorFlow takes, and we compared with `cp`; GB/s; peak memory in megabytes."""

    tensorflow: float | None = None
    copy: float | None = None
    rate: float | None = None
    peak: float | None = None


GOALS = {
    "edit": Goal(tensorflow=8, copy=1.5, peak=200),
    "convert": Goal(tensorflow=3, copy=2, peak=300),
    "diff": Goal(rate=1.5, peak=300),
    "average": Goal(rate=0.8, peak=400),
}
READS = {"edit": 1, "convert": 1, "diff": 2, "average": 3}
"""Number of sources that a command reads."""


def run(command: Sequence[str]) -> Run:
    """Run a process, after a sync; `diff` may exit with 1, because there are differences."""
    os.sync()
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0 and not (process.returncode == 1 and "diff" in command):
            said.seek(0)
            raise SystemExit(f"{command}: {said.read().decode()}")
    return Run(seconds, usage.ru_maxrss / 1024)


def ours(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "ckpttool", *map(str, arguments)]


def theirs(script: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", script, *map(str, arguments)]


def contenders(a: Path, b: Path, c: Path, out: Path) -> dict[str, list[str]]:
    """Return the command of each contender; their outputs are in one folder."""
    data, copy = f"{a}.data-00000-of-00001", str(out / "copy")
    return {
        "cp": ["cp", data, copy],
        "cp + sync": ["sh", "-c", 'cp "$0" "$1" && sync "$1"', data, copy],
        "edit": ours("edit", a, "--rename", "bert=>model", "-o", out / "x.ckpt"),
        "tf edit": theirs(TENSORFLOW_EDIT, a, out / "x.ckpt"),
        "convert": ours("convert", a, "-o", out / "x.safetensors"),
        "tf convert": theirs(TENSORFLOW_CONVERT, a, out / "x.safetensors"),
        "diff": ours("diff", a, b),
        "tf diff": theirs(TENSORFLOW_DIFF, a, b),
        "average": ours("average", a, b, c, "-o", out / "x.ckpt"),
        "tf average": theirs(TENSORFLOW_AVERAGE, a, b, c, out / "x.ckpt"),
    }


def measure(commands: dict[str, list[str]], out: Path) -> dict[str, Run]:
    """Return the median seconds and the peak memory of each contender."""
    runs: dict[str, list[Run]] = {}
    for _ in range(TURNS):
        for name, command in commands.items():
            out.mkdir()
            runs.setdefault(name, []).append(run(command))
            shutil.rmtree(out)
    return {
        name: Run(statistics.median(item.seconds for item in each), max(item.peak for item in each))
        for name, each in runs.items()
    }


def report(found: dict[str, Run], size: int) -> None:
    for name, goal in GOALS.items():
        mine, other, rate = found[name], found[f"tf {name}"], READS[name] * size / found[name].seconds / 1e9
        print(f"  {name}: {mine.seconds:.2f} s, {rate:.2f} GB/s{_goal(goal.rate, 'at least')}")
        print(f"    peak {mine.peak:.0f} MB{_goal(goal.peak, 'at most')}; TensorFlow's {other.peak:.0f} MB")
        times = other.seconds / mine.seconds
        print(f"    TensorFlow: {other.seconds:.2f} s, {times:.1f} times ours{_goal(goal.tensorflow, 'at least')}")
        for peer in ("cp", "cp + sync") if goal.copy else ():
            ratio = mine.seconds / found[peer].seconds
            print(
                f"    {peer}: {found[peer].seconds:.2f} s, ours is {ratio:.2f} times that{_goal(goal.copy, 'at most')}"
            )


def _goal(value: float | None, word: str) -> str:
    return f" (goal: {word} {value:g})" if value else ""


def growth(folder: Path, part: int) -> None:
    """Print the growth of the time with ten times the bytes, and ten times the tensors."""
    for name, count in (("few", 1_000), ("many", 10_000)):
        checkpoint.save({f"bert/layer_{n}/bias": np.full(16, n, np.float32) for n in range(count)}, folder / name)
    bert_bundle.write(folder / "tenth", 10 * part)
    for what, small, large in (("bytes", "tenth", "a"), ("tensors", "few", "many")):
        for name in ("edit", "convert", "average"):
            seconds = [_seconds(name, folder / source, folder / "out") for source in (small, large)]
            grown = f"{seconds[0]:.2f} s -> {seconds[1]:.2f} s, {seconds[1] / seconds[0]:.1f} times (goal: at most 11)"
            print(f"  ten times the {what}, {name}: {grown}")


def _seconds(name: str, source: Path, out: Path) -> float:
    return measure({name: contenders(source, source, source, out)[name]}, out)[name].seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", type=int, default=1)
    parser.add_argument("folders", nargs="*", type=Path)
    arguments = parser.parse_args()
    memory = [Path("/dev/shm")] if Path("/dev/shm").is_dir() else []
    for parent in arguments.folders or [*memory, Path(tempfile.gettempdir())]:
        with tempfile.TemporaryDirectory(dir=parent) as name:
            folder = Path(name)
            sizes = [bert_bundle.write(folder / source, arguments.part, seed) for seed, source in enumerate(SOURCES)]
            print(f"{parent}: {sizes[0] / 1e9:.2f} GB, {bert_bundle.COUNT} tensors")
            a, b, c = (folder / source for source in SOURCES)
            report(measure(contenders(a, b, c, folder / "out"), folder / "out"), sizes[0])
            growth(folder, arguments.part)


if __name__ == "__main__":
    main()
