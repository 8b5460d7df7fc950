"""Rows to judge a model by: those of the file, else those that its run has held out, by the run's report."""

from dataclasses import dataclass, replace
from pathlib import Path

from ckpttool.core.errors import DataError
from ckpttool.data.dataset import check_class_names, evaluation_split, held_out_split
from ckpttool.data.doubts import few_rows
from ckpttool.data.files import Source, Wanted
from ckpttool.data.held_out import HeldOut
from ckpttool.data.splits import Split
from ckpttool.training.run_report import RunReport


@dataclass(frozen=True)
class Which:
    """Which rows are asked for: a split, and how validation rows were held out, if not as the model's run says.

    Where no split is named, `judge` takes rows that the model was not trained on, as far as there are some.
    """

    split: str | None = None
    valid: int | str | None = None
    group: str | None = None
    seed: int | None = None
    judge: bool = True

    @property
    def says_how(self) -> bool:
        """Whether it says anything of how rows were held out."""
        return (self.valid, self.group, self.seed) != (None, None, None)

    def rule(self, report: RunReport | None) -> HeldOut | None:
        """Return how rows are held out: as asked for, else as the run did; None where neither says it.

        Raises:
            PlanError: it is not asked for as it can be.
        """
        run = report.held_out if report else None
        if not self.says_how:
            return run
        known = run or HeldOut()
        valid = str(known) if self.valid is None else self.valid
        seed = known.seed if self.seed is None else self.seed
        return HeldOut.parse(valid, self.group or (known.group if self.valid is None else None), seed)


def evaluation_rows(data: Source, wanted: Wanted, labelled: Wanted, which: Which, model: Path) -> Split:
    """Return the test rows, else the validation rows, else all; a split that is asked for names others.

    Args:
        data: The data set.
        wanted: The placeholders to fit the rows to.
        labelled: The same with the labels, which a draw by class goes by.
        which: What is asked for.
        model: The model, whose run may have a report beside it.

    Raises:
        DataError: the rows do not fit, there are none, or they are not those that the model's run held out.
    """
    split = _rows(data, wanted, labelled, which, RunReport.beside(model))
    check_class_names(data, split, wanted)
    return replace(split, notes=(*split.notes, *few_rows(split.rows))) if which.judge else split


def _rows(data: Source, wanted: Wanted, labelled: Wanted, which: Which, report: RunReport | None) -> Split:
    rule = which.rule(report)
    wanted, labelled = (replace(each, group=rule.group if rule else None) for each in (wanted, labelled))
    held_out = None
    if rule is not None and which.split != "test" and (which.split or which.judge):
        held_out = held_out_split(data, labelled, rule, which.split)
    if held_out is None:
        return _all_said(evaluation_split(data, wanted, which.split), which)
    if report is not None and not which.says_how and not report.has_rows(held_out):
        differ = f"{data}: the rows that were held out by {report.path} are not among these"
        if which.split:
            raise DataError(f"{differ}; `valid` specifies which are meant")
        return replace(split := evaluation_split(data, wanted), notes=(f"{differ}: all are taken", *split.notes))
    return held_out if wanted.labels else replace(held_out, labels=None, labels_stored=None)


def _all_said(split: Split, which: Which) -> Split:
    """Say it where a model is judged by rows of which some may have trained it."""
    if not which.judge or which.split or split.name not in ("all", "train"):
        return split
    note = "all rows: there are no test or validation rows, and no run's report says which were held out"
    return replace(split, notes=(note, *split.notes))
