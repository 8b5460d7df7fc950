"""`search --quick` against training the heads that it predicts, on the chapter's question: MNIST's 0-4 reused for 5-9.

    python benchmarks/bench_search.py [mnist.npz]

The network (784 and five layers of 100 units, ELU, He, Adam 0.01, batches of 20, early stopping) is trained on 0-4.
Of 5-9 there are 100, 500 and 2,000 labelled rows; at each of six depths a linear head is trained on the frozen layers
(cached, three seeds, the best epoch by 1,000 more rows), and judged by MNIST's test rows of 5-9. Printed is Kendall's
tau between the scores and the heads' accuracy, and what both took.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

import ckpttool
from ckpttool.data.drawing import draw

HIDDEN = "; ".join(f"hidden{number} = dense(100, elu, he)" for number in range(1, 6))
HEAD = "outputs = dense(10)"
EPOCHS = {100: 100, 500: 60, 2000: 40}
"""Epochs at most by the number of rows."""
SEEDS = range(3)
WATCHED = 1000


def kendall(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Kendall's tau: of all pairs, how many more are in the same order than in the opposite one.

    >>> kendall([1, 2, 3], [10, 20, 30]), kendall([1, 2, 3], [3, 2, 1])
    (1.0, -1.0)
    """
    pairs = [(a, b) for a in range(len(one)) for b in range(a)]
    return fmean(float(np.sign(one[a] - one[b]) * np.sign(other[a] - other[b])) for a, b in pairs)


def written(folder: Path, data: Path) -> Path:
    """Write the rows of 0-4, and of 5-9 by their number, and train the network on the former."""
    with np.load(data, allow_pickle=False) as arrays:
        x, y, test = arrays["x_train"], arrays["y_train"], arrays["y_test"] > 4
        tested = {"x_test": arrays["x_test"][test], "y_test": arrays["y_test"][test]}
    low, x, y = (x[y < 5], y[y < 5]), x[y > 4], y[y > 4]
    np.savez(
        folder / "low.npz",
        x_train=low[0][:-3000],
        y_train=low[1][:-3000],
        x_valid=low[0][-3000:],
        y_valid=low[1][-3000:],
    )
    watched = {"x_valid": x[-WATCHED:], "y_valid": y[-WATCHED:]}
    for count in EPOCHS:
        rows = draw(len(x) - WATCHED, count, y[:-WATCHED].astype(np.int64), 0)
        np.savez(folder / f"{count}.npz", x_train=x[rows], y_train=y[rows], **watched, **tested)
    recipe = ckpttool.Recipe("adam(0.01)")
    ckpttool.new([784], f"{HIDDEN}; outputs = dense(5)", folder / "fresh.ckpt", recipe)
    options = ckpttool.Options(recipe=recipe, epochs=60, batch_size=20, early_stopping=20)
    ckpttool.finetune(ckpttool.Model.open(folder / "fresh.ckpt"), folder / "low.npz", options, folder / "base.ckpt")
    return folder / "base.ckpt"


def head(folder: Path, base: ckpttool.Model, count: int, depth: int, seed: int) -> float:
    """Return the test accuracy of a head that is trained on a frozen depth."""
    made, tuned, data = folder / "made.ckpt", folder / "tuned.ckpt", folder / f"{count}.npz"
    recipe = ckpttool.Recipe("adam(0.005)")
    layers = f"hidden[1-{depth}]" if depth else None
    if layers:
        ckpttool.plan_reuse(base, layers, head=HEAD, recipe=recipe, seed=seed).write(made, overwrite=True)
    else:
        ckpttool.new([784], HEAD, made, recipe, seed=seed, overwrite=True)
    cache = {"cache": True, "cache_dir": folder / "cache"} if layers else {}
    epochs = {"epochs": EPOCHS[count], "early_stopping": 10, "batch_size": min(100, count // 5)}
    options = ckpttool.Options(freeze=layers, recipe=recipe, seed=seed, **epochs, **cache)  # type: ignore[arg-type]
    ckpttool.finetune(ckpttool.Model.open(made), data, options, tuned, overwrite=True)
    accuracy: float | None = ckpttool.evaluate(ckpttool.Model.open(tuned), data).accuracy
    return accuracy or 0.0


def row(folder: Path, base: ckpttool.Model, count: int) -> dict[str, Any]:
    """Return the figures for so many rows."""
    found = ckpttool.search_quick(base, folder / f"{count}.npz")
    depths = found.ranking.depths
    began = time.perf_counter()
    accuracy = [fmean(head(folder, base, count, depth, seed) for seed in SEEDS) for depth in range(len(depths))]
    trained = time.perf_counter() - began
    return {
        "rows": count,
        "heads": accuracy,
        "expected": [each.expected for each in depths],
        "tau": kendall(accuracy, [each.expected for each in depths]),
        "tau_logme": kendall(accuracy, [each.scores.logme for each in depths]),
        "seconds": found.seconds,
        "heads_seconds": trained,
    }


def shown(values: Sequence[float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)


def main(data: str) -> None:
    ckpttool.configure_tensorflow()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = ckpttool.Model.open(written(folder, Path(data)))
        for count in EPOCHS:
            figures = row(folder, base, count)
            features, scores = figures["seconds"]
            print(f"{count:5d} rows  heads     {shown(figures['heads'])}")
            print(f"            expected  {shown(figures['expected'])}")
            print(f"            tau {figures['tau']:.2f} (LogME {figures['tau_logme']:.2f})", end="  ")
            print(f"features {features:.2f} s, scores {scores:.2f} s, heads {figures['heads_seconds']:.1f} s", end="  ")
            print(f"x {figures['heads_seconds'] / (features + scores):.0f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:] or ["mnist.npz"])
