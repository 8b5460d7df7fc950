"""The rows of a search: which are trained on and judged in each block, and which choose nothing and tell the result.

All configurations meet the same rows. Under 2,000 labelled rows each of them is judged, in folds by class; else the
file's validation rows are, or a tenth. The winner is told by rows that never took part: the file's test rows, or some
that are set apart before anything is tried.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.core.errors import DataError
from ckpttool.data.drawing import Numbers, classes_of, draw, shuffled
from ckpttool.data.splits import Split
from ckpttool.searching.configurations import FOLDS_BELOW, Block, Design

TOLD = Block(0, -1)
"""Trains on the rows that choose, and judges those that tell; another seed's would be as good."""
APART = {"folds": 5, "rows": 10}
"""One of so many rows tells the result, by the design, where a file has no test rows."""
VALIDATION = 10
"""One of so many rows is judged, where there are too many for folds and the file has none for validation."""


@dataclass(frozen=True, eq=False)
class SearchRows:
    """The rows that choose, those that tell, and which of the former are judged where they are not in folds.

    `taken` is how many rows to train on there were, before some were set apart to be judged.
    `apart` says whether those that tell were set apart from those to train on: the file has no test rows then.
    """

    choosing: Split
    telling: Split
    validation: Numbers
    design: Design
    seed: int
    taken: int
    apart: bool = False

    @classmethod
    def of(
        cls, split: Split, counts: Mapping[str, int], seeds: int, folds: int, seed: int, rows: int | None = None
    ) -> "SearchRows":
        """Divide a split that has so many rows to train on, then to validate on, then to test on.

        `rows` takes so many of those to train on, by class; they are among those of any larger number.

        Raises:
            DataError: there are too few rows, or no labels.
        """
        if split.labels is None:
            raise DataError("a search needs labelled rows")
        classes = classes_of(split.labels, split.labels.dtype.kind in "iu")
        ends = np.cumsum([counts["train"], counts["valid"], counts["test"]])
        train, valid, test = np.split(np.arange(split.rows), ends[:2])
        train = train if rows is None else _fewer(train, rows, classes, seed)
        kind = "folds" if len(train) + len(valid) < FOLDS_BELOW else "rows"
        if kind == "folds":
            train, valid = np.sort(np.concatenate([train, valid])), valid[:0]
        taken, apart = len(train), not len(test)
        if apart:
            test, train = _apart(train, len(train) // APART[kind], classes, seed)
        if kind == "rows" and not len(valid):
            valid, train = _apart(train, len(train) // VALIDATION, classes, seed)
        choosing = np.sort(np.concatenate([train, valid]))
        design = Design.of(len(choosing), len(valid), seeds, folds)
        places = np.searchsorted(choosing, valid)
        parts = split.part("choosing", choosing), split.part("telling", test)
        return cls(*parts, places, design, seed, taken, apart)

    def of_block(self, block: Block) -> tuple[Numbers, Numbers]:
        """Return which rows a block trains on and which it judges, by their places in `choosing` (or in `telling`).

        Blocks of one design train on equally many rows, so that what is built for one serves the others.
        """
        every = np.arange(self.choosing.rows)
        if self.design.kind == "rows":
            train = np.setdiff1d(every, self.validation)
            return (train, np.arange(self.telling.rows)) if block.tells else (train, self.validation)
        if block.tells:
            return every, np.arange(self.telling.rows)
        fold = _folds(self.choosing, self.design.folds, self.seed + block.seed)
        judged, train = np.flatnonzero(fold == block.fold), np.flatnonzero(fold != block.fold)
        spare = len(train) - (len(every) - -(-len(every) // self.design.folds))
        left = shuffled(len(train), self.seed + block.seed)[: len(train) - spare]
        return train[np.sort(left)], judged

    def splits(self, block: Block) -> tuple[Split, Split]:
        """Return the rows that a block trains on, and those that it judges."""
        train, judged = self.of_block(block)
        return self.choosing.part("train", train), (self.telling if block.tells else self.choosing).part(
            "valid", judged
        )


def said(rows: SearchRows) -> str:
    """Say which rows choose, and which tell."""
    design, telling = rows.design, f"{rows.telling.rows} others estimate the accuracy of the selection"
    seeds = counted(len(design.seeds), "seed")
    if design.kind == "folds":
        return f"each of {design.rows} rows is judged in {counted(design.folds, 'fold')}, with {seeds}; {telling}"
    train = rows.choosing.rows - design.rows
    return f"{train} rows are trained on and {design.rows} judged, with {seeds}; {telling}"


def _folds(split: Split, folds: int, seed: int) -> Numbers:
    """Return the fold of each row: each class is spread over all folds, whose sizes differ by one at most."""
    order = shuffled(split.rows, seed)
    classes = None if split.labels is None else classes_of(split.labels, split.labels.dtype.kind in "iu")
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    fold = np.empty(split.rows, np.int64)
    fold[order] = np.arange(split.rows) % folds
    return fold


def _apart(train: Numbers, count: int, classes: Numbers | None, seed: int) -> tuple[Numbers, Numbers]:
    """Return so many of the rows, drawn by class, and the others.

    Raises:
        DataError: there are too few.
    """
    if not 0 < count < len(train):
        raise DataError(
            f"{counted(len(train), 'labelled row is', 'labelled rows are')} too few for a search: "
            "some choose, others tell what was chosen"
        )
    places = draw(len(train), count, None if classes is None else classes[train], seed)
    return train[places], np.delete(train, places)


def _fewer(train: Numbers, count: int, classes: Numbers | None, seed: int) -> Numbers:
    """Return so many of the rows, by class; a smaller number is the beginning of a larger one.

    Raises:
        DataError: there are not as many.
    """
    if not 0 < count <= len(train):
        raise DataError(f"`rows` {count}: there are {len(train)} rows to train on")
    order = shuffled(len(train), seed)
    codes = np.zeros(len(train), np.int64) if classes is None else np.unique(classes[train], return_inverse=True)[1]
    sizes, by_class = np.bincount(codes), np.argsort(codes[order], kind="stable")
    place = np.empty(len(train))  # of a row in its class, from 0 to 1: the first of all classes come first
    place[by_class] = np.concatenate([(np.arange(size) + 0.5) / size for size in sizes])
    return np.sort(train[order[np.argsort(place, kind="stable")[:count]]])
