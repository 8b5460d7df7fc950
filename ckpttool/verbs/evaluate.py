"""Evaluation: loss and accuracy of a model on rows that it was not trained on, and which classes it confuses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ckpttool.core.errors import DataError
from ckpttool.data.class_files import Classes, named_outputs, spare_outputs
from ckpttool.data.files import Source
from ckpttool.data.splits import Split
from ckpttool.graph.roles.resolve import needed_role
from ckpttool.model.model import Model
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.streaming import Means, Score
from ckpttool.training.bound import Bound
from ckpttool.training.callbacks.callback import Callback, CallbackList, Callbacks, accepts_watch
from ckpttool.training.callbacks.plot import Picture
from ckpttool.training.evaluation_rows import Which
from ckpttool.training.mistakes import Mistake, mistakes_of
from ckpttool.training.tallies import Tally, tally_of


@dataclass(frozen=True)
class Evaluation(Score):
    """Means over the rows, and counts by class, with the class names.

    `accuracy` is None if neither the graph has one nor the rows were counted by class; the metrics say why.
    """

    tally: Tally = field(repr=False)
    names: tuple[str, ...] = ()
    worst: tuple[Mistake, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the figures by name."""
        figures = {"rows": self.rows, "loss": self.loss, "accuracy": self.accuracy, **self.tally.summary()}
        if self.accuracy is None:
            figures["no_accuracy"] = self.tally.no_accuracy
        for key in ("classes", "labels"):
            if key in figures and len(figures[key]) == len(self.names):
                figures[key] = [
                    dict([*list(row.items())[:1], ("name", name), *list(row.items())[1:]])
                    for row, name in zip(figures[key], self.names, strict=True)
                ]
        return figures

    def draw(self, picture: Picture, title: str) -> None:
        """Draw the metrics of each class or label.

        Raises:
            PlanError: if there are none, as for predicted numbers.
        """
        from ckpttool.training.tally_picture import draw_evaluation

        draw_evaluation(picture, title, self.as_json())


@accepts_watch
def evaluate(
    model: Model,
    data: Source,
    *,
    split: str | None = None,
    valid: int | str | None = None,
    roles: Mapping[str, str] | None = None,
    callbacks: Callbacks = (),
    features: str | None = None,
    group: str | None = None,
    seed: int | None = None,
    classes: Classes = None,
    objective: Objective | None = None,
    preprocess: str | None = None,
    worst: int = 0,
) -> Evaluation:
    """Return loss and accuracy over the test rows, else the validation rows, else all.

    The validation rows are those of the file, else those that the model's run held out.

    If the graph's logits are known, the result has a confusion matrix of classes, the accuracy of each label, or the
    errors of numbers.

    Args:
        model: The model, which is not changed.
        data: A path, or one of the other sources of rows, with labels.
        split: "train", "valid" or "test".
        valid: The training rows that were held out: 60, 20%, first:5000; by default as in the model's run.
        group: The column by which rows were held out together.
        seed: The random seed of the hold-out.
        roles: Names of tensors by role, if they are not detected in the graph.
        callbacks: One callback or several; they receive the rows and their preprocessing.
        features: The features of records, if ambiguous.
        classes: The class names, or the file that contains them; by default the model's.
        objective: A loss for the outputs of a graph that has none, or in place of its own.
        preprocess: The preprocessing of rows (`scale(1/127.5, -1)`), if not the one stored in the model.
        worst: The number of misclassified rows to return, the most confident
            first.

    Raises:
        GraphError: the loss, the labels or the inputs of the graph are unknown.
        DataError: the rows do not match the graph.
    """
    bound = Bound.of(model, roles, ("inputs", "labels", "loss"), classes, objective).preprocessing(preprocess)
    known = bound.roles
    means_of = [needed_role(bound.model.graph, known, "loss"), *([known.accuracy] if known.accuracy else [])]
    bound = bound.with_evaluation_rows(data, Which(split, valid, group, seed), features)
    rows, shape = bound.splits[0], bound.check_classes()
    arrays = bound.feeds(rows)
    labels = arrays.get(str(known.labels))
    tally = tally_of(bound, shape, None if labels is None else labels.shape[1:])
    mistakes = mistakes_of(tally, worst)
    wanted = [*means_of, *([known.logits] if known.logits and labels is not None else [])]
    callback = CallbackList(callbacks)
    callback.on_notes(bound.in_inference(wanted, arrays).notes)
    stream = bound.inference(wanted, arrays)
    means = Means(stream.function, len(means_of))
    for part, values in stream.over(arrays, rows.rows):
        means.add(part, values)
        if labels is not None:
            for each in filter(None, (tally, mistakes)):
                each.add(values[-1], labels[part])
    callback.on_notes([*bound.notes, *(spare_outputs(bound.class_names, shape[-1]) if shape else [])])
    callback.on_data([rows])
    loss, *accuracy = means.read()
    names = named_outputs(bound.class_names, shape[-1] if shape else 0)
    kept = mistakes.read(rows, names) if mistakes else ()
    return Evaluation(rows.rows, loss, accuracy[0] if accuracy else tally.accuracy, tally, names, kept)


class _Judged(Callback):
    """A callback that keeps the rows on which a model was evaluated."""

    rows: Split

    def on_data(self, splits: Sequence[Split]) -> None:
        """Keep them."""
        (self.rows,) = splits


def evaluate_against(
    model: Model, baseline: Model | None, data: Source, callbacks: Callbacks = (), **how: Any
) -> tuple[Evaluation, Evaluation | None]:
    """Return the evaluations of a model and of a baseline, on the same rows; None for a baseline that is None.

    Args:
        model: The model, which is not changed.
        baseline: The other model, which accepts the same rows, if there is one.
        data: A path, or one of the other sources of rows, with labels.
        callbacks: One callback or several; they receive the rows of the model only, and their preprocessing.
        how: The other arguments of `evaluate`, used for both.

    Raises:
        DataError: the two would be evaluated on different rows, for instance if each held out its own.
    """
    own, other = _Judged(), _Judged()
    found = evaluate(model, data, callbacks=CallbackList([CallbackList(callbacks), own]), **how)
    if baseline is None:
        return found, None
    before = evaluate(baseline, data, callbacks=other, **how)
    if not np.array_equal(own.rows.numbers, other.rows.numbers) or own.rows.name != other.rows.name:
        rows = f"{own.rows.name} rows of {model.path} and {other.rows.name} rows of {baseline.path}"
        raise DataError(f"the {rows} are not the same; `split`, or `valid` and `seed`, say which are meant")
    return found, before
