"""Verbs on large checkpoints at the speed of the disk: each compared with reading or copying the same bytes.

The bundles have BERT-large's shape: 1.33 GB, 385 tensors (bert_bundle.py). Whole processes are timed, start included.
In each turn the contenders of a row run one after the other, each starting with no unwritten data; the ratios of the
best times and of the medians are printed as a row of a table, next to the goal. Memory is an upper bound: the kernel
counts what a process had before its own program started, which is that of this one. It never fails.

With `--cold` the sources are not in the page cache when a contender starts: all read from the disk.

Run: .venv/bin/python benchmarks/bench_surgery_disk.py [--cold] [--turns N] [--only ROW ...] [FOLDER]
"""

import argparse
import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

import bench_surgery
import bert_bundle
from bench_surgery import Run, ours, theirs

TORCH_TIES = """
import sys, torch
from safetensors.torch import load_file, save_file
base, *models = [load_file(path) for path in sys.argv[1:5]]
out = {}
for name, start in base.items():
    deltas = []
    for model in models:
        delta = (model[name] - start).flatten()
        least = delta.abs().kthvalue(max(1, delta.numel() - int(0.2 * delta.numel()))).values
        deltas.append(torch.where(delta.abs() >= least, delta, 0))
    stacked = torch.stack(deltas)
    agree = torch.sign(stacked) == torch.sign(stacked.sum(0))
    mean = (stacked * agree).sum(0) / (agree & (stacked != 0)).sum(0).clamp(min=1)
    out[name] = start + mean.reshape(start.shape)
save_file(out, sys.argv[5])
"""
AVERAGE = '[[step]]\naverage = ["a", "b", "c"]\n'
FINITE = '[[step]]\nassert = "bert/.*"\nfinite = true\n'
NORM = '[[step]]\nassert = ".*/kernel"\nnorm = [0.1, 1e6]\n'
RENAMES = "".join(f'[[step]]\nrename = "{old}=>{new}"\n' for old, new in (("bert", "model"), ("cls", "head")))
BACK = "".join(
    f'[[step]]\nrename = "{old}=>{new}"\n'
    for old, new in (("model/encoder", "model/blocks"), ("model/embeddings", "model/words"))
)
COUNTS = 3 * '[[step]]\nassert = ".*/kernel"\ndtype = "float32"\n'
PLANS = {"ten": AVERAGE + FINITE + NORM + COUNTS + RENAMES + BACK, "average": AVERAGE, "norm": NORM, "finite": FINITE}


class Row(NamedTuple):
    """A command and its peers, the slowest of which counts; the goal for the ratio of times."""

    goal: str
    ours: list[str]
    peers: list[list[str]]


def rows(folder: Path) -> dict[str, Row]:
    """Return the rows of the table, which write to `out` in the folder."""
    a, b, c, out = (folder / name for name in ("a", "b", "c", "out"))
    data = [f"{path}.data-00000-of-00001" for path in (a, b, c)]
    read = "for file; do dd if=$file of=/dev/null bs=4M; done"
    copied = ["sh", "-c", 'cp "$0" "$1" && sync "$1"', data[0], str(out / "copy")]
    base, *models = [folder / f"{name}.safetensors" for name in "dabc"]
    for name, text in PLANS.items():
        (folder / f"{name}.toml").write_text(text)
    plans = {name: ours("apply", folder / f"{name}.toml", a, b, c, "-o", out / "x.safetensors") for name in PLANS}
    merge = ours("merge", *models, "--how", "ties", "--base", base, "-o", out / "x.safetensors")
    torch = theirs(TORCH_TIES, base, *models, out / "x.safetensors")
    return {
        "verify / dd": Row("1.25", ours("verify", a), [["sh", "-c", read, "sh", data[0]]]),
        "edit --rename / cp + sync": Row("1.1", ours("edit", a, "--rename", "bert=>model", "-o", out / "x"), [copied]),
        "convert / cp + sync": Row("1.1", ours("convert", a, "-o", out / "x.safetensors"), [copied]),
        "average of three / dd": Row(
            "1.5", ours("average", a, b, c, "-o", out / "x.ckpt"), [["sh", "-c", read, "sh", *data]]
        ),
        "diff of two / dd": Row("1.5", ours("diff", a, b), [["sh", "-c", read, "sh", *data[:2]]]),
        "apply of ten steps / its slowest": Row("1.5", plans["ten"], [plans[name] for name in list(PLANS)[1:]]),
        "merge --how ties of three / torch": Row("0.5", merge, [torch]),
    }


def forget(folder: Path) -> None:
    """Drop the files of a folder from the page cache; unwritten data would remain in it."""
    os.sync()
    for path in folder.iterdir():
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(row: Row, turns: int, out: Path, cold: bool) -> list[list[Run]]:
    """Return the runs of the command and of each peer."""
    runs: list[list[Run]] = [[] for _ in (row.ours, *row.peers)]
    for _ in range(turns):
        for kept, command in zip(runs, (row.ours, *row.peers), strict=True):
            out.mkdir()
            if cold:
                forget(out.parent)
            kept.append(bench_surgery.run(command))
            shutil.rmtree(out)
    return runs


def line(name: str, row: Row, runs: list[list[Run]]) -> str:
    """Return the row of the table: seconds, ratios and memory."""
    best, middle = ([choose(run.seconds for run in each) for each in runs] for choose in (min, statistics.median))
    peaks = [max(run.peak for run in each) for each in runs]
    ratios = " | ".join(f"{mine / max(peers):.2f}" for mine, *peers in (best, middle))
    return f"| {name} | {middle[0]:.2f} s | {ratios} | {row.goal} | {peaks[0]:.0f} MB | {max(peaks[1:]):.0f} MB |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--part", type=int, default=1)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        for seed, source in enumerate("abc"):
            bert_bundle.write(folder / source, arguments.part, seed)
        print(
            "| what / against | median | best ratio | median ratio | goal at most | memory, at most | theirs, at most |"
        )
        print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
        for what, row in rows(folder).items():
            if not arguments.only or any(word in what for word in arguments.only):
                if "ties" in what:
                    bert_bundle.write(folder / "d", arguments.part, 3)
                    for source in "abcd":
                        bench_surgery.run(ours("convert", folder / source, "-o", folder / f"{source}.safetensors"))
                print(line(what, row, measure(row, arguments.turns, folder / "out", arguments.cold)), flush=True)


if __name__ == "__main__":
    main()
