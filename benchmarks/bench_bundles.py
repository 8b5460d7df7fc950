"""Listing, verifying and opening bundles, each compared with a peer in the same run; medians, no verdict.

Run: .venv/bin/python benchmarks/bench_bundles.py
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import bert_bundle
import numpy as np

from ckpttool import checkpoint

RUNS = 5
OURS = """
import resource, sys, time
import concurrent.futures.thread, numpy  # what is imported when it is first used: imports are not timed
from ckpttool.formats.tensorflow.bundle import Bundle
from ckpttool.surgery.verify import verify
start = time.perf_counter()
report = verify(sys.argv[1])
assert report.whole
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
THEIRS = """
import resource, sys, time
import tensorflow as tf
start = time.perf_counter()
reader = tf.train.load_checkpoint(sys.argv[1])
for name in reader.get_variable_to_shape_map():
    reader.get_tensor(name)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def process(*command: str) -> str:
    """Run Python with arguments, and return its output."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [sys.executable, *command], check=True, capture_output=True, text=True, env=environment
    ).stdout


def median_time(act: Callable[[], object], runs: int = RUNS) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def vars_whole_process(prefix: Path) -> None:
    ours = median_time(lambda: process("-m", "ckpttool", "vars", str(prefix)))
    inspect = ("-m", "tensorflow.python.tools.inspect_checkpoint", f"--file_name={prefix}")
    theirs = median_time(lambda: process(*inspect), 3)
    line("vars, whole process, against inspect_checkpoint", ours, theirs, 12)


def verify_warm(prefix: Path) -> None:
    # Alternately, so that other load on the machine affects both.
    turns = [[process("-c", script, str(prefix)).split() for script in (OURS, THEIRS)] for _ in range(RUNS)]
    rows = list(zip(*turns, strict=True))
    ours, theirs = (statistics.median(float(row[0]) for row in runs) for runs in rows)
    line("verify, warm, against load_checkpoint reading every tensor", ours, theirs, 4)
    peak, their_peak = (max(float(row[1]) for row in runs) for runs in rows)
    print(f"  peak memory: {peak:.0f} MB (goal: under 200) against {their_peak:.0f} MB")


def _specs(prefix: Path) -> None:
    checkpoint.open(prefix).specs()


def listing(folder: Path) -> None:
    each = {}
    for count in (1_000, 100_000):
        names = (f"model/block_{i // 100}/layer_{i % 100}/weights_{i}" for i in range(count))
        prefix = folder / f"names_{count}"
        checkpoint.save({name: np.zeros((3, 3), np.float32) for name in names}, prefix)
        each[count] = median_time(partial(_specs, prefix)) / count
    few, many = each[1_000] * 1e6, each[100_000] * 1e6
    ratio = many / few
    print(
        f"listing: {few:.1f} us a tensor of 1,000, {many:.1f} us a tensor of 100,000: {ratio:.2f} times (goal: under 3)"
    )


def line(what: str, ours: float, theirs: float, goal: float) -> None:
    print(f"{what}: {ours:.3f} s against {theirs:.3f} s, {theirs / ours:.1f} times faster (goal: {goal})")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "bert_model.ckpt"
        print(f"{bert_bundle.write(prefix) / 1e9:.2f} GB, {len(checkpoint.open(prefix))} tensors")
        verify_warm(prefix)
        vars_whole_process(prefix)
        listing(Path(folder))


if __name__ == "__main__":
    main()
