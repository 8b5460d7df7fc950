"""The cost of safety: common commands of this checkout compared with another's, such as the one before it was built.

Whole processes are timed, imports included, one checkout after the other in each turn, on small and on large inputs:
the best and the median of both, and their ratios. Modules are compiled beforehand; caches and states of the user
are separate: the fixtures' graphs are untrusted, and run confined.

Run: .venv/bin/python benchmarks/bench_trust.py PEER [--turns N] [--megabytes N] [--processor] [PART OF A NAME ...]
The peer can be made by: git worktree add PEER COMMIT
"""

import argparse
import compileall
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ckpttool import checkpoint

HERE = Path(__file__).parents[1]
MODEL = HERE / "fixtures" / "my_model_final.ckpt"
DATA = HERE / "fixtures" / "mnist_small.npz"
TENSORS = 24
LIMIT = 1.1
HEAD = "hidden4 = dense(20, relu); outputs = dense(10)"


class Case(NamedTuple):
    """A command line, in which `OUT` stands for a new path. `share` is the fraction of the turns in which it runs."""

    name: str
    words: tuple[str | Path, ...]
    share: float = 1.0


def cases(folder: Path) -> Iterator[Case]:
    """Yield the commands: those that inspect, those that write, those that run graphs, and those for large files."""
    bundle, tensors, tree = (folder / f"large.{suffix}" for suffix in ("ckpt", "safetensors", "h5"))
    small, other = folder / "small.h5", folder / "small.safetensors"
    yield Case("vars", ("vars", MODEL))
    yield Case("layers", ("layers", MODEL))
    yield Case("ops", ("ops", MODEL))
    yield Case("show", ("show", MODEL, "hidden1/kernel"))
    yield Case("diff", ("diff", MODEL, MODEL))
    yield Case("verify", ("verify", MODEL))
    yield Case("vars .h5", ("vars", small))
    yield Case("layers .h5", ("layers", small))
    yield Case("vars .safetensors", ("vars", other))
    yield Case("edit", ("edit", MODEL, "--rename", "hidden1=>first", "-o", "OUT.ckpt"))
    yield Case("convert", ("convert", MODEL, "-o", "OUT.safetensors"))
    yield Case("freeze", ("freeze", MODEL, "--layers", "hidden[12]", "-o", "OUT.ckpt"), 0.5)
    yield Case("import", ("import", MODEL, "--into", MODEL, "-o", "OUT.ckpt"), 0.5)
    yield Case("reuse", ("reuse", MODEL, "--layers", "hidden[123]", "--head", HEAD, "-o", "OUT.ckpt"), 0.4)
    yield Case("fold", ("fold", MODEL, "--outputs", "dnn/outputs/BiasAdd", "-o", "OUT.pb"), 0.4)
    yield Case("evaluate", ("evaluate", MODEL, "--data", DATA), 0.4)
    yield Case("cache", ("cache", MODEL, "--freeze", "hidden[12]", "--data", DATA, "--cache-dir", "OUT"), 0.4)
    yield Case("finetune", ("finetune", MODEL, "--data", DATA, "--epochs", "1", "-o", "OUT.ckpt"), 0.4)
    for large in (bundle, tensors, tree):
        yield Case(f"vars, large {large.suffix}", ("vars", large), 0.5)
        yield Case(f"verify, large {large.suffix}", ("verify", large), 0.5)
    yield Case("show, large .ckpt", ("show", bundle, "layer1/kernel"), 0.5)
    yield Case("diff, large .ckpt", ("diff", bundle, tensors), 0.5)
    yield Case("edit, large .ckpt", ("edit", bundle, "--rename", "layer1=>first", "-o", "OUT.ckpt"), 0.5)
    yield Case("convert, large to .safetensors", ("convert", bundle, "-o", "OUT.safetensors"), 0.5)
    yield Case("convert, large to .h5", ("convert", bundle, "-o", "OUT.h5"), 0.5)


def fill(folder: Path, megabytes: int) -> None:
    """Write the inputs."""
    rows = megabytes * (1 << 20) // TENSORS // 4 // 1024
    numbers = np.random.default_rng(0)
    large = {f"layer{each}/kernel": numbers.random((rows, 1024), np.float32) for each in range(TENSORS)}
    for suffix in ("ckpt", "safetensors", "h5"):
        checkpoint.save(large, folder / f"large.{suffix}")
    small = {f"layer{each}/kernel": np.ones((10, 10), np.float32) for each in range(20)}
    for suffix in ("safetensors", "h5"):
        checkpoint.save(small, folder / f"small.{suffix}")


def timed(checkout: Path, case: Case, folder: Path, of_processor: bool) -> float:
    """Run a command of a checkout, and return its seconds, or its processor time.

    Raises:
        SystemExit: if it fails.
    """
    place = folder / "out"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    words = [str(word).replace("OUT", str(place / "x")) for word in case.words]
    own = folder / f"home-{checkout.name}"
    homes = {f"XDG_{kind}_HOME": str(own / kind) for kind in ("CACHE", "STATE", "DATA", "CONFIG")}
    environment = {**os.environ, **homes, "PYTHONPATH": str(checkout)}
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"):  # a confined child does not write compiled modules
        environment.pop(name, None)
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        [sys.executable, "-m", "ckpttool", *words], env=environment, capture_output=True, cwd=folder, check=False
    )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise SystemExit(f"{checkout}: {' '.join(words)}: {ended.stderr.decode()[-500:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime if of_processor else seconds


def compared(
    case: Case, checkouts: tuple[Path, Path], turns: int, folder: Path, of_processor: bool
) -> tuple[list[float], list[float]]:
    """Return the seconds of the peer's and of our turns, after one untimed run of each."""
    times: tuple[list[float], list[float]] = ([], [])
    for checkout in checkouts:
        timed(checkout, case, folder, of_processor)
    for turn in range(max(2, round(turns * case.share))):
        for which in ((0, 1), (1, 0))[turn % 2]:
            times[which].append(timed(checkouts[which], case, folder, of_processor))
    return times


def main() -> int:
    """Print a line for each command; exit with 1 if one became slower than the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", type=Path)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--processor", action="store_true", help="its seconds, on a machine that has other work")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    slower = 0
    print("command | peer's best, median (s) | ours | ratio of the best | of the medians")
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name), options.megabytes)
        for checkout in (options.peer.resolve(), HERE):
            compileall.compile_dir(checkout / "ckpttool", quiet=1)
        for case in cases(Path(name)):
            if options.names and not any(part in case.name for part in options.names):
                continue
            times = compared(case, (options.peer.resolve(), HERE), options.turns, Path(name), options.processor)
            best, middle = ([function(each) for each in times] for function in (min, statistics.median))
            ratios = best[1] / best[0], middle[1] / middle[0]
            slower += min(ratios) > LIMIT
            row = f"{case.name} | {best[0]:.3f} {middle[0]:.3f} | {best[1]:.3f} {middle[1]:.3f}"
            print(f"{row} | {ratios[0]:.2f} | {ratios[1]:.2f}", flush=True)
    print(f"{slower} commands are slower than {LIMIT} times")
    return int(slower > 0)


if __name__ == "__main__":
    sys.exit(main())
