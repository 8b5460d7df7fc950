"""A search with two workers compared with one: processes, and actors of a local Ray; about five minutes.

    python benchmarks/bench_search_executors.py [processes ray] [--data mnist.npz] [--repeats 2] [--folder KEPT]

The chapter's question (`digits.py`) with 500 rows: all ways to keep three to five layers, in three folds. Workers are
warmed up by a small search: they have imported TensorFlow, and loaded the model and the rows. The best of the repeats
counts. The machine's load is printed, too: on a busy machine two workers get two shares of the cores, and the ratio
means little.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

from digits import HEAD, Digits, base

import ckpttool
from ckpttool.executors.registry import open_executor
from ckpttool.verbs.search import SearchOptions, search_reuse

ROWS, EPOCHS, FOLDS = 500, 40, 3
GOALS = {"processes": 1.7, "ray": 1.5}


def timed(model: ckpttool.Model, data: Path, place: str, workers: int, repeats: int, folder: Path) -> list[float]:
    """Return the seconds of the same search, repeated with the same workers."""
    recipe = ckpttool.Recipe("adam(0.003)")
    options = ckpttool.Options(recipe=recipe, epochs=EPOCHS, batch_size=20, cache_dir=tempfile.mkdtemp(dir=folder))
    seconds: list[float] = []
    with open_executor(place, workers) as executor:
        for number, keep in enumerate(["1", *["3-5"] * repeats]):
            how = SearchOptions(grid=True, keep=keep, seeds=1, folds=FOLDS, rope=1.0)
            output = folder / f"{place}_{workers}_{number}"
            began = time.perf_counter()
            search_reuse(
                model, data, HEAD, output, options=options, how=how, overwrite=True, executor=executor, write=False
            )
            seconds.append(time.perf_counter() - began)
    return seconds[1:]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("places", nargs="*", default=list(GOALS))
    asked.add_argument("--data", type=Path, default=Path("mnist.npz"))
    asked.add_argument("--repeats", type=int, default=2)
    asked.add_argument("--folder", type=Path)
    given = asked.parse_args()
    ckpttool.configure_tensorflow()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = base(given.folder or folder, given.data)
        data = Digits(given.data).write(folder / "rows.npz", ROWS)
        for place in given.places:
            one, two = (timed(model, data, place, workers, given.repeats, folder) for workers in (1, 2))
            figures = (
                f"one worker {min(one):.1f} s (median {median(one):.1f}), two {min(two):.1f} s ({median(two):.1f})"
            )
            ratio, load = min(one) / min(two), os.getloadavg()[0]
            print(f"{place:<10} {figures}: x {ratio:.2f}, goal {GOALS[place]}; load {load:.1f}", flush=True)


if __name__ == "__main__":
    main()
