"""Evaluation: what a model makes of rows that it was not trained on."""

from collections.abc import Mapping
from pathlib import Path

from ckpttool.data.dataset import evaluation_split
from ckpttool.graph.roles import find_roles
from ckpttool.runtime.function import GraphFunction
from ckpttool.runtime.state import State
from ckpttool.runtime.training import Evaluator, Score
from ckpttool.transfer.feeds import check_classes, feeds, mode
from ckpttool.transfer.feeds import wanted as wanted_rows
from ckpttool.transfer.model import Model
from ckpttool.transfer.prepare import needed_role
from ckpttool.transfer.watch import Watch


def evaluate(
    model: Model,
    data: str | Path,
    split: str | None = None,
    valid: int | None = None,
    roles: Mapping[str, str] | None = None,
    watch: Watch | None = None,
    features: str | None = None,
) -> Score:
    """Return loss and accuracy over the test rows, else the validation rows, else all; `split` says which.

    Raises:
        GraphError: the graph has no loss, labels or inputs that are known.
        DataError: the rows do not fit the graph.
    """
    graph, found = model.graph, find_roles(model.graph, needed=("inputs", "labels", "loss"), **(roles or {}))
    loss = needed_role(graph, found, "loss")
    rows = evaluation_split(data, wanted_rows(graph, found, features), split, valid)
    check_classes(graph, found, model.checkpoint, [rows])
    arrays = feeds(found, rows)
    wanted = [loss, *([found.accuracy] if found.accuracy else [])]
    function = GraphFunction(graph, wanted, [*arrays, *mode(found, False)])
    evaluator = Evaluator(function, State(function.variables, model.checkpoint), mode(found, False))
    score = evaluator.score(arrays, rows.rows)
    (watch or Watch()).prepared([rows])
    return score
