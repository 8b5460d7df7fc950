"""The rows of a search: those to train on and evaluate in each block, and those held out for the final estimate.

All configurations use the same rows. With fewer than 2,000 labelled rows, all are evaluated by cross-validation,
stratified by class; otherwise the file's validation rows are, or a tenth. The final accuracy is estimated on rows that
were not used for the selection: the file's test rows, or some that are held out before the first trial.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.core.errors import DataError
from ckpttool.data.drawing import Numbers, classes_of, draw, shuffled
from ckpttool.data.splits import Split
from ckpttool.searching.configurations import FOLDS_BELOW, Block, Design

FINAL = Block(0, -1)
"""Trains on the selection rows and evaluates the held-out rows; the seed is arbitrary."""
APART = {"folds": 5, "rows": 10}
"""The inverse of the fraction of rows held out for the final estimate, by design, if a file has no test rows."""
VALIDATION = 10
"""The inverse of the fraction of validation rows, if there are too many for folds and the file has none."""


@dataclass(frozen=True, eq=False)
class SearchRows:
    """The selection rows (`choosing`), the held-out rows (`held_out`), and which selection rows are for validation.

    `taken` is the number of training rows before others were split off. `apart` is whether the held-out rows were
    split off the training rows, because the file has no test rows.
    """

    choosing: Split
    held_out: Split
    validation: Numbers
    design: Design
    seed: int
    taken: int
    apart: bool = False

    @classmethod
    def of(
        cls, split: Split, counts: Mapping[str, int], seeds: int, folds: int, seed: int, rows: int | None = None
    ) -> "SearchRows":
        """Divide a split that contains the training, the validation and the test rows, in this order.

        `counts` has their numbers. `rows` limits the training rows, by a stratified sample that is part of any larger
        sample.

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
        """Return the indices of a block's training and evaluated rows in `choosing` (the latter also in `held_out`).

        All blocks of a design have the same number of training rows, so that a graph built for one fits the others.
        """
        every = np.arange(self.choosing.rows)
        if self.design.kind == "rows":
            train = np.setdiff1d(every, self.validation)
            return (train, np.arange(self.held_out.rows)) if block.is_final else (train, self.validation)
        if block.is_final:
            return every, np.arange(self.held_out.rows)
        fold = _folds(self.choosing, self.design.folds, self.seed + block.seed)
        judged, train = np.flatnonzero(fold == block.fold), np.flatnonzero(fold != block.fold)
        spare = len(train) - (len(every) - -(-len(every) // self.design.folds))
        left = shuffled(len(train), self.seed + block.seed)[: len(train) - spare]
        return train[np.sort(left)], judged

    def splits(self, block: Block) -> tuple[Split, Split]:
        """Return the rows that a block trains on, and those that it evaluates."""
        train, judged = self.of_block(block)
        return self.choosing.part("train", train), (self.held_out if block.is_final else self.choosing).part(
            "valid", judged
        )


def rows_text(rows: SearchRows) -> str:
    """Describe the rows used for the selection, and those for the final estimate."""
    design, telling = rows.design, f"{rows.held_out.rows} others estimate the accuracy of the selection"
    seeds = counted(len(design.seeds), "seed")
    if design.kind == "folds":
        return f"each of {design.rows} rows is judged in {counted(design.folds, 'fold')}, with {seeds}; {telling}"
    train = rows.choosing.rows - design.rows
    return f"{train} rows are trained on and {design.rows} judged, with {seeds}; {telling}"


def _folds(split: Split, folds: int, seed: int) -> Numbers:
    """Return the fold of each row: classes are distributed over all folds, whose sizes differ by at most one."""
    order = shuffled(split.rows, seed)
    classes = None if split.labels is None else classes_of(split.labels, split.labels.dtype.kind in "iu")
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    fold = np.empty(split.rows, np.int64)
    fold[order] = np.arange(split.rows) % folds
    return fold


def _apart(train: Numbers, count: int, classes: Numbers | None, seed: int) -> tuple[Numbers, Numbers]:
    """Return a stratified sample of `count` rows, and the other rows.

    Raises:
        DataError: there are too few rows.
    """
    if not 0 < count < len(train):
        raise DataError(
            f"{counted(len(train), 'labelled row is', 'labelled rows are')} too few for a search: "
            "some choose, others tell what was chosen"
        )
    places = draw(len(train), count, None if classes is None else classes[train], seed)
    return train[places], np.delete(train, places)


def _fewer(train: Numbers, count: int, classes: Numbers | None, seed: int) -> Numbers:
    """Return a stratified sample of `count` rows, in order; it contains the samples of all smaller counts.

    Raises:
        DataError: there are fewer rows.
    """
    if not 0 < count <= len(train):
        raise DataError(f"`rows` {count}: there are {len(train)} rows to train on")
    order = shuffled(len(train), seed)
    codes = np.zeros(len(train), np.int64) if classes is None else np.unique(classes[train], return_inverse=True)[1]
    sizes, by_class = np.bincount(codes), np.argsort(codes[order], kind="stable")
    place = np.empty(len(train))  # of a row in its class, from 0 to 1, so that classes alternate
    place[by_class] = np.concatenate([(np.arange(size) + 0.5) / size for size in sizes])
    return np.sort(train[order[np.argsort(place, kind="stable")[:count]]])
