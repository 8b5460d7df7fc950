"""Quick search: how many layers of a model to reuse for other data, by scores of frozen layers, without training."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ckpttool.core.counts import counted
from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import DataError, PlanError
from ckpttool.core.tensors import Array
from ckpttool.data.dataset import training_rows
from ckpttool.data.drawing import draw
from ckpttool.data.files import InputSpec, Source
from ckpttool.graph.contents.preprocessing import preprocessing_text
from ckpttool.model.model import Model
from ckpttool.searching.cuts import cut_at
from ckpttool.searching.depths import Depth, depths
from ckpttool.searching.features import FeaturePass
from ckpttool.searching.quick import Ranking, ScoredDepth, ranking
from ckpttool.searching.targets import Classes, Kind, doubts, targets_of
from ckpttool.training.bound import Bound
from ckpttool.training.callbacks.callback import CallbackList, Callbacks
from ckpttool.training.options import Options
from ckpttool.training.preprocessing import scaled_notes
from ckpttool.training.spread import odd_rows
from ckpttool.training.wanted import placeholder_spec

ROWS = 5000
"""The default maximum number of rows to score."""
LABELS = InputSpec("y", None, BY_NAME["int64"])
"""The name of the labels for a model that has none."""


@dataclass(frozen=True)
class Reuse:
    """The arguments of `reuse` for the best depth: the layers, the place of the head, and the head.

    `layers` is None if nothing of the model is reused: then the input shape and the preprocessing are those of a new
    model; there are none for a model with several inputs.
    """

    layers: str | None
    after: str | None
    head: str
    objective: str | None
    input_shape: tuple[int, ...] = ()
    preprocess: str | None = None


@dataclass(frozen=True, eq=False)
class QuickSearch:
    """The result of a quick search: depths and their scores, the number of rows, and the kind of labels.

    `reuse` are the arguments for the best depth. `seconds` are those of the features, and those of the scores.
    """

    ranking: Ranking
    rows: int
    of_rows: int
    kind: Kind
    reuse: Reuse
    notes: Sequence[str]
    seconds: tuple[float, float]

    def lines(self) -> list[str]:
        """Return the result in words, with its limits."""
        best, chosen = self.ranking.best, self.ranking.chosen
        depth = best.features.depth
        place = f"depth {depth.number}, up to {depth.layers[-1]}" if depth.layers else "depth 0, the input alone"
        what = "R squared" if self.kind == "amounts" else "accuracy"
        fair = f"a depth that half of the rows choose has {chosen:.3f} on the other half"
        ties = [f"{each.features.depth.number}" for each in self.ranking.depths if each.tied and each is not best]
        return [
            f"best: {place}: {what} {best.expected:.3f}, of the rows that chose it; {fair}",
            *(
                [f"as good, as far as {counted(self.rows, 'row tells', 'rows tell')}: depth {', '.join(ties)}"]
                if ties
                else []
            ),
            "it is of frozen layers below a linear one that ridge regression fits: a trained one may be some points "
            "better or worse, and what training some of the layers would give it does not say",
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "rows": self.rows,
            "of_rows": self.of_rows,
            "labels": self.kind,
            "depths": [each.as_json() for each in self.ranking.depths],
            "best": self.ranking.best.features.depth.number,
            "tied": [each.features.depth.number for each in self.ranking.depths if each.tied],
            "chosen": self.ranking.chosen,
            "reuse": asdict(self.reuse),
            "seconds": dict(zip(("features", "scores"), self.seconds, strict=True)),
        }


def search_quick(
    model: Model,
    data: Source,
    options: Options | None = None,
    callbacks: Callbacks = (),
    rows: int = ROWS,
) -> QuickSearch:
    """Return the score of a linear head on each depth of a frozen model.

    Nothing is trained: the layers' outputs are computed once for the training rows, and scored in closed form. The
    labels may differ from those of the model, which needs neither labels nor a loss itself.

    Args:
        model: The model, which is not changed.
        data: A path, or one of the other sources of rows, with labels.
        options: Of these, `objective` is the kind of labels (softmax, sigmoid, mse), `roles` name tensors, `features`
            describe records, `preprocess` is the preprocessing, and `seed` draws the rows.
        callbacks: One callback or several; they receive the rows, notes and the progress.
        rows: The maximum number of rows to score, drawn stratified by class.

    Raises:
        PlanError: fewer than two rows are requested.
        GraphError: the layers or inputs of the graph are unknown.
        DataError: the rows do not match the graph, the labels are unsuitable, or a feature is non-finite.
    """
    if rows < 2:
        raise PlanError(f"`rows` must be 2 or more, found {rows}")
    callback, options = CallbackList(callbacks), options or Options()
    objective = options.objective.kind if options.objective else None
    seed, roles = options.seed, options.roles
    bound = Bound.of(model, roles, ("inputs",)).preprocessing(options.preprocess)
    found = depths(bound.model.graph, bound.roles.inputs, bound.given.get("logits"))
    bound, labels = _with_rows(bound, data, options.features)
    where = bound.splits[0].labels_stored or "labels"
    classes = targets_of(labels, where, objective)[0]
    callback.on_data(bound.splits)
    began = time.perf_counter()
    run = FeaturePass(bound, found)
    count = min(rows, run.most_rows(), len(labels))
    numbers = draw(len(labels), count, classes.codes if isinstance(classes, Classes) else None, seed)
    targets, kind = targets_of(labels[numbers], where, objective)
    notes = [*bound.notes, *run.notes, *doubts(targets), *odd_rows(bound)]
    notes += ["there is no layer below the output layer: the input alone is scored"] if len(found) < 2 else []
    notes += [f"{count} of {len(labels)} rows are scored, drawn by the seed {seed}"] if count < len(labels) else []
    callback.on_notes(notes)
    computed = run.over(numbers, callback.on_features)
    between = time.perf_counter()
    ranked = ranking(computed, targets, seed)
    seconds = between - began, time.perf_counter() - between
    return QuickSearch(
        ranked, count, len(labels), kind, _reuse(bound, found, ranked.best, labels, kind), notes, seconds
    )


def _with_rows(bound: Bound, data: Source, features: str | None) -> tuple[Bound, Array]:
    """Return a model with the training rows of a data set, and their labels as stored.

    Raises:
        DataError: there are no labels, or the rows do not match the inputs.
    """
    labels = bound.roles.labels
    spec = LABELS if labels is None else replace(placeholder_spec(bound.model.graph, labels), steps=None)
    wanted = replace(bound.wanted(features, labels=False), labels=spec, beside=(), classes=())
    rows = training_rows(data, wanted)
    if rows.labels is None:
        raise DataError(f"{data}: no labels: expected {' or '.join(wanted.label_names())}")
    notes = scaled_notes(bound.model.graph, [rows])
    bound = replace(bound, splits=(replace(rows, labels=None),), notes=(*bound.notes, *notes))
    bound.require_batches([rows.rows])
    return bound, rows.labels


def _reuse(bound: Bound, found: Sequence[Depth], best: ScoredDepth, labels: Array, kind: Kind) -> Reuse:
    """Return the arguments for a model of the best depth: its layers below a linear head."""
    graph, features = bound.model.graph, best.features
    below = [layer for depth in found[: features.depth.number + 1] for layer in depth.layers]
    count = labels.shape[1] if labels.ndim == 2 and labels.shape[1] > 1 else 1
    if kind == "classes" and count == 1:
        count = int(labels.max()) + 1
    head = f"{'outputs' if 'outputs' not in below else 'new_outputs'} = dense({count})"
    if len(features.shape) > 1:
        head = f"{'pool = global_avg_pool()' if features.pooled else 'flat = flatten()'}; {head}"
    objective = {"labels": "sigmoid", "amounts": "mse"}.get(kind)
    if not below:
        alone = features.shape if len(bound.roles.inputs) == 1 else ()
        return Reuse(None, None, head, objective, alone, preprocessing_text(graph))
    cut = cut_at(graph, found, features.depth.number)
    return Reuse(cut.layers, cut.after, head, objective)
