"""`search --quick` compared with training the heads that it predicts, on the chapter's question: MNIST's 0-4 for 5-9.

    python benchmarks/bench_search.py [mnist.npz] [FOLDER]

There are 100, 500 and 2,000 labelled rows of 5-9 (`digits.py`); at each of six depths a linear head is trained on the
frozen layers (cached, three seeds, the best epoch by 1,000 more rows), and judged by MNIST's test rows of 5-9.
Kendall's tau between the scores and the heads' accuracy is printed, and both times. A folder keeps the network of 0-4.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from digits import HEAD, Digits, base

import ckpttool

EPOCHS = {100: 100, 500: 60, 2000: 40}
"""The maximal number of epochs by the number of rows."""
SEEDS = range(3)


def kendall(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Kendall's tau: the fraction of pairs in the same order, minus that of pairs in the opposite order.

    >>> kendall([1, 2, 3], [10, 20, 30]), kendall([1, 2, 3], [3, 2, 1])
    (1.0, -1.0)
    """
    pairs = [(a, b) for a in range(len(one)) for b in range(a)]
    return fmean(float(np.sign(one[a] - one[b]) * np.sign(other[a] - other[b])) for a, b in pairs)


def head(folder: Path, model: ckpttool.Model, count: int, depth: int, seed: int) -> float:
    """Return the test accuracy of a head trained on a frozen depth."""
    made, tuned, data = folder / "made.ckpt", folder / "tuned.ckpt", folder / f"{count}.npz"
    recipe = ckpttool.Recipe("adam(0.005)")
    layers = f"hidden[1-{depth}]" if depth else None
    if layers:
        ckpttool.plan_reuse(model, layers, head=HEAD, recipe=recipe, seed=seed).write(made, overwrite=True)
    else:
        ckpttool.new([784], HEAD, made, recipe, seed=seed, overwrite=True)
    cache = {"cache": True, "cache_dir": folder / "cache"} if layers else {}
    epochs = {"epochs": EPOCHS[count], "early_stopping": 10, "batch_size": min(100, count // 5)}
    options = ckpttool.Options(freeze=layers, recipe=recipe, seed=seed, **epochs, **cache)  # type: ignore[arg-type]
    ckpttool.finetune(ckpttool.Model.open(made), data, tuned, options, overwrite=True)
    accuracy: float | None = ckpttool.evaluate(ckpttool.Model.open(tuned), data).accuracy
    return accuracy or 0.0


def row(folder: Path, model: ckpttool.Model, count: int) -> dict[str, Any]:
    """Return the figures for a number of rows."""
    found = ckpttool.search_quick(model, folder / f"{count}.npz")
    depths = found.ranking.depths
    began = time.perf_counter()
    accuracy = [fmean(head(folder, model, count, depth, seed) for seed in SEEDS) for depth in range(len(depths))]
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


def main(data: str = "mnist.npz", kept: str | None = None) -> None:
    ckpttool.configure_tensorflow()
    with tempfile.TemporaryDirectory() as name:
        folder, digits = Path(name), Digits(Path(data))
        model = base(Path(kept or name), Path(data))
        for count in EPOCHS:
            digits.write(folder / f"{count}.npz", count, watched=True)
            figures = row(folder, model, count)
            features, scores = figures["seconds"]
            print(f"{count:5d} rows  heads     {shown(figures['heads'])}")
            print(f"            expected  {shown(figures['expected'])}")
            print(f"            tau {figures['tau']:.2f} (LogME {figures['tau_logme']:.2f}), goal 0.8", end="  ")
            print(f"features {features:.2f} s, scores {scores:.2f} s, goal 1.0", end="  ")
            print(
                f"heads {figures['heads_seconds']:.1f} s, x {figures['heads_seconds'] / (features + scores):.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
