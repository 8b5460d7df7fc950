"""Rows to evaluate a model on: those of a split of the data, else those that its run held out, by the run's report."""

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
    """The requested rows: a split, and how validation rows are held out, if not as in the model's run.

    If no split is named, rows that the model was not trained on are used, if there are any.
    """

    split: str | None = None
    valid: int | str | None = None
    group: str | None = None
    seed: int | None = None
    judge: bool = True

    @property
    def says_how(self) -> bool:
        """Whether it specifies how rows are held out."""
        return (self.valid, self.group, self.seed) != (None, None, None)

    def rule(self, report: RunReport | None) -> HeldOut | None:
        """Return the hold-out rule: the specified one, else the run's; None if there is neither.

        Raises:
            PlanError: the specification is invalid.
        """
        run = report.held_out if report else None
        if not self.says_how:
            return run
        known = run or HeldOut()
        valid = str(known) if self.valid is None else self.valid
        seed = known.seed if self.seed is None else self.seed
        return HeldOut.parse(valid, self.group or (known.group if self.valid is None else None), seed)


def evaluation_rows(data: Source, wanted: Wanted, labelled: Wanted, which: Which, model: Path) -> Split:
    """Return the test rows, else the validation rows, else all; `which` may name another split.

    Args:
        data: The data set.
        wanted: The placeholders that the rows must match.
        labelled: The same with labels, for a stratified hold-out.
        which: The requested rows.
        model: The model, whose run may have a report beside it.

    Raises:
        DataError: the rows do not match, there are none, or they are not those that the model's run held out.
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
    """Return the split, with a note if the model may have been trained on some of these rows."""
    if not which.judge or which.split or split.name not in ("all", "train"):
        return split
    note = "all rows: there are no test or validation rows, and no run's report says which were held out"
    return replace(split, notes=(note, *split.notes))
