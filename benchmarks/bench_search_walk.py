"""A search compared with a full grid, and with trials made one by one, on the chapter's question (`digits.py`).

    python benchmarks/bench_search_walk.py [walk caches cost] [--data mnist.npz] [--resamples 20] [--folder KEPT]

walk: each of 20 draws of the rows is searched twice: every trial of the grid, and the walk. The grid's best and the
    walk's answer are then trained on all rows, by ten seeds each, and judged by MNIST's test rows of 5-9: the answer is
    within the rope if it is at most half a point worse.
caches: the trials of one walk compared with the same ones made one by one: `reuse`, `finetune`, `evaluate`, uncached.
cost: the time of a trial besides its training steps, the first of a configuration and the others.

Seconds are wall-clock; in brackets are those of the processor, which are more reliable on a busy machine.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from digits import HEAD, HIDDEN, Digits, base

import ckpttool
from ckpttool.runtime.epochs import EpochRunner
from ckpttool.searching.configurations import Block, Configuration
from ckpttool.searching.found import Search
from ckpttool.searching.trials import Trials, TrialSettings
from ckpttool.verbs.search import SearchOptions, search_reuse

ROWS = 500
"""Number of labelled rows of a search."""
EPOCHS = 20
ROPE = 0.005
SEEDS = 10
"""Number of seeds with which a result is trained again and judged by the test rows."""
RECIPE = ckpttool.Recipe("adam(0.003)")
ONE_BY_ONE = 12
"""Number of trials that are made one by one."""


@dataclass
class Clock:
    """Seconds of wall-clock and of processor time."""

    wall: float = 0.0
    cpu: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add the time spent within the block."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.wall, self.cpu = self.wall + time.perf_counter() - wall, self.cpu + time.process_time() - cpu

    def __str__(self) -> str:
        return f"{self.wall:.1f} s ({self.cpu:.1f})"


def options(folder: Path) -> ckpttool.Options:
    """Return the options of the trials, with a new cache."""
    return ckpttool.Options(recipe=RECIPE, epochs=EPOCHS, cache_dir=tempfile.mkdtemp(dir=folder))


def searched(model: ckpttool.Model, data: Path, grid: bool, folder: Path, clock: Clock) -> Search:
    """Search in this process, with its own cache; for a grid, without pruning."""
    output = data.with_suffix(".grid" if grid else ".walk")
    how = SearchOptions(grid=grid, seeds=1, rope=1.0 if grid else ROPE)
    with clock.running():
        return search_reuse(model, data, HEAD, output, options=options(folder), how=how, overwrite=True, write=False)


def answer(found: Search) -> Configuration:
    """Return the recommendation, or the best configuration if the search could not decide."""
    assert found.recommendation is not None
    return found.recommendation.configuration or found.recommendation.best


def told(trials: Trials, configuration: Configuration) -> float:
    """Return the mean test accuracy of a configuration trained on all other rows."""
    outcomes = (trials((configuration, Block(seed, -1))) for seed in range(SEEDS))
    return fmean(outcome.accuracy or 0.0 for outcome in outcomes)


def walk(model: ckpttool.Model, digits: Digits, folder: Path, resamples: int) -> None:
    """Print, for each draw of the rows, the results and times of grid and walk."""
    within, recommended, clocks = 0, 0, {True: Clock(), False: Clock()}
    searched(model, digits.write(folder / "warm.npz", ROWS, 1000), False, folder, Clock())
    print(f"{'':<4} {'best of the grid':<18} {'answer of the walk':<18} {'behind':>7}  grid, walk")
    for draw in range(resamples):
        data, spent = digits.write(folder / f"{draw}.npz", ROWS, draw), {True: Clock(), False: Clock()}
        found = {grid: searched(model, data, grid, folder, spent[grid]) for grid in (draw % 2 == 0, draw % 2 == 1)}
        by_grid, by_walk = found[True].recommendation, found[False].recommendation
        assert by_grid is not None
        assert by_walk is not None
        best, one = by_grid.best, answer(found[False])
        trials, lost = Trials(model, TrialSettings(data, HEAD, options(folder))), 0.0
        if one != best:
            lost = told(trials, best) - told(trials, one)
        within, recommended = within + (lost <= ROPE), recommended + (by_walk.configuration is not None)
        for way, clock in clocks.items():
            clock.wall, clock.cpu = clock.wall + spent[way].wall, clock.cpu + spent[way].cpu
        print(f"{draw:<4} {best!s:<18} {one!s:<18} {100 * lost:+7.2f}  {spent[True]}, {spent[False]}", flush=True)
    grid, ours = clocks[True], clocks[False]
    print(f"within the rope {within} of {resamples} (goal 90 %); {recommended} were recommended, the others the best")
    print(f"walk / grid x {ours.wall / grid.wall:.2f} ({ours.cpu / grid.cpu:.2f}), goal 0.50")


def caches(model: ckpttool.Model, digits: Digits, folder: Path) -> None:
    """Print the time of a trial in a search, and of some of the same trials made one by one."""
    data, ours, theirs = digits.write(folder / "caches.npz", ROWS), Clock(), Clock()
    found = searched(model, data, False, folder, ours)
    every = [(Configuration(t["keep"], t["freeze"]), Block(t["seed"], t["fold"])) for t in found.as_json()["trials"]]
    some = every[:: max(1, len(every) // ONE_BY_ONE)]
    with np.load(data, allow_pickle=False) as arrays:
        x, y = arrays["x_train"], arrays["y_train"]
    for configuration, block in some:
        train, judged = found.rows.of_block(block)
        rows = folder / "block.npz"
        np.savez(rows, x_train=x[train], y_train=y[train], x_valid=x[judged], y_valid=y[judged])
        with theirs.running():
            one_by_one(model, configuration, rows, folder)
    wall, cpu = ((b / len(some)) / (a / len(every)) for a, b in ((ours.wall, theirs.wall), (ours.cpu, theirs.cpu)))
    print(f"{len(every)} trials of a search {ours}, {len(some)} of them one by one {theirs}", end=": ")
    print(f"x {wall:.1f} ({cpu:.1f}), goal 2.5", flush=True)


def one_by_one(model: ckpttool.Model, configuration: Configuration, rows: Path, folder: Path) -> None:
    """Run a trial with `reuse` and `finetune`."""
    made, (keep, freeze) = folder / "made.ckpt", (configuration.keep, configuration.freeze)
    if keep:
        plan = ckpttool.plan_reuse(model, f"hidden[1-{keep}]", head=HEAD, recipe=RECIPE)
        plan.write(made, overwrite=True)
    else:
        ckpttool.new([784], f"{HIDDEN}; {HEAD}", made, RECIPE, overwrite=True)
    frozen, first = f"hidden[1-{freeze}]" if freeze else None, EPOCHS if keep > freeze else None
    how = replace(options(folder), freeze=frozen, lp_ft=first, keep="last", cache_dir=None)
    ckpttool.finetune(ckpttool.Model.open(made), rows, folder / "tuned.ckpt", how, overwrite=True)


@contextmanager
def steps_timed(clock: Clock) -> Iterator[None]:
    """Measure the seconds of training steps within the block."""
    steps = EpochRunner.steps

    def timed(*given: Any, **named: Any) -> Any:
        with clock.running():
            return steps(*given, **named)

    EpochRunner.steps = timed  # type: ignore[method-assign]
    try:
        yield
    finally:
        EpochRunner.steps = steps  # type: ignore[method-assign]


def cost(model: ckpttool.Model, digits: Digits, folder: Path) -> None:
    """Print the time of trials without their steps: the first of all, the first of each configuration, and the others.

    A first trial traces its steps while it runs them, so its steps are counted with the time of later ones.
    """
    trials = Trials(model, TrialSettings(digits.write(folder / "cost.npz", ROWS), HEAD, options(folder)))
    beside: dict[str, list[Clock]] = {"first of all": [], "first of a configuration": [], "others": []}
    grid = [Configuration(keep, freeze) for keep in range(6) for freeze in range(keep + 1)]
    for configuration in grid:
        spent = [trial_and_steps(trials, configuration, fold) for fold in range(3)]
        wall, cpu = (min(getattr(steps, name) for _, steps in spent[1:]) for name in ("wall", "cpu"))
        kind = "first of all" if configuration == grid[0] else "first of a configuration"
        beside[kind].append(Clock(spent[0][0].wall - wall, spent[0][0].cpu - cpu))
        beside["others"] += [Clock(whole.wall - steps.wall, whole.cpu - steps.cpu) for whole, steps in spent[1:]]
    for kind, clocks in beside.items():
        of_clock, of_processor = ([getattr(clock, name) for clock in clocks] for name in ("wall", "cpu"))
        told = (f"{what(of_clock):.3f} s ({what(of_processor):.3f})" for what in (min, median, max))
        print(f"beside its steps, {kind:<25} best, median, worst {', '.join(told)}, goal 0.3", flush=True)


def trial_and_steps(trials: Trials, configuration: Configuration, fold: int) -> tuple[Clock, Clock]:
    """Run a trial; return its total time, and the time of its steps."""
    whole, steps = Clock(), Clock()
    with steps_timed(steps), whole.running():
        trials((configuration, Block(0, fold)))
    return whole, steps


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("rows", nargs="*", default=["cost", "caches", "walk"])
    asked.add_argument("--data", type=Path, default=Path("mnist.npz"))
    asked.add_argument("--resamples", type=int, default=20)
    asked.add_argument("--folder", type=Path)
    given = asked.parse_args()
    ckpttool.configure_tensorflow()
    with tempfile.TemporaryDirectory() as name:
        folder = given.folder or Path(name)
        model, digits = base(folder, given.data), Digits(given.data)
        rows: dict[str, Callable[[], None]] = {
            "walk": lambda: walk(model, digits, folder, given.resamples),
            "caches": lambda: caches(model, digits, folder),
            "cost": lambda: cost(model, digits, folder),
        }
        for row in given.rows:
            rows[row]()


if __name__ == "__main__":
    main()
