"""How often the 95 % interval of a difference contains the truth: 200 simulated searches of each kind, cell by cell.

    python benchmarks/bench_search_coverage.py [rows] [folds] [--searches 200]

rows: validation rows that are judged by the models of several seeds. Rows are easy or hard, some rows suit one
    configuration, and seeds differ with standard deviation `sd`: equal for all configurations, or larger the more they
    train. Outcomes are drawn from that.
folds: few rows, each judged in one fold, by models that share most of their rows as real ones do: ridge regression on
    the inputs, on some of them, or on a random layer that each fold draws anew. The truth is from 400 fresh draws.

Each cell contains the pairs of the first and of the last configuration with all others. The peer is the correlated t,
for the folds of one seed.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import sqrt
from statistics import NormalDist, fmean

import numpy as np
from numpy.typing import NDArray

from ckpttool.searching.blas import one_thread
from ckpttool.searching.configurations import Block, Configuration, Design, Outcome
from ckpttool.searching.estimates import Estimate, over_folds
from ckpttool.searching.recommendation import against

Scores = NDArray[np.float64]
Study = dict[Configuration, dict[Block, Outcome]]
Truth = Mapping[Configuration, float]

CONFIGURATIONS = [Configuration(keep, freeze) for keep in range(1, 4) for freeze in range(keep + 1)]
CLASSES, INPUTS = 4, 8
LAYERS: Sequence[tuple[str, int]] = [
    ("inputs", 8),
    ("inputs", 6),
    ("inputs", 4),
    *(("random", n) for n in (8, 12, 20, 40)),
]
"""The features of ridge regression: the first N inputs, or a random layer of N units."""


def by_skill(rng: np.random.Generator, design: Design, spreads: Scores) -> Study:
    """Draw the outcomes of a search on validation rows."""
    difficulty, found = rng.normal(size=design.rows) * 2, {}
    for place, configuration in enumerate(CONFIGURATIONS):
        own, seeds = rng.normal(size=design.rows), rng.normal(size=len(design.seeds)) * spreads[place]
        chance = rng.normal(size=(len(seeds), design.rows)) * sqrt(0.5)
        right = skill(place) + difficulty + own + seeds[:, np.newaxis] + chance > 0
        found[configuration] = {block: Outcome(line * 1.0) for block, line in zip(design.blocks, right, strict=True)}
    return found


def skill(place: int) -> float:
    return 3.0 - 0.06 * place


def by_skill_truly(spreads: Scores) -> Truth:
    """Return the expected accuracies on other rows and with other seeds."""
    scales = np.sqrt(4 + 1 + 0.5 + spreads**2).tolist()
    return {one: NormalDist().cdf(skill(place) / scales[place]) for place, one in enumerate(CONFIGURATIONS)}


def drawn(rng: np.random.Generator, centres: Scores, rows: int) -> tuple[Scores, NDArray[np.int64]]:
    """Draw rows around the centres of the classes."""
    labels = rng.integers(0, CLASSES, rows)
    return centres[labels] + rng.normal(size=(rows, INPUTS)), labels


def layer(inputs: Scores, kind: tuple[str, int], seed: int) -> Scores:
    """Return the features of ridge regression, with a column of ones."""
    name, units = kind
    weights = np.random.default_rng(seed).normal(size=(INPUTS, units)) if name == "random" else np.eye(INPUTS, units)
    made = inputs @ weights
    return np.hstack([np.maximum(made, 0) if name == "random" else made, np.ones((len(made), 1))])


def right(train: Scores, labels: NDArray[np.int64], judged: Scores, answers: NDArray[np.int64]) -> Scores:
    """Fit to some rows, and return for each other row whether it is right."""
    weights = np.linalg.solve(train.T @ train + np.eye(train.shape[1]), train.T @ np.eye(CLASSES)[labels])
    return np.asarray((judged @ weights).argmax(axis=1) == answers, np.float64)


def by_ridge(rng: np.random.Generator, design: Design, centres: Scores) -> Study:
    """Draw the rows of a search in folds, and fit and judge in all of them."""
    inputs, labels = drawn(rng, centres, design.rows)
    found: Study = {one: {} for one, _ in zip(CONFIGURATIONS, LAYERS, strict=False)}
    for seed in design.seeds:
        for fold, rows in enumerate(np.array_split(rng.permutation(design.rows), design.folds)):
            rest, number = np.setdiff1d(np.arange(design.rows), rows), int(rng.integers(1 << 30))
            for one, kind in zip(found, LAYERS, strict=True):
                x = layer(inputs, kind, number)
                found[one][Block(seed, fold)] = Outcome(right(x[rest], labels[rest], x[rows], labels[rows]), rows=rows)
    return found


def by_ridge_truly(design: Design, centres: Scores) -> Truth:
    """Return the accuracies on fresh rows after fitting to as many rows as a fold leaves."""
    rng, train = np.random.default_rng(11), design.rows - design.rows // design.folds
    found: dict[Configuration, list[float]] = {one: [] for one, _ in zip(CONFIGURATIONS, LAYERS, strict=False)}
    for seed in range(400):
        (x, y), (new, answers) = drawn(rng, centres, train), drawn(rng, centres, 2000)
        for one, kind in zip(found, LAYERS, strict=True):
            found[one].append(float(right(layer(x, kind, seed), y, layer(new, kind, seed), answers).mean()))
    return {one: fmean(values) for one, values in found.items()}


def correlated(one: Mapping[Block, Outcome], other: Mapping[Block, Outcome], design: Design) -> Estimate | None:
    """Return the correlated t over the folds of one seed; None for other designs."""
    if design.kind == "rows" or len(design.seeds) > 1:
        return None
    return over_folds([one[block].correct - other[block].correct for block in design.blocks], design.folds, 0.005)


def covered(search: Callable[[np.random.Generator], Study], truth: Truth, design: Design, searches: int) -> str:
    """Return how often intervals contain the truth, by pair and in total, and their width, with those of the peer."""
    ours: dict[tuple[Configuration, Configuration], list[bool]] = {}
    widths, theirs, their_widths, tried = list[float](), list[bool](), list[float](), list(truth)
    for number in range(searches):
        study = search(np.random.default_rng(number))
        for one, rivals in ((tried[0], tried), (tried[-1], tried[1:])):
            for other, found in against(one, tried, study, design, 0.005).items():
                if other not in rivals:
                    continue
                true = truth[other] - truth[one]
                ours.setdefault((one, other), []).append(found.low <= true <= found.high)
                widths.append(found.high - found.low)
                if peer := correlated(study[other], study[one], design):
                    theirs.append(peer.low <= true <= peer.high)
                    their_widths.append(peer.high - peer.low)
    pairs = [fmean(hits) for hits in ours.values()]
    text = f"{fmean(pairs):6.1%}, pairs {min(pairs):.1%} to {max(pairs):.1%}, width {100 * fmean(widths):5.1f} points"
    peer_text = f"; correlated t {fmean(theirs):.1%}, width {100 * fmean(their_widths):.1f}" if theirs else ""
    return f"{text}{peer_text}"


def cells(kind: str) -> Iterator[tuple[str, Callable[[np.random.Generator], Study], Truth, Design]]:
    """Yield the cells of a design."""
    if kind == "rows":
        for seeds, rows in ((2, 500), (3, 200), (3, 2000), (5, 500)):
            design = Design("rows", rows, 1, tuple(range(seeds)))
            for name, spreads in SPREADS.items():
                search = partial(by_skill, design=design, spreads=spreads)
                yield f"{seeds} seeds, {rows} rows, sd {name}", search, by_skill_truly(spreads), design
        return
    centres = np.random.default_rng(1).normal(size=(CLASSES, INPUTS)) * 0.6
    for seeds, rows in ((1, 100), (1, 200), (1, 500), (3, 100), (3, 200)):
        design = Design("folds", rows, 5, tuple(range(seeds)))
        search = partial(by_ridge, design=design, centres=centres)
        yield (
            f"{seeds} seed{'s' * (seeds > 1)} of 5 folds, {rows} rows",
            search,
            by_ridge_truly(design, centres),
            design,
        )


SPREADS = {
    "0.1": np.full(len(CONFIGURATIONS), 0.1),
    "0.4": np.full(len(CONFIGURATIONS), 0.4),
    "0.05 to 0.5": np.linspace(0.05, 0.5, len(CONFIGURATIONS)),
}
"""The standard deviation of seeds; without it, outcomes have a standard deviation of 2.3."""


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("kinds", nargs="*", default=["rows", "folds"])
    asked.add_argument("--searches", type=int, default=200)
    given = asked.parse_args()
    with one_thread():
        for kind in given.kinds:
            for text, search, truth, design in cells(kind):
                print(f"{text:<34} {covered(search, truth, design, given.searches)}, goal 92 to 98 %", flush=True)


if __name__ == "__main__":
    main()
