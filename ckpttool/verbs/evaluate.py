"""Evaluation: what a model makes of rows that it was not trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool.data.dataset import evaluation_split
from ckpttool.graph.contents.convolutions import convolves
from ckpttool.graph.core import Graph
from ckpttool.graph.roles.roles import Roles, find_roles, needed_role
from ckpttool.model.model import Model
from ckpttool.runtime.configure import suit_tensorflow
from ckpttool.runtime.streaming import Means
from ckpttool.runtime.training import Score
from ckpttool.training.callbacks.callback import CallbackList, Callbacks, accepts_watch
from ckpttool.training.feeds import check_classes, feeds, inference, wanted
from ckpttool.verbs.answers.outputs import meaning
from ckpttool.verbs.answers.tally import Tally, Uncounted, tally_of


@dataclass(frozen=True)
class Evaluation(Score):
    """Means over the rows, `accuracy` None in a graph that has none, and what was counted row by row."""

    tally: Tally

    def as_json(self) -> dict[str, Any]:
        """Return the figures by name."""
        return {"rows": self.rows, "loss": self.loss, "accuracy": self.accuracy, **self.tally.summary()}


@accepts_watch
def evaluate(
    model: Model,
    data: str | Path,
    split: str | None = None,
    valid: int | None = None,
    roles: Mapping[str, str] | None = None,
    callbacks: Callbacks = (),
    features: str | None = None,
) -> Evaluation:
    """Return loss and accuracy over the test rows, else the validation rows, else all; `split` says which.

    Where the graph's logits are known: of classes, how often each was taken for each; of labels, how often each was
    right; of numbers, how far off they are.

    Raises:
        GraphError: the graph has no loss, labels or inputs that are known.
        DataError: the rows do not fit the graph.
    """
    suit_tensorflow(convolves(model.graph))
    graph, found = model.graph, find_roles(model.graph, needed=("inputs", "labels", "loss"), **(roles or {}))
    numbers = [needed_role(graph, found, "loss"), *([found.accuracy] if found.accuracy else [])]
    rows = evaluation_split(data, wanted(graph, found, features), split, valid)
    row = check_classes(graph, found, model.checkpoint, [rows])
    arrays = feeds(found, rows)
    labels = arrays[str(found.labels)]
    tally = _tally(graph, found, row, labels.shape[1:])
    tensors = [*numbers, *([found.logits] if found.logits else [])]
    stream = inference(graph, found, model.checkpoint, tensors, arrays)
    means = Means(stream.function, len(numbers))
    for part, values in stream.over(arrays, rows.rows):
        means.add(part, values)
        tally.add(values[-1], labels[part])
    CallbackList(callbacks).on_data([rows])
    loss, *accuracy = means.read()
    return Evaluation(rows.rows, loss, accuracy[0] if accuracy else None, tally)


def _tally(graph: Graph, roles: Roles, row: tuple[int, ...] | None, labels: tuple[int, ...]) -> Tally:
    """Return what counts rows whose logits and labels have these shapes."""
    if roles.logits is None or row is None:
        return Uncounted("which tensor the loss compares with the labels is not known; say --logits NAME")
    found = meaning(graph, roles, roles.logits)
    if found is None:
        return Uncounted(f"the loss does not say how {roles.logits} is compared with the labels")
    return tally_of(found, row, labels)
